"""Completions of one prompt under one principle, to be judged in one call."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewardanything_core import Case, Principle

REFERENCE = "reference"
"""The label of a response that is not the policy's."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One completion and what it answers."""

    principle: Principle | str
    """What to prefer."""

    prompt: Any
    """A text or chat messages."""

    text: str
    """What the policy wrote, as it is to be judged."""

    reference: str | None = None
    """A response whose score is the zero point. None: there is none."""

    @property
    def key(self) -> str:
        """Rows with the same one are judged together."""
        principle = self.principle.text if isinstance(self.principle, Principle) else self.principle
        return json.dumps([principle, self.prompt, self.reference], sort_keys=True, ensure_ascii=False, default=str)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows with equal keys. Equal texts are one response, so that they cannot be rewarded differently."""

    row: Row
    """The first of them."""

    labels: dict[str, str] = field(default_factory=dict)
    """text -> label; the reference's text too, if there is one."""

    members: dict[int, str] = field(default_factory=dict)
    """Place of a row among all rows -> its response's label."""

    @property
    def zero(self) -> str | None:
        """The label of the response that is the zero point. None: there is none."""
        return None if self.row.reference is None else self.labels[self.row.reference]

    def case(self) -> Case:
        """The group as a case. Raises InvalidCaseError if it cannot be judged as given."""
        return Case(self.row.principle, self.row.prompt, {label: text for text, label in self.labels.items()})


def grouped(rows: Iterable[tuple[int, Row]]) -> list[Group]:
    """Rows by their keys, wherever they stand, in the order of first appearance."""
    groups: dict[str, Group] = {}
    for place, row in rows:
        group = groups.setdefault(row.key, Group(row=row))
        if row.reference is not None:
            group.labels.setdefault(row.reference, REFERENCE)
        group.members[place] = group.labels.setdefault(
            row.text, f"answer {len(group.labels) + (row.reference is None)}"
        )
    return list(groups.values())


def of_one(rows: Sequence[Row]) -> Group:
    """Rows known to have one key, as a group."""
    (group,) = grouped(enumerate(rows))
    return group
