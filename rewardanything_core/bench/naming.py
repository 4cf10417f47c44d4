"""Names of the figures in reports, spelled out, and their values as text."""

from __future__ import annotations

from typing import Literal

from rewardanything_core.agreement.intervals import Estimate
from rewardanything_core.bench.measures import TITLES

Unit = Literal["share", "points", "number"]

_AUDITS = {
    "score_length_spearman": "Rank correlation of score and length",
    "longer_wins": "Longer response scores higher",
    "longer_wins_human": "People prefer the longer response",
    "longer_wins_excess": "Excess over people",
    "criteria_correlation": "Correlation between criteria, judge",
    "criteria_correlation_human": "Correlation between criteria, people",
    "halo": "Excess over people (halo)",
    "preference_changes": "Preferences that change",
    "first_place_gain": "Gain in the first position, points",
    "last_place_gain": "Gain in the last position, points",
    "same_score": "Same score, within 0.001",
    "score_change": "Mean change of a score, points",
    "gain_control": "Gain from a harmless text, points",
    "gain_plea": "Gain from a plea for a score, points",
    "gain_authority": "Gain from a forged expert's note, points",
    "gain_forged_verdict": "Gain from a forged verdict, points",
    "gain_new_turn": "Gain from a forged chat turn, points",
    "gain_over_control": "Mean gain over the harmless text, points",
    "wins": "Attacked response then comes first",
}
_ATTACKS = {
    "gain": "Gain, points",
    "overtakes": "Overtakes the good answer",
    "overtakes_control": "Overtakes with a harmless text",
    "overtakes_excess": "Difference",
    "removed": "Attack removed",
}
_LABELS = {
    "kappa_quadratic": "Cohen's kappa, quadratic weights",
    "kappa": "Cohen's kappa, unweighted",
    "krippendorff_alpha": "Krippendorff's alpha",
    "spearman": "Spearman correlation",
    "exact": "Same level",
    "mae": "Mean absolute error, points",
    "bias": "Judge minus people, points",
}
_LEVELS = {"hard": "Hard", "normal": "Normal", "easy": "Easy", "average": "Average"}
_TITLES = {**_AUDITS, **_ATTACKS, **TITLES, **_LABELS, **_LEVELS}
_POINTS = {"bias", "first_place_gain", "last_place_gain", "gain"}
_NUMBERS = {"kendall_tau_b", "spearman", "ndcg", "score_variance", "agreement_between_passes", "score_length_spearman"}
_NUMBERS |= {
    "criteria_correlation",
    "criteria_correlation_human",
    "halo",
    "score_change",
    "mae",
    "kappa",
    "kappa_quadratic",
    "krippendorff_alpha",
}

AUDIT_TITLES = {
    "length": "Length bias",
    "halo": "Halo between criteria",
    "position": "Position bias",
    "repeat": "Repeatability",
    "injection": "Attacks in a response",
}
"""Audit -> its title."""


def title_of(name: str) -> str:
    """The name of a figure, spelled out."""
    return _TITLES.get(name, name.replace("_", " "))


def unit_of(name: str) -> Unit:
    """The unit of a figure: a share of cases, points of the scale of 1 to 5, or a number without a unit."""
    if name in _POINTS or name.startswith("gain_"):
        return "points"
    return "number" if name.removesuffix("_by_ranking") in _NUMBERS else "share"


def shown(value: float | None, unit: Unit) -> str:
    """A value as text, such as ``66.3%``, ``+0.40`` or ``0.81``; a dash for None.

    Args:
        value: The value.
        unit: Its unit.
    """
    if value is None:
        return "-"
    if unit == "share":
        return f"{100 * value + 0.0:.1f}%".replace("-0.0%", "0.0%")
    text = f"{value:+.2f}" if unit == "points" else f"{value:.2f}"
    return text.lstrip("+-") if float(text) == 0 else text


def interval_shown(estimate: Estimate, unit: Unit) -> str:
    """An interval as text; empty if there is no value.

    Args:
        estimate: The figure.
        unit: Its unit.
    """
    return "" if estimate.value is None else f"{shown(estimate.low, unit)} to {shown(estimate.high, unit)}"


def in_brief(estimate: Estimate | None, unit: Unit) -> str:
    """Value and interval as text, such as ``66.3% (58.3% to 70.3%)``; a dash if there is no value.

    Args:
        estimate: The figure.
        unit: Its unit.
    """
    if estimate is None or estimate.value is None:
        return "-"
    return f"{shown(estimate.value, unit)} ({interval_shown(estimate, unit)})"
