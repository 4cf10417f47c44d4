"""DSPy's ReAct trajectories and histories, from real programs with a scripted model."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from dspy.adapters.types.tool import ToolCallResults
from dspy.utils import DummyLM
from weather import ARGUMENTS, assistant, text, thought

from rewardanything_core import InvalidCaseError
from rewardanything_core.conversations import read_messages


def read(value: Any) -> list[Any]:
    return list(read_messages(value, where="response"))


def get_weather(city: str, days: list[int]) -> dict[str, int]:
    """The weather."""
    if city != "Ulm":
        raise ValueError("no such city")
    return {"temp": 21}


def react(*steps: dict[str, Any]) -> Any:
    lm = DummyLM([*steps, {"reasoning": "It is 21.", "answer": "Yes, it is."}])
    with dspy.context(lm=lm):
        return dspy.ReAct("question -> answer", tools=[get_weather])(question="Is it warm in Ulm?")


def step(thought: str, name: str, arguments: Any) -> dict[str, Any]:
    return {"next_thought": thought, "next_tool_name": name, "next_tool_args": arguments}


def test_a_react_program() -> None:
    prediction = react(
        step("First the wrong one.", "get_weather", {"city": "Um", "days": []}),
        step("Now Ulm.", "get_weather", ARGUMENTS),
        step("Done.", "finish", {}),
    )
    messages = read(prediction)
    assert [message["role"] for message in messages] == ["assistant", "tool"] * 3 + ["assistant"]
    assert messages[2] == {
        **assistant(thought("Now Ulm.")),
        "tool_calls": [{"id": "step_1", "name": "get_weather", "arguments": ARGUMENTS}],
    }
    assert "no such city" in messages[1]["content"]
    assert messages[3] == {"role": "tool", "tool_call_id": "step_1", "content": '{"temp": 21}'}
    assert messages[4]["tool_calls"][0]["name"] == "finish" and messages[5]["content"] == "Completed."
    assert messages[6] == assistant(thought("It is 21."), text("Yes, it is."))
    assert read(prediction.trajectory) == messages[:6]


def test_an_unfinished_step_and_many_steps_keep_their_order() -> None:
    trajectory = {
        f"{part}_{i}": f"{part} {i}" for i in range(12) for part in ("thought", "tool_name", "tool_args", "observation")
    }
    del trajectory["observation_11"]
    messages = read(trajectory)
    assert [message["content"] for message in messages if message["role"] == "tool"] == [
        f"observation {i}" for i in range(11)
    ]
    assert messages[-1]["tool_calls"] == [{"id": "step_11", "name": "tool_name 11", "arguments": "tool_args 11"}]


def test_a_history_of_questions_and_answers() -> None:
    history = dspy.History(
        messages=[{"question": "Hi?", "answer": "Hello."}, {"question": "Ulm?", "reasoning": "hm", "answer": "Yes."}]
    )
    assert (
        read(history)
        == read({"messages": history.messages})
        == [
            {"role": "user", "content": "Hi?"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "Ulm?"},
            assistant(thought("hm"), text("Yes.")),
        ]
    )
    unclear = dspy.History(messages=[{"question": "Hi?", "answer": "Hello.", "confidence": 1}])
    with pytest.raises(
        InvalidCaseError, match="message 0 is an entry of a DSPy history with the fields question, answer, confidence"
    ):
        read(unclear)


def test_a_history_of_react_v2() -> None:
    calls = dspy.ToolCalls.from_dict_list([{"name": "get_weather", "args": ARGUMENTS, "id": "c1"}])
    results = ToolCallResults.from_tool_calls_and_values(calls, [{"temp": 21}], [False])
    submit = dspy.ToolCalls.from_dict_list([{"name": "submit", "args": {"answer": "Yes."}, "id": "c2"}])
    failed = ToolCallResults.from_tool_calls_and_values(submit, ["too late"], [True])
    history = dspy.History(
        messages=[
            {
                "question": "Ulm?",
                "next_thought": dspy.Reasoning(content="Look."),
                "tool_calls": calls.model_copy(update={"tool_call_results": results}),
            },
            {"tool_calls": submit.model_copy(update={"tool_call_results": failed}), "answer": "Yes."},
        ]
    )
    expected = [
        {"role": "user", "content": "Ulm?"},
        {**assistant(thought("Look.")), "tool_calls": [{"id": "c1", "name": "get_weather", "arguments": ARGUMENTS}]},
        {"role": "tool", "tool_call_id": "c1", "name": "get_weather", "content": '{"temp": 21}'},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c2", "name": "submit", "arguments": {"answer": "Yes."}}],
        },
        {"role": "tool", "tool_call_id": "c2", "name": "submit", "content": "too late", "is_error": True},
    ]
    assert read(history) == expected
    assert read(dspy.Prediction(answer="Yes.", history=history, termination_reason="submit")) == expected
    with pytest.raises(InvalidCaseError, match="has 'answer' next to a history"):
        read(dspy.Prediction(answer="No.", history=history, termination_reason="submit"))


def test_a_history_may_hold_chat_messages() -> None:
    chat = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]
    assert read(dspy.History(messages=chat)) == chat
