"""What is the benefit of sending fewer requests to an overloaded server?

A local chat server accepts a limited number of requests at a time and rejects all others with 429. `judge_batch`, which
may have 64 requests in flight, judges once with a constant limit and once with the adaptive one.

    python benchmarks/endpoint_overload.py
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from servers import FakeOpenAI, Fault

from rewardanything_core import Case, Verdict, from_endpoint
from rewardanything_core.backends.endpoint.concurrency import AIMDLimit

adaptive = AIMDLimit.record


def constant(_: AIMDLimit, *, overloaded: bool) -> None:
    """Leave the limit unchanged."""


def main() -> None:
    """Judge with each limit and print the results."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--judgements", type=int, default=1000)
    options.add_argument("--room", type=int, default=16, help="requests that the server accepts at a time")
    given = options.parse_args()
    cases = [Case("p", f"question {i}", ["says 3"]) for i in range(given.judgements)]
    for name, record in (("constant limit", constant), ("adaptive limit", adaptive)):
        AIMDLimit.record = record  # type: ignore[method-assign]
        with FakeOpenAI(latency=0.05) as server:

            def reply(_: dict[str, Any], server: FakeOpenAI = server) -> Fault | None:
                return Fault.status(429) if server.in_flight > given.room else None

            server.reply = reply
            judge = from_endpoint("hosted_vllm/fake", server.url, api_key="none", cache="off")
            began = time.perf_counter()
            outcomes = judge.judge_batch(cases)
            seconds = time.perf_counter() - began
            judged = sum(isinstance(outcome, Verdict) for outcome in outcomes)
            rejected = server.count - judged
        print(
            f"{name:20} {judged} of {given.judgements} judged, {rejected / server.count:.0%} of {server.count} requests"
            f" rejected, {seconds:.1f} s"
        )


if __name__ == "__main__":
    main()
