"""The names of feedback."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rewardanything_core import InvalidCaseError, Principle, Rubric


def feedback_keys(principles: Sequence[Principle], key: str | None = None) -> list[str]:
    """A distinct feedback key for each principle.

    Args:
        principles: The principles.
        key: The key that the user chose, or the beginning of several. None: the principles' names.

    Raises:
        InvalidCaseError: several principles have the same name.
    """
    if len(principles) == 1:
        return [key or _slug(principles[0].name or "principle")]
    keys = [_slug(principle.name or f"principle_{number}") for number, principle in enumerate(principles, start=1)]
    keys = [f"{key}_{name}" if key else name for name in keys]
    if len(set(keys)) < len(keys):
        raise InvalidCaseError(
            f"The principles' names must differ, since they name feedback: {keys}.", field="principle"
        )
    return keys


def criterion_keys(rubric: Rubric, key: str) -> dict[str, str]:
    """Criterion -> its feedback key, ``key.criterion``; equal ones are numbered.

    Args:
        rubric: The rubric.
        key: The key of the whole.
    """
    keys: dict[str, str] = {}
    for number, criterion in enumerate(rubric.criteria, start=1):
        own = f"{key}.{_slug(criterion)}"
        keys[criterion] = f"{own}_{number}" if own in keys.values() else own
    return keys


def _slug(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip().lower()).strip("_") or "principle"
