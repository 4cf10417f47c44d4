"""Whatever can be asked for a verdict, and the ways to ask: one case, many or a stream, from threads and coroutines."""

from __future__ import annotations

import asyncio
import dataclasses
import queue
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Self, Unpack

from rewardanything_core.cases import Case
from rewardanything_core.concurrency import background_loop
from rewardanything_core.errors import ConfigError, InvalidCaseError, RewardAnythingError
from rewardanything_core.options import JudgeOptions
from rewardanything_core.principles import Principle
from rewardanything_core.types import JudgeFailure, Message, Usage, Verdict

Outcome = Verdict | JudgeFailure

DEFAULT_WINDOW = 256
"""How many cases `BaseJudge.judge_stream` keeps in flight."""


class BaseJudge(ABC):
    """Judges responses under a principle: a `Judge`, a `Jury`, or whatever else can say the verdict of one case.

    Thread-safe; usable from scripts, threads and any event loop. Whatever takes a judge takes any arbiter.
    """

    @abstractmethod
    async def _judge_case(self, case: Case) -> Verdict:
        """The verdict of one case; all that asks, asks here.

        It is awaited on the package's one event loop, many times at once, and must stop what it started when it is
        cancelled. Do not await it elsewhere: call `ajudge`.

        Raises:
            RewardAnythingError: there is none. ``failure`` is the record of a judgement that had begun; without one
                the error is no fault of the case, and ends a whole batch.
        """

    def cached_verdict(self, case: Case) -> Verdict | None:  # noqa: ARG002
        """The verdict of a case if it is at hand and nothing has to be awaited for it; called in the asker's thread.

        Raises:
            RewardAnythingError: it cannot be said, and that is no fault of the case.
        """
        return None

    @property
    @abstractmethod
    def model(self) -> str:
        """The model's name, as recorded in verdicts."""

    @property
    @abstractmethod
    def usage(self) -> Usage:
        """All that was asked of models so far, failures included; stored verdicts cost nothing."""

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """All beside the case that can change a verdict, as plain JSON; two with the same one judge alike."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """This judge as plain JSON, to be made again by ``load_judge(spec)`` in another process; it holds no key."""

    @abstractmethod
    def with_options(self, **options: Unpack[JudgeOptions]) -> BaseJudge:
        """The same with some options changed; no model is loaded again."""

    @abstractmethod
    def with_balanced_passes(self, number: int) -> BaseJudge:
        """The same with enough passes that each of ``number`` responses visits each place equally often."""

    @abstractmethod
    def resampled(self) -> BaseJudge:
        """The same with other orders and sampled replies: for a second opinion, not for a cached first one."""

    @abstractmethod
    def close(self) -> None:
        """Let go of threads, connections and memory."""

    # --- asking

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

        Raises:
            InvalidCaseError: the case cannot be judged as given; nothing was sent.
            ContextLengthError: it does not fit the model's window.
            VerdictParseError: no attempt gave a verdict; ``raw`` holds the last reply.
            BackendError: the model could not be asked.
        """
        case = _case(principle, prompt, responses, reference, context, id)
        return self.cached_verdict(case) or background_loop.wait(background_loop.submit(self._judge_case(case)))

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
        """`judge`, awaited. Cancelling it cancels the requests it made."""
        case = _case(principle, prompt, responses, reference, context, id)
        return await asyncio.wrap_future(background_loop.submit(self._judge_case(case)))

    def judge_batch(self, cases: Iterable[Case | Mapping[str, Any]]) -> list[Outcome]:
        """Judge many cases: a verdict or a failure for each, in the order given.

        Raises:
            InvalidCaseError: one of them is no valid case; nothing was sent for any.
        """
        checked = _checked(cases)
        known = [self.cached_verdict(case) for case in checked]
        left = [case for case, told in zip(checked, known, strict=True) if told is None]
        judged = iter(
            background_loop.wait(background_loop.submit(background_loop.gather(map(self._outcome, left))))
            if left
            else ()
        )
        return [told or next(judged) for told in known]

    async def ajudge_batch(self, cases: Iterable[Case | Mapping[str, Any]]) -> list[Outcome]:
        """`judge_batch`, awaited. Cancelling it cancels the requests it made."""
        asked = background_loop.gather(map(self._outcome, _checked(cases)))
        return await asyncio.wrap_future(background_loop.submit(asked))

    def judge_stream(
        self,
        cases: Iterable[Case | Mapping[str, Any]],
        *,
        window: int = DEFAULT_WINDOW,
        ordered: bool = False,
    ) -> Iterator[tuple[int, Outcome]]:
        """Judge cases as they come and yield ``(index, verdict or failure)`` as they are done.

        The input is read no further than ``window`` cases ahead of what was yielded, so it may be endless. What is no
        valid case comes back as a failure in its place. Leaving the loop cancels what is still in flight.

        Args:
            cases: Cases, or mappings with their fields.
            window: Most cases in flight or waiting to be yielded, 1 or more.
            ordered: Yield in input order, each as soon as all before it are done.
        """
        if window < 1:
            raise ConfigError(f"window must be 1 or more, not {window!r}.")
        source = enumerate(cases)
        announced: queue.SimpleQueue[int] = queue.SimpleQueue()
        pending: dict[int, Future[Outcome]] = {}
        done: dict[int, Outcome | Future[Outcome]] = {}
        following = 0
        try:
            while True:
                if len(pending) + len(done) < window and (item := next(source, None)) is not None:
                    index, case = item
                    at_once = self._at_once(case)
                    if isinstance(at_once, Case):
                        pending[index] = background_loop.submit(self._outcome(at_once))
                        pending[index].add_done_callback(partial(_announce, announced, index))
                    else:
                        done[index] = at_once
                elif pending:
                    index = announced.get()
                    done[index] = pending.pop(index)
                else:
                    return
                while not announced.empty():
                    index = announced.get_nowait()
                    done[index] = pending.pop(index)
                while done and (not ordered or following in done):
                    index = following if ordered else next(iter(done))
                    outcome = done.pop(index)
                    following += 1
                    yield index, outcome.result() if isinstance(outcome, Future) else outcome
        finally:
            for future in pending.values():
                future.cancel()

    def score(self, principle: Principle | str, prompt: str | Sequence[Message], response: str, **about: Any) -> float:
        """The score of a single response, 1.0..5.0. Raises what `judge` raises."""
        (score,) = self.judge(principle, prompt, [response], **about).scores.values()
        return score

    async def ascore(
        self, principle: Principle | str, prompt: str | Sequence[Message], response: str, **about: Any
    ) -> float:
        """`score`, awaited."""
        (score,) = (await self.ajudge(principle, prompt, [response], **about)).scores.values()
        return score

    def _at_once(self, case: Case | Mapping[str, Any]) -> Outcome | Case:
        """What can be said of a case without asking anybody; else the case."""
        try:
            case = Case.of(case)
        except InvalidCaseError as error:
            return JudgeFailure(case_id=error.case_id, error_type=type(error).__name__, message=str(error))
        return self.cached_verdict(case) or case

    async def _outcome(self, case: Case) -> Outcome:
        try:
            return await self._judge_case(case)
        except RewardAnythingError as error:
            if error.failure is None:  # not this case's fault: the store, say, cannot be read
                raise
            return dataclasses.replace(error.failure, case_id=case.id)

    # --- leaving

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[dict[str, Any]]]:
        from rewardanything_core.loading import load_judge  # the floor above; a pickle is only ever the spec

        return load_judge, (self.spec(),)


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


def _announce(done: queue.SimpleQueue[int], index: int, _: object) -> None:
    done.put(index)
