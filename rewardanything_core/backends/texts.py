"""Free texts from a model: many requests at a time, as an application would make them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Hashable, Iterator, Mapping
from concurrent.futures import Future, as_completed
from typing import TypeVar

from rewardanything_core.backends.base import Backend, Completion, Request
from rewardanything_core.backends.budget import Budget, spending
from rewardanything_core.backends.metered import MeteredBackend
from rewardanything_core.concurrency import background_loop
from rewardanything_core.errors import RewardAnythingError

Key = TypeVar("Key", bound=Hashable)

_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)


def without_thoughts(text: str) -> str:
    """A reply without the thoughts with which it begins, and without space around it."""
    return _THOUGHTS.sub("", text).strip()


def write_texts(
    backend: Backend, requests: Mapping[Key, Request], *, budget: Budget | None = None
) -> Iterator[tuple[Key, Completion | RewardAnythingError]]:
    """Send requests at the same time, and yield each completion or error when it is there.

    The answers are as a user would see them: a model's thoughts are not part of them. Leaving the loop cancels what is
    still in flight.

    Args:
        backend: The model.
        requests: The requests, by keys of the caller.
        budget: What they are paid from. None: nothing limits them.
    """
    paid = backend if budget is None or backend.reserves_requests else MeteredBackend(backend)
    futures: dict[Future[Completion], Key] = {
        background_loop.submit(_complete(paid, request, budget)): key for key, request in requests.items()
    }
    try:
        for future in as_completed(futures):
            try:
                completion = future.result()
            except RewardAnythingError as error:
                yield futures[future], error
            else:
                answer = without_thoughts(completion.answer)
                yield futures[future], dataclasses.replace(completion, answer=answer, reasoning=None, tokens=())
    finally:
        for future in futures:
            future.cancel()


async def _complete(backend: Backend, request: Request, budget: Budget | None) -> Completion:
    with spending(budget):
        return await backend.complete(request)
