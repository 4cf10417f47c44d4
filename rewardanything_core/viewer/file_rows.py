"""Rows of files as records, as far as the files say what a record needs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from rewardanything_core.cases import Case
from rewardanything_core.errors import AbstainedError, InvalidCaseError
from rewardanything_core.principles import Principle
from rewardanything_core.store.verdict_store import Record
from rewardanything_core.types import Abstention, JudgeFailure, Reply, Verdict


def record_of(
    record_id: str, case: Case, outcome: Verdict | JudgeFailure, model: str, *, when: float, template_hash: str = ""
) -> Record:
    """A record of what is in no store.

    Args:
        record_id: Identifies it within its source.
        case: The case.
        outcome: Its verdict or failure.
        model: The judge model's name.
        when: Time of writing, in seconds since 1970.
        template_hash: Hash of the judging prompt. Empty: unknown.
    """
    is_verdict = isinstance(outcome, Verdict)
    return Record(
        record_id=record_id,
        key=record_id if is_verdict else None,
        created=datetime.fromtimestamp(when, UTC),
        case=case,
        verdict=outcome if isinstance(outcome, Verdict) else None,
        failure=None if isinstance(outcome, Verdict) else outcome,
        model=model,
        template_hash=template_hash,
        settings={},
    )


def principle_of(value: Any) -> Principle:
    """The principle or rubric in a cell or a report: a text, a mapping, or a mapping in JSON."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = json.loads(value)
    if isinstance(value, Mapping) and "text" not in value and "criteria" not in value:
        value = {"criteria": value}
    if isinstance(value, Mapping) and "criteria" in value:
        value = {key: value[key] for key in ("criteria", "name") if value.get(key) is not None}
    return Principle.of(value or "(the file has no principle)")


def verdict_from_cells(case: Case, cells: Mapping[str, Any], model: str, criteria: dict[str, Verdict]) -> Verdict:
    """A verdict from the columns of a row.

    Args:
        case: Its case.
        cells: ``scores``, and optionally ``ranking``, ``agreement``, ``spread`` and ``reasoning``.
        model: The judge model's name.
        criteria: The verdicts on the criteria of a rubric.

    Raises:
        ValueError: the scores are not those of the case's responses.
    """
    scores = {label: float(score) for label, score in cells["scores"].items()}
    if set(scores) != set(case.labels):
        raise ValueError(f"it has scores for {', '.join(scores)} and responses {', '.join(case.labels)}")
    if not all(map(math.isfinite, scores.values())):
        raise ValueError("a score is not a finite number")
    return Verdict(
        scores=scores,
        ranking=list(cells.get("ranking") or sorted(scores, key=lambda label: -scores[label])),
        spread={label: float(spread) for label, spread in (cells.get("spread") or {}).items()},
        agreement=cells.get("agreement"),
        replies=[[Reply(reasoning=str(cells.get("reasoning") or ""))]],
        case_id=case.id,
        model=model,
        criteria=criteria,
    )


def criteria_of(row: Mapping[str, Any], prefix: str) -> dict[str, Verdict]:
    """The verdicts on the criteria of a rubric, from either form in which ``grade`` writes them.

    Args:
        row: The row.
        prefix: The prefix of the columns that ``grade`` added.
    """
    found: dict[str, Mapping[str, Any]] = dict(row.get(f"{prefix}criteria") or {})
    start = f"{prefix}scores_"
    for name, scores in row.items():
        if name.startswith(start) and isinstance(scores, Mapping):
            criterion = name.removeprefix(start)
            found[criterion] = {"scores": scores, "reasoning": row.get(f"{prefix}reasoning_{criterion}")}
    return dict(_criterion_verdicts(found))


def _criterion_verdicts(found: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Verdict]]:
    for name, cells in found.items():
        scores = {label: float(score) for label, score in cells["scores"].items()}
        reply = Reply(reasoning=str(cells.get("reasoning") or ""))
        ranking = sorted(scores, key=lambda label: -scores[label])
        yield name, Verdict(scores=scores, ranking=ranking, replies=[[reply]])


def clean_case(fields: Mapping[str, Any]) -> Case:
    """The case with these fields; lone surrogates, which JSON may have and no judge was shown, become escapes."""
    try:
        return Case(**fields)
    except InvalidCaseError:
        return Case(**_without_surrogates(dict(fields)))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return [_without_surrogates(item) for item in value] if isinstance(value, list | tuple) else value


def unjudged(row: Mapping[str, Any], case: Case) -> JudgeFailure:
    """The failure in place of the verdict of a row that ``ra-judge estimate --next`` drew for labelling.

    Args:
        row: The row.
        case: Its case.
    """
    given = [row.get("score"), row.get("winner"), *(row.get("human_scores") or {}).values()]
    if any(one is not None for one in given):
        return JudgeFailure(case_id=case.id, error_type="Labelled", message="The file has a label for this row.")
    return Abstention(case_id=case.id, error_type=AbstainedError.__name__, message="Drawn for labelling.")
