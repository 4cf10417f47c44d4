"""A canary for the judge: whether the same judge still gives the same verdicts on a frozen set of cases."""

from rewardanything_core.canary.drift import DriftTest
from rewardanything_core.canary.recorded import Canary, CanaryCase
from rewardanything_core.canary.running import CanaryReport, CaseChange, record_canary, run_canary

__all__ = ["Canary", "CanaryCase", "CanaryReport", "CaseChange", "DriftTest", "record_canary", "run_canary"]
