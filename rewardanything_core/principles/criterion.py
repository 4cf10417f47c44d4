"""Criteria: the parts of a rubric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from rewardanything_core.errors import InvalidCaseError
from rewardanything_core.principles.texts import check_text
from rewardanything_core.types import MAX_SCORE, MIN_SCORE

Kind = Literal["score", "yes/no"]

DEFAULT_REQUIREMENT = 3.0
"""Minimum score of a criterion that is required without a number."""


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One criterion of a rubric.

    Raises:
        InvalidCaseError: a field is out of its range.
    """

    text: str
    """The rule, written like a principle; for ``yes/no``, a question or a statement that is true or false."""

    weight: float = 1.0
    """Weight in the score of the whole rubric, 0 or more; 0 for a criterion that is only reported or required."""

    anchors: Mapping[int, str] = field(default_factory=dict)
    """Score (1..5) -> what a response with this score is like, for some or all scores."""

    required: float | bool | None = None
    """Minimum score, above 1 and up to 5. A response that scores less fails the whole rubric. None: not required;
    True is `DEFAULT_REQUIREMENT`."""

    kind: Kind = "score"
    """``score``: 1..5. ``yes/no``: 5 for yes and 1 for no."""

    def __post_init__(self) -> None:
        if not check_text(self.text, field="principle", what="The criterion").strip():
            raise invalid("The criterion is empty; describe in a sentence what makes a response good.")
        if self.kind not in get_args(Kind):
            raise invalid(f"kind must be 'score' or 'yes/no', not {self.kind!r}.")
        if not _is_number(self.weight) or not 0 <= self.weight < math.inf:
            raise invalid(f"weight must be a number of 0 or more, not {self.weight!r}.")
        if isinstance(self.required, bool):
            object.__setattr__(self, "required", DEFAULT_REQUIREMENT if self.required else None)
        if self.required is not None and not (_is_number(self.required) and MIN_SCORE < self.required <= MAX_SCORE):
            raise invalid(f"required must be true or a score above 1 and up to 5, not {self.required!r}.")
        object.__setattr__(self, "anchors", self._checked_anchors())

    def _checked_anchors(self) -> dict[int, str]:
        if not isinstance(self.anchors, Mapping):
            raise invalid(f"anchors must be a mapping from scores to descriptions, not {self.anchors!r:.80}.")
        anchors = {}
        for key, description in self.anchors.items():
            if str(key) not in ("1", "2", "3", "4", "5"):
                raise invalid(f"anchors are for the scores 1 to 5, not for {key!r}.")
            if self.kind == "yes/no" and str(key) not in ("1", "5"):
                raise invalid(f"a yes/no criterion has anchors for 1 (no) and 5 (yes) only, not for {key}.")
            anchors[int(key)] = check_text(description, field="principle", what=f"The description of score {key}")
        return dict(sorted(anchors.items()))

    @property
    def scores(self) -> tuple[str, ...]:
        """The scores that a judge may write."""
        return ("1", "5") if self.kind == "yes/no" else ("1", "2", "3", "4", "5")

    @property
    def full_text(self) -> str:
        """The rule with its kind and anchors in words, as the text of a principle of its own."""
        paragraphs = [self.text]
        if self.kind == "yes/no":
            paragraphs.append("This is a matter of yes or no: a response scores 5 for yes and 1 for no.")
        if self.anchors:
            scale = "\n".join(f"{score}: {description}" for score, description in self.anchors.items())
            paragraphs.append(f"What the scores mean:\n{scale}")
        return "\n\n".join(paragraphs)

    def to_json(self) -> dict[str, Any]:
        """The criterion as plain JSON; fields with their default are left out."""
        content: dict[str, Any] = {"text": self.text}
        if self.weight != 1:
            content["weight"] = self.weight
        if self.anchors:
            content["anchors"] = {str(score): description for score, description in self.anchors.items()}
        if self.required is not None:
            content["required"] = self.required
        if self.kind != "score":
            content["kind"] = self.kind
        return content


def invalid(problem: str) -> InvalidCaseError:
    """The error for a principle, criterion or rubric that is not valid."""
    return InvalidCaseError(problem, field="principle")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
