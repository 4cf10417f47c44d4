"""The same model behind the same server, asked by us and by others: who orders pairs as people do, at what price?

    python benchmarks/peers.py DATA_FOLDER --gguf FILE [--toy 6] [--llmbar 6] [--deepeval-python OTHER/bin/python]

Starts llama.cpp's server (of the wheel xllamacpp) and asks about the toy flips of `toy_flips.py` and pairs of LLMBar:
our judge, which reads a whole list, written and read off; DeepEval's `GEval` and MLflow's `make_judge`, which see one
response at a time. The principle is GEval's evaluation step and the judge's instruction, so that each asks once for
each response. DeepEval may live in another environment. Prints the share of pairs right (a tie counts half), of flip
questions, of flips right on both sides, failures, seconds as a ratio to our written readout, and the tokens that the
server counted.
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

    def one(row: dict[str, Any]) -> Scores:
        (outcome,) = judge.judge_batch(
            [{"principle": row["principle"], "prompt": row["prompt"], "responses": row["responses"]}]
        )
        return outcome.scores if isinstance(outcome, Verdict) else None

    return one


def deepeval(url: str) -> Callable[[dict[str, Any]], Scores]:
    from deepeval.metrics import GEval
    from deepeval.models import OpenAIModel
    from deepeval.test_case import LLMTestCase, SingleTurnParams

    model = OpenAIModel(model="judge", base_url=url, api_key="none", temperature=0)

    def one(row: dict[str, Any]) -> Scores:
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

    return one


def mlflow(url: str) -> Callable[[dict[str, Any]], Scores]:
    from mlflow.genai.judges import make_judge

    os.environ.setdefault("OPENAI_API_KEY", "none")  # it insists on one

    def one(row: dict[str, Any]) -> Scores:
        judge = make_judge(
            name="principle",
            instructions=f"{row['principle']}\n\nQuestion: {{{{ inputs }}}}\n\nAnswer: {{{{ outputs }}}}\n\n"
            "Give a score from 1 (worst) to 5 (best).",
            model="openai:/judge",
            base_url=f"{url}/chat/completions",  # it is taken as the whole address
            feedback_value_type=int,
        )
        scores = {}
        for label, text in row["responses"].items():
            value = judge(inputs={"question": row["prompt"]}, outputs={"answer": text}).value
            if value is None:
                return None
            scores[label] = float(value)
        return scores

    return one


def arm(name: str, url: str) -> None:
    """Judge the rows on standard input; a line of JSON for each."""
    said, sys.stdout = sys.stdout, sys.stderr  # for whatever the libraries have to say
    one = globals()[name](url)
    for line in sys.stdin:
        row = json.loads(line)
        began = time.perf_counter()
        try:
            scores, error = one(row), None
        except Exception as caught:  # noqa: BLE001
            scores, error = None, f"{type(caught).__name__}: {caught}"[:200]
        took = time.perf_counter() - began
        print(json.dumps({"id": row["id"], "scores": scores, "error": error, "seconds": took}), file=said, flush=True)


def tokens(url: str) -> tuple[int, int]:
    """How many tokens the server has read and written so far."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/metrics", timeout=60) as reply:
        lines = reply.read().decode().splitlines()
    found = {line.split()[0]: float(line.split()[1]) for line in lines if line and not line.startswith("#")}
    return int(found["llamacpp:prompt_tokens_total"]), int(found["llamacpp:tokens_predicted_total"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--toy", type=int, default=6, help="flips")
    parser.add_argument("--llmbar", type=int, default=6, help="pairs")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--deepeval-python", default=sys.executable)
    parser.add_argument("--keep", type=Path, help="write what each arm said to this file")
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
    print("| asked by | pairs right (n) | flip questions | both right | failed | seconds, of written | read, written |")
    print("|---|---|---|---|---|---|---|", flush=True)
    first = None
    with Server(arguments.gguf) as server:
        for name in arguments.arms.split(","):
            before = tokens(server.url)
            python = arguments.deepeval_python if name == "deepeval" else sys.executable
            command = [python, __file__, "--arm", name, "--url", server.url]
            lines = "\n".join(map(json.dumps, rows))
            done = subprocess.run(command, input=lines, stdout=subprocess.PIPE, text=True, check=True)
            said = {one["id"]: one for one in map(json.loads, done.stdout.splitlines())}
            if arguments.keep:
                with arguments.keep.open("a") as file:
                    file.writelines(json.dumps({"arm": name, **one}) + "\n" for one in said.values())
            after = tokens(server.url)
            scores = {key: one["scores"] for key, one in said.items()}

            def gap(pair: tuple[Any, str, str], scores: dict[str, Scores] = scores) -> float:
                row, better, worse = pair
                found = scores[row["id"]]
                return found[better] - found[worse] if found else 0.0

            seconds = sum(one["seconds"] for one in said.values())
            first = first or seconds
            every = mean([right(gap(p)) for p in pairs], [p[0]["group"] for p in pairs])
            asked = [(right(gap(p)), p[0]["group"]) for flip in flips for p in flip]
            questions = mean([v for v, _ in asked], [g for _, g in asked])
            both = mean([float(min(map(gap, flip)) > 0) for flip in flips], [flip[0][0]["group"] for flip in flips])
            failed = sum(found is None for found in scores.values())
            cells = [f"{e.value:.2f} ({e.low:.2f} to {e.high:.2f}; {e.n})" for e in (every, questions, both) if e.n]
            spent = f"{after[0] - before[0]:,}, {after[1] - before[1]:,}"
            print(f"| {name} | {' | '.join(cells)} | {failed} | {seconds / first:.2f} | {spent} |", flush=True)
            for one in said.values():
                if one["error"]:
                    print(f"  {one['id']}: {one['error']}")
                    break


class Server:
    """llama.cpp's server in a process of its own, one thread, until it is left."""

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
                tokens(self.url)
                return self
            except OSError:
                time.sleep(0.2)
        raise RuntimeError("The model server did not come up.")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


if __name__ == "__main__":
    main()
