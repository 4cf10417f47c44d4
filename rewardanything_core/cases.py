"""Cases: the unit of judging, validated before any request is paid for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rewardanything_core.errors import InvalidCaseError
from rewardanything_core.principles import Principle, check_text
from rewardanything_core.rubrics import Rubric
from rewardanything_core.types import Message

ROLES = ("system", "developer", "user", "assistant", "tool")
"""The roles that a message of a prompt may have."""

_FIELDS = ("principle", "prompt", "responses", "reference", "context", "id")
_REQUIRED = ("principle", "prompt", "responses")
_TEXT_PARTS = ("text", "input_text", "output_text")  # the names in OpenAI's chat and responses APIs
_PART_KEYS = ("type", "text", "cache_control")  # the last is a hint for servers, not content


@dataclass(frozen=True)
class Case:
    """A principle, a prompt and the responses to judge.

    Convenient forms (a string for the principle, a list for the responses) are normalised at construction.

    Raises:
        InvalidCaseError: a part is empty or has a wrong type; a text cannot be encoded as UTF-8; or a message of the
            prompt has something that the judge would not see, such as tool calls or an image. The message names the
            case, the field, and for a prompt the message's index and key.
    """

    principle: Principle
    """What to prefer, a `Rubric` included; a string becomes a `Principle`."""

    prompt: str | tuple[Message, ...]
    """What the responses answer: a string, or chat messages with ``role`` and ``content`` (a string or text parts).
    Other keys must be empty, as in ``"tool_calls": None``."""

    responses: dict[str, str]
    """label -> text, one or more; texts may be empty. A sequence is labelled "0", "1", ..."""

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
            prompt: str | Sequence[Message] | Sequence[Mapping[str, Any]],
            responses: Mapping[str, str] | Sequence[str],
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
        for field in ("reference", "context"):
            if getattr(self, field) is not None:
                self._check_text(getattr(self, field), field, f"the {field}")

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
        """The labels sorted by their responses' texts, so that equal sets of texts have equal orders."""
        return tuple(sorted(self.responses, key=lambda label: self.responses[label]))

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
            self.prompt if isinstance(self.prompt, str) else [[m["role"], m["content"]] for m in self.prompt],
            self.reference,
            self.context,
            [self.responses[label] for label in self.canonical_labels],
        ]

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
        if not isinstance(prompt, Sequence) or isinstance(prompt, bytes | bytearray):
            raise self._invalid("prompt", f"must be a string or a list of messages, not {type(prompt).__name__}.")
        messages = tuple(self._checked_message(index, message) for index, message in enumerate(prompt))
        if not any(message["content"].strip() for message in messages):
            raise self._invalid("prompt", "has no message with any text.")
        return messages

    def _checked_message(self, index: int, message: Any) -> Message:
        where = f"message {index}"
        if not isinstance(message, Mapping):
            raise self._invalid("prompt", f"{where} must be a mapping with 'role' and 'content', not {message!r:.80}.")
        for key, value in message.items():
            if key not in ("role", "content") and not _is_empty(value):
                raise self._invalid(
                    "prompt",
                    f"{where} has {key!r}, which the judge would not see; put it into 'content' as text or remove it.",
                )
        for key in ("role", "content"):
            if key not in message:
                raise self._invalid("prompt", f"{where} has no {key!r}.")
        if message["role"] not in ROLES:
            raise self._invalid("prompt", f"{where} has role {message['role']!r}; roles are {', '.join(ROLES)}.")
        content = message["content"]
        if isinstance(content, list | tuple):
            content = "\n".join(self._part_text(f"{where}: 'content' part {i}", part) for i, part in enumerate(content))
        return {
            "role": message["role"],
            "content": self._check_text(content, "prompt", f"prompt {where}: 'content'"),
        }

    def _part_text(self, where: str, part: Any) -> str:
        if isinstance(part, str):
            return part
        part_type = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        if part_type not in _TEXT_PARTS:
            raise self._invalid("prompt", f"{where} has type {part_type!r}; only text can be judged.")
        for key, value in part.items():
            if key not in _PART_KEYS and not _is_empty(value):
                raise self._invalid("prompt", f"{where} has {key!r}, which the judge would not see; remove it.")
        return self._check_text(part.get("text"), "prompt", f"prompt {where}: 'text'")

    def _checked_responses(self, responses: Any) -> dict[str, str]:
        if isinstance(responses, str | bytes | bytearray):
            raise self._invalid("responses", "must be a mapping or a list of texts; for one response give [text].")
        if isinstance(responses, Sequence):
            responses = {str(index): text for index, text in enumerate(responses)}
        if not isinstance(responses, Mapping):
            raise self._invalid("responses", f"must be a mapping or a list of texts, not {type(responses).__name__}.")
        if not responses:
            raise self._invalid("responses", "is empty; there is nothing to judge.")
        for label, text in responses.items():
            self._check_text(label, "responses", f"the label {label!r}")
            self._check_text(text, "responses", f"the response labelled {label!r}")
        return dict(responses)


def _sha256(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


def _is_empty(value: object) -> bool:
    """Whether ignoring a value loses nothing: None, or an empty string, list or mapping."""
    return value is None or (isinstance(value, str | Sequence | Mapping) and len(value) == 0)


def _name(case_id: object) -> str:
    return f"Case {case_id!r}" if case_id is not None else "The case"
