"""Real clients of decision APIs against a running ``ra-judge serve``; by hand, in an environment that has the clients.

    pip install openai typesafe-sdk litellm autorubric deepeval "dspy[typesafe]" mlflow
    python tests/decision_clients.py http://127.0.0.1:8700 openai typesafe-sdk mlflow

Prints a line for each client (all, unless some are named) and exits with 1 if one failed.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import sys
import traceback
from typing import Any, Literal

NOTE = "I was charged twice. Please refund me today."
ANSWER = "You will have your money back today."


def with_openai(base: str) -> Any:
    from openai import OpenAI

    questions: Any = [
        {"type": "predicate", "name": "refund", "instructions": "Does the writer ask for a refund?"},
        {"type": "choice", "instructions": "About?", "choices": [{"value": "billing"}, {"value": "weather"}]},
        {"type": "score", "instructions": "How urgent?", "levels": [{"label": "low"}, {"label": "high"}]},
    ]
    client = OpenAI(base_url=f"{base}/v1")
    decision = client.decisions.create(model="judge", input=NOTE, questions=questions)
    assert [model.id for model in client.models.list()] == [decision.model]
    return [answer.type for answer in decision.answers], decision.usage.input_tokens


def with_typesafe_sdk(base: str) -> Any:
    from typesafe_sdk import Choice, Noul, Score, TypeSafeClient

    with TypeSafeClient(base_url=base, timeout=60) as client:
        response = client.system_one(
            state={"note": NOTE},
            questions={
                "refund": Noul(instructions="Does `note` ask for a refund?"),
                "topic": Choice(instructions="What is `note` about?", criteria={"billing": None, "weather": None}),
                "urgency": Score(instructions="How urgent is `note`?", criteria=["low", "medium", "high"]),
            },
        )
        return response.answers, response.request_id, client.models.list().models


def with_litellm(base: str) -> Any:
    import litellm

    question = {"type": "predicate", "name": "refund", "instructions": "Does the writer ask for a refund?"}
    return [
        litellm.decisions(model=model, api_base=url, api_key="local", input=NOTE, questions=[question]).answers
        for model, url in (("openai/judge", f"{base}/v1"), ("typesafe/judge", base))
    ]


def with_mlflow(base: str) -> Any:
    from mlflow.genai import make_judge

    common: Any = {"base_url": f"{base}/v1"}
    refund = make_judge(
        name="refund",
        instructions="Does {{ outputs }} promise a refund?",
        feedback_value_type=bool,
        model="openai:/judge",
        model_api="decisions",
        **common,
    )
    tone = make_judge(
        name="tone",
        instructions="What is the tone of {{ outputs }}?",
        feedback_value_type=Literal["friendly", "rude"],
        model="typesafe:/judge",
        **common,
    )
    return [judge(inputs={"note": NOTE}, outputs=ANSWER).value for judge in (refund, tone)]


def with_dspy(base: str) -> Any:
    import dspy
    import dspy.experimental
    from dspy.adapters.types.decision import Noul, Score

    fields = {
        "note": (str, dspy.InputField()),
        "refund": (Noul, dspy.OutputField(desc="Does the note ask for a refund?")),
        "urgency": (Score["low", "medium", "high"], dspy.OutputField(desc="How urgent is the note?")),
    }
    signature = dspy.make_signature(fields, "Judge a support note.")
    model = dspy.experimental.TypeSafe("judge", base_url=base, timeout=60, cache=False)
    return dspy.Predict(signature)(note=NOTE, lm=model)


def with_deepeval(base: str) -> Any:
    os.environ["TYPESAFE_BASE_URL"] = base
    from deepeval.metrics import JevEval
    from deepeval.metrics.jev_eval import Noul
    from deepeval.test_case import LLMTestCase, SingleTurnParams

    metric = JevEval(
        name="refund",
        evaluation_params=[SingleTurnParams.INPUT, SingleTurnParams.ACTUAL_OUTPUT],
        questions=[Noul(statement="The output promises a refund.")],
        async_mode=False,
    )
    metric.measure(LLMTestCase(input=NOTE, actual_output=ANSWER))
    return metric.score


def with_autorubric(base: str) -> Any:
    from autorubric import DecisionModelConfig, Rubric
    from autorubric.graders import CriterionGrader

    rubric = Rubric.from_dict([{"requirement": "Promises a refund", "weight": 1.0}])
    grader = CriterionGrader(judge_model_config=DecisionModelConfig("judge", api_base=base, timeout=60))
    result = asyncio.run(rubric.grade(to_grade=ANSWER, grader=grader, query=NOTE))
    assert not [report.error for report in result.report if report.error]
    return result.score


CLIENTS = {
    "openai": with_openai,
    "typesafe-sdk": with_typesafe_sdk,
    "litellm": with_litellm,
    "mlflow": with_mlflow,
    "dspy": with_dspy,
    "deepeval": with_deepeval,
    "autorubric": with_autorubric,
}


def main(base: str, *names: str) -> int:
    os.environ |= {"TYPESAFE_API_KEY": "local", "OPENAI_API_KEY": "local", "DEEPEVAL_TELEMETRY_OPT_OUT": "YES"}
    failed = 0
    for name in names or CLIENTS:
        try:
            print(f"{name} {importlib.metadata.version(name)} works: {CLIENTS[name](base)!r:.300}")
        except Exception:  # noqa: BLE001  # the table wants all clients
            failed += 1
            print(f"{name} fails:")
            traceback.print_exc(limit=-3)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
