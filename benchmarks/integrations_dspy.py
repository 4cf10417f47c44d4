"""Time per row of `dspy.Evaluate` with our metric, and with a metric that returns a constant.

    PYTHONPATH=integrations python benchmarks/integrations_dspy.py

The judge answers from a script, so the time is that of DSPy, the metric and the core (rendering and parsing).
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from typing import Any

import dspy

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_dspy import PrincipleMetric


class Echo(dspy.Module):
    def forward(self, question: str) -> Any:
        return dspy.Prediction(answer=question)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--threads", type=int, default=16)
    arguments = options.parse_args()
    logging.disable(logging.WARNING)

    judge = Judge(ScriptedBackend.scoring(lambda text: 1 + len(text) % 5), cache="off")
    storing = Judge(ScriptedBackend.scoring(lambda text: 1 + len(text) % 5), store=tempfile.mktemp(suffix=".sqlite"))
    metrics: dict[str, Any] = {
        "constant": lambda *_: 1.0,
        "judge, no store": PrincipleMetric("Be short.", judge=judge),
        "judge, every verdict stored": PrincipleMetric("Be short.", judge=storing),
    }
    devset = [dspy.Example(question=f"question {i}").with_inputs("question") for i in range(arguments.rows)]
    times: dict[str, list[float]] = {name: [] for name in metrics}  # milliseconds per row, one for each round
    for round_ in range(arguments.rounds):
        rows = [dspy.Example(question=f"{e.question}, round {round_}").with_inputs("question") for e in devset]
        for name, metric in metrics.items():
            start = time.perf_counter()
            dspy.Evaluate(devset=rows, metric=metric, num_threads=arguments.threads)(Echo())
            times[name].append((time.perf_counter() - start) / arguments.rows * 1000)
    constant = statistics.median(times["constant"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:<30} {median:7.3f} ms a row ({min(values):.3f} to {max(values):.3f})  x{median / constant:.2f}")


if __name__ == "__main__":
    main()
