"""Cases: one question for a judge, checked before anything is paid for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rewardanything_core.errors import InvalidCaseError
from rewardanything_core.principles import Principle, check_text
from rewardanything_core.types import Message

ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True)
class Case:
    """A principle, a prompt and the responses to be judged.

    What is given loosely (a string for the principle, a list for the responses) is normalised at construction.

    Raises:
        InvalidCaseError: a part is empty, of a wrong type, or labelled twice. The message names the case and the field.
    """

    principle: Principle
    """What to prefer; a string becomes a `Principle`."""

    prompt: str | tuple[Message, ...]
    """What the responses answer: a string, or chat messages (``{"role", "content"}``, text only)."""

    responses: dict[str, str]
    """label -> text, one or more; texts may be empty. A sequence is labelled "0", "1", ..."""

    reference: str | None = None
    """A good answer to compare with. None: there is none."""

    context: str | None = None
    """Background that the judge should know, such as retrieved passages. None: there is none."""

    id: str | None = None
    """The caller's own name for the case, used in messages and logs; never shown to the judge."""

    if TYPE_CHECKING:  # what may be given is wider than what is then there

        def __init__(
            self,
            principle: Principle | str,
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
        """Take a case as it is, or make one of a mapping with its fields as keys.

        Raises:
            InvalidCaseError: the mapping lacks a field, has one too many, or makes no valid case.
        """
        if isinstance(value, Case):
            return value
        if not isinstance(value, Mapping):
            raise InvalidCaseError(
                f"A case must be a Case or a mapping, not {type(value).__name__}.", field="case", case_id=None
            )
        given, known = set(value), {"principle", "prompt", "responses", "reference", "context", "id"}
        missing, unknown = {"principle", "prompt", "responses"} - given, given - known
        if missing or unknown:
            wrong = ", ".join(
                [
                    *(f"no {name!r}" for name in sorted(missing)),
                    *(f"an unknown {name!r}" for name in sorted(unknown)),
                ]
            )
            raise InvalidCaseError(
                f"{_name(value.get('id'))} has {wrong}; a case has {', '.join(sorted(known))}.",
                field=min(missing or unknown),
                case_id=value.get("id"),
            )
        return cls(**value)

    @property
    def labels(self) -> tuple[str, ...]:
        """The responses' labels, as given."""
        return tuple(self.responses)

    @cached_property
    def canonical_labels(self) -> tuple[str, ...]:
        """The labels sorted by their responses' texts: the same set of texts, the same order, whatever the labels."""
        return tuple(sorted(self.responses, key=lambda label: self.responses[label]))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that the judge can see: labels, their order and the id are not in it."""
        seen = [
            self.principle.text,
            self.prompt if isinstance(self.prompt, str) else [[m["role"], m["content"]] for m in self.prompt],
            self.reference,
            self.context,
            [self.responses[label] for label in self.canonical_labels],
        ]
        return hashlib.sha256(json.dumps(seen, ensure_ascii=False).encode()).hexdigest()

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
        messages = tuple(self._checked_message(i, m) for i, m in enumerate(prompt))
        if not any(m["content"].strip() for m in messages):
            raise self._invalid("prompt", "has no message with any text.")
        return messages

    def _checked_message(self, index: int, message: Any) -> Message:
        where = f"message {index}"
        if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
            raise self._invalid("prompt", f"{where} must be a mapping with 'role' and 'content', not {message!r:.80}.")
        if message["role"] not in ROLES:
            raise self._invalid("prompt", f"{where} has role {message['role']!r}; roles are {', '.join(ROLES)}.")
        content = message["content"]
        if isinstance(content, list):
            content = "\n".join(self._text_part(where, part) for part in content)
        return {
            "role": message["role"],
            "content": self._check_text(content, "prompt", f"{where} of the prompt"),
        }

    def _text_part(self, where: str, part: Any) -> str:
        if isinstance(part, str):
            return part
        if isinstance(part, Mapping) and part.get("type") == "text":
            return self._check_text(part.get("text"), "prompt", f"a part of {where}")
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        raise self._invalid("prompt", f"{where} has a part of type {kind!r}; only text can be judged.")

    def _checked_responses(self, responses: Any) -> dict[str, str]:
        if isinstance(responses, str | bytes):
            raise self._invalid("responses", "must be a mapping or a list of texts; for one response give [text].")
        if isinstance(responses, Sequence):
            responses = {str(i): text for i, text in enumerate(responses)}
        if not isinstance(responses, Mapping):
            raise self._invalid("responses", f"must be a mapping or a list of texts, not {type(responses).__name__}.")
        if not responses:
            raise self._invalid("responses", "is empty; there is nothing to judge.")
        for label, text in responses.items():
            self._check_text(label, "responses", f"the label {label!r}")
            self._check_text(text, "responses", f"the response labelled {label!r}")
        return dict(responses)


def _name(case_id: object) -> str:
    return f"Case {case_id!r}" if case_id is not None else "The case"
