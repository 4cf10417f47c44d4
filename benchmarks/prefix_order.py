"""Do requests with a common prefix arrive close enough together for the server's prefix cache?

A server caches the prefixes of prompts as long as there is room. In a file that is ordered by system under test (all
prompts of the first, then all of the second, ...) each prompt recurs far apart. The cases of such a file go through
`judge_batch` to a local server; from the order of arrival follows how many prompts a least-recently-used cache of some
size would have had. Once with prefix groups, once without.

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
    """The share of requests whose prompt is still in the cache.

    Args:
        prompts: The prompts in order of arrival.
        room: How many prompts the cache has room for.
    """
    cache: OrderedDict[str, None] = OrderedDict()
    hit = 0
    for prompt in prompts:
        hit += prompt in cache
        cache[prompt] = None
        cache.move_to_end(prompt)
        if len(cache) > room:
            cache.popitem(last=False)
    return hit / len(prompts)


class Ungrouped(EndpointBackend):
    """The backend without prefix groups."""

    async def complete(self, request: Request) -> Completion:
        """Request one reply."""
        return await super().complete(dataclasses.replace(request, prefix_group=None))


def main() -> None:
    """Judge twice and print the shares."""
    cases = [
        Case("p", f"question {prompt}", [f"system {system} on {prompt} says 3"])
        for system in range(SYSTEMS)
        for prompt in range(PROMPTS)
    ]
    print(
        f"{PROMPTS} prompts answered by {SYSTEMS} systems, in the order of the systems; the best possible share is .80"
    )
    for name in ("ungrouped", "grouped"):
        with FakeOpenAI(latency=0.01) as server:
            judge = from_endpoint("hosted_vllm/fake", server.url, api_key="none", cache="off")
            if name == "ungrouped":
                judge.backend.__class__ = Ungrouped
            judge.judge_batch(cases)
            order = [json.loads(body["messages"][-1]["content"])["prompt"] for body in server.bodies]
        shares = ", ".join(f"room for {room}: {hits(order, room):.2f}" for room in (50, 100, 200, 399))
        print(f"{name:14} {shares}")


if __name__ == "__main__":
    main()
