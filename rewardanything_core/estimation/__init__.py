"""Few labels, honest numbers: means over judged rows, corrected for the judge's bias with labels by people."""

from rewardanything_core.estimation.correction import corrected_mean, p_above, p_below
from rewardanything_core.estimation.frames import correct_columns
from rewardanything_core.estimation.results import CorrectedMean, Interval
from rewardanything_core.estimation.sample import LabelledSample

__all__ = ["CorrectedMean", "Interval", "LabelledSample", "correct_columns", "corrected_mean", "p_above", "p_below"]
