"""List measures: how a judge's order and scores of several responses compare with people's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def kendall_tau_b(scores: Mapping[str, float], human: Mapping[str, float]) -> float | None:
    """Kendall's tau-b of a judge's scores with people's (Kendall, Biometrika 33, 1945; `scipy.stats.kendalltau`).

    Args:
        scores: label -> the judge's score.
        human: label -> people's score, for the same labels.

    Returns:
        -1..1; 0 where the judge scores all responses equally, so that such lists are not excluded from the mean. None
        where people score all responses equally or there are fewer than two: there is no order to agree with.
    """
    from scipy.stats import kendalltau

    judged, truth = _aligned(scores, human)
    if not _varies(truth):
        return None
    return float(kendalltau(judged, truth).statistic) if _varies(judged) else 0.0


def spearman(scores: Mapping[str, float], human: Mapping[str, float]) -> float | None:
    """Spearman's rank correlation of a judge's scores with people's; arguments and result as in `kendall_tau_b`.

    Args:
        scores: label -> the judge's score.
        human: label -> people's score, for the same labels.
    """
    from scipy.stats import spearmanr

    judged, truth = _aligned(scores, human)
    if not _varies(truth):
        return None
    return float(spearmanr(judged, truth).statistic) if _varies(judged) else 0.0


def ndcg(scores: Mapping[str, float], human: Mapping[str, float]) -> float | None:
    """Normalised discounted cumulative gain of the judge's order (Jarvelin & Kekalainen, ACM TOIS 20, 2002).

    The gain of a response is its human score, the discount of rank i is 1 / log2(i + 1), and all ranks count. Tied
    responses share the mean discount of their ranks, which is the mean over all ways to break the ties (McSherry &
    Najork 2008). It equals `sklearn.metrics.ndcg_score`. The paper of RABench does not define its gains, so its figures
    may differ.

    Args:
        scores: label -> the judge's score.
        human: label -> people's score, for the same labels.

    Returns:
        Above 0, at most 1. With scores within 1..5 a random order already gets a high value: see `chance_ndcg`. None
        where people score all responses equally, a human score is negative, or there are fewer than two responses.
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
    """The mean `ndcg` of random orders, as a baseline."""
    return ndcg(dict.fromkeys(human, 0.0), human)


def score_variance(scores: Mapping[str, float]) -> float | None:
    """Variance (population form) of the scores within one list, 0..4: 0 for a judge that scores all responses equally.

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
