"""The reward of a judge's completions for veRL, which asks for it sample by sample."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from rewardanything_core import ConfigError
from rewardanything_rl.judge_training.rewards import Attempt, AttemptReward, RewardRules, batch_rewards

_Waiting = list[tuple[Attempt, asyncio.Future[AttemptReward]]]
_waiting: dict[tuple[asyncio.AbstractEventLoop, str], _Waiting] = {}


async def compute_score(
    data_source: str,  # noqa: ARG001 - part of the call that veRL makes
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any],
    *,
    completions_of_case: int = 1,
    timeout: float = 120.0,  # noqa: ASYNC109 - the name of verl_reward
    consistency: float = RewardRules.consistency,
    max_thinking: int | None = RewardRules.max_thinking,
    thinking_opened: bool = False,
    **_: Any,
) -> dict[str, Any]:
    """The reward of one completion, for veRL's ``custom_reward_function`` and the rows of `verl_rows`.

    Args:
        data_source: Not used.
        solution_str: What the policy wrote.
        ground_truth: People's order, as `verl_rows` writes it.
        extra_info: ``labels`` and ``case`` of the row.
        completions_of_case: How many completions of a case arrive together: ``rollout.n`` times the orders. They wait
            for each other, since consistency is measured between them, in one process: set ``reward.num_workers: 1``.
            1: none waits, and consistency is left out.
        timeout: Seconds to wait for the others, from the first one on, 0 or more; then those that came are rewarded.
        consistency: See `RewardRules`.
        max_thinking: See `RewardRules`.
        thinking_opened: See `JudgeReward`.
        **_: What else veRL passes.

    Returns:
        ``score`` (the reward, 0..1), ``parsed`` (1.0 or 0.0), ``listwise`` and ``consistent`` (NaN where there are
        none) and ``thinking`` (characters).

    Raises:
        ConfigError: a value is out of its range, or the row was not written by `verl_rows`.
    """
    rules = RewardRules(consistency=consistency, max_thinking=max_thinking)
    if completions_of_case < 1 or not timeout >= 0:
        raise ConfigError("completions_of_case must be 1 or more and timeout 0 or more.")
    try:
        completion = ("<think>\n" if thinking_opened else "") + solution_str
        pairs = json.loads(ground_truth)
        labels, case = extra_info["labels"], extra_info["case"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"This row was not written by verl_rows(): {error!r}.") from error
    attempt = Attempt.of_row(completion, labels, pairs, case)
    reward = await _with_others(attempt, rules, completions_of_case, timeout)
    nan = float("nan")
    return {
        "score": reward.reward,
        "parsed": float(reward.parsed),
        "listwise": nan if reward.listwise is None else reward.listwise,
        "consistent": nan if reward.consistent is None else reward.consistent,
        "thinking": reward.thinking,
    }


async def _with_others(attempt: Attempt, rules: RewardRules, size: int, seconds: float) -> AttemptReward:
    """The reward once ``size`` completions of the case have arrived, or the time is up."""
    if size == 1:
        return batch_rewards([attempt], rules)[0]
    loop = asyncio.get_running_loop()
    key = (loop, attempt.case)

    def close(waiting: _Waiting) -> None:
        if _waiting.get(key) is waiting:
            del _waiting[key]
            try:
                rewards = batch_rewards([one for one, _ in waiting], rules)
            except ConfigError as error:
                for _, future in waiting:
                    if not future.done():
                        future.set_exception(error)
                return
            for (_, future), reward in zip(waiting, rewards, strict=True):
                if not future.done():
                    future.set_result(reward)

    waiting = _waiting.get(key)
    if waiting is None:
        waiting = _waiting[key] = []
        loop.call_later(seconds, close, waiting)
    own: asyncio.Future[AttemptReward] = loop.create_future()
    waiting.append((attempt, own))
    if len(waiting) >= size:
        close(waiting)
    return await own
