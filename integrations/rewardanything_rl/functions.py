"""A reward for one response, for training loops that expect a function."""

from __future__ import annotations

from collections.abc import Sequence

from rewardanything_core import BaseJudge, Message, Principle, default_judge, resolve_judge
from rewardanything_rl.groups import Sample, single_group
from rewardanything_rl.scale import Scale


def reward_function(
    principle: Principle | str,
    prompt: str | Sequence[Message],
    response: str,
    *,
    judge: BaseJudge | str | None = None,
    reference: str | None = None,
    normalize: bool = False,
) -> float:
    """The reward of one response: its score, 1.0..5.0, as in the RewardAnything quick start.

    Several responses to one prompt are better compared in one call, as `PrincipleReward` does.

    Args:
        principle: The principle to judge by.
        prompt: What the response answers: a text or chat messages.
        response: What the policy wrote.
        judge: The judge, or a model string such as ``openai/gpt-5-mini``. None: `default_judge()`.
        reference: A response that is judged too and whose score is subtracted from the reward.
        normalize: Return (score - 1) / 4, 0.0..1.0, instead of the score.

    Raises:
        RewardAnythingError: there is no verdict, and therefore no reward.
    """
    group = single_group([Sample(principle=principle, prompt=prompt, response=response, reference=reference)])
    verdict = (resolve_judge(judge) or default_judge()).judge(group.case())
    return Scale(normalize=normalize, tie_break=0.0).rewards(verdict, group.baseline)[group.members[0]]
