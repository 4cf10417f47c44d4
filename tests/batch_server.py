"""A local server with the batch protocols of OpenAI and Azure OpenAI, with faults, that counts what is paid for.

Files, batches and their results are kept in memory. A batch ends when its status is asked for ``polls`` times. Each
request that it runs is counted in ``paid`` under its custom id, so that a test sees what was paid twice.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from servers import FakeOpenAI, verdict_for


@dataclass
class Job:
    """A batch."""

    id: str
    tag: str
    file: str
    created: float
    status: str = "in_progress"
    polls: int = 0
    files: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: {"total": 0, "completed": 0, "failed": 0})


class FakeBatches(FakeOpenAI):
    """The server.

    Args:
        polls: How often the status of a batch is asked for before it has ended.
        faults: Share of requests, 0..1, by fault of their first time: ``error`` (status 500 in the error file),
            ``missing`` (no line), ``prose`` (a reply that is not a verdict). Their second time succeeds.
        messy: Whether results are out of order, with some lines twice, a line of a stranger and half a line.
        expire: Share of the requests of the first batch that are not done when it expires.
    """

    def __init__(
        self, *, polls: int = 1, faults: dict[str, float] | None = None, messy: bool = False, expire: float = 0.0
    ):
        super().__init__()
        self.polls, self.faults, self.messy, self.expire = polls, faults or {}, messy, expire
        self.files: dict[str, bytes] = {}
        self.jobs: dict[str, Job] = {}
        self.unchecked: set[str] = set()
        self.paid: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.injected: Counter[str] = Counter()
        self.kill_at: str | None = None
        self.drop_at: str | None = None
        self.refuse: str | None = None
        self.victim: int | None = None
        self._dice = random.Random(7)

    def _add_routes(self, app: web.Application) -> None:
        for root in ("/v1", "/openai"):
            app.router.add_post(f"{root}/files", self._upload)
            app.router.add_get(f"{root}/files/{{file}}", self._file)
            app.router.add_get(f"{root}/files/{{file}}/content", self._content)
            app.router.add_post(f"{root}/batches", self._create)
            app.router.add_get(f"{root}/batches", self._list)
            app.router.add_get(f"{root}/batches/{{batch}}", self._status)
            app.router.add_post(f"{root}/batches/{{batch}}/cancel", self._cancel)
        app.middlewares.append(self._checked)

    @web.middleware
    async def _checked(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Refuse what Azure refuses."""
        if request.path.startswith("/openai/"):
            if request.headers.get("api-key") != "azure-key" or "Authorization" in request.headers:
                return web.json_response({"error": {"message": "Access denied"}}, status=401)
            if not request.query.get("api-version"):
                return web.json_response({"error": {"message": "Resource not found"}}, status=404)
            if "/deployments/judge-batch/" in request.path:
                error = {"code": "OperationNotSupported", "message": "The operation does not work with the model."}
                return web.json_response({"error": error}, status=400)
        answer: web.StreamResponse = await handler(request)
        return answer

    @property
    def root(self) -> str:
        """The address without ``/v1``."""
        return self.url.removesuffix("/v1")

    async def _at(self, point: str, request: web.Request) -> None:
        """Kill the client, or close its connection, if that is planned here."""
        if self.kill_at == point and self.victim is not None:
            self.injected[f"kill {point}"] += 1
            self.kill_at = None
            os.kill(self.victim, signal.SIGKILL)
        if self.drop_at == point:
            self.injected[f"drop {point}"] += 1
            self.drop_at = None
            assert request.transport is not None
            request.transport.abort()

    async def _upload(self, request: web.Request) -> web.Response:
        await self._at("before upload", request)
        form = await request.post()
        assert form["purpose"] == "batch"
        name = f"file-{uuid.uuid4().hex[:8]}"
        self.files[name] = form["file"].file.read()  # type: ignore[union-attr]
        await self._at("after upload", request)
        answer = {"id": name, "object": "file", "filename": form["file"].filename}  # type: ignore[union-attr]
        if request.path.startswith("/openai/"):
            self.unchecked.add(name)
            answer["status"] = "pending"
        return web.json_response(answer)

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["file"]
        self.unchecked.discard(name)
        return web.json_response({"id": name, "object": "file", "status": "processed"})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        route = "/chat/completions" if request.path.startswith("/openai/") else "/v1/chat/completions"
        assert (body["endpoint"], body["completion_window"]) == (route, "24h")
        assert all(json.loads(line)["url"] == route for line in self.files[body["input_file_id"]].splitlines())
        if body["input_file_id"] in self.unchecked:
            return web.json_response({"error": {"message": "the file is not processed yet"}}, status=400)
        if self.refuse == "create":
            return web.json_response({"error": {"message": "no batches for this account"}}, status=400)
        job = Job(
            f"batch_{uuid.uuid4().hex[:8]}", body["metadata"]["ra_judge_batch"], body["input_file_id"], time.time()
        )
        self.jobs[job.id] = job
        if self.refuse == "validation":
            job.status = "failed"
        else:
            self._run_job(job)
        await self._at("after create", request)
        return web.json_response(self._json(job))

    def _run_job(self, job: Job) -> None:
        """Run a batch at once; its status says so later."""
        done, failed = [], []
        expires = self.expire if len(self.jobs) == 1 else 0.0
        lines = [json.loads(line) for line in self.files[job.file].splitlines()]
        assert len({line["custom_id"] for line in lines}) == len(lines)
        for line in lines:
            name, body = line["custom_id"], line["body"]
            self.seen[name] += 1
            fault = self._fault() if self.seen[name] == 1 else None
            if self._dice.random() < expires:
                fault = "expired"
            if fault:
                self.injected[fault] += 1
            if fault == "missing":
                continue
            if fault in ("error", "expired"):
                error = {"code": "batch_expired", "message": "not done in time"}
                response = {"status_code": 500, "body": {"error": {"message": "injected"}}}
                failed.append({"custom_id": name, "response": None, "error": error} if fault == "expired" else
                              {"custom_id": name, "response": response, "error": None})  # fmt: skip
                continue
            self.paid[name] += 1
            content = "It is hard to say." if fault == "prose" else verdict_for(body)
            reply = {
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
                ],
                "usage": {"prompt_tokens": 100, "completion_tokens": 50},
            }
            done.append({"custom_id": name, "response": {"status_code": 200, "body": reply}, "error": None})
        job.counts = {"total": len(lines), "completed": len(done), "failed": len(failed)}
        for kind, results in (("output_file_id", done), ("error_file_id", failed)):
            if results:
                job.files[kind] = f"file-{uuid.uuid4().hex[:8]}"
                self.files[job.files[kind]] = self._lines(results)

    def _fault(self) -> str | None:
        left = self._dice.random()
        for name, share in self.faults.items():
            left -= share
            if left < 0:
                return name
        return None

    def _lines(self, results: list[dict[str, Any]]) -> bytes:
        lines = [json.dumps(result) for result in results]
        if self.messy:
            self._dice.shuffle(lines)
            twice = lines[: len(lines) // 5]
            self.injected["duplicate line"] += len(twice)
            stranger = {"custom_id": "of-somebody-else", "response": {"status_code": 200, "body": {"choices": []}}}
            lines += [*twice, json.dumps(stranger), '{"custom_id": "half a li']
            self.injected["out of order"] += len(results)
        return "\n".join(lines).encode()

    async def _list(self, request: web.Request) -> web.Response:
        newest_first = sorted(self.jobs.values(), key=lambda job: -job.created)
        after = request.query.get("after") or request.query.get("after_id")
        start = 1 + [job.id for job in newest_first].index(after) if after else 0
        page = newest_first[start : start + int(request.query["limit"])]
        more = start + len(page) < len(newest_first)
        return web.json_response({"object": "list", "data": [self._json(job) for job in page], "has_more": more})

    async def _status(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["batch"])
        if job is None:
            return web.json_response({"error": {"message": "no such batch"}}, status=404)
        job.polls += 1
        if job.status == "in_progress" and job.polls >= self.polls:
            job.status = "expired" if self.expire and job is next(iter(self.jobs.values())) else "completed"
        await self._at("status", request)
        return web.json_response(self._json(job))

    async def _content(self, request: web.Request) -> web.StreamResponse:
        content = self.files[request.match_info["file"]]
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[: len(content) // 2])
        await self._at("during fetch", request)
        await response.write(content[len(content) // 2 :])
        return response

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["batch"])
        if job is None:
            return web.json_response({"error": {"message": "no such batch"}}, status=404)
        job.status = "cancelled"
        return web.json_response(self._json(job))

    def _json(self, job: Job) -> dict[str, Any]:
        ended = job.status in ("completed", "expired", "cancelled")
        errors = {"data": [{"message": "the model does not take batches"}]} if job.status == "failed" else None
        return {
            "id": job.id, "object": "batch", "status": job.status, "created_at": int(job.created), "errors": errors,
            "metadata": {"ra_judge_batch": job.tag}, "request_counts": job.counts, **(job.files if ended else {}),
        }  # fmt: skip

    @property
    def batch_bodies(self) -> list[dict[str, Any]]:
        """The bodies of all requests in batches."""
        return [json.loads(line)["body"] for job in self.jobs.values() for line in self.files[job.file].splitlines()]

    @property
    def doubled(self) -> int:
        """Requests that were paid for more than once."""
        return sum(count > 1 for count in self.paid.values())
