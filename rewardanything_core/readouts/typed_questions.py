"""Answers to typed questions from token probabilities; nothing is generated.

How a language model becomes a decision model: it reads the input and a question with named answers, and the
probabilities of the names as its first token are the answer.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from rewardanything_core.agreement.calibration import Calibration
from rewardanything_core.backends.base import Backend, ChoiceProbabilities, ChoiceRequest, log_odds
from rewardanything_core.decisions import (
    Answer,
    ChoiceAnswer,
    ChoiceQuestion,
    DecisionRequest,
    PredicateAnswer,
    PredicateQuestion,
    Question,
    RefusalAnswer,
    ScoreAnswer,
    ScoreQuestion,
)
from rewardanything_core.errors import NoProbabilitiesError
from rewardanything_core.prompting.typed_questions import (
    LETTERS,
    QuestionPrompt,
    input_text,
    typed_question_wording,
)
from rewardanything_core.readouts.pointwise.estimators import MIN_OPTION_MASS
from rewardanything_core.types import MAX_SCORE, MIN_SCORE, Usage


class TypedQuestionReadout:
    """Answers typed questions with a language model.

    Args:
        backend: A model that supports option scores.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend, self._wording = backend, typed_question_wording()

    async def answer(self, request: DecisionRequest, *, on_usage: Callable[[Usage], None]) -> tuple[Answer, ...]:
        """The answers to all questions of a request, in their order.

        All go to the model in one call, so that the input is computed once. A question that the model would answer
        with something else is refused.

        Args:
            request: The request, which has texts only.
            on_usage: Called with the usage.

        Raises:
            ContextLengthError: the input and a question do not fit the model's context window.
            NoProbabilitiesError: the model would answer every question with something else.
            BackendError: the model failed.
        """
        material = input_text(request)
        prompts = [self._prompts(question) for question in request.questions]
        escape = not self._backend.escapes_special_tokens
        result = await self._backend.score_options(
            [
                ChoiceRequest(
                    messages=self._wording.messages(material, prompt, escape_special_tokens=escape),
                    options=tuple(prompt.outcomes),
                )
                for of_question in prompts
                for prompt in of_question
            ]
        )
        on_usage(result.usage)
        remaining = iter(result.answers)
        answers = [
            _read(question, of_question, [next(remaining) for _ in of_question])
            for question, of_question in zip(request.questions, prompts, strict=True)
        ]
        if all(isinstance(answer, RefusalAnswer) for answer in answers):
            raise NoProbabilitiesError(
                f"{self._backend.model} does not begin its reply with an answer to the questions, so there are no "
                "probabilities.",
                hint="Models that reason before they answer cannot answer typed questions.",
            )
        return tuple(answers)

    def _prompts(self, question: Question) -> tuple[QuestionPrompt, ...]:
        if _num_outcomes(question) == 1:
            return ()
        if isinstance(question, ChoiceQuestion) and len(question.options) > len(LETTERS):
            return self._wording.option_prompts(question)
        return self._wording.prompts(question)


def calibrated(answers: Sequence[Answer], calibration: Calibration) -> tuple[Answer, ...]:
    """Answers with the probabilities of predicates mapped; others stay.

    Args:
        answers: The answers.
        calibration: A map fitted to predicates: 1 is a probability of 0, and 5 one of 1, as for yes/no criteria.
    """
    width = MAX_SCORE - MIN_SCORE
    return tuple(
        dataclasses.replace(
            answer,
            probability=(calibration.apply(MIN_SCORE + width * answer.probability) - MIN_SCORE) / width,
        )
        if isinstance(answer, PredicateAnswer)
        else answer
        for answer in answers
    )


def pooled(
    questions: Sequence[Question], answers: Sequence[Sequence[Answer]], weights: Sequence[float]
) -> tuple[Answer, ...]:
    """The answers of several models as one: weighted means of their probabilities (a linear opinion pool).

    Args:
        questions: The questions.
        answers: For each model, its answers. A refusal does not count, unless all models refuse.
        weights: One per model, above 0.
    """
    return tuple(
        _pooled_answer(question, of_question, weights)
        for question, of_question in zip(questions, zip(*answers, strict=True), strict=True)
    )


def _pooled_answer(question: Question, answers: Sequence[Answer], weights: Sequence[float]) -> Answer:
    given = [
        (weight, _distribution(answer))
        for answer, weight in zip(answers, weights, strict=True)
        if not isinstance(answer, RefusalAnswer)
    ]
    if not given:
        return RefusalAnswer(name=question.name)
    total = math.fsum(weight for weight, _ in given)
    return _answer(
        question,
        [
            math.fsum(weight * distribution[index] for weight, distribution in given) / total
            for index in range(_num_outcomes(question))
        ],
    )


def _read(question: Question, prompts: Sequence[QuestionPrompt], asked: Sequence[ChoiceProbabilities]) -> Answer:
    """The answer that the model's probabilities for all prompts of a question mean."""
    if prompts and max(each.mass for each in asked) < MIN_OPTION_MASS:
        return RefusalAnswer(name=question.name)
    logits = [0.0] * _num_outcomes(question)
    if len(prompts) == len(logits) > len(LETTERS):  # each option alone
        logits = [log_odds(each) for each in asked]
    else:
        for prompt, each in zip(prompts, asked, strict=True):
            for name, outcome in prompt.outcomes.items():
                logits[outcome] += math.log(each.probabilities[name]) / len(prompts)
    highest = max(logits)
    weights = [math.exp(logit - highest) for logit in logits]
    total = math.fsum(weights)
    return _answer(question, [weight / total for weight in weights])


def _answer(question: Question, distribution: Sequence[float]) -> Answer:
    probabilities = tuple(distribution)
    if isinstance(question, PredicateQuestion):
        return PredicateAnswer(name=question.name, probability=probabilities[0])
    if isinstance(question, ScoreQuestion):
        return ScoreAnswer(name=question.name, probabilities=probabilities)
    choice = question.options[probabilities.index(max(probabilities))].value
    return ChoiceAnswer(name=question.name, choice=choice, probabilities=probabilities)


def _distribution(answer: Answer) -> Sequence[float]:
    if isinstance(answer, PredicateAnswer):
        return answer.probability, 1 - answer.probability
    assert isinstance(answer, ChoiceAnswer | ScoreAnswer)
    return answer.probabilities


def _num_outcomes(question: Question) -> int:
    if isinstance(question, PredicateQuestion):
        return 2
    return len(question.levels if isinstance(question, ScoreQuestion) else question.options)
