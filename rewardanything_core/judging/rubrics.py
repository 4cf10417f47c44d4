"""Verdicts under a rubric: the criteria's verdicts, combined by weights and requirements.

    score = sum(weight * criterion's score) / sum(weights)     1.0 where a required criterion is missed

It is computed whenever a verdict is given, from the criteria as judged, so new weights cost nothing.
"""

from __future__ import annotations

import dataclasses

from rewardanything_core.agreement.calibration import Calibration
from rewardanything_core.principles import Rubric
from rewardanything_core.readouts.aggregation import kendalls_w_of_scores
from rewardanything_core.readouts.results import rubric_consensus
from rewardanything_core.types import MIN_SCORE, Verdict


def combine_criteria(verdict: Verdict, rubric: Rubric, calibration: Calibration | None = None) -> Verdict:
    """The verdict with the figures of the whole computed from its criteria.

    Args:
        verdict: A verdict with ``criteria``.
        rubric: The rubric, whose weights and requirements may differ from those that the verdict was made with.
        calibration: Maps the scores of each criterion first. None: they stay as judged.
    """
    # By the rubric, so that the order is the caller's and not that of a stored verdict.
    criteria = {name: verdict.criteria[name] for name in rubric.criteria}
    if calibration is not None:
        criteria = {name: calibration.calibrate(each) for name, each in criteria.items()}
    consensus = rubric_consensus(criteria, rubric)
    missed = {label: _missed(label, criteria, rubric) for label in verdict.scores}
    missed = {label: names for label, names in missed.items() if names}
    by_pass = {name: each.pass_scores for name, each in criteria.items()}
    passes = {len(scores) for scores in by_pass.values()}
    pass_scores = [
        rubric.weighted_mean({name: scores[index] for name, scores in by_pass.items()})
        for index in range(passes.pop() if len(passes) == 1 else 0)
    ]
    return dataclasses.replace(
        verdict,
        scores={label: MIN_SCORE if label in missed else consensus.scores[label] for label in verdict.scores},
        # Sorting is stable: among responses that miss a requirement, the weighted mean decides.
        ranking=sorted(consensus.ranking, key=lambda label: label in missed),
        spread={label: consensus.spread[label] for label in verdict.scores},
        agreement=verdict.agreement if verdict.jurors is not None else kendalls_w_of_scores(pass_scores),
        pass_scores=verdict.pass_scores if verdict.jurors is not None else pass_scores,
        criteria=criteria,
        missed=missed,
    )


def _missed(label: str, criteria: dict[str, Verdict], rubric: Rubric) -> list[str]:
    return [
        name
        for name, criterion in rubric.criteria.items()
        if criterion.required is not None and criteria[name].scores[label] < criterion.required
    ]
