"""Time per row of the LangChain integration, compared with evaluators that return a constant.

    PYTHONPATH=integrations python benchmarks/integrations_langchain.py

The judge is scripted, so the time is that of the host, the integration, and the core's rendering and parsing.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import time
import uuid
from collections.abc import Callable
from typing import Any

os.environ["LANGSMITH_TRACING"] = "false"

from langchain_classic.evaluation.schema import StringEvaluator
from langchain_core.runnables import RunnableLambda
from langsmith import Client, evaluate
from langsmith.schemas import Example

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_langchain import JudgeRunnable, PrincipleEvaluator, principle_evaluator


class Constant(StringEvaluator):
    def _evaluate_strings(self, **_: Any) -> dict[str, Any]:
        return {"score": 1.0}


def constant(inputs: Any, outputs: Any) -> dict[str, Any]:
    return {"key": "constant", "score": 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)

    judge = Judge(ScriptedBackend.scoring(lambda text: 1 + len(text) % 5), cache="off")
    client = Client(api_key="none", api_url="http://127.0.0.1:9", auto_batch_tracing=False)
    texts = [f"question {i}" for i in range(arguments.rows)]
    data = [Example(id=uuid.uuid4(), inputs={"q": text}, dataset_id=uuid.uuid4()) for text in texts]
    rows = [{"prompt": text, "responses": {"a": text}} for text in texts]
    judged = principle_evaluator("Be short.", judge=judge)

    def langsmith(evaluator: Any) -> None:
        target: Any = lambda inputs: {"answer": inputs["q"]}  # noqa: E731
        list(
            evaluate(target, data=data, evaluators=[evaluator], client=client, upload_results=False, max_concurrency=16)
        )

    def strings(evaluator: StringEvaluator) -> None:
        for text in texts:
            evaluator.evaluate_strings(input=text, prediction=text)

    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "langsmith.evaluate": (lambda: langsmith(constant), lambda: langsmith(judged)),
        "Runnable.batch": (
            lambda: RunnableLambda(lambda row: row).batch(rows),
            lambda: JudgeRunnable(principle="Be short.", judge=judge).batch(rows),
        ),
        "evaluate_strings, one by one": (
            lambda: strings(Constant()),
            lambda: strings(PrincipleEvaluator(principle="Be short.", judge=judge)),
        ),
    }
    for name, (bare, ours) in pairs.items():
        milliseconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(arguments.rounds):
            for call, times in zip((bare, ours), milliseconds, strict=True):
                start = time.perf_counter()
                call()
                times.append((time.perf_counter() - start) / arguments.rows * 1000)
        bare_time, our_time = map(statistics.median, milliseconds)
        figures = f"bare {bare_time:7.3f}  ours {our_time:7.3f} ms a row  x{our_time / bare_time:.2f}"
        print(f"{name:<30} {figures}  (+{our_time - bare_time:.3f} ms)")


if __name__ == "__main__":
    main()
