"""People's labels as rows: for ``bench --labels``, ``fit`` and ``align``, and as a table for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rewardanything_core.conversations.trajectory import response_json
from rewardanything_core.principles import Rubric
from rewardanything_core.store.labels import TIE, Label, case_key
from rewardanything_core.types import MAX_SCORE, MIN_SCORE

CSV_COLUMNS = (
    *("id", "person", "created", "blind", "principle", "prompt"),
    *("response", "text", "score", "winner", "note", "record_id"),
)
"""The columns of `csv_lines`."""

_FORMULA = re.compile(r"[=+\-@\t\r]")


def label_rows(
    labels: Iterable[Label], *, each: bool = False, probabilities: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """The rows that `bench.labels.read_labels` reads, one for each case.

    Scores are means over people, and the winner is what most people prefer, or a tie if as many prefer another. Where
    some gave scores and some a preference, the scores count. All decisions are in ``decisions``.

    Args:
        labels: The labels; cases that were skipped are left out.
        each: Whether each decision is a row of its own.
        probabilities: `Label.case_key` -> the probability with which a case was drawn for labelling, for
            ``ra-judge estimate``. None: nothing was drawn.
    """
    groups: dict[tuple[str, str | int | None], list[Label]] = {}
    for label in labels:
        if label.decision != "skip":
            groups.setdefault((label.case_key, label.id if each else None), []).append(label)
    rows = [_row(group) for group in groups.values()]
    taken: Counter[str] = Counter()
    for row, group in zip(rows, groups.values(), strict=True):
        if probabilities and (chance := probabilities.get(case_key(group[0].case))) is not None:
            row["probability"] = chance
        if each:
            row["id"] += f"/{group[0].person}"
        taken[row["id"]] += 1
        if taken[row["id"]] > 1:  # cases may share an id, as one prompt under two principles does
            row["id"] += f"/{group[0].case_key[:12]}{f'-{group[0].id}' if each else ''}"
    return rows


def json_lines(rows: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """Rows as JSON lines."""
    for row in rows:
        yield json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def csv_lines(labels: Iterable[Label]) -> Iterator[bytes]:
    """A table with a row for each response that a person decided about, for spreadsheets.

    Cells that a spreadsheet would run as a formula get an apostrophe in front.

    Args:
        labels: The labels.
    """
    yield _csv_line(CSV_COLUMNS)
    for label in labels:
        if label.decision == "skip":
            continue
        for name, response in label.case.responses.items():
            value = response_json(response)
            prompt = label.case.prompt
            cells = {
                "id": label.case.id or label.case_key[:12],
                "person": label.person,
                "created": label.created.isoformat() if label.created else "",
                "blind": "yes" if label.blind else "no",
                "principle": _principle(label),
                "prompt": prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False),
                "response": name,
                "text": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False),
                "score": f"{label.scores[name]:g}" if name in label.scores else "",
                "winner": label.winner or "",
                "note": label.note,
                "record_id": label.record_id or "",
            }
            yield _csv_line([cells[column] for column in CSV_COLUMNS])


def _row(group: Sequence[Label]) -> dict[str, Any]:
    first = group[0]
    case = first.case
    responses = {name: response_json(response) for name, response in case.responses.items()}
    scored = [label.scores for label in group if label.scores]
    row: dict[str, Any] = {
        "id": case.id or f"case-{first.case_key[:12]}",
        "principle": _principle(first),
        "prompt": case.prompt if isinstance(case.prompt, str) else [dict(message) for message in case.prompt],
    }
    if first.criterion is not None:
        row["id"] += f"/{first.criterion}"
        row["meta"] = {"criterion": first.criterion}
    means = {name: _mean([scores[name] for scores in scored]) for name in responses} if scored else {}
    if len(responses) == 1 and means:
        row["response"], row["score"] = next(iter(responses.values())), next(iter(means.values()))
    else:
        row["responses"] = responses
        row |= {"human_scores": means} if means else {"winner": _winner(group)}
    if means:
        row["scale"] = [MIN_SCORE, MAX_SCORE]
    optional = {
        "reference": case.reference,
        "context": case.context,
        "comment": " ".join(dict.fromkeys(label.note for label in group if label.note)) or None,
    }
    return {
        **row,
        **{name: value for name, value in optional.items() if value is not None},
        "decisions": [_decision(label) for label in group],
    }


def _decision(label: Label) -> dict[str, Any]:
    decided = {"scores": dict(label.scores)} if label.scores else {"winner": label.winner}
    return {
        "person": label.person,
        **decided,
        "created": label.created.isoformat() if label.created else None,
        "blind": label.blind,
        "shown": list(label.shown),
        "note": label.note,
        "record_id": label.record_id,
    }


def _principle(label: Label) -> str:
    principle = label.case.principle
    if label.criterion is not None and isinstance(principle, Rubric):
        return principle.criteria[label.criterion].full_text
    return principle.text


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _winner(group: Sequence[Label]) -> str:
    (first, votes), *others = Counter(label.winner or TIE for label in group).most_common()
    return TIE if others and others[0][1] == votes else first


def _csv_line(cells: Sequence[str]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\n").writerow([f"'{cell}" if _FORMULA.match(cell) else cell for cell in cells])
    return line.getvalue().encode("utf-8", "backslashreplace")
