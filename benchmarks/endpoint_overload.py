"""What does it bring to ask less of a server that says it has too much to do?

A local chat server takes so many requests at a time and refuses all others with 429. `judge_batch` may have 64 in
flight, and asks it once with a limit that stays, once as it does by itself.

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
from rewardanything_core.backends.endpoint.concurrency import Pace

adapts = Pace.note


def stays(_: Pace, *, refused: bool) -> None:
    """Leave the limit as it is."""


def main() -> None:
    """Judge with each, print what came of it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--judgements", type=int, default=1000)
    options.add_argument("--room", type=int, default=16, help="requests that the server takes at a time")
    given = options.parse_args()
    cases = [Case("p", f"question {i}", ["says 3"]) for i in range(given.judgements)]
    for name, note in (("a limit that stays", stays), ("ours", adapts)):
        Pace.note = note  # type: ignore[method-assign]
        with FakeOpenAI(latency=0.05) as server:

            def reply(_: dict[str, Any], server: FakeOpenAI = server) -> Fault | None:
                return Fault.status(429) if server.in_flight > given.room else None

            server.reply = reply
            judge = from_endpoint("hosted_vllm/fake", server.url, api_key="none", cache="off")
            began = time.perf_counter()
            outcomes = judge.judge_batch(cases)
            seconds = time.perf_counter() - began
            judged = sum(isinstance(outcome, Verdict) for outcome in outcomes)
            refused = server.count - judged
        print(
            f"{name:20} {judged} of {given.judgements} judged, {refused / server.count:.0%} of {server.count} requests"
            f" refused, {seconds:.1f} s"
        )


if __name__ == "__main__":
    main()
