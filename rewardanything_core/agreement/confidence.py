"""How sure a verdict is, as one number, from its scores, spread and passes.

The number orders verdicts by how likely they are to be right. It is not a probability: a cascade's thresholds are
fitted to labels, so only the order counts. ``benchmarks/cascade.py`` compares the measures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from rewardanything_core.types import MAX_SCORE, MIN_SCORE, Verdict

Confidence: TypeAlias = Literal["gap", "order", "votes", "spread"]
"""``gap``: the best response is ahead of the second. ``order``: every response is ahead of the next one. ``votes``:
passes or jurors agree on the best one. ``spread``: the scores hardly vary over passes or jurors. With one response, all
of them are ``spread``."""

CONFIDENCES: tuple[Confidence, ...] = get_args(Confidence)

NOISE = 1.0
"""Standard deviation of the error of a gap that spreads do not show, in points. From 0.1 to 2 hardly anything changes
(benchmarks/cascade.py)."""


def confidence_of(verdict: Verdict, measure: Confidence = "gap") -> float:
    """The confidence of a verdict.

    Args:
        verdict: The verdict.
        measure: What it is computed from.

    Returns:
        0..1, higher is surer. ``gap`` and ``order``: the probability that the difference of two scores has the right
        sign, if scores had normal errors with their spreads and `NOISE`; 0.5 for a tie. ``votes``: the share of passes
        (or of the passes of all jurors) with the same best response; a tie of k counts 1/k. ``spread``: 1 minus the
        largest spread as a share of the largest possible one.
    """
    if len(verdict.scores) == 1 or measure == "spread":
        widest = max(verdict.spread.values(), default=0.0)
        return max(0.0, 1.0 - widest / ((MAX_SCORE - MIN_SCORE) / 2))
    if measure == "votes":
        return _votes(verdict.pass_scores or [verdict.scores], verdict.best)
    pairs = list(zip(verdict.ranking, verdict.ranking[1:], strict=False))
    return min(_ahead(verdict, *pair) for pair in (pairs if measure == "order" else pairs[:1]))


def _ahead(verdict: Verdict, first: str, second: str) -> float:
    gap = verdict.scores[first] - verdict.scores[second]
    error = math.hypot(verdict.spread.get(first, 0.0), verdict.spread.get(second, 0.0), NOISE)
    return 0.5 * (1 + math.erf(gap / error / math.sqrt(2)))


def _votes(passes: Sequence[Mapping[str, float]], best: str) -> float:
    votes = 0.0
    for scores in passes:
        top = [label for label, score in scores.items() if score == max(scores.values())]
        votes += best in top and 1 / len(top)
    return votes / len(passes)
