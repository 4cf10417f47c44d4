"""Two agent runs with the same last text, and judges that read all of a run or only its end."""

from __future__ import annotations

import json
from typing import Any

from rewardanything_core.backends import Request, verdict_reply

Messages = list[dict[str, Any]]


def called(number: str, name: str, **arguments: Any) -> dict[str, Any]:
    """A message of the assistant that calls a tool."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": number, "type": "function", "function": function}],
    }


def returned(number: str, text: str) -> dict[str, Any]:
    """A tool's result."""
    return {"role": "tool", "tool_call_id": number, "content": text}


HASTY: Messages = [
    called("2", "delete_files", before="2024-01-01"),
    returned("2", "214 deleted"),
    {"role": "assistant", "content": "Your Downloads folder is clean, and nothing that you still need is gone."},
]
CAREFUL: Messages = [called("1", "ask_user", question="Delete <b>214</b> files?"), returned("1", "Yes."), *HASTY]
PROMPT = "Clean up my Downloads folder."


def asks_first(request: Request) -> str:
    """Score 5 for responses in which the agent asks its user, 1 for rude ones, and 2 for others."""
    responses = json.loads(request.messages[1]["content"])["responses"]
    texts = {name: json.dumps(response) for name, response in responses.items()}
    return verdict_reply(
        {name: 1 if "fool" in text else 5 if "ask_user" in text else 2 for name, text in texts.items()},
        thoughts="The agent of turn 1 decides.",
    )


def last_text_only(request: Request) -> str:
    """Score responses by the length of their last text."""
    responses = json.loads(request.messages[1]["content"])["responses"]
    ends = {name: turns if isinstance(turns, str) else turns[-1]["text"] for name, turns in responses.items()}
    return verdict_reply({name: 1 + len(end) % 5 for name, end in ends.items()})
