"""Which turns of a conversation a judge's reasoning cites."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rewardanything_core.cases import Case
from rewardanything_core.conversations.trajectory import Trajectory
from rewardanything_core.types import Verdict

# A name and the turns after it, as in "model-1 (turns 3 and 5)"; the name of the latest response counts until the next.
_CITATION = re.compile(r"(?i)\bmodel-(?P<place>\d+)\b|\bturns?\s+#?(?P<turns>\d+(?:\s*(?:,|and|&|to|-|–)\s*#?\d+)*)")
_RANGE = re.compile(r"(\d+)\s*(?:to|-|–)\s*#?(\d+)")


def cited_turns(verdict: Verdict, case: Case) -> dict[str, list[int]]:
    """Label -> the numbers of the turns that the reasoning cites, for responses that are conversations.

    A turn belongs to the response that was named last before it; with a single response, to that one. Numbers that the
    response has no turn for are left out.

    Args:
        verdict: The verdict, with its replies.
        case: Its case.
    """
    lengths = {
        label: len(response.messages) for label, response in case.responses.items() if isinstance(response, Trajectory)
    }
    if not lengths:
        return {}
    found: dict[str, set[int]] = {label: set() for label in lengths}
    for part in (verdict, *verdict.criteria.values()):
        for reasoning, order in _reasoning(part):
            for label, turn in _citations(reasoning, order):
                if 1 <= turn <= lengths.get(label, 0):
                    found[label].add(turn)
    return {label: sorted(turns) for label, turns in found.items() if turns}


def _reasoning(verdict: Verdict) -> Iterator[tuple[str, Sequence[str]]]:
    """The reasoning of each reply, with the labels of ``model-1``, ``model-2``, ... in it."""
    orders = verdict.sublists or [[order] for order in verdict.orders]
    for replies, by_reply in zip(verdict.replies, orders, strict=False):
        for place, reply in enumerate(replies):
            yield reply.reasoning, by_reply[place % len(by_reply)]


def _citations(reasoning: str, order: Sequence[str]) -> Iterator[tuple[str, int]]:
    label = order[0] if len(order) == 1 else None
    for match in _CITATION.finditer(reasoning):
        if match["place"]:
            place = int(match["place"][:6])
            label = order[place - 1] if 1 <= place <= len(order) else None
        elif label is not None:
            for turn in _numbers(match["turns"]):
                yield label, turn


def _numbers(text: str) -> Iterator[int]:
    for first, last in _RANGE.findall(text):
        yield from range(int(first[:6]), min(int(last[:6]), int(first[:6]) + 1000) + 1)
    yield from (int(number[:6]) for number in re.findall(r"\d+", text))
