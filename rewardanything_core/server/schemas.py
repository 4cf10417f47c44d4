"""Models of requests and answers, with examples and the server's limits, for the OpenAPI document.

The models only describe. Requests are validated by `parsing` and `Case`, which stop at the first error; pydantic
collects one error per wrong item, which for a hostile body is millions. Tests generate requests from the document and
check that the server accepts and refuses what the document says.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from rewardanything_core import types
from rewardanything_core.cases import ROLES
from rewardanything_core.principles import MAX_NAME, library, rubric_library
from rewardanything_core.server.limits import Limits
from rewardanything_core.server.parsing import ID_CHARS

Json = dict[str, Any]

EXAMPLE: Json = {
    "principle": "Concise before complete; never invent facts.",
    "prompt": "Who wrote Middlemarch?",
    "responses": {"a": "George Eliot.", "b": "It was written by Jane Austen in 1813, to great acclaim."},
    "id": "q1",
}
RUBRIC_EXAMPLE: Json = {
    "name": "answers",
    "criteria": {
        "true": {"text": "States nothing false.", "weight": 2, "required": 3},
        "brief": "Says nothing that was not asked for.",
    },
}

# A character that is not white space for `str.strip`, spelled out because dialects of regular expressions differ.
_NOT_BLANK = "[^\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]"
_NON_BLANK_MESSAGE: Json = {"properties": {"content": {"pattern": _NOT_BLANK}}}
# The same, and no control character: what the name of a criterion is made of, and one character that is not a space.
_PRINTABLE = "[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]"
_VISIBLE = "[^\\x00-\\x20\\x7f-\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]"
# A rubric in which every criterion has weight 0 is invalid.
_NAME = f"^{_PRINTABLE}*{_VISIBLE}{_PRINTABLE}*$"
_NO_WEIGHT: Json = {
    "additionalProperties": {"properties": {"weight": {"const": 0}}, "required": ["weight"], "type": "object"}
}
# Keys that a message may have because clients add them, as long as they are empty.
_EMPTY_EXTRAS: Json = {"additionalProperties": {"enum": [None, "", [], {}]}}
# One message of a run that says or calls something; a run without any is an invalid case.
_TEXT_OR_CALLS: Json = {
    "anyOf": [
        {"properties": {"content": {"type": "string"}}, "required": ["content"]},
        {"properties": {"tool_calls": {"type": "array", "minItems": 1}}, "required": ["tool_calls"]},
    ]
}

Score = Annotated[float, Field(ge=types.MIN_SCORE, le=types.MAX_SCORE)]
Scores = Annotated[dict[str, Score], Field(min_length=1)]


class DerivedFields(BaseModel):
    """The fields that ``Verdict.to_dict`` adds to the dataclass."""

    scores: Scores = Field(description="Label -> 1..5.")
    reasoning: str = Field(description="The reasoning of all replies.")
    raw_output: str = Field(description="All replies as received.")
    normalized: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(description="Label -> 0..1.")
    best: str = Field(description="The label ranked first.")
    explanation: str = Field(description="The reasoning with your labels in place of the judge's names.")


class Health(BaseModel):
    """The state of the server."""

    status: Literal["ready", "loading", "draining"]


class IndexedFailure(BaseModel):
    """A failed case of a batch."""

    model_config = ConfigDict(extra="forbid")

    index: int
    failure: types.JudgeFailure


class ErrorDetail(BaseModel):
    """What went wrong."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="A stable name for programs, such as `invalid_case`.")
    message: str = Field(description="A description for people.")
    hint: str | None = Field(None, description="What to do about it.")
    field: str | None = Field(None, description="The invalid part of the request.")
    request_id: str | None = Field(None, description="The id that the server's log has.")
    failure: types.JudgeFailure | None = Field(None, description="The failed judgement, if one had begun.")
    failures: list[IndexedFailure] | None = Field(None, description="The failed judgements of a batch.")


class Error(BaseModel):
    """Every error has this shape."""

    model_config = ConfigDict(extra="forbid")

    error: ErrorDetail


class VerdictLine(BaseModel):
    """A judged case of a batch."""

    model_config = ConfigDict(extra="forbid")

    index: int
    verdict: types.Verdict


class BatchLine(RootModel[VerdictLine | IndexedFailure]):
    """One line of a batch's answer, which has one for each case; `index` is the position of the case."""


class CompatResults(BaseModel):
    """Scores and ranking."""

    scores: Scores
    ranking: list[str] = Field(alias="best-to-worst", min_length=1)


class CompatVerdict(BaseModel):
    """A verdict in the format of rewardanything 1.0.1."""

    thoughts: str
    results: CompatResults


class CompatVerdicts(RootModel[Annotated[list[CompatVerdict], Field(min_length=1)]]):
    """Verdicts in the order of the cases."""


ANSWERS: list[type[BaseModel]] = [Health, Error, BatchLine, CompatVerdict, CompatVerdicts]
"""The models of what the server answers, apart from verdicts and failures, which are dataclasses."""


def request_models(limits: Limits) -> list[type[BaseModel]]:
    """The models of request bodies.

    Args:
        limits: The limits to document.
    """
    Text = Annotated[str, Field(max_length=limits.text_chars)]  # noqa: N806  # a type
    Statement = Annotated[str, Field(min_length=1, max_length=limits.text_chars, pattern=_NOT_BLANK)]  # noqa: N806
    ByLabel = Annotated[dict[Text, Text], Field(min_length=1, max_length=limits.responses)]  # noqa: N806

    class Message(BaseModel):
        """A chat message with text only."""

        model_config = ConfigDict(json_schema_extra=_EMPTY_EXTRAS)

        role: str = Field(json_schema_extra={"enum": list(ROLES)})
        content: Text

    Messages = Annotated[  # noqa: N806
        list[Message],
        Field(min_length=1, max_length=limits.messages, json_schema_extra={"contains": _NON_BLANK_MESSAGE}),
    ]

    class ToolFunction(BaseModel):
        model_config = ConfigDict(extra="forbid")

        name: Annotated[str, Field(min_length=1, max_length=limits.text_chars)]
        arguments: Text | Json = Field(description="An object, or its JSON as a text.")

    class ToolCall(BaseModel):
        """A call of a tool."""

        model_config = ConfigDict(extra="forbid")

        id: Text
        type: Literal["function"]
        function: ToolFunction

    class AssistantTurn(BaseModel):
        """What the agent said and called."""

        model_config = ConfigDict(json_schema_extra=_EMPTY_EXTRAS)

        role: Literal["assistant"]
        content: Text | None
        tool_calls: list[ToolCall] = []

    class ToolTurn(BaseModel):
        """What a tool returned."""

        model_config = ConfigDict(json_schema_extra=_EMPTY_EXTRAS)

        role: Literal["tool"]
        content: Text | None
        tool_call_id: Text | None = None

    Run = Annotated[  # noqa: N806
        list[AssistantTurn | ToolTurn | Message],
        Field(
            min_length=1,
            max_length=limits.messages,
            description="The messages of an agent's run after the prompt, in OpenAI's chat format. Other formats that "
            "the library reads are accepted too.",
            json_schema_extra={"contains": _TEXT_OR_CALLS},
        ),
    ]
    AnyResponse = Text | Run  # noqa: N806
    Responses = (  # noqa: N806
        Annotated[dict[Text, AnyResponse], Field(min_length=1, max_length=limits.responses)]
        | Annotated[list[AnyResponse], Field(min_length=1, max_length=limits.responses)]
    )

    class CriterionSettings(BaseModel):
        model_config = ConfigDict(extra="forbid")

        text: Statement = Field(description="The rule.")
        weight: float = Field(1, ge=0, description="Weight in the score of the whole.")
        required: bool | Annotated[float, Field(gt=1, le=5)] | None = Field(
            None, description="Minimum score, below which the score of the whole is 1; true for 3."
        )

    class Criterion(CriterionSettings):
        """A criterion with a score of 1 to 5."""

        anchors: dict[Literal["1", "2", "3", "4", "5"], Text] = Field(
            {}, description="Score -> what a response with this score is like."
        )
        kind: Literal["score"] = "score"

    class YesNoCriterion(CriterionSettings):
        """A criterion that is met or not: 5 for yes, 1 for no."""

        anchors: dict[Literal["1", "5"], Text] = Field({}, description="What no (1) and yes (5) mean.")
        kind: Literal["yes/no"]

    class Rubric(BaseModel):
        """Several criteria that are judged together, as `Rubric.to_json()` gives them."""

        model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [RUBRIC_EXAMPLE]})

        criteria: dict[str, Statement | Criterion | YesNoCriterion] = Field(
            min_length=1,
            max_length=limits.criteria,
            description="By name: a text, or an object with its settings. At least one has a weight above 0.",
            json_schema_extra={"propertyNames": {"maxLength": MAX_NAME, "pattern": _NAME}, "not": _NO_WEIGHT},
        )
        name: Text | None = Field(None, description="A short name.")

    class Case(BaseModel):
        """Responses to judge under a principle. Give either `principle` or `principle_name`."""

        model_config = ConfigDict(
            extra="forbid",
            json_schema_extra={
                "examples": [EXAMPLE],
                "oneOf": [_only("principle", "principle_name"), _only("principle_name", "principle")],
            },
        )

        principle: Statement | Rubric | None = Field(
            None, description="What makes a response good: in plain words, or a rubric."
        )
        principle_name: Any = Field(
            None,
            description="The name of a principle or rubric that ships with the package.",
            json_schema_extra={"enum": [*library(), *rubric_library(), None]},
        )
        prompt: Statement | Messages = Field(
            description="What the responses answer: a text, or chat messages of which at least one has text."
        )
        responses: Responses = Field(
            description="By label, or a list, which is labelled 0, 1, and so on. The judge does not see the labels. A "
            "response is a text or a list of messages."
        )
        reference: Text | None = Field(None, description="A good answer to compare with.")
        context: Text | None = Field(None, description="Background that the judge should know.")
        id: Annotated[str, Field(max_length=ID_CHARS)] | None = Field(
            None, description="Your name for the case, returned as case_id."
        )

    class Batch(BaseModel):
        """Cases to judge."""

        model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"cases": [EXAMPLE]}]})

        cases: list[Case | Any] = Field(
            min_length=1, max_length=limits.batch, description="An item that is not a valid case fails by itself."
        )

    class CompatCase(BaseModel):
        """A case in the format of rewardanything 1.0.1."""

        model_config = ConfigDict(
            extra="forbid",
            json_schema_extra={"examples": [{name: EXAMPLE[name] for name in ("principle", "prompt", "responses")}]},
        )

        principle: Statement
        prompt: Statement
        responses: ByLabel
        mask_responses: bool = Field(True, description="Has no effect: judging is always blind.")

    class CompatBatch(RootModel[Annotated[list[CompatCase], Field(min_length=1, max_length=limits.batch)]]):
        """Cases in the format of rewardanything 1.0.1."""

    return [Case, Batch, CompatCase, CompatBatch]


def _only(name: str, other: str) -> Json:
    given = {"type": ["string", "object"] if name == "principle" else "string"}
    return {"required": [name], "properties": {name: given, other: {"type": "null"}}}
