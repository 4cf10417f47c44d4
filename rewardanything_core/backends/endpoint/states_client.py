"""Hidden states from a vLLM server of a model that `ra-judge export-backbone` has cut at a layer.

Such a server is started for pooling and returns, as the embedding of a conversation, the last hidden state of its last
token. The layer is part of the name that it serves the model under, so that a server of another layer, or of the whole
model, refuses the request instead of returning other states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from rewardanything_core.backends.endpoint.capabilities import ServerCapabilities
from rewardanything_core.backends.endpoint.client import EndpointClient
from rewardanything_core.backends.endpoint.completions import ChatCompletion, MalformedReplyError, token_count
from rewardanything_core.backends.endpoint.config import EndpointConfig
from rewardanything_core.backends.endpoint.retry import Backoff
from rewardanything_core.types import Message, Usage

if TYPE_CHECKING:
    import numpy as np

_LARGEST = 1e30
"""Largest number in a state; sums of larger ones exceed the range of 32-bit floats."""


def served_backbone(model: str, layer: int) -> str:
    """The name that a server must serve a model's first layers under.

    Args:
        model: The model's name, without a provider.
        layer: The number of layers.
    """
    return f"{model}-layer{layer}"


@dataclass(frozen=True, kw_only=True)
class _StateReply(ChatCompletion):
    """A reply that is a state instead of text."""

    state: np.ndarray


class StatesClient(EndpointClient):
    """Requests hidden states, with the retries and limits of other requests.

    Args:
        config: The options of the backend, with ``states_base``.
        api_key: The key. None: there is none.
        layer: The number of layers that the server runs.
    """

    reply_kind: ClassVar[str] = "a state"

    def __init__(self, config: EndpointConfig, api_key: str | None, layer: int) -> None:
        model = served_backbone(config.served_model, layer)
        server = replace(config, model=f"hosted_vllm/{model}", api_base=config.states_base, states_base=None)
        super().__init__(server, api_key, ServerCapabilities(), Backoff())

    async def state(self, messages: Sequence[Message]) -> tuple[np.ndarray, Usage]:
        """The state where the reply to a conversation would begin, and the usage.

        Args:
            messages: The conversation.

        Raises:
            BackendError: as for `EndpointClient.send`.
        """
        reply, usage = await self.send(messages, {})
        assert isinstance(reply, _StateReply)
        return reply.state, usage + Usage(prompt_tokens=reply.prompt_tokens)

    async def _response(self, messages: Sequence[Message], parameters: Mapping[str, Any], base_url: str | None) -> Any:
        assert self._transport is not None
        body = {
            "model": self._served_model,
            "messages": messages,
            "add_generation_prompt": True,
            "use_activation": False,  # as it is, not normalized
            **parameters,
        }
        return await self._transport.post(f"{base_url}/embeddings", self.credentials.key, body, required="data")

    def _parse(self, response: Any) -> ChatCompletion:
        usage = response.get("usage")
        return _StateReply(
            state=_state(response),
            prompt_tokens=token_count(usage.get("prompt_tokens")) if isinstance(usage, Mapping) else 0,
            answer="",
            reasoning=None,
            separate=False,
            truncated=False,
            failure=None,
            failure_text="",
            logprobs=[],
            cached_tokens=0,
            completion_tokens=0,
            cost=None,
        )


def _state(response: Mapping[str, Any]) -> np.ndarray:
    import numpy as np

    data = response["data"]
    entry = data[0] if isinstance(data, list) and len(data) == 1 else None
    values = entry.get("embedding") if isinstance(entry, Mapping) else None
    if not (isinstance(values, list) and values and all(_is_number(value) for value in values)):
        raise MalformedReplyError("data[0].embedding", values, "a list of numbers")
    return np.array(values, dtype=np.float32)


def _is_number(value: object) -> bool:
    """Whether a value is a number within the range of 32-bit floats."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
