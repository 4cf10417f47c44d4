"""Reading any supported form of a conversation into messages in normal form."""

from __future__ import annotations

from typing import Any

from rewardanything_core.conversations import (
    bedrock,
    dspy,
    langchain,
    langsmith,
    mlflow,
    openai_chat,
    openai_responses,
    opentelemetry,
)
from rewardanything_core.conversations.json_values import to_json_value
from rewardanything_core.conversations.place import Place, shown
from rewardanything_core.conversations.reader import Reader, ReadValue
from rewardanything_core.conversations.turns import Turns
from rewardanything_core.types import Message

READERS: tuple[Reader, ...] = (
    mlflow,  # traces first: their spans hold values of all other forms
    opentelemetry,
    langsmith,
    langchain,  # before chat messages, since some of its messages have a role too
    dspy,  # before chat, for which every mapping with `messages` is one
    bedrock,
    openai_responses,
    openai_chat,
)
"""In order of precedence: the first reader that recognises a value reads it. Elements of a list are recognised one by
one, so a list may mix forms, as an agent's state does."""

FORMS = (
    "messages of OpenAI, Anthropic, Bedrock or LangChain, items of OpenAI's Responses API, a DSPy history or "
    "trajectory, and traces of MLflow, LangSmith or OpenTelemetry"
)


def read_messages(value: Any, *, where: str) -> tuple[Message, ...]:
    """The messages of a conversation in normal form, complete and in order.

    Args:
        value: A message, a list of messages, or what holds them: objects of the `openai`, `anthropic`, `langchain` and
            `mlflow` packages, or the same as JSON. The forms are those of OpenAI's chat and Responses APIs, Anthropic,
            Bedrock Converse, LangChain and LangGraph, LangSmith runs, DSPy histories and ReAct trajectories, TRL and
            veRL completions, MLflow traces (also a session's list of them), and OpenTelemetry GenAI spans and events.
        where: What the value is, as in ``prompt``; the field and the beginning of error messages.

    Returns:
        Messages with ``role`` and ``content``, and where they apply ``tool_calls``, ``tool_call_id``, ``name`` and
        ``is_error``; see `Message`. Messages in normal form are returned unchanged.

    Raises:
        InvalidCaseError: a part has an unknown form or type, or has content that the normal form has no place for,
            such as audio. The message names the part. Ids, token counts and other descriptions are left out.
    """
    place = Place(where)
    turns = Turns()
    _read_value(to_json_value(value, place), turns, place)
    messages = turns.finished()
    if not messages:
        raise place.error("has no messages")
    return messages


def is_conversation(value: Any) -> bool:
    """Whether a value has a form that `read_messages` knows, or is a list that begins with one.

    Args:
        value: A JSON value.
    """
    return _read_value.recognises(value)


class _ReadValue:
    """The readers as one; see `reader.ReadValue`."""

    def __call__(self, value: Any, turns: Turns, place: Place) -> None:
        for reader in READERS:
            if reader.recognises(value):
                reader.read(value, turns, place, self)
                return
        if not isinstance(value, list):
            raise place.error(f"{_described(value)}, which is not a known form of a conversation; known are {FORMS}")
        for index, item in enumerate(value):
            here = place.inside(f"message {index}")
            if isinstance(item, list) and not self.recognises(item):
                raise here.error("is a list, not a message")
            self(item, turns, here)

    def recognises(self, value: Any) -> bool:
        first = value[:1] if isinstance(value, list) else []
        return any(reader.recognises(part) for part in [value, *first] for reader in READERS)


_read_value: ReadValue = _ReadValue()


def _described(value: Any) -> str:
    return f"has the keys {', '.join(map(repr, value)):.200}" if isinstance(value, dict) else f"is {shown(value)}"
