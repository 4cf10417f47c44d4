"""What the tests of the endpoint backend share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any, TypeVar

from servers import FakeOpenAI, tokens_of, verdict_for

from rewardanything_core import Case
from rewardanything_core.backends.base import ChoiceRequest, Completion, Request
from rewardanything_core.backends.endpoint.backend import EndpointBackend
from rewardanything_core.backends.endpoint.retry import Backoff
from rewardanything_core.judging.judge import Judge
from rewardanything_core.prompting.verdict_grammar import verdict_schema
from rewardanything_core.sampling import SamplingParams
from rewardanything_core.types import Message

T = TypeVar("T")

SCHEMA = verdict_schema(["model-1", "model-2"], reasoning=False)

MODELS = ["hosted_vllm/fake", "openai/fake"]
"""A model that is called directly and one that is called through LiteLLM."""


CHOICE = ChoiceRequest(messages=(Message(role="user", content="Does it?"),), options=("Yes", "No"))


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


def backend_for(server: FakeOpenAI, model: str = "hosted_vllm/fake", **options: Any) -> EndpointBackend:
    """A backend whose waits between attempts are short; `Backoff` has tests of its own."""
    options.setdefault("timeout", 20.0)
    options.setdefault("client", "litellm" if model.startswith("openai/") else "auto")
    backend = EndpointBackend(model, api_base=options.pop("api_base", server.url), **options)
    backend._client.backoff = Backoff(base=0.01, cap=0.05)
    return backend


def judge_for(server: FakeOpenAI, model: str = "hosted_vllm/fake", **options: Any) -> Judge:
    """A judge on such a backend, without a store."""
    names = {"readout", "expected_scores", "passes", "retries", "max_list", "sampling"}
    judge_options = {name: options.pop(name) for name in names & options.keys()}
    return Judge(backend_for(server, model, **options), cache="off", **judge_options)


def a_case(first: str = "is 4", second: str = "is 2") -> Case:
    return Case("p", "q", {"a": first, "b": second})


def request_for(first: str = "is 4", second: str = "is 2", **options: Any) -> Request:
    """A request to judge two responses."""
    case = {"principle": "p", "prompt": "q", "responses": {"model-1": first, "model-2": second}}
    sampling = SamplingParams(thinking_budget=options.pop("budget", 100), max_tokens=options.pop("max_tokens", 50))
    messages = (Message(role="system", content="judge"), Message(role="user", content=json.dumps(case)))
    return Request(messages=messages, sampling=sampling, schema=SCHEMA, **options)


def complete(backend: EndpointBackend, request: Request | None = None) -> Completion:
    return run(backend.complete(request or request_for()))


def scores(completion: Completion) -> dict[str, int]:
    return json.loads(completion.answer)["scores"]


def token_entry(token: str, *others: dict[str, Any]) -> dict[str, Any]:
    return {"token": token, "bytes": list(token.encode()), "logprob": -0.7, "top_logprobs": list(others)}


def usual_reply(body: dict[str, Any], readout: str) -> dict[str, Any]:
    """The reply of a server without faults to a question of this readout."""
    if readout == "generate":
        return {"content": verdict_for(body), "tokens": tokens_of(verdict_for(body))}
    asks_for_quality = "Good or Bad" in body["messages"][-1]["content"]
    first, second = ("Good", "Bad") if asks_for_quality else ("Yes", "No")
    return {"content": first, "tokens": [token_entry(first, token_entry(second))]}
