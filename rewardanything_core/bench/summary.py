"""The result of a benchmark in one sentence."""

from __future__ import annotations

from collections.abc import Iterator

from rewardanything_core.bench.attack_suite import HALVES
from rewardanything_core.bench.naming import shown
from rewardanything_core.bench.report import BenchReport

_MIN_PAIRS = 5  # a criterion with fewer labelled pairs is not named
_MAX_NAMES = 3


def summary(report: BenchReport) -> str:
    """The result in one sentence: ``Agrees with people on 75% of pairs; does not follow “long”.``, for example."""
    clauses = [*_labels(report), *_agreement(report), *_criteria(report), *_attacks(report)]
    if not clauses:
        if report.judged and report.abstained == len(report.judged):
            return "Every judgement was left to a person, so there is no result."
        nothing = report.judged and len(report.failures) == len(report.judged)
        return "Every judgement failed, so there is no result." if nothing else "There are no labels to compare with."
    text = "; ".join(clauses)
    return text[0].upper() + text[1:] + "."


def unfollowed(report: BenchReport) -> list[str]:
    """The criteria under which the judge orders at most half of the pairs as people do, the lowest share first."""
    shares = {
        name: figures["pairwise_accuracy"].value or 0.0
        for name, figures in report.by_criterion.items()
        if figures["pairwise_accuracy"].n >= _MIN_PAIRS
    }
    return sorted((name for name, share in shares.items() if share <= 0.5), key=shares.__getitem__)


def _labels(report: BenchReport) -> Iterator[str]:
    figures = report.labels.figures if report.labels is not None else {}
    if figures and (exact := figures["exact"].value) is not None:
        yield (
            f"gives the same score level as people to {exact:.0%} of responses; the mean error is "
            f"{figures['mae'].value:.1f} points"
        )


def _agreement(report: BenchReport) -> Iterator[str]:
    figures = report.figures
    if (pairs := figures["pairwise_accuracy"].value) is not None:
        yield f"agrees with people on {pairs:.0%} of pairs"
    elif (best := figures["best_found"].value) is not None:
        yield f"ranks a good response first in {best:.0%} of lists"
    if (both := figures["both_right"].value) is not None:
        yield f"follows both principles in {both:.0%} of flip pairs"


def _criteria(report: BenchReport) -> Iterator[str]:
    if names := [f"“{name}”" for name in unfollowed(report)]:
        more = [f"{len(names) - _MAX_NAMES} more"] if len(names) > _MAX_NAMES else []
        *others, last = [*names[:_MAX_NAMES], *more]
        yield f"does not follow {', '.join(others)} and {last}" if others else f"does not follow {last}"


def _attacks(report: BenchReport) -> Iterator[str]:
    if report.attacks is None:
        return
    gains = {half: report.attacks.figures(half)["gain"].value for half in HALVES}
    if known := [f"{shown(gain, 'points')} points ({half} half)" for half, gain in gains.items() if gain is not None]:
        yield f"attacks change the score of a bad answer by {' and '.join(known)}"
