"""Where a judge is most sure and wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rewardanything_core.bench.measures import Judged


@dataclass(frozen=True, kw_only=True)
class WrongPair:
    """A pair that the judge orders the other way round than people."""

    judged: Judged
    """The list it is from, with the verdict."""

    better: str
    """Label of the response that people prefer."""

    worse: str
    """Label of the one that the judge prefers."""

    gap: float
    """How much higher the judge scores the latter, in points above 0."""

    def to_dict(self) -> dict[str, Any]:
        """Where to find it, as plain JSON types; the texts are in the benchmark, the reasoning in the store."""
        verdict = self.judged.verdict
        return {
            "id": self.judged.item.id,
            "better": self.better,
            "worse": self.worse,
            "gap": self.gap,
            "record_id": verdict and verdict.record_id,
        }


def wrong_pairs(judged: Iterable[Judged], limit: int = 20) -> list[WrongPair]:
    """The pairs that are furthest the wrong way, one of each list, the worst first."""
    found = []
    for one in judged:
        if (verdict := one.verdict) is None or not one.item.pairs:
            continue
        better, worse = max(one.item.pairs, key=lambda pair: verdict.scores[pair[1]] - verdict.scores[pair[0]])
        gap = verdict.scores[worse] - verdict.scores[better]
        if gap > 0:
            found.append(WrongPair(judged=one, better=better, worse=worse, gap=gap))
    return sorted(found, key=lambda pair: (-pair.gap, pair.judged.item.id))[:limit]
