"""The regression gate: did answers get worse under a principle, by more than a margin, and how certain is that?"""

from rewardanything_core.gate.checking import check
from rewardanything_core.gate.results import CheckReport, Comparison, Control, JudgeNoise, Pair, Requirement

__all__ = ["CheckReport", "Comparison", "Control", "JudgeNoise", "Pair", "Requirement", "check"]
