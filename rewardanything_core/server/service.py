"""The judge of a server, and the way from a case to its outcome."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

from starlette.requests import Request

from rewardanything_core.agreement.calibration import Calibration
from rewardanything_core.cases import Case
from rewardanything_core.decisions import DecisionRequest, DecisionResponse, RefusalAnswer
from rewardanything_core.errors import RewardAnythingError
from rewardanything_core.judging.base import BaseJudge, Outcome
from rewardanything_core.judging.typed_questions import answer_questions
from rewardanything_core.readouts.typed_questions import calibrated
from rewardanything_core.server import errors
from rewardanything_core.server.admission import Admission
from rewardanything_core.server.bodies import BodyReader
from rewardanything_core.server.errors import APIError
from rewardanything_core.server.limits import Limits
from rewardanything_core.server.metrics import Metrics
from rewardanything_core.server.ndjson import cancel_on_disconnect
from rewardanything_core.types import JudgeFailure, Usage, Verdict

Order = Literal["input", "completed"]
T = TypeVar("T")

_log = logging.getLogger("rewardanything_core.server")


class Service:
    """One judge and the state that all requests share.

    Args:
        judge: The judge. None: it is still loading; set ``judge`` later.
        limits: The server's limits.
        predicate_calibration: Maps the probabilities of predicates. None: they stay as the model gives them.
    """

    def __init__(
        self, judge: BaseJudge | None, limits: Limits, *, predicate_calibration: Calibration | None = None
    ) -> None:
        self.judge = judge
        self.limits = limits
        self.predicate_calibration = predicate_calibration
        self.draining = False
        self.admission = Admission(limits.pending)
        self.bodies = BodyReader(limits)
        self.metrics = Metrics(
            usage=self._usage, pending=lambda: self.admission.pending, ready=lambda: self.judge is not None
        )
        self._deadlines: set[asyncio.Timeout] = set()
        self._stopped = False

    @property
    def state(self) -> Literal["ready", "loading", "draining"]:
        """The state that ``/health`` reports."""
        if self.draining:
            return "draining"
        return "loading" if self.judge is None else "ready"

    def require_judge(self) -> BaseJudge:
        """The judge.

        Raises:
            APIError: it is not loaded yet.
        """
        if self.judge is None:
            raise APIError(503, "loading", "The judge is still loading.", retry_after=5)
        return self.judge

    async def verdict(self, case: Case, request_id: str | None) -> Verdict:
        """The verdict of an admitted case.

        Args:
            case: The case.
            request_id: The request's id, for the log.

        Raises:
            APIError: there is no verdict; its ``failure`` has the reason.
        """
        judge = self.require_judge()
        started = time.perf_counter()
        try:
            verdict = await self._run(lambda: judge.ajudge(case), case.id, request_id)
        except APIError as error:
            assert error.failure is not None
            self.metrics.cases.labels(error.failure.error_type).inc()
            raise
        seconds = time.perf_counter() - started
        self.admission.record_duration(seconds)
        self.metrics.case_seconds.observe(seconds)
        self.metrics.cases.labels("stored" if verdict.cached else "verdict").inc()
        return verdict

    async def outcome(self, case: Case, request_id: str | None) -> Outcome:
        """`verdict`, with a failure as a value.

        Args:
            case: The case.
            request_id: The request's id, for the log.
        """
        try:
            return await self.verdict(case, request_id)
        except APIError as error:
            assert error.failure is not None
            return error.failure

    async def decide(self, decision: DecisionRequest, request_id: str | None) -> DecisionResponse:
        """The answers to admitted questions.

        Args:
            decision: The input and the questions.
            request_id: The request's id, for the log.

        Raises:
            APIError: there are no answers.
        """
        judge = self.require_judge()
        started = time.perf_counter()
        try:
            response = await self._run(lambda: answer_questions(judge, decision), None, request_id)
        except APIError as error:
            assert error.failure is not None
            self.metrics.questions.labels(error.failure.error_type).inc(len(decision.questions))
            raise
        self.admission.record_duration((time.perf_counter() - started) / len(decision.questions))
        for answer in response.answers:
            self.metrics.questions.labels("refused" if isinstance(answer, RefusalAnswer) else "answered").inc()
        if self.predicate_calibration is not None:
            return replace(response, answers=calibrated(response.answers, self.predicate_calibration))
        return response

    async def _run(self, work: Callable[[], Awaitable[T]], case_id: str | None, request_id: str | None) -> T:
        """The result of something that the judge does, within the time limit."""
        if self._stopped:
            raise errors.case_abandoned(case_id)
        deadline = asyncio.timeout(self.limits.seconds)
        try:
            async with deadline:
                self._deadlines.add(deadline)
                return await work()
        except TimeoutError:
            if self._stopped:
                raise errors.case_abandoned(case_id) from None
            raise errors.case_timeout(case_id, self.limits.seconds) from None
        except RewardAnythingError as error:
            raise errors.judging_failed(error, case_id, request_id) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # The judge cancelled the work itself: its owner has closed it, for example.
            _log.error("%s: the judge cancelled the case", request_id or "-")
            raise errors.internal_error(case_id) from None
        except Exception as error:
            _log.exception("%s: judging failed with an internal error", request_id or "-")
            raise errors.internal_error(case_id) from error
        finally:
            self._deadlines.discard(deadline)

    def stop(self) -> None:
        """Abandon all that is in flight: cases end as failures, and bodies being read are answered with 503."""
        self._stopped = True
        self.bodies.stop()
        now = asyncio.get_running_loop().time()
        for deadline in list(self._deadlines):
            if not deadline.expired():
                deadline.reschedule(now)

    def _usage(self) -> Usage | None:
        return self.judge.usage if self.judge else None


async def judge_request(service: Service, request: Request, parse: Callable[[Any, Limits], Case]) -> Verdict:
    """The verdict of the one case in a request's body.

    Args:
        service: The judge and its limits.
        request: The request.
        parse: Makes a case from the body's JSON.

    Raises:
        APIError: there is no verdict.
        InvalidCaseError: the case cannot be judged.
    """
    service.require_judge()
    service.admission.check()
    case = parse(await service.bodies.read_json(request), service.limits)
    request.state.cases = 1
    service.admission.admit()
    try:
        return await cancel_on_disconnect(request.receive, service.verdict(case, request.state.request_id))
    finally:
        service.admission.release()


class BatchOutcomes:
    """The outcomes of many cases, some of which were invalid from the start. Judging begins at once.

    Args:
        service: The judge and its limits.
        items: The cases, or their failures. All must have been admitted; each is released when it is done.
        request_id: The request's id, for the log.
    """

    def __init__(self, service: Service, items: Sequence[Case | JudgeFailure], request_id: str | None) -> None:
        self._service = service
        self._request_id = request_id
        self._window = asyncio.Semaphore(service.limits.window)
        self._done: asyncio.Queue[tuple[int, Outcome]] = asyncio.Queue()
        self._tasks = [asyncio.create_task(self._run(index, item)) for index, item in enumerate(items)]
        for task in self._tasks:
            task.add_done_callback(lambda _: service.admission.release())

    async def _run(self, index: int, item: Case | JudgeFailure) -> Outcome:
        if isinstance(item, JudgeFailure):
            self._service.metrics.cases.labels(item.error_type).inc()
            outcome: Outcome = item
        else:
            async with self._window:
                outcome = await self._service.outcome(item, self._request_id)
        self._done.put_nowait((index, outcome))
        return outcome

    async def outcomes(self, order: Order) -> AsyncGenerator[tuple[int, Outcome], None]:
        """``(index, outcome)`` of each case. Closing the generator early cancels the rest.

        Args:
            order: In the order of the cases, or of their completion.
        """
        try:
            for index, task in enumerate(self._tasks):
                if order == "completed":
                    yield await self._done.get()
                else:
                    # Awaiting the task itself would propagate a cancellation to it before the others are cancelled,
                    # and the freed place in the window would start another case.
                    await asyncio.wait([task])
                    yield index, task.result()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
