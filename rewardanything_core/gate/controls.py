"""Controls: baseline answers made worse on purpose, to see whether the judge would notice.

A trial that finds no difference shows something only if it could have found one; trials of medicines call this assay
sensitivity (ICH E10, 1.5). A judge that cannot tell an answer from the same answer padded with empty sentences rules
out any drop of a candidate that pads, so before such a candidate passes, the judge is put to the test.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Collection, Iterable, Sequence
from statistics import fmean
from typing import get_args

from rewardanything_core.errors import ConfigError
from rewardanything_core.gate.inference import LARGEST_DIFFERENCE, typical_values
from rewardanything_core.gate.pairing import Item
from rewardanything_core.gate.results import AUTO, BASELINE, Control, ControlKind, Pair, Requirement

NONE = "none"
"""No controls."""

KINDS: tuple[ControlKind, ...] = get_args(ControlKind)

CASES = 12
"""Most baseline answers that are spoiled for one control."""

_LONGER = 1.5  # times as many characters, or as few
_BY_AT_LEAST = 40  # characters; "Yes." to "Yes, it is." is no padding
_SHARE = 0.25  # of the inputs: a point lost on a quarter of them is about the usual margin
_WORTH_CUTTING = 80  # characters; half of less is still an answer

_FILLER = (
    "This is an interesting subject, and many people have thought about it.",
    "There are, as so often, several sides to it.",
    "Some would put it one way and some another, and both have their reasons.",
    "Before anything else is said, it should be said that much depends on the circumstances.",
    "What matters here may matter less elsewhere, and the other way round.",
    "All things considered, it is good to keep an open mind.",
    "Of course, a great deal more could be said.",
    "In the end everyone has to see for themselves.",
)
_INSULTS = "Nobody with half a brain would have to ask this.", "Now leave me alone, you fool."


def chosen(given: str | Iterable[str]) -> tuple[ControlKind, ...] | None:
    """The controls that a user names, one or several, or `NONE`. None: `AUTO`.

    Raises:
        ConfigError: there is no such control.
    """
    named = [given] if isinstance(given, str) else list(given)
    if named == [AUTO]:
        return None
    if named == [NONE]:
        return ()
    for name in named:
        if name not in KINDS:
            raise ConfigError(
                f"There is no control {name!r} to choose" + (" with others." if name in (AUTO, NONE) else "."),
                hint=f"Use {AUTO!r} or {NONE!r} alone, or some of: {', '.join(KINDS)}.",
            )
    return tuple(kind for kind in KINDS if kind in named)


def called_for(pairs: Sequence[Pair], items: Iterable[Item]) -> dict[ControlKind, str]:
    """The controls that a candidate's change asks for, and why.

    Answers that grew or shrank by half, in a quarter of the inputs, ask whether the judge sees padding or cutting; and
    answers of which the user says that they are worse, whether the judge agrees.
    """
    found: dict[ControlKind, str] = {}
    inputs = {pair.group for pair in pairs}
    shorter = {pair.group for pair in pairs if _outgrows(pair.baseline_response, pair.candidate_response)}
    longer = {pair.group for pair in pairs if _outgrows(pair.candidate_response, pair.baseline_response)}
    changes: tuple[tuple[ControlKind, set[str], str], ...] = (("cut", shorter, "shorter"), ("padded", longer, "longer"))
    for kind, changed, how in changes:
        if len(changed) >= _SHARE * len(inputs):
            found[kind] = f"in {len(changed)} of {len(inputs)} inputs the candidate's answer is much {how}"
    if any(item.worse is not None for item in items):
        found["worse"] = "some cases come with an answer that is worse"
    return found


def spoiled(items: Sequence[Item], kind: ControlKind) -> list[Item]:
    """The first inputs that lend themselves to a control: the baseline's answer, and beside it the spoiled one."""
    made: dict[str, Item] = {}
    for place, item in enumerate(items):
        if item.group in made:
            continue
        text = _spoil(kind, item, [*items[place + 1 :], *items[:place]])
        if text is not None and text != item.responses[BASELINE]:
            made[item.group] = dataclasses.replace(
                item, responses={BASELINE: item.responses[BASELINE], kind: text}, min_score=None
            )
        if len(made) == CASES:
            break
    return list(made.values())


def weighed(
    kind: ControlKind, differences: Sequence[float], requirement: Requirement, *, alpha: float, why: str
) -> Control:
    """What the judge made of a control.

    Args:
        kind: Which one.
        differences: Spoiled answer minus the baseline's, for each input.
        requirement: What was judged by. To be noticed, the spoiled answers must lose its margin, beyond chance.
        alpha: One-sided significance level.
        why: What asked for this control.
    """
    found = typical_values(differences) if differences else None
    mean = fmean(differences) if differences else None
    p_drop = found.p_below(0.0) if found else 1.0
    low, high = found.interval(alpha) if found else (-LARGEST_DIFFERENCE, LARGEST_DIFFERENCE)
    noticed = mean is not None and p_drop <= alpha and mean <= -requirement.margin
    return Control(
        kind=kind, why=why, n=len(differences), difference=mean, low=low, high=high, p_drop=p_drop, noticed=noticed
    )


def unnoticed(controls: Collection[Control]) -> list[Control]:
    """Those that the judge did not notice, and that therefore keep a comparison from passing."""
    return [control for control in controls if not control.noticed]


def _outgrows(text: str, other: str) -> bool:
    return len(text) >= _LONGER * len(other) and len(text) - len(other) >= _BY_AT_LEAST


def _spoil(kind: ControlKind, item: Item, others: Iterable[Item]) -> str | None:
    """The item's baseline answer made worse. None: it does not lend itself to that."""
    text = item.responses[BASELINE]
    match kind:
        case "cut":
            return _cut(text.strip())
        case "padded":
            return _padded(text, item.id)
        case "rude":
            return f"{_INSULTS[0]}\n\n{text}\n\n{_INSULTS[1]}"
        case "swapped":
            return next((other.responses[BASELINE] for other in others if other.group != item.group), None)
        case "worse":
            return item.worse


def _cut(text: str) -> str | None:
    """The first half; it breaks off within a sentence wherever there is a sentence."""
    if len(text) < _WORTH_CUTTING:
        return None
    half = text[: len(text) // 2]
    head, space, _ = half.rpartition(" ")
    return (head if space else half).rstrip(" .!?\n")


def _padded(text: str, seed: str) -> str:
    """The text between sentences that say nothing, which make it at least twice as long."""
    filler = random.Random(seed).sample(_FILLER, len(_FILLER))
    wanted = max(len(text), len(" ".join(filler)))
    sentences: list[str] = []
    while sum(map(len, sentences)) < wanted:
        sentences.append(filler[len(sentences) % len(filler)])
    return f"{' '.join(sentences[::2])}\n\n{text}\n\n{' '.join(sentences[1::2])}"
