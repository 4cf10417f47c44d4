"""Turning requests into what the engine takes: token ids, a limit of length, a grammar."""

from __future__ import annotations

from collections.abc import Callable

from rewardanything_core.backends.base import ChoiceRequest, Request
from rewardanything_core.backends.grammar import Choice, Grammar, GrammarFactory, Text
from rewardanything_core.backends.local.chat_tokenizer import ChatTokenizer
from rewardanything_core.backends.local.engine.option_scorer import EncodedQuestion, first_tokens
from rewardanything_core.backends.local.engine.sequence import Sequence
from rewardanything_core.errors import ContextLengthError
from rewardanything_core.types import Message


class RequestPreparer:
    """Encodes requests and checks that they fit the model's window.

    Args:
        chat: The tokenizer.
        window: The most tokens of prompt and reply together.
        name: The model's name, for messages.
    """

    def __init__(self, chat: ChatTokenizer, *, window: int, name: str) -> None:
        self._chat, self.window, self._name = chat, window, name

    def sequence(self, request: Request, is_cancelled: Callable[[], bool] = lambda: False) -> Sequence:
        """A sequence for the engine.

        Args:
            request: The request.
            is_cancelled: Whether the reply is no longer wanted; called before each step.

        Raises:
            ContextLengthError: the prompt and the longest possible reply do not fit the window.
        """
        chat = self._chat.encode(request.messages)
        if request.grammar is None:
            max_new_tokens = (request.sampling.thinking_budget or 0) + request.sampling.max_tokens
        else:
            max_new_tokens = self._max_tokens(request.grammar)
        needed = len(chat.ids) + max_new_tokens
        if needed > self.window:
            raise ContextLengthError(
                tokens=needed,
                limit=self.window,
                detail=f"({len(chat.ids):,} of them are the prompt, the rest is room for the reply of {self._name}.)",
            )
        return Sequence(
            prompt_ids=chat.ids,
            grammar=None if request.grammar is None else request.grammar(),
            sampling=request.sampling,
            prompt_ending=chat.ending,
            max_new_tokens=max_new_tokens,
            is_cancelled=is_cancelled,
        )

    def question(self, request: ChoiceRequest) -> EncodedQuestion:
        """A question for the option scorer.

        Raises:
            ContextLengthError: the question does not fit the window.
            ConfigError: two options begin with the same token.
        """
        ids = self.prompt(request.messages)
        return EncodedQuestion(ids, request.options, first_tokens(request.options, self._chat.encode_text))

    def prompt(self, messages: tuple[Message, ...]) -> list[int]:
        """Token ids of a conversation up to the model's reply, of which only the first token is of interest.

        Raises:
            ContextLengthError: it does not fit the window.
        """
        ids = self._chat.encode(messages).ids
        if len(ids) >= self.window:
            detail = f"(One question about one response, for {self._name}.)"
            raise ContextLengthError(tokens=len(ids) + 1, limit=self.window, detail=detail)
        return ids

    def _max_tokens(self, make_grammar: GrammarFactory) -> int:
        """The most tokens of a reply: fields at their limits, and all literals encoded as one text.

        A grammar may depend on what was filled in. Its longest option in each place gives the longest reply of all
        grammars that we have.
        """
        grammar, total, literal = make_grammar(), 0, ""
        value: str | None = None
        while (item := _next_item(grammar, value)) is not None:
            value = None
            if isinstance(item, str):
                literal += item
            elif isinstance(item, Text):
                total, value = total + item.max_tokens, ""
            elif isinstance(item, Choice):
                value = max(item.options, key=len)
                literal += value
        return total + len(self._chat.encode_text(literal))


def _next_item(grammar: Grammar, value: str | None) -> str | Choice | Text | None:
    """The grammar's next item. None: it has ended."""
    try:
        return grammar.send(value)
    except StopIteration:
        return None
