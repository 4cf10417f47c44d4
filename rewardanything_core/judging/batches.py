"""Judging through providers' batch APIs: submit the requests, and judge when the replies are there, in any process."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rewardanything_core.backends.budget import Reservation
from rewardanything_core.backends.endpoint.backend import EndpointBackend
from rewardanything_core.backends.endpoint.batch_session import BatchSession, PendingRequest, answering
from rewardanything_core.backends.endpoint.client import EndpointClient
from rewardanything_core.cases import Case
from rewardanything_core.concurrency import background_loop
from rewardanything_core.errors import BackendError, BatchPendingError, ConfigError
from rewardanything_core.judging.batch_jobs import fetch, send
from rewardanything_core.judging.streaming import Outcome
from rewardanything_core.store.batches import Batch, BatchRecords
from rewardanything_core.types import JudgeFailure

if TYPE_CHECKING:
    from rewardanything_core.judging.base import BaseJudge
    from rewardanything_core.judging.judge import Judge

_log = logging.getLogger("rewardanything_core")

LIVE_BELOW = 50
"""With fewer requests left over after a batch, such as those whose replies were not verdicts, they are sent at once."""

POLL_SECONDS = 60.0
"""Longest time between two looks at a batch."""

_FIRST_POLL_SECONDS = 2.0
_CASES_AT_ONCE = 1_000

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class BatchProgress:
    """How far the cases are."""

    outcomes: Mapping[int, Outcome]
    """Place of a case -> its outcome, for those that have one."""

    waiting: Sequence[Batch]
    """The batches that others wait for."""


class BatchRunner:
    """Judges cases through batches.

    Args:
        judge: A judge, jury or cascade whose models behind endpoints write verdicts.
        report: Called with what happens.
        poll_seconds: Longest time between two looks at a batch, in seconds.

    Raises:
        ConfigError: batches are not possible with this judge.
    """

    def __init__(self, judge: BaseJudge, *, report: Report | None = None, poll_seconds: float = POLL_SECONDS) -> None:
        judges = judge.single_judges
        if not judges:
            raise ConfigError(f"A {type(judge).__name__} cannot judge through batches.")
        self._judge, self._poll_seconds = judge, poll_seconds
        self._report = report or (lambda line: _log.info("%s", line))
        self._backends: dict[EndpointClient, EndpointBackend] = {}
        for each in judges:
            if isinstance(each.backend, EndpointBackend):
                _check(each)
                each.backend.check_batches()
                self._backends[each.backend.client] = each.backend
        if not self._backends:
            raise ConfigError(
                f"Batches need a model behind an endpoint that has them, and {judge.model} has none.",
                hint="Judge without batch=True (--batch).",
            )
        self._by_address = {_address(backend.spec()): backend for backend in self._backends.values()}
        self._records: BatchRecords = judges[0].store.batches()
        self._reservations: dict[str, Reservation] = {}

    def run(self, cases: Iterable[Case | Mapping[str, Any]], *, wait: bool) -> BatchProgress:
        """Judge what can be judged now, and submit the rest.

        Args:
            cases: Cases, or mappings with their fields.
            wait: Whether to wait for the batches, which may take a day, until all cases have an outcome.

        Raises:
            BackendError: the provider refused a batch, or could not be reached.
        """
        checked = [Case.of(case) for case in cases]
        outcomes: dict[int, Outcome] = {}
        for batch in self._ours("prepared"):  # by a process that was killed
            self._wait_for(send(self._backend(batch), self._records, batch, is_new=False))
        self._fetch()
        while True:
            session = BatchSession(self._records, self._reservations)
            self._judge_with(session, checked, outcomes)
            if session.pending and session.answered and len(session.pending) < LIVE_BELOW:
                self._report(f"{len(session.pending)} requests are left over and sent at once.")
                self._judge_with(BatchSession(self._records, self._reservations, sends=True), checked, outcomes)
            elif session.pending:
                self._submit(session.pending)
            waiting = self._ours("submitted")
            if len(outcomes) == len(checked) or not wait:
                return BatchProgress(outcomes=outcomes, waiting=waiting if len(outcomes) < len(checked) else ())
            self._wait_until_one_ends()

    # --- judging

    def _judge_with(self, session: BatchSession, cases: Sequence[Case], outcomes: dict[int, Outcome]) -> None:
        """Judge the cases without an outcome; those that wait for a batch get none."""
        todo = [place for place in range(len(cases)) if place not in outcomes]
        for start in range(0, len(todo), _CASES_AT_ONCE):
            places = todo[start : start + _CASES_AT_ONCE]
            cached = self._judge.cached_verdicts([cases[place] for place in places])
            outcomes.update((p, verdict) for p, verdict in zip(places, cached, strict=True) if verdict is not None)
            left = [place for place in places if place not in outcomes]
            with answering(session):
                work = background_loop.submit(background_loop.gather(self._judge._outcome(cases[p]) for p in left))
            done: list[Outcome] = background_loop.wait(work)
            judged = zip(left, done, strict=True)
            outcomes.update((place, outcome) for place, outcome in judged if not _is_pending(outcome))

    # --- batches

    def _submit(self, pending: Mapping[str, PendingRequest]) -> None:
        for client, backend in self._backends.items():
            bodies = {key: request.body for key, request in pending.items() if request.client is client}
            for chunk in _chunks(bodies, backend):
                batch = self._records.prepare(backend.model, backend.spec(), chunk)
                if batch.state == "prepared":
                    batch = self._wait_for(send(backend, self._records, batch, is_new=True))
                    self._report(f"Submitted {batch.requests:,} requests to {batch.model} as batch {batch.id}.")

    def _fetch(self) -> bool:
        """Fetch the batches that have ended; whether there was one."""
        ended = False
        for batch in self._ours("submitted"):
            now = self._wait_for(fetch(self._backend(batch), self._records, batch))
            if now.state == "submitted":
                continue
            ended = True
            self._report(f"Batch {now.id}: {now.detail}.")
            if now.state == "failed":
                raise BackendError(f"{now.model} refused the batch {now.id}: {now.detail}.")
        return ended

    def _wait_until_one_ends(self) -> None:
        seconds = min(_FIRST_POLL_SECONDS, self._poll_seconds)
        while not self._fetch():
            time.sleep(seconds)
            seconds = min(2 * seconds, self._poll_seconds)

    def _ours(self, state: str) -> list[Batch]:
        """The batches of this judge's endpoints in a state."""
        return [
            batch
            for batch in self._records.all()
            if batch.state == state and _address(batch.backend) in self._by_address
        ]

    def _backend(self, batch: Batch) -> EndpointBackend:
        return self._by_address[_address(batch.backend)]

    def _wait_for(self, work: Any) -> Batch:
        batch: Batch = background_loop.wait(background_loop.submit(work))
        return batch


def _address(spec: Mapping[str, Any]) -> str:
    """What makes a backend another one for batches; limits such as a timeout do not."""
    return json.dumps([spec.get("model"), spec.get("api_base")])


def _is_pending(outcome: Outcome) -> bool:
    return isinstance(outcome, JudgeFailure) and outcome.error_type == BatchPendingError.__name__


def _chunks(bodies: Mapping[str, Mapping[str, Any]], backend: EndpointBackend) -> Iterable[dict[str, Any]]:
    """The requests in parts that a batch can hold."""
    max_requests, max_bytes = backend.batch_limits
    chunk: dict[str, Any] = {}
    size = 0
    for request_id, body in bodies.items():
        length = len(json.dumps(body)) + 200
        if chunk and (len(chunk) == max_requests or size + length > max_bytes):
            yield chunk
            chunk, size = {}, 0
        chunk[request_id] = body
        size += length
    if chunk:
        yield chunk


def _check(judge: Judge) -> None:
    """Refuse options that batches cannot serve."""
    if judge.readout != "generate":
        raise ConfigError(f"Batches are for written verdicts (readout='generate'), not readout={judge.readout!r}.")
    if judge.screens:
        raise ConfigError("Batches do not go with screen='on', whose questions are answered at once.")
    if judge.cache != "on":
        raise ConfigError(f"Batches need the verdict store, and cache is {judge.cache!r}; use cache='on'.")
