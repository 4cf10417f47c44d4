"""The regression gate: whether answers got worse under a principle by more than a margin, and how certain that is."""

from rewardanything_core.gate.checking import check
from rewardanything_core.gate.results import CheckReport, Comparison, Control, JudgeNoise, Pair, Requirement

__all__ = ["CheckReport", "Comparison", "Control", "JudgeNoise", "Pair", "Requirement", "check"]
