"""One conversation in normal form; the tests write it in the types of every host."""

from __future__ import annotations

from typing import Any

ARGUMENTS = {"city": "Ulm", "days": [1, 2]}
QUESTION = {"role": "user", "content": "Is it warm in Ulm?"}
CALLING = {
    "role": "assistant",
    "content": "I will look.",
    "tool_calls": [{"id": "c1", "name": "get_weather", "arguments": ARGUMENTS}],
}
RESULT = {"role": "tool", "content": '{"temp": 21}', "tool_call_id": "c1"}
ANSWER = {"role": "assistant", "content": "Yes, it is."}
CONVERSATION: tuple[dict[str, Any], ...] = (QUESTION, CALLING, RESULT, ANSWER)


def thought(text: str) -> dict[str, Any]:
    return {"type": "reasoning", "text": text}


def text(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **more}


def assistant(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(parts)}
