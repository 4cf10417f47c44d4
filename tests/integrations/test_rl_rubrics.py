"""Rubrics as rewards: weights, requirements, metrics of each criterion, in TRL's and in veRL's calls."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from rubric_rows import BAD, GATED, GOOD, RUBRIC, one_criterion_missing
from servers import FakeOpenAI

from rewardanything_core import (
    BaseJudge,
    ConfigError,
    InvalidCaseError,
    Principle,
    Rubric,
    from_endpoint,
    set_default_judge,
)
from rewardanything_rl import PrincipleReward, Sample, compute_score, verl_reward

PLAIN = Rubric({"faithful": "Every claim is supported.", "brief": "Is short."})


@pytest.fixture
def judge(server: FakeOpenAI) -> Iterator[BaseJudge]:
    server.reply = one_criterion_missing
    server.fault_rate = 0.1
    with from_endpoint("hosted_vllm/fake", api_base=server.url, api_key="x", cache="off") as made:
        yield made


def verl_row(text: str, **extra: Any) -> dict[str, Any]:
    return {"data_source": "d", "solution_str": text, "ground_truth": None, "extra_info": {"prompt": "p", **extra}}


def test_the_reward_is_the_weighted_mean_and_a_gate_gives_that_of_score_1(judge: BaseJudge, server: FakeOpenAI) -> None:
    server.fault_rate = 0
    metrics: dict[str, float] = {}
    columns: dict[str, list[Any]] = {}
    reward = PrincipleReward(RUBRIC, judge=judge)
    rewards = reward(
        ["p"] * 3, [GOOD, GATED, GATED + " too"], log_metric=metrics.__setitem__, log_extra=columns.__setitem__
    )
    # Completions that miss a requirement are not spread by tie_break.
    assert rewards == [0.75, 0.0, 0.0]
    assert server.count == 1
    assert columns["answers/score/faithful"] == [5, 2, 2] and columns["answers/score"] == [4, 1, 1]
    assert metrics == pytest.approx(
        {
            "answers/score": 2, "answers/score/faithful": 3, "answers/score/brief": 3, "answers/missed": 2 / 3,
            "answers/missed/faithful": 2 / 3, "answers/not_judged": 0, "answers/tied": 1,
        }
    )  # fmt: skip
    assert PrincipleReward(RUBRIC, judge=judge, normalize=False)(["p"], [GATED]) == [1.0]
    # Equal scores without a missed requirement are still spread.
    spread = PrincipleReward(PLAIN, judge=judge)(["p"] * 2, ["faithful=3 brief=3", "faithful=3 brief=3 too"])
    assert sorted(spread) == pytest.approx([0.49, 0.51])


def test_weights_replace_those_of_the_rubric(judge: BaseJudge) -> None:
    assert PrincipleReward(PLAIN, judge=judge)(["p"], [GOOD]) == [0.5]
    assert PrincipleReward(PLAIN, judge=judge, weights={"faithful": 3})(["p"], [GOOD]) == [0.75]
    assert PrincipleReward(RUBRIC, judge=judge, weights={"faithful": 1})(["p"], [GOOD]) == [0.5]
    with pytest.raises(InvalidCaseError, match="no criterion 'brevity'"):
        PrincipleReward(PLAIN, weights={"brevity": 1})
    with pytest.raises(ConfigError, match="criteria of a rubric"):
        verl_reward("Be short.", weights={"brief": 1})


def test_rows_may_have_rubrics_as_data_sets_return_them(judge: BaseJudge) -> None:
    # Arrow gives every row the keys of all rows.
    criteria = {"faithful": "Every claim is supported.", "other": None}
    own = {"criteria": criteria, "weights": {"faithful": 1, "other": None}, "name": None}
    rewards = PrincipleReward(judge=judge)(["p"] * 3, [GOOD, GATED, GOOD], principle=[own, own, PLAIN.to_json()])
    assert rewards == [1.0, 0.25, 0.5]
    # Rubrics that differ in weights only are different groups, though they are judged alike.
    weighted = Rubric(PLAIN.criteria, weights={"brief": 3})
    samples = [Sample(principle=one, prompt="p", response=GOOD) for one in (PLAIN, weighted)]
    assert samples[0].key != samples[1].key


def test_one_faulty_reply_harms_its_own_prompt_only(judge: BaseJudge) -> None:
    prompts = [f"p{index // 2}" for index in range(20)]
    completions = [GOOD, GATED] * 5 + [BAD, GOOD] + [GOOD, GATED] * 4
    columns: dict[str, list[Any]] = {}
    reward = PrincipleReward(RUBRIC, judge=judge)
    rewards = reward(prompts, completions, log_extra=columns.__setitem__)
    assert rewards == [0.75, 0.0] * 5 + [None, None] + [0.75, 0.0] * 4
    assert columns["answers/score/brief"][8:14] == [1, 4, None, None, 1, 4]
    assert [failure.error_type for failure in reward.failures] == ["VerdictParseError"]


def test_verl_gets_the_same_keys_for_every_sample(judge: BaseJudge) -> None:
    score = verl_reward(RUBRIC, judge=judge, on_failure=0.0)

    async def run() -> list[dict[str, Any]]:
        rows = [verl_row(GOOD), verl_row(GATED), verl_row(BAD), verl_row(GOOD, principle=Rubric({"x": "y"}).to_json())]
        return list(await asyncio.gather(*(score(**row) for row in rows)))

    good, gated, bad, other = asyncio.run(run())
    assert list(good) == list(gated) == list(bad) == list(other)
    assert good["score"] == 0.75 and good["missed"] == 0 and good["judge_score/faithful"] == 5
    assert gated["score"] == 0.0 and gated["missed"] == 1 and gated["judge_score/brief"] == 4
    assert bad["judged"] == 0.0 and math.isnan(bad["judge_score/brief"])
    assert other["judged"] == 1.0 and math.isnan(other["judge_score/brief"])


def gdpo_advantages(rows: list[dict[str, Any]], keys: list[str]) -> list[float]:
    """Each key's rewards normalised within the group, and summed: GDPO (arXiv 2601.05242) before whitening."""
    columns = np.array([[row[key] for key in keys] for row in rows])
    return list(((columns - columns.mean(0)) / (columns.std(0, ddof=1) + 1e-6)).sum(1))


def test_verl_gets_a_reward_for_each_principle_as_gdpo_takes_them(judge: BaseJudge, server: FakeOpenAI) -> None:
    server.fault_rate = 0
    texts = ["faithful=5 brief=2", "faithful=2 brief=2", "faithful=2 brief=2 too"]
    principles = [Principle("Every claim is supported.", name="faithful"), Principle("Is short.", name="brief")]

    async def run(**options: Any) -> list[dict[str, Any]]:
        score = verl_reward(principles, judge=judge, group_size=3, **options)
        return list(await asyncio.gather(*(score(**verl_row(text, gold="faithful=1 brief=4")) for text in texts)))

    rows = asyncio.run(run())
    assert server.count == 1
    assert [(row["reward/faithful"], row["reward/brief"]) for row in rows] == [(1, 0.25), (0.25, 0.25), (0.25, 0.25)]
    assert rows[1]["score"] != rows[2]["score"]  # ties are broken in the sum, but not within a criterion:
    first, second, third = gdpo_advantages(rows, ["reward/faithful", "reward/brief"])
    assert first > 0 > second == third
    rows = asyncio.run(run(reference="gold", normalize=False))
    assert [(row["reward/faithful"], row["reward/brief"]) for row in rows] == [(4, -2), (1, -2), (1, -2)]


def test_a_sample_without_a_verdict_has_finite_rewards_for_each_principle(judge: BaseJudge) -> None:
    score = verl_reward([Principle("a", name="faithful"), "b"], judge=judge, on_failure=0.5)
    row = asyncio.run(score(**verl_row(BAD)))
    assert (row["score"], row["reward/faithful"], row["reward/principle_2"], row["judged"]) == (0.5, 0.5, 0.5, 0.0)
    with pytest.raises(ConfigError, match=r"Principle 2 \('a'\) has the name of another one"):
        verl_reward([Principle("x", name="a"), Principle("y", name="a")], judge=judge)
    set_default_judge(judge)
    settings: dict[str, Any] = {"principle": ["Every claim is supported.", "Is short."], "on_failure": 0.0}
    assert "reward/principle_1" in asyncio.run(compute_score(**verl_row(BAD), **settings))


def test_verl_settings_from_a_configuration_file(judge: BaseJudge) -> None:
    set_default_judge(judge)
    read_only = MappingProxyType  # configuration files are read into mappings that are not dicts
    criteria = {name: read_only({"text": one.text}) for name, one in PLAIN.criteria.items()}
    for settings in (
        {"principle": PLAIN.to_json(), "weights": {"faithful": 3}},
        {"principle": read_only({"criteria": read_only(criteria)}), "weights": read_only({"faithful": 3})},
    ):
        for _ in range(2):
            result = asyncio.run(compute_score(**verl_row(GOOD), **settings))
            assert result["score"] == 0.75 and result["judge_score/brief"] == 1


def test_rewards_and_rubrics_travel_between_processes(judge: BaseJudge) -> None:
    reward = pickle.loads(pickle.dumps(PrincipleReward(RUBRIC, judge=judge)))
    assert reward.principle == RUBRIC
    assert reward(["p"], [GOOD]) == [0.75]
    assert Rubric.of(json.loads(json.dumps(RUBRIC.to_json()))) == RUBRIC
