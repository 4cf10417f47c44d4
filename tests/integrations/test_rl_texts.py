"""rewardanything_rl: from what a policy wrote to the text that is judged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rl_judges import PRINCIPLE, judge_of, length_backend, response_lists

from rewardanything_core import InvalidCaseError
from rewardanything_rl import PrincipleReward
from rewardanything_rl.texts import answer_of, guarded_text, response_of, without_tags


def test_conversations_are_judged_with_their_tool_calls_and_results() -> None:
    backend = length_backend()
    prompt = [{"role": "user", "content": "Hi"}]
    PrincipleReward(PRINCIPLE, judge=judge_of(backend))(
        [prompt, [dict(prompt[0])], prompt],
        [
            [{"role": "assistant", "content": "<think>hm</think>\n\nHello"}],
            [{"role": "assistant", "content": [{"type": "text", "text": "Hey"}]}],
            [
                {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look"}}]},
                {"role": "tool", "content": "42"},
                {"role": "assistant", "content": "It is 42."},
            ],
        ],
    )
    turns = [
        {"turn": 1, "role": "assistant", "calls": [{"call": "1.1", "name": "look", "arguments": {}}]},
        {"turn": 2, "role": "tool", "result": "42"},
        {"turn": 3, "role": "assistant", "text": "It is 42."},
    ]
    assert response_lists(backend) == [["Hello", "Hey", turns]]
    assert json.loads(backend.requests[0].messages[1]["content"])["prompt"]


@pytest.mark.parametrize(
    ("thinking", "text", "judged"),
    [
        ("strip", "<think>so</think>\n\nYes.", "Yes."),
        ("strip", "\n<think>\nso\n</think>Yes.", "Yes."),
        ("strip", "<think>never closed", ""),
        ("strip", "Filler </think> Yes.", "Filler </think> Yes."),  # nothing can be hidden before a stray tag
        ("strip", "Yes <think>and</think> no", "Yes <think>and</think> no"),
        ("strip", "<think>a</think> b </think> c", "b </think> c"),
        ("opened", "so</think>\n\nYes.", "Yes."),
        ("opened", "<think>so</think>Yes.", "Yes."),
        ("opened", "never closed", ""),
        ("keep", "<think>so</think> Yes.", "<think>so</think> Yes."),
    ],
)
def test_thinking_is_stripped_or_kept(thinking: Any, text: str, judged: str) -> None:
    assert answer_of(text, thinking) == judged
    backend = length_backend()
    PrincipleReward(PRINCIPLE, judge=judge_of(backend), thinking=thinking)(["p"], [text])
    assert response_lists(backend) == [[judged]]  # the empty answer too: it is the policy's failure, not the judge's


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>a</think>b", "ab"),
        ("<think>a", "<think>a"),
        ("x <think>a</think>", "x <think>a</think>"),
    ],
)
def test_tags_around_kept_thinking_are_removed_for_the_guard(text: str, expected: str) -> None:
    assert without_tags(text, "keep") == expected
    assert without_tags(text, "strip") == text


@pytest.mark.parametrize(
    "completion",
    [
        7,
        "\ud800",
        {"role": "assistant", "content": "a"},
        [{"role": "assistant", "content": [{"type": "image"}]}],
        [{"role": "assistant", "content": [{"type": "image", "text": "a picture"}]}],
        [{"role": "assistant", "content": {"words": "a"}}],
        [{"role": "assistant", "content": 7}],
        [{"role": "assistant", "content": None, "audio": {"id": "a"}}],
        [{"role": "assistant", "content": None, "tool_calls": ["look"]}],
        [{"role": "assistant", "content": None, "tool_calls": [{"function": {1, 2}}]}],
    ],
)
def test_a_completion_that_is_not_text_has_no_reward_and_does_not_affect_others(completion: Any) -> None:
    backend = length_backend()
    reward = PrincipleReward(PRINCIPLE, judge=judge_of(backend))
    assert reward(["p", "p", ""], [completion, "aaa", "a"]) == [None, 0.5, None]
    assert response_lists(backend) == [["aaa"]]
    assert [failure.error_type for failure in reward.failures] == ["InvalidCaseError"] * 2


def test_the_error_says_what_the_judge_would_not_see() -> None:
    with pytest.raises(InvalidCaseError, match="message 0 has 'audio', which the judge would not see"):
        response_of([{"role": "assistant", "content": "a", "audio": {"id": "a"}, "refusal": None}], "strip")


def test_thinking_in_the_turns_of_an_agent_is_stripped_or_kept() -> None:
    call = {"function": {"name": "look", "arguments": {"at": "Score: 5/5"}}}
    turns = [
        {"role": "assistant", "content": "<think>so</think>Yes.", "reasoning_content": "hm", "tool_calls": [call]},
        {"role": "tool", "content": "<think>42</think>"},
    ]
    stripped, kept = response_of(turns, "strip"), response_of(turns, "keep")
    assert not isinstance(stripped, str) and not isinstance(kept, str)
    assert stripped.messages[0]["content"] == "Yes." and stripped.messages[1]["content"] == "<think>42</think>"
    assert [part["text"] for part in kept.messages[0]["content"]] == ["hm", "<think>so</think>Yes."]
    assert guarded_text(stripped, "strip") == 'Yes.\n{"at": "Score: 5/5"}'  # the tool's words are not the policy's
    assert guarded_text(kept, "keep") == 'hm\nsoYes.\n{"at": "Score: 5/5"}'
