"""Anthropic's batch API (Message Batches): the requests in the call that creates a batch, one list of results.

A batch has no name or metadata. What was sent before a process was killed is found by its time and number of requests,
and is certain only when it has ended, since its results name the requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from rewardanything_core.backends.endpoint import litellm_wire
from rewardanything_core.backends.endpoint.attempt_errors import redact
from rewardanything_core.backends.endpoint.batch_api import (
    CLOCK_SLACK,
    BatchAPI,
    RemoteBatch,
    Result,
    dict_or_empty,
    dicts,
    json_lines,
    utc_time,
)
from rewardanything_core.errors import BackendError

_PAGE = 100

_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The type of an error -> the HTTP status of a live request that fails with it."""


class AnthropicBatchAPI(BatchAPI):
    """Message Batches: requests and replies are converted as LiteLLM converts those of live calls."""

    protocol = "Anthropic's"
    max_requests: ClassVar[int] = 100_000
    max_bytes: ClassVar[int] = 256_000_000
    finds_by_tag = False

    async def create(self, bodies: Mapping[str, Mapping[str, Any]], tag: str) -> str:  # noqa: ARG002  there are no names
        """See `BatchAPI.create`."""
        requests = [{"custom_id": request_id, "params": body["params"]} for request_id, body in bodies.items()]
        betas = {beta for body in bodies.values() for beta in body["betas"]}
        headers = {"anthropic-beta": ",".join(sorted(betas))} if betas else {}
        return self._id_in(await self._json("POST", "", {"requests": requests}, idempotent=False, headers=headers))

    async def find(
        self,
        tag: str,  # noqa: ARG002
        since: datetime,
        requests: Collection[str],
        known: set[str],
    ) -> str | None:
        """See `BatchAPI.find`: the only batch of this size since then that is not known to be another one.

        Raises:
            BackendError: several may be it.
        """
        possible: list[str] = []
        for batch in await self._since(since):
            remote_id = self._id_in(batch)
            if remote_id in known or _total(batch) != len(requests):
                continue
            if batch.get("processing_status") != "ended":
                possible.append(remote_id)
            elif any(line.get("custom_id") in requests for line in await self._lines(remote_id)):
                return remote_id
        if len(possible) > 1:
            raise BackendError(
                f"A batch of {len(requests):,} requests may have been sent as one of {', '.join(possible)}: "
                "Anthropic's batches have no names, and these have not ended.",
                hint="Run the command again when they have ended; their results show which one it is.",
            )
        return possible[0] if possible else None

    async def _since(self, since: datetime) -> list[dict[str, Any]]:
        """The batches that were created since a time."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            query = urlencode({"limit": _PAGE, **({"after_id": after} if after else {})})
            page = await self._json("GET", f"?{query}")
            batches = dicts(page.get("data"))
            recent = [batch for batch in batches if utc_time(batch.get("created_at")) >= since - CLOCK_SLACK]
            found += recent
            if not page.get("has_more") or not batches or len(recent) < len(batches):
                return found
            previous, after = after, self._id_in(batches[-1])
            if after == previous:
                return found

    async def status(self, remote_id: str) -> RemoteBatch:
        """See `BatchAPI.status`."""
        batch = await self._json("GET", f"/{quote(remote_id)}")
        status = str(batch.get("processing_status"))
        ended = "cancelled" if batch.get("cancel_initiated_at") else "done"
        done = dict_or_empty(batch.get("request_counts")).get("succeeded", 0)
        return RemoteBatch(
            id=remote_id,
            state=ended if status == "ended" else "running",  # type: ignore[arg-type]  # these are its values
            detail=f"{status}, {done} of {_total(batch)} done",
        )

    async def results(self, batch: RemoteBatch, bodies: Mapping[str, Mapping[str, Any]]) -> list[Result]:
        """See `BatchAPI.results`. The address in the batch is not used: the key goes to the configured one only."""
        lines = await self._lines(batch.id)
        return await asyncio.to_thread(lambda: [result for line in lines if (result := self._result(line, bodies))])

    async def cancel(self, remote_id: str) -> None:
        """See `BatchAPI.cancel`."""
        await self._json("POST", f"/{quote(remote_id)}/cancel")

    # --- requests

    def _url(self, path: str) -> str:
        return f"{litellm_wire.anthropic_url(self._base_url)}/v1/messages/batches{path}"

    def _headers(self) -> dict[str, str]:
        return {
            **litellm_wire.anthropic_headers(self._client.credentials.key, self._base_url),
            **self._client.credentials.headers,
        }

    async def _lines(self, remote_id: str) -> list[dict[str, Any]]:
        return list(json_lines(await self._call("GET", f"/{quote(remote_id)}/results")))

    def _result(self, line: Mapping[str, Any], bodies: Mapping[str, Mapping[str, Any]]) -> Result | None:
        request_id, result = line.get("custom_id"), dict_or_empty(line.get("result"))
        if not isinstance(request_id, str):
            return None
        if request_id not in bodies:
            return request_id, None, {"status": None, "message": "of another batch"}
        if result.get("type") != "succeeded":
            return request_id, None, _error(result)
        try:
            reply = litellm_wire.anthropic_reply(self._client.litellm, result["message"], bodies[request_id]["params"])
        except Exception as error:  # noqa: BLE001  LiteLLM fails with anything on a message that it does not know
            message = f"a message of an unknown form: {type(error).__name__}: {redact(str(error))}"
            return request_id, None, {"status": None, "message": message}
        return request_id, reply, None


def _total(batch: Mapping[str, Any]) -> int:
    """The number of a batch's requests: each is counted under one state."""
    return sum(n for n in dict_or_empty(batch.get("request_counts")).values() if isinstance(n, int))


def _error(result: Mapping[str, Any]) -> dict[str, Any]:
    error = dict_or_empty(result.get("error"))
    error = dict_or_empty(error.get("error", error))
    return {
        "status": _STATUS.get(str(error.get("type"))),
        "message": redact(str(error.get("message") or result.get("type") or "no reply")),
    }
