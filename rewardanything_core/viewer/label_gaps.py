"""People's labels in the index: who decided about what, and how far each verdict is from it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rewardanything_core.store.labels import Label
from rewardanything_core.viewer.facts import Facts, number_of, response_number


def label_case(connection: sqlite3.Connection, judged: int, labels: Sequence[Label]) -> None:
    """Replace what is recorded of the labels of one case.

    Args:
        connection: The index, in a transaction.
        judged: The case, as in `Facts.judged`.
        labels: Its labels, skipped ones included; those that were withdrawn are left out. Empty: it has none any more.
    """
    connection.execute("DELETE FROM decided WHERE judged = ?", (judged,))
    connection.executemany(
        "INSERT OR IGNORE INTO decided VALUES (?, ?, ?)",
        [(judged, label.person, label.criterion or "") for label in labels],
    )
    verdicts = (
        "SELECT e.id, s.scores FROM entries e JOIN shown s ON s.id = e.id WHERE e.failure IS NULL AND e.judged = ?"
    )
    if labels:
        material = number_of(labels[0].case.material_digest)
        rows = connection.execute(f"{verdicts} AND e.material = ?", (judged, material)).fetchall()
    else:
        rows = connection.execute(f"{verdicts} AND e.id IN (SELECT id FROM labelled)", (judged,)).fetchall()  # noqa: S608
    for entry, scores in rows:
        _set_gap(connection, entry, json.loads(scores), labels)


def label_entries(
    connection: sqlite3.Connection, entries: Iterable[tuple[int, Facts]], cases: Mapping[int, Sequence[Label]]
) -> None:
    """Compare new entries with labels that their cases have already.

    Args:
        connection: The index, in a transaction.
        entries: Ids and facts.
        cases: The labels of each case, as in `Facts.judged`.
    """
    for entry, facts in entries:
        if facts.judged in cases and not facts.failure:
            _set_gap(connection, entry, facts.scores, cases[facts.judged])


def _set_gap(connection: sqlite3.Connection, entry: int, scores: Iterable[Any], labels: Iterable[Label]) -> None:
    by_response = {response: score for _, score, response in scores}
    gaps = [_gap(one, by_response) for one in labels if one.criterion is None and one.decision != "skip"]
    connection.execute("DELETE FROM labelled WHERE id = ?", (entry,))
    if gaps:
        connection.execute("INSERT INTO labelled VALUES (?, ?, ?)", (entry, max(gaps), len(gaps)))


def _gap(label: Label, scores: Mapping[int, float]) -> float:
    """How far a verdict is from a label, in points, 0 and above.

    With scores it is the largest difference. With a preference it is 0 if the judge has the same, 0.5 if it has a tie,
    and 1 plus the points by which it prefers another response.
    """
    numbers = {name: response_number(response) for name, response in label.case.responses.items()}
    judged = {name: scores[number] for name, number in numbers.items() if number in scores}
    if label.scores:
        return max((abs(judged[name] - score) for name, score in label.scores.items() if name in judged), default=0.0)
    if label.winner in judged:
        others = max((score for name, score in judged.items() if name != label.winner), default=0.0)
        ahead = judged[label.winner] - others
        return 0.0 if ahead > 0 else 0.5 if ahead == 0 else 1 - ahead
    return max(judged.values()) - min(judged.values()) if judged else 0.0
