"""What a row costs with our evaluators, over the same run with evaluators that return a constant.

    PYTHONPATH=integrations python benchmarks/integrations_langchain.py

The judge answers from a script, so what is left is the host, our translation, and the core: rendering, parsing, engine.
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
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=200)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    logging.disable(logging.WARNING)

    judge = Judge(ScriptedBackend.scoring(lambda text: 1 + len(text) % 5), cache="off")
    client = Client(api_key="none", api_url="http://127.0.0.1:9", auto_batch_tracing=False)
    texts = [f"question {i}" for i in range(chosen.rows)]
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
        taken: tuple[list[float], list[float]] = ([], [])
        for _ in range(chosen.rounds):
            for call, times in zip((bare, ours), taken, strict=True):
                start = time.perf_counter()
                call()
                times.append((time.perf_counter() - start) / chosen.rows * 1000)
        was, now = map(statistics.median, taken)
        print(f"{name:<30} bare {was:7.3f}  ours {now:7.3f} ms a row  x{now / was:.2f}  (+{now - was:.3f} ms)")


if __name__ == "__main__":
    main()
