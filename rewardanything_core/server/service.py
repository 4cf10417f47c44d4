"""The judge of a server, and what happens between a case and its outcome."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Literal

from rewardanything_core.cases import Case
from rewardanything_core.errors import RewardAnythingError
from rewardanything_core.judging.base import BaseJudge, Outcome
from rewardanything_core.server import refusals
from rewardanything_core.server.admission import Admission
from rewardanything_core.server.limits import Limits
from rewardanything_core.server.metrics import Metrics
from rewardanything_core.server.refusals import Refusal
from rewardanything_core.types import JudgeFailure, Usage, Verdict

Order = Literal["input", "completed"]

_log = logging.getLogger("rewardanything_core.server")


class Service:
    """One judge for all requests.

    Args:
        judge: The judge. None: it is still being loaded, and will be set.
        limits: How much is taken on.
    """

    def __init__(self, judge: BaseJudge | None, limits: Limits) -> None:
        self.judge = judge
        self.limits = limits
        self.draining = False
        self.admission = Admission(limits.pending)
        self.metrics = Metrics(
            usage=self._usage, pending=lambda: self.admission.pending, ready=lambda: self.judge is not None
        )
        self._deadlines: set[asyncio.Timeout] = set()
        self._cut_off = False

    @property
    def state(self) -> Literal["ready", "loading", "draining"]:
        """What the server is up to."""
        if self.draining:
            return "draining"
        return "loading" if self.judge is None else "ready"

    def ready(self) -> BaseJudge:
        """The judge.

        Raises:
            Refusal: it is not there yet.
        """
        if self.judge is None:
            raise Refusal(503, "loading", "The judge is still being loaded.", retry_after=5)
        return self.judge

    async def verdict(self, case: Case, request_id: str | None) -> Verdict:
        """The verdict of a case that was admitted.

        Raises:
            Refusal: there is none; its ``failure`` says why.
        """
        started = time.perf_counter()
        try:
            verdict = await self._judged(case, request_id)
        except Refusal as refusal:
            assert refusal.failure is not None
            self.metrics.cases.labels(refusal.failure.error_type).inc()
            raise
        seconds = time.perf_counter() - started
        self.admission.took(seconds)
        self.metrics.case_seconds.observe(seconds)
        self.metrics.cases.labels("stored" if verdict.cached else "verdict").inc()
        return verdict

    async def outcome(self, case: Case, request_id: str | None) -> Outcome:
        """`verdict`, with a failure as a value."""
        try:
            return await self.verdict(case, request_id)
        except Refusal as refusal:
            assert refusal.failure is not None
            return refusal.failure

    async def _judged(self, case: Case, request_id: str | None) -> Verdict:
        judge = self.ready()
        if self._cut_off:
            raise refusals.stopping(case.id)
        deadline = asyncio.timeout(self.limits.seconds)
        try:
            async with deadline:
                self._deadlines.add(deadline)
                return await judge.ajudge(case)
        except TimeoutError:
            raise refusals.stopping(case.id) if self._cut_off else refusals.late(case.id, self.limits.seconds) from None
        except RewardAnythingError as error:
            raise refusals.failed(error, case.id, request_id) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            _log.error("%s: the judge gave the case up", request_id or "-")  # it was closed, say, by its owner
            raise refusals.broken(case.id) from None
        except Exception as error:
            _log.exception("%s: judging broke", request_id or "-")
            raise refusals.broken(case.id) from error
        finally:
            self._deadlines.discard(deadline)

    def cut_off(self) -> None:
        """End every case that is with the judge, and each that comes, as a failure: time is up."""
        self._cut_off = True
        now = asyncio.get_running_loop().time()
        for deadline in list(self._deadlines):
            if not deadline.expired():
                deadline.reschedule(now)

    def _usage(self) -> Usage | None:
        return self.judge.usage if self.judge else None


class Batch:
    """The outcomes of many cases, some of which may have failed before they could be judged.

    Judging starts at once. Every case must have been admitted; each leaves when it is done.
    """

    def __init__(self, service: Service, items: Sequence[Case | JudgeFailure], request_id: str | None) -> None:
        self._service = service
        self._request_id = request_id
        self._window = asyncio.Semaphore(service.limits.window)
        self._done: asyncio.Queue[tuple[int, Outcome]] = asyncio.Queue()
        self._tasks = [asyncio.create_task(self._one(index, item)) for index, item in enumerate(items)]
        for task in self._tasks:
            task.add_done_callback(lambda _: service.admission.leave())

    async def _one(self, index: int, item: Case | JudgeFailure) -> Outcome:
        if isinstance(item, JudgeFailure):
            self._service.metrics.cases.labels(item.error_type).inc()
            outcome: Outcome = item
        else:
            async with self._window:
                outcome = await self._service.outcome(item, self._request_id)
        self._done.put_nowait((index, outcome))
        return outcome

    async def outcomes(self, order: Order) -> AsyncGenerator[tuple[int, Outcome], None]:
        """``(index, outcome)`` of each case, as they are done or in the order given. Leaving early cancels the rest."""
        try:
            for index, task in enumerate(self._tasks):
                if order == "completed":
                    yield await self._done.get()
                else:
                    await asyncio.wait([task])  # to await it would also cancel it first, and let the next one begin
                    yield index, task.result()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
