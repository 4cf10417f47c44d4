"""The two formats of decision APIs on the wire, in both directions."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from openai.types import Decision

from rewardanything_core.decisions import (
    FORMATS,
    ChoiceAnswer,
    ChoiceOption,
    ChoiceQuestion,
    DecisionRequest,
    DecisionResponse,
    DecisionUsage,
    PredicateAnswer,
    PredicateQuestion,
    RefusalAnswer,
    ScoreAnswer,
    ScoreLevel,
    ScoreQuestion,
    parse_json,
)
from rewardanything_core.errors import DecisionFormatError

OPENAI, SYSTEM_ONE = FORMATS["decisions"], FORMATS["systemone"]

PREDICATE = PredicateQuestion(name="spam", instructions="Is it spam?")
CHOICE = ChoiceQuestion(
    name="topic", instructions="Which?", options=(ChoiceOption(value="a", description="Bills"), ChoiceOption(value="b"))
)
SCORE = ScoreQuestion(
    name="tone", instructions="How kind?", levels=tuple(ScoreLevel(label=label) for label in ("rude", "plain", "kind"))
)
QUESTIONS = (PREDICATE, CHOICE, SCORE)
ANSWERS = (
    PredicateAnswer(name="spam", probability=0.25),
    ChoiceAnswer(name="topic", choice="b", probabilities=(0.25, 0.75), confidence=0.75),
    ScoreAnswer(name="tone", probabilities=(0.5, 0.25, 0.25), confidence=0.5),
)
USAGE = DecisionUsage(input_tokens=30, output_tokens=3)
IMAGE = "data:image/png;base64,QUJD"


@pytest.mark.parametrize("format_", FORMATS.values(), ids=FORMATS)
def test_requests_and_responses_are_read_as_they_were_written(format_):
    request = DecisionRequest(model="m", questions=QUESTIONS, state="What is judged.")
    body = parse_json(json.dumps(format_.write_request(request)))
    read = format_.read_request(body)
    assert (read.model, read.state, read.messages) == ("m", "What is judged.", None)
    assert [type(question) for question in read.questions] == [type(question) for question in QUESTIONS]
    assert format_.write_request(read) == body

    response = DecisionResponse(model="m-1", answers=ANSWERS, usage=USAGE)
    body = parse_json(json.dumps(format_.write_response(response, QUESTIONS)))
    assert format_.read_response(body, QUESTIONS) == response
    assert ANSWERS[2].score == 0.75


def test_openai_s_own_types_accept_a_response_of_every_kind():
    answers = (*ANSWERS, RefusalAnswer(name=None))
    questions = (*QUESTIONS, PredicateQuestion(instructions="Is it legal?"))
    body = OPENAI.write_response(DecisionResponse(model="m", answers=answers, usage=USAGE), questions)
    decision = Decision.model_validate(body, strict=True)
    assert [answer.type for answer in decision.answers] == ["predicate", "choice", "score", "refusal"]
    assert decision.usage.total_tokens == 33 and decision.answers[3].name is None


def test_what_a_format_lacks_is_put_into_words_or_refused():
    described = PredicateQuestion(name="p", instructions="Spam?", true_when="an advert", false_when="a letter")
    (openai,) = OPENAI.write_request(DecisionRequest(model="m", questions=(described,), state="x"))["questions"]
    assert openai["instructions"] == "Spam?\n\nAnswer true when: an advert\n\nAnswer false when: a letter"
    system_one = SYSTEM_ONE.write_request(DecisionRequest(model="m", questions=(described,), state="x"))["questions"]
    assert system_one["p"]["criteria"] == {"true": "an advert", "false": "a letter"}
    refused = DecisionResponse(model="m", answers=(RefusalAnswer(name="p"),))
    with pytest.raises(DecisionFormatError, match="no refusals"):
        SYSTEM_ONE.write_response(refused, (described,))
    ambiguous = ChoiceQuestion(name="c", options=(ChoiceOption(value=True), ChoiceOption(value="true")))
    assert OPENAI.write_request(DecisionRequest(model="m", questions=(ambiguous,), state="x"))
    with pytest.raises(DecisionFormatError, match="same text"):
        SYSTEM_ONE.write_request(DecisionRequest(model="m", questions=(ambiguous,), state="x"))


def test_images_are_parts_or_assets():
    content = [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}}]
    request = DecisionRequest(model="m", questions=(PREDICATE,), messages=({"role": "user", "content": content},))
    openai = OPENAI.write_request(request)
    assert openai["input"][0]["content"][1] == {"type": "input_image", "image_url": IMAGE, "detail": "low"}
    assert OPENAI.read_request(openai).messages[0]["content"] == content
    read = SYSTEM_ONE.read_request(SYSTEM_ONE.write_request(request))
    ((reference, url),) = read.images.items()
    assert url == IMAGE and read.state == f"See\n{reference}"
    content[1]["image_url"]["url"] = "https://example.com/cat.png"
    with pytest.raises(DecisionFormatError, match="data URLs"):
        SYSTEM_ONE.write_request(request)


def test_inputs_of_openai_s_format_become_messages():
    items: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "input_json", "data": {"a": [1]}}]},
        {"type": "function_call", "call_id": "1", "name": "look_up", "arguments": '{"x": 1}'},
        {"type": "function_call_output", "call_id": "1", "output": "found"},
    ]
    items[0]["content"][0]["prompt_cache_breakpoint"] = {"mode": "explicit"}
    body = {"model": "m", "input": items, "questions": [{"type": "predicate", "instructions": "Done?"}]}
    messages = OPENAI.read_request(body).messages
    assert messages[0] == {"role": "user", "content": '{"a":[1]}'}
    assert messages[1]["tool_calls"][0]["arguments"] == {"x": 1} and messages[2]["content"] == "found"


def _with(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The body with a value at a path such as ``answers.0.type``; ``...`` removes it."""
    body = copy.deepcopy(body)
    *parents, last = path.split(".")
    place: Any = body
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    key = int(last) if isinstance(place, list) else last
    if value is ...:
        del place[key]
    else:
        place[key] = value
    return body


NAN = float("nan")


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("answers", {}, "answers is an object"),
        ("answers.0", ..., "answers has 2 answers to 3"),
        ("answers.0.type", "box", r"answers\[0\].type is 'box'"),
        ("answers.0.probability", 1.2, r"answers\[0\].probability is 1.2"),
        ("answers.0.probability", NAN, r"answers\[0\].probability is nan"),
        ("answers.0.probability", True, r"answers\[0\].probability is true"),
        ("answers.1.name", "other", "answers has nothing for 'topic'|is 'other'"),
        ("answers.1.choice", "c", r"answers\[1\].choice is 'c'"),
        ("answers.1.probabilities.0.value", "b", r"answers\[1\].probabilities\[1\].value is 'b', as"),
        ("answers.1.probabilities.1", ..., "answers.1..probabilities has nothing for 'b'"),
        ("answers.2.probabilities.0.probability", 0.6, r"answers\[2\].probabilities sum to 1.1"),
        ("answers.2.probabilities.0.label", "RUDE", "label is 'RUDE'"),
        ("answers.2.probabilities.0.value", 2, "not in the order"),
        ("answers.2.score", ..., r"answers\[2\].score is missing"),
        ("answers.2.confidence", -1, r"answers\[2\].confidence"),
        ("model", "", "model is empty"),
    ],
)
def test_faulty_responses_in_openai_s_format_name_the_place(path, value, where):
    body = OPENAI.write_response(DecisionResponse(model="m", answers=ANSWERS, usage=USAGE), QUESTIONS)
    with pytest.raises(DecisionFormatError, match=where):
        OPENAI.read_response(_with(body, path, value), QUESTIONS)


@pytest.mark.parametrize("format_", [OPENAI, SYSTEM_ONE])
@pytest.mark.parametrize("usage", [..., None, "many", {"input_tokens": "10", "input_tokens_details": 3}])
def test_no_answer_depends_on_the_usage(format_, usage):
    questions, answers = QUESTIONS[:2], ANSWERS[:2]
    body = format_.write_response(DecisionResponse(model="m", answers=answers, usage=USAGE), questions)
    response = format_.read_response(_with(body, "usage", usage), questions)
    assert response.answers == answers and response.usage == DecisionUsage()


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("answers.spam", ..., "answers.spam is missing"),
        ("answers.spam.type", "choice", "answers.spam.type is 'choice'"),
        ("answers.spam.noul", "high", "answers.spam.noul is 'high'"),
        ("answers.topic.choice", "c", "answers.topic.choice"),
        ("answers.topic.probabilities.a", ..., "nothing for 'a'"),
        ("answers.tone.probabilities.3", 0.0, "is '3'"),
        ("answers.tone.probabilities.1", NAN, "answers.tone.probabilities.1 is nan"),
        ("answers.tone.probabilities.1", 0.3, "sum to 1.05"),
        ("answers.tone.score", "2", "answers.tone.score"),
    ],
)
def test_faulty_responses_in_system_one_s_format_name_the_place(path, value, where):
    body = SYSTEM_ONE.write_response(DecisionResponse(model="m", answers=ANSWERS, usage=USAGE), QUESTIONS)
    with pytest.raises(DecisionFormatError, match=where):
        SYSTEM_ONE.read_response(_with(body, path, value), QUESTIONS)


def test_answers_are_matched_by_name_and_by_position_where_no_answer_has_a_name():
    body = OPENAI.write_response(DecisionResponse(model="m", answers=ANSWERS, usage=USAGE), QUESTIONS)
    shuffled = {**body, "answers": body["answers"][::-1]}
    assert OPENAI.read_response(shuffled, QUESTIONS).answers == ANSWERS
    nameless = {**body, "answers": [{**answer, "name": None} for answer in body["answers"]]}
    assert OPENAI.read_response(nameless, QUESTIONS).answers == ANSWERS


def test_probabilities_rounded_by_a_server_are_normalised():
    body = OPENAI.write_response(DecisionResponse(model="m", answers=ANSWERS[2:], usage=USAGE), QUESTIONS[2:])
    for entry, probability in zip(body["answers"][0]["probabilities"], (0.3333, 0.3333, 0.3333), strict=True):
        entry["probability"] = probability
    assert OPENAI.read_response(body, QUESTIONS[2:]).answers[0].score == pytest.approx(1)


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("input", [], "input is empty"),
        ("input", [{"role": "user", "content": [{"type": "input_audio", "data": "x"}]}], "input_audio"),
        ("input", [{"role": "user", "content": [{"type": "input_json", "data": 1}]}], "data is 1"),
        ("temperature", 1, "temperature is not a known field"),
        ("audio", ["data:audio/wav;base64,QUJD"], "audio cannot be judged"),
        ("questions", [], "questions has 0 questions"),
        ("questions.0.type", "box", r"questions\[0\].type is 'box'"),
        ("questions.0.choises", [], r"questions\[0\].choises is not a known field"),
        ("questions.0.instructions", " ", r"questions\[0\].instructions is empty"),
        ("questions.1.name", "spam", r"questions\[1\].name is 'spam', as questions\[0\].name is"),
        ("questions.1.choices", [{"value": "a"}], r"questions\[1\].choices has 1 choices; allowed are 2 to 255"),
        ("questions.1.choices.1.value", 1, r"choices\[1\].value is 1"),
        ("questions.1.choices.1.value", "a", r"choices\[1\].value is 'a', as"),
        ("questions.2.levels", [{"label": str(n)} for n in range(11)], "has 11 levels; allowed are 2 to 10"),
    ],
)
def test_faulty_requests_in_openai_s_format_name_the_place(path, value, where):
    body = OPENAI.write_request(DecisionRequest(model="m", questions=QUESTIONS, state="x"))
    with pytest.raises(DecisionFormatError, match=where):
        OPENAI.read_request(_with(body, path, value))


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("state", ..., "state is missing"),
        ("state", 3, "state is 3"),
        ("questions", {}, "has no questions"),
        ("questions.spam.type", "predicate", "questions.spam.type is 'predicate'"),
        ("questions.spam.instructions", ..., "questions.spam needs instructions"),
        ("questions.spam.criteria", {"yes": "x"}, "questions.spam.criteria.yes"),
        ("questions.topic.criteria", {}, "has 0 choices; allowed are 1 to 255"),
        ("questions.tone.criteria", ["x"] * 11, "has 11 levels"),
        ("questions.tone.criteria.0", "", r"questions.tone.criteria\[0\] is empty"),
        ("assets", {"r": {"format": "png", "data_base64": "*"}}, "assets.r.data_base64 is not base64"),
    ],
)
def test_faulty_requests_in_system_one_s_format_name_the_place(path, value, where):
    body = SYSTEM_ONE.write_request(DecisionRequest(model="m", questions=QUESTIONS, state="x"))
    with pytest.raises(DecisionFormatError, match=where):
        SYSTEM_ONE.read_request(_with(body, path, value))


def test_limits_are_checked_before_a_request_is_written():
    many = tuple(PredicateQuestion(name=str(number), instructions="?") for number in range(401))
    with pytest.raises(DecisionFormatError, match="has 401 questions; allowed are 1 to 400"):
        OPENAI.write_request(DecisionRequest(model="m", questions=many, state="x"))
    with pytest.raises(DecisionFormatError, match="names must be distinct"):
        SYSTEM_ONE.write_request(DecisionRequest(model="m", questions=(PREDICATE, PREDICATE), state="x"))


@pytest.mark.parametrize("text", ["", "<html>", '{"a": NaN}', "[" * 100_000])
def test_bodies_that_are_not_json_are_refused(text):
    with pytest.raises(DecisionFormatError, match="not JSON"):
        parse_json(text)
