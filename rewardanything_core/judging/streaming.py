"""Outcomes of many cases in the order of completion, with a bounded number in flight."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeAlias

from rewardanything_core.cases import Case
from rewardanything_core.concurrency import background_loop
from rewardanything_core.errors import BudgetExceededError, ConfigError, InvalidCaseError, error_from_failure
from rewardanything_core.judging.observers import Notifier
from rewardanything_core.types import JudgeFailure, Verdict

if TYPE_CHECKING:
    from rewardanything_core.judging.base import BaseJudge

Outcome: TypeAlias = Verdict | JudgeFailure
CaseLike: TypeAlias = Case | Mapping[str, Any]


def stream(judge: BaseJudge, cases: Iterable[CaseLike], *, window: int, ordered: bool) -> Iterator[tuple[int, Outcome]]:
    """The body of `BaseJudge.judge_stream`.

    Args:
        judge: The judge.
        cases: Cases, or mappings with their fields.
        window: Maximum number of cases in flight or waiting to be yielded, 1 or more.
        ordered: Yield in input order.
    """
    _check_window(window)
    notifier = Notifier(judge, judge.observers)
    source = enumerate(cases)
    completed: queue.SimpleQueue[int] = queue.SimpleQueue()
    pending: dict[int, Future[Outcome]] = {}
    submitted: dict[int, tuple[Case | None, int]] = {}
    done: dict[int, Outcome | Future[Outcome]] = {}
    next_index = 0
    try:
        while True:
            if len(pending) + len(done) < window and (item := next(source, None)) is not None:
                index, case = item
                started = notifier.start()
                valid, outcome = _without_judging(judge, case)
                submitted[index] = valid, started
                if outcome is not None:
                    done[index] = outcome
                elif valid is not None:
                    pending[index] = background_loop.submit(judge._outcome(valid))
                    pending[index].add_done_callback(lambda _, index=index: completed.put(index))  # type: ignore[misc]
            elif pending:
                index = completed.get()
                done[index] = pending.pop(index)
            else:
                return
            while not completed.empty():
                index = completed.get_nowait()
                done[index] = pending.pop(index)
            while done and (not ordered or next_index in done):
                index = next_index if ordered else next(iter(done))
                next_index += 1
                finished = done.pop(index)
                result = finished.result() if isinstance(finished, Future) else finished
                case_of, started = submitted.pop(index)
                notifier.report(case_of, result, started)
                yield index, result
    finally:
        for future in pending.values():
            future.cancel()


def stream_within_budget(judge: BaseJudge, cases: Iterable[CaseLike], **options: Any) -> Iterator[tuple[int, Outcome]]:
    """`BaseJudge.judge_stream` for work that needs every case.

    Once the judge's budget is used up no further case is begun. The outcomes of those in flight are yielded, and stored
    as always, so that the same work can be continued.

    Args:
        judge: The judge.
        cases: Cases, or mappings with their fields.
        **options: Options of `BaseJudge.judge_stream`.

    Raises:
        BudgetExceededError: the budget is used up, after what was in flight.
    """
    stopped: list[JudgeFailure] = []

    def until_stopped() -> Iterator[CaseLike]:
        for case in cases:
            if stopped:
                return
            yield case

    for index, outcome in judge.judge_stream(until_stopped(), **options):
        if is_out_of_budget(outcome):
            assert isinstance(outcome, JudgeFailure)
            stopped.append(outcome)
        else:
            yield index, outcome
    if stopped:
        raise error_from_failure(stopped[0])


def is_out_of_budget(outcome: Outcome) -> bool:
    """Whether a case was not judged since the judge's budget is used up."""
    return isinstance(outcome, JudgeFailure) and outcome.error_type == BudgetExceededError.__name__


async def astream(
    judge: BaseJudge, cases: Iterable[CaseLike] | AsyncIterable[CaseLike], *, window: int, ordered: bool
) -> AsyncGenerator[tuple[int, Outcome], None]:
    """The body of `BaseJudge.ajudge_stream`; for the arguments see `stream`."""
    _check_window(window)
    notifier = Notifier(judge, judge.observers)
    completed: asyncio.Queue[tuple[int, Case | None, Outcome | asyncio.Future[Outcome], int] | None] = asyncio.Queue()
    room = asyncio.Semaphore(window)
    pending: set[asyncio.Future[Outcome]] = set()

    async def feed() -> int:
        """Submit all cases, as room permits, and return their number."""
        source, count = _iterate(cases), 0
        while True:
            await room.acquire()
            try:
                item = await anext(source)
            except StopAsyncIteration:
                return count
            submit(count, item)
            count += 1

    def submit(index: int, item: CaseLike) -> None:
        started = notifier.start()
        case = _valid(judge, item)
        if isinstance(case, JudgeFailure):
            completed.put_nowait((index, None, case, started))
            return
        future = asyncio.wrap_future(background_loop.submit(judge._outcome(case)))
        pending.add(future)
        future.add_done_callback(lambda done: completed.put_nowait((index, case, done, started)))

    feeder = asyncio.ensure_future(feed())
    feeder.add_done_callback(lambda _: completed.put_nowait(None))
    total: int | None = None
    waiting: dict[int, Outcome] = {}
    count = 0
    try:
        while total is None or count < total:
            if (item := await completed.get()) is None:
                total = feeder.result()
                continue
            index, case, result, started = item
            if isinstance(result, asyncio.Future):
                pending.discard(result)
                result = result.result()
            notifier.report(case, result, started)
            waiting[index] = result
            while waiting and (not ordered or count in waiting):
                index = count if ordered else next(iter(waiting))
                count += 1
                room.release()
                yield index, waiting.pop(index)
    finally:
        feeder.cancel()
        for future in pending:
            future.cancel()


def _without_judging(judge: BaseJudge, item: CaseLike) -> tuple[Case | None, Outcome | None]:
    """The case, if it is valid, and its outcome, if it needs no judging."""
    case = _valid(judge, item)
    return (None, case) if isinstance(case, JudgeFailure) else (case, judge.cached_verdict(case))


def _valid(judge: BaseJudge, item: CaseLike) -> Case | JudgeFailure:
    try:
        return Case.of(item)
    except InvalidCaseError as error:
        return JudgeFailure(
            case_id=error.case_id, error_type=type(error).__name__, message=str(error), model=judge.model
        )


async def _iterate(cases: Iterable[CaseLike] | AsyncIterable[CaseLike]) -> AsyncIterator[CaseLike]:
    if isinstance(cases, AsyncIterable):
        async for case in cases:
            yield case
    else:
        for case in cases:
            yield case


def _check_window(window: int) -> None:
    if window < 1:
        raise ConfigError(f"window must be 1 or more, not {window!r}.")
