"""Evaluating a judge: measures its agreement with human labels on benchmark files."""

from rewardanything_core.bench.attack_report import AttackReport
from rewardanything_core.bench.attacks import run_attacks
from rewardanything_core.bench.cascade_fitting import fit_cascade
from rewardanything_core.bench.cascade_results import CascadeFit
from rewardanything_core.bench.head_fitting import HeadFit, fit_head
from rewardanything_core.bench.items import BenchItem
from rewardanything_core.bench.labels import Disagreement, LabelReport, compare_labels, read_labels
from rewardanything_core.bench.reading import read_flips, read_items
from rewardanything_core.bench.report import BenchReport
from rewardanything_core.bench.rubric_items import as_rubrics
from rewardanything_core.bench.running import run_bench
from rewardanything_core.bench.training_items import combined_by_prompt, read_training_items
from rewardanything_core.readouts.pointwise.reward_head import RewardHead

__all__ = [
    "AttackReport",
    "BenchItem",
    "BenchReport",
    "CascadeFit",
    "Disagreement",
    "HeadFit",
    "LabelReport",
    "RewardHead",
    "as_rubrics",
    "combined_by_prompt",
    "compare_labels",
    "fit_cascade",
    "fit_head",
    "read_flips",
    "read_items",
    "read_labels",
    "read_training_items",
    "run_attacks",
    "run_bench",
]
