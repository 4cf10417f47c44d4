"""Every function with ``judge=`` takes a model string, and checks it when it is given."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy
import pandas
import pytest
from langchain_core.runnables import RunnableLambda
from servers import FakeOpenAI

import rewardanything_dspy as for_dspy
import rewardanything_langchain as for_langchain
import rewardanything_mlflow as for_mlflow
import rewardanything_rl as for_rl
from rewardanything_core import ConfigError, RewardAnythingError
from rewardanything_core.gate import check
from rewardanything_core.server.app import create_app
from rewardanything_core.tables import judge_frames, portable_spec

ROWS = [{"id": str(i), "prompt": f"q{i}", "response": "is 4"} for i in range(4)]
FRAME = pandas.DataFrame([{"prompt": "q", "responses": ["is 4"]}])
ANSWER = RunnableLambda(str)

TAKES_A_JUDGE = {
    "mlflow scorer": lambda judge: for_mlflow.PrincipleScorer(principle="p", judge=judge),
    "mlflow metric": lambda judge: for_mlflow.principle_metric("p", judge=judge),
    "mlflow compare_runs": lambda judge: for_mlflow.compare_runs([], principle="p", judge=judge),
    "dspy metric": lambda judge: for_dspy.PrincipleMetric("p", judge=judge),
    "dspy best of n": lambda judge: for_dspy.BestOfN(dspy.Predict("q -> a"), 2, "p", judge=judge),
    "dspy reward": lambda judge: for_dspy.reward_fn("p", judge=judge),
    "langchain runnable": lambda judge: for_langchain.JudgeRunnable(principle="p", judge=judge),
    "langchain best of n": lambda judge: for_langchain.BestOfN(candidates=ANSWER, principle="p", judge=judge),
    "langsmith evaluator": lambda judge: for_langchain.principle_evaluator("p", judge=judge),
    "trl": lambda judge: for_rl.PrincipleReward("p", judge=judge),
    "verl": lambda judge: for_rl.verl_reward("p", judge=judge),
    "reward function": lambda judge: for_rl.reward_function("p", "q", "is 4", judge=judge),
    "check": lambda judge: check(ROWS, ROWS, "p", judge=judge),
    "server": create_app,
}


@pytest.mark.parametrize("make", TAKES_A_JUDGE.values(), ids=TAKES_A_JUDGE)
def test_a_model_string_is_checked_when_it_is_given(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(RewardAnythingError, match="There is no key for openai/gpt-5-mini"):
        make("openai:/gpt-5-mini")
    with pytest.raises(ValueError, match="There is no model 'gtp-5-mini'"):
        make("gtp-5-mini")


def test_a_model_string_judges(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    judge: Any = "openai:/fake"
    scorer = for_mlflow.PrincipleScorer(principle="p", judge=judge)
    assert scorer(inputs="q", outputs="is 4").value == 4
    metric = for_dspy.PrincipleMetric("p", judge=judge)
    assert metric.judge is scorer.judge
    verdict = for_langchain.JudgeRunnable(principle="p", judge=judge).invoke({"prompt": "q", "responses": ["is 4"]})
    assert verdict.scores == {"0": 4.0}
    assert for_rl.reward_function("p", "q", "is 4", judge=judge) == 4.0
    score = for_rl.verl_reward("p", judge=judge)("d", "is 4", None, {"prompt": "q"})
    assert asyncio.run(score)["judge_score"] == 4  # type: ignore[arg-type]
    assert check(ROWS, ROWS, "p", judge=judge).model == "openai/fake"
    assert [list(frame["best"]) for frame in judge_frames([FRAME], principle="p", judge=judge)] == [["0"]]
    assert portable_spec(judge)["model"] == judge


def test_an_autologged_model_string_is_the_judge_of_a_scorer(
    server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    from rewardanything_mlflow.spans import _logged

    try:
        for_mlflow.autolog("openai/fake")
        assert for_mlflow.PrincipleScorer(principle="p", judge="openai/fake").judge is _logged[-1]  # type: ignore[arg-type]
    finally:
        for_mlflow.autolog(disable=True)
    with pytest.raises(ConfigError):
        for_mlflow.autolog("gtp-5-mini")
