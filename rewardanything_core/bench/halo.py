"""The halo audit: whether a judge's scores under several criteria move together more than people's do.

Thorndike (J. Appl. Psychol. 4, 1920) named the halo effect: raters let one quality of a person colour all others.
Criteria may well be related, so the yardstick is the correlation between people's scores of the same responses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from rewardanything_core.agreement.intervals import CORRELATION, NO_DATA, Estimate, estimate, group_indices
from rewardanything_core.bench.measures import JudgedItem
from rewardanything_core.bench.report import Audit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_SIDES = {"criteria_correlation": (1.0, 0.0), "criteria_correlation_human": (0.0, 1.0), "halo": (1.0, -1.0)}
"""Figure -> factors of the judge's and of people's correlation. ``halo`` is beyond -1 to 1 only where the judge or
people relate criteria inversely."""


class _Products(NamedTuple):
    """What one list of responses says about two criteria."""

    group: str
    criteria: tuple[str, str]
    judge: Sequence[float]
    people: Sequence[float]
    """Of scores centred within the list: the sums of squares under both criteria, and the sum of products."""


def halo(judged: Iterable[JudgedItem]) -> Audit:
    """Audit items that were judged under rubrics; it makes no judgements.

    ``criteria_correlation`` and ``criteria_correlation_human``: Pearson's correlation between the scores under two
    criteria, of the judge and of people. Scores are centred within each list, so that only differences between
    responses to one prompt count, and pooled over lists; the figure is the mean over pairs of criteria. Pairs in which
    the judge or people never tell responses apart under one of the criteria are left out. ``halo``: the first figure
    minus the second. Random errors make the judge's correlation smaller, so ``halo`` compares judges that agree with
    people about equally often. ``n`` counts lists under pairs of criteria.

    Args:
        judged: The judged items. Those without a verdict, or without people's scores under two criteria, are ignored.
    """
    figures = _figures([products for one in judged for products in _products(one)])
    excess = figures["halo"].low
    note = (
        "The judge's scores under different criteria move together more than people's: one criterion colours others."
        if excess is not None and excess > 0
        else ""
    )
    return Audit(name="halo", figures={name: found for name, found in figures.items() if found.n}, note=note)


def _products(one: JudgedItem) -> Iterator[_Products]:
    """For each pair of criteria under which people scored the list."""
    rated = {part.item.criterion or "": part for part in one.parts if part.verdict is not None and part.item.rated}
    for names in combinations(sorted(rated), 2):
        first, second = rated[names[0]], rated[names[1]]
        of_first, of_second = first.item.human or {}, second.item.human or {}
        if len(labels := sorted(of_first.keys() & of_second.keys())) < 2:
            continue
        assert first.verdict is not None and second.verdict is not None
        yield _Products(
            group=one.item.group,
            criteria=names,
            judge=_sums(first.verdict.scores, second.verdict.scores, labels),
            people=_sums(of_first, of_second, labels),
        )


def _sums(first: Mapping[str, float], second: Mapping[str, float], labels: Sequence[str]) -> Sequence[float]:
    means = [fmean(scores[label] for label in labels) for scores in (first, second)]
    centred = [(first[label] - means[0], second[label] - means[1]) for label in labels]
    return sum(x * x for x, _ in centred), sum(y * y for _, y in centred), sum(x * y for x, y in centred)


def _figures(rows: Sequence[_Products]) -> dict[str, Estimate]:
    import numpy as np

    groups, number = group_indices([row.group for row in rows])
    pairs, kinds = group_indices([row.criteria for row in rows])
    sums = np.zeros((number, kinds, 2, 3))
    np.add.at(sums, (groups, pairs), np.array([(row.judge, row.people) for row in rows]).reshape(-1, 2, 3))
    sums = sums[:, (sums.sum(axis=0)[:, :, :2] > 1e-9).all(axis=(1, 2))]

    if not sums.size:
        return dict.fromkeys(_SIDES, NO_DATA)

    def figure(sides: tuple[float, float]) -> Estimate:
        def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            first, second, product = np.moveaxis(np.tensordot(weights, sums, axes=1), -1, 0)
            by_side = (product / np.sqrt(first * second)).mean(axis=1)
            total: NDArray[np.float64] = by_side @ np.array(sides)
            return total

        return estimate(statistic, number, n=len(rows), bounds=CORRELATION)

    return {name: figure(sides) for name, sides in _SIDES.items()}
