"""Which turns two conversations share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from rewardanything_core.conversations.rendering import turns_as_json
from rewardanything_core.types import Message

_NUMBERS = ("turn", "call")


@dataclass(frozen=True)
class TurnPair:
    """A turn of one conversation with its counterpart in the other."""

    old: int | None
    """Number of the first conversation's turn, from 1. None: only the second has it."""

    new: int | None
    """Number of the second conversation's turn, from 1. None: only the first has it."""

    same: bool
    """Whether both have the same words and actions."""


def compare_turns(old: Sequence[Message], new: Sequence[Message]) -> list[TurnPair]:
    """Align the turns of two conversations, in order.

    Turns that differ are counterparts if they are in the same place between turns that both conversations share, and
    have the same role and kind.

    Args:
        old: Messages in normal form.
        new: Messages in normal form.
    """
    old_keys, new_keys = (list(map(_key, turns_as_json(messages))) for messages in (old, new))
    pairs: list[TurnPair] = []
    for kind, a, b, c, d in SequenceMatcher(None, old_keys, new_keys).get_opcodes():
        if kind == "equal":
            pairs += [TurnPair(n + 1, m + 1, True) for n, m in zip(range(a, b), range(c, d), strict=True)]
        else:
            pairs += _counterparts(range(a, b), range(c, d), old, new)
    return pairs


def difference(old: Sequence[Message], new: Sequence[Message]) -> tuple[list[int], list[int]]:
    """The numbers of the turns of each conversation that the other does not have.

    Args:
        old: Messages in normal form.
        new: Messages in normal form.
    """
    different = [pair for pair in compare_turns(old, new) if not pair.same]
    return (
        [pair.old for pair in different if pair.old is not None],
        [pair.new for pair in different if pair.new is not None],
    )


def _counterparts(
    old_places: range, new_places: range, old: Sequence[Message], new: Sequence[Message]
) -> list[TurnPair]:
    """Pairs of the turns of a stretch without shared ones, matched from its end, where runs give their answers."""
    pairs: list[TurnPair] = []
    remaining = list(new_places)
    for place in reversed(old_places):
        match = next((n for n in reversed(remaining) if _kind(new[n]) == _kind(old[place])), None)
        if match is None:
            pairs.append(TurnPair(place + 1, None, False))
            continue
        while (last := remaining.pop()) != match:
            pairs.append(TurnPair(None, last + 1, False))
        pairs.append(TurnPair(place + 1, match + 1, False))
    pairs += [TurnPair(None, place + 1, False) for place in reversed(remaining)]
    return pairs[::-1]


def _kind(message: Message) -> tuple[str, bool]:
    return message["role"], bool(message.get("tool_calls"))


def _key(turn: dict[str, Any]) -> str:
    """What makes two turns the same: all but their numbers and those of calls."""
    words: dict[str, Any] = {name: value for name, value in turn.items() if name not in _NUMBERS}
    words["calls"] = [[call["name"], call["arguments"]] for call in turn.get("calls", ())]
    return json.dumps(words, ensure_ascii=False, sort_keys=True)
