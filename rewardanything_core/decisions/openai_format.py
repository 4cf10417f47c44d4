"""The format of OpenAI's Decisions API, ``POST /v1/decisions``.

As typed in openai-python 3.57, ``openai.types.decision`` and ``openai.types.decision_create_params``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewardanything_core.conversations import read_messages
from rewardanything_core.decisions import limits
from rewardanything_core.decisions.node import Node, check_depth, check_distinct, compact, matched
from rewardanything_core.decisions.types import (
    Answer,
    ChoiceAnswer,
    ChoiceOption,
    ChoiceQuestion,
    Content,
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
from rewardanything_core.errors import DecisionFormatError, InvalidCaseError
from rewardanything_core.types import ContentPart, Message

PATH = "/v1/decisions"

_REQUEST_FIELDS = (
    "model", "input", "questions", "prompt_cache_key", "prompt_cache_options", "safety_identifier", "audio", "videos",
)  # fmt: skip
_KINDS = {PredicateQuestion: "predicate", ChoiceQuestion: "choice", ScoreQuestion: "score"}
_DEFAULT_INSTRUCTIONS = {
    PredicateQuestion: "Is this true of the input?",
    ChoiceQuestion: "Which choice fits the input best?",
    ScoreQuestion: "Which level fits the input best?",
}


def write_request(request: DecisionRequest) -> dict[str, Any]:
    """See `DecisionFormat.write_request`. Criteria of predicates become part of their instructions."""
    if request.images:
        raise DecisionFormatError(
            "Images by reference have no place in OpenAI's format; give them in messages.", path="images"
        )
    questions = [_write_question(question) for question in request.questions]
    body = {
        "model": request.model,
        "input": _write_input(request),
        "questions": questions,
    }
    _check_questions([Node(question, f"questions[{index}]") for index, question in enumerate(questions)])
    return body


def read_request(body: Any) -> DecisionRequest:
    """See `DecisionFormat.read_request`."""
    root = Node(body)
    root.only(*_REQUEST_FIELDS)
    for name in ("audio", "videos"):
        if root.object().get(name):
            raise root.child(name).error("cannot be judged; only text and images can")
    model = root.required("model").text()
    nodes = root.required("questions").list()
    state, messages = _read_input(root.required("input"))
    questions = tuple(map(_read_question, nodes))
    _check_questions(nodes)
    return DecisionRequest(model=model, questions=questions, state=state, messages=messages)


def write_response(response: DecisionResponse, questions: Sequence[Question]) -> dict[str, Any]:
    """See `DecisionFormat.write_response`."""
    usage = response.usage
    return {
        "model": response.model,
        "answers": [_write_answer(*pair) for pair in zip(questions, response.answers, strict=True)],
        "usage": {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {
                "cached_tokens": usage.cached_tokens,
                "cache_write_tokens": usage.cache_write_tokens,
            },
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
    }


def read_response(body: Any, questions: Sequence[Question]) -> DecisionResponse:
    """See `DecisionFormat.read_response`.

    Answers are matched to questions by name; if no answer has a name, by position, as the specification orders them.
    """
    root = Node(body)
    nodes, usage = _in_question_order(root.required("answers"), questions), root.child("usage")
    return DecisionResponse(
        model=root.required("model").text(),
        answers=tuple(_read_answer(node, question) for node, question in zip(nodes, questions, strict=True)),
        usage=DecisionUsage(
            input_tokens=usage.tokens("input_tokens"),
            output_tokens=usage.tokens("output_tokens"),
            cached_tokens=usage.tokens("input_tokens_details", "cached_tokens"),
            cache_write_tokens=usage.tokens("input_tokens_details", "cache_write_tokens"),
            reasoning_tokens=usage.tokens("output_tokens_details", "reasoning_tokens"),
        ),
    )


def _check_questions(nodes: Sequence[Node]) -> None:
    """Check the number of the questions, the sizes of their scales, and that what must differ does."""
    Node(nodes, "questions").size(range(1, limits.OPENAI_QUESTIONS + 1), "questions")
    check_distinct([node.child("name") for node in nodes if node.child("name").value is not None])
    for node in nodes:
        for key, allowed, member in (("choices", limits.OPTIONS, "value"), ("levels", limits.LEVELS, "label")):
            if key in node.object():
                node.child(key).size(allowed, key)
                check_distinct([item.child(member) for item in node.child(key).list()])


def _write_question(question: Question) -> dict[str, Any]:
    content = _with_criteria(question) if isinstance(question, PredicateQuestion) else question.instructions
    written: dict[str, Any] = {
        "type": _KINDS[type(question)],
        **({} if question.name is None else {"name": question.name}),
        "instructions": _write_content(content or _DEFAULT_INSTRUCTIONS[type(question)]),
    }
    if isinstance(question, ChoiceQuestion):
        written["choices"] = [_described("value", option.value, option.description) for option in question.options]
    if isinstance(question, ScoreQuestion):
        written["levels"] = [_described("label", level.label, level.description) for level in question.levels]
    return written


def _described(key: str, value: str | bool, description: str | None) -> dict[str, Any]:
    return {key: value} if description is None else {key: value, "description": description}


def _with_criteria(question: PredicateQuestion) -> Content:
    criteria = [
        f"Answer {answer} when: {when}"
        for answer, when in (("true", question.true_when), ("false", question.false_when))
        if when is not None
    ]
    if isinstance(question.instructions, str):
        return "\n\n".join(filter(None, [question.instructions, *criteria]))
    return [*question.instructions, *({"type": "text", "text": text} for text in criteria)]  # type: ignore[list-item]


def _read_question(node: Node) -> Question:
    kind = node.required("type").one_of(list(_KINDS.values()))
    own = {"choice": ("choices",), "score": ("levels",)}.get(kind, ())
    node.only("type", "name", "instructions", *own)
    name = node.optional("name", Node.text)
    instructions = _read_content(node.required("instructions"))
    if kind == "predicate":
        return PredicateQuestion(name=name, instructions=instructions)
    if kind == "choice":
        options = tuple(map(_read_option, node.required("choices").list()))
        return ChoiceQuestion(name=name, instructions=instructions, options=options)
    levels = tuple(map(_read_level, node.required("levels").list()))
    return ScoreQuestion(name=name, instructions=instructions, levels=levels)


def _read_option(node: Node) -> ChoiceOption:
    node.only("value", "description")
    value = node.required("value")
    if not isinstance(value.value, bool | str):
        raise value.expected("a text or a boolean")
    return ChoiceOption(
        value=value.value if isinstance(value.value, bool) else value.text(),
        description=node.child("description").description(),
    )


def _read_level(node: Node) -> ScoreLevel:
    node.only("label", "description")
    return ScoreLevel(label=node.required("label").text(), description=node.child("description").description())


def _write_content(content: Content) -> Any:
    return content if isinstance(content, str) else [_write_part(part, "input_text") for part in content]


def _write_part(part: ContentPart, text_type: str) -> dict[str, Any]:
    if part["type"] == "image_url":
        image = part["image_url"]
        return {
            "type": "input_image",
            "image_url": image["url"],
            **({"detail": image["detail"]} if "detail" in image else {}),
        }
    return {"type": text_type, "text": part["text"]}


def _read_content(node: Node) -> Content:
    """Instructions: parts of text only become one text."""
    if isinstance(node.value, str):
        return node.text()
    parts = [_read_part(part) for part in node.list()]
    if not parts:
        raise node.error("is empty")
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _read_part(node: Node) -> ContentPart:
    kind = node.required("type").one_of(["input_text", "input_image", "input_json"])
    if kind == "input_text":
        return {"type": "text", "text": node.required("text").text()}
    if kind == "input_json":
        return {"type": "text", "text": _json_text(node.required("data"))}
    image = {"url": node.required("image_url").text()}
    if (detail := node.optional("detail", Node.text)) is not None:
        image["detail"] = detail
    return {"type": "image_url", "image_url": image}


def _json_text(node: Node) -> str:
    if not isinstance(node.value, dict | list):
        raise node.expected("an object or a list of objects")
    check_depth(node, limits.JSON_DEPTH)
    text = compact(node.value)
    if len(text.encode()) > limits.JSON_BYTES:
        raise node.error(f"is larger than {limits.JSON_BYTES // 1024} KiB")
    return text


def _write_input(request: DecisionRequest) -> Any:
    if request.messages is None:
        return Node(request.state, "input").as_text()
    return [_write_message(message, f"input[{index}]") for index, message in enumerate(request.messages)]


def _write_message(message: Message, path: str) -> dict[str, Any]:
    role, content = message["role"], message["content"]
    if role == "tool" or message.get("tool_calls"):
        raise DecisionFormatError(f"{path} has tool calls or results; write them as text.", path=path)
    text_type = "output_text" if role == "assistant" else "input_text"
    if not isinstance(content, str):
        content = [_write_part(part, text_type) for part in content or []]
    return {"type": "message", "role": role, "content": content}


def _read_input(node: Node) -> tuple[str | None, tuple[Message, ...] | None]:
    """The input as a text or as messages."""
    if isinstance(node.value, str):
        return node.text(), None
    items = [_plain_item(item) for item in node.list()]
    if not items:
        raise node.error("is empty")
    try:
        return None, read_messages(items, where="input")
    except InvalidCaseError as error:
        raise DecisionFormatError(error.message, path="input") from error


def _plain_item(node: Node) -> dict[str, Any]:
    """An item of the input as the Responses API has it: without JSON parts and cache breakpoints."""
    item = node.object()
    for key in ("content", "output"):
        if isinstance(item.get(key), list):
            item = {**item, key: [_plain_part(part) for part in node.child(key).list()]}
    return item


def _plain_part(node: Node) -> dict[str, Any]:
    part = {key: value for key, value in node.object().items() if key != "prompt_cache_breakpoint"}
    if part.get("type") == "input_json":
        return {"type": "input_text", "text": _json_text(node.required("data"))}
    return part


def _write_answer(question: Question, answer: Answer) -> dict[str, Any]:
    named = {"name": question.name}
    if isinstance(answer, RefusalAnswer):
        return {"type": "refusal", **named}
    if isinstance(answer, PredicateAnswer):
        return {"type": "predicate", **named, "probability": answer.probability}
    if isinstance(answer, ChoiceAnswer):
        assert isinstance(question, ChoiceQuestion)
        probabilities = zip(question.options, answer.probabilities, strict=True)
        return {
            "type": "choice",
            **named,
            "choice": answer.choice,
            "confidence": max(answer.probabilities) if answer.confidence is None else answer.confidence,
            "probabilities": [{"value": option.value, "probability": p} for option, p in probabilities],
        }
    assert isinstance(question, ScoreQuestion)
    return {
        "type": "score",
        **named,
        "score": answer.score,
        "confidence": max(answer.probabilities) if answer.confidence is None else answer.confidence,
        "probabilities": [
            {"label": level.label, "value": index, "probability": probability}
            for index, (level, probability) in enumerate(zip(question.levels, answer.probabilities, strict=True))
        ],
    }


def _in_question_order(node: Node, questions: Sequence[Question]) -> list[Node]:
    nodes = node.list()
    if len(nodes) != len(questions):
        raise node.error(f"has {len(nodes)} answers to {len(questions)} questions")
    names = [answer.child("name") for answer in nodes]
    if all(name.value is None for name in names):
        return nodes
    if any(question.name is None for question in questions):
        for name, question in zip(names, questions, strict=True):
            if name.value != question.name:
                raise name.expected(f"{question.name!r}, the name of its question")
        return nodes
    order = matched(names, [question.name for question in questions], node)
    return [nodes[index] for index in order]


def _read_answer(node: Node, question: Question) -> Answer:
    if node.required("type").one_of([_KINDS[type(question)], "refusal"]) == "refusal":
        return RefusalAnswer(name=question.name)
    if isinstance(question, PredicateQuestion):
        return PredicateAnswer(name=question.name, probability=node.required("probability").probability())
    confidence = node.optional("confidence", Node.probability)
    listed = node.required("probabilities")
    entries = listed.list()
    if isinstance(question, ChoiceQuestion):
        values = [option.value for option in question.options]
        order = matched([entry.required("value") for entry in entries], values, listed)
        return ChoiceAnswer(
            name=question.name,
            choice=node.required("choice").one_of(values),
            probabilities=listed.distribution([entries[index].required("probability") for index in order]),
            confidence=confidence,
        )
    node.required("score").number()
    labels = [level.label for level in question.levels]
    order = matched([entry.required("label") for entry in entries], labels, listed)
    ordered = [entries[index] for index in order]
    indices = [entry.required("value").number() for entry in ordered]
    if indices != sorted(set(indices)):
        raise listed.error("have values that are not in the order of the levels")
    return ScoreAnswer(
        name=question.name,
        probabilities=listed.distribution([entry.required("probability") for entry in ordered]),
        confidence=confidence,
    )
