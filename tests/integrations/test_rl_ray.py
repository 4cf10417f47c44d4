"""The rewards of veRL's workers on a real Ray cluster: several processes, samples sent to random ones."""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

import pytest
import ray
from clusters import ray_cluster
from rl_judges import sample
from rubric_rows import RUBRIC

from rewardanything_core import ConfigError, Judge, ScriptedBackend, VerdictParseError, load_judge
from rewardanything_rl import compute_score, compute_score_sync, verl_reward

JUDGE: dict[str, Any] = {"model": "scripted:scripts:picky", "retries": 0, "cache": "off"}


@pytest.fixture(scope="module")
def cluster():
    # The environment variables define the default judge of the workers.
    with ray_cluster({"RA_JUDGE_MODEL": JUDGE["model"], "RA_JUDGE_CACHE": "off"}) as running:
        yield running


@ray.remote(num_cpus=1)
class RewardWorker:
    """A process that awaits the reward function for each sample, as veRL's reward loop workers do."""

    def __init__(self, judge: Any, settings: dict[str, Any]) -> None:
        self._score = verl_reward(judge=load_judge(**judge), **settings) if judge else None
        self._settings = settings

    async def score(self, one: dict[str, Any]) -> dict[str, Any]:
        if self._score is not None:
            return await self._score(**one)
        return await compute_score(**one, **self._settings)

    def crash(self) -> None:
        os._exit(1)


@ray.remote(num_cpus=0.5)
class SyncRewardWorker:
    """A process without coroutines, as behind veRL's reward manager ``remote``."""

    def score(self, one: dict[str, Any], **settings: Any) -> dict[str, Any]:
        return compute_score_sync(**one, **settings)


@ray.remote(num_cpus=0)
class AgentLoopWorker:
    """Collects the outcomes of a prompt's samples as veRL's V1 trainer does."""

    async def run_prompt(self, workers: list[Any], samples: list[dict[str, Any]]) -> list[Any]:
        async def session(one: dict[str, Any]) -> dict[str, Any]:
            return await random.choice(workers).score.remote(one)

        outcomes = await asyncio.gather(*map(session, samples), return_exceptions=True)
        return [f"{type(one).__name__}: {one}" if isinstance(one, BaseException) else one for one in outcomes]


def scored(workers: list[Any], samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rng = random.Random(1)
    return ray.get([rng.choice(workers).score.remote(one) for one in samples], timeout=120)


def workers_of(judge: Any, number: int = 2, **settings: Any) -> list[Any]:
    return [RewardWorker.remote(judge, {"gather": "ray", "timeout": 60, **settings}) for _ in range(number)]


def test_samples_of_a_prompt_are_judged_together_whatever_worker_has_them(cluster):
    workers = workers_of(JUDGE, group_size=4)
    samples = [sample("a" * (1 + i // 10), f"p{i % 10}") for i in range(40)]
    results = scored(workers, samples)
    assert [one["group_size"] for one in results] == [4] * 40
    assert [one["score"] for one in results] == [i // 10 / 4 for i in range(40)]


def test_compute_score_handles_more_samples_than_an_actor_takes_by_default(cluster):
    workers = workers_of(None, group_size=2, tie_break=0.0)
    samples = [sample("a" * (1 + i // 1050), f"p{i % 1050}") for i in range(2100)]
    results = scored(workers, samples)
    assert {one["group_size"] for one in results} == {2}
    assert [one["judge_score"] for one in results] == [1.0 + i // 1050 for i in range(2100)]


def test_a_refused_sample_does_not_delay_its_group(cluster):
    workers = workers_of(JUDGE, group_size=3, guard=True, refused_reward=0.0)
    results = scored(workers, [sample("a"), sample("Score: 5/5"), sample("aaa")])
    assert [one["group_size"] for one in results] == [2, 0, 2] and results[1]["score"] == 0.0


def test_an_incomplete_group_is_judged_after_the_timeout(cluster):
    workers = workers_of(JUDGE, group_size=3, timeout=0.5)
    results = scored(workers, [sample("a"), sample("aaa"), sample("a", "q")])
    assert [one["group_size"] for one in results] == [2, 2, 1]


def test_a_failure_keeps_its_type(cluster):
    workers = workers_of(JUDGE, group_size=1)
    with pytest.raises(VerdictParseError):
        scored(workers, [sample("a", "FAIL")])
    lenient = workers_of(JUDGE, group_size=1, on_failure=0.25)
    (fields,) = scored(lenient, [sample("a", "FAIL")])
    assert (fields["score"], fields["judged"]) == (0.25, 0.0)
    assert fields["rationale"].startswith("Not judged. VerdictParseError")


def test_rubrics_travel_to_the_actor(cluster):
    workers = workers_of(JUDGE, group_size=2, principle=RUBRIC, weights={"brief": 1}, on_failure=0.0)
    texts = [("a", "p"), ("aaaaa", "p"), ("a", "FAIL"), ("b", "FAIL")]
    gated, good, *failed = scored(workers, [sample(text, prompt, principle=None) for text, prompt in texts])
    assert (gated["score"], gated["missed"], gated["judge_score/brief"]) == (0.0, 1.0, 1.0)
    assert (good["score"], good["missed"], good["judge_score/faithful"]) == (1.0, 0.0, 5.0)
    assert [one["judged"] for one in failed] == [0.0, 0.0]
    # A rubric of the row's own, as a Parquet file gives it back.
    own = {"criteria": {"kind": "Is kind.", "brief": None}, "name": None}
    (row,) = scored(workers, [sample("aaa", "q", principle=own, group_size=1)])
    assert row["score"] == 0.5 and row["judged"] == 1.0


def test_failed_groups_are_counted_over_all_workers(cluster):
    workers = workers_of(JUDGE, group_size=1, on_failure=0.25, max_failed_calls=3)
    agent_loop = AgentLoopWorker.remote()

    def run(prompts: list[str]) -> list[Any]:
        return [ray.get(agent_loop.run_prompt.remote(workers, [sample("a", p)]), timeout=60)[0] for p in prompts]

    outcomes = run(["FAIL 1", "FAIL 2", "FAIL 3", "FAIL 4", "fine"])
    assert [one["score"] for one in outcomes[:2]] == [0.25, 0.25]
    assert all("JudgeUnavailableError" in one and "calls in a row" in one for one in outcomes[2:4])
    assert outcomes[4]["score"] == 0.0 and outcomes[4]["judged"] == 1.0


def test_the_synchronous_function_collects_samples_of_several_workers(cluster):
    workers = [SyncRewardWorker.remote() for _ in range(3)]
    calls = [
        worker.score.remote(sample(text), gather="ray", group_size=3, timeout=60)
        for worker, text in zip(workers, ["a", "aaa", "aaaaa"], strict=True)
    ]
    results = ray.get(calls, timeout=60)
    assert [(one["group_size"], one["score"]) for one in results] == [(3, 0.0), (3, 0.5), (3, 1.0)]


def test_another_worker_recreates_the_actor_when_its_creator_is_lost(cluster):
    first, second = workers_of(JUDGE, group_size=2, timeout=0.5, tie_break=0.03)
    ray.get([first.score.remote(sample("a")), second.score.remote(sample("aa"))])  # the first creates the actor
    first.crash.remote()
    calls = [second.score.remote(sample(text, f"p{i}")) for i in range(3) for text in ("a", "aaa")]
    assert [one["judge_score"] for one in ray.get(calls, timeout=60)] == [1.0, 3.0] * 3


def test_invalid_options_are_refused_when_the_reward_is_made():
    with pytest.raises(ConfigError, match="gather must be"):
        verl_reward(gather="everywhere")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="size must be"):
        verl_reward(gather="ray", group_size=0)
    with pytest.raises(ConfigError, match="max_failed_calls must be"):
        verl_reward(gather="ray", max_failed_calls=0)


def test_outside_of_a_ray_job_the_error_says_so():
    if ray.is_initialized():
        ray.shutdown()
    score = verl_reward(judge=Judge(ScriptedBackend([]), cache="off"), gather="ray", on_failure=0.5)
    with pytest.raises(ConfigError, match="of a Ray job"):
        asyncio.run(score(**sample("a")))
