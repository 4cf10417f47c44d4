"""The thread that runs a local model: it takes requests from any event loop and resolves their futures.

One thread owns the engine, since a model cannot run two passes at once. Callers put requests in a queue; between two
steps of the engine the thread takes in all that have arrived, runs those that generate nothing (option scores and
hidden states), and hands over what is done. So requests of different batches, threads and event loops share the
engine's steps.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rewardanything_core.backends.base import ChoiceRequest, ChoiceResult, Completion, HiddenStates, Request
from rewardanything_core.backends.local.engine.engine import Engine
from rewardanything_core.backends.local.engine.option_scorer import EncodedQuestion, OptionScorer
from rewardanything_core.backends.local.engine.prefix_forest import count_tree_tokens
from rewardanything_core.backends.local.engine.sequence import Sequence
from rewardanything_core.backends.local.engine.state_reader import StateReader
from rewardanything_core.backends.local.preparation import RequestPreparer
from rewardanything_core.errors import BackendError, RewardAnythingError
from rewardanything_core.types import Message, Usage

_log = logging.getLogger("rewardanything_core")

_MAX_PREFILL_TOKENS = 8192
"""Tokens of prompts to run before requests that arrived in the meantime get their turn. Not swept."""

_BURST_SECONDS = 0.005
"""Callers come in bursts. An idle worker waits this long after the first request, so that a burst starts together. Not
swept."""

_IDLE_SECONDS = 2.0
"""Seconds without a request after which the KV cache is freed. Not swept."""


@dataclass(eq=False)
class GenerateRequest:
    """A reply to generate."""

    request: Request
    """What to generate."""

    future: Future[Completion] = field(default_factory=Future)
    """Resolved by the worker; cancelled by the caller."""


@dataclass(eq=False)
class ScoreRequest:
    """Options to score."""

    questions: tuple[ChoiceRequest, ...]
    """The questions."""

    future: Future[ChoiceResult] = field(default_factory=Future)
    """Resolved by the worker; cancelled by the caller."""

    @property
    def size(self) -> int:
        """Characters of all messages: roughly the cost, and known without encoding them."""
        return sum(len(str(question.messages)) for question in self.questions)


@dataclass(eq=False)
class StateRequest:
    """Hidden states to compute."""

    prompts: tuple[tuple[Message, ...], ...]
    """The conversations."""

    layer: int
    """The number of layers to run, 1 or more."""

    future: Future[HiddenStates] = field(default_factory=Future)
    """Resolved by the worker; cancelled by the caller."""

    @property
    def size(self) -> int:
        """Characters of all messages."""
        return sum(map(len, map(str, self.prompts)))


PrefillRequest: TypeAlias = ScoreRequest | StateRequest
PendingRequest: TypeAlias = GenerateRequest | PrefillRequest


class Worker:
    """Runs a model in a thread of its own, which starts with the first request.

    Args:
        name: The model's name, for messages.
        new_engine: Makes an engine.
        scorer: Scores options with the same model.
        state_reader: Computes hidden states of the same model.
        preparer: Encodes requests.
    """

    def __init__(
        self,
        name: str,
        new_engine: Callable[[], Engine],
        scorer: OptionScorer,
        state_reader: StateReader,
        preparer: RequestPreparer,
    ) -> None:
        self._name, self.new_engine, self._preparer = name, new_engine, preparer
        self._scorer, self._state_reader = scorer, state_reader
        self._queue: queue.Queue[PendingRequest | None] = queue.Queue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.closed = False
        # What follows is used by the thread alone, and set when it starts: a forked process gets an engine of its own.
        self._engine: Engine
        self._generating: dict[Sequence, GenerateRequest]
        self._prefilling: list[PrefillRequest]

    def submit(self, pending: PendingRequest) -> None:
        """Queue a request.

        Raises:
            BackendError: the worker was closed.
        """
        with self._lock:
            if self.closed:
                raise BackendError(f"{self._name} was closed.")
            if self._thread is None or not self._thread.is_alive():  # a forked process has none of its parent's threads
                self._thread = threading.Thread(target=self._run, name=f"judge {self._name}", daemon=True)
                self._thread.start()
            self._queue.put(pending)

    def close(self) -> None:
        """Stop the thread; requests that are not done fail. Calling it twice is fine."""
        with self._lock:
            self.closed = True
            thread, self._thread = self._thread, None
            self._queue.put(None)  # wakes a thread that waits for requests
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=60)

    # --- the worker's thread

    def _run(self) -> None:
        self._restart()
        try:
            while not self.closed:
                try:
                    self._receive()
                    self._prefill()
                    self._generate()
                except Exception as error:  # noqa: BLE001  # reported to the callers; the thread must outlive it
                    _log.exception("The worker of the local model failed.")
                    failed: list[PendingRequest] = [*self._generating.values(), *self._prefilling]
                    self._restart()
                    for pending in failed:
                        self._fail(pending, error)
        finally:  # also after a SystemExit: no caller may wait for a thread that has ended
            unfinished: list[PendingRequest | None] = [*self._generating.values(), *self._prefilling]
            while not self._queue.empty():
                unfinished.append(self._queue.get())
            for request in unfinished:
                if request is not None:
                    self._fail(request, self._closed_error())

    def _restart(self) -> None:
        self._engine, self._generating, self._prefilling = self.new_engine(), {}, []

    def _receive(self) -> None:
        """Take in the requests that have arrived; wait for one if there is nothing to do."""
        if self._engine.is_idle and not self._prefilling:
            try:
                first = self._queue.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                self._engine.release_memory()
                first = self._queue.get()
            time.sleep(_BURST_SECONDS)
            self._accept(first)
        while not self._queue.empty():
            self._accept(self._queue.get())

    def _accept(self, pending: PendingRequest | None) -> None:
        if isinstance(pending, ScoreRequest | StateRequest):
            self._prefilling.append(pending)
        elif pending is not None and not pending.future.cancelled():
            future = pending.future
            try:
                sequence = self._preparer.sequence(pending.request, lambda: future.cancelled() or self.closed)
            except Exception as error:  # noqa: BLE001  # from this request's messages or grammar
                self._fail(pending, error)
            else:
                self._generating[sequence] = pending
                self._engine.add(sequence)

    def _generate(self) -> None:
        """Run one step of the engine, and hand over the sequences that left it."""
        for sequence in self._engine.step():
            pending = self._generating.pop(sequence)
            if sequence.error is not None:
                self._fail(pending, sequence.error)
            elif not sequence.is_complete:  # cancelled, or interrupted by close()
                self._fail(pending, self._closed_error())
            else:
                usage = Usage(
                    calls=1,
                    prompt_tokens=len(sequence.prompt_ids),
                    completion_tokens=sequence.num_new_tokens,
                    seconds=sequence.seconds,
                )
                tokens = tuple(sequence.pieces) if pending.request.token_probabilities else ()
                completion = Completion(answer=sequence.reply, truncated=sequence.truncated, usage=usage, tokens=tokens)
                _resolve(pending.future, completion)

    def _prefill(self) -> None:
        """Run the small requests that generate nothing, and the oldest one; leave the others for the next round.

        They come before the engine's step because they are short and have no intermediate result. Among them, small
        ones come first: questions about a principle are small, and many cases wait for their answers.
        """
        if not self._prefilling:
            return
        oldest = self._prefilling[0]
        batches: dict[int | None, list[tuple[PrefillRequest, list[Any]]]] = {}  # by layer; None: option scores
        num_tokens = 0
        for pending in sorted(self._prefilling, key=lambda pending: pending.size):
            if num_tokens >= _MAX_PREFILL_TOKENS and pending is not oldest:
                continue
            self._prefilling.remove(pending)
            if pending.future.cancelled():
                continue
            prompts: list[Any]
            try:
                if isinstance(pending, ScoreRequest):
                    layer, prompts = None, [self._preparer.question(question) for question in pending.questions]
                else:
                    layer, prompts = pending.layer, [self._preparer.prompt(prompt) for prompt in pending.prompts]
                num_tokens += count_tree_tokens(_token_ids(prompts))
            except Exception as error:  # noqa: BLE001  # from this request's messages or options
                self._fail(pending, error)
                continue
            batches.setdefault(layer, []).append((pending, prompts))
        for layer, batch in batches.items():
            self._run_batch(batch, layer)

    def _run_batch(self, batch: list[tuple[PrefillRequest, list[Any]]], layer: int | None) -> None:
        remaining = dict(enumerate(batch))

        def is_cancelled() -> bool:
            return self.closed or all(pending.future.cancelled() for pending, _ in remaining.values())

        try:
            for index, values, seconds in self._results([prompts for _, prompts in batch], layer, is_cancelled):
                pending, encoded = remaining.pop(index)
                num_tokens = count_tree_tokens(_token_ids(encoded))
                usage = Usage(calls=len(encoded), prompt_tokens=num_tokens, seconds=seconds)
                if layer is None:
                    _resolve(pending.future, ChoiceResult(answers=values, usage=usage))
                else:
                    _resolve(pending.future, HiddenStates(states=values, usage=usage))
        except Exception as error:  # noqa: BLE001  # reported to the callers
            _log.exception("The local model failed on %d requests.", len(remaining))
            if len(remaining) == 1:
                self._fail(next(iter(remaining.values()))[0], error)
                return
            for entry in remaining.values():  # one at a time, so that only those fail which fail alone
                self._run_batch([entry], layer)
            return
        for pending, _ in remaining.values():
            self._fail(pending, self._closed_error())

    def _results(
        self, batches: list[list[Any]], layer: int | None, is_cancelled: Callable[[], bool]
    ) -> Iterator[tuple[int, tuple[Any, ...], float]]:
        if layer is None:
            return self._scorer.score(batches, is_cancelled=is_cancelled)
        return self._state_reader.read(batches, layer, is_cancelled=is_cancelled)

    def _fail(self, pending: PendingRequest, error: Exception) -> None:
        if not isinstance(error, RewardAnythingError):
            cause = error
            error = BackendError(f"{self._name} failed on this request: {type(cause).__name__}: {cause}")
            error.__cause__ = cause
        if pending.future.set_running_or_notify_cancel():
            pending.future.set_exception(error)

    def _closed_error(self) -> BackendError:
        return BackendError(f"{self._name} was closed before it replied.")


def _resolve(future: Future[Any], result: object) -> None:
    if future.set_running_or_notify_cancel():  # from here on it cannot be cancelled, so the result can be set
        future.set_result(result)


def _token_ids(prompts: list[EncodedQuestion] | list[list[int]]) -> list[list[int]]:
    return [prompt.ids if isinstance(prompt, EncodedQuestion) else prompt for prompt in prompts]
