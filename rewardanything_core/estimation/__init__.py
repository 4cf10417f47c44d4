"""Means over judged rows, corrected for the judge's bias with a few labels by people."""

from rewardanything_core.estimation.correction import corrected_mean, p_above, p_below
from rewardanything_core.estimation.drawing import Draw, draw_first, draw_next
from rewardanything_core.estimation.frames import correct_columns
from rewardanything_core.estimation.results import CorrectedMean, Interval
from rewardanything_core.estimation.sample import LabelledSample

__all__ = [
    "CorrectedMean",
    "Draw",
    "Interval",
    "LabelledSample",
    "correct_columns",
    "corrected_mean",
    "draw_first",
    "draw_next",
    "p_above",
    "p_below",
]
