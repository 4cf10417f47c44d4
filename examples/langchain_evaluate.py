"""The judge in LangChain and LangSmith, with the built-in model on this machine's CPU; nothing leaves the machine.

    pip install ".[local,langchain]" langchain-classic
    python examples/langchain_evaluate.py           # about a minute; the judge is downloaded once

Set RA_JUDGE_MODEL, or write a ra-judge.toml, for another judge. The built-in one is small and only meant for a first
look.
"""

from __future__ import annotations

import os
import uuid
from textwrap import indent

from langchain_core.runnables import RunnableLambda
from langsmith import Client, evaluate
from langsmith.schemas import Example

from rewardanything_langchain import BestOfN, JudgeRunnable, PrinciplePairwiseEvaluator, principle_evaluator

PRINCIPLE = "Answer the question in one short sentence. Longer answers are worse."
QUESTION = "What is the capital of France?"
SHORT, LONG = (
    "Paris.",
    "That is a good question. After some thought I am fairly sure that it must be Paris, or so I read.",
)


def main() -> None:
    """Judge with each of the four interfaces."""
    os.environ.setdefault("LANGSMITH_TRACING", "false")

    print("As a Runnable")
    judge = JudgeRunnable(principle=PRINCIPLE)
    (verdict,) = judge.batch([{"prompt": QUESTION, "responses": {"short": SHORT, "long": LONG}}])
    print("  " + ", ".join(f"{label} {score:.2f}" for label, score in verdict.scores.items()))
    print(indent(verdict.explanation, "  "))

    print("As a pairwise evaluator")
    pairwise = PrinciplePairwiseEvaluator(principle=PRINCIPLE)
    result = pairwise.evaluate_string_pairs(input=QUESTION, prediction=SHORT, prediction_b=LONG)
    print(f"  value={result['value']} score={result['score']}")

    print("As best of n")
    drafts = iter([LONG, SHORT, LONG + " I hope this helps!"])
    best = BestOfN(candidates=RunnableLambda(lambda _: next(drafts)), n=3, principle=PRINCIPLE)
    print(f"  {best.invoke(QUESTION)}")

    print("In langsmith.evaluate, offline")
    results = evaluate(
        lambda _: {"answer": SHORT},
        data=[Example(id=uuid.uuid4(), inputs={"question": QUESTION}, dataset_id=uuid.uuid4())],
        evaluators=[principle_evaluator(PRINCIPLE, key="concise")],
        client=Client(api_key="none", api_url="http://127.0.0.1:9", auto_batch_tracing=False),
        upload_results=False,
    )
    for row in results:
        for feedback in row["evaluation_results"]["results"]:
            print(f"  {feedback.key}={feedback.score:.2f}\n" + indent(str(feedback.comment), "  "))


if __name__ == "__main__":
    main()
