"""What is on its way through a backend's thread: asked for on an event loop, and answered there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rewardanything_core.backends.base import ChoiceRequest, ChoiceResult, Completion, Request

T = TypeVar("T")


@dataclass(eq=False)
class Errand(Generic[T]):
    """Something on its way through the backend's thread."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[T]

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future.cancelled()

    def succeed(self, result: T) -> None:
        """Hand the result to who waits, from any thread."""
        self._settle(lambda: self.future.set_result(result))

    def fail(self, error: Exception) -> None:
        """Hand an error to who waits, from any thread."""
        self._settle(lambda: self.future.set_exception(error))

    def _settle(self, act: Any) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(lambda: None if self.future.done() else act())


@dataclass(eq=False)
class Job(Errand[Completion]):
    """A request for a reply."""

    request: Request


@dataclass(eq=False)
class Inquiry(Errand[ChoiceResult]):
    """Questions to be read off."""

    questions: tuple[ChoiceRequest, ...]

    @property
    def size(self) -> int:
        """Characters, roughly what it costs."""
        return sum(len(message["content"]) for question in self.questions for message in question.messages)
