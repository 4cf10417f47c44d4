"""What a server turned out to accept. Every server refuses something, and says so only when asked."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger("rewardanything_core")

_BLAMED_BY = {
    "response_format": ("response_format", "json_schema", "schema", "structured", "guided", "grammar"),
    "chat_template_kwargs": ("chat_template_kwargs", "enable_thinking"),
    "top_logprobs": ("top_logprobs", "logprobs", "max_logprobs"),
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "seed": ("seed",),
}
"""Parameter -> the words by which a refusal means it."""

_FEW_LOGPROBS = 5


class Dialect:
    """What one server understands, learned from its replies; shared by all requests to it."""

    def __init__(self, *, must_keep: frozenset[str] = frozenset()) -> None:
        self.refused: set[str] = set()
        """Parameters that are no longer sent."""

        self.constrains_thinking: bool | None = None
        """Whether a model that thinks can be held to a schema without being silenced. None: not known yet."""

        self.top_logprobs = 20
        """How many alternatives to ask for at each token."""

        self._must_keep = must_keep

    def saw_reasoning(self) -> None:
        """Note that reasoning came apart from its answer: a constraint probably leaves the reasoning alone.

        Only probably, because LiteLLM takes think tags out of the content by itself, whether or not the server has a
        reasoning parser.
        """
        if self.constrains_thinking is None:
            self.constrains_thinking = True

    def saw_silence(self) -> None:
        """Note that a thinking model gave a bare answer under a constraint: such models go without from now on."""
        if self.constrains_thinking is not False:
            self.constrains_thinking = False
            logger.info("The endpoint has no reasoning parser; replies of thinking models go unconstrained.")

    def takes(self, name: str) -> bool:
        """Whether a parameter may be sent."""
        return name not in self.refused

    def concede(self, sent: Mapping[str, Any], refusal: str) -> bool:
        """Give up what a refusal (status 400 or 422) blames, for this request and all later ones.

        Args:
            sent: The parameters of the refused request, by name.
            refusal: The server's message.

        Returns:
            Whether anything was given up, so that the request is worth sending again at once.
        """
        name = self._blamed(sent, refusal)
        if name is None or name in self._must_keep:
            return False
        if name == "top_logprobs":
            if sent[name] <= _FEW_LOGPROBS:
                return False
            self.top_logprobs = _FEW_LOGPROBS
        elif name not in self.refused:
            self.refused.add(name)
            logger.warning("The endpoint does not accept %s; going on without it.", name)
        return True

    def _blamed(self, sent: Mapping[str, Any], refusal: str) -> str | None:
        # A strict server may echo the whole request, so a place that is named as such goes before any
        # mention.
        for named in (
            re.findall(r'"param": "([^"]+)"', refusal),
            re.findall(r'"loc":\s*\[([^\]]*)\]', refusal),
        ):
            if found := self._mentioned(sent, " ".join(named)):
                return found
        if found := self._mentioned(sent, refusal[:500]):
            return found
        # Thinking is switched off through a field that only some servers know, and not all name what they
        # refuse.
        return "chat_template_kwargs" if "chat_template_kwargs" in sent else None

    @staticmethod
    def _mentioned(sent: Mapping[str, Any], text: str) -> str | None:
        for name, words in _BLAMED_BY.items():
            if name in sent and any(re.search(rf"(?<![a-z]){word}(?![a-z])", text, re.IGNORECASE) for word in words):
                return name
        return None
