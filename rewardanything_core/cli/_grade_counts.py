"""What became of the rows of ``ra-judge grade``: counts for the summary, and what an earlier run wrote for a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewardanything_core import Abstention, JudgeFailure, Verdict
from rewardanything_core.errors import BudgetExceededError
from rewardanything_core.judging.streaming import is_out_of_budget
from rewardanything_core.principles import Rubric
from rewardanything_core.tables.results import ResultColumns
from rewardanything_core.types import ABSTAINED

USAGE = ("calls", "prompt_tokens", "completion_tokens", "cost")
"""What the summary says of the judge's `Usage`."""


@dataclass(kw_only=True)
class Counts:
    """The outcomes so far."""

    rows: int = 0
    """Rows of the output."""

    judged: int = 0
    """Rows that were judged by the model in this run."""

    from_store: int = 0
    """Rows whose verdict was in the store."""

    abstained: int = 0
    """Rows that a cascade left to a person."""

    failed: int = 0
    """Rows without a verdict, apart from those that wait for a budget."""

    done_before: int = 0
    """Rows that an earlier run judged."""

    first_failure: str | None = None
    """Why the first of the failed rows has no verdict. None: none failed."""

    stopped: str | None = None
    """Why the run stopped before all rows were judged. None: it did not."""

    def add(self, outcome: Verdict | JudgeFailure) -> None:
        """Count the outcome of a row."""
        self.rows += 1
        if is_out_of_budget(outcome):
            assert isinstance(outcome, JudgeFailure)
            self.stopped = self.stopped or outcome.message
        elif isinstance(outcome, Abstention):
            self.abstained += 1
        elif isinstance(outcome, JudgeFailure):
            self.add_failure(outcome.summary)
        elif outcome.cached:
            self.from_store += 1
        else:
            self.judged += 1

    def add_written(self, error: object) -> None:
        """Count a row that an earlier run wrote, with its error if it has one."""
        self.rows += 1
        if not error:
            self.done_before += 1
        elif abstained(error):
            self.abstained += 1
        elif not waits_for_budget(error):
            self.add_failure(str(error))

    def add_failure(self, reason: str) -> None:
        """Count a failed row."""
        self.failed += 1
        self.first_failure = self.first_failure or reason


class CriterionScores:
    """Scores by criterion of the rubric for all rows.

    Args:
        added: The result columns.
    """

    def __init__(self, added: ResultColumns) -> None:
        self._added = added
        self._criteria = added.principle.criteria if isinstance(added.principle, Rubric) else {}
        self._sums = dict.fromkeys(self._criteria, 0.0)
        self._numbers = dict.fromkeys(self._criteria, 0)
        self._missed = dict.fromkeys(self._criteria, 0)

    def add(self, cells: Mapping[str, Any]) -> None:
        """Add a written row.

        Args:
            cells: The row, or its result columns.
        """
        for name, scores in self._added.criterion_scores(cells).items():
            required = self._criteria[name].required or 0
            self._sums[name] += sum(scores.values())
            self._numbers[name] += len(scores)
            self._missed[name] += sum(score < required for score in scores.values())

    def summary(self) -> dict[str, dict[str, Any]]:
        """Criterion -> ``mean`` score, ``required`` score and the number of responses that ``missed`` it."""
        return {
            name: {
                "mean": round(self._sums[name] / number, 3) if number else None,
                "required": self._criteria[name].required,
                "missed": self._missed[name],
            }
            for name, number in self._numbers.items()
        }


def abstained(error: object) -> bool:
    """Whether an error in an earlier run's row means that a person is to decide."""
    return str(error).startswith(ABSTAINED)


def waits_for_budget(error: object) -> bool:
    """Whether a row was written without a verdict since a limit was reached."""
    return str(error).startswith(f"{BudgetExceededError.__name__}:")
