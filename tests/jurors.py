"""Jurors of known noise for tests of ``ra-judge build``: the true quality is the number at the end of a response."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.backends import Request, verdict_reply

MOST, LEAST = "Prefer the highest number.", "Prefer the least number."


def quality(text: str, principle: str = MOST) -> float:
    """The quality of a response under a principle, 1..5."""
    number = float(text.split()[-1])
    return 6 - number if "least" in principle else number


def noisy(name: str, noise: float, *, first: float = 0.0, seconds: float = 0.0) -> Callable[[Request], Any]:
    """A juror with an error of its own on each response, and a bonus for the one that it sees first.

    It takes a random time up to ``seconds`` for each reply.

    It adds a line to the file ``calls``, and gives no verdict on prompts that have its name.
    """

    async def reply(request: Request) -> str:
        await asyncio.sleep(random.uniform(0, seconds))
        with Path("calls").open("a") as calls:
            calls.write(f"{name}\n")
        case = json.loads(request.messages[1]["content"])
        if name in str(case["prompt"]):
            return "I would rather not."
        scores = {}
        for place, (masked, text) in enumerate(case["responses"].items()):
            error = random.Random(f"{name}{case['prompt']}{case['principle']}{text}").gauss(0, noise)
            seen = quality(text, case["principle"]) + error + (first if place == 0 else 0.0)
            scores[masked] = round(min(5.0, max(1.0, seen)), 2)
        return verdict_reply(scores)

    return reply


NOISE = dict.fromkeys(("sharp", "fair", "dull"), 0.6)

sharp, fair, dull = (noisy(name, noise) for name, noise in NOISE.items())


def juror(name: str, reply: Callable[[Request], Any], **options: Any) -> Judge:
    """A judge that replies with a function."""
    return Judge(ScriptedBackend(reply, name=name), retries=0, **options)


def jury(*, seconds: float = 0.0, **options: Any) -> list[Judge]:
    """Three jurors, each of which takes up to so many seconds for a reply."""
    return [juror(name, noisy(name, noise, seconds=seconds), **options) for name, noise in NOISE.items()]


def prompts(number: int, *, close: float = 0.0, responses: int = 4) -> list[dict[str, Any]]:
    """Prompts with responses of random quality; the ids of those whose responses are about as good begin with close."""
    rng = random.Random(7)
    rows = []
    for place in range(number):
        is_close = rng.random() < close
        spread = 0.1 if is_close else 2.0
        numbers = [round(3 + rng.uniform(-spread, spread), 2) for _ in range(responses)]
        rows.append(
            {
                "id": f"{'close' if is_close else 'apart'}-{place}",
                "prompt": f"Question {place}?",
                "responses": {f"r{n}": f"About {value}" for n, value in enumerate(numbers)},
            }
        )
    return rows


def parrot(request: Request) -> str:
    """A model that writes a number from the sample's seed and the prompt."""
    with Path("written").open("a") as file:
        file.write(request.messages[-1]["content"] + "\n")
    return f"Roughly {1 + (request.sampling.seed + len(request.messages[-1]['content'])) % 5}"
