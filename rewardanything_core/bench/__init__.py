"""Evaluating a judge: measures its agreement with human labels on benchmark files."""

from rewardanything_core.bench.attack_report import AttackReport
from rewardanything_core.bench.attacks import run_attacks
from rewardanything_core.bench.labels import Disagreement, LabelReport, compare_labels, read_labels
from rewardanything_core.bench.reading import read_flips, read_items
from rewardanything_core.bench.report import BenchReport
from rewardanything_core.bench.running import run_bench

__all__ = [
    "AttackReport",
    "BenchReport",
    "Disagreement",
    "LabelReport",
    "compare_labels",
    "read_flips",
    "read_items",
    "read_labels",
    "run_attacks",
    "run_bench",
]
