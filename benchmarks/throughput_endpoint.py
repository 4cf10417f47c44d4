"""How fast are judgements over HTTP, and how much client CPU time do they take? Ours, plain LiteLLM, and the peers.

A stub in a separate process replies to each request after 50 ms. Each arm (`endpoint_arms.py`) is a process too; all
are warmed up and then alternate, round by round, so that other load on the machine affects all of them. Medians over
the rounds are compared.

    python benchmarks/throughput_endpoint.py --json endpoint.json --plot endpoint.png
    python benchmarks/throughput_endpoint.py --arms ours litellm --rounds 9

``make test`` installs openevals and MLflow. DeepEval needs a separate environment:
``python -m venv peers && peers/bin/pip install deepeval``, then ``--deepeval-python peers/bin/python``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from endpoint_arms import ARMS, REPLIES
from stub_server import Stub

BARS = [
    ("ours", "litellm", "rate", 0.9, "at least"),
    ("ours", "litellm", "cpu", 1.3, "at most"),
    ("ours_through_litellm", "litellm_openai", "rate", 0.9, "at least"),
    ("ours_through_litellm", "litellm_openai", "cpu", 1.3, "at most"),
    ("ours", "openevals", "rate", 2.0, "at least"),
    ("ours", "openevals_client", "rate", 2.0, "at least"),
    ("ours", "deepeval", "rate", 5.0, "at least"),
    ("ours", "mlflow", "rate", 1.0, "at least"),
    ("ours_threads", "ours", "rate", 0.8, "at least"),
]


class Arm:
    """One process that judges on command.

    Args:
        name: Its name in `ARMS`.
        python: The interpreter.
        url: The stub's api_base.
        concurrency: Maximum number of requests in flight.
    """

    def __init__(self, name: str, python: str, url: str, concurrency: int) -> None:
        self.name = name
        self.seconds: list[float] = []
        self.cpu: list[float] = []
        command = [python, str(Path(__file__).with_name("endpoint_arms.py")), name, url, str(concurrency)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def judge(self, count: int, tag: str) -> dict[str, float]:
        """Judge new cases.

        Args:
            count: How many.
            tag: Part of their texts, so that they are new.

        Returns:
            ``seconds``, ``cpu`` (seconds) and ``judged``.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{count} {tag}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"The arm {self.name} stopped; run endpoint_arms.py {self.name} by hand to see why.")
        took: dict[str, float] = json.loads(line)
        if took["judged"] != count:
            sys.exit(f"The arm {self.name} judged {took['judged']} of {count}.")
        return took

    def measure(self, count: int, tag: str) -> None:
        """Judge new cases and record the time per case; arguments as for `judge`."""
        took = self.judge(count, tag)
        self.seconds.append(took["seconds"] / count)
        self.cpu.append(took["cpu"] / count)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def figures(self) -> dict[str, Any]:
        """Medians over the rounds, and the range of the rates."""
        rates = sorted(1 / seconds for seconds in self.seconds)
        return {
            "rate": 1 / statistics.median(self.seconds),
            "rate_range": [rates[0], rates[-1]],
            "cpu": 1000 * statistics.median(self.cpu),
        }


def compare(results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The ratios of the bars whose two arms ran.

    Args:
        results: Arm -> its figures.
    """
    lines = []
    for ours, theirs, what, bar, way in BARS:
        if ours in results and theirs in results:
            ratio = results[ours][what] / results[theirs][what]
            held = ratio >= bar if way == "at least" else ratio <= bar
            line = {"of": ours, "to": theirs, "what": what, "ratio": ratio, "bar": bar, "way": way, "held": held}
            lines.append(line)
    return lines


def plot(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Plot rate and CPU time of each arm.

    Args:
        results: Arm -> its figures.
        path: The image file.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 0.5 * len(results) + 1), sharey=True)
    names = list(reversed(results))
    left.barh(names, [results[name]["rate"] for name in names])
    left.set_xlabel("judgements a second")
    right.barh(names, [results[name]["cpu"] for name in names])
    right.set_xlabel("CPU ms a judgement")
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Measure, print the results, and write the files that were requested."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    options.add_argument("--judgements", type=int, default=500)
    options.add_argument("--concurrency", type=int, default=64)
    options.add_argument("--latency", type=float, default=0.05, help="seconds before each reply")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument(
        "--deepeval-python", help="interpreter of an environment with DeepEval; without it the arm is skipped"
    )
    options.add_argument("--json", type=Path)
    options.add_argument("--plot", type=Path, help="needs matplotlib")
    given = options.parse_args()
    names = [name for name in given.arms if name != "deepeval" or given.deepeval_python]
    arms: list[Arm] = []
    with Stub(REPLIES, latency=given.latency) as stub:
        try:
            for name in names:
                python = given.deepeval_python if name == "deepeval" else sys.executable
                arms.append(Arm(name, python, stub.url(ARMS[name][1]), given.concurrency))
                arms[-1].judge(2 * given.concurrency, "warm-up")
            for number in range(given.rounds):
                for arm in arms[number % len(arms) :] + arms[: number % len(arms)]:
                    arm.measure(given.judgements, f"round{number}")
                print(f"round {number + 1} of {given.rounds}", file=sys.stderr, flush=True)
        finally:
            for arm in arms:
                arm.close()
    results = {arm.name: arm.figures() for arm in arms}
    print(f"{'':22}{'judgements/s':>14}{'range':>14}{'CPU ms each':>13}")
    for name, figures in results.items():
        low, high = figures["rate_range"]
        print(f"{name:22}{figures['rate']:14.0f}{f'{low:.0f}-{high:.0f}':>14}{figures['cpu']:13.2f}")
    comparisons = compare(results)
    for line in comparisons:
        sign = "held" if line["held"] else "MISSED"
        print(f"{line['what']:5}{line['of']} / {line['to']}: {line['ratio']:.2f}, {line['way']} {line['bar']}: {sign}")
    if given.json:
        settings = {name: getattr(given, name) for name in ("judgements", "concurrency", "latency", "rounds")}
        given.json.write_text(json.dumps({**settings, "arms": results, "bars": comparisons}, indent=2) + "\n")
    if given.plot:
        plot(results, given.plot)


if __name__ == "__main__":
    main()
