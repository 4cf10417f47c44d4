"""A local HTTP server with OpenAI's chat protocol that fails on demand.

>>> with FakeOpenAI() as server:                        # a valid verdict for every request
...     judge = from_endpoint("hosted_vllm/fake", api_base=server.url)

The default reply is a verdict derived from the request (`verdict_for`): each response scores `score_text(text)`, so
that a test notices a score that belongs to another response. Other replies:

- ``reply="prose"``, ``reply={"content": ..., "reasoning_content": ..., "finish_reason": "length"}`` or
  ``reply=RawReply(...)``: the same each time;
- ``reply=lambda body: ...``: a function of the request's JSON body; None means the default verdict;
- ``plan=[Fault.status(500), None, "prose"]``: in order of arrival, before ``reply``; None means the usual reply;
- ``fault_rate=0.2``: that share of requests gets a fault from ``fault_kinds``, drawn by a private seeded generator.

The server runs on an event loop in its own thread, so that synchronous and asynchronous tests can use it.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class RawReply:
    """A response body that is sent as it is."""

    body: Any
    """Bytes, or a JSON value of any shape."""

    code: int = 200
    """HTTP status."""


Reply = str | Mapping[str, Any] | RawReply


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A failure in place of a reply. Use the constants, `Fault.status` and `Fault.redirect`."""

    kind: str
    """``status``, ``hang``, ``hang_mid_body``, ``garbage``, ``half_json`` or ``reset``."""

    code: int = 500
    """HTTP status of a ``status`` fault."""

    message: str = "injected fault"
    """The server's message in a ``status`` fault."""

    error: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the error object, such as ``param``."""

    retry_after: str | None = None
    """The ``Retry-After`` header, verbatim. None: not sent."""

    location: str | None = None
    """The ``Location`` header. None: not sent."""

    @staticmethod
    def status(code: int, message: str = "injected fault", /, *, retry_after: str | None = None, **error: Any) -> Fault:
        """An HTTP error with a JSON body in OpenAI's form.

        Args:
            code: The status.
            message: The message.
            retry_after: The ``Retry-After`` header. None: not sent.
            **error: Further fields of the error object.
        """
        return Fault(kind="status", code=code, message=message, retry_after=retry_after, error=error)

    @staticmethod
    def redirect(location: str, code: int = 307) -> Fault:
        """A redirect.

        Args:
            location: The URL it points to.
            code: The status.
        """
        return Fault(kind="status", code=code, message="moved", location=location)


HANG = Fault(kind="hang")
"""Accepts the request and never replies."""
HANG_MID_BODY = Fault(kind="hang_mid_body")
"""Sends status 200 and half a body, and keeps the connection open."""
GARBAGE = Fault(kind="garbage")
"""Status 200 and a body that is not JSON."""
HALF_JSON = Fault(kind="half_json")
"""Status 200 and half a JSON body, then the connection is closed."""
RESET = Fault(kind="reset")
"""Resets the connection without a reply."""

QUICK_FAULTS = (
    Fault.status(429, retry_after="0"),
    Fault.status(500),
    Fault.status(503),
    GARBAGE,
    HALF_JSON,
    RESET,
)
"""The faults that take no time; a hang takes a timeout."""


@dataclass(kw_only=True)
class Received:
    """One request as the server received it."""

    body: dict[str, Any]
    """The JSON body."""

    headers: dict[str, str]
    """Header names (lower case) -> values."""

    at: float
    """`time.monotonic` at arrival."""

    peer: object = None
    """The client's end of the connection."""

    route: str = "completions"
    """The last part of the path."""

    dropped: bool = False
    """Whether the client closed the connection before the reply."""


def score_text(text: str, criterion: str | None = None) -> int:
    """The fake judge's score: the first number 1..5 in the text, otherwise a number derived from its length.

    Under a criterion of a rubric, ``criterion=4`` in the text gives 4.
    """
    if criterion and (named := re.search(rf"(?<!\w){re.escape(criterion)}=([1-5])", text)):
        return int(named[1])
    number = re.search(r"(?<!\d)[1-5](?!\d)", text)
    return int(number[0]) if number else 1 + len(text) % 5


def verdict_for(body: Mapping[str, Any]) -> str:
    """The verdict on the case in the last message with one, in the form that the schema requires.

    Raises:
        ValueError: no message contains a JSON object with ``responses``.
    """
    # A client that cannot send a system message merges it with the user's.
    texts = [message["content"] for message in body["messages"] if isinstance(message["content"], str)]
    for part in reversed("\n\n".join(texts).split("\n\n")):
        try:
            content = json.loads(part)
            # Of an agent's run, everything that it said and did counts.
            responses = {
                name: response if isinstance(response, str) else json.dumps(response)
                for name, response in content["responses"].items()
            }
        except (ValueError, TypeError, KeyError):
            continue
        if "rubric" in content:
            return json.dumps(
                {key: _criterion_verdict(key, rule, responses) for key, rule in content["rubric"].items()}
            )
        scores = {name: score_text(text) for name, text in responses.items()}
        verdict: dict[str, Any] = {
            "scores": scores,
            "best-to-worst": sorted(scores, key=lambda n: -scores[n]),
        }
        schema = ((body.get("response_format") or {}).get("json_schema") or {}).get("schema") or {}
        if "reasoning" in schema.get("properties", {}):
            verdict = {"reasoning": "By the number in the text.", **verdict}
        return json.dumps(verdict)
    raise ValueError("no message contains a case")


def _criterion_verdict(key: str, rule: Any, responses: Mapping[str, str]) -> dict[str, Any]:
    scores = {name: score_text(text, key) for name, text in responses.items()}
    if isinstance(rule, dict) and len(rule["scale"]) == 2:  # yes/no
        scores = {name: 5 if score > 3 else 1 for name, score in scores.items()}
    return {"reasoning": f"By {key} in the text of model-1.", "scores": scores}


def decision_for(body: Mapping[str, Any], score: Callable[[str], int] = score_text) -> dict[str, Any]:
    """The answers to a request of either decision route: 0.6 for each response's score, 0.1 for each other level.

    Args:
        body: The request.
        score: From a response's text to its score, 1..5.
    """
    material = body["state"] if "state" in body else body["input"]
    parts = material if isinstance(material, list) else [{"content": material}]
    content = parts[0]["content"]
    text = content if isinstance(content, str) else content[0]["text"]
    case, _ = json.JSONDecoder().raw_decode(text[text.index('{"') :])
    questions = body["questions"]
    named = questions if isinstance(questions, dict) else {question["name"]: question for question in questions}
    answers = {}
    for name, question in named.items():
        response = case["responses"][name.rpartition("/")[2]]
        level = score(response if isinstance(response, str) else json.dumps(response))
        answers[name] = _decision(question, level)
    tokens = len(json.dumps(body)) // 4
    if "state" in body:
        return {
            "model": body["model"],
            "answers": answers,
            "usage": {"input_tokens": tokens, "output_tokens": len(answers)},
        }
    usage = {
        "input_tokens": tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": len(answers),
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens + len(answers),
    }
    return {
        "model": body["model"],
        "answers": [{"name": name, **answer} for name, answer in answers.items()],
        "usage": usage,
    }


def _decision(question: Mapping[str, Any], level: int) -> dict[str, Any]:
    kind = question["type"]
    if kind == "noul":
        return {"type": kind, "noul": 0.9 if level > 3 else 0.1}
    if kind == "predicate":
        return {"type": kind, "probability": 0.9 if level > 3 else 0.1}
    shares = [0.6 if place == level else 0.1 for place in range(1, 6)]
    expected = sum(place * share for place, share in enumerate(shares))
    answer = {"type": kind, "score": expected, "confidence": 0.6}
    if "levels" in question:
        labels = [each["label"] for each in question["levels"]]
        rows = enumerate(zip(labels, shares, strict=True))
        return answer | {"probabilities": [{"label": label, "value": n, "probability": p} for n, (label, p) in rows]}
    legend = {str(place): text for place, text in enumerate(question["criteria"])}
    return answer | {"legend": legend, "probabilities": {str(place): share for place, share in enumerate(shares)}}


class FakeOpenAI:
    """The server. ``with`` or `start` starts it; every attribute can be changed while it runs.

    Args:
        reply: What to reply instead of the default verdict; see the module's docstring.
        plan: What to do with the first requests, in order of arrival.
        fault_rate: Share of the other requests that fail, 0..1.
        fault_kinds: The faults that they fail with.
        seed: Seed of the draws.
        latency: Seconds before each reply, or a function from the request's body to seconds.
        rejects: Parameter name -> status with which a request that has the parameter is rejected, as strict servers do.
        require_key: The only bearer token that is accepted; a rejection repeats the token, as some servers do. None: no
            token is needed.
        reasoning: Reasoning sent with the default verdict. None: none.
        reasoning_inline: Whether the reasoning is in think tags inside the content (no reasoning parser) instead of a
            field of its own.
        logprobs: Whether token log-probabilities are returned on request.
        max_top_logprobs: Maximum number of alternatives for a token; more are rejected with 400.
        decision_routes: The decision routes that it has: ``decisions``, ``systemone`` or both. Requests to them take
            the same replies, plans and faults; the default reply gives 0.6 to the score of `score_text` and 0.1 to each
            other. An empty request is rejected with 422 and is in ``probes`` instead of ``requests``.
        chat: Whether it has a chat route.
    """

    def __init__(
        self,
        reply: Reply | Fault | Callable[[dict[str, Any]], Reply | Fault | None] | None = None,
        *,
        plan: Iterable[Reply | Fault | None] = (),
        fault_rate: float = 0.0,
        fault_kinds: Sequence[Fault] = QUICK_FAULTS,
        seed: int = 0,
        latency: float | Callable[[dict[str, Any]], float] = 0.0,
        rejects: Mapping[str, int] | None = None,
        require_key: str | None = None,
        reasoning: str | None = None,
        reasoning_inline: bool = False,
        logprobs: bool = True,
        max_top_logprobs: int = 20,
        decision_routes: Sequence[str] = (),
        chat: bool = True,
    ) -> None:
        self.reply = reply
        self.plan = list(plan)
        self.fault_rate = fault_rate
        self.fault_kinds = tuple(fault_kinds)
        self.latency = latency
        self.rejects = dict(rejects or {})
        self.require_key = require_key
        self.reasoning = reasoning
        self.reasoning_inline = reasoning_inline
        self.logprobs = logprobs
        self.max_top_logprobs = max_top_logprobs
        self.decision_routes = tuple(decision_routes)
        self.chat = chat
        self.requests: list[Received] = []
        self.probes: list[str] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self._rng = random.Random(seed)
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread | None = None
        self._port = 0
        self._done: asyncio.Event

    @property
    def url(self) -> str:
        """The api_base, once started; it stays the same after `stop`, when connections are refused."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def count(self) -> int:
        """Number of completions requested."""
        return len(self.requests)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The JSON bodies in order of arrival."""
        return [r.body for r in self.requests]

    @property
    def dropped(self) -> int:
        """Number of requests whose connection the client closed before the reply."""
        return sum(r.dropped for r in self.requests)

    def start(self) -> FakeOpenAI:
        """Listen on a free port of 127.0.0.1, after `stop` on the same one; returns once connections are accepted."""
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="fake-openai", daemon=True)
        self._thread.start()
        if not ready.wait(10):
            raise RuntimeError("the fake server did not start")
        return self

    def stop(self) -> None:
        """Close every connection and stop listening. It can be called twice."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._done.set)
            self._thread.join(10)
            self._thread = None

    def __enter__(self) -> FakeOpenAI:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_for(self, condition: Callable[[FakeOpenAI], bool], timeout: float = 10.0) -> None:
        """Block until a condition is true.

        Args:
            condition: A function of this server.
            timeout: Seconds to wait.

        Raises:
            TimeoutError: it did not become true in time.
        """
        deadline = time.monotonic() + timeout
        while not condition(self):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not true after {timeout} s: {self.count} requests, {self.dropped} dropped")
            time.sleep(0.005)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(ready))
        self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        self._done = asyncio.Event()
        app = web.Application(client_max_size=1 << 28)
        app.router.add_post("/{prefix:.*}chat/completions", self._completions)  # Azure's path has the deployment in it
        for route in ("decisions", "systemone"):
            app.router.add_post(f"/v1/{route}", self._completions)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/embeddings", self._embeddings)
        self._add_routes(app)
        # A handler is cancelled when its client closes the connection, which marks the request as dropped.
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port, backlog=1024)
        await site.start()
        self._port = runner.addresses[0][1]
        ready.set()
        await self._done.wait()
        await runner.cleanup()

    def _add_routes(self, app: web.Application) -> None:
        """Add what a subclass serves besides."""

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "fake", "object": "model"}]})

    async def _embeddings(self, request: web.Request) -> web.Response:
        texts = (await request.json())["input"]
        vectors = [[float(len(text)), 1.0] for text in texts]
        data = [{"object": "embedding", "index": n, "embedding": vector} for n, vector in enumerate(vectors)]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        return web.json_response({"object": "list", "model": "fake", "data": data, "usage": usage})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        route = request.path.rsplit("/", 1)[-1]
        if not (self.chat if route == "completions" else route in self.decision_routes):
            return web.json_response({"detail": "Not Found"}, status=404)
        if not body:
            self.probes.append(route)
            return web.json_response({"detail": [{"loc": ["body", "model"], "msg": "Field required"}]}, status=422)
        headers = {name.lower(): value for name, value in request.headers.items()}
        peer = request.transport and request.transport.get_extra_info("peername")
        received = Received(body=body, headers=headers, at=time.monotonic(), peer=peer, route=route)
        index = len(self.requests)
        self.requests.append(received)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency(body) if callable(self.latency) else self.latency)
            return await self._answer(request, received, index)
        except asyncio.CancelledError:
            received.dropped = not self._done.is_set()
            raise
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request, received: Received, index: int) -> web.StreamResponse:
        body = received.body
        outcome = self._refusal(received)
        if outcome is None:
            outcome = self.plan[index] if index < len(self.plan) else self._draw()
        if outcome is None:
            outcome = self.reply(body) if callable(self.reply) else self.reply
        if isinstance(outcome, Fault):
            return await self._fail(request, outcome, body)
        if isinstance(outcome, RawReply):
            raw = outcome.body if isinstance(outcome.body, bytes) else json.dumps(outcome.body).encode()
            return web.Response(body=raw, status=outcome.code, content_type="application/json")
        if outcome is None and received.route != "completions":
            return web.json_response(decision_for(body))
        if outcome is None:
            outcome = self._verdict(body)
        return web.json_response(self._envelope(body, {"content": outcome} if isinstance(outcome, str) else outcome))

    def _draw(self) -> Fault | None:
        return self._rng.choice(self.fault_kinds) if self._rng.random() < self.fault_rate else None

    def _refusal(self, received: Received) -> Fault | None:
        token = received.headers.get("authorization", "").removeprefix("Bearer ")
        if self.require_key is not None and token != self.require_key:
            return Fault.status(401, f"Incorrect API key provided: {token}", code="invalid_api_key")
        for name, status in self.rejects.items():
            if name in received.body:
                return Fault.status(status, f"Unsupported parameter: {name!r}", param=name)
        if received.body.get("top_logprobs", 0) > self.max_top_logprobs:
            return Fault.status(400, f"top_logprobs must be at most {self.max_top_logprobs}", param="top_logprobs")
        return None

    def _verdict(self, body: dict[str, Any]) -> Mapping[str, Any]:
        content = verdict_for(body)
        template = body.get("chat_template_kwargs") or {}
        # Without a reasoning parser a constraint applies from the first token, so that the model cannot reason.
        suppressed = self.reasoning_inline and "response_format" in body
        if self.reasoning is None or suppressed or template.get("enable_thinking") is False:
            return {"content": content}
        if self.reasoning_inline:
            return {"content": f"<think>\n{self.reasoning}\n</think>\n\n{content}"}
        return {"content": content, "reasoning_content": self.reasoning}

    async def _fail(self, request: web.Request, fault: Fault, body: dict[str, Any]) -> web.StreamResponse:
        if fault.kind == "status":
            values = {"Retry-After": fault.retry_after, "Location": fault.location}
            headers = {name: value for name, value in values.items() if value is not None}
            error = {"message": fault.message, "type": "injected", **fault.error}
            return web.json_response({"error": error}, status=fault.code, headers=headers)
        if fault.kind == "garbage":
            return web.Response(text="<html>502 this is not JSON</html>", content_type="application/json")
        if fault.kind == "hang":
            await self._done.wait()
        if fault.kind in ("half_json", "hang_mid_body"):
            whole = json.dumps(self._envelope(body, {"content": "never received in full"})).encode()
            response = web.StreamResponse(
                headers={"Content-Type": "application/json", "Content-Length": str(len(whole))}
            )
            await response.prepare(request)
            await response.write(whole[: len(whole) // 2])
            if fault.kind == "hang_mid_body":
                await self._done.wait()
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    def _envelope(self, body: dict[str, Any], reply: Mapping[str, Any]) -> dict[str, Any]:
        content = reply.get("content")
        message: dict[str, Any] = {"role": "assistant", "content": content}
        message |= {name: reply[name] for name in ("reasoning_content", "refusal") if name in reply}
        choice: dict[str, Any] = {
            "index": 0,
            "message": message,
            "finish_reason": reply.get("finish_reason", "stop"),
        }
        if body.get("logprobs") and self.logprobs:
            tokens = reply.get("tokens") or tokens_of(_text(content), top=body.get("top_logprobs", 0))
            choice["logprobs"] = {"content": tokens}
        prompt = sum(len(m["content"]) for m in body["messages"]) // 4 + 1
        generated = (len(_text(content)) + len(_text(reply.get("reasoning_content")))) // 4 + 1
        usage = {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}
        return {
            "id": "chatcmpl-fake",
            "object": "chat.completion",
            "created": 0,
            "model": body.get("model", "fake"),
            "choices": [choice],
            "usage": reply.get("usage", usage),
        }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def tokens_of(text: str, *, top: int = 5) -> list[dict[str, Any]]:
    """Token log-probabilities of a text in OpenAI's form.

    A digit is one token with five alternatives, 0.6 for the digit and 0.1 for each other; a character beyond ASCII is
    one token for each of its bytes.

    Args:
        text: The text.
        top: Maximum number of alternatives.
    """
    tokens: list[dict[str, Any]] = []
    for piece in re.findall(r"\d|[^\d\s]{1,4}|\s+", text):
        if piece.isdigit():
            probabilities = {d: 0.6 if d == piece else 0.1 for d in {"1", "2", "3", "4", "5", piece}}
            tokens.append(_token(piece, piece.encode(), 0.6, probabilities, top))
        elif piece.isascii():
            tokens.append(_token(piece, piece.encode(), 0.9, {piece: 0.9}, top))
        else:
            tokens.extend(_token("\N{REPLACEMENT CHARACTER}", bytes([b]), 0.9, {}, top) for b in piece.encode())
    return tokens


def _token(text: str, raw: bytes, probability: float, others: Mapping[str, float], top: int) -> dict[str, Any]:
    ranked = sorted(others.items(), key=lambda item: (-item[1], item[0]))[:top]
    return {
        "token": text,
        "bytes": list(raw),
        "logprob": math.log(probability),
        "top_logprobs": [{"token": t, "bytes": list(t.encode()), "logprob": math.log(p)} for t, p in ranked],
    }
