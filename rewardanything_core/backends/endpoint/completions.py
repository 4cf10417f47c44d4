"""Parsing chat completions: reasoning, answer, and the probabilities of tokens.

A reply is JSON from a server that may be anything, or LiteLLM's object made of it. No value in it is trusted: what does
not have the expected shape is a `MalformedReplyError` that names the field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rewardanything_core.backends.base import MAX_UNKNOWN, ChoiceProbabilities, TokenProbability

_TRUNCATED = frozenset({"length", "max_tokens", "max_length", "model_length", "model_context_window_exceeded"})
_FAILED = frozenset({"error", "network_error", "insufficient_system_resource", "abort"})
_FILTERED = re.compile(
    "content_?filter|refusal|safety|sensitive|toxic|blocklist|prohibited|spii|recitation|guardrail", re.IGNORECASE
)
"""Reasons to finish of OpenAI, Anthropic, Gemini, Zhipu, Cohere and Bedrock; some add details, as in
``content_filter: PROHIBITED_CONTENT``."""

_THOUGHT_FIELDS = ("thinking", "reasoning", "text", "summary")
"""Where a part of the content that is reasoning has its text; servers differ."""

_MAX_COUNT = 2**53
"""Token counts above this are not believed; beyond 2**63 a database could not store them."""

_ROUNDING = 0.05
"""How far probabilities may exceed 1, since servers round them."""


class MalformedReplyError(Exception):
    """A field of a reply does not have the expected shape.

    Args:
        field: Path of the field, such as ``choices[0].message.content``.
        value: Its value.
        expected: What it should have been.
    """

    def __init__(self, field: str, value: Any, expected: str) -> None:
        super().__init__(f"{field} is {_kind(value)}, not {expected}")
        self.field = field


@dataclass(frozen=True, kw_only=True)
class ChatCompletion:
    """A parsed chat completion."""

    answer: str
    """The content, or what was sent in its place."""

    reasoning: str | None
    """Reasoning that was sent separately from the content. None: none was."""

    separate: bool
    """Whether the server separates reasoning from content, wherever the answer then was."""

    truncated: bool
    """Whether a token limit cut it off."""

    failure: Literal["refused", "filtered", "failed"] | None
    """Why this is not the model's answer: the model refused, a content filter stopped it, or generating failed. None:
    it is."""

    failure_text: str
    """The refusal or the server's error message; empty if there is none."""

    logprobs: Any
    """The server's token entries, not checked yet; empty without any."""

    prompt_tokens: int
    """Prompt tokens, as counted by the server; 0 if it did not count them."""

    cached_tokens: int
    """Prompt tokens that the server did not compute again, as counted by it; 0 if it did not count them."""

    completion_tokens: int
    """Generated tokens, as counted by the server; 0 if it did not count them."""

    cost: float | None
    """LiteLLM's price of the call, in US dollars. None: not known."""


def parse_chat_completion(response: Any) -> ChatCompletion:
    """Parse a server's JSON object or a LiteLLM ``ModelResponse``.

    Raises:
        MalformedReplyError: a field that decides what the answer is has an unknown shape.
    """
    choices = _field(response, "choices", "the reply")
    if not isinstance(choices, list) or not choices:
        raise MalformedReplyError("choices", choices, "a list with a completion")
    choice = choices[0]
    message = _field(choice, "message", "choices[0]")
    where = "choices[0].message"
    content, thoughts, part_refusal = _content(_field(message, "content", where), f"{where}.content")
    reasoning = "".join([thoughts, *_reasoning(message, where)]) or None
    refusal = _refusal(message, where) or part_refusal
    finish_reason = _finish_reason(choice)
    separate, truncated = reasoning is not None, finish_reason in _TRUNCATED
    failure, failure_text = _failure(response, choice, finish_reason, refusal)
    if reasoning and not content.strip() and not truncated and failure is None:
        # A reasoning parser that never meets the closing tag takes the whole answer for reasoning.
        content, reasoning = reasoning, None
    usage = _field(response, "usage", "the reply")
    return ChatCompletion(
        answer=content,
        reasoning=reasoning,
        separate=separate,
        truncated=truncated,
        failure=failure,
        failure_text=failure_text,
        logprobs=_logprobs(choice),
        prompt_tokens=token_count(_lenient_field(usage, "prompt_tokens")),
        cached_tokens=token_count(_lenient_field(_lenient_field(usage, "prompt_tokens_details"), "cached_tokens")),
        completion_tokens=token_count(_lenient_field(usage, "completion_tokens")),
        cost=_cost(_lenient_field(response, "_hidden_params")),
    )


def align_tokens(entries: Any, answer: str) -> tuple[TokenProbability, ...] | None:
    """The tokens that make up the answer; their joined texts are the answer.

    The entries may begin earlier (reasoning, think tags) and end later (an end-of-turn token). Tokens that contain only
    a part of a character are joined until the character is complete, without alternatives, which would have no text.

    Args:
        entries: Token log-probabilities in OpenAI's form: ``token``, ``bytes``, ``logprob``, ``top_logprobs``.
        answer: The reply after its reasoning.

    Returns:
        The tokens, or None if the entries do not contain the answer.

    Raises:
        MalformedReplyError: an entry has an unknown shape.
    """
    wanted = answer.encode()
    entries = _entries(entries)
    pieces = [_bytes(entry, f"{_ENTRIES}[{index}]") for index, entry in enumerate(entries)]
    start = b"".join(pieces).rfind(wanted)
    if start < 0:
        return None
    tokens: list[TokenProbability] = []
    position, pending = -start, b""
    for index, raw in enumerate(pieces):
        inside = raw[max(0, -position) : max(0, len(wanted) - position)]
        position += len(raw)
        if not inside:
            continue
        text = _decoded(pending + inside)
        if text is None:
            pending += inside
            continue
        whole = not pending and inside == raw
        alternatives = _alternatives(entries[index], text, f"{_ENTRIES}[{index}]") if whole else {}
        tokens.append(TokenProbability(text=text, alternatives=alternatives))
        pending = b""
    return None if pending else tuple(tokens)


def option_probabilities(entries: Any, options: Sequence[str]) -> ChoiceProbabilities | None:
    """The probability of each option as the beginning of the reply.

    A token counts for the option that it equals or begins, in any case and with leading spaces. An option that is not
    among the most likely tokens gets an upper bound: the probability of the least likely of them, or what all of them
    leave.

    Args:
        entries: Token log-probabilities as for `align_tokens`; only the first is used.
        options: The possible answers.

    Returns:
        The probabilities. None without an entry, or if no option is among its tokens.

    Raises:
        MalformedReplyError: the first entry has an unknown shape, or too few alternatives to know the others.
    """
    entries = _entries(entries)
    if not entries:
        return None
    where = f"{_ENTRIES}[0]"
    matched: dict[str, float] = {}
    probabilities = _alternatives(entries[0], _decoded(_bytes(entries[0], where)) or "", where)
    for text, probability in probabilities.items():
        token = text.strip().casefold()
        matching = [option for option in options if token and option.casefold().startswith(token)]
        if len(matching) == 1:
            matched[matching[0]] = matched.get(matching[0], 0.0) + probability
    if not matched:
        return None
    bound = min(*probabilities.values(), 1 - sum(probabilities.values()), 1.0)
    if bound > MAX_UNKNOWN and len(matched) < len(options):
        listed = _field(entries[0], "top_logprobs", where)
        raise MalformedReplyError(f"{where}.top_logprobs", listed, "a list of all likely tokens")
    bounded = {option: max(matched.get(option, bound), 1e-9) for option in options}
    total = sum(bounded.values())
    normalized = {option: probability / total for option, probability in bounded.items()}
    return ChoiceProbabilities(probabilities=normalized, mass=min(1.0, sum(matched.values())))


# --- the message


def _content(value: Any, where: str) -> tuple[str, str, str]:
    """Content as text, reasoning and refusal; servers with several kinds of content send a list of parts."""
    if value is None or isinstance(value, str):
        return _clean(value or ""), "", ""
    if not isinstance(value, list):
        raise MalformedReplyError(where, value, "text")
    joined = {"text": "", "reasoning": "", "refusal": ""}
    for index, part in enumerate(value):
        place = f"{where}[{index}]"
        if isinstance(part, str):
            joined["text"] += _clean(part)
            continue
        kind = _field(part, "type", place)
        if kind in ("text", "output_text", None):
            joined["text"] += _texts(_field(part, "text", place), f"{place}.text")
        elif kind in ("thinking", "reasoning", "reasoning_content"):
            name = next((key for key in _THOUGHT_FIELDS if _field(part, key, place) is not None), kind)
            joined["reasoning"] += _texts(_field(part, name, place), f"{place}.{name}")
        elif kind == "refusal":
            joined["refusal"] += _text(_field(part, "refusal", place), f"{place}.refusal")
        elif kind != "redacted_thinking":
            raise MalformedReplyError(place, part, "a part with text or reasoning")
    return joined["text"], joined["reasoning"], joined["refusal"]


def _reasoning(message: Any, where: str) -> list[str]:
    # vLLM has renamed the field.
    for name in ("reasoning_content", "reasoning"):
        value = _field(message, name, where)
        if value is not None and (text := _texts(value, f"{where}.{name}")):
            return [text]
    return []


def _refusal(message: Any, where: str) -> str:
    value = _field(message, "refusal", where)
    if value is None:  # LiteLLM's place for it
        value = _lenient_field(_field(message, "provider_specific_fields", where), "refusal")
    return "" if value is None else _text(value, f"{where}.refusal")


def _finish_reason(choice: Any) -> str:
    # LiteLLM turns a reason that it does not know into "stop" and keeps the server's here.
    if _lenient_field(_field(choice, "provider_specific_fields", "choices[0]"), "native_finish_reason") == "error":
        return "error"
    value = _field(choice, "finish_reason", "choices[0]")
    return "" if value is None else _text(value, "choices[0].finish_reason").lower()


def _failure(
    response: Any, choice: Any, finish_reason: str, refusal: str
) -> tuple[Literal["refused", "filtered", "failed"] | None, str]:
    specific = _field(choice, "provider_specific_fields", "choices[0]")
    errors = (_lenient_field(place, "error") for place in (choice, specific, response))
    error = next((each for each in errors if each and isinstance(each, str | Mapping)), None)
    if error is not None or finish_reason in _FAILED:
        message = error if isinstance(error, str) else _lenient_field(error, "message")
        return "failed", _clean(message) if isinstance(message, str) else ""
    if refusal:
        return "refused", refusal
    return ("filtered", "") if _FILTERED.search(finish_reason) else (None, "")


def _logprobs(choice: Any) -> Any:
    return _lenient_field(_field(choice, "logprobs", "choices[0]"), "content") or ()


def _texts(value: Any, where: str) -> str:
    """Text, or a list of texts and text parts, joined."""
    if not isinstance(value, list):
        return _text(value, where)
    return "".join(
        _clean(part) if isinstance(part, str) else _text(_field(part, "text", f"{where}[{i}]"), f"{where}[{i}].text")
        for i, part in enumerate(value)
    )


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise MalformedReplyError(where, value, "text")
    return _clean(value)


def _clean(text: str) -> str:
    """Text that can be encoded: JSON may contain half a surrogate pair, which is replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


# --- token entries

_ENTRIES = "choices[0].logprobs.content"


def _entries(value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise MalformedReplyError(_ENTRIES, value, "a list of tokens")
    return value


def _alternatives(entry: Any, text: str, where: str) -> dict[str, float]:
    probabilities = {text: _probability(entry, where)}
    others = _field(entry, "top_logprobs", where)
    if others is not None and not isinstance(others, list | tuple):
        raise MalformedReplyError(f"{where}.top_logprobs", others, "a list of tokens")
    for index, other in enumerate(others or ()):
        place = f"{where}.top_logprobs[{index}]"
        name = _decoded(_bytes(other, place))
        if name is not None:
            probabilities.setdefault(name, _probability(other, place))
    if sum(probabilities.values()) > 1 + _ROUNDING:
        raise MalformedReplyError(f"{where}.top_logprobs", others, "log-probabilities of different tokens")
    return probabilities


def _probability(entry: Any, where: str) -> float:
    value = _field(entry, "logprob", where)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedReplyError(f"{where}.logprob", value, "a number")
    if not value <= _ROUNDING:
        raise MalformedReplyError(f"{where}.logprob", value, "the logarithm of a probability")
    return math.exp(max(-1e6, min(0.0, value)))


def _bytes(entry: Any, where: str) -> bytes:
    raw = _field(entry, "bytes", where)
    if raw is None:
        return _text(_field(entry, "token", where), f"{where}.token").encode()
    try:
        if isinstance(raw, list | tuple):
            return bytes(raw)
    except (TypeError, ValueError):
        pass
    raise MalformedReplyError(f"{where}.bytes", raw, "a list of bytes")


def _decoded(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


# --- fields


def _field(value: Any, name: str, where: str) -> Any:
    """A field of a JSON object or of one of LiteLLM's objects; None if it is missing."""
    if isinstance(value, Mapping):
        return value.get(name)
    if value is None or isinstance(value, str | bytes | int | float | list | tuple):
        raise MalformedReplyError(where, value, "an object")
    return getattr(value, name, None)


def _lenient_field(value: Any, name: str) -> Any:
    """A field that does not matter for the answer; None if there is none."""
    try:
        return _field(value, name, "")
    except MalformedReplyError:
        return None


def token_count(value: Any) -> int:
    """A number of tokens; some servers send it as text. 0 if it is not one."""
    try:
        number = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return 0
    return int(number) if 0 <= number <= _MAX_COUNT else 0


def _cost(hidden_params: Any) -> float | None:
    cost = _lenient_field(hidden_params, "response_cost")
    return cost if isinstance(cost, int | float) and not isinstance(cost, bool) and math.isfinite(cost) else None


def _kind(value: Any) -> str:
    """The kind of a JSON value, for messages; not its content, which may be long or a secret."""
    if value is None:
        return "missing"
    if value == []:
        return "an empty list"
    names = {str: "text", bool: "a truth value", int: "a number", float: "a number", list: "a list", tuple: "a list"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "an object")
