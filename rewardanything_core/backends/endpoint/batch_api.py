"""Providers' batch APIs: many requests in one job, done within a day at a lower price."""

from __future__ import annotations

import asyncio
import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal
from urllib.parse import quote, urlencode

from rewardanything_core.backends.endpoint.attempt_errors import AttemptError, attempt_error, redact
from rewardanything_core.backends.endpoint.client import EndpointClient
from rewardanything_core.backends.endpoint.http import HTTPTransport, UnexpectedResponseError
from rewardanything_core.backends.endpoint.retry import Backoff
from rewardanything_core.errors import BackendError

TAG = "ra_judge_batch"
"""Name of the metadata with our id of a batch."""

CLOCK_SLACK = timedelta(hours=1)
"""How far a provider's clock may be from ours."""

_ATTEMPTS = 5
_PAGE = 100


@dataclass(frozen=True, kw_only=True)
class RemoteBatch:
    """A batch as the provider describes it."""

    id: str
    """The provider's id."""

    state: Literal["running", "done", "cancelled", "failed"]
    """``done``: there are results, perhaps not for all requests. ``failed``: it was refused as a whole."""

    detail: str
    """The provider's own word for its state, with the number of requests done."""

    problem: str = ""
    """Why it was refused; empty if it was not."""

    files: tuple[str, ...] = ()
    """Where its results are."""


class BatchAPI(ABC):
    """A provider's batch API. For one event loop.

    Args:
        client: The endpoint, which knows the address and the key.
        base_url: The address.
    """

    max_requests: ClassVar[int] = 50_000
    """Maximum number of requests in a batch."""

    max_bytes: ClassVar[int] = 100_000_000
    """Maximum size of a batch, in bytes."""

    def __init__(self, client: EndpointClient, base_url: str) -> None:
        self._client, self._base_url = client, base_url
        self._transport = HTTPTransport()
        self._backoff = Backoff()

    @abstractmethod
    async def create(self, bodies: Mapping[str, Mapping[str, Any]], tag: str) -> str:
        """Send a batch, and return the provider's id.

        Args:
            bodies: Request id -> body in OpenAI's protocol.
            tag: Our id.

        Raises:
            UncertainError: it may have been created.
            BackendError: it was not.
        """

    @abstractmethod
    async def find(self, tag: str, since: datetime, requests: int, known: set[str]) -> str | None:
        """The provider's id of a batch that was sent earlier, or None.

        Args:
            tag: Our id.
            since: It was not sent before this time.
            requests: Number of its requests.
            known: Providers' ids of all batches that are accounted for.
        """

    @abstractmethod
    async def status(self, remote_id: str) -> RemoteBatch:
        """How far a batch is."""

    @abstractmethod
    async def results(self, batch: RemoteBatch) -> list[tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]]:
        """The results of a batch: request id, reply in OpenAI's form or None, error or None.

        Lines that cannot be read are left out, so that they harm their own requests only.
        """

    @abstractmethod
    async def cancel(self, remote_id: str) -> None:
        """Cancel a batch. What was done before can still be fetched."""

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    # --- requests

    def _headers(self) -> dict[str, str]:
        key = {"Authorization": f"Bearer {self._client.key}"} if self._client.key else {}
        return {**key, **self._client.headers}

    async def _call(
        self, method: str, path: str, data: bytes | None = None, *, headers: Mapping[str, str] = {}, again: bool = True
    ) -> bytes:
        """Send a request, again if it failed and may succeed.

        Args:
            method: The HTTP method.
            path: The path after the address.
            data: The body.
            headers: Additional headers.
            again: Whether sending it twice does no harm.

        Raises:
            UncertainError: with ``again`` False, there was no response, or the server failed.
            BackendError: the last attempt failed.
        """
        for attempt in range(_ATTEMPTS):
            outcome = await self._attempt(method, path, data, headers)
            if not isinstance(outcome, AttemptError):
                return outcome
            refused = outcome.unreachable or (outcome.responded and (outcome.status or 500) < 500)
            if not again and not refused:
                raise UncertainError from outcome.error
            if not outcome.error.retryable or attempt == _ATTEMPTS - 1:
                raise outcome.error
            await asyncio.sleep(self._backoff.delay(attempt, outcome.retry_after))
        raise AssertionError("unreachable")

    async def _attempt(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]
    ) -> bytes | AttemptError:
        url = f"{self._base_url}{path}"
        try:
            async with asyncio.timeout(600):
                status, found, raw = await self._transport.request(method, url, {**self._headers(), **headers}, data)
            if not 200 <= status < 300:
                raise UnexpectedResponseError(status, raw.decode(errors="replace"), found)
            return raw
        except Exception as error:  # noqa: BLE001  as for any other request, `attempt_error` classifies it
            return attempt_error(error, self._client.error_context(self._base_url))

    async def _json(self, method: str, path: str, content: Any = None, *, again: bool = True) -> dict[str, Any]:
        data = None if content is None else json.dumps(content).encode()
        raw = await self._call(method, path, data, headers={"Content-Type": "application/json"}, again=again)
        return self._object(raw)

    def _object(self, raw: bytes) -> dict[str, Any]:
        """A response that has to be a JSON object."""
        for parsed in _objects(raw.replace(b"\n", b" ")):
            return parsed
        raise self._malformed(raw.decode(errors="replace"))

    def _id_in(self, content: Mapping[str, Any]) -> str:
        """The id of a file or batch."""
        if not isinstance(content.get("id"), str) or not content["id"]:
            raise self._malformed(json.dumps(dict(content)))
        return str(content["id"])

    def _malformed(self, text: str) -> BackendError:
        where = self._client.error_context(self._base_url)
        return BackendError(f"{where} has another batch API than OpenAI's; it replied {redact(text)!r:.300}")


class UncertainError(Exception):
    """Whether a batch was created is not known."""


class OpenAIBatchAPI(BatchAPI):
    """OpenAI's protocol: a file with a request on each line, a batch that refers to it, files with the results."""

    async def create(self, bodies: Mapping[str, Mapping[str, Any]], tag: str) -> str:
        """See `BatchAPI.create`. A file that no batch refers to costs nothing."""
        lines = (
            json.dumps({"custom_id": request_id, "method": "POST", "url": "/v1/chat/completions", "body": body})
            for request_id, body in bodies.items()
        )
        kind, form = _multipart({"purpose": "batch"}, f"{tag}.jsonl", "".join(f"{line}\n" for line in lines).encode())
        uploaded = self._object(await self._call("POST", "/files", form, headers={"Content-Type": kind}))
        content = {
            "input_file_id": self._id_in(uploaded),
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": {TAG: tag},
        }
        return self._id_in(await self._json("POST", "/batches", content, again=False))

    async def find(self, tag: str, since: datetime, requests: int, known: set[str]) -> str | None:  # noqa: ARG002
        """See `BatchAPI.find`: the batch with the tag among all since then."""
        after: str | None = None
        while True:
            query = urlencode({"limit": _PAGE, **({"after": after} if after else {})})
            page = await self._json("GET", f"/batches?{query}")
            batches = _dicts(page.get("data"))
            for batch in batches:
                if _dict(batch.get("metadata")).get(TAG) == tag:
                    return self._id_in(batch)
            oldest = min((_time(batch.get("created_at")) for batch in batches), default=None)
            if not page.get("has_more") or oldest is None or oldest < since - CLOCK_SLACK:
                return None
            previous, after = after, self._id_in(batches[-1])
            if after == previous:
                return None  # the server has no pages

    async def status(self, remote_id: str) -> RemoteBatch:
        """See `BatchAPI.status`."""
        batch = await self._json("GET", f"/batches/{quote(remote_id)}")
        status = str(batch.get("status"))
        counts = _dict(batch.get("request_counts"))
        errors = _dicts(_dict(batch.get("errors")).get("data"))
        return RemoteBatch(
            id=remote_id,
            state={"completed": "done", "expired": "done", "cancelled": "cancelled", "failed": "failed"}.get(
                status, "running"
            ),  # type: ignore[arg-type]  # these are its values
            detail=f"{status}, {counts.get('completed', 0)} of {counts.get('total', 0)} done",
            problem=redact("; ".join(str(error.get("message")) for error in errors)),
            files=tuple(str(batch[name]) for name in ("output_file_id", "error_file_id") if batch.get(name)),
        )

    async def results(self, batch: RemoteBatch) -> list[tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]]:
        """See `BatchAPI.results`."""
        found: list[tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]] = []
        for file in batch.files:
            content = await self._call("GET", f"/files/{quote(file)}/content")
            for line in _objects(content):
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


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _error(status: object, body: Any) -> dict[str, Any]:
    error = body.get("error", body) if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return {"status": status if isinstance(status, int) else None, "message": redact(str(message or "no reply"))}


def _objects(content: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file with one on each line."""
    for line in content.splitlines():
        try:
            parsed = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(parsed, dict):
            yield parsed


def _time(value: Any) -> datetime:
    """A provider's time, in UTC. One that cannot be read is taken to be recent."""
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value).astimezone(UTC)
        return datetime.fromtimestamp(value, UTC)
    except (TypeError, ValueError, OverflowError):
        return datetime.now(UTC)


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
