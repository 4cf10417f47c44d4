"""The judge of a metric or module: shared, loaded when first needed, and given up when it keeps failing."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable, Sequence

from rewardanything_core import (
    Abstention,
    BaseJudge,
    Case,
    ConfigError,
    JudgeFailure,
    Principle,
    RewardAnythingError,
    Verdict,
    default_judge,
    resolve_judge,
)
from rewardanything_core.errors import SETUP_ERRORS, BudgetExceededError, JudgeUnavailableError, error_from_failure

_log = logging.getLogger(__name__)

Principles = Principle | str | Sequence[Principle | str]

DEFAULT_MAX_FAILURES = 10
"""Failed judgements in a row after which a run stops."""

_UNUSABLE = (*SETUP_ERRORS, BudgetExceededError)
"""Errors that every case has until the settings are corrected or the budget is raised."""


class JudgeRunner:
    """Judges cases and records failures. Thread-safe.

    DSPy deep-copies programs and what they contain; a copy of a runner is the same runner, with the same judge.

    Args:
        judge: The judge, or a model string for `resolve_judge`. None: `default_judge()`.
        max_failures: Failed judgements in a row after which the run stops, 1 or more. None: no limit.
    """

    def __init__(self, judge: BaseJudge | str | None, *, max_failures: int | None = DEFAULT_MAX_FAILURES) -> None:
        if max_failures is not None and max_failures < 1:
            raise ConfigError(f"max_failures must be 1 or more, or None, not {max_failures!r}.")
        self._judge = resolve_judge(judge)
        self._max_failures = max_failures
        self._streak = 0
        self._lock = threading.Lock()
        self.failures: deque[JudgeFailure] = deque(maxlen=1000)
        """The most recent failures, oldest first."""

    @property
    def judge(self) -> BaseJudge:
        """The judge given, else the default judge.

        Raises:
            JudgeUnavailableError: the settings give no judge.
        """
        if self._judge is not None:
            return self._judge
        try:
            return default_judge()
        except RewardAnythingError as error:
            raise JudgeUnavailableError(f"There is no judge, so nothing was scored. {error}") from error

    def outcomes(self, cases: Sequence[Case]) -> list[Verdict | JudgeFailure]:
        """Judge cases.

        Returns:
            A verdict or a failure for each case, in order.

        Raises:
            JudgeUnavailableError: the judge cannot be used before its settings are corrected; or this was the last of
                ``max_failures`` calls in a row with a failure.
        """
        try:
            outcomes = self.judge.judge_batch(cases)
        except RewardAnythingError as error:
            raise JudgeUnavailableError(f"The judge cannot be used. {error} Nothing was scored.") from error
        failures = [outcome for outcome in outcomes if isinstance(outcome, JudgeFailure)]
        self.record(failures)
        failures = [failure for failure in failures if not isinstance(failure, Abstention)]
        with self._lock:
            self._streak = self._streak + 1 if failures else 0
            streak = self._streak
        for failure in failures:
            reason = error_from_failure(failure)
            if isinstance(reason, _UNUSABLE):
                raise JudgeUnavailableError(f"The judge cannot be used. {reason} Nothing was scored.", last=failure)
        if self._max_failures is not None and streak >= self._max_failures:
            raise JudgeUnavailableError(
                f"{streak} judgements in a row failed, the last with {failures[-1].summary}",
                hint="Nothing was scored. Set max_failures=None to continue regardless.",
                last=failures[-1],
            )
        return outcomes

    def record(self, failures: Iterable[JudgeFailure]) -> None:
        """Add failures to `failures`, and log them."""
        for failure in failures:
            self.failures.append(failure)
            _log.log(
                logging.INFO if isinstance(failure, Abstention) else logging.WARNING, "Not judged: %s", failure.summary
            )

    def __deepcopy__(self, memo: object) -> JudgeRunner:
        return self

    def __copy__(self) -> JudgeRunner:
        return self
