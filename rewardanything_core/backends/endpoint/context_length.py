"""Recognizing the error messages of servers and providers for a request that exceeds the model's context window."""

from __future__ import annotations

import re

_READ = 1000
"""How much of a message is searched, in characters: a strict server may repeat the whole request after it."""

_OVERFLOW = re.compile(
    r"context_length_exceeded|model_context_window_exceeded"
    r"|maximum context length|(?:model's|maximum) context (?:length|window|size) "
    r"|exceed_context_size|exceeds the available context"  # llama.cpp
    r"|longer than the (?:model's context length|maximum model length)"  # SGLang, vLLM
    r"|maximum prompt length is"  # xAI
    r"|prompt is too long|exceed context limit"  # Anthropic
    r"|tokens \+ `max_new_tokens` must be <=|`inputs` must have less than"  # TGI
    r"|token count .{0,20}exceeds the (?:maximum number of tokens|limit)"  # Gemini, GitHub
    r"|input length:? \(?\d+(?: tokens\))? exceeds the maximum|input is too long for"  # SGLang, Bedrock
    r"|exceeds? the configured limit of \d+ tokens"  # OpenAI
    r"|reduce the length of the (?:messages|prompt|input prompt)"  # OpenAI, Groq, vLLM
    r"|too large for model with \d+"  # Mistral
    r"|context the overflows|context window (?:is|was) exceeded"  # LM Studio
    r"|string_above_max_length|tokens_limit_reached"  # OpenAI, GitHub
    r"|exceeded model token limit|context window exceeds limit"  # Moonshot, MiniMax
    r"|range of input length should be|prompt exceeds max length"  # DashScope, Zhipu
    r"|prompt length .{0,20}exceeds maximum input length|too many tokens: size limit exceeded",  # TensorRT-LLM, Cohere
    re.IGNORECASE,
)

_NEEDED = (
    r"(?:you )?requested (?:about |a total of )?(\d+) tokens",  # OpenAI, vLLM, OpenRouter, SGLang
    r"for a total of (?:at least )?(\d+) tokens",  # vLLM
    r"n_prompt_tokens\D{1,4}(\d+)",  # llama.cpp
    r"messages resulted in (\d+) tokens",  # OpenAI
    r"prompt is too long: (\d+) tokens",  # Anthropic
    r"request \((\d+) tokens\)",  # llama.cpp
    r"input \((\d+) tokens\)",  # SGLang, Together
    r"prompt \(length (\d+)\)",  # vLLM
    r"prompt length of (\d+) is longer",  # vLLM
    r"prompt length \((\d+)\) exceeds",  # TensorRT-LLM
    r"token count \(?(?:of )?(\d+)",  # Gemini, GitHub
    r"request contains (\d+) tokens",  # xAI
    r"input length:? \(?(\d+)",  # SGLang
    r"prompt contains (\d+) tokens",  # Mistral
    r"given: (\d+)(?! `inputs`)\b",  # TGI
)
_INPUT = (
    r"(?:passed|has|contains)(?: at least)? (\d+) input tokens",  # vLLM
    r"(\d+) `inputs` tokens",  # TGI
)
_OUTPUT = (
    r"requested (\d+) output tokens",
    r"is too large: (\d+)",
    r"(\d+) `max_new_tokens`",
)
_LIMIT = (
    r"context length (?:is|of)(?: only)? (\d+)",  # OpenAI, vLLM
    r"context length \((\d+)",  # SGLang
    r"(?:maximum )?model length of (\d+)",  # vLLM
    r"n_ctx\D{1,4}(\d+)",  # llama.cpp
    r"context size \((\d+)",  # llama.cpp
    r"> (\d+) maximum",  # Anthropic
    r"must be <= (\d+)",  # TGI
    r"less than (\d+) tokens",  # TGI
    r"tokens allowed \((\d+)",  # Gemini
    r"exceeds? the (?:configured )?limit of (\d+)",  # GitHub, OpenAI
    r"maximum prompt length is (\d+)",  # xAI
    r"allowed (?:input )?length(?: of)? \(?(\d+)",  # SGLang
    r"model with (\d+)",  # Mistral
    r"exceeds maximum input length \((\d+)",  # TensorRT-LLM
)


def is_context_overflow(message: str) -> bool:
    """Whether an error message means that the request does not fit the model's context window.

    Args:
        message: The message of a response with an error status.
    """
    return _OVERFLOW.search(message[:_READ]) is not None


def token_counts(message: str) -> tuple[int | None, int | None]:
    """The numbers in an error message about the context window.

    Args:
        message: The server's message.

    Returns:
        The tokens that the request needs, and the window in tokens; None for a number that is not in the message.
    """
    text = message[:_READ].replace(",", "")
    needed = _first(text, _NEEDED)
    if needed is None and (prompt := _first(text, _INPUT)) is not None:
        needed = prompt + (_first(text, _OUTPUT) or 0)
    return needed, _first(text, _LIMIT)


def _first(text: str, patterns: tuple[str, ...]) -> int | None:
    for pattern in patterns:
        if match := re.search(pattern, text, re.IGNORECASE):
            return int(match[1][:15])
    return None
