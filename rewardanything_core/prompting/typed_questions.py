"""The wording of typed questions for a language model: chat messages, and the answers whose probabilities count."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from rewardanything_core.conversations import has_images, message_text, transcript
from rewardanything_core.conversations.trajectory import is_plain
from rewardanything_core.decisions import (
    ChoiceQuestion,
    DecisionRequest,
    PredicateQuestion,
    Question,
    ScoreQuestion,
)
from rewardanything_core.decisions.node import compact
from rewardanything_core.errors import DecisionFormatError
from rewardanything_core.prompting.files import filled, prompt_file
from rewardanything_core.prompting.templates import neutralize_special_tokens
from rewardanything_core.types import Message

LETTERS = "ABCDEFGHIJKLMNOPQRST"
"""Names of options in a prompt. Each is a token of its own in every vocabulary, and servers return the 20 likeliest."""

_DIGITS = "0123456789"


@dataclass(frozen=True, kw_only=True)
class QuestionPrompt:
    """One way to ask a question."""

    text: str
    """The question and its possible answers."""

    outcomes: Mapping[str, int]
    """Answer -> index of the outcome that it means. The answers begin with different tokens."""


@dataclass(frozen=True, kw_only=True)
class TypedQuestionWording:
    """The texts around questions and inputs."""

    content: Mapping[str, Any]
    """``prompting/prompts/typed_questions.toml``."""

    def messages(self, material: str, prompt: QuestionPrompt, *, escape_special_tokens: bool) -> tuple[Message, ...]:
        """A question about an input, the input first.

        Args:
            material: The input, as from `input_text`.
            prompt: The question.
            escape_special_tokens: Whether to neutralise special tokens in the texts.
        """
        text = filled(self.content["message"], {"input": material, "question": prompt.text})
        text = neutralize_special_tokens(text) if escape_special_tokens else text
        return Message(role="system", content=self.content["system"]), Message(role="user", content=text)

    def prompts(self, question: Question) -> tuple[QuestionPrompt, ...]:
        """The ways to ask a question, whose answers are averaged.

        The outcomes of a predicate are true and false. Levels and options are listed in their order and in reverse, so
        that a preference of the model for a place in the list cancels.

        Args:
            question: The question; it has 2 options or levels or more, and at most as many as there are `LETTERS`.
        """
        if isinstance(question, PredicateQuestion):
            return (self._predicate(question),)
        entries = _entries(question)
        places = range(len(entries))
        if isinstance(question, ScoreQuestion):
            names = list(zip(level_names([label for label, _ in entries]), places, strict=False))
            orders = [names, names[::-1]]
        else:
            orders = [list(zip(LETTERS, order, strict=False)) for order in (places, places[::-1])]
        return tuple(self._listed(question, order) for order in orders)

    def option_prompts(self, question: ChoiceQuestion) -> tuple[QuestionPrompt, ...]:
        """For each option of a choice, the question whether it is the right one; its outcomes are yes and no."""
        wording, instructions = self.content["option"], self._instructions(question)
        return tuple(
            QuestionPrompt(
                text="\n".join(
                    [instructions, filled(wording["proposal"], {"option": _line(*entry)}), wording["ending"]]
                ),
                outcomes=_by_place(wording["answers"]),
            )
            for entry in _entries(question)
        )

    def _predicate(self, question: PredicateQuestion) -> QuestionPrompt:
        wording = self.content["predicate"]
        criteria = [
            filled(wording[name], {"text": text})
            for name, text in (("true_when", question.true_when), ("false_when", question.false_when))
            if text is not None
        ]
        text = "\n".join([self._instructions(question), *criteria, wording["ending"]])
        return QuestionPrompt(text=text, outcomes=_by_place(wording["answers"]))

    def _listed(self, question: ScoreQuestion | ChoiceQuestion, order: Sequence[tuple[str, int]]) -> QuestionPrompt:
        """The question with its levels or options in an order: the name and the index of each."""
        entries = _entries(question)
        lines = [_line(*([name] if name != entries[index][0] else []), *entries[index]) for name, index in order]
        ending = self.content[_KINDS[type(question)]]["ending"]
        return QuestionPrompt(text="\n".join([self._instructions(question), *lines, ending]), outcomes=dict(order))

    def _instructions(self, question: Question) -> str:
        text = question.instructions or self.content[_KINDS[type(question)]]["instructions"]
        assert isinstance(text, str)  # see `check_text_only`
        return text


@cache
def typed_question_wording() -> TypedQuestionWording:
    """The wording that ships with the package."""
    return TypedQuestionWording(content=tomllib.loads(prompt_file("typed_questions.toml")))


def input_text(request: DecisionRequest) -> str:
    """The input: a text as it is, other JSON as compact JSON, several messages or function calls as a transcript."""
    if request.messages is None:
        return request.state if isinstance(request.state, str) else compact(request.state)
    if len(request.messages) == 1 and request.messages[0]["role"] == "user" and is_plain(request.messages[0]):
        return message_text(request.messages[0])
    return transcript(request.messages)


def check_text_only(request: DecisionRequest) -> None:
    """Check that a request has no images.

    Raises:
        DecisionFormatError: it has.
    """
    for path, has_image in _images(request):
        if has_image:
            raise DecisionFormatError(f"{path} has an image; this model is asked about texts only.", path=path)


def level_names(labels: Sequence[str]) -> Sequence[str]:
    """The names of levels in a prompt: their labels if these are different digits, else numbers.

    Args:
        labels: The labels, lowest first; 1 to 10.
    """
    if len(set(labels)) == len(labels) and set(labels) <= set(_DIGITS):
        return labels
    return _DIGITS if len(labels) == len(_DIGITS) else _DIGITS[1:]


_Entry = tuple[str, str | None]  # label or value, and its description
_KINDS = {PredicateQuestion: "predicate", ScoreQuestion: "score", ChoiceQuestion: "choice"}


def _entries(question: ScoreQuestion | ChoiceQuestion) -> list[_Entry]:
    if isinstance(question, ScoreQuestion):
        return [(level.label, level.description) for level in question.levels]
    return [
        (option.value if isinstance(option.value, str) else str(option.value).lower(), option.description)
        for option in question.options
    ]


def _line(*parts: str | None) -> str:
    return ": ".join(part for part in parts if part is not None)


def _by_place(answers: Sequence[str]) -> dict[str, int]:
    return {answer: place for place, answer in enumerate(answers)}


def _images(request: DecisionRequest) -> Iterator[tuple[str, bool]]:
    """Each place of a request that may have images, and whether it has."""
    yield "assets", bool(request.images)
    yield "input", has_images(request.messages or ())
    for index, question in enumerate(request.questions):
        name = f"questions[{index}]" if question.name is None else f"questions.{question.name}"
        yield f"{name}.instructions", not isinstance(question.instructions, str)
