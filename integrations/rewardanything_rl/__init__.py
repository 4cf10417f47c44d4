"""Principles as rewards: for TRL's trainers, for veRL, and for loops of your own.

>>> from rewardanything_rl import PrincipleReward
>>> reward = PrincipleReward("Answer in at most two short sentences.")
>>> GRPOTrainer(model=model, reward_funcs=reward, train_dataset=dataset)
"""

from rewardanything_core.errors import JudgeUnavailableError
from rewardanything_rl.appeals import speaks_to_judge
from rewardanything_rl.functions import reward_function
from rewardanything_rl.gathering import Gatherer
from rewardanything_rl.scale import Scale
from rewardanything_rl.trl_reward import PrincipleReward
from rewardanything_rl.verl_reward import compute_score, verl_reward

__all__ = [
    "Gatherer",
    "JudgeUnavailableError",
    "PrincipleReward",
    "Scale",
    "compute_score",
    "reward_function",
    "speaks_to_judge",
    "verl_reward",
]
