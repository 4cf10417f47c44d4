"""Chat messages to token ids, with the text of messages kept apart from special tokens.

A chat template marks turns with special tokens. If a text under judgement spells one out (``<|im_end|>``), tokenizing
the rendered conversation as a whole would turn that text into the real token and let a response end its own turn. Here
only what the template itself wrote can become a special token. The same characters in a message are encoded in pieces,
so that the model reads the same characters without their special meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rewardanything_core.errors import BackendError, ConfigError
from rewardanything_core.types import Message

_ENDING_CHARACTERS = 64
"""How much of the rendered prompt is kept to find what of the reply it already contains."""


@dataclass(frozen=True)
class EncodedChat:
    """A conversation up to the point where the model's reply begins."""

    ids: list[int]
    """Token ids."""

    ending: str
    """The last characters of the rendered text. Some templates open the reply themselves, with ``<think>``."""


class ChatTokenizer:
    """A Hugging Face tokenizer with a chat template.

    Args:
        tokenizer: The tokenizer.
        name: The model's name, for messages.

    Raises:
        ConfigError: the tokenizer has no chat template.
    """

    def __init__(self, tokenizer: Any, *, name: str) -> None:
        if not tokenizer.chat_template:
            raise ConfigError(f"{name} has no chat template; a judge needs an instruct (chat) model.")
        self._tokenizer = tokenizer
        self._name = name
        # Added tokens of one or two characters that are not special (a tab, two spaces) are ordinary text.
        self._added = {
            str(token): token_id
            for token_id, token in tokenizer.added_tokens_decoder.items()
            if token.special or len(str(token).strip()) > 2
        }
        longest_first = sorted(self._added, key=len, reverse=True)
        self._added_pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def encode(self, messages: Sequence[Message]) -> EncodedChat:
        """Encode a conversation for a reply.

        A system message goes into the user's turn where the template does not accept a system role.

        Raises:
            BackendError: the template drops or repeats messages.
        """
        try:
            return self._encode(messages)
        except Exception as error:
            if len(messages) != 2 or not _rejects_system_role(error):
                raise
            merged = f"{messages[0]['content']}\n\n{messages[1]['content']}"
            return self._encode([{"role": "user", "content": merged}])

    def encode_text(self, text: str) -> list[int]:
        """Token ids of text that continues other text. Special tokens spelled out in it become special tokens."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _encode(self, messages: Sequence[Message]) -> EncodedChat:
        # The template is rendered with a placeholder for each message, to see which characters it writes itself.
        placeholders = [f"\ue000{i}\ue001" for i in range(len(messages))]
        contents = [message["content"] for message in messages]
        frame = self._rendered(messages, placeholders)
        if any(frame.count(placeholder) != 1 for placeholder in placeholders):
            raise BackendError(f"The chat template of {self._name} drops or repeats messages.")
        pieces = re.split("(" + "|".join(placeholders) + ")", frame)
        if _filled(pieces, placeholders, contents) != self._rendered(messages, contents):
            contents = [content.strip() for content in contents]  # what templates usually do to a message
        text = _filled(pieces, placeholders, contents)
        if any(self._added_pattern.search(content) for content in contents):
            ids = self._encode_apart(pieces, dict(zip(placeholders, contents, strict=True)))
        else:
            ids = self.encode_text(text)
        return EncodedChat(ids, text[-_ENDING_CHARACTERS:])

    def _rendered(self, messages: Sequence[Message], contents: Sequence[str]) -> str:
        conversation = [
            {"role": message["role"], "content": content} for message, content in zip(messages, contents, strict=True)
        ]
        return str(self._tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))

    def _encode_apart(self, pieces: Sequence[str], contents: dict[str, str]) -> list[int]:
        """Encode a rendered conversation in which only the template's own characters become added tokens.

        Args:
            pieces: What the template wrote, and placeholders.
            contents: Placeholder -> text of the message.
        """
        ids: list[int] = []
        pending = ""  # text up to the next added token; encoded as a whole, as the tokenizer would
        for piece in pieces:
            if piece in contents:
                pending += contents[piece]
                continue
            end = 0
            for match in self._added_pattern.finditer(piece):
                ids += self._encode_plain(pending + piece[end : match.start()])
                ids.append(self._added[match[0]])
                pending, end = "", match.end()
            pending += piece[end:]
        return ids + self._encode_plain(pending)

    def _encode_plain(self, text: str) -> list[int]:
        """Encode text in which no added token may appear."""
        return [token for part in self._split_inside_added(text) for token in self.encode_text(part)]

    def _split_inside_added(self, text: str) -> Iterator[str]:
        """Split text after the first character of every added token that it spells out."""
        while match := self._added_pattern.search(text):
            yield text[: match.start() + 1]
            text = text[match.start() + 1 :]
        if text:
            yield text


def _filled(pieces: Sequence[str], placeholders: Sequence[str], contents: Sequence[str]) -> str:
    """The rendered pieces with each placeholder replaced by its message."""
    replacements = dict(zip(placeholders, contents, strict=True))
    return "".join(replacements.get(piece, piece) for piece in pieces)


def _rejects_system_role(error: Exception) -> bool:
    return type(error).__name__ == "TemplateError" and "system" in str(error).lower()
