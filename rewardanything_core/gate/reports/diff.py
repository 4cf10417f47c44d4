"""Which words of two answers differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

_MOST = 4_000  # of tokens: the matcher takes seconds for more where they repeat
_LEAST_ALIKE = 0.2
_CHANCE = 20  # characters; a longer agreement is no accident

# A line break, a letter of a script that has no spaces, a word, or a mark; each takes the blanks after it.
_WORDS = re.compile(
    r"\n|[\u3040-\u30ff\u3400-\u9fff][^\S\n]*|[^\W\u3040-\u30ff\u3400-\u9fff]+[^\S\n]*|[^\w\s][^\S\n]*|[^\S\n]+"
)
_SENTENCES = re.compile(r"\n|[^\n.!?。！？]*[.!?。！？]+[^\S\n]*|[^\n.!?。！？]+")


@dataclass(frozen=True)
class Piece:
    """A stretch of one of the two texts."""

    text: str
    """The stretch as it stands there."""

    changed: bool
    """Whether the other text has something else in its place, or nothing."""


@dataclass(frozen=True)
class Diff:
    """Two texts in pieces; the pieces of each add up to it."""

    old: tuple[Piece, ...]
    """The first text."""

    new: tuple[Piece, ...]
    """The second text."""

    note: str
    """What a reader should know of it; empty where there is nothing to say."""


def compare(old: str, new: str) -> Diff:
    """Compare by words; long texts by sentences; and not at all where they share too little, or are too long."""
    for pattern in (_WORDS, _SENTENCES):
        sides = pattern.findall(old), pattern.findall(new)
        start = _alike(*sides)
        end = _alike(sides[0][start:][::-1], sides[1][start:][::-1])
        middles = [side[start : len(side) - end] for side in sides]
        if max(map(len, middles)) <= _MOST:
            break
    else:
        return _whole(old, new, "These answers are too long to mark what changed.")
    head, tail = "".join(sides[0][:start]), ["".join(side[len(side) - end :]) for side in sides]
    blocks = list(_blocks(*middles))
    shared = sum(len(a) for a, _, same in blocks if same) + len(head) + len(tail[0])
    if shared < _LEAST_ALIKE * min(len(old), len(new)) or not (old and new):
        return _whole(old, new, "These answers have little in common, so no words are marked." if old and new else "")
    heads = (head, "".join(sides[1][:start]))
    texts: tuple[list[Piece], list[Piece]] = ([], [])
    for side, pieces in enumerate(texts):
        pieces.append(Piece(heads[side], False))
        pieces += [Piece(b if side else a, not same) for a, b, same in blocks]
        pieces.append(Piece(tail[side], False))
    note = "" if any(p.changed and p.text for side in texts for p in side) else "Only white space differs."
    return Diff(_joined(texts[0]), _joined(texts[1]), "" if old == new else note)


def _whole(old: str, new: str, note: str) -> Diff:
    return Diff((Piece(old, False),), (Piece(new, False),), note)


def _key(stretch: str) -> str:
    return stretch.strip() or ("\n" if stretch == "\n" else " ")


def _alike(old: Sequence[str], new: Sequence[str]) -> int:
    """How many tokens both begin with."""
    for place, (a, b) in enumerate(zip(old, new, strict=False)):
        if _key(a) != _key(b):
            return place
    return min(len(old), len(new))


def _blocks(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[str, str, bool]]:
    """Stretches of both, and whether they are the same; short agreements between long changes count as changed.

    "the" in the middle of two rewritten sentences is the same by chance, and marking around it helps nobody.
    """
    matcher = SequenceMatcher(None, [*map(_key, old)], [*map(_key, new)])
    found = [("".join(old[a:b]), "".join(new[c:d]), kind == "equal") for kind, a, b, c, d in matcher.get_opcodes()]
    merged: list[tuple[str, str, bool]] = []
    for place, (a, b, same) in enumerate(found):
        if same and 0 < place < len(found) - 1:
            around = [max(len(found[n][0]), len(found[n][1])) for n in (place - 1, place + 1)]
            same = len(a.strip()) > min(_CHANCE, *around)
        if merged and merged[-1][2] == same:
            merged[-1] = merged[-1][0] + a, merged[-1][1] + b, same
        else:
            merged.append((a, b, same))
    yield from merged


def _trimmed(piece: Piece) -> tuple[Piece, ...]:
    """A change without the blanks after it, which look odd when they are marked."""
    words = piece.text.rstrip(" ")
    return (Piece(words, True), Piece(piece.text[len(words) :], False)) if piece.changed and words else (piece,)


def _joined(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    joined: list[Piece] = []
    for piece in (part for whole in pieces for part in _trimmed(whole) if part.text):
        if joined and joined[-1].changed == piece.changed:
            joined[-1] = Piece(joined[-1].text + piece.text, piece.changed)
        else:
            joined.append(piece)
    return tuple(joined)
