"""Arbitrary JSON in the form of a model server's reply, each field of any type, for property tests of every readout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from endpoints import usual_reply
from hypothesis import strategies as st
from servers import FakeOpenAI, RawReply

READOUTS = ("generate", "logits", "decisions")

VERDICTS = [
    json.dumps({"scores": dict.fromkeys(names, 4), "best-to-worst": names})
    for names in (["model-1"], ["model-1", "model-2"])
]
"""Valid verdicts on one and on two responses."""

_WORDS = ["text", "thinking", "length", "error", "content_filter", "model-1", "Yes", "1", *VERDICTS]
_NAMES = ["type", "text", "thinking", "token", "message", "content", "probability"]

any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -1, 2**63])
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(_WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=3),
    max_leaves=6,
)


def shaped(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object with some of these fields, each of its own type or any other."""
    return st.fixed_dictionaries({}, optional={name: strategy | any_json for name, strategy in fields.items()})


_TOKEN = {"token": st.just("Yes"), "bytes": st.none() | st.just([89, 101, 115]), "logprob": st.floats()}
_entry = shaped(**_TOKEN, top_logprobs=st.lists(shaped(**_TOKEN) | any_json, max_size=2))
_part = shaped(
    type=st.sampled_from(["text", "thinking", "refusal"]), text=st.sampled_from(VERDICTS), thinking=st.text()
)
_message = shaped(
    role=st.just("assistant"),
    content=st.sampled_from(VERDICTS) | st.lists(_part | any_json, max_size=3),
    reasoning_content=st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=2),
    refusal=st.none() | st.text(max_size=3),
    tool_calls=st.none(),
)
_error = shaped(code=st.integers(0, 600), message=st.text(max_size=5))
_choice = shaped(
    index=st.just(0),
    message=_message,
    finish_reason=st.sampled_from(["stop", "length", "content_filter", "error"]),
    logprobs=st.none() | shaped(content=st.lists(_entry | any_json, max_size=2)),
    error=_error,
)
_chat = shaped(
    id=st.text(max_size=3),
    choices=st.lists(_choice | any_json, min_size=1, max_size=2),
    usage=shaped(prompt_tokens=st.integers(), completion_tokens=st.text(max_size=3), cost=any_json),
    model=st.just("fake"),
    error=_error,
)
_levels = st.lists(
    shaped(label=st.sampled_from("12345"), value=st.integers(0, 4), probability=st.floats(0, 1)) | any_json, max_size=5
)
_answer = shaped(
    type=st.sampled_from(["score", "predicate", "refusal"]),
    name=st.sampled_from(["model-1", "model-2"]),
    score=st.floats(0, 4),
    confidence=st.floats(0, 1),
    probabilities=_levels | st.just([{"label": f"{i + 1}", "value": i, "probability": 0.2} for i in range(5)]),
)
_decision = shaped(
    model=st.just("fake"),
    answers=st.lists(_answer | any_json, min_size=1, max_size=2),
    usage=shaped(input_tokens=st.integers(), output_tokens=any_json),
    error=_error,
)


def replies(readout: str) -> st.SearchStrategy[Any]:
    """Bodies of replies to a request of a readout.

    Args:
        readout: One of `READOUTS`.
    """
    return (_decision if readout == "decisions" else _chat) | any_json


def reply_oddly(server: FakeOpenAI, readout: str, reply: Any, code: int = 200) -> None:
    """Let a server send a reply to requests that contain the word ``odd``, and the usual one to others.

    Args:
        server: The server.
        readout: One of `READOUTS`.
        reply: The body, a JSON value.
        code: Its HTTP status.
    """
    server.decision_routes = ("decisions",) if readout == "decisions" else ()

    def respond(body: dict[str, Any]) -> RawReply | Mapping[str, Any] | None:
        if "odd" in json.dumps([body.get("messages"), body.get("input")]):
            return RawReply(reply, code)
        return None if readout == "decisions" else usual_reply(body, readout)

    server.reply = respond
