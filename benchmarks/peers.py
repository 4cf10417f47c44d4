"""Compare judges of other packages on the same model behind the same server: accuracy against people, and cost.

    python benchmarks/peers.py DATA_FOLDER --gguf FILE [--toy 6] [--llmbar 6] [--deepeval-python OTHER/bin/python]

Starts llama.cpp's server (from the wheel xllamacpp) and judges the toy flips of `toy_flips.py` and pairs of LLMBar with
this package's judge, which sees the whole list, under both readouts; and with DeepEval's `GEval` and MLflow's
`make_judge`, which see one response at a time. The principle is GEval's evaluation step and the judge's instruction, so
that each sends one request per response. DeepEval may be in another environment. Prints the share of pairs right (a tie
counts half), of flip questions, and of flips with both questions right; failures; seconds relative to the written
readout; and the server's token counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ARMS = ("written", "read", "deepeval", "mlflow")
Scores = dict[str, float] | None
"""Scores by label. None: the row failed."""


def written(url: str) -> Callable[[dict[str, Any]], Scores]:
    return ours(url, readout="generate")


def read(url: str) -> Callable[[dict[str, Any]], Scores]:
    return ours(url, readout="logits")


def ours(url: str, **options: Any) -> Callable[[dict[str, Any]], Scores]:
    from rewardanything_core import Verdict, from_endpoint
    from rewardanything_core.sampling import SamplingParams

    if options["readout"] == "generate":
        options["sampling"] = SamplingParams(thinking_budget=0)
    judge = from_endpoint("openai/judge", api_base=url, api_key="none", timeout=600, cache="off", **options)

    def score(row: dict[str, Any]) -> Scores:
        (outcome,) = judge.judge_batch(
            [{"principle": row["principle"], "prompt": row["prompt"], "responses": row["responses"]}]
        )
        return outcome.scores if isinstance(outcome, Verdict) else None

    return score


def deepeval(url: str) -> Callable[[dict[str, Any]], Scores]:
    from deepeval.metrics import GEval
    from deepeval.models import OpenAIModel
    from deepeval.test_case import LLMTestCase, SingleTurnParams

    model = OpenAIModel(model="judge", base_url=url, api_key="none", temperature=0)

    def score(row: dict[str, Any]) -> Scores:
        scores = {}
        for label, text in row["responses"].items():
            metric = GEval(
                name="principle",
                evaluation_steps=[row["principle"]],
                evaluation_params=[SingleTurnParams.INPUT, SingleTurnParams.ACTUAL_OUTPUT],
                model=model,
                async_mode=False,
            )
            metric.measure(LLMTestCase(input=row["prompt"], actual_output=text), _show_indicator=False)
            scores[label] = float(metric.score)
        return scores

    return score


def mlflow(url: str) -> Callable[[dict[str, Any]], Scores]:
    from mlflow.genai.judges import make_judge

    os.environ.setdefault("OPENAI_API_KEY", "none")  # required, although the server ignores it

    def score(row: dict[str, Any]) -> Scores:
        judge = make_judge(
            name="principle",
            instructions=f"{row['principle']}\n\nQuestion: {{{{ inputs }}}}\n\nAnswer: {{{{ outputs }}}}\n\n"
            "Give a score from 1 (worst) to 5 (best).",
            model="openai:/judge",
            base_url=f"{url}/chat/completions",  # make_judge expects the full address
            feedback_value_type=int,
        )
        scores = {}
        for label, text in row["responses"].items():
            value = judge(inputs={"question": row["prompt"]}, outputs={"answer": text}).value
            if value is None:
                return None
            scores[label] = float(value)
        return scores

    return score


def arm(name: str, url: str) -> None:
    """Judge the rows on standard input; writes one line of JSON for each."""
    output, sys.stdout = sys.stdout, sys.stderr  # libraries may print to standard output
    score = globals()[name](url)
    for line in sys.stdin:
        row = json.loads(line)
        started = time.perf_counter()
        try:
            scores, error = score(row), None
        except Exception as caught:  # noqa: BLE001
            scores, error = None, f"{type(caught).__name__}: {caught}"[:200]
        result = {"id": row["id"], "scores": scores, "error": error, "seconds": time.perf_counter() - started}
        print(json.dumps(result), file=output, flush=True)


def token_counts(url: str) -> tuple[int, int]:
    """The server's counts of prompt tokens and generated tokens so far."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/metrics", timeout=60) as reply:
        lines = reply.read().decode().splitlines()
    metrics = {line.split()[0]: float(line.split()[1]) for line in lines if line and not line.startswith("#")}
    return int(metrics["llamacpp:prompt_tokens_total"]), int(metrics["llamacpp:tokens_predicted_total"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--toy", type=int, default=6, help="number of toy flips")
    parser.add_argument("--llmbar", type=int, default=6, help="number of pairs of LLMBar")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--deepeval-python", default=sys.executable)
    parser.add_argument("--results", type=Path, help="append the results of each arm to this file")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.arm:
        arm(arguments.arm, arguments.url)
        return
    from readouts import right, sampled, toy

    from rewardanything_core.agreement.intervals import mean

    rows, flips = toy()
    rows, flips = rows[: 2 * arguments.toy], flips[: arguments.toy]
    rows += sampled(arguments.data, "llmbar", arguments.llmbar)[0] if arguments.llmbar else []
    pairs = [(row, a, b) for row in rows for a, b in row["pairs"]]
    print("| judge | pairs right (n) | flip questions | both right | failed | relative seconds | tokens in, out |")
    print("|---|---|---|---|---|---|---|", flush=True)
    first = None
    with Server(arguments.gguf) as server:
        for name in arguments.arms.split(","):
            before = token_counts(server.url)
            python = arguments.deepeval_python if name == "deepeval" else sys.executable
            command = [python, __file__, "--arm", name, "--url", server.url]
            lines = "\n".join(map(json.dumps, rows))
            process = subprocess.run(command, input=lines, stdout=subprocess.PIPE, text=True, check=True)
            results = [json.loads(line) for line in process.stdout.splitlines()]
            if arguments.results:
                with arguments.results.open("a") as file:
                    file.writelines(json.dumps({"arm": name, **result}) + "\n" for result in results)
            after = token_counts(server.url)
            scores = {result["id"]: result["scores"] for result in results}

            def gap(pair: tuple[Any, str, str], scores: dict[str, Scores] = scores) -> float:
                row, better, worse = pair
                by_label = scores[row["id"]]
                return by_label[better] - by_label[worse] if by_label else 0.0

            seconds = sum(result["seconds"] for result in results)
            first = first or seconds
            all_pairs = mean([right(gap(p)) for p in pairs], [p[0]["group"] for p in pairs])
            flip_pairs = [pair for flip in flips for pair in flip]
            questions = mean([right(gap(p)) for p in flip_pairs], [p[0]["group"] for p in flip_pairs])
            both = mean([float(min(map(gap, flip)) > 0) for flip in flips], [flip[0][0]["group"] for flip in flips])
            failed = sum(by_label is None for by_label in scores.values())
            cells = [f"{e.value:.2f} ({e.low:.2f} to {e.high:.2f}; {e.n})" for e in (all_pairs, questions, both) if e.n]
            usage = f"{after[0] - before[0]:,}, {after[1] - before[1]:,}"
            print(f"| {name} | {' | '.join(cells)} | {failed} | {seconds / first:.2f} | {usage} |", flush=True)
            if error := next((result for result in results if result["error"]), None):
                print(f"  {error['id']}: {error['error']}")


class Server:
    """Context manager: llama.cpp's server in a child process, with one thread."""

    def __init__(self, gguf: Path) -> None:
        import socket

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._gguf, self.url = gguf, f"http://127.0.0.1:{self._port}/v1"

    def __enter__(self) -> Server:
        code = (
            "import sys, time, xllamacpp as x; p = x.CommonParams(); p.model.path = sys.argv[1]; p.n_ctx = 8192; "
            "p.n_parallel = 1; p.cpuparams.n_threads = 1; p.cpuparams_batch.n_threads = 1; p.endpoint_metrics = True; "
            "p.port = int(sys.argv[2]); s = x.Server(p); time.sleep(1e6)"
        )
        command = [sys.executable, "-c", code, str(self._gguf), str(self._port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                token_counts(self.url)
                return self
            except OSError:
                time.sleep(0.2)
        raise RuntimeError("The model server did not come up.")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


if __name__ == "__main__":
    main()
