"""Do requests that begin alike reach the server close enough together for its prefix cache?

A server keeps what prompts begin with for as long as there is room. Cases of a file that is ordered by system under
test (all prompts of the first, then all of the second, ...) repeat each prompt far apart. Here they go through
`judge_batch` to a local server, whose order of arrival is read; what a cache with room for so many prompts would have
held, the oldest thrown out first, is then worked out on paper. Once with our order, once with the groups taken away.

    python benchmarks/prefix_order.py
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import OrderedDict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from servers import FakeOpenAI

from rewardanything_core import Case, from_endpoint
from rewardanything_core.backends.base import Completion, Request
from rewardanything_core.backends.endpoint.backend import EndpointBackend

PROMPTS, SYSTEMS = 400, 5


def hits(prompts: list[str], room: int) -> float:
    """The share of requests whose prompt is still in a cache with room for so many."""
    cache: OrderedDict[str, None] = OrderedDict()
    found = 0
    for prompt in prompts:
        found += prompt in cache
        cache[prompt] = None
        cache.move_to_end(prompt)
        if len(cache) > room:
            cache.popitem(last=False)
    return found / len(prompts)


class Ungrouped(EndpointBackend):
    """The backend without its groups."""

    async def complete(self, request: Request) -> Completion:
        """Ask for one reply."""
        return await super().complete(dataclasses.replace(request, group=None))


def main() -> None:
    """Judge twice, print the shares."""
    cases = [
        Case("p", f"question {prompt}", [f"system {system} on {prompt} says 3"])
        for system in range(SYSTEMS)
        for prompt in range(PROMPTS)
    ]
    print(f"{PROMPTS} prompts answered by {SYSTEMS} systems, in the order of the systems; at best .80 can hit")
    for name in ("as they came", "grouped"):
        with FakeOpenAI(latency=0.01) as server:
            judge = from_endpoint("hosted_vllm/fake", server.url, api_key="none", cache="off")
            if name == "as they came":
                judge.backend.__class__ = Ungrouped
            judge.judge_batch(cases)
            order = [json.loads(body["messages"][-1]["content"])["prompt"] for body in server.bodies]
        shares = ", ".join(f"room for {room}: {hits(order, room):.2f}" for room in (50, 100, 200, 399))
        print(f"{name:14} {shares}")


if __name__ == "__main__":
    main()
