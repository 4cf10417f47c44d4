"""The common interface of judges and juries: one case, many or a stream, from threads and from coroutines."""

from __future__ import annotations

import asyncio
import dataclasses
import queue
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self

from rewardanything_core.backends.budget import Budget
from rewardanything_core.cases import Case
from rewardanything_core.concurrency import background_loop
from rewardanything_core.errors import ConfigError, InvalidCaseError, RewardAnythingError
from rewardanything_core.judging.failures import failed_by, log_unexpected
from rewardanything_core.judging.observers import Notifier, Observer, add_observer, flush_observers, remove_observer
from rewardanything_core.judging.streaming import Outcome, astream, stream
from rewardanything_core.principles import Principle
from rewardanything_core.types import Message, Usage, Verdict

if TYPE_CHECKING:
    from rewardanything_core.judging.cost_estimates import CostEstimate
    from rewardanything_core.judging.judge import Judge

__all__ = ["DEFAULT_WINDOW", "BaseJudge", "Outcome", "add_observer", "remove_observer"]

DEFAULT_WINDOW = 256
"""Number of cases that `BaseJudge.judge_stream` keeps in flight: more than the 64 requests of an endpoint or the 16
sequences of a local model that run at a time by default, so that neither waits for cases. It is not tuned."""


class BaseJudge(ABC):
    """Judges responses under a principle: a `Judge`, a `Jury`, or a class of your own.

    Thread-safe; usable from scripts, threads and any event loop. Whatever accepts a judge accepts any `BaseJudge`.
    """

    observers: tuple[Observer, ...] = ()
    """Called with each outcome; see `rewardanything_core.judging.observers`."""

    # --- what a subclass implements

    @abstractmethod
    async def _judge_case(self, case: Case) -> Verdict:
        """Judge one case. This is the single extension point: every public method calls it.

        It runs on the package's event loop, many times concurrently, and must stop its work when cancelled. Call
        `ajudge` everywhere else.

        Raises:
            RewardAnythingError: there is no verdict. With ``failure`` set, it becomes the case's `JudgeFailure` in a
                batch. Without, it is not specific to the case (an unreadable store, for example) and ends the batch.
            Exception: any other exception becomes the case's `JudgeFailure` of type ``BackendError``.
        """

    def cached_verdicts(self, cases: Sequence[Case]) -> list[Verdict | None]:
        """The verdicts that are available without judging, in the order of the cases; runs in the caller's thread.

        Raises:
            RewardAnythingError: the cache cannot be read.
        """
        return [None] * len(cases)

    @property
    @abstractmethod
    def model(self) -> str:
        """The model's name, as recorded in verdicts."""

    @property
    def budget(self) -> Budget | None:
        """What it may still spend in this process. None: there is no limit, or there are several."""
        return None

    @property
    def single_judges(self) -> tuple[Judge, ...]:
        """Every `Judge` that it consists of, itself included. Empty for a class that is not made of them."""
        return ()

    @property
    @abstractmethod
    def usage(self) -> Usage:
        """Usage of all model calls so far, failures included; cached verdicts cost nothing."""

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """Everything except the case that affects a verdict, as plain JSON. Equal fingerprints judge alike."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """This judge as plain JSON, for `from_spec` or ``load_judge(spec)`` in another process. Never holds a key."""

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """The judge that ``spec()`` describes. Needed to pickle a judge or to send it to another process.

        Raises:
            ConfigError: it is not the spec of such a judge.
        """
        raise ConfigError(f"{cls.__name__} cannot be made from the spec {spec!r}: it does not implement from_spec.")

    @abstractmethod
    def with_options(self, **options: Any) -> BaseJudge:
        """A copy with some `JudgeOptions` changed; no model is loaded again."""

    @abstractmethod
    def with_balanced_passes(self, number: int) -> BaseJudge:
        """A copy with enough passes that each of ``number`` responses is at each position equally often."""

    @abstractmethod
    def resampled(self) -> BaseJudge:
        """A copy with other orders and sampled replies: for an independent second opinion instead of a cached one."""

    @abstractmethod
    def close(self) -> None:
        """Release threads, connections and memory."""

    def estimate(self, cases: Iterable[Case | Mapping[str, Any]]) -> CostEstimate | None:  # noqa: ARG002
        """What judging cases will take, without sending anything; those in the store are free.

        Args:
            cases: Cases, or mappings with their fields.

        Returns:
            None: this kind of judge cannot tell.

        Raises:
            InvalidCaseError: one of them is not a valid case.
        """
        return None

    # --- the public methods

    def cached_verdict(self, case: Case) -> Verdict | None:
        """The verdict that is available without judging, or None."""
        return self.cached_verdicts([case])[0]

    def judge(
        self,
        principle: Principle | str | Case,
        prompt: str | Sequence[Message] | None = None,
        responses: Mapping[str, str] | Sequence[str] | None = None,
        *,
        reference: str | None = None,
        context: str | None = None,
        id: str | None = None,  # noqa: A002
    ) -> Verdict:
        """Judge one case, given as its parts or as a `Case`.

        Args:
            principle: What to judge by; or a whole `Case`, without any other argument.
            prompt: What the responses answer: a text or chat messages.
            responses: label -> text; or a sequence of texts, labelled "0", "1", ....
            reference: A reference answer that the judge sees.
            context: Source material that the judge sees.
            id: Your id of the case, returned as ``verdict.case_id``.

        Raises:
            InvalidCaseError: the case cannot be judged as given; nothing was sent.
            ContextLengthError: it exceeds the model's context window.
            VerdictParseError: no attempt gave a verdict; ``raw`` holds the last reply.
            BackendError: the model could not be called, or failed.
        """
        case = _case(principle, prompt, responses, reference, context, id)
        notifier = Notifier(self, self.observers)
        started = notifier.start()
        try:
            verdict = self.cached_verdict(case) or background_loop.wait(background_loop.submit(self._verdict(case)))
        except RewardAnythingError as error:
            if error.failure is not None:
                notifier.report(case, dataclasses.replace(error.failure, case_id=case.id), started)
            raise
        notifier.report(case, verdict, started)
        return verdict

    async def ajudge(
        self,
        principle: Principle | str | Case,
        prompt: str | Sequence[Message] | None = None,
        responses: Mapping[str, str] | Sequence[str] | None = None,
        *,
        reference: str | None = None,
        context: str | None = None,
        id: str | None = None,  # noqa: A002
    ) -> Verdict:
        """`judge`, awaited; it raises the same errors. Cancelling it cancels its requests.

        Args:
            principle: See `judge`, as for all others.
            prompt: What the responses answer.
            responses: label -> text, or a sequence of texts.
            reference: A reference answer.
            context: Source material.
            id: Your id of the case.
        """
        case = _case(principle, prompt, responses, reference, context, id)
        notifier = Notifier(self, self.observers)
        started = notifier.start()
        try:
            verdict = await asyncio.wrap_future(background_loop.submit(self._verdict(case)))
        except RewardAnythingError as error:
            if error.failure is not None:
                notifier.report(case, dataclasses.replace(error.failure, case_id=case.id), started)
            raise
        notifier.report(case, verdict, started)
        return verdict

    def judge_batch(self, cases: Iterable[Case | Mapping[str, Any]], *, batch: bool = False) -> list[Outcome]:
        """Judge many cases: a verdict or a failure for each, in the order given.

        Args:
            cases: Cases, or mappings with their fields.
            batch: Whether to send the requests through the provider's batch API, at its lower price, and to wait for
                it, which may take a day. A process that ends meanwhile is continued by the same call.

        Raises:
            InvalidCaseError: one of them is not a valid case; nothing was sent for any.
            ConfigError: ``batch`` is not possible with this judge.
            BackendError: the provider refused a batch.
        """
        checked = _checked(cases)
        notifier = Notifier(self, self.observers)
        started = notifier.start()
        if batch:
            return self._through_batches(checked, notifier, started)
        outcomes: list[Outcome | None] = list(self.cached_verdicts(checked))
        missing = [index for index, outcome in enumerate(outcomes) if outcome is None]
        if notifier:
            for index, outcome in enumerate(outcomes):
                if outcome is not None:
                    notifier.report(checked[index], outcome, started)
        if missing:
            done: queue.SimpleQueue[tuple[int, Outcome] | None] = queue.SimpleQueue()
            work = (self._numbered_outcome(index, checked[index], done.put) for index in missing)
            future = background_loop.submit(background_loop.gather(work))
            future.add_done_callback(lambda _: done.put(None))
            try:
                while (item := done.get()) is not None:
                    index, outcome = item
                    outcomes[index] = outcome
                    notifier.report(checked[index], outcome, started)
            except BaseException:  # Ctrl-C, for example
                future.cancel()
                raise
            background_loop.wait(future)
        return [outcome for outcome in outcomes if outcome is not None]

    async def ajudge_batch(self, cases: Iterable[Case | Mapping[str, Any]]) -> list[Outcome]:
        """`judge_batch`, awaited. Cancelling it cancels its requests."""
        checked = _checked(cases)
        outcomes: list[Outcome | None] = [None] * len(checked)
        async with aclosing(astream(self, checked, window=max(1, len(checked)), ordered=False)) as stream_of_outcomes:
            async for index, outcome in stream_of_outcomes:
                outcomes[index] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    def judge_stream(
        self,
        cases: Iterable[Case | Mapping[str, Any]],
        *,
        window: int = DEFAULT_WINDOW,
        ordered: bool = False,
    ) -> Iterator[tuple[int, Outcome]]:
        """Judge cases as they arrive and yield ``(index, verdict or failure)`` as they complete.

        The input is read at most ``window`` cases ahead of what was yielded, so it may be endless. An item that is not
        a valid case gives a failure in its place. Leaving the loop cancels what is still in flight.

        Args:
            cases: Cases, or mappings with their fields.
            window: Maximum number of cases in flight or waiting to be yielded, 1 or more.
            ordered: Yield in input order, each as soon as all before it are done.
        """
        return stream(self, cases, window=window, ordered=ordered)

    def ajudge_stream(
        self,
        cases: Iterable[Case | Mapping[str, Any]] | AsyncIterable[Case | Mapping[str, Any]],
        *,
        window: int = DEFAULT_WINDOW,
        ordered: bool = False,
    ) -> AsyncGenerator[tuple[int, Outcome], None]:
        """`judge_stream` as an asynchronous generator. Closing it cancels what is still in flight.

        Args:
            cases: Cases, or mappings with their fields; an iterable or an asynchronous iterable.
            window: Maximum number of cases in flight or waiting to be yielded, 1 or more.
            ordered: Yield in input order, each as soon as all before it are done.
        """
        return astream(self, cases, window=window, ordered=ordered)

    def score(
        self, principle: Principle | str, prompt: str | Sequence[Message], response: str, **details: Any
    ) -> float:
        """The score of a single response, 1.0..5.0.

        Args:
            principle: What to judge by.
            prompt: What the response answers.
            response: The response.
            **details: ``reference``, ``context`` and ``id`` of `judge`.

        Raises:
            RewardAnythingError: whatever `judge` raises.
        """
        (score,) = self.judge(principle, prompt, [response], **details).scores.values()
        return score

    async def ascore(
        self, principle: Principle | str, prompt: str | Sequence[Message], response: str, **details: Any
    ) -> float:
        """`score`, awaited; it raises the same errors.

        Args:
            principle: What to judge by.
            prompt: What the response answers.
            response: The response.
            **details: ``reference``, ``context`` and ``id`` of `judge`.
        """
        (score,) = (await self.ajudge(principle, prompt, [response], **details)).scores.values()
        return score

    def _through_batches(self, cases: Sequence[Case], notifier: Notifier, started: int) -> list[Outcome]:
        from rewardanything_core.judging.batches import BatchRunner

        outcomes = BatchRunner(self).run(cases, wait=True).outcomes
        for place, case in enumerate(cases):
            notifier.report(case, outcomes[place], started)
        return [outcomes[place] for place in range(len(cases))]

    # --- from case to outcome

    async def _verdict(self, case: Case) -> Verdict:
        """`_judge_case`, where an exception that is not ours is the case's failure."""
        try:
            return await self._judge_case(case)
        except RewardAnythingError:
            raise
        except Exception as error:
            log_unexpected(error, type(self).__name__, case)
            raise failed_by(error, case, self.model) from error

    async def _outcome(self, case: Case) -> Outcome:
        try:
            return await self._verdict(case)
        except RewardAnythingError as error:
            if error.failure is None:  # not specific to this case: an unreadable store, for example
                raise
            return dataclasses.replace(error.failure, case_id=case.id)

    async def _numbered_outcome(self, index: int, case: Case, done: Callable[[tuple[int, Outcome]], object]) -> None:
        done((index, await self._outcome(case)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        flush_observers()
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.__exit__)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[type[BaseJudge], dict[str, Any]]]:
        return _from_spec, (type(self), self.spec())


def _from_spec(cls: type[BaseJudge], spec: Mapping[str, Any]) -> BaseJudge:
    return cls.from_spec(spec)


def _case(
    principle: Principle | str | Case,
    prompt: str | Sequence[Message] | None,
    responses: Mapping[str, str] | Sequence[str] | None,
    reference: str | None,
    context: str | None,
    case_id: str | None,
) -> Case:
    if isinstance(principle, Case):
        if any(part is not None for part in (prompt, responses, reference, context, case_id)):
            raise InvalidCaseError("Give either a Case or its parts, not both.", field="principle", case_id=case_id)
        return principle
    return Case(principle, prompt, responses, reference, context, case_id)  # type: ignore[arg-type]  # Case checks


def _checked(cases: Iterable[Case | Mapping[str, Any]]) -> list[Case]:
    checked = []
    for index, case in enumerate(cases):
        try:
            checked.append(Case.of(case))
        except InvalidCaseError as error:
            error.args = (f"Item {index} of the batch: {error.message}",)
            error.message = error.args[0]
            raise
    return checked
