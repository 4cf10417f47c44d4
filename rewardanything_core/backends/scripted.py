"""A backend that says what it is told to: for testing what you build on a judge, without a model."""

from __future__ import annotations

import importlib
import inspect
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from rewardanything_core.backends.base import (
    Backend,
    ChoiceProbabilities,
    ChoiceRequest,
    ChoiceResult,
    Completion,
    Request,
)
from rewardanything_core.errors import BackendError, ConfigError
from rewardanything_core.types import Usage


class ScriptedBackend(Backend):
    """Replies from a list, in order, or from a function of the request.

    >>> backend = ScriptedBackend(['{"scores": {"model-1": 4}, "best-to-worst": ["model-1"]}'])

    Args:
        replies: A sequence of replies, or a function (sync or async) from a `Request` to one. A reply is the text a
            model would write, a `Completion`, or an exception to raise.
        name: The model's name in verdicts.
        odds: For ``readout="logits"``: a function from a `ChoiceRequest` to option -> probability. None: it gives none.
    """

    def __init__(
        self,
        replies: Sequence[Reply] | Callable[[Request], Any],
        *,
        name: str = "scripted",
        odds: Callable[[ChoiceRequest], Mapping[str, float]] | None = None,
    ) -> None:
        self._replies = replies
        self._odds = odds
        self._name = name
        self.calls = 0
        """How many requests came in."""
        self.requests: deque[Request] = deque(maxlen=100)
        """The latest requests, oldest first."""
        self.questions: deque[ChoiceRequest] = deque(maxlen=1000)
        """The latest questions of which odds were asked, oldest first."""

    @classmethod
    def scoring(cls, score: Callable[[str], float], *, name: str = "scripted") -> ScriptedBackend:
        """A judge that gives each response the score that a function of its text returns, 1..5."""

        def reply(request: Request) -> str:
            responses = json.loads(request.messages[1]["content"])["responses"]
            return verdict_reply({masked: score(text) for masked, text in responses.items()})

        return cls(reply, name=name)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """A backend whose ``replies`` are a list, or ``module:function`` for a function that can be imported.

        Args:
            spec: ``replies``, and optionally ``name``.

        Raises:
            ConfigError: there is no such function.
        """
        replies, name = spec["replies"], spec.get("name", "scripted")
        if not isinstance(replies, str):
            return cls(replies, name=name)
        module, _, function = replies.partition(":")
        try:
            found = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"There is no function {replies!r} to take replies from: {error}.") from error
        return cls(found, name=name)

    @classmethod
    def from_settings(cls, model: str | None, options: Mapping[str, Any]) -> Self:
        """A backend for ``model = "scripted:module:function"``.

        Args:
            model: The function that replies come from, with or without ``scripted:``.
            options: ``name``, optionally.
        """
        return cls.from_spec({"replies": (model or "").removeprefix("scripted:"), **options})

    @property
    def model(self) -> str:
        """The name given."""
        return self._name

    async def complete(self, request: Request) -> Completion:
        """The next reply."""
        index, self.calls = self.calls, self.calls + 1
        self.requests.append(request)
        if callable(self._replies):
            reply = self._replies(request)
            if inspect.isawaitable(reply):
                reply = await reply
        elif index < len(self._replies):
            reply = self._replies[index]
        else:
            raise BackendError(f"The script has {len(self._replies)} replies and was asked for one more.")
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, Completion) else Completion(answer=str(reply), usage=Usage(calls=1))

    @property
    def supports_option_scores(self) -> bool:
        """Whether it was given a function for them."""
        return self._odds is not None

    async def score_options(self, questions: Sequence[ChoiceRequest]) -> ChoiceResult:
        """The odds that the function gives for each question."""
        if self._odds is None:
            return await super().score_options(questions)
        self.calls += len(questions)
        self.questions.extend(questions)
        odds = []
        for question in questions:
            shares = self._odds(question)
            total = sum(shares.values())
            parts = {option: shares[option] / total for option in question.options}
            odds.append(ChoiceProbabilities(probabilities=parts, mass=min(1.0, total)))
        return ChoiceResult(odds=tuple(odds), usage=Usage(calls=len(questions)))

    def fingerprint(self) -> dict[str, Any]:
        """The name; and the script itself where it is a list, since that is the model."""
        script = None if callable(self._replies) else [str(reply) for reply in self._replies]
        return {"kind": "scripted", "model": self._name, "replies": script}

    def spec(self) -> dict[str, Any]:
        """The replies, or where to import the function from."""
        if self._odds is not None:
            raise ConfigError("A script that gives odds cannot be sent to another process.")
        if not callable(self._replies):
            if not all(isinstance(reply, str) for reply in self._replies):
                raise ConfigError("Only a script of strings can be sent to another process.")
            return {"kind": "scripted", "replies": list(self._replies), "name": self._name}
        name = getattr(self._replies, "__qualname__", "")
        if not name.isidentifier():
            raise ConfigError("Only a script that is a function of a module can be sent to another process.")
        return {"kind": "scripted", "replies": f"{self._replies.__module__}:{name}", "name": self._name}


Reply = str | Completion | Exception


def verdict_reply(scores: Mapping[str, float], *, thoughts: str = "") -> str:
    """What a model would write to give these scores, masked name -> 1..5, best first in the ranking."""
    ranking = sorted(scores, key=lambda name: -scores[name])
    answer = json.dumps({"scores": dict(scores), "best-to-worst": ranking})
    return f"<think>\n{thoughts}\n</think>\n\n{answer}" if thoughts else answer
