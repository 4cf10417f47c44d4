"""What tokens cost, and how many there are before a model has counted them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rewardanything_core.types import Message

BYTES_PER_TOKEN = 4
"""UTF-8 bytes of text for each token: about right for present tokenizers, in English and in other scripts."""

LEAST_BYTES_PER_TOKEN = 3
"""The same as a cautious bound, for what must not be exceeded."""

TOKENS_PER_MESSAGE = 8
"""Tokens around each message: its role and the separators of the chat template."""

TOKENS_PER_IMAGE = 2_000
"""More than providers count for an image at its usual resolution."""


class Prices(NamedTuple):
    """Prices of a token, in US dollars."""

    prompt: float
    """A prompt token."""

    cached: float
    """A prompt token that the provider had cached."""

    completion: float
    """A generated token."""

    def cost(self, prompt_tokens: int, completion_tokens: int, *, cached_tokens: int = 0) -> float:
        """The price of a request, in US dollars.

        Args:
            prompt_tokens: Prompt tokens, the cached ones included.
            completion_tokens: Generated tokens.
            cached_tokens: Prompt tokens that the provider had cached.
        """
        cached = min(cached_tokens, prompt_tokens)
        return (prompt_tokens - cached) * self.prompt + cached * self.cached + completion_tokens * self.completion


FREE = Prices(0.0, 0.0, 0.0)
"""The prices of a model on this machine."""


def approximate_tokens(messages: Sequence[Message], *, bytes_per_token: int = BYTES_PER_TOKEN) -> int:
    """An estimate of the number of tokens of a conversation, from the length of its texts.

    Args:
        messages: The conversation.
        bytes_per_token: `BYTES_PER_TOKEN` for an estimate, `LEAST_BYTES_PER_TOKEN` for a cautious bound.
    """
    tokens = 0
    for message in messages:
        content = message["content"]
        parts = [{"text": content}] if isinstance(content, str) else content or ()
        for part in parts:
            text = part.get("text", "")
            tokens += math.ceil(len(text.encode("utf-8", "replace")) / bytes_per_token)
            tokens += TOKENS_PER_IMAGE if part.get("type") == "image_url" else 0
    return tokens + TOKENS_PER_MESSAGE * len(messages)
