"""When the criteria of a rubric pass, for ``EvaluationResult.passed``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlflow.entities import Feedback
from mlflow.genai.scorers import Scorer

from rewardanything_core import Rubric
from rewardanything_core.types import MAX_SCORE, MIN_SCORE
from rewardanything_mlflow.feedback import ScoreScale, criterion_names


class CriterionCondition(Scorer):
    """Decides whether a criterion of a rubric passes; a `PrincipleScorer` gives the feedback with its score.

    ``EvaluationResult.passed`` counts a number as not passed without a condition of its own, and MLflow takes
    conditions only from scorers of the feedback's name.
    """

    minimum: float
    """The lowest score that passes, on the scale of the feedback."""

    @property
    def pass_if(self) -> Callable[[Any], bool]:
        """The minimum as a predicate."""
        return lambda value: value is not None and value >= self.minimum

    def __call__(self) -> list[Feedback]:  # type: ignore[override]  # MLflow passes the arguments that it names
        """No feedback."""
        return []


def conditions(rubric: Rubric, name: str, scale: ScoreScale) -> list[CriterionCondition]:
    """A condition for each criterion of a rubric: its required score, or none if it is not required.

    Args:
        rubric: The rubric.
        name: The name of the whole rubric's feedback.
        scale: The scale of the feedback.
    """
    names = criterion_names(rubric.criteria, name)
    required = {name: criterion.required or MIN_SCORE for name, criterion in rubric.criteria.items()}
    if scale == "normalized":
        required = {name: (score - MIN_SCORE) / (MAX_SCORE - MIN_SCORE) for name, score in required.items()}
    return [CriterionCondition(name=names[name], minimum=score) for name, score in required.items()]
