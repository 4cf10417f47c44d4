"""What tokens cost, and how many there are before a model has counted them."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import NamedTuple

from rewardanything_core.types import Message

_LETTERS = (string.ascii_letters + " ").encode()

_TYPICAL = (1 / 4.6, 1 / 1.7, 1.0)
"""Tokens for an ASCII letter or space, for any other ASCII character, and for a character of another script. With the
encoding cl100k the estimate is 0.75 to 1.25 times the count on prose, code, JSON and tables in several scripts, and 2.2
times in Cyrillic (benchmarks/token_estimates.py)."""

_CAUTIOUS = (1 / 3.6, 1 / 1.1, 1.4)
"""The same as a bound that none of these texts exceeds."""

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


def approximate_tokens(messages: Sequence[Message], *, cautious: bool = False) -> int:
    """An estimate of the number of tokens of a conversation, from the characters of its texts.

    Args:
        messages: The conversation.
        cautious: Whether to return a bound that is rather too high, instead of the likeliest number.
    """
    weights = _CAUTIOUS if cautious else _TYPICAL
    tokens = 0.0
    for message in messages:
        content = message["content"]
        parts = [{"text": content}] if isinstance(content, str) else content or ()
        for part in parts:
            tokens += _tokens(part.get("text", ""), weights)
            tokens += TOKENS_PER_IMAGE if part.get("type") == "image_url" else 0
    return math.ceil(tokens) + TOKENS_PER_MESSAGE * len(messages)


def _tokens(text: str, weights: tuple[float, float, float]) -> float:
    ascii_text = text.encode("ascii", "ignore")
    others = len(ascii_text.translate(None, _LETTERS))
    letter, other, foreign = weights
    return (len(ascii_text) - others) * letter + others * other + (len(text) - len(ascii_text)) * foreign
