"""Scripted judges that a process can import by name, and a helper to start such a process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

from rewardanything_core.backends import Request, verdict_reply
from rewardanything_core.backends.scripted import rubric_reply


def by_length(request: Request) -> str:
    """A score of 1..5 by length, so that a test can tell which score belongs to which response.

    Under a rubric it is the score for each criterion, or for one of yes or no 1 or 5.
    """
    content = json.loads(request.messages[1]["content"])
    scores = {name: min(5, max(1, len(text))) for name, text in content["responses"].items()}
    if "rubric" not in content:
        return verdict_reply(scores, thoughts="by length")
    yes_or_no = {name: 5 if score > 3 else 1 for name, score in scores.items()}

    def is_yes_or_no(rule: object) -> bool:
        return isinstance(rule, dict) and rule["scale"].get("5", "").startswith("yes")

    return rubric_reply({key: yes_or_no if is_yes_or_no(rule) else scores for key, rule in content["rubric"].items()})


async def slowly(request: Request) -> str:
    """`by_length` after 20 ms; adds a line to the file that ``CALLS`` names."""
    await asyncio.sleep(0.02)
    if "CALLS" in os.environ:
        with Path(os.environ["CALLS"]).open("a") as calls:
            calls.write(f"{time.time()}\n")
    return by_length(request)


async def counted(request: Request) -> str:
    """A score of 1 + length modulo 5, after ``SLOW`` seconds; adds the prompt to the file ``calls``.

    Prompts with ``FAIL`` get no verdict until the file ``repaired`` exists.
    """
    case = json.loads(request.messages[1]["content"])
    with Path("calls").open("a") as file:
        file.write(json.dumps(case["prompt"]) + "\n")
    await asyncio.sleep(float(os.environ.get("SLOW", "0")))
    if "FAIL" in str(case["prompt"]) and not os.access("repaired", os.F_OK):
        return "I would rather not."
    return verdict_reply({name: 1 + len(text) % 5 for name, text in case["responses"].items()}, thoughts="ö")


async def never(request: Request) -> str:
    """Does not reply."""
    await asyncio.Event().wait()
    raise AssertionError


def heed_ctrl_c() -> None:
    """For ``preexec_fn``: a shell starts background processes with Ctrl-C ignored, which their children inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def by_vowels(request: Request) -> str:
    """A score of 1..5 by the number of vowels: a juror that differs from `by_length`."""
    responses = json.loads(request.messages[1]["content"])["responses"]
    scores = {name: min(5, 1 + sum(letter in "aeiou" for letter in text)) for name, text in responses.items()}
    best = max(scores, key=lambda name: scores[name])
    return verdict_reply(scores, thoughts=f"{best} has the most vowels")


def mute(request: Request) -> str:
    """Replies without a verdict."""
    return "I would rather not say."


async def tarrying(request: Request) -> str:
    """`by_length` after one second; adds a line to the file that ``CALLS`` names at once."""
    with Path(os.environ["CALLS"]).open("a") as calls:
        calls.write(f"{time.time()}\n")
    await asyncio.sleep(1)
    return by_length(request)


async def placed(request: Request) -> str:
    """`by_length` after two seconds; writes its Ray node to the reasoning and, at once, to ``CALLS``."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    with Path(os.environ["CALLS"]).open("a") as calls:
        calls.write(f"{node}\n")
    await asyncio.sleep(2)
    responses = json.loads(request.messages[1]["content"])["responses"]
    return verdict_reply({name: min(5, max(1, len(text))) for name, text in responses.items()}, thoughts=node)


def picky(request: Request) -> str:
    """`by_length`, but without a verdict for prompts with ``FAIL``."""
    return mute(request) if "FAIL" in request.messages[1]["content"] else by_length(request)
