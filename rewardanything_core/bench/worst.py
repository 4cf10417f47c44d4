"""The pairs on which a judge is most confident and wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rewardanything_core.bench.measures import JudgedItem


@dataclass(frozen=True, kw_only=True)
class WrongPair:
    """A pair that the judge orders against the human label."""

    judged: JudgedItem
    """The list it belongs to, with the verdict."""

    better: str
    """Label of the response that people prefer."""

    worse: str
    """Label of the response that the judge prefers."""

    gap: float
    """How much higher the judge scores ``worse``, in points, above 0."""

    def to_dict(self) -> dict[str, Any]:
        """References as plain JSON types; the texts are in the benchmark, the reasoning in the store."""
        verdict = self.judged.verdict
        return {
            "id": self.judged.item.id,
            "better": self.better,
            "worse": self.worse,
            "gap": self.gap,
            "record_id": verdict and verdict.record_id,
        }


def wrong_pairs(judged: Iterable[JudgedItem], limit: int = 20) -> list[WrongPair]:
    """The pairs with the largest gap in the wrong direction, at most one of each list, the largest gap first.

    Args:
        judged: The judged items.
        limit: Maximum number of pairs.
    """
    pairs = []
    for one in judged:
        if (verdict := one.verdict) is None or not one.item.pairs:
            continue
        better, worse = max(one.item.pairs, key=lambda pair: verdict.scores[pair[1]] - verdict.scores[pair[0]])
        gap = verdict.scores[worse] - verdict.scores[better]
        if gap > 0:
            pairs.append(WrongPair(judged=one, better=better, worse=worse, gap=gap))
    return sorted(pairs, key=lambda pair: (-pair.gap, pair.judged.item.id))[:limit]
