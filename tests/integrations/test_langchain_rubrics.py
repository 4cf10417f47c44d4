"""Rubrics in LangChain, LangSmith and openevals: a result for the whole and for each criterion."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langsmith import Client
from langsmith.evaluation import evaluate
from langsmith.evaluation.evaluator import comparison_evaluator
from langsmith.schemas import Example, Run
from rubric_rows import BAD, GATED, GOOD, RUBRIC, one_criterion_missing
from servers import FakeOpenAI

from rewardanything_core import BaseJudge, ConfigError, Rubric, VerdictParseError, from_endpoint
from rewardanything_langchain import (
    BestOfN,
    JudgeRunnable,
    PrincipleEvaluator,
    PrinciplePairwiseEvaluator,
    comparative_evaluator,
    principle_evaluator,
)

KEYS = ["answers", "answers.faithful", "answers.brief"]


@pytest.fixture
def judge(server: FakeOpenAI) -> Iterator[BaseJudge]:
    server.reply = one_criterion_missing
    server.fault_rate = 0.1
    with from_endpoint("hosted_vllm/fake", api_base=server.url, api_key="x") as made:
        yield made


def test_langsmith_gets_a_result_for_each_criterion_and_a_fault_harms_its_own_row(
    judge: BaseJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    texts = [GOOD] * 10 + [BAD] + [GATED] * 10
    results = evaluate(
        lambda inputs: {"answer": inputs["question"]},
        data=[Example(id=uuid.uuid4(), inputs={"question": text}, dataset_id=uuid.uuid4()) for text in texts],
        evaluators=[principle_evaluator(RUBRIC, judge=judge)],
        client=Client(api_key="none", api_url="http://127.0.0.1:9", auto_batch_tracing=False),
        upload_results=False,
    )
    expected = {GOOD: [0.75, 1, 0], GATED: [0, 0.25, 0.75], BAD: [None] * 3}
    for row in results:
        found = row["evaluation_results"]["results"]
        assert [one.key for one in found] == KEYS
        assert [one.score for one in found] == expected[row["example"].inputs["question"]]
        if row["example"].inputs["question"] == BAD:
            assert all((one.comment or "").startswith("Not judged. VerdictParseError") for one in found)
    assert results.to_pandas()["feedback.answers.brief"].mean() == pytest.approx(0.375)


def test_the_function_as_openevals_calls_its_own(judge: BaseJudge, server: FakeOpenAI) -> None:
    server.fault_rate = 0
    results = principle_evaluator(RUBRIC.to_json(), judge=judge, key="a", scale="raw")(inputs="?", outputs=GATED)
    assert server.count == 1
    assert [(one["key"], one["score"]) for one in results] == [("a", 1), ("a.faithful", 2), ("a.brief", 4)]
    assert results[0]["metadata"]["missed"] == ["faithful"]
    assert results[0]["comment"].startswith("The response misses what the rubric requires: faithful (2).")
    assert results[2]["comment"] == "By brief in the text of the response."
    assert results[2]["metadata"]["criterion"] == "brief" and results[2]["metadata"]["model"] == judge.model
    both = principle_evaluator([RUBRIC, "Is kind."], judge=judge)(inputs="?", outputs=GOOD)
    assert [one["key"] for one in both] == [*KEYS, "principle_2"]
    odd = principle_evaluator(Rubric({"A b": "x", "a_b": "y"}), judge=judge)(inputs="?", outputs=GOOD)
    assert [one["key"] for one in odd] == ["principle", "principle.a_b", "principle.a_b_2"]


def run_of(answer: str) -> Run:
    now = datetime.now(UTC)
    return Run(
        id=uuid.uuid4(), trace_id=uuid.uuid4(), name="r", run_type="chain", start_time=now, inputs={"question": "?"},
        outputs={"answer": answer}, dotted_order="",
    )  # fmt: skip


def test_runs_are_compared_under_a_criterion(judge: BaseJudge, server: FakeOpenAI) -> None:
    server.fault_rate = 0
    runs = [run_of(GOOD), run_of(GATED)]
    scores = {}
    for criterion in (None, "faithful", "brief"):
        function = comparative_evaluator(RUBRIC, judge=judge, criterion=criterion)
        result = comparison_evaluator(function).compare_runs(runs, None)
        scores[result.key] = [result.scores[run.id] for run in runs]
    assert scores == {"answers": [0.75, 0], "answers.faithful": [1, 0.25], "answers.brief": [0, 0.75]}
    assert server.count == 1
    with pytest.raises(ConfigError, match="the principle has: faithful, brief"):
        comparative_evaluator(RUBRIC, criterion="kind")


def test_langchains_evaluators_have_the_criteria(judge: BaseJudge) -> None:
    result = PrincipleEvaluator(principle=RUBRIC, judge=judge).evaluate_strings(prediction=GATED, input="?")
    assert (result["value"], result["score"]) == (1, 0)
    assert result["criteria"]["brief"] == {
        "reasoning": "By brief in the text of the response.", "value": 4, "score": 0.75,
    }  # fmt: skip
    assert result["missed"] == {"prediction": ["faithful"]}
    pair = PrinciplePairwiseEvaluator(principle=[RUBRIC, "Is kind 3."], judge=judge)
    result = pair.evaluate_string_pairs(prediction=GOOD, prediction_b=GATED, input="?")
    assert result["value"] == "A" and result["criteria"]["answers.brief"]["value"] == "B"
    assert result["missed"] == {"B": ["answers.faithful"]}
    result = PrincipleEvaluator(principle=RUBRIC, judge=judge).evaluate_strings(prediction=BAD, input="?")
    assert result["score"] is None and result["errors"][0]["error_type"] == "VerdictParseError"


def test_the_runnable_gives_verdicts_with_criteria(judge: BaseJudge) -> None:
    inputs = [{"prompt": "?", "responses": [text]} for text in (GOOD, BAD, GATED)]
    good, bad, gated = JudgeRunnable(principle=RUBRIC, judge=judge).batch(inputs, return_exceptions=True)
    assert good.criteria["faithful"].scores == {"0": 5} and gated.missed == {"0": ["faithful"]}
    assert isinstance(bad, VerdictParseError)
    # A rubric in the input, as JSON.
    verdict = JudgeRunnable(judge=judge).invoke({**inputs[0], "principle": RUBRIC.to_json()})
    assert verdict.scores == {"0": 4}
    texts: Any = iter([GATED, GOOD])
    best = BestOfN(candidates=RunnableLambda(lambda _: next(texts)), principle=RUBRIC, n=2, judge=judge)
    assert best.invoke("?", config={"max_concurrency": 1}) == GOOD
