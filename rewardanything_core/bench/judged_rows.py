"""Judged rows, from the output of ``ra-judge grade`` or from a verdict store."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rewardanything_core.bench.reading import read_rows
from rewardanything_core.cases import Case
from rewardanything_core.conversations.trajectory import response_json
from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.principles import Principle
from rewardanything_core.store.verdict_store import VerdictStore
from rewardanything_core.tables.columns import CaseColumns, FileFormat, InputRow
from rewardanything_core.types import Verdict

UNKNOWN = "-"
"""The text of a principle that the rows do not state."""

Scores = dict[str | None, dict[str, float]]
"""Criterion of the rubric, or None for the whole -> label of a response -> score."""


@dataclass(frozen=True, kw_only=True)
class JudgedRow:
    """A judged case with the scores of its responses."""

    place: str
    """Where it comes from, for messages: a file and row, or a record."""

    case: Case
    """The case; its principle is `UNKNOWN` if the row does not state it."""

    scores: Scores
    """The judge's scores, 1.0..5.0."""

    spread: Mapping[str, float]
    """Label -> standard deviation of its score between passes or jurors; empty if unknown."""

    stratum: Hashable = None
    """The value of the column by which rows are stratified. None: there is none."""

    @property
    def principle(self) -> str:
        """The text of the principle."""
        return self.case.principle.text

    @cached_property
    def prompt(self) -> str:
        """The prompt in one form, whether it is a text or messages; rows of one prompt are a cluster."""
        return prompt_key(self.case.prompt)

    @cached_property
    def key(self) -> str:
        """Identifies the texts that are judged: a hash of the principle, the prompt and the responses."""
        responses = {label: response_json(response) for label, response in self.case.responses.items()}
        texts = json.dumps([self.principle, self.prompt, responses], sort_keys=True, default=str)
        return hashlib.sha256(texts.encode(errors="replace")).hexdigest()[:20]


def prompt_key(prompt: Any) -> str:
    """A prompt in one form, whether it is a text or messages.

    Args:
        prompt: A text, or messages as mappings.
    """
    return prompt if isinstance(prompt, str) else json.dumps([dict(turn) for turn in prompt], sort_keys=True)


def read_judged_rows(
    path: str,
    *,
    prompt_column: str = "prompt",
    responses_column: str | None = None,
    id_column: str | None = None,
    stratum_column: str | None = None,
    prefix: str = "",
) -> tuple[list[JudgedRow], int]:
    """Read the output of ``ra-judge grade``: JSON lines, JSON, CSV or Parquet.

    Args:
        path: The file.
        prompt_column: As for ``grade``.
        responses_column: As for ``grade``. None: the columns that the scores name, or else ``responses`` or
            ``response``.
        id_column: As for ``grade``. None: ``id``, in rows that have it.
        stratum_column: The column by which rows are stratified. None: they are not.
        prefix: As for ``grade``.

    Returns:
        The rows with scores, and the number of rows that could not be judged.

    Raises:
        ConfigError: the file cannot be read, has no scores, or a row is invalid.
        MissingExtraError: it is a Parquet file and pyarrow is not installed.
    """
    if not Path(path).is_file():
        raise ConfigError(f"There is no file {path}.")
    rows, failed = [], 0
    file_format: FileFormat = {".csv": "csv", ".parquet": "parquet"}.get(Path(path).suffix.lower(), "jsonl")  # type: ignore[assignment]
    for where, columns in read_rows(Path(path)):
        scores = _scores(columns, prefix, where)
        if scores is None:
            failed += 1
            continue
        if stratum_column is not None and stratum_column not in columns:
            raise ConfigError(f"{where} has no column {stratum_column!r} to stratify by.")
        case = _case(columns, scores[None], where, file_format, prompt_column, responses_column, id_column)
        stratum = None if stratum_column is None else str(columns[stratum_column])
        spread = _mapping(columns.get(f"{prefix}spread"), f"{where}, column '{prefix}spread'") or {}
        rows.append(JudgedRow(place=where, case=case, scores=scores, spread=spread, stratum=stratum))
    if not rows:
        raise ConfigError(f"There is no judged row in {path}.", hint="Judge it first: ra-judge grade IN -o OUT")
    return rows, failed


def judged_rows_of_store(
    path: str | Path | None = None, *, principle: str | None = None, model: str | None = None
) -> list[JudgedRow]:
    """The latest verdict on each case of a verdict store.

    Args:
        path: The store's file. None: the default one.
        principle: Only with this text in the principle or its name.
        model: Only with this text in the judge model's name.

    Raises:
        ConfigError: there is no verdict, or several models judged the cases.
        StoreError: the store cannot be read.
    """
    rows: dict[str, JudgedRow] = {}
    models: set[str] = set()
    with VerdictStore(path, writable=False) as store:
        for record in store.entries(principle=principle, model=model, kind="verdict"):
            if record.verdict is not None:
                row = row_of(record.case, record.verdict, f"record {record.record_id}")
                rows.setdefault(row.key, row)
                models.add(record.model)
    if not rows:
        raise ConfigError(f"There is no such verdict in {store.path}.")
    if len(models) > 1:
        raise ConfigError(
            f"Several models judged these cases: {', '.join(sorted(models))}.", hint="Choose one with --model."
        )
    return list(rows.values())


def row_of(case: Case, verdict: Verdict, place: str) -> JudgedRow:
    """The row of a verdict.

    Args:
        case: The case.
        verdict: Its verdict.
        place: Where they come from, for messages.
    """
    scores: Scores = {None: verdict.scores}
    scores.update((name, each.scores) for name, each in verdict.criteria.items())
    return JudgedRow(place=place, case=case, scores=scores, spread=verdict.spread)


def _scores(columns: Mapping[str, Any], prefix: str, where: str) -> Scores | None:
    """The scores of a row. None: it was not judged."""
    name = f"{prefix}scores"
    if name not in columns:
        if columns.get(f"{prefix}error"):
            return None
        raise ConfigError(
            f"{where} has no column {name!r}; it has {', '.join(map(repr, columns))}.",
            hint="Estimates need the output of ra-judge grade. If that was made with --prefix, give it here too.",
        )
    whole = _mapping(columns[name], f"{where}, column {name!r}")
    if whole is None:
        return None
    scores: Scores = {None: whole}
    for column, cell in columns.items():
        if column.startswith(f"{name}_") and (found := _mapping(cell, f"{where}, column {column!r}")):
            scores[column.removeprefix(f"{name}_")] = found
    criteria = columns.get(f"{prefix}criteria")
    criteria = json.loads(criteria) if isinstance(criteria, str) else criteria
    for criterion, each in criteria.items() if isinstance(criteria, Mapping) else ():
        if each and (found := _mapping(each.get("scores"), f"{where}, criterion {criterion!r}")):
            scores[criterion] = found
    return scores


def _mapping(cell: Any, where: str) -> dict[str, float] | None:
    """Label -> number from a cell, which is JSON in CSV, and has a null for labels of other rows in Parquet."""
    try:
        given = json.loads(cell) if isinstance(cell, str) else cell
        if given is None:
            return None
        pairs = given.items() if isinstance(given, Mapping) else dict(given).items()
        found = {str(label): float(score) for label, score in pairs if score is not None}
        if not all(map(math.isfinite, found.values())):
            raise ValueError("not finite")
        return found
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{where}: it must map labels to numbers, and is {cell!r:.60}.") from error


def _case(
    columns: Mapping[str, Any],
    scores: Mapping[str, float],
    where: str,
    file_format: FileFormat,
    prompt_column: str,
    responses_column: str | None,
    id_column: str | None,
) -> Case:
    each: Sequence[str] = ()
    if responses_column is None:
        if all(label in columns for label in scores):
            each = tuple(scores)
        else:
            responses_column = "responses" if columns.get("responses") is not None else "response"
    places = CaseColumns(
        prompt=prompt_column,
        responses=responses_column,
        each_response=tuple(each),
        id=id_column or ("id" if "id" in columns else None),
    )
    principle = columns.get("principle")
    try:
        is_json = isinstance(principle, str) and principle.lstrip().startswith("{")
        stated = Principle.of(json.loads(str(principle)) if is_json else principle or UNKNOWN)
        case = places.case(InputRow(place=where, columns=dict(columns)), stated, file_format)
    except (InvalidCaseError, ValueError) as error:
        raise ConfigError(
            str(error), hint="Name the columns as for ra-judge grade: --prompt-column, --responses-column."
        ) from error
    if set(case.labels) != set(scores):
        raise ConfigError(
            f"{where} has scores of {', '.join(scores)}, but responses {', '.join(case.labels)}.",
            hint="Name the column with the responses that were judged: --responses-column.",
        )
    return case
