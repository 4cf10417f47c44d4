"""Whole lists: how the order and the scores of several responses compare with people's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def kendall_tau_b(scores: Mapping[str, float], human: Mapping[str, float]) -> float | None:
    """Kendall's tau-b of a judge's scores with people's (Kendall, Biometrika 33, 1945; `scipy.stats.kendalltau`).

    Returns:
        -1..1; 0 where the judge gives all the same score, since such a judge says nothing and should not be spared by
        being left out. None where people score all the same or there are fewer than two responses: nothing to agree
        with.
    """
    from scipy.stats import kendalltau

    judged, truth = _aligned(scores, human)
    if not _varies(truth):
        return None
    return float(kendalltau(judged, truth).statistic) if _varies(judged) else 0.0


def spearman(scores: Mapping[str, float], human: Mapping[str, float]) -> float | None:
    """Spearman's rank correlation of a judge's scores with people's; otherwise as `kendall_tau_b`."""
    from scipy.stats import spearmanr

    judged, truth = _aligned(scores, human)
    if not _varies(truth):
        return None
    return float(spearmanr(judged, truth).statistic) if _varies(judged) else 0.0


def ndcg(scores: Mapping[str, float], human: Mapping[str, float]) -> float | None:
    """Normalised discounted cumulative gain of the judge's order (Jarvelin & Kekalainen, ACM TOIS 20, 2002).

    The gain of a response is its human score as it stands, the discount of place i is 1 / log2(i + 1), all places
    count, and responses that the judge ties share their places' discounts, which is the mean over all ways to break
    the ties (McSherry & Najork 2008). That is `sklearn.metrics.ndcg_score`. The paper of RABench does not spell out
    its gains where we could read it, so compare its figure with care.

    Returns:
        Above 0, at most 1. A random order already gets much of it where scores lie within 1..5: see `chance_ndcg`.
        None where people score all the same, some score is negative, or there are fewer than two responses.
    """
    import numpy as np

    judged, truth = _aligned(scores, human)
    if not _varies(truth) or truth.min() < 0:
        return None
    discounts = 1.0 / np.log2(np.arange(2, len(truth) + 2))
    ideal = float(np.sort(truth)[::-1] @ discounts)
    _, level, sizes = np.unique(-judged, return_inverse=True, return_counts=True)
    gains = np.zeros(len(sizes))
    np.add.at(gains, level, truth)
    ends = np.cumsum(sizes)
    sums = np.concatenate([[0.0], np.cumsum(discounts)])
    return float(gains / sizes @ (sums[ends] - sums[ends - sizes])) / ideal


def chance_ndcg(human: Mapping[str, float]) -> float | None:
    """What `ndcg` is on average for a random order: the figure to compare it with."""
    return ndcg(dict.fromkeys(human, 0.0), human)


def score_variance(scores: Mapping[str, float]) -> float | None:
    """Variance (population form) of the scores within one list, 0..4: 0 for a judge that tells nothing apart.

    None for fewer than two responses.
    """
    import numpy as np

    return float(np.var(list(scores.values()))) if len(scores) > 1 else None


def _aligned(
    scores: Mapping[str, float], human: Mapping[str, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    import numpy as np

    return np.array([scores[label] for label in human], dtype=float), np.array(list(human.values()), dtype=float)


def _varies(numbers: NDArray[np.float64]) -> bool:
    return len(numbers) > 1 and bool((numbers != numbers[0]).any())
