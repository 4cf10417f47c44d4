"""Scripted judges and samples for the tests of rewards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from scripts import by_length

from rewardanything_core import Judge, ScriptedBackend

PRINCIPLE = "The longer the better."


def judge_of(backend: ScriptedBackend) -> Judge:
    """A judge without a cache and without retries."""
    return Judge(backend, cache="off", retries=0)


def length_backend() -> ScriptedBackend:
    """A backend that scores by length, 1..5."""
    return ScriptedBackend(by_length)


def judge_by_length() -> Judge:
    """A judge that scores by length, 1..5."""
    return judge_of(length_backend())


def response_lists(backend: ScriptedBackend) -> list[list[Any]]:
    """The responses of each call, sorted; turns after texts."""
    responses = [json.loads(request.messages[1]["content"])["responses"] for request in backend.requests]
    return [sorted(given.values(), key=lambda one: (not isinstance(one, str), str(one))) for given in responses]


def sample(text: str, prompt: Any = "p", **extra: Any) -> dict[str, Any]:
    """The arguments with which veRL calls a reward function."""
    extra_info = {"prompt": prompt, "principle": PRINCIPLE, "num_turns": None, "rollout_reward_scores": {}, **extra}
    return {"data_source": "d", "solution_str": text, "ground_truth": "ggg", "extra_info": extra_info}


async def scores_of(score: Callable[..., Any], samples: Sequence[dict[str, Any]]) -> list[float]:
    """The rewards of samples that arrive at the same time; all have the same fields, in the same order."""
    results = await asyncio.gather(*(score(**one) for one in samples))
    assert all(list(one) == list(results[0]) for one in results)
    return [one["score"] for one in results]
