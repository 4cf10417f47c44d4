"""Cases judged through several frameworks are paid for once, since all of them share the verdict store."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import mlflow
import pandas
import pytest
from langsmith import Client
from langsmith.evaluation import evaluate
from langsmith.schemas import Example
from servers import FakeOpenAI, score_text

from rewardanything_core import Judge, ScriptedBackend, from_endpoint
from rewardanything_core.backends import Request, verdict_reply
from rewardanything_dspy import PrincipleMetric
from rewardanything_langchain import JudgeRunnable, PrincipleEvaluator, principle_evaluator
from rewardanything_mlflow import PrincipleScorer, principle_metric

PRINCIPLE = "The higher the number in the answer, the better."
QUESTIONS = [f"question {i + 1000} of two hundred" for i in range(200)]


def answer(question: str) -> str:
    return f"{'xyzuv'[len(question) % 5] * (int(question.split()[1]) % 5)} to {question}"


class Program(dspy.Module):
    def forward(self, question: str) -> Any:
        return dspy.Prediction(answer=answer(question))


def through_dspy(judge: Judge) -> list[float]:
    devset = [dspy.Example(question=q).with_inputs("question") for q in QUESTIONS]
    evaluation = dspy.Evaluate(devset=devset, metric=PrincipleMetric(PRINCIPLE, judge=judge), num_threads=16)
    return [float(score) for *_, score in evaluation(Program()).results]


def through_langsmith(judge: Judge) -> list[float]:
    data = [Example(id=uuid.uuid4(), inputs={"question": q}, dataset_id=uuid.uuid4()) for q in QUESTIONS]
    results = evaluate(
        lambda inputs: {"answer": answer(inputs["question"])},
        data=data,
        evaluators=[principle_evaluator(PRINCIPLE, judge=judge, key="high")],
        client=Client(api_key="none", api_url="http://127.0.0.1:9", auto_batch_tracing=False),
        upload_results=False,
        max_concurrency=16,
    )
    scores = {row["example"].inputs["question"]: row["evaluation_results"]["results"][0].score for row in results}
    return [scores[question] for question in QUESTIONS]


def through_a_runnable(judge: Judge) -> list[float]:
    rows = [{"prompt": q, "responses": {"any label": answer(q)}} for q in QUESTIONS]
    verdicts = JudgeRunnable(principle=PRINCIPLE, judge=judge).batch(rows)
    return [verdict.normalized["any label"] for verdict in verdicts]


def through_mlflow(judge: Judge) -> list[float]:
    table = pandas.DataFrame({"inputs": QUESTIONS, "outputs": [answer(q) for q in QUESTIONS]})
    metric = principle_metric(PRINCIPLE, judge=judge, name="high", scale="normalized")
    result = mlflow.models.evaluate(
        data=table, predictions="outputs", extra_metrics=[metric], evaluators="default", model_type=None
    )
    return list(result.tables["eval_results_table"]["high/score"])


def through_mlflow_genai(judge: Judge) -> list[float]:
    data = [{"inputs": {"question": q}, "outputs": answer(q)} for q in QUESTIONS]
    scorer = PrincipleScorer(principle=PRINCIPLE, judge=judge, name="high", scale="normalized")
    frame = mlflow.genai.evaluate(data=data, scorers=[scorer]).result_df
    scores = dict(zip([request["question"] for request in frame["request"]], frame["high/value"], strict=True))
    return [scores[question] for question in QUESTIONS]


# To add a framework, add a function from a judge to the scores 0..1 of QUESTIONS, in order.
ROUTES: list[Callable[[Judge], list[float]]] = [
    through_dspy,
    through_langsmith,
    through_a_runnable,
    through_mlflow,
    through_mlflow_genai,
]


@pytest.fixture(autouse=True)
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow writes to a temporary folder, and LangSmith sends nothing."""
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    monkeypatch.setenv("MLFLOW_GENAI_EVAL_MAX_WORKERS", "10")
    monkeypatch.setenv("MLFLOW_GENAI_EVAL_PREDICT_RATE_LIMIT", "0")
    monkeypatch.chdir(tmp_path)  # MLflow writes artifacts next to its database
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_experiment("shared")


def test_two_hundred_cases_through_every_framework_cost_two_hundred_judgements(tmp_path: Path) -> None:
    expected = [(score_text(answer(question)) - 1) / 4 for question in QUESTIONS]
    with FakeOpenAI() as server:
        for number, route in enumerate(ROUTES):
            # Each route has its own judge, as separate processes would; only the store is shared.
            judge = from_endpoint("hosted_vllm/fake", api_base=server.url, store=tmp_path / "store.sqlite")
            assert route(judge) == expected, route.__name__
            assert server.count == 200
            assert judge.usage.calls == (200 if number == 0 else 0)
            judge.close()


# --- the texts that users read


def mentions_a_masked_name(request: Request) -> str:
    return verdict_reply({"model-1": 4}, thoughts="model-1 is brief.")


def test_no_framework_shows_the_masked_names_of_responses() -> None:
    judge = Judge(ScriptedBackend(mentions_a_masked_name), cache="off")
    case = {"inputs": {"question": "2+2?"}, "outputs": {"answer": "4"}}
    table = pandas.DataFrame({"inputs": ["2+2?"], "outputs": ["4"]})
    metric = principle_metric(PRINCIPLE, judge=judge, name="high")
    logged = mlflow.models.evaluate(data=table, predictions="outputs", extra_metrics=[metric], evaluators="default")
    evaluator = PrincipleEvaluator(principle=PRINCIPLE, judge=judge)
    gold = dspy.Example(question="2+2?").with_inputs("question")
    texts = [
        PrincipleScorer(principle=PRINCIPLE, judge=judge)(**case).rationale,
        logged.tables["eval_results_table"]["high/justification"][0],
        principle_evaluator(PRINCIPLE, judge=judge)(**case)["comment"],
        evaluator.evaluate_strings(input="2+2?", prediction="4")["reasoning"],
        PrincipleMetric(PRINCIPLE, judge=judge)(gold, dspy.Prediction(answer="4")).feedback.rpartition(": ")[2],
    ]
    assert texts == ["The response is brief."] * len(texts)
