"""A backend with scripted replies: for testing what you build on a judge, without a model."""

from __future__ import annotations

import importlib
import inspect
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TypeAlias

from rewardanything_core.backends.base import (
    Backend,
    ChoiceProbabilities,
    ChoiceRequest,
    ChoiceResult,
    Completion,
    Request,
)
from rewardanything_core.backends.pricing import Prices
from rewardanything_core.errors import BackendError, ConfigError
from rewardanything_core.types import Usage

ScriptedReply: TypeAlias = str | Completion | Exception
"""The text that a model would write, a completion, or an exception to raise."""


class ScriptedBackend(Backend):
    """Takes its replies from a list, in order, or from a function of the request.

    >>> backend = ScriptedBackend(['{"scores": {"model-1": 4}, "best-to-worst": ["model-1"]}'])

    Args:
        replies: A sequence of replies, or a function (sync or async) from a `Request` to one. A reply is the text that
            a model would write, a `Completion`, or an exception to raise.
        name: The model's name in verdicts.
        probabilities: For ``readout="logits"``: a function from a `ChoiceRequest` to option -> probability. None: the
            backend does not support option scores.
        prices: What tokens cost, for tests of budgets; usage is that of the `Completion`. None: not known.
    """

    def __init__(
        self,
        replies: Sequence[ScriptedReply] | Callable[[Request], Any],
        *,
        name: str = "scripted",
        probabilities: Callable[[ChoiceRequest], Mapping[str, float]] | None = None,
        prices: Prices | None = None,
    ) -> None:
        self._replies = replies
        self._probabilities = probabilities
        self._name = name
        self._prices = prices
        self.calls = 0
        """Number of requests so far, questions of `score_options` included."""
        self.requests: deque[Request] = deque(maxlen=100)
        """The latest requests, oldest first."""
        self.choice_requests: deque[ChoiceRequest] = deque(maxlen=1000)
        """The latest questions of `score_options`, oldest first."""

    @classmethod
    def scoring(cls, score: Callable[[str], float], *, name: str = "scripted") -> ScriptedBackend:
        """A backend that scores each response with a function of its text, under a rubric for each criterion.

        Args:
            score: From a response's text to its score, 1..5.
            name: The model's name in verdicts.
        """

        def reply(request: Request) -> str:
            content = json.loads(request.messages[1]["content"])
            scores = {masked: score(text) for masked, text in content["responses"].items()}
            return (
                rubric_reply(dict.fromkeys(content["rubric"], scores)) if "rubric" in content else verdict_reply(scores)
            )

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
        module, _, attribute = replies.partition(":")
        try:
            function = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"There is no function {replies!r} to take replies from: {error}.") from error
        return cls(function, name=name)

    @classmethod
    def from_settings(cls, model: str | None, options: Mapping[str, Any]) -> Self:
        """A backend for ``model = "scripted:module:function"``.

        Args:
            model: The function that returns the replies, with or without ``scripted:``.
            options: ``name``, optionally.
        """
        return cls.from_spec({"replies": (model or "").removeprefix("scripted:"), **options})

    @property
    def prices(self) -> Prices | None:
        """The prices given at construction."""
        return self._prices

    @property
    def model(self) -> str:
        """The name given at construction."""
        return self._name

    async def complete(self, request: Request) -> Completion:
        """The next reply of the script."""
        index, self.calls = self.calls, self.calls + 1
        self.requests.append(request)
        if callable(self._replies):
            reply = self._replies(request)
            if inspect.isawaitable(reply):
                reply = await reply
        elif index < len(self._replies):
            reply = self._replies[index]
        else:
            raise BackendError(f"The script has {len(self._replies)} replies, and one more was requested.")
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, Completion) else Completion(answer=str(reply), usage=Usage(calls=1))

    @property
    def supports_option_scores(self) -> bool:
        """Whether it has a function for them."""
        return self._probabilities is not None

    async def score_options(self, questions: Sequence[ChoiceRequest]) -> ChoiceResult:
        """The probabilities that the function returns for each question, normalised to sum to 1."""
        if self._probabilities is None:
            return await super().score_options(questions)
        self.calls += len(questions)
        self.choice_requests.extend(questions)
        answers = []
        for question in questions:
            weights = self._probabilities(question)
            mass = sum(weights.values())
            probabilities = {option: weights[option] / mass for option in question.options}
            answers.append(ChoiceProbabilities(probabilities=probabilities, mass=min(1.0, mass)))
        return ChoiceResult(answers=tuple(answers), usage=Usage(calls=len(questions)))

    def fingerprint(self) -> dict[str, Any]:
        """The name, and the script if it is a list."""
        script = None if callable(self._replies) else [str(reply) for reply in self._replies]
        return {"kind": "scripted", "model": self._name, "replies": script}

    def spec(self) -> dict[str, Any]:
        """The replies, or where to import their function from."""
        if self._probabilities is not None:
            raise ConfigError("A script with probabilities cannot be sent to another process.")
        if not callable(self._replies):
            if not all(isinstance(reply, str) for reply in self._replies):
                raise ConfigError("A script can be sent to another process only if all its replies are strings.")
            return {"kind": "scripted", "replies": list(self._replies), "name": self._name}
        name = getattr(self._replies, "__qualname__", "")
        if not name.isidentifier():
            raise ConfigError("A script's function can be sent to another process only if it is defined in a module.")
        return {"kind": "scripted", "replies": f"{self._replies.__module__}:{name}", "name": self._name}


def verdict_reply(scores: Mapping[str, float], *, thoughts: str = "") -> str:
    """The reply of a model that gives these scores.

    Args:
        scores: Masked name -> 1..5. The ranking follows from them; ties keep their order.
        thoughts: Reasoning in think tags in front of the answer. Empty: none.
    """
    ranking = sorted(scores, key=lambda name: -scores[name])
    answer = json.dumps({"scores": dict(scores), "best-to-worst": ranking})
    return f"<think>\n{thoughts}\n</think>\n\n{answer}" if thoughts else answer


def rubric_reply(scores: Mapping[str, Mapping[str, float]], *, reasoning: Mapping[str, str] | None = None) -> str:
    """The reply of a model that gives these scores under a rubric.

    Args:
        scores: Criterion's key -> masked name -> 1..5.
        reasoning: Criterion's key -> its reasoning. None: none.
    """
    return json.dumps(
        {
            key: {**({"reasoning": reasoning[key]} if reasoning else {}), "scores": dict(by_name)}
            for key, by_name in scores.items()
        }
    )
