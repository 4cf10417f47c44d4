"""A local server with Anthropic's protocol, live and in batches, with the faults of `FakeBatches`."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from batch_server import FakeBatches, Job
from servers import Received, verdict_for


class FakeMessageBatches(FakeBatches):
    """The server. Its batches have no metadata; results are one list, available when a batch has ended."""

    def _add_routes(self, app: web.Application) -> None:
        root = "/v1/messages/batches"
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post(root, self._create)
        app.router.add_get(root, self._list)
        app.router.add_get(f"{root}/{{batch}}", self._status)
        app.router.add_post(f"{root}/{{batch}}/cancel", self._cancel)
        app.router.add_get(f"{root}/{{file}}/results", self._content)
        app.middlewares.append(self._checked)

    @web.middleware
    async def _checked(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Refuse what Anthropic refuses."""
        known = request.headers.get("x-api-key") == "anthropic-key" and "Authorization" not in request.headers
        if not known:
            error = {"type": "authentication_error", "message": "invalid x-api-key"}
            return web.json_response({"type": "error", "error": error}, status=401)
        assert request.headers["anthropic-version"] == "2023-06-01"
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _messages(self, request: web.Request) -> web.Response:
        body = await request.json()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(Received(body=body, headers=headers, at=time.monotonic(), route="messages"))
        return web.json_response(_message(body, verdict_for(_as_chat(body))))

    async def _create(self, request: web.Request) -> web.Response:
        requests = (await request.json())["requests"]
        assert all(len(each["custom_id"]) <= 64 and set(each) == {"custom_id", "params"} for each in requests)
        assert all("output_format" not in each["params"] for each in requests) or "structured" in request.headers.get(
            "anthropic-beta", ""
        )
        return await self._new(requests, request)

    def add_stranger(self, number: int) -> str:
        """Somebody else's batch with a number of requests, which never ends."""
        job = Job(f"msgbatch_{uuid.uuid4().hex[:8]}", "", "", time.time(), polls=-1_000)
        job.counts["total"] = number
        self.jobs[job.id] = job
        self.files[job.id] = b"".join(
            b'{"custom_id": "of-somebody-else-%d", "result": {}}\n' % n for n in range(number)
        )
        return job.id

    async def _new(self, requests: list[dict[str, Any]], request: web.Request) -> web.Response:
        job = Job(f"msgbatch_{uuid.uuid4().hex[:8]}", "", f"file-{uuid.uuid4().hex[:8]}", time.time())
        lines = [{"custom_id": r["custom_id"], "body": _as_chat(r["params"]), "params": r["params"]} for r in requests]
        self.files[job.file] = "\n".join(json.dumps(line) for line in lines).encode()
        self.jobs[job.id] = job
        self._run_job(job)
        results = b"\n".join(self.files[name] for name in job.files.values()).decode().splitlines()
        params = {line["custom_id"]: line["params"] for line in lines}
        self.files[job.id] = "\n".join(_result(line, params) for line in results).encode()
        await self._at("after create", request)
        return web.json_response(self._json(job))

    def _json(self, job: Job) -> dict[str, Any]:
        ended, total, done = job.status != "in_progress", job.counts["total"], job.counts["completed"]
        counts = {"processing": 0 if ended else total, "succeeded": done if ended else 0}
        counts["errored"] = total - sum(counts.values())
        created = datetime.fromtimestamp(job.created, UTC).isoformat().replace("+00:00", "Z")
        return {
            "id": job.id, "type": "message_batch", "processing_status": "ended" if ended else "in_progress",
            "created_at": created, "request_counts": counts, "results_url": "http://127.0.0.1:9/elsewhere",
            "cancel_initiated_at": created if job.status == "cancelled" else None,
        }  # fmt: skip

    @property
    def batch_bodies(self) -> list[dict[str, Any]]:
        files = [self.files[job.file] for job in self.jobs.values() if job.file]
        return [json.loads(line)["params"] for file in files for line in file.splitlines()]


def _as_chat(params: Mapping[str, Any]) -> dict[str, Any]:
    """A request in OpenAI's form."""
    schema = (params.get("output_format") or {}).get("schema") or next(
        (tool["input_schema"] for tool in params.get("tools", ())), None
    )
    turns = [{"role": "system", "content": params.get("system", [])}, *params["messages"]]
    messages = [
        {"role": turn["role"], "content": "\n\n".join(part["text"] for part in turn["content"])} for turn in turns
    ]
    form = {"response_format": {"json_schema": {"schema": schema}}} if schema else {}
    return {"model": params["model"], "messages": messages, **form}


def _message(params: Mapping[str, Any], content: str) -> dict[str, Any]:
    """A reply with a text, or with a call of the tool that the request demands."""
    part: dict[str, Any] = {"type": "text", "text": content}
    if params.get("tools") and content.startswith("{"):
        name = params["tools"][0]["name"]
        part = {"type": "tool_use", "id": "toolu_1", "name": name, "input": json.loads(content)}
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": params["model"], "content": [part],
        "stop_reason": "tool_use" if part["type"] == "tool_use" else "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 100, "output_tokens": 50},
    }  # fmt: skip


def _result(line: str, params: Mapping[str, Mapping[str, Any]]) -> str:
    """A line of results in OpenAI's form -> in Anthropic's."""
    try:
        found = json.loads(line)
    except ValueError:
        return line
    name, response = found["custom_id"], found["response"]
    if response is None:
        result: dict[str, Any] = {"type": "expired"}
    elif response["status_code"] != 200:
        error = {"type": "api_error", "message": "injected"}
        result = {"type": "errored", "error": {"type": "error", "error": error}}
    else:
        request = params.get(name, {"model": "?"})
        choices = response["body"]["choices"]
        content = choices[0]["message"]["content"] if choices else ""
        result = {"type": "succeeded", "message": _message(request, content)}
    return json.dumps({"custom_id": name, "result": result})
