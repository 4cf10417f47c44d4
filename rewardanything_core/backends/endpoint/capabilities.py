"""What a server accepts. Each server rejects something, and its error messages are the only way to find out."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from rewardanything_core.decisions import DecisionFormatName
from rewardanything_core.types import Message

logger = logging.getLogger("rewardanything_core")

_WORDS = {
    "response_format": ("response_format", "json_schema", "schema", "structured", "guided", "grammar"),
    "chat_template_kwargs": ("chat_template_kwargs", "enable_thinking"),
    "top_logprobs": ("top_logprobs", "logprobs", "max_logprobs"),
    "max_tokens": ("max_completion_tokens",),
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "seed": ("seed",),
}
"""Parameter -> the words by which an error message refers to it."""

_UNSUPPORTED_MAX_TOKENS = re.compile(
    r"max_tokens\W.{0,80}\b(?:unsupported|not supported|not permitted|unknown|unrecognized|deprecated)"
    r"|(?:unsupported|unknown|unrecognized|unexpected)\b.{0,40}\bmax_tokens\b",
    re.IGNORECASE | re.DOTALL,
)

_REJECTS_ROLES = re.compile(
    r"system role (?:is )?not supported|roles must alternate|only user\b.{0,20}\broles are supported"
    r"|(?:does not|doesn't) support (?:the )?'?(?:system|developer)"
    r"|(?:unexpected|unsupported|unknown|invalid) (?:role|value):? '?\"?(?:system|developer)\b"
    r"|role '?\"?(?:system|developer)'?\"? is (?:not supported|unsupported|invalid)"
    r"|(?:system|developer) (?:messages?|prompts?|instructions?|role)s? (?:is|are) not (?:supported|enabled|allowed)",
    re.IGNORECASE,
)
"""Chat templates without a system role (Gemma, Mistral, Llama 2) and providers that have none for some models."""

_READ = 500
"""How much of an error message is searched, in characters: a strict server may repeat the whole request."""

_FEW_LOGPROBS = 5


class ServerCapabilities:
    """What one server supports, learned from its replies and shared by all requests to it.

    Args:
        required: Parameters that are sent even if the server rejects them.
    """

    def __init__(self, *, required: frozenset[str] = frozenset()) -> None:
        self.unsupported: set[str] = set()
        """Parameters that are no longer sent."""

        self.constrains_after_reasoning: bool | None = None
        """Whether a JSON schema constrains only what follows the reasoning. None: not known yet."""

        self.top_logprobs = 20
        """How many alternatives to request for each token."""

        self.takes_max_completion_tokens = False
        """Whether the token limit is sent as ``max_completion_tokens`` instead of ``max_tokens``."""

        self.takes_system_role = True
        """Whether a system message can be sent. If not, it is prepended to the user's message."""

        self.decision_route: DecisionFormatName | None = None
        """The decision route that the server has. None: not known yet."""

        self._required = required

    def accepts(self, parameter: str) -> bool:
        """Whether a parameter can be sent."""
        return parameter not in self.unsupported

    def adapt(self, messages: Sequence[Message], parameters: Mapping[str, Any]) -> tuple[list[Message], dict[str, Any]]:
        """Messages and parameters in the form that the server accepts, as far as is known.

        Args:
            messages: The conversation.
            parameters: Parameter name -> value.

        Returns:
            The messages and parameters to send.
        """
        adapted = {name: value for name, value in parameters.items() if self.accepts(name)}
        if "top_logprobs" in adapted:
            adapted["top_logprobs"] = min(adapted["top_logprobs"], self.top_logprobs)
        if self.takes_max_completion_tokens and "max_tokens" in adapted:
            adapted["max_completion_tokens"] = adapted.pop("max_tokens")
        return (list(messages) if self.takes_system_role else _without_system_role(messages)), adapted

    def drop_unsupported(
        self, messages: Sequence[Message], parameters: Mapping[str, Any], refusal: str, *, roles_only: bool = False
    ) -> bool:
        """Stop sending what an error message rejects, in this request and all later ones.

        Args:
            messages: The messages of the rejected request, as sent.
            parameters: Its parameters, as sent.
            refusal: The server's message.
            roles_only: Whether the status does not mean a bad request, so that only a chat template's own words count.

        Returns:
            Whether anything changed, so that the request should be sent again at once.
        """
        if _REJECTS_ROLES.search(refusal[:_READ]):
            self._learn_roles()
            return any(message["role"] == "system" for message in messages) or _has_repeated_roles(messages)
        name = None if roles_only else self._rejected_parameter(parameters, refusal)
        if name is None or name in self._required:
            return False
        if name == "top_logprobs":
            if parameters[name] <= _FEW_LOGPROBS:
                return False
            self.top_logprobs = _FEW_LOGPROBS
        elif name == "max_tokens":
            self.takes_max_completion_tokens = True
        elif name not in self.unsupported:
            self.unsupported.add(name)
            logger.warning("The endpoint does not accept %s; continuing without it.", name)
        return True

    def saw_reasoning(self) -> None:
        """Record that reasoning arrived separately from the answer: a constraint probably leaves the reasoning alone.

        Only probably, because LiteLLM itself removes think tags from the content, whether or not the server has a
        reasoning parser.
        """
        if self.constrains_after_reasoning is None:
            self.constrains_after_reasoning = True

    def saw_suppressed_reasoning(self) -> None:
        """Record that a reasoning model replied without reasoning under a constraint: there is none from now on."""
        if self.constrains_after_reasoning is not False:
            self.constrains_after_reasoning = False
            logger.info("The endpoint has no reasoning parser; replies of reasoning models are not constrained.")

    def _learn_roles(self) -> None:
        if self.takes_system_role:
            self.takes_system_role = False
            logger.info("The endpoint's chat template has no system role; it is sent as part of the user's message.")

    def _rejected_parameter(self, parameters: Mapping[str, Any], refusal: str) -> str | None:
        # The place of the error is more reliable than a mention in its text.
        for places in (
            re.findall(r'"param": "([^"]+)"', refusal),
            re.findall(r'"loc":\s*\[([^\]]*)\]', refusal),
        ):
            if name := _mentioned(parameters, " ".join(places)):
                return name
        if name := _mentioned(parameters, refusal[:_READ]):
            return name
        if "max_tokens" in parameters and _UNSUPPORTED_MAX_TOKENS.search(refusal[:_READ]):
            return "max_tokens"
        # Thinking is switched off with a field that only some servers know, and not all name the field they reject.
        return "chat_template_kwargs" if "chat_template_kwargs" in parameters else None


def _mentioned(parameters: Mapping[str, Any], text: str) -> str | None:
    for name, words in _WORDS.items():
        if name in parameters and any(re.search(rf"(?<![a-z]){word}(?![a-z])", text, re.IGNORECASE) for word in words):
            return name
    return None


def _has_repeated_roles(messages: Sequence[Message]) -> bool:
    return any(one["role"] == other["role"] for one, other in pairwise(messages))


def _without_system_role(messages: Sequence[Message]) -> list[Message]:
    """The conversation with system messages as the user's, and consecutive messages of one role as one."""
    merged: list[Message] = []
    for message in messages:
        role = "user" if message["role"] == "system" else message["role"]
        if merged and merged[-1]["role"] == role:
            merged[-1] = Message(role=role, content=_merged(merged[-1]["content"], message["content"]))
        else:
            merged.append(Message(role=role, content=message["content"]))
    return merged


def _merged(first: Any, second: Any) -> Any:
    """Two contents as one; either may be a list of parts."""
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return [part for content in (first, second) for part in _parts(content)]


def _parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
