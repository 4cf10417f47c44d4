"""Results of judging a case: of one pass, and of all passes together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from rewardanything_core.cases import Case, Omitted
from rewardanything_core.principles import Rubric
from rewardanything_core.readouts.aggregation import Consensus, aggregate, kendalls_w_of_scores
from rewardanything_core.types import MAX_SCORE, MIN_SCORE, Reply, Verdict


@dataclass(frozen=True, kw_only=True)
class PassResult:
    """One pass over all responses of a case."""

    order: list[str]
    """Labels in the order in which the model saw them."""

    scores: dict[str, float]
    """label -> 1.0..5.0."""

    ranking: list[str]
    """Labels, best first."""

    replies: list[Reply]
    """The model's reply; over a long list, its reply to each sub-list."""

    criteria: Mapping[str, PassResult] = field(default_factory=dict)
    """Under a rubric, criterion -> this pass's result on it. Its replies have the reasoning on the criterion alone."""

    deviations: Mapping[str, float] = field(default_factory=dict)
    """label -> standard deviation of its score by the model's own probabilities. Empty: the model gave none."""

    criteria_orders: list[list[str]] = field(default_factory=list)
    """Under a rubric, for each reply the criteria in the order in which the model saw them."""


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """All passes over a case, and their consensus."""

    passes: list[PassResult]
    """One per pass, or per round of sub-lists; each covers all responses."""

    consensus: Consensus
    """The passes combined."""

    sublists: list[list[list[str]]] | None = None
    """For each pass, the labels of each sub-list as the model saw them. None: each pass was one list."""

    criteria: Mapping[str, CaseResult] = field(default_factory=dict)
    """Under a rubric, criterion -> its passes and their consensus."""

    omitted: Omitted = field(default_factory=Omitted)
    """What was left out of conversations before judging."""

    removed: Mapping[str, list[str]] = field(default_factory=dict)
    """Label -> sentences that were removed from the response before it was judged."""


def combine_passes(
    passes: list[PassResult], *, sublists: list[list[list[str]]] | None = None, by_scores: bool = False
) -> CaseResult:
    """The result of a case from its passes, for each criterion of a rubric too.

    Args:
        passes: One or more passes.
        sublists: See `CaseResult.sublists`.
        by_scores: Whether the rankings follow from the scores, as under a rubric, instead of being the model's own.
    """
    scores = [one_pass.scores for one_pass in passes]
    consensus = aggregate(scores, [one_pass.ranking for one_pass in passes])
    if passes[0].deviations:
        consensus = dataclasses.replace(consensus, spread=_with_deviations(consensus.spread, passes))
    if by_scores or passes[0].criteria:
        consensus = dataclasses.replace(consensus, agreement=kendalls_w_of_scores(scores))
    if sublists is not None:  # scores on the merged scale can exceed 1..5
        clipped = {label: min(MAX_SCORE, max(MIN_SCORE, score)) for label, score in consensus.scores.items()}
        consensus = dataclasses.replace(consensus, scores=clipped)
    criteria = {
        name: combine_passes([one_pass.criteria[name] for one_pass in passes], sublists=sublists, by_scores=True)
        for name in passes[0].criteria
    }
    return CaseResult(passes=passes, consensus=consensus, sublists=sublists, criteria=criteria)


def ranking_by_scores(scores: Mapping[str, float], case: Case) -> list[str]:
    """The labels by score; equal scores in an order that does not depend on what the judge saw first.

    Args:
        scores: label -> score.
        case: The case.
    """
    return sorted((label for label in case.canonical_labels if label in scores), key=lambda label: -scores[label])


def _with_deviations(spread: Mapping[str, float], passes: Sequence[PassResult]) -> dict[str, float]:
    """The spread over passes together with that within them: the law of total variance."""
    return {
        label: math.sqrt(between**2 + fmean(one_pass.deviations[label] ** 2 for one_pass in passes))
        for label, between in spread.items()
    }


def join_criteria(criteria: Mapping[str, CaseResult], rubric: Rubric) -> CaseResult:
    """The result under a rubric whose criteria were judged separately.

    Args:
        criteria: Criterion -> its result.
        rubric: The rubric.
    """
    consensus = rubric_consensus({name: result.consensus for name, result in criteria.items()}, rubric)
    return CaseResult(passes=[], consensus=consensus, criteria=criteria)


def rubric_consensus(criteria: Mapping[str, Consensus | Verdict], rubric: Rubric) -> Consensus:
    """The criteria combined by their weights, before requirements; ``agreement`` is that between criteria.

    Args:
        criteria: Criterion -> its scores, ranking and spread.
        rubric: The rubric.
    """
    counted = {name: weight for name, weight in rubric.relative_weights.items() if weight}
    consensus = aggregate(
        [criteria[name].scores for name in counted],
        [criteria[name].ranking for name in counted],
        list(counted.values()),
    )
    return dataclasses.replace(
        consensus, spread=rubric.weighted_mean({name: each.spread for name, each in criteria.items()})
    )
