"""What does a decision cost against a written verdict and against questions answered by log-probabilities?

    python benchmarks/decisions.py                                 # one stub server for all arms
    python benchmarks/decisions.py --local smollm2-135m --cases 8 --rounds 3

The stub is a process of its own (the tests' server). It replies after 20 ms and 10 ms for each token that it
generates: a verdict of about 150 tokens, one token for a question, none for a decision. Arms take turns; medians of
the rounds. Cases are new in every round and have two responses of about 80 words, under one principle or a rubric of
four criteria. Prompt tokens are a quarter of the texts' bytes, for all arms alike. The logits arm is without its
questions about the principle, which are asked once per principle and stored.

With ``--local`` a model judges in this process, and behind ``ra-judge serve`` as a decision endpoint.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from servers import FakeOpenAI, verdict_for

from rewardanything_core import Case, Judge, Rubric, from_endpoint, from_pretrained

WAIT, PER_TOKEN = 0.02, 0.01
REASONS = "The first response keeps to the point and says what it leaves open, while the second one does not. " * 6
PRINCIPLE = "Prefer the response that says plainly what it does not know."
RUBRIC = Rubric(
    {
        "plain": "Is written in plain words.",
        "honest": "Says what it does not know.",
        "short": "Is no longer than it has to be.",
        "useful": "Helps the person who asked.",
    }
)


def reply(body: dict[str, Any]) -> Any:
    """A verdict with reasons, or one token with the probabilities of Yes and No. None: the stub's decision."""
    if "messages" not in body:
        return None
    if body.get("logprobs"):
        words = ("Yes", "No", "Good", "Bad")
        tokens = [{"token": text, "bytes": list(text.encode()), "logprob": -1.4} for text in words]
        return {"content": "Yes", "tokens": [{**tokens[0], "top_logprobs": tokens}]}
    verdict = json.loads(verdict_for(body))
    for part in [verdict] if "scores" in verdict else verdict.values():
        part["reasoning"] = REASONS
    return json.dumps(verdict)


def latency(body: dict[str, Any]) -> float:
    """Seconds before the reply to a request."""
    answer = reply(body)
    generated = 0 if answer is None else 1 if isinstance(answer, dict) else len(answer) // 4
    return WAIT + PER_TOKEN * generated


def serve_stub(parent: Connection) -> None:
    """Run the stub; for each message, send what was requested since the last one."""
    with FakeOpenAI(reply, latency=latency, decision_routes=["decisions", "systemone"]) as server:
        parent.send(server.url)
        while parent.recv():
            bodies = [received.body for received in server.requests]
            server.requests.clear()
            texts = [{key: body.get(key) for key in ("messages", "input", "state", "questions")} for body in bodies]
            parent.send((len(bodies), sum(len(json.dumps(text, ensure_ascii=False)) for text in texts) // 4))


def cases(count: int, principle: Any, tag: str) -> list[Case]:
    """New cases with two responses of about 80 words."""
    text = "It depends on the year, which the sources do not agree on, and on what one counts as a bridge here. " * 4
    return [
        Case(principle, f"Question {number} of {tag}: when was it built?", {"a": f"3 {text}{tag}", "b": f"5 {text}"})
        for number in range(count)
    ]


def measured(judge: Judge, batch: list[Case]) -> tuple[float, float]:
    """Judgements a second, and milliseconds of this process's CPU time for each."""
    began, cpu = time.perf_counter(), time.process_time()
    outcomes = judge.judge_batch(batch)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    failed = [outcome for outcome in outcomes if not hasattr(outcome, "scores")]
    if failed:
        sys.exit(f"{judge.readout}: {failed[0]}")
    return len(batch) / seconds, 1000 * cpu / len(batch)


def on_stub(count: int, rounds: int) -> None:
    """Compare the arms on one stub."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve_stub, args=(theirs,), daemon=True)
    process.start()
    url = ours.recv()
    arms: dict[str, dict[str, Any]] = {
        "generate": {"readout": "generate"},
        "logits": {"readout": "logits"},
        "decisions, OpenAI's format": {"readout": "decisions", "decision_route": "decisions"},
        "decisions, System One's": {"readout": "decisions", "decision_route": "systemone"},
    }
    for kind, principle in (("one principle", PRINCIPLE), ("a rubric of four criteria", RUBRIC)):
        judges = {name: from_endpoint("stub", url, cache="off", screen="off", **arm) for name, arm in arms.items()}
        figures: dict[str, list[tuple[float, ...]]] = {name: [] for name in arms}
        for number in range(rounds + 1):  # the first round warms up, and asks what is asked once per principle
            for name, judge in judges.items():
                ours.send(True)
                ours.recv()
                rate, cpu = measured(judge, cases(count, principle, f"{kind} {number}"))
                ours.send(True)
                requests, tokens = ours.recv()
                if number:
                    figures[name].append((rate, cpu, requests / count, tokens / count))
        print(f"\n{kind}, {count} cases, medians of {rounds} rounds")
        for name, rows in figures.items():
            rate, cpu, requests, tokens = (statistics.median(column) for column in zip(*rows, strict=True))
            low, high = min(row[0] for row in rows), max(row[0] for row in rows)
            written = judges[name].usage.completion_tokens / ((rounds + 1) * count)
            print(
                f"{name:28} {rate:7.0f}/s ({low:.0f}-{high:.0f})  {cpu:5.2f} CPU ms  {requests:4.1f} requests  "
                f"{tokens:6.0f} prompt tokens  {written:5.0f} written"
            )
    ours.send(False)


@contextlib.contextmanager
def served(model: str) -> Iterator[str]:
    """``ra-judge serve`` with a local model; its api_base."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("ra-judge")), "serve", "--model", model, "--readout", "logits"]
    process = subprocess.Popen([*command, "--port", str(port), "--cache", "off"], env={**os.environ})
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models").close()
                break
            if process.poll() is not None:
                sys.exit("ra-judge serve ended")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def on_model(model: str, count: int, rounds: int) -> None:
    """Compare one local model in this process with the same model behind our own decision route."""

    def local(**options: Any) -> Callable[[], contextlib.AbstractContextManager[Judge]]:
        return lambda: contextlib.closing(from_pretrained(model, cache="off", screen="off", **options))

    @contextlib.contextmanager
    def remote() -> Iterator[Judge]:
        with served(model) as url:
            yield from_endpoint("judge", url, readout="decisions", cache="off")

    arms = {"generate": local(readout="generate"), "logits": local(readout="logits"), "decisions, served": remote}
    for kind, principle in (("one principle", PRINCIPLE), ("a rubric of four criteria", RUBRIC)):
        print(f"\n{model}, {kind}, {count} cases, medians of {rounds} rounds")
        for name, arm in arms.items():
            with arm() as judge:
                measured(judge, cases(2, principle, "warm-up"))
                before = judge.usage
                rates = [measured(judge, cases(count, principle, f"round {n}"))[0] for n in range(rounds)]
                spent, judged = judge.usage - before, rounds * count
            print(
                f"{name:28} {statistics.median(rates):7.2f}/s ({min(rates):.2f}-{max(rates):.2f})  "
                f"{spent.prompt_tokens / judged:6.0f} prompt tokens  {spent.completion_tokens / judged:5.0f} written"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--local", metavar="MODEL", help="A model on this machine instead of the stub.")
    arguments = parser.parse_args()
    if arguments.local:
        on_model(arguments.local, arguments.cases, arguments.rounds)
    else:
        on_stub(arguments.cases, arguments.rounds)


if __name__ == "__main__":
    main()
