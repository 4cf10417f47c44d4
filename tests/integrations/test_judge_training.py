"""Rewards and rows for training a judge: what earns a reward, and what cannot."""

import asyncio
import importlib.util
import json
import warnings

import pytest
from paths import ROOT

from rewardanything_core import ConfigError
from rewardanything_core.backends import verdict_reply
from rewardanything_core.bench import BenchItem, read_items
from rewardanything_rl.judge_training import (
    Attempt,
    JudgeReward,
    RewardRules,
    batch_rewards,
    compute_score,
    listwise_reward,
    ordered_pairs,
    split_by_group,
    training_rows,
    verl_rows,
)

TRAIN = str(ROOT / "benchmarks/principleflips/train.jsonl")


@pytest.fixture(scope="module")
def items():
    return read_items([TRAIN], limit_groups=8)


@pytest.mark.parametrize(
    ("predicted", "reference", "reward"),
    [
        ({"a": 5, "b": 1}, {"a": 4, "b": 2}, 1.0),
        ({"a": 1, "b": 5}, {"a": 4, "b": 2}, 0.0),
        ({"a": 3, "b": 3}, {"a": 4, "b": 2}, 0.5),
        # Weights 1 + gap: a-b 2, b-c 3, a-c 4; only b-c is reversed.
        ({"a": 5, "b": 2, "c": 3}, {"a": 5, "b": 4, "c": 2}, 1 - 3 / 9),
        ({"a": 5, "b": 5, "c": 3}, {"a": 5, "b": 4, "c": 2}, 1 - 0.5 * 2 / 9),
        ({"a": 5, "b": 1, "c": 4}, {"a": 5, "b": 3, "c": 3}, 1.0),  # people tie b and c: no pair
        ({"a": 5, "b": 3, "c": 1}, ["c", "b", "a"], 0.0),
    ],
)
def test_the_listwise_reward_is_the_weighted_share_of_pairs_put_the_right_way(predicted, reference, reward):
    assert listwise_reward(predicted, reference) == pytest.approx(reward)


def test_what_cannot_be_compared_is_an_error():
    with pytest.raises(ConfigError, match="orders no two responses"):
        listwise_reward({"a": 1, "b": 2}, {"a": 3, "b": 3})
    with pytest.raises(ConfigError, match="no predicted score of 'b'"):
        listwise_reward({"a": 1}, {"a": 5, "b": 3})
    with pytest.raises(ConfigError, match="no score of 'a' that is a number"):
        listwise_reward({"a": 1, "b": 2}, {"a": float("nan"), "b": 3})
    with pytest.raises(ConfigError, match="a label twice"):
        listwise_reward({"a": 1}, ["a", "a"])
    with pytest.raises(ConfigError, match=r"consistency must be within 0\.\.1"):
        RewardRules(consistency=2)


def attempt(scores, *, order=("r1", "r2"), best="r1", case="c", thinking="Short.", text=None):
    """A completion with scores for the responses as shown."""
    json_text = verdict_reply({f"model-{place}": score for place, score in enumerate(scores, start=1)})
    pairs = ordered_pairs([best, *(label for label in order if label != best)])
    completion = f"<think>\n{thinking}\n</think>\n\n{json_text}" if text is None else text
    return Attempt(completion=completion, labels=order, pairs=pairs, case=case)


ALONE = RewardRules(consistency=0.25)
RIGHT = attempt([5, 1])


@pytest.mark.parametrize(
    "text",
    [
        "The first response is better.",
        '{"scores": {"model-1": 5}, "best-to-worst": ["model-1"]}',
        '{"scores": {"model-1": 5, "model-2": 1}, "best-to-worst": ["model-2", "model-1"]}',  # contradicts its scores
        '{"scores": {"model-1": 9, "model-2": 1}, "best-to-worst": ["model-1", "model-2"]}',
        '<think>\nIt never ends {"scores": {"model-1": 5, "model-2": 1}, "best-to-worst": ["model-1", "model-2"]}',
        RIGHT.completion + '\n{"scores": {"model-1": 1, "model-2": 5}, "best-to-worst": ["model-2", "model-1"]}',
    ],
)
def test_format_is_a_gate_and_no_bonus(text):
    (broken, right, wrong) = batch_rewards([attempt([], text=text), RIGHT, attempt([1, 5])], ALONE)
    assert (broken.reward, broken.parsed) == (0.0, False)
    assert (right.reward, right.parsed) == (1.0, True)
    assert (wrong.reward, wrong.parsed) == (0.0, True), "a verdict that is wrong earns no more than none at all"


def test_a_judge_that_is_blind_to_the_principle_gains_nothing():
    """Whatever it answers, as long as it answers alike under a principle and its contrary."""
    orders = (("r1", "r2"), ("r2", "r1"))
    for first, second in [([5, 1], [1, 5]), ([5, 1], [5, 1]), ([1, 5], [2, 2]), ([3, 3], [3, 3])]:
        batch = [
            attempt(scores, order=order, best=best, case=f"c/{best}")
            for best in ("r1", "r2")
            for order, scores in zip(orders, (first, second), strict=True)
        ]
        rewards = [one.reward for one in batch_rewards(batch, ALONE)]
        assert sum(rewards) / len(rewards) <= 0.5, (first, second)
    always_first = [attempt([5, 1], order=o, best=b, case=b) for b in ("r1", "r2") for o in orders]
    rewards = batch_rewards(always_first, ALONE)
    assert sum(one.reward for one in rewards) / 4 == pytest.approx(0.5 * (1 - 0.25)), "a favourite place costs"
    assert {one.consistent for one in rewards} == {0.0}


def test_consistency_needs_the_same_pair_right_in_another_order_and_no_other_case():
    both = [RIGHT, attempt([1, 5], order=("r2", "r1"))]
    assert [one.reward for one in batch_rewards(both, ALONE)] == [1.0, 1.0]
    unparsed = attempt([], order=("r2", "r1"), text="no verdict")
    assert [one.reward for one in batch_rewards([RIGHT, unparsed], ALONE)] == [0.75, 0.0]
    other_case = attempt([5, 1], order=("r2", "r1"), case="another")
    assert batch_rewards([RIGHT, other_case], ALONE)[0].consistent is None


def test_long_thinking_loses_the_reward():
    rules = RewardRules(max_thinking=100)
    lengths = {50: 1.0, 100: 1.0, 150: 0.5, 250: 0.0}
    for length, reward in lengths.items():
        assert batch_rewards([attempt([5, 1], thinking="x" * length)], rules)[0].reward == pytest.approx(reward)


def test_rows_keep_a_principle_its_contrary_and_both_orders_in_one_batch(items):
    rows = training_rows(items, batch=8, seed=3)
    assert rows == training_rows(items, batch=8, seed=3) != training_rows(items, batch=8, seed=4)
    assert len(rows) == len(items) * 2 == 96
    for start in range(0, len(rows), 8):
        batch = rows[start : start + 8]
        for row in batch:
            same = [other for other in batch if other["block"] == row["block"]]
            assert len(same) == 4
            assert {tuple(other["labels"]) for other in same} == {("r1", "r2"), ("r2", "r1")}
            assert {other["pairs"][0]["better"] for other in same} == {"r1", "r2"}, "every blind answer is half right"
    by_id = {item.id: item for item in items}
    for row in rows:
        shown = json.loads(row["prompt"][1]["content"])
        item = by_id[row["case"]]
        assert shown["principle"] == item.principle
        assert list(shown["responses"].values()) == [item.responses[label] for label in row["labels"]]
        assert not any(label in json.dumps(row["prompt"]) for label in ('"r1"', '"r2"')), "labels are masked"


def test_rows_that_cannot_be_used_are_counted_or_refused(items):
    one = items[0]
    unlabelled = BenchItem(id="u", source="s", group="g", principle="p", prompt="q", responses={"a": "x", "b": "y"})
    with pytest.warns(UserWarning, match="1 items have no labels"):
        assert len(training_rows([one, unlabelled])) == 2
    with pytest.raises(ConfigError, match="None of the 1 items"):
        training_rows([unlabelled])
    with pytest.raises(ConfigError, match="A batch of 2 prompts is too small: a block has 4"):
        training_rows(items, batch=2)
    with pytest.raises(ConfigError, match=f"Two items have the id '{one.id}'"):
        training_rows([one, one])
    with pytest.warns(UserWarning), pytest.raises(ConfigError, match=r"one batch of 5 .*blocks have 4 rows"):
        training_rows(items[:2], batch=5)
    with pytest.warns(UserWarning, match="rows do not fill a batch of 40"):
        assert len(training_rows(items, batch=40)) == 80


def test_gaps_are_points_of_our_scale_where_people_gave_scores():
    rated = {"human": {"a": 9.0, "b": 4.0, "c": 4.0}, "rated": True, "pairs": (("a", "b"), ("a", "c"))}
    texts = {"responses": {"a": "x", "b": "y", "c": "z"}, "principle": "p", "prompt": "q"}
    with_scale = BenchItem(id="1", source="s", group="g", scale=(0.0, 10.0), **texts, **rated)
    without = BenchItem(id="2", source="s", group="g", **texts, **rated)
    rows = training_rows([with_scale, without], orders=1)
    gaps = {row["case"]: [pair["gap"] for pair in row["pairs"]] for row in rows}
    assert gaps == {"1": [2.0, 2.0], "2": [1.0, 1.0]}


def test_no_family_is_on_both_sides_of_a_split(items):
    train, test = split_by_group(items, share=0.25)
    assert len({i.group for i in test}) == 2 and not {i.group for i in train} & {i.group for i in test}


def test_a_better_policy_gets_higher_rewards_from_trl_and_verl(items):
    """From noise over always-the-first to the right verdicts, with what the trainers call the rewards with."""
    rows = training_rows(items, batch=8)

    def completions(kind):
        for row in rows:
            best = row["pairs"][0]["better"]
            right = [5 if label == best else 1 for label in row["labels"]]
            yield {"noise": "I like both.", "first": attempt([5, 1]).completion, "right": attempt(right).completion}[
                kind
            ]

    means, logged = {}, {}
    columns = {name: [row[name] for row in rows] for name in ("labels", "pairs", "case", "block")}
    for kind in ("noise", "first", "right"):
        texts = list(completions(kind))
        messages = [[{"role": "assistant", "content": text}] for text in texts]
        rewards = JudgeReward()(
            prompts=[row["prompt"] for row in rows],
            completions=messages,
            completion_ids=[[1]] * len(rows),
            trainer_state=None,
            log_metric=lambda name, value, kind=kind: logged.setdefault(kind, {}).update({name: value}),
            log_extra=lambda name, values: None,
            **columns,
        )
        means[kind] = sum(rewards) / len(rewards)

        async def verl(texts=texts):
            samples = zip(verl_rows(rows), texts, strict=True)
            return await asyncio.gather(
                *(
                    compute_score(
                        row["data_source"],
                        text,
                        row["reward_model"]["ground_truth"],
                        {**row["extra_info"], "num_turns": None},
                        reward_router_address=None,
                        completions_of_case=2,
                    )
                    for row, text in samples
                )
            )

        assert [one["score"] for one in asyncio.run(verl())] == pytest.approx(rewards)
    assert means == pytest.approx({"noise": 0.0, "first": 0.375, "right": 1.0})
    assert logged["noise"] == {"judge/parsed": 0.0}
    assert logged["first"]["judge/consistent"] == 0.0 and logged["right"]["judge/consistent"] == 1.0
    with pytest.raises(ConfigError, match="no column 'pairs', 'case'"):
        JudgeReward()(prompts=[], completions=[], labels=[])


def test_a_completion_in_verl_does_not_wait_forever_for_others(items):
    row = verl_rows(training_rows(items[:1]))[0]
    call = compute_score(
        "d", "x", row["reward_model"]["ground_truth"], row["extra_info"], completions_of_case=9, timeout=0.01
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert asyncio.run(call)["score"] == 0.0
    with pytest.raises(ConfigError, match=r"not written by verl_rows\(\)"):
        asyncio.run(compute_score("d", "x", "no json", {"case": "c", "labels": []}))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "There is no pair"),
        (3, "was not made by training_rows"),
        (["a"], "was not made by training_rows"),
        ([{"better": "a", "worse": "z", "gap": 1}], "a pair with 'z', but its labels are 'a', 'b'"),
        ([{"better": "a", "worse": "b", "gap": float("nan")}], "by nan; gaps are numbers above 0"),
        ([{"better": "a", "worse": "b", "gap": "1"}], "by '1'; gaps are numbers above 0"),
    ],
)
def test_a_row_that_cannot_be_rewarded_is_an_error_and_neither_a_number_nor_an_endless_wait(pairs, message):
    with pytest.raises(ConfigError, match=message):
        JudgeReward()(["p"], ["x"], labels=[["a", "b"]], pairs=[pairs], case=["c"])
    row = {"labels": ["a", "b"], "case": "c"}
    with pytest.raises(ConfigError, match=message):
        asyncio.run(compute_score("d", "x", json.dumps(pairs), row, completions_of_case=2, timeout=0.01))


def test_rows_of_one_case_with_different_pairs_are_an_error_for_each_completion():
    pairs = [json.dumps([{"better": one, "worse": two, "gap": 1}]) for one, two in (("a", "b"), ("b", "a"))]

    async def both():
        row = {"labels": ["a", "b"], "case": "c"}
        calls = (compute_score("d", "x", each, row, completions_of_case=2) for each in pairs)
        return await asyncio.gather(*calls, return_exceptions=True)

    assert all("have different pairs" in str(each) for each in asyncio.run(both()))


@pytest.mark.model
def test_the_example_trains_a_tiny_model_for_two_steps_and_measures_it_with_its_adapter(model_folder, tmp_path):
    from tiny_models import tiny
    from transformers import AutoTokenizer

    spec = importlib.util.spec_from_file_location("train_judge", ROOT / "examples/train_judge.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    tokenizer.save_pretrained(tmp_path / "model")
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 2048, "eos_token_id": tokenizer.eos_token_id}
    tiny("llama", **sizes).save_pretrained(tmp_path / "model")
    rows = (ROOT / "benchmarks/principleflips/train.jsonl").read_text(encoding="utf-8").splitlines()
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join([*rows[:4], *rows[6:8]]), encoding="utf-8")  # of two families
    options = (
        f"--model {tmp_path / 'model'} --data {data} --folder {tmp_path} --steps 2 --warmup 1 --orders 1 --cases 2"
    )
    log = example.main([*options.split(), *"--generations 2 --length 4 --thinking 1 --rank 2 --short".split()])
    assert len(log["steps"]) == 2 and all(0 <= step["reward"] <= 1 for step in log["steps"])
    assert {"free parsed", "free reward", "bench pairwise_accuracy", "bench both_right"} <= set(log["after"])
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
