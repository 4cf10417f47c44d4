"""Replies without content, in the form that a request asks for: for runs that only find out what would be requested."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def placeholder_reply(schema: Mapping[str, Any] | None) -> str:
    """A complete reply with equal scores for all responses.

    Args:
        schema: The schema of the reply, of a verdict or of a verdict under a rubric. None: any text will do.
    """
    return "" if schema is None else json.dumps(_value(schema))


def _value(schema: Mapping[str, Any]) -> Any:
    if schema["type"] == "object":
        return {name: _value(part) for name, part in schema["properties"].items()}
    if schema["type"] == "array":
        return list(schema["items"]["enum"])  # each name once
    return schema["enum"][0] if "enum" in schema else ""
