"""The reward that veRL computes sample by sample.

veRL is not imported: it calls `compute_score`, or the function that `verl_reward` returns.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from numbers import Integral
from typing import Any, Literal

from rewardanything_core import (
    BaseJudge,
    ConfigError,
    InvalidCaseError,
    Message,
    Principle,
    RewardAnythingError,
    Rubric,
    from_endpoint,
    resolve_judge,
)
from rewardanything_core.conversations import read_messages
from rewardanything_core.conversations.replies import after_prompt
from rewardanything_rl.availability import DEFAULT_MAX_FAILED_CALLS, ajudge_or_default
from rewardanything_rl.batching import GroupBatcher, Reward
from rewardanything_rl.groups import Sample, plain_principle, weighted_principle
from rewardanything_rl.injection_guard import Guard, arefusals, resolve_guard
from rewardanything_rl.ray_batching import RayGroupBatcher
from rewardanything_rl.scale import Scale, check_reward
from rewardanything_rl.texts import Thinking, check_thinking, guarded_text, response_of

ROUTER = "router"
"""The ``judge`` that means the reward model hosted by veRL."""


def verl_reward(
    principle: Principle | str | Mapping[str, Any] | Sequence[Principle | str] | None = None,
    *,
    weights: Mapping[str, float] | None = None,
    judge: BaseJudge | str | None = None,
    group_size: int = 1,
    timeout: float = 120.0,
    normalize: bool = True,
    tie_break: float = 0.02,
    reference: str | None = None,
    trajectory: str | None = None,
    thinking: Thinking = "strip",
    on_failure: float | None = None,
    max_failed_calls: int | None = DEFAULT_MAX_FAILED_CALLS,
    gather: Literal["worker", "ray"] = "worker",
    guard: bool | Guard = False,
    refused_reward: float | None = None,
) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Make a ``compute_score`` for veRL, to be named in a file of yours.

    Args:
        principle: The principle or `Rubric` of samples whose ``extra_info`` has none; or several principles, which are
            judged together as a rubric of equal weights. With a rubric, samples have ``missed``, and for each of its
            criteria ``reward/criterion`` and ``judge_score/criterion``, too.
        weights: Criterion -> weight, in place of the rubric's own.
        judge: The judge, or a model string such as ``openai/gpt-5-mini``. ``router``: the reward model that veRL 0.9
            itself hosts (``reward.reward_model``), by the address of its router. None: `default_judge()`.
        group_size: How many samples veRL draws for a prompt, 1 or more; ``extra_info["group_size"]`` overrides it.
        timeout: Seconds to wait for the other samples of a group, from the first one on.
        normalize: Rewards are (score - 1) / 4, within 0..1; otherwise 1..5.
        tie_break: Largest distance between the rewards of equal scores, 0..1 in units of the reward; see `Scale`.
        reference: Where to find a response whose reward is subtracted: ``ground_truth`` or a key of ``extra_info``.
            None: nothing is subtracted.
        trajectory: The key of ``extra_info`` with the messages of an agent's run, which are judged turn by turn: an
            agent loop puts them into its ``extra_fields``. They may begin with the prompt. None: ``solution_str`` is
            judged, in which veRL joins the turns of a run to one text.
        thinking: ``strip`` removes a leading ``<think>`` block; ``opened`` does so where the chat template has opened
            the block already; ``keep`` removes nothing. A block without its closing tag leaves an empty answer.
        on_failure: None: a sample that cannot be judged raises, and veRL's V1 trainer leaves it out. A number is your
            decision to give that reward instead; ``judged`` is then 0.0.
        max_failed_calls: How many groups in a row may have no verdict, 1 or more. From then on their samples raise
            `JudgeUnavailableError`, whatever ``on_failure`` is, until a group has a verdict again. None: no limit.
        gather: Where the samples of a prompt are collected: in the ``worker`` that computes their rewards, which
            requires a single reward worker, or in an actor of ``ray`` that all reward workers share.
        guard: Whether to refuse texts that address the judge; see `PrincipleReward`.
        refused_reward: The reward of a refused text. Required with ``guard``, since a sample cannot be left out of
            veRL's batch without losing it.

    Raises:
        ConfigError: an argument has an invalid value.
    """
    check_thinking(thinking)
    if gather not in ("worker", "ray"):
        raise ConfigError(f"gather must be 'worker' or 'ray', not {gather!r}.")
    check_reward("on_failure", on_failure)
    check_reward("refused_reward", refused_reward)
    guard = resolve_guard(guard)
    if guard and refused_reward is None:
        raise ConfigError("guard needs a refused_reward: veRL cannot leave a refused sample out.")
    default = weighted_principle(principle, weights)
    batchers: dict[str, tuple[BaseJudge | None, GroupBatcher | RayGroupBatcher]] = {}

    def judge_and_batcher(from_verl: Mapping[str, Any]) -> tuple[BaseJudge | None, GroupBatcher | RayGroupBatcher]:
        address = str(from_verl.get("reward_router_address")) if judge == ROUTER else ""
        if address not in batchers:
            found = _router_judge(from_verl) if judge == ROUTER else resolve_judge(judge)
            batchers[address] = (
                found,
                (RayGroupBatcher if gather == "ray" else GroupBatcher)(
                    group_size,
                    timeout=timeout,
                    judge=found,
                    scale=Scale(normalize=normalize, tie_break=tie_break),
                    max_failed_calls=max_failed_calls,
                ),
            )
        return batchers[address]

    if judge != ROUTER:
        judge_and_batcher({})  # what is wrong with it is an error now

    async def compute_score(
        data_source: str,  # noqa: ARG001 - part of the call that veRL makes
        solution_str: str,
        ground_truth: Any = None,
        extra_info: Mapping[str, Any] | None = None,
        **from_verl: Any,
    ) -> dict[str, Any]:
        """The reward of one sample as ``score``, with the fields that veRL logs."""
        resolved, batcher = judge_and_batcher(from_verl)
        if not isinstance(extra_info, Mapping | None):
            raise ConfigError(f"extra_info must be a mapping, not {extra_info!r:.80}.")
        info = dict(extra_info or {})
        try:
            size = _group_size(info.get("group_size"))
            prompt = _prompt(_required(info, "prompt"))
            empty = Sample(
                principle=plain_principle(_required(info, "principle", default)),
                prompt=prompt,
                response="",
                reference=_reference(reference, ground_truth, info),
            )
            try:
                completion = solution_str if trajectory is None else _run(info, trajectory, prompt)
                sample = dataclasses.replace(empty, response=response_of(completion, thinking))
            except InvalidCaseError:
                await batcher.skip(empty, size=size)
                raise
            reason = None
            if guard:
                text = guarded_text(sample.response, thinking)
                try:
                    (reason,) = await arefusals(guard, await ajudge_or_default(resolved), [text])
                except RewardAnythingError:
                    await batcher.skip(sample, size=size)
                    raise
            if reason is not None:
                await batcher.skip(sample, size=size)
                assert refused_reward is not None  # as checked above
                return _score_fields(default, float(refused_reward), None, f"Refused. {reason}")
            reward = await batcher.reward(sample, size=size)
        except ConfigError:  # a wrong setting is never a reward
            raise
        except RewardAnythingError as error:
            if on_failure is None:
                raise
            return _score_fields(default, float(on_failure), None, f"Not judged. {type(error).__name__}: {error}")
        rationale = f"[{reward.label}] {reward.verdict.explanation}"
        return _score_fields(default, reward.reward, reward, rationale)

    return compute_score


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any = None,
    extra_info: Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """A reward for veRL's ``custom_reward_function``, with the judge of this process's settings.

    Args:
        data_source: Not used.
        solution_str: What the policy wrote.
        ground_truth: The reference, with ``reference="ground_truth"``; otherwise not used.
        extra_info: ``prompt`` and, unless it is among the settings, ``principle``.
        **settings: veRL's ``reward_kwargs``: the arguments of `verl_reward`.

    Returns:
        ``score`` (the reward), ``judge_score`` (1..5, NaN if the sample was not judged), ``judged`` (1.0 or 0.0),
        ``group_size`` (how many samples were judged together) and ``rationale``. With a rubric among the settings also
        ``missed`` (the number of required criteria that the sample misses), and for each criterion ``reward/criterion``
        (on the scale of ``score``, without ``tie_break``; a sample that was not judged has its ``score``) and
        ``judge_score/criterion`` (1..5). They are NaN where the sample's own principle has no such criterion.

    Raises:
        ConfigError: there is no such setting, or ``extra_info`` has no prompt or principle.
        RewardAnythingError: there is no verdict, and ``on_failure`` is not set.
        JudgeUnavailableError: ``max_failed_calls`` groups in a row had no verdict, or the judge cannot be used.
    """
    from_verl = {name: settings.pop(name) for name in _FROM_VERL if name in settings}
    key = tuple((name, _hashable(value)) for name, value in sorted(settings.items()))
    score = _shared_rewards.get(key) or _shared_rewards.setdefault(key, _reward_of(settings))
    return await score(data_source, solution_str, ground_truth, extra_info, **from_verl)


def compute_score_sync(
    data_source: str,
    solution_str: str,
    ground_truth: Any = None,
    extra_info: Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """`compute_score` for reward managers that refuse coroutine functions, such as veRL's ``remote``.

    It blocks until the sample is judged. Samples of a prompt can only be collected with ``gather="ray"`` and at least
    as many reward workers as ``group_size``; with ``group_size=1`` each is judged alone.

    Args:
        data_source: Not used.
        solution_str: What the policy wrote.
        ground_truth: As for `compute_score`.
        extra_info: As for `compute_score`.
        **settings: The arguments of `verl_reward`.

    Raises:
        ConfigError: as `compute_score`; or ``group_size`` is larger than 1 without ``gather="ray"``.
    """
    if settings.get("group_size", 1) != 1 and settings.get("gather") != "ray":
        raise ConfigError("compute_score_sync collects samples only with gather='ray'. Set that, or group_size=1.")
    return asyncio.run(compute_score(data_source, solution_str, ground_truth, extra_info, **settings))


_FROM_VERL = ("reward_router_address", "reward_model_tokenizer")
"""Arguments that veRL adds where it runs a reward model."""


def _router_judge(from_verl: Mapping[str, Any]) -> BaseJudge:
    """The judge behind veRL's router, which has the routes of an OpenAI-compatible server.

    Raises:
        ConfigError: veRL runs no reward model.
    """
    address, tokenizer = (from_verl.get(name) for name in _FROM_VERL)
    model = getattr(tokenizer, "name_or_path", None)
    if not address or not model:
        raise ConfigError(
            f"judge={ROUTER!r} is the reward model that veRL hosts, and veRL gave no address and tokenizer of one.",
            hint="Set reward.reward_model.enable=True and reward.reward_model.model_path, or name another judge.",
        )
    return from_endpoint(str(model), f"http://{address}/v1")


_shared_rewards: dict[tuple[tuple[str, Any], ...], Callable[..., Awaitable[dict[str, Any]]]] = {}
"""One function for equal settings, since samples are collected within one batcher."""


def _reward_of(settings: Mapping[str, Any]) -> Callable[..., Awaitable[dict[str, Any]]]:
    available = list(inspect.signature(verl_reward).parameters)
    if unknown := [name for name in settings if name not in available]:
        raise ConfigError(f"Unknown setting {', '.join(unknown)}; the settings are: {', '.join(available)}.")
    return verl_reward(**settings)


def _hashable(setting: Any) -> Any:
    """A setting as part of a key: rubrics and weights in a configuration file are mappings."""
    if isinstance(setting, str) or not isinstance(setting, Mapping | Sequence):
        return setting
    return json.dumps(setting, default=_as_json)


def _as_json(value: Any) -> Any:
    if isinstance(value, Principle):
        return value.to_json()
    return dict(value) if isinstance(value, Mapping) else list(value)


def _score_fields(default: Principle | None, value: float, reward: Reward | None, rationale: str) -> dict[str, Any]:
    """The same keys for every sample, since veRL makes columns from those of the first.

    Args:
        default: The principle of samples without one of their own; as a rubric it has keys for its criteria.
        value: The reward.
        reward: The judge's result. None: the sample was not judged.
        rationale: The reasoning, or why there is none.
    """
    fields = {
        "score": value,
        "judge_score": float("nan") if reward is None else reward.score,
        "judged": float(reward is not None),
        "group_size": 0 if reward is None else reward.size,
        "rationale": rationale,
    }
    if isinstance(default, Rubric):
        judged = {} if reward is None else reward.verdict.criteria
        fields["missed"] = float("nan") if reward is None else float(len(reward.verdict.missed.get(reward.label, ())))
        for name in default.criteria:
            fields[f"reward/{name}"] = value if reward is None else reward.criteria.get(name, float("nan"))
            score = judged[name].scores[reward.label] if reward is not None and name in judged else float("nan")
            fields[f"judge_score/{name}"] = score
    return fields


def _required(info: Mapping[str, Any], name: str, default: Any = None) -> Any:
    value = info.get(name)
    value = default if value is None else value
    if value is not None:
        return value
    if name in info:
        raise InvalidCaseError(f"This row's extra_info[{name!r}] is None.", field=name)
    raise ConfigError(
        f"extra_info has no {name!r}; it has {', '.join(map(str, info)) or 'nothing'}. "
        "Add it when you write the data set's Parquet files."
    )


def _group_size(value: Any) -> int | None:
    """A row's own group size; a float of Parquet, whose column has missing values, may stand for it."""
    if value is None or value != value:  # NaN is not equal to itself
        return None
    if isinstance(value, Integral | float) and not isinstance(value, bool) and float(value).is_integer():
        size = int(value)
        if size >= 1:
            return size
    raise InvalidCaseError(f"extra_info['group_size'] must be 1 or more, not {value!r:.80}.", field="group_size")


def _reference(key: str | None, ground_truth: Any, info: Mapping[str, Any]) -> str | None:
    if key is None:
        return None
    if key != "ground_truth" and key not in info:
        raise ConfigError(f"extra_info has no {key!r} to take the reference from; it has {', '.join(map(str, info))}.")
    value = ground_truth if key == "ground_truth" else info[key]
    if not isinstance(value, str):
        raise InvalidCaseError(f"The reference {key!r} must be a text, not {value!r:.80}.", field="reference")
    return value


def _prompt(prompt: Any) -> str | list[Message]:
    return prompt if isinstance(prompt, str) else list(read_messages(prompt, where="prompt"))


def _run(info: Mapping[str, Any], key: str, prompt: str | list[Message]) -> tuple[Message, ...]:
    """The messages of an agent's run without the prompt."""
    if key not in info:
        raise ConfigError(
            f"extra_info has no {key!r} to take the trajectory from; it has {', '.join(map(str, info))}. Put the "
            "messages into the extra_fields of the agent loop's output."
        )
    return after_prompt(read_messages(info[key], where=key), [] if isinstance(prompt, str) else prompt)
