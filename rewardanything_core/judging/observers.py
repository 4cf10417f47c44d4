"""Observers of verdicts: one extension point for tracing, metrics and progress.

An observer is a callable with one argument, a `VerdictEvent`. It is called once for every case that a public method of
a judge (``judge``, ``judge_batch``, ``judge_stream`` and their async forms) gives an outcome for, cached verdicts
included, and runs in a copy of the caller's context, so that tracing libraries find the span that was active at the
call. What an observer raises is logged and never affects a verdict.
"""

from __future__ import annotations

import contextvars
import inspect
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from rewardanything_core.cases import Case
from rewardanything_core.concurrency import background_loop
from rewardanything_core.errors import ConfigError
from rewardanything_core.types import JudgeFailure, Verdict

if TYPE_CHECKING:
    from rewardanything_core.judging.base import BaseJudge

_log = logging.getLogger("rewardanything_core")

FLUSH_SECONDS = 5.0
"""How long `flush_observers` waits for asynchronous observers."""


@dataclass(frozen=True, kw_only=True)
class VerdictEvent:
    """The outcome of one case."""

    judge: BaseJudge
    """The judge whose public method was called. The jurors of a jury are not reported separately."""

    case: Case | None
    """The case. None: an item of ``judge_stream`` was not a valid case."""

    outcome: Verdict | JudgeFailure
    """What the caller gets; `judge` and `ajudge` raise a failure's error."""

    started_ns: int
    """When the case was submitted, in nanoseconds since the epoch."""

    ended_ns: int
    """When its outcome was known, likewise."""


Observer: TypeAlias = Callable[[VerdictEvent], Awaitable[None] | None]
"""Called with each event. The caller does not wait for a coroutine function, which runs on the package's event loop."""

NAMED_OBSERVERS = ("otel", "otel-spans")
"""Observers that a settings file can name; see `as_observer`."""

_process_wide: list[Observer] = []
_running: set[Future[None]] = set()
_lock = threading.Lock()


def as_observer(observer: Observer | str) -> Observer:
    """The observer that a name means; any other observer is returned.

    Args:
        observer: An observer, ``otel`` (OpenTelemetry events) or ``otel-spans`` (the same as spans).

    Raises:
        ConfigError: it is neither one of these names nor callable.
        MissingExtraError: OpenTelemetry is not installed.
    """
    if isinstance(observer, str) and observer in NAMED_OBSERVERS:
        from rewardanything_core.judging.opentelemetry import EvaluationEvents

        return EvaluationEvents(signal="spans" if observer == "otel-spans" else "events")
    if not callable(observer):
        raise ConfigError(
            f"on_verdict takes functions of an event, or the names {' and '.join(NAMED_OBSERVERS)}, not {observer!r}."
        )
    return observer


def add_observer(observer: Observer) -> None:
    """Observe all judges of this process, from the next call on. Adding an observer again has no effect."""
    with _lock:
        if observer not in _process_wide:
            _process_wide.append(observer)


def remove_observer(observer: Observer) -> None:
    """Stop observing; an observer that was never added is ignored."""
    with _lock:
        if observer in _process_wide:
            _process_wide.remove(observer)


def flush_observers(timeout: float = FLUSH_SECONDS) -> None:
    """Wait until the asynchronous observers called so far have finished.

    Args:
        timeout: Longest wait, in seconds.
    """
    deadline = time.monotonic() + timeout
    for future in list(_running):
        try:
            future.result(timeout=max(0.0, deadline - time.monotonic()))
        except Exception as error:  # noqa: BLE001  # an observer's error, or its slowness, is not the caller's
            _log.warning("An observer of verdicts did not finish: %s: %s", type(error).__name__, error)


class Notifier:
    """Reports the outcomes of one call to a judge's observers.

    Args:
        judge: The judge that was called.
        observers: Its own observers; those of the process are added.
    """

    def __init__(self, judge: BaseJudge, observers: Sequence[Observer]) -> None:
        self._judge = judge
        self._observers = [*observers, *_process_wide]
        self._context = contextvars.copy_context() if self._observers else None

    def __bool__(self) -> bool:
        """Whether there is any observer."""
        return bool(self._observers)

    def start(self) -> int:
        """The time at which a case is submitted, for `report`; 0 if there is no observer."""
        return time.time_ns() if self._observers else 0

    def report(self, case: Case | None, outcome: Verdict | JudgeFailure, started_ns: int) -> None:
        """Call all observers with the outcome of a case.

        Args:
            case: The case; None if it was not a valid one.
            outcome: Its outcome.
            started_ns: What `start` returned.
        """
        if self._context is None:
            return
        event = VerdictEvent(
            judge=self._judge, case=case, outcome=outcome, started_ns=started_ns, ended_ns=time.time_ns()
        )
        for observer in self._observers:
            self._context.copy().run(_call, observer, event)


def _call(observer: Observer, event: VerdictEvent) -> None:
    try:
        awaitable = observer(event)
        if inspect.isawaitable(awaitable):
            future = background_loop.submit(_finish(awaitable))
            _running.add(future)
            future.add_done_callback(_running.discard)
    except Exception:  # noqa: BLE001  # an observer never affects a verdict
        _log.exception("An observer of verdicts failed; the verdict is unaffected.")


async def _finish(awaitable: Awaitable[Any]) -> None:
    try:
        await awaitable
    except Exception:  # noqa: BLE001  # an observer never affects a verdict
        _log.exception("An observer of verdicts failed; the verdict is unaffected.")
