"""What pairs amount to: samples for the tests, counts, the judge's noise, and the reasons in words."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from rewardanything_core.gate.controls import unnoticed
from rewardanything_core.gate.decision import Standing
from rewardanything_core.gate.inference import cases_needed, smallest_number
from rewardanything_core.gate.results import Comparison, Control, ControlKind, JudgeNoise, Outcome, Pair, Requirement

_GRAVEST_FIRST: tuple[Outcome, ...] = ("regression", "inconclusive", "passed")


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What holds of a comparison."""

    outcome: Outcome
    standing: Standing
    confirmed: bool | None
    void: bool
    controls: tuple[Control, ...] = ()

    def tested(self, controls: Sequence[Control]) -> Ruling:
        """The ruling once the judge was put to the test: nothing passes with a judge that did not notice."""
        outcome = "inconclusive" if unnoticed(controls) else self.outcome
        return dataclasses.replace(self, outcome=outcome, controls=tuple(controls))

    @classmethod
    def of(
        cls,
        standing: Standing,
        pairs: Sequence[Pair],
        *,
        regressed: bool = False,
        confirmed: bool | None = None,
        void: bool = False,
    ) -> Ruling:
        """The ruling on pairs.

        Args:
            standing: On all passes.
            pairs: Of the comparison.
            regressed: Said by whoever looked again.
            confirmed: Whether looking again confirmed it. None: nothing was suspected, or nobody looked again.
            void: Whether too many judgements failed for any ruling.
        """
        outcome: Outcome = "inconclusive"
        if void:
            confirmed = None
        elif regressed:
            outcome = "regression"
        elif confirmed is False:
            pass  # passing now would be a second chance, which costs more error than was agreed to
        elif standing.within or (pairs and all(pair.unchanged and not pair.failure for pair in pairs)):
            outcome = "passed"
        return cls(outcome=outcome, standing=standing, confirmed=confirmed, void=void)


def by_input(pairs: Sequence[Pair]) -> list[float]:
    """The differences of independent inputs: the mean over the cases of a comparison that share one."""
    groups: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        if pair.difference is not None:
            groups[pair.group].append(pair.difference)
    return [fmean(differences) for differences in groups.values()]


def drops_afresh(pairs: Sequence[Pair]) -> bool:
    """Whether the fresh passes alone, too, have the candidates below the baseline in the mean."""
    fresh = [fmean(pair.fresh_differences) for pair in pairs if pair.fresh_differences]
    return bool(fresh) and fmean(fresh) < 0


def misses_rules(pairs: Sequence[Pair], requirement: Requirement) -> bool:
    """Whether the mean score, or that of a case with a rule of its own, is too low."""
    return _mean_too_low(pairs, requirement) or any(pair.breaks_rule for pair in pairs)


def compared(
    pairs: Sequence[Pair], *, candidate: str, requirement: Requirement, ruling: Ruling, power: float
) -> Comparison:
    """The comparison that pairs amount to."""
    from scipy.stats import binomtest

    standing = ruling.standing
    sample = by_input(pairs)
    signs = [0 if abs(difference) < 1e-9 else math.copysign(1, difference) for difference in sample]
    wins, losses = signs.count(1), signs.count(-1)
    needed = None
    if ruling.outcome == "inconclusive" and not ruling.controls:
        level = (1 - standing.confidence) / 2
        if len(sample) > 1:
            needed = cases_needed(sample, requirement.margin, level=level, power=power)
        else:
            needed = smallest_number(level)
    comparison = Comparison(
        candidate=candidate,
        requirement=requirement,
        outcome=ruling.outcome,
        reason="",
        n=len(sample),
        cases=sum(pair.difference is not None for pair in pairs),
        unchanged=sum(pair.unchanged for pair in pairs),
        failures=sum(pair.failure is not None for pair in pairs),
        baseline_score=_mean(pair.baseline_score for pair in pairs),
        candidate_score=_mean(pair.candidate_score for pair in pairs),
        difference=fmean(sample) if sample else None,
        low=standing.low,
        high=standing.high,
        confidence=standing.confidence,
        p_drop=standing.p_drop,
        p_margin=standing.p_margin,
        level=standing.level,
        wins=wins,
        ties=signs.count(0),
        losses=losses,
        p_sign=float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0,
        noise=judge_noise(pairs),
        confirmed=ruling.confirmed,
        cases_needed=needed,
        controls=ruling.controls,
    )
    return dataclasses.replace(comparison, reason=_reason(comparison, pairs, ruling))


def judge_noise(pairs: Sequence[Pair]) -> JudgeNoise | None:
    """The judge's noise, from pairs whose answers differ and that were judged in two passes or more."""
    judged = [pair for pair in pairs if not pair.unchanged and len(_passes(pair)) > 1]
    if not judged:
        return None
    # A judge that reads each answer by itself has no places, and says the same order every time.
    balanced = [pair for pair in judged if 2 * sum(pair.candidate_first) == len(pair.candidate_first)]
    bias = fmean([d if first else -d for pair in balanced for d, first in _passes(pair)] or [0.0])
    levelled = [[d - bias if first else d + bias for d, first in _passes(pair)] for pair in judged]
    of_means = fmean(variance(differences) / len(differences) for differences in levelled)
    between = variance(map(fmean, levelled)) if len(levelled) > 1 else 0.0
    raw = [[difference for difference, _ in _passes(pair)] for pair in judged]
    return JudgeNoise(
        deviation=math.sqrt(fmean(map(variance, levelled))),
        flips=fmean(min(differences) < -1e-9 and max(differences) > 1e-9 for differences in raw),
        share=min(1.0, of_means / between) if between else float(of_means > 0),
        position_bias=bias,
    )


def _passes(pair: Pair) -> list[tuple[float, bool]]:
    return list(zip([*pair.pass_differences, *pair.fresh_differences], pair.candidate_first, strict=False))


def concluded(comparisons: Sequence[Comparison], *, failures: int, tried: int, exhausted: bool) -> tuple[Outcome, str]:
    """The outcome of the whole check and the reason for it.

    Args:
        comparisons: All of them.
        failures: Judgements that failed.
        tried: Judgements that were tried.
        exhausted: Whether more failed than may.
    """
    if exhausted:
        return "inconclusive", (
            f"{failures} of {tried} judgements failed, more than may. Failed judgements count for neither side, so "
            f"nothing can be said."
        )
    for outcome in _GRAVEST_FIRST:
        found = [comparison for comparison in comparisons if comparison.outcome == outcome]
        if not found:
            continue
        if len(comparisons) == 1:
            return outcome, found[0].reason
        if outcome == "passed":
            return outcome, f"All {len(comparisons)} comparisons passed."
        named = "; ".join(f"{comparison.requirement.name} ({comparison.candidate})" for comparison in found)
        return outcome, f"{len(found)} of {len(comparisons)} comparisons: {outcome} under {named}."
    raise AssertionError("a check has a comparison")


def _reason(comparison: Comparison, pairs: Sequence[Pair], ruling: Ruling) -> str:
    requirement, difference, standing = comparison.requirement, comparison.difference, ruling.standing
    if ruling.void:
        return "Too many judgements failed for a result."
    if difference is None:
        return "Nothing could be compared."
    if comparison.unchanged == len(pairs) and not misses_rules(pairs, requirement):
        return "No answer changed."
    interval = f"{comparison.confidence:.0%} interval {comparison.low:+.2f} to {comparison.high:+.2f}"
    change = f"The mean score changed by {difference:+.2f} ({interval})"
    if comparison.outcome == "regression":
        return " ".join([*_missed(pairs, requirement), *_dropped(comparison, change, standing)])
    if comparison.outcome == "passed":
        also = ", though it is lower beyond chance" if standing.dropped else ""
        return f"{change}: a drop of {requirement.margin:g} is ruled out{also}."
    if blind := unnoticed(comparison.controls):
        return f"{change}, but that shows nothing: {'; '.join(map(_overlooked, blind))}. {_REMEDY}"
    if comparison.confirmed is False:
        return f"A drop seen at first was not confirmed in fresh orders. {change} over all passes settles nothing."
    needed = ""
    if comparison.cases_needed:
        needed = f" About {comparison.cases_needed:,} cases would settle it if the difference stays as it is."
    return f"{change}: neither a drop of {requirement.margin:g} nor its absence is shown.{needed}"


_SPOILED: dict[ControlKind, str] = {
    "cut": "cut in half",
    "padded": "padded with sentences that say nothing",
    "rude": "made rude",
    "swapped": "swapped for answers to other questions",
    "worse": "replaced by those that the cases call worse",
}
_REMEDY = (
    "Use a better judge, or a principle that says what counts. If this kind of change does not matter under the "
    "principle, leave the control out (--controls)."
)


def _overlooked(control: Control) -> str:
    asked = f"{control.why}, and " if control.why else ""
    if control.difference is None:
        return f"{asked}no answer of the baseline could be {_SPOILED[control.kind]} to see whether the judge notices"
    return (
        f"{asked}this judge does not notice when the baseline's answers are {_SPOILED[control.kind]} "
        f"({control.difference:+.2f}, {control.n} inputs)"
    )


def _dropped(comparison: Comparison, change: str, standing: Standing) -> list[str]:
    if not standing.dropped and comparison.confirmed is not True:
        return [f"{change}."]
    again = ", fresh orders included" if comparison.confirmed else ""
    return (
        [f"{change}: lower beyond chance (p = {comparison.p_drop:.2g}){again}."]
        if standing.suspected
        else [f"{change}."]
    )


def _missed(pairs: Sequence[Pair], requirement: Requirement) -> list[str]:
    told = []
    if _mean_too_low(pairs, requirement):
        mean = _mean(pair.candidate_score for pair in pairs)
        told.append(f"The mean score is {mean:.2f}, below the {requirement.min_score:g} required.")
    broken = [pair for pair in pairs if pair.breaks_rule]
    if broken:
        ids = ", ".join(pair.id for pair in broken[:5]) + (", ..." if len(broken) > 5 else "")
        told.append(f"{len(broken)} case{'s' * (len(broken) > 1)} scored below what it must: {ids}.")
    return told


def _mean_too_low(pairs: Sequence[Pair], requirement: Requirement) -> bool:
    mean = _mean(pair.candidate_score for pair in pairs)
    return requirement.min_score is not None and mean is not None and mean < requirement.min_score


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
