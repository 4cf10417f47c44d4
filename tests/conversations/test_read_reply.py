"""The response in what a program returned."""

from __future__ import annotations

from typing import Any

import pytest
from weather import ANSWER, CALLING, CONVERSATION, QUESTION, RESULT, assistant, text, thought

from rewardanything_core import InvalidCaseError
from rewardanything_core.conversations import Trajectory, read_messages, read_reply, split_conversation

BEFORE = [QUESTION, {"role": "assistant", "content": "Which Ulm?"}, {"role": "user", "content": "On the Danube."}]


def turns(value: Any, **options: Any) -> Any:
    response = read_reply(value, where="response", **options)
    return list(response.messages) if isinstance(response, Trajectory) else response


def test_a_reply_is_a_text_or_the_turns_after_the_prompt() -> None:
    assert (
        turns("hi")
        == turns([{"role": "assistant", "content": "hi"}])
        == turns([QUESTION, ANSWER | {"content": "hi"}])
        == "hi"
    )
    assert turns([QUESTION, ANSWER]) == "Yes, it is." and turns(CONVERSATION) == [CALLING, RESULT, ANSWER]
    assert turns(CONVERSATION, prompt=[QUESTION]) == [CALLING, RESULT, ANSWER]
    assert turns([*BEFORE, ANSWER], prompt=read_messages(BEFORE, where="prompt")) == "Yes, it is."
    assert turns([*BEFORE, ANSWER], prompt="Is it warm in Ulm?") == [*BEFORE[1:], ANSWER]
    assert turns([CALLING, RESULT, ANSWER], prompt=BEFORE) == [CALLING, RESULT, ANSWER]


def test_reasoning_belongs_to_a_trajectory_and_not_to_a_single_answer() -> None:
    answer = assistant(thought("hm"), text("It is"), text(" so."))
    assert turns([answer]) == "It is so."
    assert turns([CALLING, RESULT, answer]) == [CALLING, RESULT, answer]
    calling = {**CALLING, "content": [thought("hm")]}
    assert turns([calling]) == [calling]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([QUESTION], "has no message of the assistant"),
        ([{"role": "assistant", "content": None}], "has neither text nor tool calls"),
        ([assistant(thought("hm"))], "has neither text nor tool calls"),
    ],
)
def test_a_reply_without_an_answer_is_an_error(value: Any, problem: str) -> None:
    with pytest.raises(InvalidCaseError, match=problem):
        turns(value)


SYSTEM = {"role": "system", "content": "Use the tools."}


@pytest.mark.parametrize(
    ("messages", "prompt", "start"),
    [
        (list(CONVERSATION), (), 1),
        ([SYSTEM, QUESTION, QUESTION, CALLING, RESULT], "Is it warm in Ulm?", 3),
        ([SYSTEM, *BEFORE, CALLING, RESULT, ANSWER], BEFORE, 4),
        ([SYSTEM, *BEFORE, CALLING, RESULT, ANSWER], [QUESTION, ANSWER], 7),
        ([SYSTEM, *BEFORE, CALLING, RESULT, ANSWER], [{"role": "user", "content": "Else?"}], 2),
        ([ANSWER, QUESTION, CALLING, RESULT], (), 2),
        ([SYSTEM, CALLING, RESULT], (), 1),
    ],
)
def test_a_conversation_is_split_after_what_the_program_was_given(messages: Any, prompt: Any, start: int) -> None:
    if start == len(messages):
        with pytest.raises(InvalidCaseError, match="has no message of the assistant"):
            split_conversation(messages, where="trace", prompt=prompt)
        return
    before, after = split_conversation(messages, where="trace", prompt=prompt)
    assert before == messages[:start]
    assert isinstance(after, Trajectory) and list(after.messages) == messages[start:]


def test_a_conversation_without_a_prompt_is_not_split() -> None:
    with pytest.raises(InvalidCaseError, match="no message before the assistant's first one"):
        split_conversation([CALLING, RESULT], where="trace")
