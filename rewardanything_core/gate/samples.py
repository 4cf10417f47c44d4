"""From pairs to numbers: samples for the tests, minimum scores, and the judge's noise."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, variance

from rewardanything_core.gate.results import JudgeNoise, Pair, Requirement


def by_input(pairs: Sequence[Pair], *, first_only: bool = False) -> list[float]:
    """The differences of independent inputs: the mean over the cases that share an input, in order of the pairs.

    Args:
        pairs: The pairs of one comparison.
        first_only: Leave out the passes of a confirmation.
    """
    groups: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        if pair.difference is not None:
            first = fmean(pair.pass_differences) if pair.fresh_differences else pair.difference
            groups[pair.group].append(first if first_only else pair.difference)
    return [fmean(differences) for differences in groups.values()]


def fresh_passes_drop(pairs: Sequence[Pair]) -> bool:
    """Whether the candidate is below the baseline in the confirmation's passes alone."""
    fresh = [fmean(pair.fresh_differences) for pair in pairs if pair.fresh_differences]
    return bool(fresh) and fmean(fresh) < 0


def misses_minimum(pairs: Sequence[Pair], requirement: Requirement) -> bool:
    """Whether the mean score, or the score of a case with a minimum of its own, is too low.

    Args:
        pairs: The pairs of one comparison.
        requirement: The comparison's requirement.
    """
    return mean_too_low(pairs, requirement) or any(pair.breaks_rule for pair in pairs)


def mean_too_low(pairs: Sequence[Pair], requirement: Requirement) -> bool:
    """Whether the candidate's mean score is below the requirement's ``min_score``.

    Args:
        pairs: The pairs of one comparison.
        requirement: The comparison's requirement.
    """
    mean = mean_of_known(pair.candidate_score for pair in pairs)
    return requirement.min_score is not None and mean is not None and mean < requirement.min_score


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are not None. None: there are none."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def judge_noise(pairs: Sequence[Pair]) -> JudgeNoise | None:
    """The judge's noise, from pairs whose answers differ and that were judged in at least two passes.

    None: there are no such pairs.
    """
    judged = [pair for pair in pairs if not pair.unchanged and len(_passes(pair)) > 1]
    if not judged:
        return None
    # A judge that scores answers one at a time reports the same order in every pass; it has no position bias.
    balanced = [pair for pair in judged if 2 * sum(pair.candidate_first) == len(pair.candidate_first)]
    bias = fmean([d if first else -d for pair in balanced for d, first in _passes(pair)] or [0.0])
    unbiased = [[d - bias if first else d + bias for d, first in _passes(pair)] for pair in judged]
    noise_of_means = fmean(variance(differences) / len(differences) for differences in unbiased)
    between = variance(map(fmean, unbiased)) if len(unbiased) > 1 else 0.0
    raw = [[difference for difference, _ in _passes(pair)] for pair in judged]
    return JudgeNoise(
        deviation=math.sqrt(fmean(map(variance, unbiased))),
        flips=fmean(min(differences) < -1e-9 and max(differences) > 1e-9 for differences in raw),
        share=min(1.0, noise_of_means / between) if between else float(noise_of_means > 0),
        position_bias=bias,
    )


def _passes(pair: Pair) -> list[tuple[float, bool]]:
    return list(zip([*pair.pass_differences, *pair.fresh_differences], pair.candidate_first, strict=False))
