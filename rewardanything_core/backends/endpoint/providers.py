"""Model strings: which provider serves a model, and which providers are called without LiteLLM."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rewardanything_core.decisions import DecisionFormatName


@dataclass(frozen=True, kw_only=True)
class DirectProvider:
    """A provider with OpenAI's protocol, called over plain HTTP."""

    base_url: str | None = None
    """Its address. None: it has none, so that the user names the server."""

    base_url_variables: tuple[str, ...]
    """Environment variables with another address; the first one that is set counts. The same as LiteLLM's."""

    key_variable: str
    """Environment variable with the key."""

    path: str = ""
    """Appended to an address without a path."""

    requires_key: bool = False
    """Whether the provider's own address refuses requests without a key."""

    decision_route: DecisionFormatName | None = None
    """The decision route of a provider whose models write nothing. None: they write."""


_OLLAMA = DirectProvider(
    base_url="http://localhost:11434/v1",
    base_url_variables=("OLLAMA_API_BASE",),
    key_variable="OLLAMA_API_KEY",
    path="/v1",
)

DIRECT: dict[str, DirectProvider] = {
    "openai": DirectProvider(
        base_url="https://api.openai.com/v1",
        base_url_variables=("OPENAI_BASE_URL", "OPENAI_API_BASE"),
        key_variable="OPENAI_API_KEY",
        requires_key=True,
    ),
    "typesafe": DirectProvider(
        base_url="https://api.typesafe.ai/v1",
        base_url_variables=("TYPESAFE_BASE_URL", "TYPESAFE_API_BASE"),
        key_variable="TYPESAFE_API_KEY",
        path="/v1",
        requires_key=True,
        decision_route="systemone",
    ),
    "ollama": _OLLAMA,
    "ollama_chat": _OLLAMA,
    **{
        name: DirectProvider(base_url_variables=(f"{name.upper()}_API_BASE",), key_variable=f"{name.upper()}_API_KEY")
        for name in ("hosted_vllm", "litellm_proxy", "lm_studio", "xinference", "custom_openai")
    },
}
"""Providers that are called without LiteLLM, by the prefix of their model strings."""

OWN_SERVER = "hosted_vllm"
"""The provider of a model without a known prefix on a server that the user names."""

PROVIDERS = frozenset(DIRECT) | frozenset(
    """
    ai21 aiml anthropic azure azure_ai bedrock cerebras codestral cohere dashscope databricks deepinfra deepseek
    featherless_ai fireworks_ai friendliai gemini github github_copilot groq huggingface hyperbolic meta_llama minimax
    mistral moonshot nebius novita nscale nvidia_nim oci openrouter perplexity replicate sagemaker sambanova snowflake
    together_ai vercel_ai_gateway vertex_ai vllm volcengine watsonx xai zai
    """.split()
)
"""Prefixes of a model string (``openai/gpt-4o-mini``) that mean a model over the network."""

FIXED_ADDRESSES = ("replicate", "sagemaker")
"""Providers whose address LiteLLM takes from nowhere but its own code: it ignores an ``api_base``."""

_ALIASES = {
    "azure_openai": "azure",
    "bedrock_converse": "bedrock",
    "fireworks": "fireworks_ai",
    "google_genai": "gemini",
    "google_vertexai": "vertex_ai",
    "mistralai": "mistral",
    "together": "together_ai",
}
"""LangChain's and MLflow's names of providers -> LiteLLM's."""

_FAMILIES = {
    r"gpt-(?!oss|j|neo)|chatgpt-|o\d(-|$)": "openai",
    r"claude-": "anthropic",
    r"gemini-": "gemini",
    r"command-": "cohere",
    r"deepseek-(chat|reasoner)$": "deepseek",
    r"grok-": "xai",
}
"""Beginnings of names without a provider -> the provider whose names begin like this."""

_COLON = re.compile(r"([a-z][a-z0-9_]+):/?(?=[^/\\])")


def normalized(model: str, *, has_server: bool = False) -> str:
    """A model string with its provider in LiteLLM's form: ``provider/model``.

    It accepts MLflow's form (``openai:/gpt-5-mini``), LangChain's (``openai:gpt-5-mini``), and the names of well-known
    hosted models without a provider (``gpt-5-mini``). Other strings stay as they are.

    Args:
        model: The model string.
        has_server: Whether the user names the server. A name without a provider then means no other provider than
            OpenAI, whose protocol the server has.
    """
    if (prefix := _COLON.match(model)) is not None:
        provider = _ALIASES.get(prefix[1], prefix[1])
        if provider in PROVIDERS:
            return f"{provider}/{model[prefix.end() :]}"
    if "/" not in model:
        for family, provider in _FAMILIES.items():
            if re.match(family, model) and (provider in DIRECT or not has_server):
                return f"{provider}/{model}"
    return model


def provider_of(model: str) -> str | None:
    """The provider that a model string names; None if it names none that is known."""
    prefix, slash, _ = model.partition("/")
    return prefix if slash and prefix in PROVIDERS else None
