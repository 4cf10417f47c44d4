"""Traces: from the spans of a program's run to the conversation that they record.

A trace has the same words several times: each call of a chat model repeats the conversation so far, and its last reply
is the program's output. Every message counts once, in the order of the first span that has it.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rewardanything_core.conversations.content import result_parts
from rewardanything_core.conversations.json_values import written
from rewardanything_core.conversations.openai_chat import is_setting
from rewardanything_core.conversations.place import Place
from rewardanything_core.conversations.reader import ReadValue
from rewardanything_core.conversations.turns import Turns, text_part
from rewardanything_core.errors import InvalidCaseError
from rewardanything_core.types import Message, ToolCall

_INSTRUCTIONS = ("system", "developer")


@dataclass(kw_only=True)
class Span:
    """One step of a program's run."""

    kind: Literal["chat", "tool", "other"]
    """``chat``: a call of a model. ``tool``: a tool, or a retriever. ``other``: the program's own structure, of which
    only the outermost span counts, for the program's input and output."""

    id: str
    """The span's id."""

    parent: str | None = None
    """The id of the span that it is part of. None: it is the outermost."""

    start: float = 0
    """When it began, in any unit."""

    name: str = ""
    """A tool's name."""

    inputs: Any = None
    """A model's messages, a tool's arguments, or the program's input, as JSON values."""

    outputs: Any = None
    """A model's reply, a tool's result, or the program's output, as JSON values."""

    call_id: str | None = None
    """The id of the call that a tool's span answers. None: the span does not say."""

    error: str | None = None
    """What failed. None: nothing."""


def read_trace(spans: Iterable[Span], turns: Turns, place: Place, read_value: ReadValue) -> None:
    """Add the conversation that a trace records.

    Args:
        spans: The spans of a trace, or of several that follow each other.
        turns: Where to add it.
        place: Where the trace is.
        read_value: Reads messages in any form.

    Raises:
        InvalidCaseError: a model's messages cannot be read, or no span has any.
    """
    ordered = sorted(spans, key=lambda span: span.start)
    trace = _Trace(place, read_value)
    by_id = {span.id: span for span in ordered}
    known: dict[str, _Above] = {}
    runs: dict[str, tuple[Span, list[Span]]] = {}
    for span in ordered:
        above = _above(span, by_id, known)
        _, steps = runs.setdefault(above.root.id, (above.root, []))
        if span.kind != "other" and _step(span) not in above.steps:  # else a library recorded the same step twice
            steps.append(span)
    for root, steps in runs.values():
        trace.add_run(root, steps)
    trace.answer_calls()
    turns.add(trace.messages)


@dataclass
class _Trace:
    place: Place
    read_value: ReadValue
    messages: list[Message] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    unanswered: dict[str, list[ToolCall]] = field(default_factory=lambda: defaultdict(list))
    """Tool's name -> calls for which no span was found."""

    answers: dict[int, Span] = field(default_factory=dict)
    """id() of a call -> the span of the tool that ran for it."""

    def add_run(self, root: Span, steps: Sequence[Span]) -> None:
        inputs = {span.id: self._read(span.inputs, "user", span) for span in steps if span.kind == "chat"}
        given = next(iter(inputs.values()), [])
        if not inputs and root.kind == "other":
            given = self._read_program(root.inputs, "user", root)
        if given and not self._continues(given):
            self.seen = Counter(message_key(message) for message in self.messages if message["role"] in _INSTRUCTIONS)
        if root.kind == "other":
            self._add_program_input(root, [message for read in inputs.values() for message in read])
        for span in steps:
            if span.kind == "chat":
                self._merge(inputs[span.id])
                self._append(self._read(span.outputs, "assistant", span))
            else:
                self._add_tool(span)
        if root.kind == "other":
            self._add_program_output(root)

    def answer_calls(self) -> None:
        """Put each tool's result after its call, where no message has it."""
        results = {message["tool_call_id"]: message for message in self.messages if message.get("tool_call_id")}
        messages = []
        for position, message in enumerate(self.messages):
            messages.append(message)
            following = self.messages[position + 1 : position + 2]
            for call in message.get("tool_calls", ()):
                span = self.answers.get(id(call))
                if span is None:
                    continue
                if (result := results.get(call["id"] or "")) is not None:
                    if span.error is not None:
                        result["is_error"] = True
                elif call["id"] or not (following and following[0]["role"] == "tool"):
                    messages.append(self._result(span, call))
        self.messages = messages

    def _read(self, value: Any, role: str, span: Span) -> list[Message]:
        """The messages of a model's input or output; other values are one message's text."""
        if value in (None, [], {}):
            return []
        turns = Turns()
        here = self.place.inside(f"span {span.name or span.id}")
        if isinstance(value, Mapping) and isinstance(value.get("messages"), list):  # a batch of one conversation
            nested = value["messages"]
            value = {**value, "messages": nested[0]} if len(nested) == 1 and isinstance(nested[0], list) else value
        if self.read_value.recognises(value):
            self.read_value(value, turns, here)
        else:
            turns.begin(role)
            turns.add_part(text_part(_text_of(value)))
        return list(turns.finished())

    def _continues(self, messages: Iterable[Message]) -> bool:
        """Whether a run was given what was said before; if not, equal words are said once more."""
        return any(message["role"] == "assistant" and self.seen[message_key(message)] for message in messages)

    def _merge(self, messages: Iterable[Message]) -> None:
        """Add those of a model's messages that are not yet in the conversation."""
        count: Counter[str] = Counter()
        for message in messages:
            key = message_key(message)
            count[key] += 1
            if count[key] > self.seen[key]:
                self._append([message])

    def _append(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.seen[message_key(message)] += 1
            self.messages.append(message)
            for call in message.get("tool_calls", ()):
                self.unanswered[call["name"]].append(call)

    def _add_tool(self, span: Span) -> None:
        named = self.unanswered[span.name]
        if named:
            same = (
                number
                for number, call in enumerate(named)
                if call["arguments"] == span.inputs or call["id"] == span.call_id is not None
            )
            self.answers[id(named.pop(next(same, 0)))] = span
            return
        arguments = {} if span.inputs is None else span.inputs
        call: ToolCall = {"id": span.call_id or span.id, "name": span.name, "arguments": arguments}
        self.messages += [{"role": "assistant", "content": None, "tool_calls": [call]}, self._result(span, call)]

    def _result(self, span: Span, call: ToolCall) -> Message:
        turns = Turns()
        output = span.outputs
        if isinstance(output, Mapping) and output.get("type") == "tool" and "content" in output:  # LangChain's message
            output = output["content"]
        output = span.error if output is None else output
        parts = result_parts(output, self.place.inside(f"span {span.name}"))
        turns.add_result(parts, tool_call_id=call["id"], name=span.name, is_error=span.error is not None)
        return turns.finished()[0]

    def _add_program_input(self, root: Span, read_by_models: list[Message]) -> None:
        messages = self._read_program(root.inputs, "user", root)
        known = "\n".join(map(_texts, read_by_models))
        texts = [_texts(message) for message in messages]
        if isinstance(root.inputs, Mapping) and not any(message.get("tool_calls") for message in messages):
            values = [
                value for name, value in root.inputs.items() if isinstance(value, str) and not is_setting(name, value)
            ]
            texts = values if len(values) == len(root.inputs) else texts
        if not all(text in known for text in texts):
            self._merge(messages)

    def _add_program_output(self, root: Span) -> None:
        messages = self._read_program(root.outputs, "assistant", root)
        if len(messages) == 1 and not messages[0].get("tool_calls"):
            if _texts(messages[0]).strip() not in self._last_answer():
                self._append(messages)
            return
        self._merge(messages)

    def _last_answer(self) -> str:
        """The last text of the assistant, if no message of the user has followed it."""
        for message in reversed(self.messages):
            if message["role"] in ("assistant", "user"):
                return _texts(message) if message["role"] == "assistant" else ""
        return ""

    def _read_program(self, value: Any, role: str, root: Span) -> list[Message]:
        try:
            return self._read(value, role, root)
        except InvalidCaseError:  # a program's arguments may look like messages without being messages
            return [{"role": role, "content": _text_of(value)}]


@dataclass(frozen=True)
class _Above:
    """What a span is part of."""

    root: Span
    steps: frozenset[tuple[str, str]]
    """Kind and name of the models' and tools' spans above; models have no name."""


def _above(span: Span, by_id: Mapping[str, Span], known: dict[str, _Above]) -> _Above:
    path, passed = [span], {span.id}
    while path[-1].id not in known:
        above = by_id.get(path[-1].parent or "")
        if above is None or above.id in passed:
            known[path[-1].id] = _Above(path[-1], frozenset())
            break
        path.append(above)
        passed.add(above.id)
    for above, below in zip(path[:0:-1], path[-2::-1], strict=True):
        found = known[above.id]
        known[below.id] = _Above(found.root, found.steps | {_step(above)})
    return known[span.id]


def _step(span: Span) -> tuple[str, str]:
    return span.kind, span.name if span.kind == "tool" else ""


def _texts(message: Message) -> str:
    content = message["content"]
    if not isinstance(content, list):
        return content or ""
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def message_key(message: Message) -> str:
    """What makes two messages the same: their words and actions, without ids and reasoning.

    Args:
        message: A message in normal form.
    """
    if message.get("tool_call_id"):
        return f"result of {message['tool_call_id']}"
    calls = [[call["name"], call["arguments"]] for call in message.get("tool_calls", ())]
    return json.dumps([message["role"], _texts(message), calls], sort_keys=True)


def _text_of(value: Any) -> str:
    """A program's input or output as text: its only field, or ``name: value`` lines."""
    if isinstance(value, Mapping):
        fields = {
            name: item for name, item in value.items() if item not in (None, [], {}) and not is_setting(name, item)
        }
        if len(fields) == 1:
            return _text_of(next(iter(fields.values())))
        return "\n".join(f"{name}: {written(item)}" for name, item in (fields or value).items())
    if isinstance(value, list) and len(value) == 1:
        return _text_of(value[0])
    return written(value)
