"""A reward for one response, for training loops that want a function."""

from __future__ import annotations

from collections.abc import Sequence

from rewardanything_core import BaseJudge, Message, Principle, default_judge
from rewardanything_rl.groups import Row, of_one
from rewardanything_rl.scale import Scale


def reward_function(
    principle: Principle | str,
    prompt: str | Sequence[Message],
    response: str,
    *,
    judge: BaseJudge | None = None,
    reference: str | None = None,
    normalize: bool = False,
) -> float:
    """The reward of one response: its score, 1.0..5.0, as in the RewardAnything quick start.

    Where there are several responses to a prompt, `PrincipleReward` judges them together, which says more.

    Args:
        principle: What to prefer.
        prompt: What was asked.
        response: What the policy wrote.
        judge: Who judges. None: `default_judge()`.
        reference: Another response, judged beside it, whose score becomes the zero point.
        normalize: Return (score - 1) / 4, 0.0..1.0, instead.

    Raises:
        RewardAnythingError: there is no verdict, hence no reward.
    """
    group = of_one([Row(principle=principle, prompt=prompt, text=response, reference=reference)])
    verdict = (default_judge() if judge is None else judge).judge(group.case())
    return Scale(normalize=normalize, tie_break=0.0).rewards(verdict, group.zero)[group.members[0]]
