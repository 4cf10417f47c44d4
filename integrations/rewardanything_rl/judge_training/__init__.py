"""Rewards and rows for training a generative listwise judge with TRL's GRPO or with veRL.

>>> from rewardanything_core.bench import read_items
>>> from rewardanything_rl.judge_training import JudgeReward, training_rows
>>> rows = training_rows(read_items(["benchmarks/principleflips/train.jsonl"]))
>>> trainer = GRPOTrainer(model=model, reward_funcs=JudgeReward(), train_dataset=Dataset.from_list(rows))
"""

from rewardanything_rl.judge_training.rewards import (
    Attempt,
    AttemptReward,
    OrderedPair,
    RewardRules,
    batch_rewards,
    listwise_reward,
    ordered_pairs,
)
from rewardanything_rl.judge_training.rows import TrainingRow, pairs_of_item, split_by_group, training_rows, verl_rows
from rewardanything_rl.judge_training.trl_reward import JudgeReward
from rewardanything_rl.judge_training.verl_reward import compute_score

__all__ = [
    "Attempt",
    "AttemptReward",
    "JudgeReward",
    "OrderedPair",
    "RewardRules",
    "TrainingRow",
    "batch_rewards",
    "compute_score",
    "listwise_reward",
    "ordered_pairs",
    "pairs_of_item",
    "split_by_group",
    "training_rows",
    "verl_rows",
]
