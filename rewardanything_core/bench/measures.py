"""Figures of agreement from verdicts and labels: over all items, and by domain, family and source."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rewardanything_core.agreement import lists
from rewardanything_core.agreement.intervals import CORRELATION, SHARE, Estimate, mean, stratified_mean
from rewardanything_core.agreement.pairs import (
    best_found,
    both_right,
    pair_credits,
    rank_scores,
    rm_bench_levels,
    rm_bench_matrix,
)
from rewardanything_core.bench.items import BenchItem, Flip
from rewardanything_core.types import Abstention, JudgeFailure, Verdict

HEADLINE = ("flip_accuracy", "both_right", "pairwise_accuracy", "kendall_tau_b", "ndcg")
"""The figures for comparing judges, the most informative first."""

TITLES = {
    "flip_accuracy": "Flip questions correct",
    "both_right": "Flip pairs with both correct",
    "pairwise_accuracy": "Pairs ordered as people do",
    "kendall_tau_b": "Rank correlation (Kendall's tau-b)",
    "ndcg": "Ranking quality (NDCG)",
    "spearman": "Rank correlation (Spearman)",
    "score_variance": "Variance of scores within a list",
    "best_found": "Good response ranked first",
    "agreement_between_passes": "Agreement between passes (Kendall's W)",
}
"""The names of figures in reports, in display order."""

CHANCE = {"flip_accuracy": 0.5, "pairwise_accuracy": 0.5, "kendall_tau_b": 0.0, "spearman": 0.0}
"""The expected value of guessing, where it is a constant; for NDCG it is ``ndcg_chance``."""

_BOUNDS: dict[str, tuple[float, float]] = {
    "kendall_tau_b": CORRELATION,
    "kendall_tau_b_by_ranking": CORRELATION,
    "spearman": CORRELATION,
    "score_variance": (0.0, 4.0),
}

FIGURES = (
    *HEADLINE,
    "spearman",
    "score_variance",
    "flip_accuracy_by_ranking",
    "both_right_by_ranking",
    "pairwise_accuracy_by_ranking",
    "kendall_tau_b_by_ranking",
    "pairwise_accuracy_ties_wrong",
    "pairwise_accuracy_failures_wrong",
    "flip_accuracy_failures_wrong",
    "ties",
    "best_found",
    "ndcg_chance",
    "agreement_between_passes",
)
"""Every figure that is computed for all items and for each part of them."""


@dataclass(frozen=True)
class JudgedItem:
    """An item with the judge's outcome."""

    item: BenchItem
    """The item."""

    outcome: Verdict | JudgeFailure
    """The verdict, or why there is none."""

    @property
    def verdict(self) -> Verdict | None:
        """The verdict. None: the judgement failed."""
        return self.outcome if isinstance(self.outcome, Verdict) else None

    @cached_property
    def parts(self) -> tuple[JudgedItem, ...]:
        """Under a rubric, the criteria that have labels, each with its verdict; else this item."""
        criteria, verdict = self.item.criteria, self.verdict
        if not criteria:
            return (self,)
        if verdict is None:
            return tuple(JudgedItem(part, self.outcome) for part in criteria.values())
        return tuple(
            JudgedItem(part, dataclasses.replace(verdict.criteria[name], record_id=verdict.record_id))
            for name, part in criteria.items()
        )

    @cached_property
    def observed(self) -> Mapping[str, Sequence[float]]:
        """Figure -> the values that this item contributes to it."""
        item, verdict = self.item, self.verdict
        if isinstance(self.outcome, Abstention):
            return {}
        if verdict is None:
            return {"pairwise_accuracy_failures_wrong": [0.0] * len(item.pairs)}
        scores, order = verdict.scores, rank_scores(verdict.ranking)
        right = pair_credits(scores, item.pairs)
        human = item.human or {}
        return {
            "pairwise_accuracy": right,
            "pairwise_accuracy_failures_wrong": right,
            "pairwise_accuracy_by_ranking": pair_credits(order, item.pairs),
            "pairwise_accuracy_ties_wrong": pair_credits(scores, item.pairs, ties="wrong"),
            "ties": [float(credit == 0.5) for credit in right],
            "kendall_tau_b": _known(lists.kendall_tau_b(scores, human)),
            "kendall_tau_b_by_ranking": _known(lists.kendall_tau_b(order, human)),
            "spearman": _known(lists.spearman(scores, human)),
            "ndcg": _known(lists.ndcg(scores, human)),
            "ndcg_chance": _known(lists.chance_ndcg(human)),
            "score_variance": _known(lists.score_variance(scores)),
            "best_found": [best_found(scores, item.chosen)] if item.chosen else [],
            "agreement_between_passes": _known(verdict.agreement),
        }


@dataclass(frozen=True)
class JudgedFlip:
    """A flip pair with both its items."""

    flip: Flip
    """The flip pair."""

    under_a: JudgedItem
    """The item judged under criterion ``a``."""

    under_b: JudgedItem
    """The item judged under criterion ``b``."""

    def questions(self, *, by_ranking: bool = False) -> tuple[float | None, float | None]:
        """The credit, 0..1, for following criterion ``a`` and criterion ``b``; None where the judgement failed.

        Args:
            by_ranking: Use the verdict's ranking, which has no ties, instead of its scores.
        """
        a, b = self.flip.better_under_a, self.flip.better_under_b
        return _answer(self.under_a, (a, b), by_ranking), _answer(self.under_b, (b, a), by_ranking)


def _answer(judged: JudgedItem, pair: tuple[str, str], by_ranking: bool) -> float | None:
    if (verdict := judged.verdict) is None:
        return None
    (right,) = pair_credits(rank_scores(verdict.ranking) if by_ranking else verdict.scores, [pair])
    return right


def figures(judged: Iterable[JudgedItem], flips: Iterable[JudgedFlip]) -> dict[str, Estimate]:
    """All `FIGURES` over some items and the flip pairs between them.

    Every figure is a mean: accuracy over pairs, flip accuracy over questions (two for each flip pair), both-right over
    flip pairs, the rest over lists. A failed judgement is excluded, except from the figures whose names say that
    failures count as wrong.

    Args:
        judged: The items with their outcomes.
        flips: The flip pairs between them.
    """
    values: dict[str, list[float]] = {name: [] for name in FIGURES}
    groups: dict[str, list[str]] = {name: [] for name in FIGURES}

    def add(name: str, observed: Sequence[float], group: str) -> None:
        values[name] += observed
        groups[name] += [group] * len(observed)

    for one in judged:
        for name, observed in one.observed.items():
            add(name, observed, one.item.group)
    for pair in flips:
        for suffix, by_ranking in (("", False), ("_by_ranking", True)):
            a, b = pair.questions(by_ranking=by_ranking)
            answered = [credit for credit in (a, b) if credit is not None]
            add(f"flip_accuracy{suffix}", answered, pair.flip.group)
            if a is not None and b is not None:
                add(f"both_right{suffix}", [both_right((a, b))], pair.flip.group)
            if not by_ranking:
                add("flip_accuracy_failures_wrong", [a or 0.0, b or 0.0], pair.flip.group)
    return {name: mean(values[name], groups[name], bounds=_BOUNDS.get(name, SHARE)) for name in FIGURES}


def by_part(
    judged: Sequence[JudgedItem], flips: Sequence[JudgedFlip], part_of: Callable[[BenchItem], str | None]
) -> dict[str, dict[str, Estimate]]:
    """`figures` for each part of the items, in order of first occurrence.

    A flip pair belongs to a part if both its items do.

    Args:
        judged: The items with their outcomes.
        flips: The flip pairs between them.
        part_of: The part of an item. None: the item belongs to no part.
    """
    parts = dict.fromkeys(part for one in judged if (part := part_of(one.item)) is not None)
    return {
        part: figures(
            [one for one in judged if part_of(one.item) == part],
            [pair for pair in flips if part_of(pair.under_a.item) == part == part_of(pair.under_b.item)],
        )
        for part in parts
    }


def by_flip(flips: Sequence[JudgedFlip]) -> dict[str, dict[str, Estimate]]:
    """The flip figures for each pair of criteria, such as ``concise / detailed``."""
    kinds = dict.fromkeys(_kind(pair.flip) for pair in flips)
    of_kind = {kind: figures([], [pair for pair in flips if _kind(pair.flip) == kind]) for kind in kinds}
    names = [name for name in FIGURES if name.startswith(("flip_accuracy", "both_right"))]
    return {kind: {name: found[name] for name in names} for kind, found in of_kind.items()}


def _kind(flip: Flip) -> str:
    return " / ".join(sorted((flip.a, flip.b)))


@dataclass(frozen=True, kw_only=True)
class RmBench:
    """RM-Bench's own figures, by its own rule: see `rm_bench_levels`."""

    domains: dict[str, dict[str, Estimate]]
    """Domain -> ``hard``, ``normal``, ``easy`` and ``average``, each 0..1 with ``n`` the number of prompts."""

    matrices: dict[str, list[list[float]]]
    """Domain -> mean matrix; rows are chosen styles, columns rejected ones: concise, plain, markdown."""

    overall: dict[str, Estimate]
    """``hard``, ``normal``, ``easy`` and ``average``: means over the domains, each weighing the same."""


def rm_bench(judged: Iterable[JudgedItem]) -> RmBench | None:
    """RM-Bench's figures over the items of its form. None: there are none, or none was judged."""
    matrices: dict[str, list[list[list[float]]]] = {}
    groups: dict[str, list[str]] = {}
    for one in judged:
        item, verdict = one.item, one.verdict
        if verdict is None or item.source != "rm-bench" or len(item.chosen) != 3 or len(item.rejected) != 3:
            continue
        sides = ([verdict.scores[label] for label in labels] for labels in (item.chosen, item.rejected))
        domain = item.domain or "all"
        matrices.setdefault(domain, []).append(rm_bench_matrix(*sides))
        groups.setdefault(domain, []).append(item.group)
    if not matrices:
        return None
    levels = {domain: [rm_bench_levels(matrix) for matrix in found] for domain, found in matrices.items()}
    names = ("hard", "normal", "easy", "average")
    of = {
        name: {domain: ([each[name] for each in found], groups[domain]) for domain, found in levels.items()}
        for name in names
    }
    return RmBench(
        domains={domain: {name: mean(*of[name][domain]) for name in names} for domain in levels},
        matrices={
            domain: [[sum(m[i][j] for m in found) / len(found) for j in range(3)] for i in range(3)]
            for domain, found in matrices.items()
        },
        overall={name: stratified_mean(list(of[name].values())) for name in names},
    )


def match_flips(items: Sequence[BenchItem], flips: Iterable[Flip]) -> tuple[list[tuple[Flip, int, int]], int]:
    """Flip pairs with the places of their two items, and the number of pairs whose items or responses are missing.

    Pairs of groups without any item do not count as missing, because ``limit_groups`` leaves whole groups out.

    Args:
        items: The items.
        flips: Flip pairs that may refer to them.
    """
    places_of = {(item.group, item.criterion): place for place, item in enumerate(items) if item.criterion is not None}
    groups = {item.group for item in items}
    matched, missing = [], 0
    for flip in flips:
        a, b = places_of.get((flip.group, flip.a)), places_of.get((flip.group, flip.b))
        labels = {flip.better_under_a, flip.better_under_b}
        if a is not None and b is not None and labels <= items[a].responses.keys() & items[b].responses.keys():
            matched.append((flip, a, b))
        else:
            missing += flip.group in groups
    return matched, missing


def _known(value: float | None) -> list[float]:
    return [] if value is None else [value]
