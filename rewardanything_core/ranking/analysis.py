"""From the scores of lists to a ranking: strengths, their intervals, and which pairs are settled."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from rewardanything_core.agreement.intervals import CONFIDENCE
from rewardanything_core.cases import Case
from rewardanything_core.ranking.results import PairResult, Ranking, SystemRank
from rewardanything_core.ranking.strengths import fit_strengths, resampled_strengths, with_prior
from rewardanything_core.types import MIN_SCORE, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 2_000
"""How often prompts are resampled."""

_EQUAL = 1e-9  # scores that differ by less are a tie
_FRACTIONS = (0.02, *(place / 20 for place in range(1, 20)))  # of the capital that are bet


@dataclass(frozen=True, kw_only=True)
class ListScores:
    """The scores of some systems' answers to one prompt, judged together."""

    group: str
    """Identifies lists of the same prompt, which count once."""

    passes: Sequence[Mapping[str, float]]
    """For each order, system -> score, 1..5. NaN for all: the answers are the same, and were not judged."""

    @classmethod
    def of(cls, case: Case, verdict: Verdict) -> ListScores:
        """The scores of a verdict whose labels are systems; equal responses have the scores of the first of them.

        Args:
            case: The case.
            verdict: Its verdict, or that on one criterion.
        """
        first = {response: label for label, response in reversed(case.responses.items())}

        def score(scores: Mapping[str, float], label: str) -> float:
            # Scores by pass are those before requirements, which depend on all passes.
            return MIN_SCORE if label in verdict.missed else scores[label]

        return cls(
            group=json.dumps(case.prompt, ensure_ascii=False),
            passes=[
                {label: score(scores, first[response]) for label, response in case.responses.items()}
                for scores in verdict.pass_scores
            ],
        )


@dataclass(frozen=True, kw_only=True)
class Results:
    """Pairwise results by independent prompt."""

    wins: NDArray[np.float64]
    """Shape ``(n, k, k)``: the share of a prompt's orders in which the row's system beat the column's, ties as one
    half; 0 both ways where they were not compared."""

    scores: NDArray[np.float64]
    """Shape ``(n, k)``: mean scores; NaN where a system was not judged."""

    @property
    def compared(self) -> NDArray[np.bool_]:
        """Shape ``(n, k, k)``: which pairs were compared on which prompt."""
        import numpy as np

        return (self.wins + np.swapaxes(self.wins, 1, 2)) > 0


def results_of(names: Sequence[str], lists: Sequence[ListScores]) -> Results:
    """The pairwise results of lists, prompts in the order of their first list.

    Args:
        names: The systems.
        lists: The lists; each may have some of the systems only.
    """
    import numpy as np

    places = {name: place for place, name in enumerate(names)}
    groups = {group: place for place, group in enumerate(dict.fromkeys(each.group for each in lists))}
    size = len(names)
    wins, counts = np.zeros((len(groups), size, size)), np.zeros((len(groups), size, size))
    scores, scored = np.zeros((len(groups), size)), np.zeros((len(groups), size))
    for each in lists:
        present = [places[name] for name in each.passes[0]]
        group, square = groups[each.group], np.ix_(present, present)
        values = np.array([list(scores_of_pass.values()) for scores_of_pass in each.passes])
        gaps = values[:, :, None] - values[:, None, :]
        share = 0.5 + 0.5 * ((gaps > _EQUAL).astype(float) - (gaps < -_EQUAL)).mean(axis=0)
        wins[group][square] += share
        counts[group][square] += 1
        if not np.isnan(values).any():
            scores[group, present] += values.mean(axis=0)
            scored[group, present] += 1
    off_diagonal = 1 - np.eye(size)
    return Results(
        wins=np.divide(wins, counts, out=np.zeros_like(wins), where=counts > 0) * off_diagonal,
        scores=np.divide(scores, scored, out=np.full_like(scores, np.nan), where=scored > 0),
    )


def log_evidence(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """The evidence against "the mean gain is 0 or less", which may be looked at after every gain.

    A capital of 1 is bet on the gains, one after the other, in equal parts at fixed fractions. If the hypothesis is
    true, it ever reaches 1/p with a probability of at most p, whatever the distribution (Waudby-Smith & Ramdas, JRSS B
    86, 2024; for the mixture of fractions Orabona & Jun, IEEE Transactions on Information Theory 70, 2024).

    Args:
        gains: Shape ``(..., n)``, each in -1..1, in an order that does not depend on their values.

    Returns:
        Shape ``(...)``: the log of the largest capital, at least 0. Minus this is the log of a p-value.
    """
    import numpy as np

    capital = np.cumsum(np.log1p(gains[..., None] * np.array(_FRACTIONS)), axis=-2)
    mixed = np.logaddexp.reduce(capital, axis=-1) - math.log(len(_FRACTIONS))
    found: NDArray[np.float64] = mixed.max(axis=-1, initial=0.0)
    return found


def settle(results: Results, *, alpha: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Test for every pair which system wins more often than the other.

    The p-values hold however often one looks while results come in (see `log_evidence`), and are corrected for all
    pairs (Holm, Scandinavian Journal of Statistics 6, 1979).

    Args:
        results: The results, prompts in an order that does not depend on them.
        alpha: The probability that any pair is settled wrongly.

    Returns:
        Shape ``(k, k)`` each: corrected two-sided p-values, and whether the system of the row is better than that of
        the column.
    """
    import numpy as np

    size = results.wins.shape[-1]
    pairs = list(combinations(range(size), 2))
    compared = results.compared
    p_values, sides = np.ones(len(pairs)), np.zeros(len(pairs), dtype=bool)
    masks: dict[bytes, list[int]] = {}
    for place, (a, b) in enumerate(pairs):  # those compared on the same prompts are tested together
        masks.setdefault(compared[:, a, b].tobytes(), []).append(place)
    for members in masks.values():
        rows, columns = np.array([pairs[place] for place in members]).T
        seen = compared[:, rows[0], columns[0]]
        if not seen.any():
            continue
        gains = 2 * results.wins[seen][:, rows, columns].T - 1
        both = np.array([[log_evidence(side * gain) for gain in gains] for side in (1, -1)])
        p_values[members] = np.minimum(1.0, 2 * np.exp(-both.max(axis=0)))
        sides[members] = both[0] >= both[1]
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(pairs))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * (len(pairs) - np.arange(len(pairs)))))
    adjusted, better = np.ones((size, size)), np.zeros((size, size), dtype=bool)
    for (a, b), p_value, first in zip(pairs, corrected, sides, strict=True):
        adjusted[a, b] = adjusted[b, a] = p_value
        better[a, b], better[b, a] = p_value <= alpha and first, p_value <= alpha and not first
    return adjusted, better


def analyse(
    names: Sequence[str],
    lists: Sequence[ListScores],
    *,
    principle: str = "",
    criterion: str | None = None,
    alpha: float = 0.05,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Ranking:
    """Rank systems by the scores of lists.

    Args:
        names: The systems.
        lists: The lists, in an order that does not depend on their scores.
        principle: Name of the principle.
        criterion: The criterion. None: the principle as a whole.
        alpha: The probability that any pair is settled wrongly, in (0, 1).
        resamples: How often prompts are resampled for the intervals.
        seed: Seed of the resampling.
    """
    import numpy as np

    results = results_of(names, lists)
    compared = results.compared
    p_values, better = settle(results, alpha=alpha)
    strengths = fit_strengths(with_prior(results.wins.sum(axis=0)))
    drawn = resampled_strengths(results.wins, resamples=resamples, seed=seed)
    ends = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    is_best = drawn >= drawn.max(axis=1, keepdims=True) - _EQUAL
    best = (is_best / is_best.sum(axis=1, keepdims=True)).mean(axis=0)
    met = compared.sum(axis=0)
    rates = np.divide(results.wins.sum(axis=0), met, out=np.full(met.shape, np.nan), where=met > 0)
    order = sorted(range(len(names)), key=lambda place: (-round(float(strengths[place]), 9), place))
    systems = tuple(
        SystemRank(
            name=names[place],
            rank=rank,
            rank_low=1 + int(better[:, place].sum()),
            rank_high=len(names) - int(better[place].sum()),
            strength=float(strengths[place]),
            low=min(float(ends[0, place]), float(strengths[place])),
            high=max(float(ends[1, place]), float(strengths[place])),
            best=float(best[place]),
            win_rate=_mean(rates[place]),
            score=_mean(results.scores[:, place]),
            prompts=int(compared[:, place].any(axis=1).sum()),
        )
        for rank, place in enumerate(order, start=1)
    )
    pairs = tuple(_pair(names, results, a, b, rates, p_values, better) for a, b in combinations(order, 2))
    return Ranking(principle=principle, criterion=criterion, systems=systems, pairs=pairs)


def _pair(names: Sequence[str], results: Results, a: int, b: int, rates: Any, p_values: Any, better: Any) -> PairResult:
    won = results.wins[results.compared[:, a, b], a, b]
    wins, losses = int((won > 0.5 + _EQUAL).sum()), int((won < 0.5 - _EQUAL).sum())
    return PairResult(
        first=names[a],
        second=names[b],
        wins=wins,
        ties=len(won) - wins - losses,
        losses=losses,
        win_rate=_mean(rates[a, b : b + 1]),
        p_value=float(p_values[a, b]),
        better=names[a] if better[a, b] else names[b] if better[b, a] else None,
    )


def _mean(values: Any) -> float | None:
    """The mean of those that are not NaN. None: all are."""
    known = [float(value) for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else None
