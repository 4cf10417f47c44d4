"""What LiteLLM would send and how it would read the reply, for requests that go another way, such as in a batch.

These functions of LiteLLM are those that its own calls use, so that a request in a batch is the one of a live call.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from rewardanything_core.backends.endpoint import litellm_adapter
from rewardanything_core.types import Message


async def body(
    litellm: Any,
    provider: str,
    model: str,
    messages: Sequence[Message],
    parameters: Mapping[str, Any],
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """The body of a request as LiteLLM sends it.

    For Anthropic it is ``params``, with the ``betas`` that have to be named in a header.

    Args:
        litellm: The library.
        provider: LiteLLM's name of the provider.
        model: The provider's name of the model.
        messages: The conversation.
        parameters: The other arguments of ``litellm.acompletion``.
        extra: Fields beyond OpenAI's protocol.

    Raises:
        Exception: whatever LiteLLM raises, such as for a parameter that the model does not take.
    """
    with litellm_adapter.quiet(litellm):
        return await _body(litellm, provider, model, messages, parameters, extra)


async def _body(
    litellm: Any,
    provider: str,
    model: str,
    messages: Sequence[Message],
    parameters: Mapping[str, Any],
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    from litellm.utils import ProviderConfigManager, get_optional_params

    optional: dict[str, Any] = get_optional_params(
        model=model,
        custom_llm_provider=provider,
        messages=[dict(message) for message in messages],
        **parameters,
        **({"extra_body": dict(extra)} if extra else {}),
    )
    config = ProviderConfigManager.get_provider_chat_config(model=model, provider=litellm.LlmProviders(provider))
    if provider == "anthropic":
        return await _anthropic_body(config, model, messages, optional)
    beyond = optional.pop("extra_body", None) or {}  # OpenAI's client adds it to the body
    optional.pop("stream", None)
    conversation = [dict(message) for message in messages]
    request: dict[str, Any] = await config.async_transform_request(
        model=model, messages=conversation, optional_params=optional, litellm_params={}, headers={}
    )
    request.pop("stream", None)
    return {**request, **beyond}


async def _anthropic_body(
    config: Any, model: str, messages: Sequence[Message], optional: dict[str, Any]
) -> dict[str, Any]:
    optional.pop("json_mode", None)
    conversation = [dict(message) for message in messages]
    headers = config.validate_environment(
        headers={}, model=model, messages=conversation, optional_params=optional, litellm_params={}, api_key="none"
    )
    params = await config.async_transform_request(
        model=model, messages=conversation, optional_params=optional, litellm_params={}, headers=headers
    )
    return {"params": params, "betas": [beta for beta in headers.get("anthropic-beta", "").split(",") if beta]}


def anthropic_reply(litellm: Any, message: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """A reply of Anthropic in OpenAI's form, as LiteLLM converts that of a live call.

    Args:
        litellm: The library.
        message: The reply.
        params: The request.

    Raises:
        Exception: whatever LiteLLM raises on a message of an unknown form.
    """
    import httpx
    from litellm.llms.anthropic.chat.transformation import AnthropicConfig

    with litellm_adapter.quiet(litellm):
        response = AnthropicConfig().transform_response(
            model=params["model"],
            raw_response=httpx.Response(200, content=json.dumps(message)),
            model_response=litellm.ModelResponse(),
            logging_obj=SimpleNamespace(post_call=lambda **_: None),  # no call was made
            request_data=dict(params),
            messages=[],
            optional_params=dict(params),
            litellm_params={},
            encoding=None,
            json_mode=bool(params.get("tools")),  # LiteLLM makes a tool of a schema for models without schemas
        )
    reply: dict[str, Any] = response.model_dump(mode="json")
    return reply


def anthropic_url(base_url: str | None) -> str:
    """The address of Anthropic's API without a path, as live calls find it.

    Args:
        base_url: The address. None: ANTHROPIC_API_BASE or ANTHROPIC_BASE_URL, else Anthropic's own.
    """
    from litellm.llms.anthropic.common_utils import AnthropicModelInfo

    base: str = AnthropicModelInfo.get_api_base(base_url)
    return base.rstrip("/").removesuffix("/messages").removesuffix("/v1")


def anthropic_headers(key: str | None, base_url: str | None) -> dict[str, str]:
    """The headers with the key and the version of the protocol that live calls use.

    Args:
        key: The key. None: that of the environment.
        base_url: The address.

    Raises:
        Exception: there is no key.
    """
    from litellm.llms.anthropic.chat.transformation import AnthropicConfig

    headers: dict[str, str] = AnthropicConfig().validate_environment(
        headers={}, model="", messages=[], optional_params={}, litellm_params={}, api_key=key, api_base=base_url
    )
    return headers


def azure_url(litellm: Any, base_url: str | None, path: str) -> str:
    """A URL of an Azure OpenAI resource, with the API version that live calls use.

    Args:
        litellm: The library.
        base_url: The resource's address. None: LiteLLM's setting, or AZURE_API_BASE.
        path: The path below the API, such as ``/batches``.

    Raises:
        ValueError: there is no address.
    """
    from litellm.llms.azure.common_utils import BaseAzureLLM

    base = base_url or litellm.api_base or os.environ.get("AZURE_API_BASE")
    version = litellm.api_version or os.environ.get("AZURE_API_VERSION") or litellm.AZURE_DEFAULT_API_VERSION
    resource = base.partition("/openai/deployments")[0] if base else None
    url: str = BaseAzureLLM._get_base_azure_url(resource, {"api_version": version}, f"/openai{path}")
    return url


def azure_headers(key: str | None) -> dict[str, str]:
    """The headers with the key or the Entra token that live calls use.

    Args:
        key: The key. None: LiteLLM's setting, or that of the environment.
    """
    from litellm.llms.azure.common_utils import BaseAzureLLM
    from litellm.types.router import GenericLiteLLMParams

    headers: dict[str, str] = BaseAzureLLM._base_validate_azure_environment({}, GenericLiteLLMParams(api_key=key))
    return headers
