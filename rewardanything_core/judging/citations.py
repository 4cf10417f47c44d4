"""What a judge's reasoning cites: turns of a conversation, and passages of a response that it quotes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice

from rewardanything_core.cases import Case
from rewardanything_core.conversations.trajectory import Trajectory
from rewardanything_core.types import Verdict

# A name and the turns after it, as in "model-1 (turns 3 and 5)"; the name of the latest response counts until the next.
_CITATION = re.compile(r"(?i)\bmodel-(?P<place>\d+)\b|\bturns?\s+#?(?P<turns>\d+(?:\s*(?:,|and|&|to|-|–)\s*#?\d+)*)")
_RANGE = re.compile(r"(\d+)\s*(?:to|-|–)\s*#?(\d+)")


_QUOTED = re.compile(
    r"\"([^\"\n]{4,400})\"|“([^”\n]{4,400})”|«([^»\n]{4,400})»|`([^`\n]{4,400})`|(?<!\w)'([^\n]{4,400}?)'(?!\w)"
)
_ELLIPSIS = re.compile(r"\s*(?:\[?\.\.\.\]?|…)\s*")
_MAX_QUOTATIONS = 100


def quoted_passages(reasoning: str, text: str) -> list[tuple[int, int]]:
    """Where a text has what a judge's reasoning quotes from it: start and end of each passage, in order, disjoint.

    Words in quotation marks or backticks count, from 4 characters. White space, capitals and a full stop or comma at
    the end may differ, and a quotation with an ellipsis counts in parts.

    Args:
        reasoning: The reasoning.
        text: The text.
    """
    found: list[tuple[int, int]] = []
    for quotation in islice(dict.fromkeys(_quotations(reasoning)), _MAX_QUOTATIONS):
        words = (re.escape(word) for word in quotation.split())
        found += [match.span() for match in re.finditer(r"\s+".join(words), text, re.IGNORECASE)]
    merged: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _quotations(reasoning: str) -> Iterator[str]:
    for match in _QUOTED.finditer(reasoning):
        whole = next(filter(None, match.groups()))
        parts = [part.strip(" \t.,;:!?") for part in _ELLIPSIS.split(whole)]
        yield from (part for part in parts if len(part) >= 4)


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
