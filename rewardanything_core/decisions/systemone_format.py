"""The format of TypeSafe's System One, ``POST /v1/systemone``.

As typed in typesafe-sdk (``typesafe_sdk._schemas.models``, generated from https://api.typesafe.ai/openapi.json).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rewardanything_core.decisions import limits
from rewardanything_core.decisions.node import Node, matched
from rewardanything_core.decisions.types import (
    Answer,
    ChoiceAnswer,
    ChoiceOption,
    ChoiceQuestion,
    DecisionRequest,
    DecisionResponse,
    DecisionUsage,
    PredicateAnswer,
    PredicateQuestion,
    Question,
    RefusalAnswer,
    ScoreAnswer,
    ScoreLevel,
    ScoreQuestion,
)
from rewardanything_core.errors import DecisionFormatError

PATH = "/v1/systemone"

_REQUEST_FIELDS = ("model", "state", "questions", "assets", "images", "audio", "videos")
_KINDS = {PredicateQuestion: "noul", ChoiceQuestion: "choice", ScoreQuestion: "score"}
_DATA_URL = re.compile(r"data:image/(png|jpe?g);base64,([A-Za-z0-9+/]+={0,2})\Z")


def write_request(request: DecisionRequest) -> dict[str, Any]:
    """See `DecisionFormat.write_request`. Questions need names; images must be data URLs of PNG or JPEG images."""
    images = dict(request.images)
    questions: dict[str, Any] = {}
    for index, question in enumerate(request.questions):
        if not question.name or question.name in questions:
            raise DecisionFormatError(
                f"questions[{index}] has the name {question.name!r}; names must be distinct and not empty.",
                path=f"questions[{index}].name",
            )
        questions[question.name] = _write_question(question, images)
    body = {"model": request.model, "state": _write_state(request, images), "questions": questions}
    if not questions:
        raise DecisionFormatError("There are no questions.", path="questions")
    _check_sizes(Node(questions, "questions"), least=2)
    if images:
        body["assets"] = {reference: _asset(url) for reference, url in images.items()}
    return body


def read_request(body: Any) -> DecisionRequest:
    """See `DecisionFormat.read_request`. JSON in instructions and descriptions becomes text.

    ``images``, a list of data URLs that LiteLLM sends to some servers, follow the state.
    """
    root = Node(body)
    root.only(*_REQUEST_FIELDS)
    for name in ("audio", "videos"):
        if root.object().get(name):
            raise root.child(name).error("cannot be judged; only text and images can")
    state = root.required("state")
    if not isinstance(state.value, str | dict | list):
        raise state.expected("a text, an object or a list")
    questions = root.required("questions")
    if not questions.object():
        raise questions.error("has no questions")
    _check_sizes(questions, least=1)
    images = _read_images(root)
    more = [node.text() for node in root.child("images").list()] if root.object().get("images") else []
    return DecisionRequest(
        model=root.required("model").text(),
        questions=tuple(_read_question(name, node) for name, node in questions.fields().items()),
        state=state.value,
        images={**images, **{f"images[{index}]": url for index, url in enumerate(more)}},
    )


def write_response(response: DecisionResponse, questions: Sequence[Question]) -> dict[str, Any]:
    """See `DecisionFormat.write_response`."""
    return {
        "model": response.model,
        "answers": {
            str(question.name): _write_answer(question, answer)
            for question, answer in zip(questions, response.answers, strict=True)
        },
        "usage": {"input_tokens": response.usage.input_tokens, "output_tokens": response.usage.output_tokens},
    }


def read_response(body: Any, questions: Sequence[Question]) -> DecisionResponse:
    """See `DecisionFormat.read_response`. Answers to other questions are ignored."""
    root = Node(body)
    answers = root.required("answers")
    usage = root.child("usage")
    return DecisionResponse(
        model=root.required("model").text(),
        answers=tuple(_read_answer(answers.required(str(question.name)), question) for question in questions),
        usage=DecisionUsage(input_tokens=usage.tokens("input_tokens"), output_tokens=usage.tokens("output_tokens")),
    )


def _check_sizes(questions: Node, least: int) -> None:
    for question in questions.fields().values():
        criteria = question.child("criteria")
        if isinstance(criteria.value, list):
            criteria.size(range(least, limits.LEVELS.stop), "levels")
        elif question.object().get("type") == "choice" and isinstance(criteria.value, dict):
            criteria.size(range(least, limits.OPTIONS.stop), "choices")


def _write_question(question: Question, images: dict[str, str]) -> dict[str, Any]:
    written: dict[str, Any] = {"type": _KINDS[type(question)]}
    if question.instructions:
        written["instructions"] = _write_content(question.instructions, images)
    if isinstance(question, PredicateQuestion):
        criteria = {"true": question.true_when, "false": question.false_when}
        if any(criteria.values()):
            written["criteria"] = {key: value for key, value in criteria.items() if value is not None}
        elif not question.instructions:
            raise DecisionFormatError("A predicate needs instructions or criteria.", path=f"questions.{question.name}")
    elif isinstance(question, ChoiceQuestion):
        written["criteria"] = {_choice_key(option.value): option.description for option in question.options}
        if len(written["criteria"]) < len(question.options):
            raise DecisionFormatError(
                f"Two choices of {question.name!r} have the same text, by which System One tells them apart.",
                path=f"questions.{question.name}.criteria",
            )
    else:
        written["criteria"] = [_write_level(level) for level in question.levels]
    return written


def _write_level(level: ScoreLevel) -> Any:
    if level.criterion is not None:
        return level.criterion
    return level.label if level.description is None else f"{level.label}: {level.description}"


def _choice_key(value: str | bool) -> str:
    return value if isinstance(value, str) else str(value).lower()


def _read_question(name: str, node: Node) -> Question:
    if not name:
        raise node.error("has an empty name")
    node.only("type", "instructions", "criteria")
    kind = node.required("type").one_of(list(_KINDS.values()))
    instructions = node.optional("instructions", Node.as_text) or ""
    if kind == "noul":
        return _read_predicate(name, instructions, node)
    criteria = node.required("criteria")
    if kind == "choice":
        options = tuple(
            ChoiceOption(value=label, description=item.description()) for label, item in criteria.fields().items()
        )
        if any(not option.value for option in options):
            raise criteria.error("has an empty choice")
        return ChoiceQuestion(name=name, instructions=instructions, options=options)
    levels = tuple(ScoreLevel(label=item.as_text(), criterion=item.value) for item in criteria.list())
    return ScoreQuestion(name=name, instructions=instructions, levels=levels)


def _read_predicate(name: str, instructions: str, node: Node) -> PredicateQuestion:
    true_when = false_when = None
    if (criteria := node.child("criteria")).value is not None:
        criteria.only("true", "false")
        true_when, false_when = (criteria.child(side).description() for side in ("true", "false"))
    if not (instructions or true_when or false_when):
        raise node.error("needs instructions or criteria")
    return PredicateQuestion(name=name, instructions=instructions, true_when=true_when, false_when=false_when)


def _write_state(request: DecisionRequest, images: dict[str, str]) -> Any:
    """One user message is its content; several messages are a list with their roles."""
    if request.messages is None:
        return request.state
    turns = [
        {"role": message["role"], "content": _write_content(message["content"], images)} for message in request.messages
    ]
    return turns[0]["content"] if len(turns) == 1 and turns[0]["role"] == "user" else turns


def _write_content(content: Any, images: dict[str, str]) -> str:
    """Texts, with a reference in place of each image, which is added to ``images``."""
    if isinstance(content, str):
        return content
    texts = []
    for part in content or []:
        if part["type"] == "image_url":
            url = part["image_url"]["url"]
            reference = f"image-{hashlib.sha256(url.encode()).hexdigest()[:32]}"
            images[reference] = url
            texts.append(reference)
        else:
            texts.append(part["text"])
    return "\n".join(texts)


def _asset(url: str) -> dict[str, str]:
    match = _DATA_URL.match(url)
    if match is None:
        raise DecisionFormatError(
            f"System One takes images as base64 data URLs of PNG or JPEG images; this is {url:.40}.", path="assets"
        )
    return {"type": "image", "format": match[1], "data_base64": match[2]}


def _read_images(root: Node) -> Mapping[str, str]:
    if root.child("assets").value is None:
        return {}
    images = {}
    for reference, node in root.child("assets").fields().items():
        node.only("type", "format", "data_base64")
        node.child("type").one_of(["image", None])
        kind = node.required("format").one_of(["png", "jpg", "jpeg"])
        url = f"data:image/{kind.replace('jpg', 'jpeg')};base64,{node.required('data_base64').text()}"
        if _DATA_URL.match(url) is None:
            raise node.child("data_base64").error("is not base64")
        images[reference] = url
    return images


def _write_answer(question: Question, answer: Answer) -> dict[str, Any]:
    if isinstance(answer, RefusalAnswer):
        raise DecisionFormatError(
            f"System One has no refusals, and {question.name!r} was refused.", path=f"answers.{question.name}"
        )
    if isinstance(answer, PredicateAnswer):
        return {"type": "noul", "noul": answer.probability}
    confidence = max(answer.probabilities) if answer.confidence is None else answer.confidence
    if isinstance(answer, ChoiceAnswer):
        assert isinstance(question, ChoiceQuestion)
        keys = [_choice_key(option.value) for option in question.options]
        return {
            "type": "choice",
            "choice": _choice_key(answer.choice),
            "confidence": confidence,
            "probabilities": dict(zip(keys, answer.probabilities, strict=True)),
        }
    assert isinstance(question, ScoreQuestion)
    return {
        "type": "score",
        "score": answer.score,
        "confidence": confidence,
        "legend": {str(index): _write_level(level) for index, level in enumerate(question.levels)},
        "probabilities": {str(index): probability for index, probability in enumerate(answer.probabilities)},
    }


def _read_answer(node: Node, question: Question) -> Answer:
    node.required("type").one_of([_KINDS[type(question)]])
    if isinstance(question, PredicateQuestion):
        return PredicateAnswer(name=question.name, probability=node.required("noul").probability())
    confidence = node.optional("confidence", Node.probability)
    listed = node.required("probabilities")
    if isinstance(question, ChoiceQuestion):
        keys = [_choice_key(option.value) for option in question.options]
        choice = node.required("choice").one_of(keys)
        return ChoiceAnswer(
            name=question.name,
            choice=question.options[keys.index(choice)].value,
            probabilities=listed.distribution(_by_key(listed, keys)),
            confidence=confidence,
        )
    node.required("score").number()
    return ScoreAnswer(
        name=question.name,
        probabilities=listed.distribution(_by_key(listed, [str(index) for index in range(len(question.levels))])),
        confidence=confidence,
    )


def _by_key(listed: Node, keys: Sequence[str]) -> list[Node]:
    """The probabilities for these keys, in this order; there must be no others."""
    nodes = listed.fields()
    matched([Node(key, node.path) for key, node in nodes.items()], keys, listed)
    return [nodes[key] for key in keys]
