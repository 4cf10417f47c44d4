"""Splitting a text into sentences, in any language, without losing a character."""

from __future__ import annotations

import re
import unicodedata

_MIN_LETTERS = 6  # a shorter piece, such as "Sure!" or the number of a list item, is joined to the next one
_MIN_LAST_LETTERS = 3  # a shorter piece at the end is joined to the one before
_MAX_BLOCK = 800  # characters of a code block that is kept in one piece

# Every alternative takes time linear in the text: a run of marks or of white space is scanned from its first character
# only, and never in two ways.
_BOUNDARY = re.compile(
    r"""(?<![.!?…])[.!?…]++["'”’»)\]*_]*+(?=\s)\s++"""
    r"""|(?<![。！？।؟])[。！？।؟]++["'”’»)\]」』）]*+\s*+"""
    r"""|\n\s*+"""
)
_FENCE = re.compile(r"^(?:```|~~~)", re.MULTILINE)
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\U000e0000-\U000e007f]")

# Letters of other scripts that look like Latin ones.
_LOOKALIKES = str.maketrans(
    "АВЕЗКМНОРСТХУІЈЅабеорсухіјѕԁһӏԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧαοιυ",
    "ABE3KMHOPCTXYIJSa6eopcyxijsdhlqwABEZHIKMNOPTYXaoiu",
)
_WORD = re.compile(r"\w+")


def split_sentences(text: str) -> list[str]:
    """Split a text at sentence ends and line breaks; a short code block stays in one piece.

    The time is linear in the length of the text.

    Args:
        text: The text.

    Returns:
        The pieces in order, each with the white space that follows it; joined they are the text.
    """
    pieces: list[str] = []
    position = 0
    for start, end in _code_blocks(text):
        pieces += [*_split_prose(text[position:start]), text[start:end]]
        position = end
    pieces += _split_prose(text[position:])
    return _join_short(pieces)


def plain_spelling(text: str) -> str:
    """The text as a reader sees it: without invisible characters, compatibility forms or look-alike letters.

    Only words that mix Latin letters with look-alikes of another script are changed to Latin.

    Args:
        text: The text.
    """
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
    return _WORD.sub(lambda match: _latin(match[0]), text)


def _latin(word: str) -> str:
    if word.isascii() or not any(character.isascii() and character.isalpha() for character in word):
        return word
    changed = word.translate(_LOOKALIKES)
    return changed if changed.isascii() else word


def _code_blocks(text: str) -> list[tuple[int, int]]:
    fences = [match.start() for match in _FENCE.finditer(text)]
    blocks = []
    for opening, closing in zip(fences[::2], fences[1::2], strict=False):
        line_end = text.find("\n", closing)
        end = len(text) if line_end < 0 else line_end + 1
        if end - opening <= _MAX_BLOCK:
            blocks.append((opening, end))
    return blocks


def _split_prose(text: str) -> list[str]:
    pieces, position = [], 0
    for boundary in _BOUNDARY.finditer(text):
        pieces.append(text[position : boundary.end()])
        position = boundary.end()
    return [piece for piece in (*pieces, text[position:]) if piece]


def _join_short(pieces: list[str]) -> list[str]:
    joined: list[str] = []
    pending: list[str] = []
    letters = 0
    for piece in pieces:
        pending.append(piece)
        letters += _letters(piece)
        if letters >= _MIN_LETTERS:
            joined.append("".join(pending))
            pending, letters = [], 0
    rest = "".join(pending)
    if joined and letters < _MIN_LAST_LETTERS:
        joined[-1] += rest
    elif rest:
        joined.append(rest)
    return joined


def _letters(text: str) -> int:
    """Number of letters, of which ideographs and syllables count twice."""
    return sum(1 + (unicodedata.east_asian_width(letter) == "W") for letter in text if letter.isalpha())
