"""Evaluating texts within a budget of model calls; a case is judged once with each text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rewardanything_core.alignment.task import AlignmentTask, Evaluation
from rewardanything_core.errors import (
    BudgetExceededError,
    ContextLengthError,
    InvalidCaseError,
    RefusalError,
    RewardAnythingError,
    VerdictParseError,
    error_from_failure,
)

Progress = Callable[[int, int, str], None]
"""Called with the number of calls so far, the most that are allowed, and a line about what was done, or ``""``."""

_ABOUT_THE_CASE = (ContextLengthError, InvalidCaseError, RefusalError, VerdictParseError)
_CASES_AT_ONCE = 128  # before it is noticed that the judge cannot be used


class Evaluator:
    """A task with the evaluations made so far, and the number of calls left.

    Args:
        task: What is aligned.
        max_calls: Maximum number of model calls.
        progress: Called after each step.
    """

    def __init__(self, task: AlignmentTask, max_calls: int, progress: Progress | None) -> None:
        self.task = task
        self.max_calls = max_calls
        self.rewriting_calls = 0
        self.error: RewardAnythingError | None = None
        """The error that ended the search, which the optimizer may have caught."""
        self._progress = progress or (lambda *_: None)
        self._calls_before = task.calls
        self._made: dict[tuple[str, int], Evaluation] = {}
        task.on_judged = self.report

    @property
    def calls(self) -> int:
        """Number of calls so far."""
        return self.task.calls - self._calls_before + self.rewriting_calls

    def report(self, line: str = "") -> None:
        """Report progress.

        Args:
            line: What was done. Empty: only the number of calls changed.
        """
        self._progress(self.calls, self.max_calls, line)

    def cost(self, cases: int) -> int:
        """The number of calls that judging so many cases takes, by the mean of those judged so far."""
        judged = [one.calls for one in self._made.values() if one.failure is None]
        each = max(self.task.calls_per_case, sum(judged) / len(judged) if judged else 0)
        return math.ceil(cases * each)

    def allows(self, calls: int) -> bool:
        """Whether so many more calls are within the budget."""
        return self.calls + calls <= self.max_calls

    def evaluate(self, text: str, cases: Sequence[int]) -> list[Evaluation]:
        """Judge cases with a text, or return the evaluations made before, in the order of the cases.

        Args:
            text: A text that the task's ``prepared`` returned.
            cases: Numbers of cases.

        Raises:
            BudgetExceededError: the judge's budget is used up.
            RewardAnythingError: all judgements failed, and not because of what the cases contain.
        """
        missing = [case for case in cases if (text, case) not in self._made]
        for start in range(0, len(missing), _CASES_AT_ONCE):
            batch = missing[start : start + _CASES_AT_ONCE]
            try:
                made = self.task.evaluate(text, batch)
            except BudgetExceededError as error:
                self.error = error
                raise
            self._raise_if_unusable(made)
            self._made.update({(text, case): one for case, one in zip(batch, made, strict=True)})
        return [self._made[text, case] for case in cases]

    def agreements(self, text: str, cases: Sequence[int]) -> list[float]:
        """The agreement on each case, 0..1; 0 where the judgement failed.

        Args:
            text: See `evaluate`.
            cases: Numbers of cases.
        """
        return [one.agreement or 0.0 for one in self.evaluate(text, cases)]

    def _raise_if_unusable(self, made: Sequence[Evaluation]) -> None:
        errors = [error_from_failure(one.failure) for one in made if one.failure is not None]
        stopped = [error for error in errors if isinstance(error, BudgetExceededError)]
        if stopped:
            self.error = stopped[0]
            raise stopped[0]
        if errors and len(errors) == len(made) and not any(isinstance(error, _ABOUT_THE_CASE) for error in errors):
            self.error = errors[0]
            raise errors[0]
