"""Whether a verdict makes the same decision as a label: the preferred response, the order, or the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

AgreementRule: TypeAlias = Literal["best", "order", "scores"]
"""``best``: the same response is first. For two responses that is the same preference, where a tie agrees with a tie
only; for more, every response that the verdict puts first is one that the label puts first. ``order``: every pair that
the label orders has the same order. ``scores``: every score is within a tolerance of the label's."""

AGREEMENT_RULES: tuple[AgreementRule, ...] = get_args(AgreementRule)


@dataclass(frozen=True, kw_only=True)
class ReferenceDecision:
    """What people, or another judge, decided about a list of responses."""

    scores: Mapping[str, float] | None = None
    """Label -> score, on the judge's scale for the rule ``scores``. None: there are only pairs."""

    pairs: Sequence[tuple[str, str]] = ()
    """Pairs ``(better, worse)``. With neither scores nor pairs, all responses are equally good."""


def same_decision(
    scores: Mapping[str, float],
    label: ReferenceDecision,
    *,
    rule: AgreementRule,
    tolerance: float = 0.5,
    tie_margin: float = 0.0,
) -> bool | None:
    """Whether scores and a label make the same decision.

    Args:
        scores: A verdict's scores: label -> 1..5.
        label: The label, which may leave responses out.
        rule: See `AgreementRule`.
        tolerance: Greatest difference of two scores that count as the same under ``scores``, in points.
        tie_margin: Greatest difference of two scores of the verdict that count as a tie, in points.

    Returns:
        None: the label does not decide under this rule.
    """
    if rule == "scores":
        if not label.scores:
            return None
        return all(abs(scores[name] - value) <= tolerance for name, value in label.scores.items())
    judged = _labelled(scores, label)
    if len(judged) < 2:
        return None
    if rule == "best" or not label.pairs:
        first, preferred = _first(judged, tie_margin), _preferred(judged, label)
        return first == preferred if len(judged) == 2 or rule == "order" else first <= preferred
    return all(judged[better] - judged[worse] > tie_margin for better, worse in label.pairs)


def _labelled(scores: Mapping[str, float], label: ReferenceDecision) -> dict[str, float]:
    """The scores of the responses that the label is about."""
    named = label.scores or {name for pair in label.pairs for name in pair} or scores
    return {name: scores[name] for name in scores if name in named}


def _first(scores: Mapping[str, float], tie_margin: float) -> set[str]:
    highest = max(scores.values())
    return {name for name, score in scores.items() if highest - score <= tie_margin}


def _preferred(judged: Mapping[str, float], label: ReferenceDecision) -> set[str]:
    if label.scores:
        return _first(label.scores, 0.0)
    return set(judged) - {worse for _, worse in label.pairs}
