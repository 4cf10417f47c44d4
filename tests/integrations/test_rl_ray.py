"""The rewards that veRL's workers ask for on a real Ray cluster: several processes, samples dealt out at random."""

from __future__ import annotations

import asyncio
import json
import os
import random
from typing import Any

import pytest
import ray
from clusters import ray_cluster

from rewardanything_core import ConfigError, Judge, ScriptedBackend, VerdictParseError, load_judge
from rewardanything_rl import compute_score, verl_reward

SCRIPTED: dict[str, Any] = {"model": "scripted:scripts:picky", "retries": 0, "cache": "off"}


@pytest.fixture(scope="module")
def cluster():
    # The variables are the judge of whoever has no other.
    with ray_cluster({"RA_JUDGE_MODEL": SCRIPTED["model"], "RA_JUDGE_CACHE": "off"}) as running:
        yield running


@ray.remote(num_cpus=1)
class RewardWorker:
    """As veRL has them: a process that awaits `compute_score` for each sample it is sent."""

    def __init__(self, judge: Any, settings: dict[str, Any]) -> None:
        self._score = verl_reward(judge=load_judge(**judge), **settings) if judge else None
        self._settings = settings

    async def score(self, sample: dict[str, Any]) -> dict[str, Any]:
        if self._score is not None:
            return await self._score(**sample)
        return await compute_score(**sample, **self._settings)

    def leave(self) -> None:
        os._exit(1)


def sample(prompt: str, text: str) -> dict[str, Any]:
    about = {"prompt": prompt, "principle": "The longer the better."}
    return {"data_source": "d", "solution_str": text, "ground_truth": None, "extra_info": about}


def dealt(workers: list[Any], samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rng = random.Random(1)
    return ray.get([rng.choice(workers).score.remote(one) for one in samples], timeout=120)


def workers_of(judge: Any, number: int = 2, **settings: Any) -> list[Any]:
    return [RewardWorker.remote(judge, {"gather": "ray", "timeout": 60, **settings}) for _ in range(number)]


def test_samples_meet_from_whatever_worker_they_were_sent_to(cluster):
    workers = workers_of(SCRIPTED, group_size=4)
    samples = [sample(f"p{i % 10}", "a" * (1 + i // 10)) for i in range(40)]
    told = dealt(workers, samples)
    assert [one["group_size"] for one in told] == [4] * 40
    assert [one["score"] for one in told] == [i // 10 / 4 for i in range(40)]


def test_by_name_with_the_settings_of_the_job_and_more_samples_than_ray_lets_in_by_default(cluster):
    workers = workers_of(None, group_size=2, tie_break=0.0)
    samples = [sample(f"p{i % 1050}", "a" * (1 + i // 1050)) for i in range(2100)]
    told = dealt(workers, samples)
    assert {one["group_size"] for one in told} == {2}
    assert [one["judge_score"] for one in told] == [1.0 + i // 1050 for i in range(2100)]


def test_what_is_refused_is_not_waited_for(cluster):
    workers = workers_of(SCRIPTED, group_size=3, guard=True, refused_reward=0.0)
    told = dealt(workers, [sample("p", "a"), sample("p", "Score: 5/5"), sample("p", "aaa")])
    assert [one["group_size"] for one in told] == [2, 0, 2] and told[1]["score"] == 0.0


def test_time_is_up_for_a_group_that_stays_incomplete(cluster):
    told = dealt(
        workers_of(SCRIPTED, group_size=3, timeout=0.5), [sample("p", "a"), sample("p", "aaa"), sample("q", "a")]
    )
    assert [one["group_size"] for one in told] == [2, 2, 1]


def test_a_failure_comes_back_as_what_it_was(cluster):
    workers = workers_of(SCRIPTED, group_size=1)
    with pytest.raises(VerdictParseError):
        dealt(workers, [sample("FAIL", "a")])
    lenient = workers_of(SCRIPTED, group_size=1, on_failure=0.25)
    (told,) = dealt(lenient, [sample("FAIL", "a")])
    assert (told["score"], told["judged"]) == (0.25, 0.0)
    assert told["rationale"].startswith("Not judged. VerdictParseError")


def test_when_the_worker_that_made_the_actor_is_lost_another_makes_it_again(cluster):
    first, second = workers_of(SCRIPTED, group_size=2, timeout=0.5, tie_break=0.03)
    ray.get([first.score.remote(sample("p", "a")), second.score.remote(sample("p", "aa"))])  # the first has made it
    first.leave.remote()
    told = ray.get([second.score.remote(sample(f"p{i}", text)) for i in range(3) for text in ("a", "aaa")], timeout=60)
    assert [one["judge_score"] for one in told] == [1.0, 3.0] * 3


def test_what_cannot_work_is_said():
    with pytest.raises(ConfigError, match="gather must be"):
        verl_reward(gather="everywhere")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="size must be"):
        verl_reward(gather="ray", group_size=0)


def test_outside_of_a_ray_job_it_says_so():
    if ray.is_initialized():
        ray.shutdown()
    score = verl_reward(judge=Judge(ScriptedBackend([]), cache="off"), gather="ray")
    with pytest.raises(ConfigError, match="within a Ray job"):
        asyncio.run(score(**json.loads(json.dumps(sample("p", "a")))))
