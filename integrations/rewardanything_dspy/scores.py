"""The metric's results: a number with feedback, or a missing value that sums and means exclude."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import dspy

from rewardanything_core import JudgeFailure, Verdict

DEFAULT_THRESHOLD = 0.75
"""The score from which a prediction counts as good if no threshold is given: 4 of 5."""


class _WithFeedback:
    """Access as to a ``dspy.Prediction(score=, feedback=)``, as GEPA's adapters and `dspy.Flex` expect it."""

    feedback: str
    objective_scores: Mapping[str, float] = {}

    __iter__ = __len__ = None  # a number, not a sequence, although it can be subscripted

    @property
    def score(self) -> float:
        """The score itself."""
        raise NotImplementedError

    def __contains__(self, key: object) -> bool:
        return key in ("score", "feedback", "objective_scores")

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(key)
        return getattr(self, key)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of ``score``, ``feedback`` or ``objective_scores``, else ``default``.

        Args:
            key: A field's name.
            default: The value for any other name.
        """
        return getattr(self, key) if key in self else default


class PrincipleScore(_WithFeedback, float, dspy.Prediction):  # type: ignore[misc]  # dspy has no types
    """A score 0.0..1.0. Unlike other floats, it is true from ``threshold`` on.

    It is a `dspy.Prediction` too, since GEPA takes scores by objective only from one.

    Args:
        value: The score, 0.0..1.0.
        feedback: See the attributes, as for the rest.
        verdicts: One for each principle.
        threshold: 0.0..1.0.
        objective_scores: Name -> score, 0.0..1.0.
    """

    feedback: str
    """The judge's reasoning, as text for an optimiser."""

    verdicts: tuple[Verdict, ...]
    """One for each principle, in order."""

    threshold: float
    """The score from which this is true, 0.0..1.0."""

    objective_scores: Mapping[str, float]
    """Principle or criterion -> its score, 0.0..1.0, for a Pareto front by objective. Empty: there is one principle."""

    __setattr__ = object.__setattr__  # that of a prediction adds fields
    __str__ = __repr__ = float.__repr__
    __eq__, __ne__, __hash__ = float.__eq__, float.__ne__, float.__hash__

    def __new__(
        cls,
        value: float,
        *,
        feedback: str = "",
        verdicts: tuple[Verdict, ...] = (),
        threshold: float = DEFAULT_THRESHOLD,
        objective_scores: Mapping[str, float] | None = None,
    ) -> PrincipleScore:
        """Create a score."""
        self = super().__new__(cls, value)
        self.feedback, self.verdicts, self.threshold = feedback, verdicts, threshold
        self.objective_scores = dict(objective_scores or {})
        return self

    def __init__(self, *_: Any, **__: Any) -> None:
        """Everything is done in ``__new__``."""

    @property
    def _store(self) -> dict[str, Any]:
        """The fields of a prediction, for the methods that this inherits from one."""
        return {"score": self.score, "feedback": self.feedback, "objective_scores": self.objective_scores}

    @property
    def score(self) -> float:
        """The score as a plain float."""
        return float(self)

    @property
    def criteria(self) -> dict[str, float]:
        """Criterion -> its score, 0.0..1.0; of all rubrics among the principles. Empty: there is none."""
        return {name: each.normalized["0"] for verdict in self.verdicts for name, each in verdict.criteria.items()}

    def __bool__(self) -> bool:
        return self >= self.threshold


class NotJudged(_WithFeedback, float):
    """A missing score: NaN, false, excluded from means, and less than any score when sorted.

    ``sum(scores) / len(scores)`` is the mean of the scores that exist, and so is what `dspy.Evaluate` computes. It
    has a place in the order because GEPA keeps the best score of each example, and would never replace a plain NaN.

    Args:
        failures: See the attribute.
    """

    failures: tuple[JudgeFailure, ...]
    """Why there is no score: a failure for each principle that was not judged."""

    def __new__(cls, _: float = math.nan, *, failures: tuple[JudgeFailure, ...] = ()) -> NotJudged:
        """Create a missing score. The positional argument is for copying and is ignored."""
        self = super().__new__(cls, math.nan)
        self.failures = failures
        return self

    @property
    def error(self) -> str:
        """Why there is no score, as text."""
        return "; ".join(failure.summary for failure in self.failures)

    @property
    def feedback(self) -> str:  # type: ignore[override]
        """The feedback for an optimiser."""
        return "This output could not be judged, so its quality is unknown. Draw no conclusions from it."

    @property
    def score(self) -> NotJudged:
        """This value, since there is no number."""
        return self

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NotJudged)

    def __ne__(self, other: object) -> bool:
        # The json module recognises a NaN because it is not equal to itself.
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
    """A sum with missing terms: NaN in comparisons. Divided by the number of terms, it is the mean of those that exist.

    Args:
        total: The sum of the terms that exist.
        missing: Number of missing terms, 1 or more.
    """

    total: float
    """The sum of the terms that exist."""

    missing: int
    """Number of missing terms, 1 or more."""

    def __new__(cls, _: float = math.nan, *, total: float = 0.0, missing: int = 0) -> PartialSum:
        """Create a sum. The positional argument is for copying and is ignored."""
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
