"""The judge behind metrics and modules: shared, made when first needed, and not asked for ever once it is dead."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence

from rewardanything_core import (
    BaseJudge,
    Case,
    ConfigError,
    JudgeFailure,
    Principle,
    RewardAnythingError,
    Verdict,
    default_judge,
)
from rewardanything_core.errors import JudgeUnavailableError

log = logging.getLogger(__name__)

Principles = Principle | str | Sequence[Principle | str]

_lock = threading.Lock()


class Bench:
    """Judges cases for a metric, and keeps count of failures.

    DSPy deep-copies programs and what they hold; a copy of this is itself, so that there stays one judge.
    """

    def __init__(self, judge: BaseJudge | None, *, max_failures: int | None = None) -> None:
        if max_failures is not None and max_failures < 1:
            raise ConfigError(f"max_failures must be 1 or more, or None, not {max_failures!r}.")
        self._judge = judge
        self._max_failures = max_failures
        self._in_a_row = 0
        self.failures: deque[JudgeFailure] = deque(maxlen=1000)

    @property
    def judge(self) -> BaseJudge:
        """The judge given, else the shared one."""
        return self._judge if self._judge is not None else default_judge()

    def outcomes(self, cases: Sequence[Case]) -> list[Verdict | JudgeFailure]:
        """A verdict or a failure for each case, in order.

        Raises:
            JudgeUnavailableError: this was the last of ``max_failures`` calls in a row with a failure in them; or the
                settings give no judge.
        """
        try:
            judge = self.judge
        except RewardAnythingError as error:
            raise JudgeUnavailableError(f"There is no judge, so nothing was scored. {error}") from error
        outcomes = judge.judge_batch(cases)
        failures = [outcome for outcome in outcomes if isinstance(outcome, JudgeFailure)]
        with _lock:
            self._in_a_row = self._in_a_row + 1 if failures else 0
            in_a_row = self._in_a_row
            self.failures.extend(failures)
        for failure in failures:
            log.warning("Not judged: %s: %s", failure.error_type, failure.message)
        if self._max_failures is not None and in_a_row >= self._max_failures:
            last = failures[-1]
            unavailable = JudgeUnavailableError(
                f"{in_a_row} judgements in a row failed, the last with {last.error_type}: {last.message} "
                "Nothing was scored. Set max_failures=None to go on regardless."
            )
            unavailable.last = last
            raise unavailable
        return outcomes

    def __deepcopy__(self, memo: object) -> Bench:
        return self

    def __copy__(self) -> Bench:
        return self
