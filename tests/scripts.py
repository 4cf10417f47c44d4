"""Scripted judges that a process of its own can import by name, and how such a process is started."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

from rewardanything_core.backends import Request, verdict_reply


def by_length(request: Request) -> str:
    """1..5 by length, so that what belongs to which response can be checked."""
    responses = json.loads(request.messages[1]["content"])["responses"]
    return verdict_reply({name: min(5, max(1, len(text))) for name, text in responses.items()}, thoughts="by length")


async def slowly(request: Request) -> str:
    """`by_length` after 20 ms, leaving a line in the file that ``CALLS`` names."""
    await asyncio.sleep(0.02)
    if "CALLS" in os.environ:
        with Path(os.environ["CALLS"]).open("a") as calls:
            calls.write(f"{time.time()}\n")
    return by_length(request)


async def never(request: Request) -> str:
    """No reply, ever."""
    await asyncio.Event().wait()
    raise AssertionError


def heed_ctrl_c() -> None:
    """For ``preexec_fn``: a shell starts what runs in its background with Ctrl-C ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def by_vowels(request: Request) -> str:
    """1..5 by the number of vowels: another juror than `by_length`."""
    responses = json.loads(request.messages[1]["content"])["responses"]
    scores = {name: min(5, 1 + sum(letter in "aeiou" for letter in text)) for name, text in responses.items()}
    best = max(scores, key=lambda name: scores[name])
    return verdict_reply(scores, thoughts=f"{best} has the most vowels")


def mute(request: Request) -> str:
    """Never a verdict."""
    return "I would rather not say."


async def tarrying(request: Request) -> str:
    """`by_length` after one second, leaving a line in the file that ``CALLS`` names as soon as it is asked."""
    with Path(os.environ["CALLS"]).open("a") as calls:
        calls.write(f"{time.time()}\n")
    await asyncio.sleep(1)
    return by_length(request)


async def placed(request: Request) -> str:
    """`by_length` after two seconds, with the node of Ray it ran on as its reasoning and, at once, in ``CALLS``."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    with Path(os.environ["CALLS"]).open("a") as calls:
        calls.write(f"{node}\n")
    await asyncio.sleep(2)
    responses = json.loads(request.messages[1]["content"])["responses"]
    return verdict_reply({name: min(5, max(1, len(text))) for name, text in responses.items()}, thoughts=node)


def picky(request: Request) -> str:
    """`by_length`, but no verdict where the prompt has ``FAIL`` in it."""
    return mute(request) if "FAIL" in request.messages[1]["content"] else by_length(request)
