"""Searching the log: filters of records as SQL, and functions for texts that SQLite lacks."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from rewardanything_core.conversations.json_values import written
from rewardanything_core.conversations.rendering import turns_as_json
from rewardanything_core.principles import Principle
from rewardanything_core.types import Message

Kind: TypeAlias = Literal["verdict", "failure", "all"]


def filters(
    principle: str | None,
    model: str | None,
    since: datetime | None,
    case_id: str | None,
    text: str | None,
    kind: Kind,
) -> tuple[str, list[str]]:
    """The condition on a record in SQL, for a connection with `add_functions`, and the values of its parameters.

    Args:
        principle: See `VerdictStore.entries`, as for all others. None: any.
        model: Part of the judge model's name.
        since: Time of writing.
        case_id: The case's id.
        text: Part of a text.
        kind: Verdicts, failures or both.

    Raises:
        ValueError: there is no such kind.
    """
    of_kind = {"verdict": "verdict IS NOT NULL", "failure": "failure IS NOT NULL", "all": "1"}
    if kind not in of_kind:
        raise ValueError(f"kind must be one of {', '.join(of_kind)}, not {kind!r}")
    given: dict[str, str | None] = {
        'principle_contains("case", ?)': principle and principle.casefold(),
        "contains(model, ?)": model and model.casefold(),
        "created >= ?": since.astimezone(UTC).isoformat(timespec="microseconds") if since else None,
        "case_id = ?": case_id,
        'texts_contain("case", coalesce(verdict, failure), ?)': text and text.casefold(),
    }
    chosen = {condition: value for condition, value in given.items() if value is not None}
    return " AND ".join([of_kind[kind], *chosen]), list(chosen.values())


def add_functions(connection: sqlite3.Connection) -> None:
    """Add search functions to SQLite that ignore case in any script and look behind JSON escapes, as Python does."""
    connection.create_function("contains", 2, lambda whole, part: part in whole.casefold(), deterministic=True)
    connection.create_function("principle_contains", 2, _principle_contains, deterministic=True)
    connection.create_function("texts_contain", 3, _texts_contain, deterministic=True)


def _principle_contains(case: str, part: str) -> bool:
    principle = Principle.of(json.loads(case)["principle"])
    return part in principle.text.casefold() or part in (principle.name or "").casefold()


def _texts_contain(case: str, outcome: str, part: str) -> bool:
    case_content, content = json.loads(case), json.loads(outcome)
    texts = [
        *(text for part in (case_content["prompt"], *case_content["responses"].values()) for text in _texts(part)),
        case_content["reference"],
        case_content["context"],
        *(reply["reasoning"] for replies in content.get("replies") or () for reply in replies),
        content.get("reasoning"),  # of records written before replies were stored separately
        content.get("message"),
    ]
    return any(part in text.casefold() for text in texts if text)


def _texts(part: str | list[Message]) -> Iterator[str]:
    """The texts of a prompt or response; of messages, also what was thought, and the calls of tools."""
    if isinstance(part, str):
        yield part
        return
    for turn in turns_as_json(part):
        yield from (turn[name] for name in ("reasoning", "text", "result") if name in turn)
        yield from (f"{call['name']} {written(call['arguments'])}" for call in turn.get("calls", ()))
