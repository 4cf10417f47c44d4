"""What the metric returns: a number that carries its feedback, or a gap that sums and means know to leave out."""

from __future__ import annotations

import math
from typing import Any

from rewardanything_core import JudgeFailure, Verdict

GOOD_ENOUGH = 0.75
"""The score from which an answer counts as good where nobody said: 4 of 5."""


class PrincipleScore(float):
    """A score 0.0..1.0. A float in every respect but one: it is true from ``threshold`` on."""

    feedback: str
    """The judge's reasoning, as text that an optimiser can learn from."""

    verdicts: tuple[Verdict, ...]
    """One for each principle, in order."""

    threshold: float
    """From which score on it is true, 0.0..1.0."""

    def __new__(
        cls,
        value: float,
        *,
        feedback: str = "",
        verdicts: tuple[Verdict, ...] = (),
        threshold: float = GOOD_ENOUGH,
    ) -> PrincipleScore:
        """Make one. ``value``: 0.0..1.0."""
        self = super().__new__(cls, value)
        self.feedback, self.verdicts, self.threshold = feedback, verdicts, threshold
        return self

    def __bool__(self) -> bool:
        return self >= self.threshold


class NotJudged(float):
    """In a score's place where there is none: NaN, false, left out of means, and less than any score when sorted.

    ``sum(scores) / len(scores)`` is the mean over those that are scores; so is what `dspy.Evaluate` makes of them. It
    has to have a place in the order because GEPA keeps the best score it has seen for each example, and a NaN there
    would never be replaced.
    """

    failures: tuple[JudgeFailure, ...]
    """Why, one for each principle whose judgement failed."""

    def __new__(cls, _: float = math.nan, *, failures: tuple[JudgeFailure, ...] = ()) -> NotJudged:
        """Make one. The positional argument is there for copying and is ignored."""
        self = super().__new__(cls, math.nan)
        self.failures = failures
        return self

    @property
    def error(self) -> str:
        """Why, in words."""
        return "; ".join(f"{failure.error_type}: {failure.message}" for failure in self.failures)

    @property
    def feedback(self) -> str:
        """What to tell an optimiser that asks for feedback."""
        return "This output could not be judged, which says nothing about its quality. Learn nothing from it."

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NotJudged)

    def __ne__(self, other: object) -> bool:
        # The json module knows a NaN by its being unequal to itself.
        return bool(other is self or not self == other)

    def __lt__(self, other: Any) -> bool:
        return not isinstance(other, NotJudged) and float(other) > -math.inf

    def __le__(self, other: Any) -> bool:
        return bool(self == other or self < other)

    def __gt__(self, other: Any) -> bool:
        return not self <= other

    def __ge__(self, other: Any) -> bool:
        return not self < other

    def __hash__(self) -> int:
        return hash(NotJudged)

    def __add__(self, other: Any) -> PartialSum:
        return PartialSum(total=0.0, missing=1).__add__(other)

    __radd__ = __add__


class PartialSum(float):
    """A sum that lacks terms: NaN in comparisons; divided by how many there should be, the mean of those there are."""

    total: float
    """The sum of the terms there are."""

    missing: int
    """How many are not there, 1 or more."""

    def __new__(cls, _: float = math.nan, *, total: float = 0.0, missing: int = 0) -> PartialSum:
        """Make one. The positional argument is there for copying and is ignored."""
        self = super().__new__(cls, math.nan)
        self.total, self.missing = total, missing
        return self

    def __add__(self, other: Any) -> PartialSum:
        if isinstance(other, PartialSum):
            return PartialSum(total=self.total + other.total, missing=self.missing + other.missing)
        if isinstance(other, NotJudged):
            return PartialSum(total=self.total, missing=self.missing + 1)
        return PartialSum(total=self.total + other, missing=self.missing)

    __radd__ = __add__

    def __mul__(self, factor: Any) -> PartialSum:
        return PartialSum(total=self.total * factor, missing=self.missing)

    __rmul__ = __mul__

    def __truediv__(self, count: Any) -> float:
        return self.total / (count - self.missing) if count > self.missing else math.nan

    def __format__(self, spec: str) -> str:
        return f"{format(self.total, spec)} ({self.missing} not judged)"

    def __repr__(self) -> str:
        return format(self, "")

    __str__ = __repr__
