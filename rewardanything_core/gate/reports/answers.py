"""Answers as reports show them: texts with their changes marked, and agent runs turn by turn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rewardanything_core.conversations import Response, turns_as_json
from rewardanything_core.conversations.comparison import compare_turns
from rewardanything_core.gate.reports.diff import Piece, compare
from rewardanything_core.types import Message

_CONTEXT = 400  # characters shown on each side of a change
_LONG_RESULT = 300  # characters; longer results of tools are folded
_MANY_LINES = 5
_MANY_SHARED = 4  # turns in succession that both runs share; from so many on they are folded
_TITLES = {"reasoning": "thinks", "annotations": "cites", "text": "", "result": ""}


@dataclass(frozen=True, kw_only=True)
class MarkedText:
    """A stretch of an answer as it is shown."""

    text: str
    """The text."""

    tag: str = ""
    """``del`` or ``ins``. Empty: both answers share it."""

    folded: bool = False
    """Whether it is shown only on request."""

    quoted: bool = False
    """Whether the judge's reasoning quotes it."""


@dataclass(frozen=True, kw_only=True)
class TurnPart:
    """What an agent said, called or got in a turn."""

    segments: list[MarkedText]
    """The text."""

    title: str = ""
    """What it is, where that is not clear. Empty: no title."""

    preview: str = ""
    """What is shown the beginning of while the text is folded. Empty: it is not folded."""


@dataclass(frozen=True, kw_only=True)
class TurnView:
    """A turn of a run."""

    number: int
    """From 1, as the judge cites it."""

    speaker: str
    """Role and name."""

    note: str
    """How it compares with the other run. Empty: there is none."""

    kind: str
    """CSS class: ``shared``, ``changed``, ``only``, or empty without another run."""

    parts: list[TurnPart]
    """Its contents."""

    other: int | None = None
    """Number of the other run's turn that it is compared with. None: there is none."""


@dataclass(frozen=True, kw_only=True)
class TurnBlock:
    """Turns that are shown, or folded, together."""

    turns: list[TurnView]
    """One or more."""

    @property
    def summary(self) -> str:
        """What is shown of turns that are folded because the other run has them too. Empty: they are not folded."""
        if len(self.turns) < _MANY_SHARED:
            return ""
        return f"Turns {self.turns[0].number} to {self.turns[-1].number}: the same in both runs"


@dataclass(frozen=True, kw_only=True)
class AnswerView:
    """An answer: a text in segments, or a run in turns."""

    segments: list[MarkedText]
    """The text. Empty for runs and for an empty text."""

    blocks: list[TurnBlock]
    """The turns. Empty: it is a text."""


def answer_view(answer: Response) -> AnswerView:
    """An answer by itself.

    Args:
        answer: The answer.
    """
    if isinstance(answer, str):
        return AnswerView(segments=[MarkedText(text=answer)] if answer else [], blocks=[])
    return conversation_view(answer.messages)


def conversation_view(messages: Sequence[Message]) -> AnswerView:
    """A conversation by itself.

    Args:
        messages: Messages in normal form.
    """
    return AnswerView(segments=[], blocks=_blocks([_turn(turn, None, "", "") for turn in turns_as_json(messages)]))


def answer_views(
    before: Response, after: Response, *, tags: tuple[str, str] = ("del", "ins")
) -> tuple[AnswerView, AnswerView, str]:
    """Two answers with their differences marked, and a remark on the comparison, which may be empty.

    If one of them is a run, the other is shown as a run of one turn if it is a text.

    Args:
        before: The first answer.
        after: The second answer.
        tags: How what only the first and only the second has is marked: ``del`` or ``ins``.
    """
    if isinstance(before, str) and isinstance(after, str):
        diff = compare(before, after)
        sides = zip((diff.old, diff.new), tags, strict=True)
        one, other = (AnswerView(segments=segments(pieces, tag), blocks=[]) for pieces, tag in sides)
        return one, other, diff.note
    old, new = map(_messages, (before, after))
    old_turns, new_turns = turns_as_json(old), turns_as_json(new)
    views: tuple[list[TurnView], list[TurnView]] = ([], [])
    for pair in compare_turns(old, new):
        one_turn = None if pair.old is None else old_turns[pair.old - 1]
        other_turn = None if pair.new is None else new_turns[pair.new - 1]
        kind = "shared" if pair.same else "changed" if one_turn and other_turn else "only"
        if one_turn:
            views[0].append(_turn(one_turn, other_turn, kind, tags[0]))
        if other_turn:
            views[1].append(_turn(other_turn, one_turn, kind, tags[1]))
    one, other = (AnswerView(segments=[], blocks=_blocks(turns)) for turns in views)
    return one, other, ""


def _messages(answer: Response) -> Sequence[Message]:
    return [{"role": "assistant", "content": answer}] if isinstance(answer, str) else answer.messages


def _blocks(turns: Sequence[TurnView]) -> list[TurnBlock]:
    found = []
    for (kind, _), group in groupby(turns, key=lambda turn: (turn.kind, (turn.other or 0) - turn.number)):
        together = list(group)  # if shared, in succession in the other run too
        if kind == "shared" and len(together) >= _MANY_SHARED:
            found.append(TurnBlock(turns=together))
        else:
            found += [TurnBlock(turns=[turn]) for turn in together]
    return found


def _turn(turn: dict[str, Any], other: dict[str, Any] | None, kind: str, tag: str) -> TurnView:
    numbers = {"shared": "same as", "changed": "differs from"}
    note = f"{numbers[kind]} turn {other['turn']}" if other else "only here" if kind == "only" else ""
    notes = [f"answers {turn['call']}" if "call" in turn else "", "failed" if turn.get("error") else ""]
    about = ", ".join(filter(None, notes))
    speaker = " ".join(filter(None, [turn["role"], turn.get("name", ""), f"({about})" if about else ""]))
    changed = other if kind == "changed" else None
    return TurnView(
        number=turn["turn"],
        speaker=speaker,
        note=note,
        kind=kind,
        parts=list(_parts(turn, changed, kind, tag)),
        other=other["turn"] if other else None,
    )


def _parts(turn: dict[str, Any], other: dict[str, Any] | None, kind: str, tag: str) -> Iterator[TurnPart]:
    """The contents of a turn, with what differs from those of its counterpart marked."""

    def marked(text: str, counterpart: str | None) -> list[MarkedText]:
        if not text:
            return []
        if kind == "only" or (other is not None and counterpart is None):
            return [MarkedText(text=text, tag=tag)]
        if counterpart is None or counterpart == text:
            return [MarkedText(text=text)]
        return segments(compare(text, counterpart).old, tag)

    for name in ("reasoning", "text", "result", "annotations"):
        if name in turn:
            text = _written(turn[name])
            is_long = name == "result" and (len(text) > _LONG_RESULT or text.count("\n") >= _MANY_LINES)
            counterpart = _written(other[name]) if other and name in other else None
            yield TurnPart(
                title=_TITLES[name],
                segments=marked(text, counterpart),
                preview=text if is_long or name in ("reasoning", "annotations") else "",
            )
    others = (other or {}).get("calls", [])
    for place, call in enumerate(turn.get("calls", ())):
        replaced = others[place] if place < len(others) and others[place]["name"] == call["name"] else None
        yield TurnPart(
            title=f"calls {call['name']}",
            segments=marked(_written(call["arguments"]), replaced and _written(replaced["arguments"])),
            preview=json.dumps(call["arguments"], ensure_ascii=False),
        )


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)


def segments(pieces: Sequence[Piece], tag: str) -> list[MarkedText]:
    """The pieces of an answer; long shared stretches fold in the middle, so that the changes come together.

    Args:
        pieces: The pieces.
        tag: The tag of those that changed.
    """
    if len(pieces) == 1 and not pieces[0].changed:
        return [MarkedText(text=pieces[0].text)]
    found = []
    for place, piece in enumerate(pieces):
        start = _CONTEXT if place > 0 else 0
        end = len(piece.text) - (_CONTEXT if place < len(pieces) - 1 else 0)
        if piece.changed:
            found.append(MarkedText(text=piece.text, tag=tag))
        elif end - start < 2 * _CONTEXT:
            found.append(MarkedText(text=piece.text))
        else:
            found += [
                MarkedText(text=piece.text[:start]),
                MarkedText(text=piece.text[start:end], folded=True),
                MarkedText(text=piece.text[end:]),
            ]
    return found
