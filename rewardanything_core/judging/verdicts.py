"""From all passes over a case to its verdict."""

from __future__ import annotations

import dataclasses
from typing import Any

from rewardanything_core.cases import Case
from rewardanything_core.judging.citations import cited_turns
from rewardanything_core.judging.rubrics import combine_criteria
from rewardanything_core.principles import Rubric
from rewardanything_core.readouts.results import CaseResult
from rewardanything_core.types import Usage, Verdict


def verdict_from_result(
    case: Case,
    result: CaseResult,
    *,
    model: str,
    seed: int,
    template_hash: str,
    criterion_template_hash: str,
    usage: Usage,
) -> Verdict:
    """The verdict on a case, before calibration.

    Args:
        case: The case.
        result: What the passes over it gave.
        model: The judge model's name.
        seed: Seed from which the orders were drawn.
        template_hash: Hash of the judging prompt's wording for this case.
        criterion_template_hash: The same for a principle with a single criterion, as recorded in a rubric's criteria.
        usage: What the passes took, failed attempts included.
    """
    verdict = _plain_verdict(
        case,
        result,
        model,
        seed,
        template_hash,
        usage=usage,
        criteria={
            name: _plain_verdict(case, each, model, seed, criterion_template_hash)
            for name, each in result.criteria.items()
        },
        criteria_orders=[one_pass.criteria_orders for one_pass in result.passes if one_pass.criteria],
        removed=dict(result.removed),
        shortened=dict(result.omitted.responses),
        shortened_prompt=result.omitted.prompt,
    )
    if turns := cited_turns(verdict, case):
        verdict = dataclasses.replace(verdict, turns=turns)
    return combine_criteria(verdict, case.principle) if isinstance(case.principle, Rubric) else verdict


def _plain_verdict(case: Case, result: CaseResult, model: str, seed: int, template_hash: str, **whole: Any) -> Verdict:
    """The verdict on a case under a principle, or under one criterion of a rubric.

    ``whole`` has the fields that only the former has.
    """
    passes, consensus = result.passes, result.consensus
    return Verdict(
        scores={label: consensus.scores[label] for label in case.labels},
        ranking=consensus.ranking,
        replies=[one_pass.replies for one_pass in passes],
        spread={label: consensus.spread[label] for label in case.labels},
        agreement=consensus.agreement,
        case_id=case.id,
        model=model,
        template_hash=template_hash,
        seed=seed,
        orders=[one_pass.order for one_pass in passes],
        pass_scores=[one_pass.scores for one_pass in passes],
        sublists=result.sublists,
        **whole,
    )
