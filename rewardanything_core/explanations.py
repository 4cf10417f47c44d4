"""Explanations for a reader: the caller's labels in place of the masked names that the judge saw."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_MASKED_NAME = re.compile(r"(?i)\b(?:response )?model-(?P<place>\d+)\b")
_SOLE_NAME = re.compile(
    r"(?i)(?:\bthe )?(?:\bresponse )?(?P<quote>[\"'`*]{0,3})\bmodel-1\b(?P=quote)"
    r"(?:'s (?:response|answer|reply|output)\b| response\b)?"
)
_REFERENCE_BY_POSITION = re.compile(
    r"(?i)\bthe (?:first|second|third|fourth|fifth|last|former|latter)(?: two| three)?"
    r"(?: (?:and|or|one|ones|responses?|answers?|is|are|has|have|does|provides|gives)\b| [\"'(])"
    r"|\b(?:response|answer) #?[1-9]\b"
)
_SENTENCE_START = re.compile(r"(?:[.!?:]\s+|\n\s*)\Z")


def unmask(text: str, order: Sequence[str]) -> str:
    """Replace masked names by labels.

    A single response needs no name and becomes "the response". Where the text refers to responses by position ("the
    first response"), a line in front of it states the order in which the judge saw them.

    Args:
        text: Reasoning that refers to ``model-1`` .. ``model-n``.
        order: The n labels in the order in which the judge saw their responses.
    """
    text = text.strip()
    if len(order) == 1:
        return _unmask_sole_response(text)
    labels = {str(place): label for place, label in enumerate(order, start=1)}
    # Responses given as a list are labelled with numbers, which need a noun in a sentence.
    names = {place: f"response {label}" if label.isdigit() else label for place, label in labels.items()}
    unmasked = _MASKED_NAME.sub(lambda match: names.get(match["place"], match[0]), text)
    if _REFERENCE_BY_POSITION.search(text):  # before labels, which may be numbers, are in it
        return f"(The judge saw them in this order: {', '.join(order)}.)\n{unmasked}"
    return unmasked


def _unmask_sole_response(text: str) -> str:
    def name(match: re.Match[str]) -> str:
        # Only the characters right before the match matter; a longer slice would make this quadratic.
        before = text[max(0, match.start() - 40) : match.start()]
        starts_sentence = match.start() == 0 or _SENTENCE_START.search(before)
        return "The response" if starts_sentence else "the response"

    text = re.sub(r"(?i)\bmodel-1 (?=\d)", "", text)  # "the probability is model-1 0.80"
    return _SOLE_NAME.sub(name, text)


def with_headings(kind: str, texts: Sequence[str], suffixes: Sequence[str] | None = None) -> str:
    """The texts that are not empty, each under a heading such as ``[pass 2 of 3]``.

    Args:
        kind: What the texts are of, such as ``pass``.
        texts: The texts. All of them are numbered, also those that are empty.
        suffixes: What to add to each heading. None: nothing.
    """
    suffixes = suffixes or [""] * len(texts)
    return "\n\n".join(
        f"[{kind} {number} of {len(texts)}{suffix}]\n{text}"
        for number, (text, suffix) in enumerate(zip(texts, suffixes, strict=True), start=1)
        if text
    )


def named(label: str, responses: int) -> str:
    """A response as it is called in a sentence.

    Args:
        label: Its label.
        responses: Number of responses in the case. A single one needs no label.
    """
    return f"response {label}" if responses > 1 else "the response"


def missed_criteria(label: str, scores: Mapping[str, float], responses: int) -> str:
    """The sentence on the required criteria that a response misses.

    Args:
        label: The response's label.
        scores: Criterion -> the response's score on it, 1.0..5.0, for the criteria that it misses.
        responses: Number of responses in the case.
    """
    response = named(label, responses)
    listed = ", ".join(f"{name} ({score:.3g})" for name, score in scores.items())
    return f"{response[0].upper()}{response[1:]} misses what the rubric requires: {listed}."


def removed_sentences(label: str, sentences: Sequence[str], responses: int) -> str:
    """The sentence on what was removed from a response before it was judged.

    Args:
        label: The response's label.
        sentences: What was removed.
        responses: Number of responses in the case.
    """
    quoted = " ".join(repr(sentence) for sentence in sentences)
    removed = f"Removed from {named(label, responses)} before judging"
    return f"{removed}, since it addresses the evaluator or vouches for itself: {quoted}"
