"""What is judged, as a prompt shows it: texts as they are, conversations as turns or as a transcript."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from rewardanything_core.cases import Case
from rewardanything_core.conversations import transcript, turns_as_json
from rewardanything_core.conversations.trajectory import Response, is_plain
from rewardanything_core.prompting.files import prompt_file
from rewardanything_core.types import ContentPart, Message

TURNS_VERSION = 1
"""Part of `turns_hash`; increase it when the form of turns or transcripts changes."""


@dataclass
class Material:
    """The parts of a case in the form of a request, with the images that they refer to.

    Args:
        as_transcripts: Whether conversations are plain text, for models that were trained on texts.
    """

    as_transcripts: bool
    images: list[ContentPart] = field(default_factory=list)
    """The images so far; the first is ``[image 1]`` in the texts."""

    def of_case(self, case: Case, names: Mapping[str, str]) -> dict[str, Any]:
        """Everything but the principle.

        Args:
            case: The case.
            names: Masked name -> label, in the order shown.
        """
        content = {"prompt": self._prompt(case)}
        if case.context is not None:
            content["context"] = case.context
        if case.reference is not None:
            content["reference"] = case.reference
        content["responses"] = {name: self._response(case.responses[label]) for name, label in names.items()}
        return content

    def _prompt(self, case: Case) -> Any:
        """A single user message becomes its text, as in training; a conversation stays a list of messages."""
        if isinstance(case.prompt, str):
            return case.prompt
        if not all(map(is_plain, case.prompt)):
            return self._turns(case.prompt)
        if len(case.prompt) == 1 and case.prompt[0]["role"] == "user":
            return case.prompt[0]["content"]
        return list(case.prompt)

    def _response(self, response: Response) -> Any:
        return response if isinstance(response, str) else self._turns(response.messages)

    def _turns(self, messages: Sequence[Message]) -> Any:
        numbered = [self._with_numbered_images(message) for message in messages]
        return transcript(numbered) if self.as_transcripts else turns_as_json(numbered)

    def _with_numbered_images(self, message: Message) -> Message:
        if not isinstance(message["content"], list):
            return message
        parts: list[ContentPart] = []
        for part in message["content"]:
            if part["type"] == "image_url":
                self.images.append(part)
                parts.append({"type": "text", "text": f"[image {len(self.images)}]"})
            else:
                parts.append(part)
        return {**message, "content": parts}


def turns_notice() -> str:
    """The instructions about turns, which follow those of a template."""
    return prompt_file("turns.md").rstrip("\n")


@cache
def turns_hash() -> str:
    """First 16 hexadecimal digits of the SHA-256 of the notice and the form of turns."""
    return hashlib.sha256(f"{TURNS_VERSION}\n{turns_notice()}".encode()).hexdigest()[:16]
