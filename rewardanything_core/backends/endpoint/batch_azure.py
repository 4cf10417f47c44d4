"""Azure OpenAI's batch API: OpenAI's protocol with another address, key and version, and files that take time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from rewardanything_core.backends.endpoint import litellm_wire
from rewardanything_core.backends.endpoint.attempt_errors import redact
from rewardanything_core.backends.endpoint.batch_openai import OpenAIBatchAPI
from rewardanything_core.errors import BackendError, BackendTimeoutError

_PENDING = frozenset({"pending", "running", "notRunning", "uploading"})
"""States of a file that Azure is still checking; a batch that refers to one is refused."""

_FILE_SECONDS = 600.0
_POLL_SECONDS = 2.0


class AzureBatchAPI(OpenAIBatchAPI):
    """Azure OpenAI: the address, the key or token, and the API version are those of LiteLLM's live calls.

    Deployments for batches answer no live requests, so ``batch_model`` names one besides the one of live requests.
    """

    protocol = "Azure OpenAI's"
    max_requests: ClassVar[int] = 100_000
    max_bytes: ClassVar[int] = 200_000_000
    route = "/chat/completions"

    def _headers(self) -> dict[str, str]:
        return {**litellm_wire.azure_headers(self._client.credentials.key), **self._client.credentials.headers}

    def _url(self, path: str) -> str:
        route, _, query = path.partition("?")
        url = litellm_wire.azure_url(self._client.litellm, self._base_url, route)
        return f"{url}{'&' if '?' in url else '?'}{query}" if query else url

    async def _ready(self, file: Mapping[str, Any]) -> str:
        """Wait until Azure has checked an uploaded file."""
        file_id = self._id_in(file)
        waited = 0.0
        while file.get("status") in _PENDING:
            if waited >= _FILE_SECONDS:
                raise BackendTimeoutError(
                    f"Azure has not checked the file {file_id} of a batch in {_FILE_SECONDS:g} s."
                )
            await asyncio.sleep(_POLL_SECONDS)
            waited += _POLL_SECONDS
            file = await self._json("GET", f"/files/{quote(file_id)}")
        if file.get("status") == "error":
            details = redact(str(file.get("status_details") or "no reason given"))
            raise BackendError(f"Azure refused the file {file_id} of a batch: {details}.")
        return file_id
