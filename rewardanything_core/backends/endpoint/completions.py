"""Reading a chat completion: what is reasoning, what is the answer, and how likely its tokens were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rewardanything_core.backends.base import ChoiceProbabilities, TokenProbability


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A chat completion, taken apart."""

    answer: str
    """The content, or what came in its place."""

    reasoning: str | None
    """Reasoning that came apart from the content. None: none did."""

    separate: bool
    """Whether the server tells reasoning and content apart, wherever the answer then stood."""

    truncated: bool
    """Whether a token limit cut it off."""

    logprobs: Sequence[Any]
    """The server's token entries; empty if it gave none."""

    prompt_tokens: int
    """Tokens read, as counted by the server; 0 if it did not say."""

    completion_tokens: int
    """Tokens written, as counted by the server; 0 if it did not say."""

    cost: float | None
    """LiteLLM's price of the call in US dollars. None: not known."""


def read_reply(response: Any) -> Reply:
    """Take a LiteLLM ``ModelResponse``, or a server's JSON with attributes for keys, apart.

    Raises:
        ValueError: it has no choice with a message.
    """
    if not getattr(response, "choices", None):
        raise ValueError("the reply has no choices")
    choice = response.choices[0]
    content = choice.message.content or ""
    # vLLM has renamed the field.
    reasoning = getattr(choice.message, "reasoning_content", None) or getattr(choice.message, "reasoning", None) or None
    separate, truncated = reasoning is not None, choice.finish_reason == "length"
    if reasoning and not content.strip() and not truncated:
        # A reasoning parser that never sees the closing tag takes the whole answer for reasoning.
        content, reasoning = reasoning, None
    usage = getattr(response, "usage", None)
    return Reply(
        answer=content,
        reasoning=reasoning,
        separate=separate,
        truncated=truncated,
        logprobs=tuple(getattr(getattr(choice, "logprobs", None), "content", None) or ()),
        prompt_tokens=getattr(usage, "prompt_tokens", None) or 0,
        completion_tokens=getattr(usage, "completion_tokens", None) or 0,
        cost=(getattr(response, "_hidden_params", None) or {}).get("response_cost"),
    )


def align_tokens(entries: Sequence[Any], answer: str) -> tuple[TokenProbability, ...] | None:
    """The entries that make up the answer; their texts joined are the answer.

    The entries may begin earlier (reasoning, think tags) and end later (an end-of-turn token). Tokens that
    hold only part of a character are joined until the character is whole, without alternatives: there is no
    text they could have.

    Args:
        entries: Token log-probabilities as OpenAI gives them: ``token``, ``bytes``, ``logprob``,
            ``top_logprobs``.
        answer: The reply after its reasoning.

    Returns:
        The tokens, or None if the answer does not stand in the entries.
    """
    wanted = answer.encode()
    pieces = [_raw(entry) for entry in entries]
    start = b"".join(pieces).rfind(wanted)
    if start < 0:
        return None
    tokens: list[TokenProbability] = []
    position, pending = -start, b""
    for entry, raw in zip(entries, pieces, strict=True):
        inside = raw[max(0, -position) : max(0, len(wanted) - position)]
        position += len(raw)
        if not inside:
            continue
        text = _text(pending + inside)
        if text is None:
            pending += inside
            continue
        whole = not pending and inside == raw
        tokens.append(TokenProbability(text=text, alternatives=_alternatives(entry, text) if whole else {}))
        pending = b""
    return None if pending else tuple(tokens)


def option_odds(entries: Sequence[Any], options: Sequence[str]) -> ChoiceProbabilities | None:
    """How likely each option is to be what the reply begins with.

    A token counts for the option that it is, or begins, whatever its case and with spaces before it. An option that is
    not among the likeliest tokens is given the probability of the least likely one of these, which is the most it can
    have.

    Args:
        entries: Token log-probabilities as in `align_tokens`; only the first is read.
        options: What may be answered.

    Returns:
        The odds. None if there is no entry, or no option among its tokens.
    """
    if not entries:
        return None
    found: dict[str, float] = {}
    shares = _alternatives(entries[0], _text(_raw(entries[0])) or "")
    for text, share in shares.items():
        token = text.strip().casefold()
        fitting = [option for option in options if token and option.casefold().startswith(token)]
        if len(fitting) == 1:
            found[fitting[0]] = found.get(fitting[0], 0.0) + share
    if not found:
        return None
    given = {option: max(found.get(option, min(shares.values())), 1e-9) for option in options}
    total = sum(given.values())
    parts = {option: share / total for option, share in given.items()}
    return ChoiceProbabilities(probabilities=parts, mass=min(1.0, sum(found.values())))


def _alternatives(entry: Any, text: str) -> dict[str, float]:
    found = {text: _probability(entry)}
    for other in getattr(entry, "top_logprobs", None) or ():
        name = _text(_raw(other))
        if name is not None:
            found.setdefault(name, _probability(other))
    return found


def _probability(entry: Any) -> float:
    return min(1.0, math.exp(entry.logprob))


def _raw(entry: Any) -> bytes:
    raw = getattr(entry, "bytes", None)
    return bytes(raw) if raw is not None else str(entry.token).encode()


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
