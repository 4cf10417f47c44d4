"""Limits of decision APIs, as their specifications state them in November 2026."""

from __future__ import annotations

LEVELS = range(2, 11)
"""Levels of a score question. System One allows a single one, too."""

OPTIONS = range(2, 256)
"""Options of a choice. System One allows a single one, too."""

OPENAI_QUESTIONS = 400
"""Questions of a request in OpenAI's format."""

LITELLM_QUESTIONS = 128
"""Questions of a request that LiteLLM's proxy and SDK accept in OpenAI's format."""

SYSTEM_ONE_QUESTIONS = 64
"""Questions of a request in System One's format that we send. TypeSafe states no limit; ``transformers serve`` has this
one."""

SUM_TOLERANCE = 1e-3
"""How far the probabilities of an answer may be from a sum of 1; they are divided by their sum."""

JSON_DEPTH = 32
"""Levels of nesting of a JSON part of an input in OpenAI's format."""

JSON_BYTES = 256 * 1024
"""Size of a JSON part of an input in OpenAI's format, as compact UTF-8 JSON."""
