"""Is a verdict lost, duplicated or given to the wrong case while the server fails, and how soon does it recover?

A local chat server fails a fifth of all requests (429, 500, connection reset, no reply) and is stopped for some seconds
in the middle. Each response contains its score, so that every verdict can be checked; the store is read to check that
each case was judged once. The server is that of the tests, in a separate process.

    python benchmarks/endpoint_under_faults.py --judgements 10000 --json faults.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from servers import HANG, RESET, FakeOpenAI, Fault

from rewardanything_core import Case, Verdict, VerdictStore, from_endpoint
from rewardanything_core.backends import verdict_reply

FAULTS = (Fault.status(429), Fault.status(500), RESET, HANG)


def final_score(body: Mapping[str, Any]) -> str:
    """A verdict in which each response has the score that it ends with."""
    responses = json.loads(body["messages"][-1]["content"])["responses"]
    return verdict_reply({name: int(text.split()[-1]) for name, text in responses.items()})


def serve(commands: Connection, rate: float, latency: float) -> None:
    """Start and stop the server on command, until the command None.

    Args:
        commands: Connection to the benchmark's process; each command is answered with the number of requests.
        rate: Share of requests that fail.
        latency: Seconds before each reply.
    """
    server = FakeOpenAI(final_score, fault_rate=rate, fault_kinds=FAULTS, latency=latency).start()
    commands.send(server.url)
    while (command := commands.recv()) is not None:
        if command == "stop":
            server.stop()
        elif command == "start":
            server.start()
        commands.send(server.count)
    server.stop()


def case(i: int) -> Case:
    """A case whose correct scores follow from its number."""
    return Case("p", f"question {i}", {f"a{i}": f"says {i % 5 + 1}", f"b{i}": f"{i} says {(i + 2) % 5 + 1}"}, id=str(i))


def is_correct(i: int, outcome: object) -> bool:
    """Whether a case has its own scores under its own labels.

    Args:
        i: The case's number.
        outcome: Its verdict or failure.
    """
    expected = {f"a{i}": i % 5 + 1, f"b{i}": (i + 2) % 5 + 1}
    return isinstance(outcome, Verdict) and outcome.scores == expected and outcome.case_id == str(i)


def main() -> None:
    """Judge, check the verdicts, print the results."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--judgements", type=int, default=10_000)
    options.add_argument("--fault-rate", type=float, default=0.2)
    options.add_argument("--latency", type=float, default=0.05)
    options.add_argument("--timeout", type=float, default=2.0, help="seconds after which an attempt times out")
    options.add_argument("--down", type=float, default=3.0, help="seconds for which the server is stopped")
    options.add_argument("--client", default="auto", help="litellm sends every request through LiteLLM")
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, given.fault_rate, given.latency), daemon=True)
    process.start()
    url = ours.recv()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "verdicts.sqlite3"
        settings = {"timeout": given.timeout, "attempts": 12, "store": store, "client": given.client}
        judge = from_endpoint("openai/fake", url, api_key="none", **settings)
        when: list[float] = []
        gone: list[float] = []
        outcomes: dict[int, object] = {}
        began = time.perf_counter()

        def restart() -> None:
            for command, wait in (("stop", given.down), ("start", 0.0)):
                ours.send(command)
                ours.recv()
                gone.append(time.perf_counter() - began)
                time.sleep(wait)

        outage = threading.Thread(target=restart)
        for index, outcome in judge.judge_stream((case(i) for i in range(given.judgements)), window=1000):
            assert index not in outcomes
            outcomes[index] = outcome
            when.append(time.perf_counter() - began)
            if len(when) == given.judgements // 2:
                outage.start()
        outage.join()
        seconds = time.perf_counter() - began
        ours.send("count")
        requests = ours.recv()
        ours.send(None)
        process.join(10)
        stored = VerdictStore(store).count()
    wrong = sum(not is_correct(i, outcome) for i, outcome in outcomes.items())
    results = {
        "judgements": given.judgements,
        "lost": given.judgements - len(outcomes),
        "wrong": wrong,
        "stored": stored,
        "requests": requests,
        "calls": judge.usage.calls,
        "seconds": round(seconds, 1),
        "gone_from_to": [round(moment, 1) for moment in gone],
        "first_verdict_after_return": round(min((t for t in when if t > gone[1]), default=gone[1]) - gone[1], 2),
        "verdicts_in_each_second": [Counter(int(t) for t in when)[second] for second in range(int(seconds) + 1)],
    }
    for name, value in results.items():
        print(f"{name}: {value}")
    if given.json:
        given.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
