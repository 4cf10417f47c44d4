"""rewardanything_rl with TRL's own trainers and as a function: groups, scale, failures, training steps."""

from __future__ import annotations

import asyncio
import inspect
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paths import ROOT
from rl_judges import judge_by_length, judge_of, length_backend, response_lists, sample
from rubric_rows import RUBRIC, one_criterion_missing
from scripts import by_length, mute
from servers import FakeOpenAI, Fault

from rewardanything_core import (
    ConfigError,
    InvalidCaseError,
    Judge,
    Jury,
    MissingExtraError,
    Principle,
    RewardAnythingError,
    ScriptedBackend,
    Verdict,
    VerdictParseError,
    from_endpoint,
    set_default_judge,
)
from rewardanything_core.backends import verdict_reply
from rewardanything_core.errors import ContextLengthError, RateLimitError
from rewardanything_rl import JudgeUnavailableError, PrincipleReward, Scale, reward_function

PRINCIPLE = "The longer the better."


# --- groups


def test_completions_of_a_prompt_are_judged_in_one_listwise_call() -> None:
    backend = length_backend()
    reward = PrincipleReward(PRINCIPLE, judge=judge_of(backend))
    assert reward(["p", "p", "p", "q"], ["a", "aaa", "aaaaa", "bb"]) == [0.0, 0.5, 1.0, 0.25]
    assert sorted(response_lists(backend)) == [["a", "aaa", "aaaaa"], ["bb"]]


def test_completions_are_grouped_by_prompt_in_any_layout() -> None:
    backend = length_backend()
    reward = PrincipleReward(PRINCIPLE, judge=judge_of(backend))
    assert reward(prompts=["p", "q", "r"] * 2, completions=["a", "b", "cc", "aa", "bbb", "c"]) == pytest.approx(
        [0.0, 0.0, 0.25, 0.25, 0.5, 0.0]
    )
    assert sorted(response_lists(backend)) == [["a", "aa"], ["b", "bbb"], ["c", "cc"]]


rows = st.lists(
    st.tuples(st.sampled_from("pqr"), st.sampled_from(["long", "longer"]), st.text("ab", max_size=6)), max_size=12
)


@given(rows=rows)
def test_each_group_is_one_call_with_its_distinct_texts(rows: list[tuple[str, str, str]]) -> None:
    backend = length_backend()
    reward = PrincipleReward(judge=judge_of(backend), tie_break=0.1)
    prompts, principles, texts = ([row[part] for row in rows] for part in range(3))
    rewards = reward(prompts=prompts, completions=texts, principle=principles)
    groups = {(prompt, principle) for prompt, principle, _ in rows}
    expected = [sorted({text for *key, text in rows if tuple(key) == group}) for group in groups]
    assert sorted(response_lists(backend)) == sorted(expected)
    assert len(rewards) == len(rows)
    for (*key, text), own in zip(rows, rewards, strict=True):
        assert own is not None
        for (*other_key, other_text), other in zip(rows, rewards, strict=True):
            assert other is not None
            if key == other_key and text == other_text:
                assert own == other
            elif key == other_key and min(5, len(text)) > max(1, min(5, len(other_text))):
                assert own > other  # a tie break never reverses two scores


@given(rows=rows, seed=st.randoms())
def test_rewards_do_not_depend_on_the_order_of_the_batch(rows: list[tuple[str, str, str]], seed: Any) -> None:
    shuffled = rows.copy()
    seed.shuffle(shuffled)
    by_row = []
    for batch in (rows, shuffled):
        reward = PrincipleReward(judge=judge_by_length())
        prompts, principles, texts = ([row[part] for row in batch] for part in range(3))
        by_row.append(dict(zip(batch, reward(prompts, texts, principle=principles), strict=True)))
    assert by_row[0] == by_row[1]


def test_a_row_may_have_its_own_principle() -> None:
    backend = length_backend()
    reward = PrincipleReward(Principle("General.", name="general"), judge=judge_of(backend), principle_column="rule")
    reward(["p"] * 3, ["a", "b", "c"], rule=["Special.", None, "Special."])
    principles = {json.loads(request.messages[1]["content"])["principle"] for request in backend.requests}
    assert principles == {"General.", "Special."} and reward.__name__ == "general"
    assert sorted(response_lists(backend)) == [["a", "c"], ["b"]]


def test_a_batch_without_a_principle_is_an_error_that_lists_the_columns() -> None:
    with pytest.raises(ConfigError, match=r"'principle'.*The columns are: answer"):
        PrincipleReward(judge=judge_by_length())(["p"], ["a"], answer=["x"])
    assert PrincipleReward(judge=judge_by_length())(["p"], ["a"], principle=[None]) == [None]
    with pytest.raises(ConfigError, match="1 prompts for 2"):
        PrincipleReward(PRINCIPLE)(["p"], ["a", "b"])
    with pytest.raises(ConfigError, match="completions must be a list"):
        PrincipleReward(PRINCIPLE)(["p"], {"answer": "a"})  # type: ignore[arg-type]


def test_long_lists_are_split_by_the_judge() -> None:
    backend = length_backend()
    texts = ["a" * (1 + i % 5) + str(i) for i in range(20)]
    rewards = PrincipleReward(PRINCIPLE, judge=Judge(backend, cache="off", max_list=6))(["p"] * 20, texts)
    assert None not in rewards and backend.calls > 3 and all(len(texts) <= 6 for texts in response_lists(backend))


def test_a_jury_works_like_a_judge_and_anything_else_is_refused() -> None:
    jury = Jury([judge_by_length(), judge_by_length()])
    assert PrincipleReward(PRINCIPLE, judge=jury)(["p", "p"], ["a", "aaaaa"]) == [0.0, 1.0]
    with pytest.raises(ConfigError, match="judge must be a Judge or Jury"):
        PrincipleReward(PRINCIPLE, judge=object())  # type: ignore[arg-type]


# --- scale


def test_ties_are_broken_by_rank_within_the_allowed_distance() -> None:
    verdict = Verdict(scores={"a": 3.0, "b": 3.0, "c": 3.0, "d": 5.0}, ranking=["d", "b", "a", "c"])
    assert Scale(tie_break=0.02).rewards(verdict) == pytest.approx({"b": 0.51, "a": 0.5, "c": 0.49, "d": 1.0})
    assert Scale(tie_break=0.0).rewards(verdict) == {"a": 0.5, "b": 0.5, "c": 0.5, "d": 1}
    assert Scale(normalize=False).rewards(Verdict(scores={"a": 2.0}, ranking=["a"])) == {"a": 2.0}
    with pytest.raises(ConfigError):
        Scale(tie_break=-1)


def test_identical_completions_share_their_reward_although_others_tie_with_them() -> None:
    rewards = PrincipleReward(PRINCIPLE, judge=judge_by_length())(["p"] * 4, ["xxx", "yyy", "xxx", "zzz"])
    assert rewards[0] == rewards[2] and len(set(rewards)) == 3
    assert sum(reward for reward in set(rewards) if reward is not None) == pytest.approx(1.5)


def test_rewards_are_relative_to_the_reference() -> None:
    backend = length_backend()
    reward = PrincipleReward(PRINCIPLE, judge=judge_of(backend), reference="gold")
    assert reward(["p", "p", "q"], ["a", "aaaaa", "ggg"], gold=["ggg"] * 3) == [-0.5, 0.5, 0.0]
    assert sorted(response_lists(backend)) == [["a", "aaaaa", "ggg"], ["ggg"]]
    fixed = PrincipleReward(PRINCIPLE, judge=judge_by_length(), reference_text="gg", normalize=False)
    assert fixed(["p"], ["aaaa"]) == [2.0]
    called = PrincipleReward(PRINCIPLE, judge=judge_by_length(), reference=lambda row: row["prompt"] + row["end"])
    assert called(["p"], ["aaaa"], end=["q"]) == [0.5]
    assert reward(["p", "p"], ["a", "b"], gold=["gg", None])[1] is None
    with pytest.raises(ConfigError, match=r"no column 'gold'.*The columns are: answer"):
        reward(["p"], ["a"], answer=["x"])


# --- failures


def test_a_failure_is_none_and_does_not_affect_other_groups() -> None:
    def reply(request: Any) -> str:
        return mute(request) if "bad" in request.messages[1]["content"] else by_length(request)

    reward = PrincipleReward(PRINCIPLE, judge=judge_of(ScriptedBackend(reply)))
    metrics: dict[str, float] = {}
    columns: dict[str, list[Any]] = {}
    rewards = reward(
        ["p", "q", "p"], ["a", "bad", "aaaaa"], log_metric=metrics.__setitem__, log_extra=columns.__setitem__
    )
    assert rewards == [0.0, None, 1.0]
    assert reward.failures[0].error_type == "VerdictParseError"
    assert metrics == pytest.approx({"principle/not_judged": 1 / 3, "principle/score": 3.0, "principle/tied": 0.0})
    assert columns["principle/score"] == [1.0, None, 5.0]
    assert "Not judged. VerdictParseError" in columns["principle/rationale"][1]
    assert columns["principle/rationale"][2] == "[answer 2] by length"


def test_a_judge_that_keeps_failing_stops_the_training() -> None:
    reward = PrincipleReward(PRINCIPLE, judge=judge_of(ScriptedBackend(mute)), max_failed_calls=2)
    assert reward(["p"], ["a"]) == [None]
    with pytest.raises(JudgeUnavailableError, match="2 calls in a row"):
        reward(["p"], ["a"])
    strict = PrincipleReward(PRINCIPLE, judge=judge_of(ScriptedBackend(mute)), on_failure="raise")
    with pytest.raises(VerdictParseError):
        strict(["p"], ["a"])
    with pytest.raises(ConfigError, match="max_failed_calls must be 1 or more"):
        PrincipleReward(PRINCIPLE, max_failed_calls=0)


def test_a_judge_that_cannot_be_used_stops_the_training_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RA_JUDGE_MODEL", "scripted:no_such_module:reply")
    for call in (PrincipleReward(PRINCIPLE), lambda *batch: asyncio.run(PrincipleReward(PRINCIPLE).acall(*batch))):
        with pytest.raises(JudgeUnavailableError, match="no_such_module"):
            call(["p"], ["a"])
    with FakeOpenAI(plan=[Fault.status(401)] * 9) as server:
        judge = from_endpoint("hosted_vllm/fake", api_base=server.url, cache="off")
        with pytest.raises(JudgeUnavailableError, match="The judge cannot be used"):
            PrincipleReward(PRINCIPLE, judge=judge, max_failed_calls=None)(["p"], ["a"])
        judge.close()


def test_a_judge_over_http() -> None:
    with FakeOpenAI() as server:
        judge = from_endpoint("hosted_vllm/fake", api_base=server.url, cache="off")
        rewards = PrincipleReward("The higher the number.", judge=judge)(["p", "p", "q"], ["1", "4", "3"])
        judge.close()
    assert rewards[1] is not None and rewards[0] is not None and rewards[1] > rewards[0]


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("No such setting."),
        InvalidCaseError("Empty.", field="prompt", case_id="q1"),
        VerdictParseError("No verdict.", raw="No."),
        ContextLengthError(tokens=9, limit=8),
        MissingExtraError("Ray", extra="ray"),
        RateLimitError("Slow down.", status_code=429),
    ],
)
def test_errors_survive_pickling(error: RewardAnythingError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and vars(again) == vars(error)


# --- forms of the reward


def test_a_reward_is_pickled_with_its_judge_as_a_spec() -> None:
    judge = Judge(ScriptedBackend(by_length), cache="off")
    reward = pickle.loads(pickle.dumps(PrincipleReward(PRINCIPLE, judge=judge, reference="gold", name="long")))
    assert reward(["p"], ["aaa"], gold=["a"]) == [0.5] and reward.__name__ == "long" and reward.judge is not judge


def test_the_coroutine_function_gives_the_same_rewards() -> None:
    reward = PrincipleReward(PRINCIPLE, judge=judge_by_length(), name="long")
    function = reward.as_async()
    assert inspect.iscoroutinefunction(function) and function.__name__ == "long"
    assert asyncio.run(function(prompts=["p", "p"], completions=["a", "aaa"])) == [0.0, 0.5]


def test_the_default_judge_is_used_where_none_is_given() -> None:
    set_default_judge(judge_by_length())
    assert PrincipleReward(PRINCIPLE)(["p"], ["aaaaa"]) == [1.0]
    assert asyncio.run(PrincipleReward(PRINCIPLE).acall(["p"], ["aaaaa"])) == [1.0]
    assert reward_function(PRINCIPLE, "p", "aaa") == 3.0
    assert reward_function(PRINCIPLE, "p", "aaa", normalize=True) == 0.5
    assert reward_function(PRINCIPLE, "p", "aaa", reference="aaaaa") == -2.0
    with pytest.raises(RewardAnythingError):
        reward_function(PRINCIPLE, "p", "a", judge=judge_of(ScriptedBackend(mute)))


def test_importing_the_package_loads_neither_trl_nor_torch() -> None:
    code = "import sys, rewardanything_rl; print(sorted({'trl', 'torch', 'verl', 'datasets'} & set(sys.modules)))"
    folder = ROOT / "integrations"
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); {code}"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


# --- TRL's trainers

QUESTIONS = ["Why is the sky blue?", "What is rain?"]


@pytest.fixture(scope="module")
def policy(model_folder: Path) -> Iterator[tuple[Any, Any]]:
    """The 135M model and its tokenizer. Only the last layer is trained, so that a step takes seconds."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two threads on busy cores mostly wait for each other
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype="float32")
    model.requires_grad_(False)
    model.model.layers[-1].requires_grad_(True)
    yield model, AutoTokenizer.from_pretrained(model_folder)
    torch.set_num_threads(threads)


def train(kind: str, policy: tuple[Any, Any], reward: Any, folder: Path, rows: list[dict[str, Any]]) -> Any:
    import trl
    from datasets import Dataset
    from trl.experimental import online_dpo

    config, trainer_class = (
        (online_dpo.OnlineDPOConfig, online_dpo.OnlineDPOTrainer)
        if kind == "OnlineDPO"
        else (getattr(trl, f"{kind}Config"), getattr(trl, f"{kind}Trainer"))
    )
    common = dict(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to="none",
        gradient_checkpointing=False,
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1,
        max_steps=1,
        learning_rate=1e-3,
        seed=1,
    )
    own = (
        dict(per_device_train_batch_size=2, max_new_tokens=4, max_length=128)
        if kind == "OnlineDPO"
        else dict(per_device_train_batch_size=4, num_generations=2, max_completion_length=4)
    )
    model, tokenizer = policy
    trainer = trainer_class(
        model=model,
        args=config(**common, **own),
        reward_funcs=reward,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    return trainer


def distinct_scores_judge(backends: list[ScriptedBackend]) -> Judge:
    """A judge whose scores differ between any two texts, so that each group has something to learn from."""

    def reply(request: Any) -> str:
        texts = json.loads(request.messages[1]["content"])["responses"]
        order = sorted(texts, key=lambda name: texts[name])
        return verdict_reply(
            {name: 1 + 4 * order.index(name) / max(1, len(order) - 1) for name in order}, thoughts="ok"
        )

    backends.append(ScriptedBackend(reply))
    return judge_of(backends[-1])


def conversational(**columns: Any) -> list[dict[str, Any]]:
    return [{"prompt": [{"role": "user", "content": question}], **columns} for question in QUESTIONS]


@pytest.mark.model
@pytest.mark.parametrize("kind", ["GRPO", "RLOO"])
def test_a_training_step_learns_from_the_verdicts(kind: str, policy: tuple[Any, Any], tmp_path: Path) -> None:
    backends: list[ScriptedBackend] = []
    reward = PrincipleReward(judge=distinct_scores_judge(backends))
    if kind == "RLOO":
        other = PrincipleReward("Other.", judge=distinct_scores_judge(backends), name="other")
        reward_funcs: Any = [reward.as_async(), other]
    else:
        reward_funcs = reward
    before = policy[0].model.layers[-1].mlp.up_proj.weight.clone()
    trainer = train(kind, policy, reward_funcs, tmp_path, conversational(principle="Be short."))
    assert backends[0].calls == 2  # two prompts of two completions, each judged in one call
    metrics = trainer.state.log_history[0]
    assert metrics["principle/not_judged"] == 0.0 and 1 <= metrics["principle/score"] <= 5
    assert 0 <= metrics["rewards/principle/mean"] <= 1 and (kind == "GRPO" or "rewards/other/mean" in metrics)
    extra = trainer._logs["extra"]
    assert len(extra["principle/score"]) == 4 and all(text.endswith("ok") for text in extra["principle/rationale"])
    assert (policy[0].model.layers[-1].mlp.up_proj.weight != before).any()


@pytest.mark.model
def test_a_training_step_under_a_rubric_logs_each_criterion(policy: tuple[Any, Any], tmp_path: Path) -> None:
    def reply(body: Any) -> str | None:
        return one_criterion_missing(body, marker="rain")

    with FakeOpenAI(reply) as server:
        judge = from_endpoint("hosted_vllm/fake", api_base=server.url, cache="off", retries=0)
        trainer = train("GRPO", policy, PrincipleReward(RUBRIC, judge=judge), tmp_path, conversational())
        judge.close()
    metrics = trainer.state.log_history[0]
    assert server.count == 2  # one request for the two completions of each prompt, one of them in vain
    assert metrics["answers/not_judged"] == 0.5
    assert 1 <= metrics["answers/score/faithful"] <= 5 and 1 <= metrics["answers/score/brief"] <= 5
    assert 0 <= metrics["answers/missed/faithful"] == metrics["answers/missed"] <= 1


@pytest.mark.model
def test_failures_carry_no_gradient_in_a_training_step(policy: tuple[Any, Any], tmp_path: Path) -> None:
    reward = PrincipleReward("Be short.", judge=judge_of(ScriptedBackend(mute)))
    trainer = train("GRPO", policy, reward, tmp_path, [{"prompt": question} for question in QUESTIONS])
    metrics = trainer.state.log_history[0]
    assert metrics["principle/not_judged"] == 1.0 and "principle/score" not in metrics
    assert list(trainer._logs["advantages"]) == [0.0] * 4 and metrics["grad_norm"] == 0.0


@pytest.mark.model
def test_a_step_of_online_dpo_judges_pairs(policy: tuple[Any, Any], tmp_path: Path) -> None:
    backends: list[ScriptedBackend] = []
    reward = PrincipleReward("Be short.", judge=distinct_scores_judge(backends), on_failure="raise")
    trainer = train("OnlineDPO", policy, reward, tmp_path, conversational())
    assert backends[0].calls == 2 and all(1 <= len(texts) <= 2 for texts in response_lists(backends[0]))
    assert trainer.state.log_history[0]["objective/scores"] >= 0


# --- the documentation


def verdict_by_length(body: Any) -> str:
    responses = json.loads(str(body["messages"][-1]["content"]).rpartition("\n\n")[2])["responses"]
    return verdict_reply({name: min(5, len(text)) for name, text in responses.items()}, thoughts="ok")


@pytest.mark.model
def test_the_code_of_the_documentation_runs(
    policy: tuple[Any, Any], server: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    server.reply = verdict_by_length
    settings = dict(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False)
    names: dict[str, Any] = {"model": policy[0], "settings": settings | dict(max_completion_length=4, max_steps=1)}
    page = (ROOT / "docs" / "integrations" / "rl.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    names["trainer"].train()
    assert names["trainer"].state.global_step == 1
    assert names["rewards"] == pytest.approx([0.0, 0.0], abs=0.02) and names["score"] == 5.0
    assert asyncio.run(names["compute_score"](**sample("a 3", group_size=1)))["judge_score"] == 3.0


@pytest.mark.model
def test_the_training_script_of_the_recipes_runs(policy: tuple[Any, Any], server: FakeOpenAI, tmp_path: Path) -> None:
    server.reply = verdict_by_length
    page = (ROOT / "docs" / "recipes.md").read_text()
    (script,) = re.findall(r'```python title="train.py"\n(.*?)```', page, re.DOTALL)
    settings = dict(use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False, max_completion_length=4)
    names: dict[str, Any] = {"model": policy[0], "settings": settings | dict(max_steps=1)}
    for written, run in (
        ("http://localhost:8000/v1", server.url),
        ('"Qwen/Qwen3-1.7B"', "model"),
        ('"out"', f'"{tmp_path}", **settings'),
    ):
        assert written in script
        script = script.replace(written, run)
    exec(script, names)
    assert names["trainer"].state.global_step == 1 and server.count >= 1
