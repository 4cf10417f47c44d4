"""Word-level differences between two answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

_MAX_TOKENS = 4_000  # SequenceMatcher takes seconds for more tokens if they repeat
_MIN_SHARED = 0.2  # of the shorter text; with less in common nothing is marked
_CHANCE_MATCH = 20  # characters; a longer match between two changes is not a coincidence

# A line break, a letter of a script without spaces, a word, or a mark; each with the blanks after it.
_WORDS = re.compile(
    r"\n|[\u3040-\u30ff\u3400-\u9fff][^\S\n]*|[^\W\u3040-\u30ff\u3400-\u9fff]+[^\S\n]*|[^\w\s][^\S\n]*|[^\S\n]+"
)
_SENTENCES = re.compile(r"\n|[^\n.!?。！？]*[.!?。！？]+[^\S\n]*|[^\n.!?。！？]+")


@dataclass(frozen=True)
class Piece:
    """A part of one of the two texts."""

    text: str
    """The part, verbatim."""

    changed: bool
    """Whether the other text differs here."""


@dataclass(frozen=True)
class Diff:
    """Two texts in pieces; the pieces of each concatenate to it."""

    old: tuple[Piece, ...]
    """The first text."""

    new: tuple[Piece, ...]
    """The second text."""

    note: str
    """A remark for the reader. Empty: none."""


def compare(old: str, new: str) -> Diff:
    """Compare two texts by words, or by sentences if they are long.

    Texts that share too little, or are too long even by sentences, come back unmarked with a note.

    Args:
        old: The first text.
        new: The second text.
    """
    for pattern in (_WORDS, _SENTENCES):
        sides = pattern.findall(old), pattern.findall(new)
        start = _common_prefix(*sides)
        end = _common_prefix(sides[0][start:][::-1], sides[1][start:][::-1])
        middles = [side[start : len(side) - end] for side in sides]
        if max(map(len, middles)) <= _MAX_TOKENS:
            break
    else:
        return _unmarked(old, new, "These answers are too long to mark what changed.")
    head, tail = "".join(sides[0][:start]), ["".join(side[len(side) - end :]) for side in sides]
    blocks = list(_blocks(*middles))
    shared = sum(len(a) for a, _, same in blocks if same) + len(head) + len(tail[0])
    if shared < _MIN_SHARED * min(len(old), len(new)) or not (old and new):
        note = "These answers have little in common, so nothing is marked." if old and new else ""
        return _unmarked(old, new, note)
    heads = (head, "".join(sides[1][:start]))
    texts: tuple[list[Piece], list[Piece]] = ([], [])
    for side, pieces in enumerate(texts):
        pieces.append(Piece(heads[side], False))
        pieces += [Piece(b if side else a, not same) for a, b, same in blocks]
        pieces.append(Piece(tail[side], False))
    note = "" if any(p.changed and p.text for side in texts for p in side) else "Only white space differs."
    return Diff(_joined(texts[0]), _joined(texts[1]), "" if old == new else note)


def _unmarked(old: str, new: str, note: str) -> Diff:
    return Diff((Piece(old, False),), (Piece(new, False),), note)


def _key(word: str) -> str:
    return word.strip() or ("\n" if word == "\n" else " ")


def _common_prefix(old: Sequence[str], new: Sequence[str]) -> int:
    """The number of tokens that both begin with."""
    for place, (a, b) in enumerate(zip(old, new, strict=False)):
        if _key(a) != _key(b):
            return place
    return min(len(old), len(new))


def _blocks(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[str, str, bool]]:
    """Blocks of both texts, each with whether it is the same in both.

    A short match between two long changes counts as changed: "the" between two rewritten sentences is a coincidence,
    and leaving it unmarked makes the diff harder to read.
    """
    matcher = SequenceMatcher(None, [*map(_key, old)], [*map(_key, new)])
    blocks = [("".join(old[a:b]), "".join(new[c:d]), kind == "equal") for kind, a, b, c, d in matcher.get_opcodes()]
    merged: list[tuple[str, str, bool]] = []
    for place, (a, b, same) in enumerate(blocks):
        if same and 0 < place < len(blocks) - 1:
            neighbours = [max(len(blocks[n][0]), len(blocks[n][1])) for n in (place - 1, place + 1)]
            same = len(a.strip()) > min(_CHANCE_MATCH, *neighbours)
        if merged and merged[-1][2] == same:
            merged[-1] = merged[-1][0] + a, merged[-1][1] + b, same
        else:
            merged.append((a, b, same))
    yield from merged


def _without_trailing_blanks(piece: Piece) -> tuple[Piece, ...]:
    """A changed piece with its trailing blanks split off, which look odd when marked."""
    words = piece.text.rstrip(" ")
    return (Piece(words, True), Piece(piece.text[len(words) :], False)) if piece.changed and words else (piece,)


def _joined(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    joined: list[Piece] = []
    for piece in (part for whole in pieces for part in _without_trailing_blanks(whole) if part.text):
        if joined and joined[-1].changed == piece.changed:
            joined[-1] = Piece(joined[-1].text + piece.text, piece.changed)
        else:
            joined.append(piece)
    return tuple(joined)
