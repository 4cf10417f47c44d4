"""Chat messages to token ids, with text kept apart from markup.

A chat template marks turns with special tokens. If a text under judgement spells one out (``<|im_end|>``), tokenizing
the rendered conversation as a whole would turn that text into the real token and let a response end its own turn. Here
only what the template itself wrote can become such a token; the same characters in a message are encoded piecemeal, so
that they read the same and mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rewardanything_core.errors import BackendError, ConfigError
from rewardanything_core.types import Message


@dataclass(frozen=True)
class EncodedChat:
    """A conversation up to where the model's reply begins."""

    ids: list[int]
    """Token ids."""

    ending: str
    """The last characters of the rendered text: some templates open the reply with ``<think>`` themselves."""


class ChatTokenizer:
    """A Hugging Face tokenizer with a chat template.

    Raises:
        ConfigError: the tokenizer has no chat template.
    """

    def __init__(self, tokenizer: Any, *, name: str) -> None:
        if not tokenizer.chat_template:
            raise ConfigError(f"{name} has no chat template; a judge needs an instruct (chat) model.")
        self._tokenizer = tokenizer
        self._name = name
        self._added = {
            str(token): token_id
            for token_id, token in tokenizer.added_tokens_decoder.items()
            if token.special or len(str(token).strip()) > 2
        }
        longest_first = sorted(self._added, key=len, reverse=True)
        self._markup = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def encode(self, messages: Sequence[Message]) -> EncodedChat:
        """The conversation, ready for a reply.

        Raises:
            BackendError: the template does something to messages that cannot be followed.
        """
        try:
            return self._encode(messages)
        except Exception as error:
            if len(messages) != 2 or not _refuses_system(error):
                raise
            merged = f"{messages[0]['content']}\n\n{messages[1]['content']}"
            return self._encode([{"role": "user", "content": merged}])

    def literal(self, text: str) -> list[int]:
        """Token ids of text that continues other text; markup in it is meant as such."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _encode(self, messages: Sequence[Message]) -> EncodedChat:
        marks = [f"\ue000{i}\ue001" for i in range(len(messages))]
        contents = [m["content"] for m in messages]
        frame = self._rendered(messages, marks)
        if any(frame.count(mark) != 1 for mark in marks):
            raise BackendError(f"The chat template of {self._name} drops or repeats messages.")
        pieces = re.split("(" + "|".join(marks) + ")", frame)
        if _filled(pieces, marks, contents) != self._rendered(messages, contents):
            contents = [content.strip() for content in contents]  # the usual thing that templates do to a message
        text = _filled(pieces, marks, contents)
        if any(self._markup.search(content) for content in contents):
            ids = self._encode_apart(pieces, dict(zip(marks, contents, strict=True)))
        else:
            ids = self.literal(text)
        return EncodedChat(ids, text[-64:])

    def _rendered(self, messages: Sequence[Message], contents: Sequence[str]) -> str:
        conversation = [
            {"role": message["role"], "content": content} for message, content in zip(messages, contents, strict=True)
        ]
        return str(self._tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))

    def _encode_apart(self, pieces: Sequence[str], contents: dict[str, str]) -> list[int]:
        ids: list[int] = []
        run = ""
        for piece in pieces:
            if piece in contents:
                run += contents[piece]
                continue
            end = 0
            for match in self._markup.finditer(piece):
                ids += self._plain(run + piece[end : match.start()])
                ids.append(self._added[match[0]])
                run, end = "", match.end()
            run += piece[end:]
        return ids + self._plain(run)

    def _plain(self, text: str) -> list[int]:
        return [token for part in self._cut(text) for token in self.literal(part)]

    def _cut(self, text: str) -> Iterator[str]:
        """Split text inside every spelling of an added token, after its first character."""
        while match := self._markup.search(text):
            yield text[: match.start() + 1]
            text = text[match.start() + 1 :]
        if text:
            yield text


def _filled(pieces: Sequence[str], marks: Sequence[str], contents: Sequence[str]) -> str:
    given = dict(zip(marks, contents, strict=True))
    return "".join(given.get(piece, piece) for piece in pieces)


def _refuses_system(error: Exception) -> bool:
    return type(error).__name__ == "TemplateError" and "system" in str(error).lower()
