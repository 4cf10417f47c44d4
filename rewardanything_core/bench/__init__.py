"""Evaluating a judge: measures its agreement with human labels on benchmark files."""

from rewardanything_core.bench.attack_report import AttackReport
from rewardanything_core.bench.attacks import run_attacks
from rewardanything_core.bench.cascade_fitting import fit_cascade
from rewardanything_core.bench.cascade_results import CascadeFit
from rewardanything_core.bench.estimates import EstimateReport, LabelEstimate, estimate_rows
from rewardanything_core.bench.head_fitting import HeadFit, fit_head
from rewardanything_core.bench.items import BenchItem
from rewardanything_core.bench.judged_rows import JudgedRow, judged_rows_of_store, read_judged_rows
from rewardanything_core.bench.label_matching import read_labels_of_rows
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
    "EstimateReport",
    "HeadFit",
    "JudgedRow",
    "LabelEstimate",
    "LabelReport",
    "RewardHead",
    "as_rubrics",
    "combined_by_prompt",
    "compare_labels",
    "estimate_rows",
    "fit_cascade",
    "fit_head",
    "judged_rows_of_store",
    "read_flips",
    "read_items",
    "read_judged_rows",
    "read_labels",
    "read_labels_of_rows",
    "read_training_items",
    "run_attacks",
    "run_bench",
]
