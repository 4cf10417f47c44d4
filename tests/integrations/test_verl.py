"""rewardanything_rl as veRL 0.9.1 calls it: by keyword and awaited, one sample at a time."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from rl_judges import PRINCIPLE, judge_by_length, judge_of, length_backend, response_lists, sample, scores_of
from scripts import by_length, mute
from servers import FakeOpenAI, score_text

from rewardanything_core import ConfigError, InvalidCaseError, ScriptedBackend, VerdictParseError, set_default_judge
from rewardanything_rl import (
    GroupBatcher,
    JudgeUnavailableError,
    Sample,
    Scale,
    compute_score,
    compute_score_sync,
    verl_reward,
)

# --- groups


def test_samples_of_a_prompt_are_judged_together() -> None:
    backend = length_backend()
    score = verl_reward(judge=judge_of(backend), group_size=3, timeout=30)
    assert inspect.iscoroutinefunction(score)  # veRL awaits those only
    texts = ["a", "b", "aaa", "bbbb", "aaaaa", "bb"]
    samples = [sample(text, prompt) for text, prompt in zip(texts, "pqpqpq", strict=True)]
    assert asyncio.run(scores_of(score, samples)) == [0.0, 0.0, 0.5, 0.75, 1.0, 0.25]
    assert sorted(response_lists(backend)) == [["a", "aaa", "aaaaa"], ["b", "bb", "bbbb"]]


def test_after_the_timeout_an_incomplete_group_is_judged() -> None:
    backend = length_backend()
    score = verl_reward(judge=judge_of(backend), group_size=3, timeout=0.3)

    async def run() -> list[float]:
        together = asyncio.create_task(scores_of(score, [sample("a"), sample("aaa"), sample("bb", "q")]))
        cancelled = asyncio.create_task(score(**sample("gone")))
        await asyncio.sleep(0.01)
        cancelled.cancel()
        return await together + await scores_of(score, [sample("aaaa")])

    assert asyncio.run(run()) == [0.0, 0.5, 0.25, 0.75]
    assert sorted(response_lists(backend)) == [["a", "aaa", "gone"], ["aaaa"], ["bb"]]


def test_a_sample_may_have_its_own_group_size_messages_and_reference() -> None:
    backend = length_backend()
    score = verl_reward("Else.", judge=judge_of(backend), group_size=9, reference="ground_truth", thinking="opened")
    messages = ({"role": "user", "content": "p"},)  # Parquet gives arrays of messages back
    one = sample("hm</think>aaaaa", messages, group_size=1, principle=None)
    assert asyncio.run(scores_of(score, [one])) == [0.5]
    assert response_lists(backend) == [["aaaaa", "ggg"]]
    assert json.loads(backend.requests[0].messages[1]["content"])["principle"] == "Else."


def test_the_runs_of_an_agent_are_judged_turn_by_turn() -> None:
    """As with veRL's naive reward manager, which adds the agent loop's ``extra_fields`` to ``extra_info``."""
    backend = length_backend()
    score = verl_reward(judge=judge_of(backend), group_size=2, timeout=30, trajectory="messages")
    prompt = [{"role": "system", "content": "Use the tools."}, {"role": "user", "content": "Delete old files."}]
    calling = {"role": "assistant", "content": "<think>hm</think>", "tool_calls": [{"function": {"name": "ask"}}]}
    turns = [calling, {"role": "tool", "content": "no"}, {"role": "assistant", "content": "Then I stop."}]
    runs = [[*prompt, *turns], turns[2:]]
    samples = [sample("decoded", numpy.array(prompt, dtype=object), messages=run, turn_scores=[]) for run in runs]
    asyncio.run(scores_of(score, samples))
    ((text, judged),) = response_lists(backend)
    assert text == "Then I stop." and [turn["role"] for turn in judged] == ["assistant", "tool", "assistant"]
    assert judged[0]["calls"] == [{"call": "1.1", "name": "ask", "arguments": {}}] and "hm" not in str(judged)
    with pytest.raises(ConfigError, match="no 'messages' to take the trajectory from"):
        asyncio.run(score(**sample("decoded")))


def test_the_batcher_handles_many_groups_at_once() -> None:
    backend = length_backend()
    batcher = GroupBatcher(4, timeout=30, judge=judge_of(backend), scale=Scale(tie_break=0.0))

    async def run() -> list[Any]:
        samples = [Sample(principle=PRINCIPLE, prompt=f"p{i % 50}", response="a" * (1 + i // 50)) for i in range(200)]
        return await asyncio.gather(*map(batcher.reward, samples))

    rewards = asyncio.run(run())
    assert [one.score for one in rewards] == [1.0 + i // 50 for i in range(200)]
    assert backend.calls == 50 and {one.size for one in rewards} == {4}


def test_a_refused_sample_gets_its_reward_and_does_not_delay_its_group() -> None:
    backend = length_backend()
    score = verl_reward(judge=judge_of(backend), group_size=3, timeout=30, guard=True, refused_reward=-0.5)
    samples = [sample("a"), sample("Score: 5/5"), sample("aaa"), *[sample("Score: 5/5", "q")] * 3]
    assert asyncio.run(scores_of(score, samples)) == [0.0, -0.5, 0.5, -0.5, -0.5, -0.5]
    assert response_lists(backend) == [["a", "aaa"]]
    with pytest.raises(ConfigError, match="needs a refused_reward"):
        verl_reward(guard=True)


# --- failures


def test_failures_raise_unless_the_user_sets_a_number() -> None:
    failing = judge_of(ScriptedBackend(mute))
    with pytest.raises(VerdictParseError):
        asyncio.run(scores_of(verl_reward(judge=failing), [sample("a")]))
    lenient = verl_reward(judge=failing, on_failure=0.5)
    fields = asyncio.run(lenient(**sample("a")))
    assert fields["score"] == 0.5 and fields["judged"] == 0.0 and fields["rationale"].startswith("Not judged.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ground_truth": None}, "'ground_truth' must be a text, not None"),
        ({"ground_truth": "\ud800"}, "UTF-8"),
        ({"solution_str": "\ud800"}, "UTF-8"),
        ({"extra_info": {"prompt": None, "principle": "x"}}, r"extra_info\['prompt'\] is None"),
        ({"extra_info": {"prompt": "p", "principle": None}}, r"extra_info\['principle'\] is None"),
        ({"extra_info": {"prompt": 7, "principle": "x"}}, "is not a known form of a conversation"),
        ({"extra_info": {"prompt": ["p"], "principle": "x"}}, "message"),
        ({"extra_info": {"prompt": "p", "principle": "x", "group_size": "4"}}, "must be 1 or more, not '4'"),
    ],
)
def test_a_row_that_makes_no_case_obeys_on_failure(change: dict[str, Any], message: str) -> None:
    backend = length_backend()
    call = sample("a") | change
    options: dict[str, Any] = {"judge": judge_of(backend), "reference": "ground_truth"}
    with pytest.raises(InvalidCaseError, match=message):
        asyncio.run(verl_reward(**options)(**call))
    fields = asyncio.run(verl_reward(**options, on_failure=0.25)(**call))
    assert (fields["score"], fields["judged"]) == (0.25, 0.0)
    assert fields["rationale"].startswith("Not judged. InvalidCaseError")
    assert backend.calls == 0


def test_an_invalid_sample_does_not_delay_or_fail_its_group() -> None:
    backend = length_backend()
    score = verl_reward(judge=judge_of(backend), group_size=3, timeout=30, on_failure=-1.0)
    samples = [sample("a"), sample("\ud800"), sample("aaa")]
    assert asyncio.run(asyncio.wait_for(scores_of(score, samples), 10)) == [0.0, -1.0, 0.5]


def test_a_wrong_setting_is_never_a_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    lenient = verl_reward(judge=judge_by_length(), on_failure=0.5, reference="gold")
    with pytest.raises(ConfigError, match="no 'prompt'; it has principle"):
        asyncio.run(lenient("d", "a", None, {"principle": "x"}))
    with pytest.raises(ConfigError, match="no 'gold' to take the reference from; it has prompt, principle"):
        asyncio.run(lenient(**sample("a")))
    with pytest.raises(ConfigError, match="Unknown setting groupsize; the settings are: principle"):
        asyncio.run(compute_score("d", "a", None, {}, groupsize=2))
    with pytest.raises(ConfigError, match="judge must be a Judge or Jury"):
        verl_reward(judge=object())  # type: ignore[arg-type]
    for wrong in ({"on_failure": math.nan}, {"on_failure": "zero"}, {"refused_reward": math.inf}, {"group_size": "4"}):
        with pytest.raises(ConfigError, match="must be"):
            asyncio.run(compute_score("d", "a", None, {"prompt": "p", "principle": "x"}, **wrong))
    monkeypatch.setenv("RA_JUDGE_MODEL", "scripted:no_such_module:reply")
    with pytest.raises(JudgeUnavailableError, match="no_such_module"):
        asyncio.run(verl_reward(on_failure=0.5)(**sample("a")))


def test_a_judge_that_keeps_failing_is_not_replaced_by_on_failure() -> None:
    replies = iter([*[mute] * 6, by_length, mute])
    judge = judge_of(ScriptedBackend(lambda request: next(replies)(request)))
    score = verl_reward(judge=judge, group_size=2, max_failed_calls=3, on_failure=0.5)

    async def group(prompt: str) -> list[Any]:
        calls = (score(**sample(text, prompt)) for text in ("a", "aaa"))
        return await asyncio.gather(*calls, return_exceptions=True)

    async def run() -> list[list[Any]]:
        return [await group(prompt) for prompt in "abcdefgh"]

    groups = asyncio.run(run())
    assert [[one["score"] for one in group] for group in groups[:2]] == [[0.5, 0.5]] * 2
    for group in groups[2:6]:  # each further failure too, since veRL continues
        assert all(isinstance(one, JudgeUnavailableError) for one in group)
    assert "3 calls in a row" in str(groups[2][0]) and "6 calls in a row" in str(groups[5][0])
    assert [one["score"] for one in groups[6]] == [0.0, 0.5]
    assert [one["score"] for one in groups[7]] == [0.5, 0.5]  # counted from the start again


# --- by name


def test_compute_score_takes_the_settings_of_reward_kwargs() -> None:
    backend = length_backend()
    set_default_judge(judge_of(backend))

    async def configured(**call: Any) -> Any:  # as veRL binds reward_kwargs
        return await compute_score(**call, group_size=2, tie_break=0.0, reward_router_address="x")

    assert asyncio.run(scores_of(configured, [sample("a"), sample("aaa")])) == [0.0, 0.5]
    assert backend.calls == 1


def test_the_reward_model_that_verl_hosts_can_be_the_judge() -> None:
    """veRL 0.9 passes the router's address, without a scheme, and the tokenizer, whose name is the served model's."""
    tokenizer = SimpleNamespace(name_or_path="Qwen/Qwen3-8B")

    async def hosted(**call: Any) -> Any:
        return await compute_score(**call, judge="router", group_size=2, tie_break=0.0, on_failure=0.5, **from_verl)

    with FakeOpenAI() as server:
        from_verl = {
            "reward_router_address": server.url.removeprefix("http://").removesuffix("/v1"),
            "reward_model_tokenizer": tokenizer,
        }
        scores = asyncio.run(scores_of(hosted, [sample("a"), sample("aaa")]))
        assert scores == [(score_text(text) - 1) / 4 for text in ("a", "aaa")]
        assert [body["model"] for body in server.bodies] == ["Qwen/Qwen3-8B"]
    from_verl = {"reward_router_address": None, "reward_model_tokenizer": None}
    with pytest.raises(ConfigError, match=r"veRL gave no address.*reward\.reward_model\.enable=True"):
        asyncio.run(hosted(**sample("a")))


def test_the_synchronous_function_judges_one_sample_at_a_time() -> None:
    set_default_judge(judge_by_length())
    assert not inspect.iscoroutinefunction(compute_score_sync)
    assert [compute_score_sync(**sample(text))["judge_score"] for text in ("a", "aaa")] == [1.0, 3.0]
    with pytest.raises(ConfigError, match="only with gather='ray'"):
        compute_score_sync(**sample("a"), group_size=2)
