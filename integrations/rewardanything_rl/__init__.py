"""Principles as rewards: for TRL's trainers, for veRL, and for training loops of your own.

>>> from rewardanything_rl import PrincipleReward
>>> reward = PrincipleReward("Answer in at most two short sentences.")
>>> GRPOTrainer(model=model, reward_funcs=reward, train_dataset=dataset)
"""

from rewardanything_core.errors import JudgeUnavailableError
from rewardanything_rl.batching import GroupBatcher, Reward
from rewardanything_rl.functions import reward_function
from rewardanything_rl.groups import Sample
from rewardanything_rl.injection_guard import speaks_to_judge
from rewardanything_rl.scale import Scale
from rewardanything_rl.trl_reward import PrincipleReward
from rewardanything_rl.verl_reward import compute_score, compute_score_sync, verl_reward

__all__ = [
    "GroupBatcher",
    "JudgeUnavailableError",
    "PrincipleReward",
    "Reward",
    "Sample",
    "Scale",
    "compute_score",
    "compute_score_sync",
    "reward_function",
    "speaks_to_judge",
    "verl_reward",
]
