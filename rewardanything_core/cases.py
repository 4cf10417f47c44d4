"""Cases: the unit of judging, validated before any request is paid for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from rewardanything_core.conversations import has_images, is_conversation, read_messages, shorten
from rewardanything_core.conversations.trajectory import (
    Response,
    Trajectory,
    identity,
    is_plain,
    read_response,
    response_final_text,
    response_text,
    sort_key,
)
from rewardanything_core.errors import InvalidCaseError
from rewardanything_core.principles import Principle, Rubric, check_text
from rewardanything_core.types import Message

ROLES = ("system", "developer", "user", "assistant", "tool")
"""The roles that a message may have."""

_FIELDS = ("principle", "prompt", "responses", "reference", "context", "id")
_REQUIRED = ("principle", "prompt", "responses")

T = TypeVar("T")

Conversation: TypeAlias = Sequence[Message] | Sequence[Mapping[str, Any]]
"""Messages in any form that `read_messages` knows."""


@dataclass(frozen=True)
class Case:
    """A principle, a prompt and the responses to judge.

    Convenient forms (a string for the principle, a list for the responses) are normalised at construction.

    Raises:
        InvalidCaseError: a part is empty or has a wrong type; a text cannot be encoded as UTF-8; or a message has
            something that the judge would not see, such as audio. The message names the case, the field, and for
            conversations the message's index and key.
    """

    principle: Principle
    """What to prefer, a `Rubric` included; a string becomes a `Principle`."""

    prompt: str | tuple[Message, ...]
    """What the responses answer: a string, or a conversation in any form that `read_messages` knows."""

    responses: dict[str, Response]
    """label -> text or `Trajectory`, one or more; texts may be empty. The messages of a trajectory may be in any form
    that `read_messages` knows. A sequence is labelled "0", "1", ..."""

    reference: str | None = None
    """A good answer to compare with. None: there is none."""

    context: str | None = None
    """Background that the judge should know, such as retrieved passages. None: there is none."""

    id: str | None = None
    """The caller's own name for the case, used in error messages and logs; never shown to the judge."""

    if TYPE_CHECKING:  # the constructor accepts more types than the fields have

        def __init__(
            self,
            principle: Principle | str | Mapping[str, Any],
            prompt: str | Conversation,
            responses: Mapping[str, Response | Conversation] | Sequence[Response | Conversation],
            reference: str | None = None,
            context: str | None = None,
            id: str | None = None,  # noqa: A002
        ) -> None: ...

    def __post_init__(self) -> None:
        if self.id is not None:
            check_text(self.id, field="id", what="A case's id")
        try:
            object.__setattr__(self, "principle", Principle.of(self.principle))
        except InvalidCaseError as error:
            raise self._invalid("principle", f"is invalid: {error.message}") from error
        object.__setattr__(self, "prompt", self._checked_prompt(self.prompt))
        object.__setattr__(self, "responses", self._checked_responses(self.responses))
        for name in ("reference", "context"):
            if getattr(self, name) is not None:
                self._check_text(getattr(self, name), name, f"the {name}")

    @classmethod
    def of(cls, value: Case | Mapping[str, Any]) -> Case:
        """Make a case from a mapping with its fields as keys; a case is returned unchanged.

        Raises:
            InvalidCaseError: a required field is missing, a key is unknown, or the case is invalid.
        """
        if isinstance(value, Case):
            return value
        if not isinstance(value, Mapping):
            raise InvalidCaseError(
                f"A case must be a Case or a mapping, not {type(value).__name__}.", field="case", case_id=None
            )
        missing = [name for name in _REQUIRED if name not in value]
        unknown = [key for key in value if key not in _FIELDS]
        if missing or unknown:
            problems = [f"no {name!r}" for name in missing] + [f"an unknown {key!r}" for key in unknown]
            raise InvalidCaseError(
                f"{_name(value.get('id'))} has {', '.join(problems)}; the fields of a case are {', '.join(_FIELDS)}.",
                field=str((missing or unknown)[0]),
                case_id=value.get("id"),
            )
        return cls(**value)

    @property
    def labels(self) -> tuple[str, ...]:
        """The responses' labels, as given."""
        return tuple(self.responses)

    @cached_property
    def canonical_labels(self) -> tuple[str, ...]:
        """The labels sorted by their responses, so that equal sets of responses have equal orders."""
        return tuple(sorted(self.responses, key=lambda label: sort_key(self.responses[label])))

    @cached_property
    def texts(self) -> dict[str, str]:
        """Label -> the response as text; a trajectory's is its transcript."""
        return {label: response_text(response) for label, response in self.responses.items()}

    @cached_property
    def final_texts(self) -> dict[str, str]:
        """Label -> what the response says in the end: the text itself, or a trajectory's last text."""
        return {label: response_final_text(response) for label, response in self.responses.items()}

    @cached_property
    def has_turns(self) -> bool:
        """Whether the judge is shown turns with tool calls, results or images, instead of texts and plain messages."""
        return any(isinstance(response, Trajectory) for response in self.responses.values()) or not all(
            map(is_plain, () if isinstance(self.prompt, str) else self.prompt)
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that the judge sees; labels, their order and the id are excluded.

        So are the weights and requirements of a rubric, which apply after judging.
        """
        rubric = self.principle if isinstance(self.principle, Rubric) else None
        return _sha256([self.principle.text if rubric is None else rubric.judged_content, *self._material])

    @cached_property
    def material_digest(self) -> str:
        """SHA-256 of what is judged: `digest` without the principle or rubric."""
        return _sha256(self._material)

    @property
    def _material(self) -> list[Any]:
        return [
            self.prompt
            if isinstance(self.prompt, str)
            else [[m["role"], m["content"]] for m in self.prompt]
            if all(map(is_plain, self.prompt))
            else {"turns": identity(self.prompt)},
            self.reference,
            self.context,
            [
                response if isinstance(response, str) else {"turns": response.identity}
                for response in map(self.responses.__getitem__, self.canonical_labels)
            ],
        ]

    @cached_property
    def has_images(self) -> bool:
        """Whether the prompt or a response has an image."""
        conversations = [response.messages for response in self.responses.values() if isinstance(response, Trajectory)]
        if not isinstance(self.prompt, str):
            conversations.append(self.prompt)
        return any(map(has_images, conversations))

    def __str__(self) -> str:
        return _name(self.id)

    def _invalid(self, field: str, problem: str) -> InvalidCaseError:
        return InvalidCaseError(f"{_name(self.id)}: {field} {problem}", field=field, case_id=self.id)

    def _check_text(self, value: object, field: str, what: str) -> str:
        return check_text(value, field=field, what=f"{_name(self.id)}: {what}", case_id=self.id)

    def _checked_prompt(self, prompt: Any) -> str | tuple[Message, ...]:
        if isinstance(prompt, str):
            if not self._check_text(prompt, "prompt", "the prompt").strip():
                raise self._invalid("prompt", "is empty; give the text or messages that the responses answer.")
            return prompt
        if prompt is None or isinstance(prompt, bytes | bytearray | int | float):
            raise self._invalid("prompt", f"must be a string or a conversation, not {type(prompt).__name__}.")
        messages = tuple(map(_joined, self._read(read_messages, prompt, "prompt", "prompt")))
        if not any(not is_plain(message) or message["content"].strip() for message in messages):
            raise self._invalid("prompt", "has no message with any text.")
        return messages

    def _read(self, read: Callable[..., T], value: Any, field: str, where: str) -> T:
        try:
            return read(value, where=where)
        except InvalidCaseError as error:
            raise InvalidCaseError(f"{_name(self.id)}: {error.message}", field=field, case_id=self.id) from error

    def _checked_responses(self, responses: Any) -> dict[str, Response]:
        if isinstance(responses, str | bytes | bytearray):
            raise self._invalid("responses", "must be a mapping or a list of texts; for one response give [text].")
        if isinstance(responses, Sequence):
            responses = {str(index): text for index, text in enumerate(responses)}
        if not isinstance(responses, Mapping):
            raise self._invalid("responses", f"must be a mapping or a list of texts, not {type(responses).__name__}.")
        if not responses:
            raise self._invalid("responses", "is empty; there is nothing to judge.")
        if is_conversation(responses):
            raise self._invalid(
                "responses",
                "is a message or a reply, not a mapping from labels; for one response give [[message]] or [reply].",
            )
        return {label: self._checked_response(label, response) for label, response in responses.items()}

    def _checked_response(self, label: Any, response: Any) -> Response:
        self._check_text(label, "responses", f"the label {label!r}")
        what = f"the response labelled {label!r}"
        if isinstance(response, str):
            return self._check_text(response, "responses", what)
        if response is None or isinstance(response, bytes | bytearray | int | float):
            raise InvalidCaseError(
                f"{_name(self.id)}: {what} must be a string or messages, not {type(response).__name__}.",
                field="responses",
                case_id=self.id,
            )
        if _is_message(response):
            raise self._invalid("responses", f"has a message as {what}; for one response of messages give [messages].")
        return self._read(read_response, response, "responses", f"response labelled {label!r}")


def as_responses(value: Any) -> Any:
    """The responses for a `Case` from a value that may hold a single one, as a cell of a table may.

    Args:
        value: One response: a text, a `Trajectory` or a list of messages. Or a mapping label -> response or a list of
            responses, which is returned as it is.
    """
    is_run = isinstance(value, list | tuple) and value and all(_is_message(item, or_object=True) for item in value)
    return [value] if isinstance(value, str | Trajectory) or is_run else value


def _is_message(value: Any, *, or_object: bool = False) -> bool:
    """Whether a value is one message or one item of the Responses API, as a mapping or an object of a framework."""
    if isinstance(value, Mapping):
        return "role" in value or "type" in value
    return or_object and (hasattr(value, "role") or hasattr(value, "type"))


@dataclass(frozen=True, kw_only=True)
class Omitted:
    """What `shorten_case` left out, in characters."""

    responses: Mapping[str, int] = field(default_factory=dict)
    """Label -> characters. Responses that are whole are missing."""

    prompt: int = 0
    """Characters of the prompt."""


def shorten_case(case: Case, max_chars: int) -> tuple[Case, Omitted]:
    """Shorten the tools' results in the prompt and the responses of a case.

    Args:
        case: The case.
        max_chars: See `rewardanything_core.conversations.shorten`.
    """
    prompt, in_prompt = case.prompt, 0
    if not isinstance(prompt, str):
        prompt, done = shorten(prompt, max_chars=max_chars)
        in_prompt = sum(each.omitted for each in done)
    responses, omitted = dict(case.responses), {}
    for label, response in case.responses.items():
        if isinstance(response, Trajectory):
            messages, done = shorten(response.messages, max_chars=max_chars)
            if done:
                responses[label] = Trajectory(messages)
                omitted[label] = sum(each.omitted for each in done)
    if not in_prompt and not omitted:
        return case, Omitted()
    return replace(case, prompt=prompt, responses=responses), Omitted(responses=omitted, prompt=in_prompt)


def _joined(message: Message) -> Message:
    """A plain message with its text parts as one text, and others as they are."""
    if not is_plain(message) or isinstance(message["content"], str):
        return message
    return {"role": message["role"], "content": "\n".join(part["text"] for part in message["content"])}


def _sha256(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


def _name(case_id: object) -> str:
    return f"Case {case_id!r}" if case_id is not None else "The case"
