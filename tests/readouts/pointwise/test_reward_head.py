"""Reward heads: files, keys and scores, and fitting them to labels with the 135M model."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pointwise_model import answers

from rewardanything_core import Case, ConfigError, Judge, ScriptedBackend, load_judge
from rewardanything_core.bench import run_bench
from rewardanything_core.bench.audits import run_audits
from rewardanything_core.bench.head_fitting import fit_head
from rewardanything_core.bench.items import BenchItem
from rewardanything_core.bench.training_items import combined_by_prompt, read_training_items
from rewardanything_core.readouts.pointwise.questions import question_set
from rewardanything_core.readouts.pointwise.reward_head import RewardHead

if TYPE_CHECKING:
    from rewardanything_core.backends.local.backend import LocalBackend

PLACES = "station museum harbour library market theatre bakery school castle garden bridge tower".split()
POLITE = ["Of course, the {} is just around the corner.", "With pleasure: the {} is two streets to the left, madam."]
RUDE = ["The {} is round the corner, are you blind?", "Two streets to the left is the {}, now go away."]


def head(model: LocalBackend, *, seed: int = 0, layer: int = 3) -> RewardHead:
    rng = np.random.default_rng(seed)
    return RewardHead(
        model=model.model,
        layer=layer,
        questions_hash=question_set().fit_hash,
        weights=rng.normal(size=(4, 576)).astype(np.float32) / 100,
        offsets=np.zeros(4, dtype=np.float32),
        step=2.0,
    )


def labelled(number: int, *, shuffled: bool = False) -> list[BenchItem]:
    rng, items = random.Random(0), []
    for i in range(number):
        place = PLACES[i % len(PLACES)]
        responses = {"a": POLITE[i % 2].format(place), "b": RUDE[i // 2 % 2].format(place)}
        pair = ("b", "a") if shuffled and rng.random() < 0.5 else ("a", "b")
        prompt = f"Excuse me, visitor {i} is looking for the {place}."
        items.append(
            BenchItem(
                id=str(i), source="t", group=str(i), principle="Be polite.", prompt=prompt, responses=responses,
                pairs=(pair,),
            )
        )  # fmt: skip
    return items


def test_scores_are_those_of_the_head_on_the_models_states(small_model: LocalBackend) -> None:
    import asyncio

    ours = head(small_model)
    judge = Judge(small_model, head=ours, cache="off")
    assert judge.readout == "head"
    case = Case("Be polite.", "Where is it?", {"a": "Over there, madam.", "b": "Go away."})
    verdict = judge.judge(case)
    prompts = [question_set().fit_messages(case, label, 0, escape_special_tokens=False) for label in ("a", "b")]
    states = np.stack(asyncio.run(small_model.hidden_states(prompts, ours.layer)).states)
    expected = 1 + 4 / (1 + np.exp(-(states @ ours.weights.T).mean(axis=1) / ours.step))
    assert list(verdict.scores.values()) == pytest.approx(expected.tolist(), abs=1e-3)
    assert verdict.usage.completion_tokens == 0
    assert "by the reward head" in verdict.reasoning
    assert json.loads(verdict.raw_output)["readout"] == "head"
    assert all(spread > 0 for spread in verdict.spread.values())
    several = judge.with_options(passes=3).judge(case)
    assert several.scores == verdict.scores
    assert len(several.pass_scores) == 1


def test_a_head_is_part_of_the_key_and_of_the_spec(small_model: LocalBackend, tmp_path: Path) -> None:
    case = Case("Be polite.", "Where is it?", ["Over there, madam.", "Go away."])
    one, other = (Judge(small_model, head=head(small_model, seed=seed)) for seed in (0, 1))
    first = one.judge(case)
    assert one.judge(case).cached
    assert not other.judge(case).cached
    assert one.options.head.hash in first.template_hash  # type: ignore[union-attr]
    again = load_judge(json.loads(json.dumps(one.spec())))
    assert again.judge(case).cached
    assert one.with_options(readout="logits", head=None).readout == "logits"


def test_a_head_is_read_as_it_was_written(small_model: LocalBackend, tmp_path: Path) -> None:
    ours = dataclasses.replace(head(small_model), feature_weight=0.5, card={"data": "ours"})
    ours.save(tmp_path / "head.safetensors")
    again = RewardHead.load(tmp_path / "head.safetensors")
    assert (again.hash, again.card, again.feature_weight) == (ours.hash, {"data": "ours"}, 0.5)
    assert Judge(small_model, head=tmp_path / "head.safetensors", cache="off").readout == "head"
    assert RewardHead.from_json(json.loads(json.dumps(ours.to_json()))).hash == ours.hash


def test_heads_that_cannot_be_used_are_refused(small_model: LocalBackend, tmp_path: Path) -> None:
    ours = head(small_model)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a head")
    for wrong, message in (
        (tmp_path / "none.safetensors", "There is no reward head at"),
        (broken, "is not a reward head"),
        (dataclasses.replace(ours, model="another"), "was fitted for another"),
        (dataclasses.replace(ours, layer=99), "needs layer 99"),
        (dataclasses.replace(ours, questions_hash="0"), "another wording"),
    ):
        with pytest.raises(ConfigError, match=message):
            Judge(small_model, head=wrong, cache="off")
    with pytest.raises(ConfigError, match="No reward head ships for smollm2-135m"):
        Judge(small_model, readout="head", cache="off")
    with pytest.raises(ConfigError, match="provides none"):
        Judge(ScriptedBackend([], probabilities=answers), head=ours, cache="off")
    with pytest.raises(ConfigError, match="is for readout='head'"):
        Judge(small_model, readout="logits", head=ours, cache="off")


def test_the_shipped_head_is_the_built_in_judges() -> None:
    shipped = RewardHead.shipped("qwen2.5-coder-1.5b")
    assert shipped is not None
    assert shipped.questions_hash == question_set().fit_hash
    assert shipped.card["fitted to"].startswith("PrincipleFlips")
    assert RewardHead.shipped("../secret") is RewardHead.shipped("unknown") is None


def test_a_head_fitted_to_labels_judges_better_than_the_model(small_model: LocalBackend, tmp_path: Path) -> None:
    result = fit_head(Judge(small_model, readout="logits", cache="off"), labelled(40))
    assert result.is_better
    assert result.accuracy.value is not None
    assert result.accuracy.value > 0.9
    assert [number for number, _ in result.curve] == [10, 20, 40]
    judge = Judge(small_model, head=result.head, cache="off")
    responses = {"rude": RUDE[0].format("lighthouse"), "polite": POLITE[1].format("lighthouse")}
    assert judge.judge("Be polite.", "Where is the lighthouse?", responses).best == "polite"


def test_a_head_fitted_to_noise_is_not_better(small_model: LocalBackend) -> None:
    result = fit_head(Judge(small_model, readout="logits", cache="off"), labelled(30, shuffled=True))
    assert not result.is_better


def test_the_repeat_audit_keeps_the_head(small_model: LocalBackend) -> None:
    """Another sampling seed would select written verdicts."""
    judge = Judge(small_model, head=head(small_model), cache="off")
    report = run_bench(judge, labelled(3))
    assert not [note for note in report.notes if "order" in note]
    audits = {audit.name: audit for audit in run_audits(judge, report.judged, ["repeat"], groups=3)}
    assert audits["repeat"].figures["same_score"].value == 1.0


def test_too_few_labels_are_refused_before_anything_is_run(small_model: LocalBackend) -> None:
    judge = Judge(small_model, readout="logits", cache="off")
    with pytest.raises(ConfigError, match="these labels have 9 pairs from 9 prompts"):
        fit_head(judge, labelled(9))
    assert judge.usage.calls == 0
    with pytest.raises(ConfigError, match="provides no hidden states"):
        fit_head(Judge(ScriptedBackend([], probabilities=answers), readout="logits", cache="off"), labelled(30))


def test_scored_responses_of_one_prompt_are_compared(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("prompt,response,score\nWhere?,Here.,5\nWhere?,There.,2\nWhere?,Nowhere.,2\nWho?,Me.,3\n")
    first, second = combined_by_prompt(read_training_items([str(path)], principle="Be polite."))
    assert len(first.responses) == 3
    assert len(first.pairs) == 2
    assert second.pairs == ()
