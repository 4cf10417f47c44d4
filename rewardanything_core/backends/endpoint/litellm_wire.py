"""What LiteLLM would send and how it would read the reply, for requests that go another way, such as in a batch.

These functions of LiteLLM are those that its own calls use, so that a request in a batch is the one of a live call.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
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
    """The body of a request in OpenAI's protocol as LiteLLM sends it to Azure OpenAI.

    Args:
        litellm: The library.
        provider: LiteLLM's name of the provider.
        model: The provider's name of the model.
        messages: The conversation.
        parameters: The arguments of ``litellm.acompletion`` besides.
        extra: Fields beyond OpenAI's protocol.

    Raises:
        Exception: whatever LiteLLM raises, such as for a parameter that the model does not take.
    """
    config, optional = _converted(litellm, provider, model, messages, parameters, extra)
    beyond = optional.pop("extra_body", None) or {}  # OpenAI's client adds it to the body
    optional.pop("stream", None)
    conversation = [dict(message) for message in messages]
    request: dict[str, Any] = await config.async_transform_request(
        model=model, messages=conversation, optional_params=optional, litellm_params={}, headers={}
    )
    request.pop("stream", None)
    return {**request, **beyond}


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


def _converted(
    litellm: Any,
    provider: str,
    model: str,
    messages: Sequence[Message],
    parameters: Mapping[str, Any],
    extra: Mapping[str, Any],
) -> tuple[Any, dict[str, Any]]:
    """LiteLLM's class for the provider's chat protocol, and the parameters in the provider's form."""
    from litellm.utils import ProviderConfigManager, get_optional_params

    with litellm_adapter.quiet(litellm):
        optional: dict[str, Any] = get_optional_params(
            model=model,
            custom_llm_provider=provider,
            messages=[dict(message) for message in messages],
            **parameters,
            **({"extra_body": dict(extra)} if extra else {}),
        )
    config = ProviderConfigManager.get_provider_chat_config(model=model, provider=litellm.LlmProviders(provider))
    return config, optional
