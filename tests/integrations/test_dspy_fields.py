"""rewardanything_dspy: which texts are judged, and mistakes in the set-up, through `dspy.Evaluate`."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
from typing import Any

import dspy
import numpy
import pydantic
import pytest
from dspy.utils import DummyLM
from dspy_programs import PRINCIPLE, Echo, clean_settings, example, judged_texts, scripted
from servers import FakeOpenAI, Fault

from rewardanything_core import ConfigError, from_endpoint
from rewardanything_dspy import JudgeUnavailableError, PrincipleMetric
from rewardanything_dspy.fields import TextField, as_text

settings = pytest.fixture(autouse=True)(clean_settings)


# --- what is judged


def test_prompt_and_response_are_selected_by_default_by_name_or_by_function() -> None:
    two = dspy.Example(context="c", question="q", answer="a").with_inputs("context", "question")
    assert TextField("prompt", None).read(example("why?", answer="gold")) == "why?"
    assert TextField("prompt", None).read(two) == "context: c\nquestion: q"
    assert TextField("prompt", "question").read(two) == "q"
    assert TextField("prompt", lambda e: e.answer).read(two) == "a"
    assert TextField("response", None).read(dspy.Prediction(reasoning="r", answer="a")) == "a"
    assert TextField("response", None).read(dspy.Prediction(reasoning="r")) == "r"
    assert TextField("response", None).read(dspy.Prediction(items=["a", 1])) == '["a", 1]'
    assert TextField("response", None).read("text") == "text"
    assert TextField("response", lambda p: p.a + p.b).read(dspy.Prediction(a="1", b="2")) == "12"


def get_weather(city: str) -> str:
    return f"It is warm in {city}."


def react(question: str) -> dspy.Prediction:
    """A run of a real ReAct program, whose model is scripted."""
    step = {"next_thought": "I look.", "next_tool_name": "get_weather", "next_tool_args": {"city": "Ulm"}}
    steps = [step, {**step, "next_tool_name": "finish", "next_tool_args": {}}]
    with dspy.context(lm=DummyLM([*steps, {"reasoning": "It is.", "answer": "Yes, 5."}])):
        return dspy.ReAct("question -> answer", tools=[get_weather])(question=question)


def test_a_trajectory_is_judged_with_its_calls_and_its_answer() -> None:
    judge = scripted(lambda turns: len(turns))
    metric = PrincipleMetric(PRINCIPLE, judge=judge, response="trajectory")
    prediction = react("Is it warm?")
    assert metric(example("Is it warm?"), prediction) == 1.0
    (response,) = json.loads(judge.backend.requests[-1].messages[1]["content"])["responses"].values()
    assert [turn["role"] for turn in response] == ["assistant", "tool", "assistant", "tool", "assistant"]
    assert response[0]["calls"][0]["name"] == "get_weather" and response[0]["reasoning"] == "I look."
    assert response[1]["result"] == "It is warm in Ulm." and response[-1]["text"] == "Yes, 5."
    steps = TextField("response", lambda p: p.trajectory).read_response(prediction)
    assert not isinstance(steps, str) and len(steps.messages) == 4
    plain = dspy.Prediction(trajectory="a path", answer="5")
    assert TextField("response", "trajectory").read_response(plain) == "a path"


class Colour(enum.Enum):
    RED = "red"


class Point(pydantic.BaseModel):
    x: int
    label: Any = None


@dataclasses.dataclass
class Pair:
    left: Any
    right: Any


IMAGE = dspy.Image("data:image/png;base64,iVBORw0KGgo=")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("é", "é"),
        (7, "7"),
        ({"a": [1, None, "é"]}, '{"a": [1, null, "é"]}'),
        (Colour.RED, "red"),
        (Point(x=1), '{"x": 1, "label": null}'),
        ([Point(x=1)], '[{"x": 1, "label": null}]'),
        (Pair("a", ("b",)), '{"left": "a", "right": ["b"]}'),
        (dspy.Example(a="b"), '{"a": "b"}'),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        ({"when": datetime.date(2026, 1, 2)}, '{"when": "2026-01-02"}'),
        (numpy.array([1, 2]), "[1, 2]"),
        ({"b", "a"}, '["a", "b"]'),
        (dspy.Code(code="x = 'é'"), "x = 'é'"),
        (dspy.History(messages=[{"question": "q"}]), '{"messages": [{"question": "q"}]}'),
    ],
)
def test_values_are_judged_as_text_or_json(value: Any, text: str) -> None:
    assert as_text(value) == text


def test_tool_calls_are_judged_as_json() -> None:
    text = as_text(dspy.ToolCalls.from_dict_list([{"name": "look", "args": {"where": "é"}}]))
    assert json.loads(text)["tool_calls"] and '"name": "look"' in text and '"where": "é"' in text


def test_several_text_parts_of_a_custom_type_are_joined() -> None:
    class Note(dspy.Type):
        def format(self) -> list[dict[str, Any]]:
            return [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]

    assert as_text(Note()) == "one\ntwo"


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    "value",
    [
        IMAGE,
        [IMAGE],
        {"picture": IMAGE},
        Point(x=1, label=IMAGE),
        Pair("a", IMAGE),
        dspy.Audio(data="AAAA", audio_format="wav"),
        b"bytes",
        object(),
        CYCLE,
    ],
)
@pytest.mark.parametrize("place", ["response", "prompt", "prompt among others", "reference"])
def test_what_is_not_text_stops_the_run_with_a_clear_error(value: Any, place: str) -> None:
    judge = scripted()
    fields: dict[str, Any] = {"question": "q", "picture": "p", "gold": "g"}
    prediction, options = dspy.Prediction(answer="5"), {"reference": "gold"}
    if place == "response":
        prediction = dspy.Prediction(answer=value)
    elif place == "reference":
        fields["gold"] = value
    else:
        fields["picture"] = value
        options = {"prompt": "picture"} if place == "prompt" else {}
    gold = dspy.Example(**fields).with_inputs("question", "picture")
    metric = PrincipleMetric(PRINCIPLE, judge=judge, **options)
    program = type("Fixed", (dspy.Module,), {"forward": lambda self, **inputs: prediction})()
    with pytest.raises(JudgeUnavailableError, match="A judge reads text, and a field has a value of type") as raised:
        dspy.Evaluate(devset=[gold], metric=metric, num_threads=1)(program)
    assert place != "prompt among others" or "with prompt=: question, picture" in str(raised.value)
    assert judged_texts(judge) == []


def test_a_reference_reaches_the_judge() -> None:
    judge = scripted()
    metric = PrincipleMetric(PRINCIPLE, judge=judge, reference="answer")
    metric(example("?", answer="the gold answer"), dspy.Prediction(answer="x"))
    assert "the gold answer" in judge.backend.requests[-1].messages[1]["content"]


# --- mistakes in the set-up stop the run


@pytest.mark.parametrize(
    ("options", "outputs", "message"),
    [
        ({"response": "anwser"}, {"answer": "5"}, "no field 'anwser' for response=; it has answer"),
        (
            {"response": lambda prediction: prediction.draft},
            {"answer": "5"},
            "function response= raised AttributeError",
        ),
        ({}, {"title": "t", "body": "5"}, "has the fields title, body; set which one to judge, .* response='body'"),
        ({"prompt": "qestion"}, {"answer": "5"}, "no field 'qestion' for prompt=; it has question, gold"),
        ({"prompt": lambda example: example["q"]}, {"answer": "5"}, "prompt= raised KeyError"),
        ({"reference": "golf"}, {"answer": "5"}, "no field 'golf' for reference=; it has question, gold"),
    ],
)
@pytest.mark.parametrize("threads", [1, 4])
def test_a_misspelt_or_ambiguous_field_stops_the_run(options: Any, outputs: Any, message: str, threads: int) -> None:
    judge = scripted()
    metric = PrincipleMetric(PRINCIPLE, judge=judge, max_failures=None, **options)
    program = type("Fixed", (dspy.Module,), {"forward": lambda self, question: dspy.Prediction(**outputs)})()
    devset = [example(f"{i}", gold="g") for i in range(8)]
    with pytest.raises(JudgeUnavailableError, match=message):
        dspy.Evaluate(devset=devset, metric=metric, num_threads=threads)(program)
    assert judged_texts(judge) == []


def test_an_example_without_inputs_stops_the_run() -> None:
    for gold in (dspy.Example(question="q"), dspy.Example().with_inputs()):
        with pytest.raises(JudgeUnavailableError, match="with_inputs"):
            PrincipleMetric(PRINCIPLE, judge=scripted())(gold, dspy.Prediction(answer="5"))


def test_a_program_that_returns_no_prediction_needs_a_function() -> None:
    metric = PrincipleMetric(PRINCIPLE, judge=scripted())
    with pytest.raises(JudgeUnavailableError, match="returned a list, not a prediction; set response="):
        metric(example("?"), ["5"])
    assert PrincipleMetric(PRINCIPLE, judge=scripted(), response=lambda p: p[0])(example("?"), ["5"]) == 1.0


@pytest.mark.parametrize("threads", [1, 4])
def test_settings_without_a_judge_stop_the_run(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """DSPy would score a missing package or a wrong setting 0.0."""
    monkeypatch.setenv("RA_JUDGE_MODEL", "scripted:no_such_module:reply")
    metric = PrincipleMetric(PRINCIPLE)
    with pytest.raises(JudgeUnavailableError, match=r"There is no judge, .*no_such_module") as raised:
        dspy.Evaluate(devset=[example("1"), example("2")], metric=metric, num_threads=threads)(Echo())
    assert isinstance(raised.value.__cause__, ConfigError)


def test_a_refused_key_stops_the_run_at_once(server: FakeOpenAI) -> None:
    server.reply = lambda body: Fault.status(401, "no such key")
    judge = from_endpoint("hosted_vllm/fake", api_base=server.url, cache="off")
    metric = PrincipleMetric(PRINCIPLE, judge=judge, max_failures=None)
    with pytest.raises(JudgeUnavailableError, match="The judge cannot be used") as raised:
        dspy.Evaluate(devset=[example(f"{i}") for i in range(5)], metric=metric, num_threads=1)(Echo())
    judge.close()
    assert raised.value.last is not None and raised.value.last.error_type == "AuthenticationError"
    assert server.count == 1
