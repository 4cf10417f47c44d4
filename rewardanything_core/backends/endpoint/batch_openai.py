"""OpenAI's batch API: a file with a request on each line, a batch that refers to it, files with the results."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from rewardanything_core.backends.endpoint.attempt_errors import redact
from rewardanything_core.backends.endpoint.batch_api import (
    CLOCK_SLACK,
    TAG,
    BatchAPI,
    RemoteBatch,
    Result,
    dict_or_empty,
    dicts,
    json_lines,
    utc_time,
)

_PAGE = 100


class OpenAIBatchAPI(BatchAPI):
    """OpenAI's protocol: a file with a request on each line, a batch that refers to it, files with the results."""

    route: ClassVar[str] = "/v1/chat/completions"
    """Where the requests go."""

    async def create(self, bodies: Mapping[str, Mapping[str, Any]], tag: str) -> str:
        """See `BatchAPI.create`. A file that no batch refers to costs nothing."""
        lines = (
            json.dumps({"custom_id": request_id, "method": "POST", "url": self.route, "body": body})
            for request_id, body in bodies.items()
        )
        kind, form = _multipart({"purpose": "batch"}, f"{tag}.jsonl", "".join(f"{line}\n" for line in lines).encode())
        uploaded = self._object(await self._call("POST", "/files", form, headers={"Content-Type": kind}))
        content = {
            "input_file_id": await self._ready(uploaded),
            "endpoint": self.route,
            "completion_window": "24h",
            "metadata": {TAG: tag},
        }
        return self._id_in(await self._json("POST", "/batches", content, idempotent=False))

    async def _ready(self, file: Mapping[str, Any]) -> str:
        """The id of an uploaded file, once a batch can refer to it."""
        return self._id_in(file)

    async def find(
        self,
        tag: str,
        since: datetime,
        requests: Collection[str],  # noqa: ARG002  the tag is enough
        known: set[str],  # noqa: ARG002
    ) -> str | None:
        """See `BatchAPI.find`: the batch with the tag among all since then."""
        after: str | None = None
        while True:
            query = urlencode({"limit": _PAGE, **({"after": after} if after else {})})
            page = await self._json("GET", f"/batches?{query}")
            batches = dicts(page.get("data"))
            for batch in batches:
                if dict_or_empty(batch.get("metadata")).get(TAG) == tag:
                    return self._id_in(batch)
            oldest = min((utc_time(batch.get("created_at")) for batch in batches), default=None)
            if not page.get("has_more") or oldest is None or oldest < since - CLOCK_SLACK:
                return None
            previous, after = after, self._id_in(batches[-1])
            if after == previous:
                return None  # the server has no pages

    async def status(self, remote_id: str) -> RemoteBatch:
        """See `BatchAPI.status`."""
        batch = await self._json("GET", f"/batches/{quote(remote_id)}")
        status = str(batch.get("status"))
        counts = dict_or_empty(batch.get("request_counts"))
        errors = dicts(dict_or_empty(batch.get("errors")).get("data"))
        return RemoteBatch(
            id=remote_id,
            state={"completed": "done", "expired": "done", "cancelled": "cancelled", "failed": "failed"}.get(
                status, "running"
            ),  # type: ignore[arg-type]  # these are its values
            detail=f"{status}, {counts.get('completed', 0)} of {counts.get('total', 0)} done",
            problem=redact("; ".join(str(error.get("message")) for error in errors)),
            files=tuple(str(batch[name]) for name in ("output_file_id", "error_file_id") if batch.get(name)),
        )

    async def results(
        self,
        batch: RemoteBatch,
        bodies: Mapping[str, Mapping[str, Any]],  # noqa: ARG002  replies have OpenAI's form already
    ) -> list[Result]:
        """See `BatchAPI.results`."""
        found: list[Result] = []
        for file in batch.files:
            content = await self._call("GET", f"/files/{quote(file)}/content")
            for line in json_lines(content):
                response, request_id = line.get("response"), line.get("custom_id")
                if not isinstance(request_id, str):
                    continue
                status = response.get("status_code") if isinstance(response, dict) else None
                body = response.get("body") if isinstance(response, dict) else None
                if status == 200 and isinstance(body, dict):
                    found.append((request_id, body, None))
                else:
                    found.append((request_id, None, _error(status, body or line.get("error"))))
        return found

    async def cancel(self, remote_id: str) -> None:
        """See `BatchAPI.cancel`."""
        await self._json("POST", f"/batches/{quote(remote_id)}/cancel")


def _error(status: object, body: Any) -> dict[str, Any]:
    error = body.get("error", body) if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return {"status": status if isinstance(status, int) else None, "message": redact(str(message or "no reply"))}


def _multipart(fields: Mapping[str, str], file_name: str, content: bytes) -> tuple[str, bytes]:
    """The content type and the body of a form with a file."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n'
        "Content-Type: application/jsonl\r\n\r\n"
    )
    return f"multipart/form-data; boundary={boundary}", b"".join(
        [*parts, head.encode(), content, f"\r\n--{boundary}--\r\n".encode()]
    )
