"""Models of the decision routes for the OpenAPI document; like those of `schemas`, they only describe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rewardanything_core.decisions import limits as formats
from rewardanything_core.server.limits import Limits

Json = dict[str, Any]
Probability = Annotated[float, Field(ge=0, le=1)]

_NOT_BLANK = "[^\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]"
_STRICT = ConfigDict(extra="forbid")

_DECISION_EXAMPLE: Json = {
    "model": "judge",
    "input": "I was charged twice. Please fix this.",
    "questions": [
        {"type": "predicate", "name": "urgent", "instructions": "Does the writer want something done now?"},
        {"type": "choice", "instructions": "What is it about?", "choices": [{"value": "billing"}, {"value": "bug"}]},
    ],
}
_SYSTEM_ONE_EXAMPLE: Json = {
    "model": "judge",
    "state": {"note": "I was charged twice. Please fix this."},
    "questions": {"tone": {"type": "score", "instructions": "How polite is `note`?", "criteria": ["rude", "polite"]}},
}


def request_models(limits: Limits) -> list[type[BaseModel]]:
    """The models of request bodies.

    Args:
        limits: The limits to document.
    """
    Text = Annotated[str, Field(min_length=1, max_length=limits.text_chars, pattern=_NOT_BLANK)]  # noqa: N806  # a type

    class InputText(BaseModel):
        type: Literal["input_text"]
        text: Text

    class InputJson(BaseModel):
        type: Literal["input_json"]
        data: Json | list[Any]

    Instructions = Text | Annotated[list[InputText | InputJson], Field(min_length=1)]  # noqa: N806

    class Named(BaseModel):
        model_config = _STRICT
        name: Text | None = Field(None, description="Repeated by the answer. Names are distinct.")
        instructions: Instructions

    class Predicate(Named):
        type: Literal["predicate"]

    class ChoiceOption(BaseModel):
        model_config = _STRICT
        value: Text | bool
        description: Annotated[str, Field(max_length=limits.text_chars)] | None = None

    class Choice(Named):
        type: Literal["choice"]
        choices: list[ChoiceOption] = Field(
            min_length=formats.OPTIONS.start, max_length=formats.OPTIONS.stop - 1, description="Their values differ."
        )

    class Level(BaseModel):
        model_config = _STRICT
        label: Text
        description: Annotated[str, Field(max_length=limits.text_chars)] | None = None

    class ScaleScore(Named):
        type: Literal["score"]
        levels: list[Level] = Field(
            min_length=formats.LEVELS.start,
            max_length=formats.LEVELS.stop - 1,
            description="Lowest first; they differ.",
        )

    class OpenAIDecisionRequest(BaseModel):
        """An input and typed questions about it, as OpenAI's Decisions API takes them. `model` may be any name."""

        model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_DECISION_EXAMPLE]})

        model: Text
        input: Text | Annotated[list[Json], Field(min_length=1, max_length=limits.messages)] = Field(
            description="A text, or messages and function calls as in the Responses API, without images."
        )
        questions: list[Predicate | Choice | ScaleScore] = Field(min_length=1, max_length=limits.questions)

    SystemOneText = Text | Annotated[Json, Field(min_length=1)] | Annotated[list[Any], Field(min_length=1)]  # noqa: N806

    class SystemOneQuestion(BaseModel):
        model_config = _STRICT

    class Outcomes(BaseModel):
        model_config = _STRICT
        true: SystemOneText | None = None
        false: SystemOneText | None = None

    class Noul(SystemOneQuestion):
        type: Literal["noul"]
        instructions: SystemOneText
        criteria: Outcomes | None = None

    class SystemOneChoice(SystemOneQuestion):
        type: Literal["choice"]
        instructions: SystemOneText | None = None
        criteria: dict[Annotated[str, Field(min_length=1, max_length=limits.text_chars)], SystemOneText | None] = Field(
            min_length=1, max_length=formats.OPTIONS.stop - 1
        )

    class SystemOneScore(SystemOneQuestion):
        type: Literal["score"]
        instructions: SystemOneText | None = None
        criteria: list[SystemOneText] = Field(min_length=1, max_length=formats.LEVELS.stop - 1)

    class SystemOneRequest(BaseModel):
        """A state and typed questions about it, as TypeSafe's System One takes them. `model` may be any name."""

        model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_SYSTEM_ONE_EXAMPLE]})

        model: Text
        state: Annotated[str, Field(max_length=limits.text_chars)] | Json | list[Any]
        questions: dict[
            Annotated[str, Field(min_length=1, max_length=limits.text_chars)], Noul | SystemOneChoice | SystemOneScore
        ] = Field(min_length=1, max_length=limits.questions)

    return [OpenAIDecisionRequest, SystemOneRequest]


class OptionProbability(BaseModel):
    """The probability of an option."""

    value: str | bool
    probability: Probability


class LevelProbability(BaseModel):
    """The probability of a level; ``value`` is its place, from 0."""

    label: str
    value: int
    probability: Probability


class PredicateResult(BaseModel):
    """How likely the statement is true."""

    type: Literal["predicate"]
    name: str | None
    probability: Probability


class ChoiceResult(BaseModel):
    """The likeliest option, and all probabilities."""

    type: Literal["choice"]
    name: str | None
    choice: str | bool
    confidence: Probability
    probabilities: list[OptionProbability]


class ScoreResult(BaseModel):
    """The expected level, from 0, and all probabilities."""

    type: Literal["score"]
    name: str | None
    score: float
    confidence: Probability
    probabilities: list[LevelProbability]


class RefusalResult(BaseModel):
    """The model would answer with something else."""

    type: Literal["refusal"]
    name: str | None


class DecisionTokens(BaseModel):
    """Tokens of a request."""

    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


class OpenAIDecision(BaseModel):
    """An answer for each question, in their order."""

    model: str
    answers: list[PredicateResult | ChoiceResult | ScoreResult | RefusalResult]
    usage: DecisionTokens


class SystemOneTokens(BaseModel):
    """Tokens of a request."""

    input_tokens: int
    output_tokens: int


class SystemOneResponse(BaseModel):
    """An answer for each question, by name."""

    model: str
    answers: dict[str, Json]
    usage: SystemOneTokens


class OpenAIErrorDetail(BaseModel):
    """What went wrong."""

    model_config = _STRICT
    message: str
    type: str
    param: str | None
    code: str
    request_id: str | None


class OpenAIError(BaseModel):
    """An error in the shape that OpenAI's SDK parses."""

    model_config = _STRICT
    error: OpenAIErrorDetail


class SystemOneErrorDetail(BaseModel):
    """What went wrong."""

    model_config = _STRICT
    error_type: str
    message: str
    field: str | None = None
    request_id: str | None = None


class SystemOneError(BaseModel):
    """An error in the shape that TypeSafe's SDK parses."""

    model_config = _STRICT
    detail: SystemOneErrorDetail


class Models(BaseModel):
    """The judge's model, as both SDKs list models."""

    object: Literal["list"]
    data: list[Json]
    models: list[Json]


ANSWERS: list[type[BaseModel]] = [OpenAIDecision, SystemOneResponse, OpenAIError, SystemOneError, Models]
