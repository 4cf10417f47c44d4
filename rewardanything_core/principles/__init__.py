"""What to judge by: principles, and rubrics of several criteria."""

from rewardanything_core.principles.criterion import Criterion
from rewardanything_core.principles.principle import (
    FAMILIES,
    MAX_NAME,
    Principle,
    Rubric,
    library,
    rubric_library,
)
from rewardanything_core.principles.texts import check_text

__all__ = ["FAMILIES", "MAX_NAME", "Criterion", "Principle", "Rubric", "check_text", "library", "rubric_library"]
