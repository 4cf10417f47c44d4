"""The requirements of a check: its principles, checked, and with the criteria of rubrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rewardanything_core.errors import ConfigError
from rewardanything_core.gate.controls import parse_controls
from rewardanything_core.gate.results import Requirement
from rewardanything_core.principles import Principle, Rubric
from rewardanything_core.types import MAX_SCORE, MIN_SCORE


def as_requirements(
    principles: Principle | str | Requirement | Sequence[Principle | str | Requirement],
    margin: float,
    min_score: float | None,
    controls: str | Sequence[str],
) -> list[Requirement]:
    """The requirements that a user gave, with the given rules where they have none of their own.

    Args:
        principles: One or several; see `check`.
        margin: The margin of those that are not a `Requirement`.
        min_score: Their minimum score. None: no minimum.
        controls: Their controls.

    Raises:
        ConfigError: there is no principle.
    """
    given = [principles] if isinstance(principles, Principle | str | Requirement | Mapping) else list(principles)
    if not given:
        raise ConfigError("Give at least one principle.")
    return [
        principle
        if isinstance(principle, Requirement)
        else Requirement(principle=Principle.of(principle), margin=margin, min_score=min_score, controls=controls)
        for principle in given
    ]


def with_criteria(requirements: Sequence[Requirement]) -> list[Requirement]:
    """The requirement of each comparison: those of principles, each followed by those of a rubric's criteria.

    Raises:
        ConfigError: a rule is invalid, or two comparisons have one name.
    """
    expanded = []
    for requirement in requirements:
        _check_criteria(requirement)
        expanded += [requirement, *requirement.criteria()]
    names = [requirement.name for requirement in expanded]
    duplicates = {name for name in names if names.count(name) > 1}
    if duplicates:
        raise ConfigError(
            f"Two principles have the name {min(duplicates)!r}.", hint="Give each Principle a unique name."
        )
    for requirement in expanded:
        _check_rules(requirement)
    return expanded


def _check_criteria(requirement: Requirement) -> None:
    criteria = requirement.principle.criteria if isinstance(requirement.principle, Rubric) else {}
    for rule, values in (("margins", requirement.margins), ("min_scores", requirement.min_scores)):
        if unknown := [name for name in values if name not in criteria]:
            has = f"it has: {', '.join(criteria)}" if criteria else "it is not a rubric"
            raise ConfigError(f"{rule} of {requirement.name!r} names a criterion {unknown[0]!r}; {has}.")


def _check_rules(requirement: Requirement) -> None:
    parse_controls(requirement.controls)
    if not 0 < requirement.margin <= MAX_SCORE - MIN_SCORE:
        raise ConfigError(
            f"The margin of {requirement.name!r} must be above 0 and at most 4, not {requirement.margin!r}."
        )
    if requirement.min_score is not None and not MIN_SCORE <= requirement.min_score <= MAX_SCORE:
        raise ConfigError(f"The min_score of {requirement.name!r} must be within 1..5, not {requirement.min_score!r}.")
