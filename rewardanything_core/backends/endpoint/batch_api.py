"""Providers' batch APIs: many requests in one job, done within a day at a lower price."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

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


Result = tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]
"""Of a request: its id; the reply in OpenAI's form, or None; ``status`` and ``message`` of an error, or None."""


class BatchAPI(ABC):
    """A provider's batch API. For one event loop.

    Args:
        client: The endpoint, which knows the address and the key.
        base_url: The address. None: the provider's own.
    """

    protocol: ClassVar[str] = "OpenAI's"
    """Whose protocol it is, for error messages."""

    finds_by_tag: ClassVar[bool] = True
    """Whether `find` is certain. Otherwise only the results of a batch show whether it is the one that was sent."""

    max_requests: ClassVar[int] = 50_000
    """Maximum number of requests in a batch."""

    max_bytes: ClassVar[int] = 100_000_000
    """Maximum size of a batch, in bytes."""

    def __init__(self, client: EndpointClient, base_url: str | None) -> None:
        self._client, self._base_url = client, base_url
        self._transport = HTTPTransport()
        self._backoff = Backoff()

    @abstractmethod
    async def create(self, bodies: Mapping[str, Mapping[str, Any]], tag: str) -> str:
        """Send a batch, and return the provider's id.

        Args:
            bodies: Request id -> body, as `EndpointClient.batch_body` makes it.
            tag: Our id.

        Raises:
            UncertainError: it may have been created.
            BackendError: it was not.
        """

    @abstractmethod
    async def find(self, tag: str, since: datetime, requests: Collection[str], known: set[str]) -> str | None:
        """The provider's id of a batch that was sent earlier, or None.

        Args:
            tag: Our id.
            since: It was not sent before this time.
            requests: The ids of its requests.
            known: Providers' ids of all batches that are accounted for.
        """

    @abstractmethod
    async def status(self, remote_id: str) -> RemoteBatch:
        """How far a batch is."""

    @abstractmethod
    async def results(self, batch: RemoteBatch, bodies: Mapping[str, Mapping[str, Any]]) -> list[Result]:
        """The results of a batch. Lines that cannot be read are left out, so that they harm their own requests only.

        Args:
            batch: The batch.
            bodies: Request id -> body, as for `create`.
        """

    @abstractmethod
    async def cancel(self, remote_id: str) -> None:
        """Cancel a batch. What was done before can still be fetched."""

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    # --- requests

    def _url(self, path: str) -> str:
        """The URL of a path after the address."""
        return f"{self._base_url}{path}"

    def _headers(self) -> dict[str, str]:
        key = {"Authorization": f"Bearer {self._client.credentials.key}"} if self._client.credentials.key else {}
        return {**key, **self._client.credentials.headers}

    async def _call(
        self,
        method: str,
        path: str,
        data: bytes | None = None,
        *,
        headers: Mapping[str, str] = {},
        idempotent: bool = True,
    ) -> bytes:
        """Send a request, again if it failed and may succeed.

        Args:
            method: The HTTP method.
            path: The path after the address.
            data: The body.
            headers: Additional headers.
            idempotent: Whether it may be sent twice.

        Raises:
            UncertainError: with ``idempotent`` False, there was no response, or the server failed.
            BackendError: the last attempt failed.
        """
        for attempt in range(_ATTEMPTS):
            outcome = await self._attempt(method, path, data, headers)
            if not isinstance(outcome, AttemptError):
                return outcome
            refused = outcome.unreachable or (outcome.responded and (outcome.status or 500) < 500)
            if not idempotent and not refused:
                raise UncertainError from outcome.error
            if not outcome.error.retryable or attempt == _ATTEMPTS - 1:
                raise outcome.error
            await asyncio.sleep(self._backoff.delay(attempt, outcome.retry_after))
        raise AssertionError("unreachable")

    async def _attempt(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]
    ) -> bytes | AttemptError:
        try:
            await self._client.prepare()
            async with asyncio.timeout(600):
                status, found, raw = await self._transport.request(
                    method, self._url(path), {**self._headers(), **headers}, data
                )
            if not 200 <= status < 300:
                raise UnexpectedResponseError(status, raw.decode(errors="replace"), found)
            return raw
        except Exception as error:  # noqa: BLE001  as for any other request, `attempt_error` classifies it
            return attempt_error(error, self._client.error_context(self._base_url))

    async def _json(
        self, method: str, path: str, content: Any = None, *, idempotent: bool = True, headers: Mapping[str, str] = {}
    ) -> dict[str, Any]:
        data = None if content is None else json.dumps(content).encode()
        headers = {"Content-Type": "application/json", **headers}
        raw = await self._call(method, path, data, headers=headers, idempotent=idempotent)
        return self._object(raw)

    def _object(self, raw: bytes) -> dict[str, Any]:
        """A response that has to be a JSON object."""
        for parsed in json_lines(raw.replace(b"\n", b" ")):
            return parsed
        raise self._malformed(raw.decode(errors="replace"))

    def _id_in(self, content: Mapping[str, Any]) -> str:
        """The id of a file or batch."""
        if not isinstance(content.get("id"), str) or not content["id"]:
            raise self._malformed(json.dumps(dict(content)))
        return str(content["id"])

    def _malformed(self, text: str) -> BackendError:
        where = self._client.error_context(self._base_url)
        return BackendError(f"{where} has another batch API than {self.protocol}; it replied {redact(text)!r:.300}")


class UncertainError(Exception):
    """Whether a batch was created is not known."""


def dict_or_empty(value: Any) -> dict[str, Any]:
    """A JSON object; an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def dicts(value: Any) -> list[dict[str, Any]]:
    """The JSON objects of a list; none if it is not a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def json_lines(content: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file with one on each line."""
    for line in content.splitlines():
        try:
            parsed = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(parsed, dict):
            yield parsed


def utc_time(value: Any) -> datetime:
    """A provider's time, in UTC. One that cannot be read is taken to be recent."""
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value).astimezone(UTC)
        return datetime.fromtimestamp(value, UTC)
    except (TypeError, ValueError, OverflowError):
        return datetime.now(UTC)
