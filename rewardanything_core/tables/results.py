"""The columns that a verdict adds to a row. Files and data frames share this module."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

from rewardanything_core.principles import Principle, Rubric
from rewardanything_core.types import JudgeFailure, Verdict

Kind: TypeAlias = Literal["text", "number", "texts", "scores", "missed", "criteria"]
"""Type of a cell: ``scores`` maps labels to numbers, ``missed`` labels to lists of texts, and ``criteria`` criteria to
``scores`` and ``reasoning``."""

RESULT_COLUMNS: dict[str, Kind] = {
    "scores": "scores",
    "ranking": "texts",
    "best": "text",
    "agreement": "number",
    "spread": "scores",
    "reasoning": "text",
    "record_id": "text",
    "error": "text",
}
"""The columns added to each row. ``error`` is None for a judged row; all others are None for a failed row and for one
that a cascade leaves to a person, whose error begins with ``Abstained:``."""


@dataclass(frozen=True)
class ResultColumns:
    """The columns that are added to the rows of a table.

    They are `RESULT_COLUMNS`. A rubric for all rows adds ``missed`` (label -> the required criteria that it misses),
    and ``scores_NAME`` and ``reasoning_NAME`` for each criterion. Where rows have principles of their own, each of
    which may be a rubric, ``missed`` and ``criteria`` (criterion -> ``scores`` and ``reasoning``) are added.
    """

    principle: Principle | None
    """The principle for all rows. None: each row has its own."""

    prefix: str = ""
    """Put before the names."""

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """Name, with the prefix -> type of its cells, in order."""
        kinds: dict[str, Kind] = dict(RESULT_COLUMNS)
        if self.principle is None:
            kinds |= {"criteria": "criteria", "missed": "missed"}
        elif self._criteria:
            kinds["missed"] = "missed"
        for criterion in self._criteria:
            kinds |= {f"scores_{criterion}": "scores", f"reasoning_{criterion}": "text"}
        return {self.prefix + name: kind for name, kind in kinds.items()}

    @property
    def names(self) -> list[str]:
        """The names, with the prefix."""
        return list(self.kinds)

    @property
    def error(self) -> str:
        """The name of the column that says why a row was not judged."""
        return self.prefix + "error"

    @property
    def _criteria(self) -> list[str]:
        return list(self.principle.criteria) if isinstance(self.principle, Rubric) else []

    def cells(self, outcome: Verdict | JudgeFailure) -> dict[str, Any]:
        """The added columns of a row: every column, whatever the outcome.

        Args:
            outcome: The row's verdict, or its failure.
        """
        cells: dict[str, Any] = {"record_id": outcome.record_id}
        if isinstance(outcome, JudgeFailure):
            cells["error"] = outcome.summary
        else:
            cells |= {name: getattr(outcome, name) for name in ("scores", "ranking", "best", "agreement", "spread")}
            cells["record_id"] = " ".join(outcome.record_ids) or None
            cells["reasoning"] = outcome.explanation  # has the labels of the row, not the masked names
            cells |= self._criteria_cells(outcome)
        return {name: cells.get(name.removeprefix(self.prefix)) for name in self.names}

    def _criteria_cells(self, verdict: Verdict) -> dict[str, Any]:
        if not verdict.criteria:
            return {}
        of_criteria = {
            name: {"scores": each.scores, "reasoning": each.explanation} for name, each in verdict.criteria.items()
        }
        flat = {f"{key}_{name}": each[key] for name, each in of_criteria.items() for key in each}
        return {"missed": verdict.missed, "criteria": of_criteria, **flat}

    def criterion_scores(self, cells: Mapping[str, Any]) -> dict[str, dict[str, float]]:
        """Criterion of the rubric for all rows -> label -> score, from a written row; empty for a failed row.

        Args:
            cells: The row; in CSV its scores are texts in JSON.
        """
        found = {name: cells.get(f"{self.prefix}scores_{name}") for name in self._criteria}
        return {
            name: json.loads(scores) if isinstance(scores, str) else scores for name, scores in found.items() if scores
        }

    def input_cells(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of a written row that came from the input.

        Args:
            row: The row as it was written.
        """
        return {name: value for name, value in row.items() if name not in self.kinds}
