"""The reward that veRL asks for sample by sample.

veRL is not imported: it calls `compute_score`, or the function that `verl_reward` makes.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any, Literal

from rewardanything_core import BaseJudge, ConfigError, InvalidCaseError, Principle, RewardAnythingError
from rewardanything_rl.appeals import Guard, guard_of
from rewardanything_rl.gathering import Gatherer
from rewardanything_rl.groups import Row
from rewardanything_rl.ray_gathering import RayGatherer
from rewardanything_rl.scale import Scale
from rewardanything_rl.texts import Thinking, answer_of, check_thinking, untagged


def verl_reward(
    principle: Principle | str | None = None,
    *,
    judge: BaseJudge | None = None,
    group_size: int = 1,
    timeout: float = 120.0,
    normalize: bool = True,
    tie_break: float = 0.02,
    reference: str | None = None,
    thinking: Thinking = "strip",
    on_failure: float | None = None,
    gather: Literal["worker", "ray"] = "worker",
    guard: bool | Guard = False,
    refused_reward: float | None = None,
) -> Callable[..., Awaitable[dict[str, Any]]]:
    """A ``compute_score`` for veRL, to be named in a file of yours.

    Args:
        principle: Where ``extra_info`` has none.
        judge: Who judges. None: `default_judge()`.
        group_size: How many samples veRL draws of a prompt; ``extra_info["group_size"]`` says otherwise for its row.
        timeout: Seconds to wait for the rest of a group, from its first sample on.
        normalize: Rewards are (score - 1) / 4; otherwise 1..5.
        tie_break: See `Scale`.
        reference: Where a response stands whose score becomes the zero point: ``ground_truth`` or a key of
            ``extra_info``. None: there is none.
        thinking: ``strip`` removes a leading ``<think>`` block, ``opened`` likewise where the prompt's template has
            opened it, ``keep`` leaves all in. A block that is not closed leaves an empty answer.
        on_failure: None: a failed judgement raises, which stops the training; veRL cannot leave a sample out. A number
            is your decision to give that reward instead; ``judged`` is then 0.0.
        gather: Where samples of a prompt meet: in the ``worker`` that was given them, so that there must be one reward
            worker, or in an actor of ``ray`` that all reward workers share.
        guard: Whether to refuse texts that speak to the judge; see `PrincipleReward`. Needs ``refused_reward``, since
            veRL cannot leave a sample out.
        refused_reward: Of what is refused.
    """
    check_thinking(thinking)
    if gather not in ("worker", "ray"):
        raise ConfigError(f"gather must be 'worker' or 'ray', not {gather!r}.")
    refuses = guard_of(guard)
    if refuses is not None and refused_reward is None:
        raise ConfigError("guard needs a refused_reward: veRL cannot leave a sample out.")
    kind = RayGatherer if gather == "ray" else Gatherer
    gatherer = kind(group_size, timeout=timeout, judge=judge, scale=Scale(normalize=normalize, tie_break=tie_break))

    async def compute_score(
        data_source: str,  # noqa: ARG001 - part of the call that veRL makes
        solution_str: str,
        ground_truth: Any = None,
        extra_info: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """The reward of one sample as ``score``, and what veRL is to log beside it."""
        about = dict(extra_info or {})
        row = Row(
            principle=_needed(about, "principle", principle),
            prompt=_plain(_needed(about, "prompt")),
            text=answer_of(solution_str, thinking),
            reference=_reference(reference, ground_truth, about),
        )
        size = about.get("group_size")
        try:
            if refuses is not None and (found := refuses(untagged(row.text, thinking))) is not None:
                await gatherer.leave_out(row, size=size)
                assert refused_reward is not None  # as checked above
                return _reward_fields(float(refused_reward), float("nan"), 0, f"Refused. {found}")
            rated = await gatherer.rate(row, size=size)
        except RewardAnythingError as error:
            if on_failure is None:
                raise
            return _reward_fields(float(on_failure), float("nan"), 0, f"Not judged. {type(error).__name__}: {error}")
        return _reward_fields(rated.reward, rated.score, rated.size, f"[{rated.label}] {rated.verdict.explanation}")

    return compute_score


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any = None,
    extra_info: Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """A reward for veRL's ``custom_reward_function``, with the judge of this process's settings.

    ``extra_info`` holds ``prompt`` and, unless it is among the settings, ``principle``. The settings, veRL's
    ``reward_kwargs``, are those of `verl_reward`.

    Returns:
        ``score`` (the reward), ``judge_score`` (1..5), ``judged`` (1.0, or 0.0 for a failure), ``group_size`` (how
        many samples were judged together) and ``rationale``.

    Raises:
        ConfigError: there is no such setting, or no prompt or principle in ``extra_info``.
        RewardAnythingError: there is no verdict, and ``on_failure`` is not set.
    """
    score = _shared(tuple(sorted((name, value) for name, value in settings.items() if name not in _FROM_VERL)))
    return await score(data_source, solution_str, ground_truth, extra_info)


_FROM_VERL = ("reward_router_address", "reward_model_tokenizer")
"""What veRL adds of its own, where it runs a reward model."""


@cache
def _shared(settings: tuple[tuple[str, Any], ...]) -> Callable[..., Awaitable[dict[str, Any]]]:
    """The same function for the same settings: samples only meet in one gatherer."""
    known = list(inspect.signature(verl_reward).parameters)
    if unknown := [name for name, _ in settings if name not in known]:
        raise ConfigError(f"There is no setting {', '.join(unknown)}; there are: {', '.join(known)}.")
    return verl_reward(**dict(settings))


def _reward_fields(reward: float, score: float, size: int, rationale: str) -> dict[str, Any]:
    """The same keys for every sample: veRL makes columns of the first sample's."""
    return {
        "score": reward,
        "judge_score": score,
        "judged": float(size > 0),
        "group_size": size,
        "rationale": rationale,
    }


def _needed(about: Mapping[str, Any], name: str, default: Any = None) -> Any:
    value = about.get(name)
    value = default if value is None else value
    if value is None:
        raise ConfigError(
            f"extra_info has no {name!r}; it has {', '.join(map(str, about)) or 'nothing'}. "
            f"Put it there when you write the data set's Parquet files."
        )
    return value


def _reference(key: str | None, ground_truth: Any, about: Mapping[str, Any]) -> str | None:
    if key is None:
        return None
    value = ground_truth if key == "ground_truth" else about.get(key)
    if not isinstance(value, str):
        raise InvalidCaseError(f"The reference {key!r} is no text but {value!r:.80}.", field="reference")
    return value


def _plain(prompt: Any) -> Any:
    """Parquet gives a list of messages back as an array."""
    return prompt if isinstance(prompt, str) else [dict(message) for message in prompt]
