"""Controls: baseline answers made worse on purpose, to test whether the judge notices.

Finding no difference is informative only if a difference would have been found; in clinical trials this is called assay
sensitivity (ICH E10, section 1.5). A judge that scores an answer and its padded version alike rules out any drop of a
candidate that pads, so the judge is tested with padded answers before such a candidate passes.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import fmean
from typing import get_args

from rewardanything_core.conversations import Response
from rewardanything_core.conversations.trajectory import response_final_text, with_final_text
from rewardanything_core.errors import ConfigError
from rewardanything_core.gate.inference import LARGEST_DIFFERENCE, typical_values
from rewardanything_core.gate.pairing import PairedCase
from rewardanything_core.gate.results import AUTO, BASELINE, Control, ControlKind, Pair

NONE = "none"
"""No controls."""

KINDS: tuple[ControlKind, ...] = get_args(ControlKind)

MAX_CASES = 12
"""Maximum number of baseline answers degraded for one control."""

_LENGTH_RATIO = 1.5  # an answer is much longer than another from this ratio of their lengths on
_MIN_LENGTH_CHANGE = 40  # characters; "Yes." to "Yes, it is." is not padding
_CHANGED_SHARE = 0.25  # of the inputs; one point lost on a quarter of them is about the usual margin
_MIN_LENGTH_TO_CUT = 80  # characters; half of a shorter answer may still be an answer

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


def parse_controls(given: str | Iterable[str]) -> tuple[ControlKind, ...] | None:
    """The controls that a user named: one or several kinds, or `NONE`. None: `AUTO`.

    Raises:
        ConfigError: there is no such control.
    """
    names = [given] if isinstance(given, str) else list(given)
    if names == [AUTO]:
        return None
    if names == [NONE]:
        return ()
    for name in names:
        if name not in KINDS:
            raise ConfigError(
                f"There is no control {name!r} to choose" + (" with others." if name in (AUTO, NONE) else "."),
                hint=f"Use {AUTO!r} or {NONE!r} alone, or some of: {', '.join(KINDS)}.",
            )
    return tuple(kind for kind in KINDS if kind in names)


def required_controls(pairs: Sequence[Pair], items: Iterable[PairedCase]) -> dict[ControlKind, str]:
    """The controls that a candidate's changes require with `AUTO`, each with its reason.

    ``cut`` or ``padded`` if the answers to a quarter of the inputs became much shorter or much longer; ``worse`` if
    cases come with an answer that the user knows to be worse.

    Args:
        pairs: The pairs of one comparison.
        items: All cases.
    """
    required: dict[ControlKind, str] = {}
    inputs = {pair.group for pair in pairs}
    shorter = {pair.group for pair in pairs if _much_longer(pair.baseline_response, pair.candidate_response)}
    longer = {pair.group for pair in pairs if _much_longer(pair.candidate_response, pair.baseline_response)}
    changes: tuple[tuple[ControlKind, set[str], str], ...] = (("cut", shorter, "shorter"), ("padded", longer, "longer"))
    for kind, changed, comparative in changes:
        if len(changed) >= _CHANGED_SHARE * len(inputs):
            required[kind] = f"in {len(changed)} of {len(inputs)} inputs the candidate's answer is much {comparative}"
    if any(item.worse is not None for item in items):
        required["worse"] = "some cases come with an answer that is worse"
    return required


def degraded(items: Sequence[PairedCase], kind: ControlKind) -> list[PairedCase]:
    """The first inputs whose baseline answer can be degraded, each with the original and the degraded answer.

    Args:
        items: All cases, in the order of preference.
        kind: The control; also the label of the degraded answer.
    """
    made: dict[str, PairedCase] = {}
    for place, item in enumerate(items):
        if item.group in made:
            continue
        answer = _degrade(kind, item, [*items[place + 1 :], *items[:place]])
        if answer is not None and answer != item.responses[BASELINE]:
            made[item.group] = dataclasses.replace(
                item, responses={BASELINE: item.responses[BASELINE], kind: answer}, min_score=None
            )
        if len(made) == MAX_CASES:
            break
    return list(made.values())


def evaluate_control(
    kind: ControlKind,
    differences: Mapping[str | None, Sequence[float]],
    margins: Mapping[str | None, float],
    *,
    alpha: float,
    why: str,
) -> Control:
    """Decide whether the judge noticed a control.

    The test flips signs. That is exact here: a judge that does not notice the change scores both answers alike, so the
    differences are symmetric about 0.

    A rubric is tested as a whole and under each criterion, since no criterion need notice every kind of degradation.
    The control is noticed if one of them notices it, at a level that is corrected for their number (Bonferroni).

    Args:
        kind: The control.
        differences: Criterion -> score of the degraded answer minus that of the original, -4.0..4.0, for each input.
            None, the first key: under the principle as a whole.
        margins: The same keys -> margin. A control is noticed if the degraded answers lose at least the margin, with
            statistical significance.
        alpha: One-sided significance level.
        why: Why this control was required.
    """
    results = [
        _evaluated(kind, differences[key], margins[key], alpha=alpha / len(margins), why=why, criterion=key)
        for key in margins
    ]
    noticed = [result for result in results if result.noticed]
    return min(noticed, key=lambda result: result.difference or 0.0) if noticed else results[0]


def _evaluated(
    kind: ControlKind, differences: Sequence[float], margin: float, *, alpha: float, why: str, criterion: str | None
) -> Control:
    values = typical_values(differences) if differences else None
    mean = fmean(differences) if differences else None
    p_drop = values.p_below(0.0) if values else 1.0
    low, high = values.interval(alpha) if values else (-LARGEST_DIFFERENCE, LARGEST_DIFFERENCE)
    return Control(
        kind=kind,
        why=why,
        n=len(differences),
        difference=mean,
        low=low,
        high=high,
        p_drop=p_drop,
        noticed=mean is not None and p_drop <= alpha and mean <= -margin,
        criterion=criterion,
    )


def unnoticed(controls: Collection[Control]) -> list[Control]:
    """The controls that the judge did not notice; each of them keeps a comparison from passing."""
    return [control for control in controls if not control.noticed]


def _much_longer(answer: Response, other: Response) -> bool:
    """Whether what an answer says in the end, which controls change, is much longer than what another says."""
    sizes = len(response_final_text(answer)), len(response_final_text(other))
    return sizes[0] >= _LENGTH_RATIO * sizes[1] and sizes[0] - sizes[1] >= _MIN_LENGTH_CHANGE


def _degrade(kind: ControlKind, item: PairedCase, others: Iterable[PairedCase]) -> Response | None:
    """The item's baseline answer made worse. None: it cannot be degraded in this way."""
    answer = item.responses[BASELINE]
    if kind == "worse":
        return item.worse
    if kind == "swapped":
        return next((other.responses[BASELINE] for other in others if other.group != item.group), None)
    text = response_final_text(answer)
    if not text.strip() and not isinstance(answer, str):
        return None  # a run that ends without a text
    worse = _worse_text(kind, text, item.id)
    return None if worse is None else with_final_text(answer, worse)


def _worse_text(kind: ControlKind, text: str, seed: str) -> str | None:
    match kind:
        case "cut":
            return _cut(text.strip())
        case "padded":
            return _padded(text, seed)
        case _:
            return f"{_INSULTS[0]}\n\n{text}\n\n{_INSULTS[1]}"


def _cut(text: str) -> str | None:
    """The first half, without its last word and the punctuation there, so that it breaks off within a sentence."""
    if len(text) < _MIN_LENGTH_TO_CUT:
        return None
    half = text[: len(text) // 2]
    head, space, _ = half.rpartition(" ")
    return (head if space else half).rstrip(" .!?\n")


def _padded(text: str, seed: str) -> str:
    """The text between sentences without content, which make it at least twice as long."""
    filler = random.Random(seed).sample(_FILLER, len(_FILLER))
    target = max(len(text), len(" ".join(filler)))
    sentences: list[str] = []
    while sum(map(len, sentences)) < target:
        sentences.append(filler[len(sentences) % len(filler)])
    return f"{' '.join(sentences[::2])}\n\n{text}\n\n{' '.join(sentences[1::2])}"
