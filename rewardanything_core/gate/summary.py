"""Summaries: a `Comparison` from the decision on its pairs, the outcome of the whole check, and reasons in words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from statistics import fmean

from rewardanything_core.gate.controls import unnoticed
from rewardanything_core.gate.decision import Decision
from rewardanything_core.gate.inference import cases_needed, fewest_cases, labels_needed
from rewardanything_core.gate.results import CheckOutcome, Comparison, Control, ControlKind, Pair, Requirement
from rewardanything_core.gate.samples import by_input, judge_noise, mean_of_known, mean_too_low, misses_minimum

_WORST_FIRST: tuple[CheckOutcome, ...] = ("regression", "inconclusive", "passed")
_MAX_IDS_SHOWN = 5


def summarize(
    pairs: Sequence[Pair], *, candidate: str, requirement: Requirement, decision: Decision, power: float
) -> Comparison:
    """The comparison with all its figures and its reason.

    Args:
        pairs: The pairs of the comparison.
        candidate: Name of the candidate.
        requirement: The comparison's requirement.
        decision: The decision on it.
        power: With which probability the suggested number of cases would give a result.
    """
    from scipy.stats import binomtest

    test = decision.test
    sample = by_input(pairs)
    signs = [0 if abs(difference) < 1e-9 else math.copysign(1, difference) for difference in sample]
    wins, losses = signs.count(1), signs.count(-1)
    corrected = decision.corrected
    needed = labels_missing = None
    if corrected is not None:
        if decision.outcome == "inconclusive" and not decision.void:
            changed = len({pair.group for pair in pairs if not pair.unchanged})
            labels_missing = labels_needed(
                corrected, requirement.margin, power=power, labels=decision.labels, inputs=changed
            )
    elif decision.outcome == "inconclusive" and not decision.controls:
        level = (1 - test.confidence) / 2
        if len(sample) > 1:
            needed = cases_needed(sample, requirement.margin, level=level, power=power)
        else:
            needed = fewest_cases(requirement.margin, level)
    comparison = Comparison(
        candidate=candidate,
        requirement=requirement,
        outcome=decision.outcome,
        reason="",
        n=len(sample),
        cases=sum(pair.difference is not None for pair in pairs),
        unchanged=sum(pair.unchanged for pair in pairs),
        failures=sum(pair.failure is not None for pair in pairs),
        baseline_score=mean_of_known(pair.baseline_score for pair in pairs),
        candidate_score=mean_of_known(pair.candidate_score for pair in pairs),
        difference=corrected.value if corrected is not None else fmean(sample) if sample else None,
        low=test.low,
        high=test.high,
        confidence=test.confidence,
        p_drop=test.p_drop,
        p_margin=test.p_margin,
        level=test.level,
        wins=wins,
        ties=signs.count(0),
        losses=losses,
        p_sign=float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0,
        noise=judge_noise(pairs),
        confirmed=decision.confirmed,
        cases_needed=needed,
        controls=decision.controls,
        corrected=corrected,
        labels=decision.labels,
        labels_needed=labels_missing,
    )
    warnings = () if corrected is None else corrected.warnings
    return dataclasses.replace(comparison, reason=" ".join([_reason(comparison, pairs, decision), *warnings]))


def conclude(
    comparisons: Sequence[Comparison], *, failures: int, tried: int, exhausted: bool
) -> tuple[CheckOutcome, str]:
    """The outcome of the whole check and the reason for it.

    Args:
        comparisons: All comparisons, at least one.
        failures: Number of judgements that failed.
        tried: Number of judgements tried.
        exhausted: Whether more failed than may.
    """
    if exhausted:
        return "inconclusive", (
            f"{failures} of {tried} judgements failed, which is more than max_failures allows. Failed judgements have "
            f"no score, so there is no result."
        )
    for outcome in _WORST_FIRST:
        matching = [comparison for comparison in comparisons if comparison.outcome == outcome]
        if not matching:
            continue
        if len(comparisons) == 1:
            return outcome, matching[0].reason
        if outcome == "passed":
            return outcome, f"All {len(comparisons)} comparisons passed."
        names = "; ".join(f"{comparison.requirement.name} ({comparison.candidate})" for comparison in matching)
        return outcome, f"{len(matching)} of {len(comparisons)} comparisons: {outcome} under {names}."
    raise AssertionError("a check has at least one comparison")


def _reason(comparison: Comparison, pairs: Sequence[Pair], decision: Decision) -> str:
    requirement, test = comparison.requirement, decision.test
    if decision.void:
        return "Too many judgements failed for a result."
    if comparison.difference is None:
        return "No case could be compared."
    if comparison.unchanged == len(pairs) and not misses_minimum(pairs, requirement):
        return "No answer changed."
    change = _change(comparison)
    if comparison.outcome == "regression":
        drop = ""
        if test.suspected:
            confirmed = ", confirmed in fresh orders" if comparison.confirmed else ""
            drop = f": a significant drop (p = {comparison.p_drop:.2g}){confirmed}"
        return " ".join([*_missed_minimums(pairs, requirement), f"{change}{drop}."])
    if comparison.outcome == "passed":
        significant = ". The drop is significant, but smaller" if test.dropped else ""
        return f"{change}: no drop as large as {requirement.margin:g}{significant}."
    if overlooked := unnoticed(comparison.controls):
        return f"{change}, but this judge would not have seen it: {'; '.join(map(_overlooked, overlooked))}. {_REMEDY}"
    if comparison.confirmed is False:
        return f"A suspected drop was not confirmed in fresh orders. {change} over all passes, which is inconclusive."
    if comparison.corrected is not None:
        return " ".join(
            [
                f"{change}: neither a drop nor the absence of a drop of {requirement.margin:g} is shown.",
                _more_labels(comparison),
            ]
        )
    fewest = fewest_cases(requirement.margin, (1 - comparison.confidence) / 2)
    sentences = [f"{change}: neither a drop nor the absence of a drop of {requirement.margin:g} is shown."]
    if comparison.n < fewest:
        cases = "case" if comparison.n == 1 else "cases"
        sentences.append(f"{comparison.n:,} {cases} cannot rule out rare large drops; {fewest:,} could.")
    if comparison.cases_needed:
        number = f"{comparison.cases_needed:,}"
        sentences.append(f"About {number} cases would settle it if the difference stays as it is.")
    return " ".join(sentences)


def _change(comparison: Comparison) -> str:
    interval = f"{comparison.confidence:.0%} interval {comparison.low:+.2f} to {comparison.high:+.2f}"
    change = f"The mean score changed by {comparison.difference:+.2f} ({interval})"
    if (corrected := comparison.corrected) is None:
        return change
    return (
        f"{change}, corrected with people's labels of {comparison.labels:,} of {corrected.rows:,} inputs "
        f"(the judge alone: {corrected.judge_mean:+.2f})"
    )


def _more_labels(comparison: Comparison) -> str:
    if comparison.labels_needed is None:
        return "More labels of these inputs would not settle it; more inputs could."
    return f"About {comparison.labels_needed:,} labels would settle it if the difference stays as it is."


_DEGRADED: dict[ControlKind, str] = {
    "cut": "cut in half",
    "padded": "padded with empty sentences",
    "rude": "made rude",
    "swapped": "swapped with answers to other questions",
    "worse": "replaced by the worse answers that the cases provide",
}
_REMEDY = (
    "Use a better judge, or a principle that states what matters. If this kind of change does not matter under the "
    "principle, leave the control out (--controls)."
)


def _overlooked(control: Control) -> str:
    why = f"{control.why}, and " if control.why else ""
    if control.difference is None:
        return f"{why}none of the baseline's answers could be {_DEGRADED[control.kind]} to test the judge"
    return (
        f"{why}this judge does not notice when the baseline's answers are {_DEGRADED[control.kind]} "
        f"({control.difference:+.2f}, {control.n} inputs)"
    )


def _missed_minimums(pairs: Sequence[Pair], requirement: Requirement) -> list[str]:
    sentences = []
    if mean_too_low(pairs, requirement):
        mean = mean_of_known(pair.candidate_score for pair in pairs)
        sentences.append(f"The mean score is {mean:.2f}, below the required {requirement.min_score:g}.")
    broken = [pair for pair in pairs if pair.breaks_rule]
    if broken:
        ids = ", ".join(pair.id for pair in broken[:_MAX_IDS_SHOWN]) + (", ..." if len(broken) > _MAX_IDS_SHOWN else "")
        sentences.append(f"{len(broken)} case{'s' * (len(broken) > 1)} scored below the minimum: {ids}.")
    return sentences
