from __future__ import annotations

import json
from dataclasses import replace

import cascades
import numpy as np
import pytest
from cascades import ROWS, stage

from rewardanything_core import Cascade, ConfigError
from rewardanything_core.agreement.confidence import confidence_of
from rewardanything_core.bench.cascade_fitting import fit_cascade
from rewardanything_core.bench.fitted_labels import PROMPTS, prompt_hashes
from rewardanything_core.bench.stored_items import stored_items
from rewardanything_core.bench.training_items import read_training_items
from rewardanything_core.readouts.pointwise.reward_head import RewardHead


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    return str(path)


@pytest.fixture
def items(labels):
    return read_training_items([labels], principle="Be good.")


def two(**options):
    return Cascade([stage(cascades.cheap), stage(cascades.strong)], **options)


def test_the_cheap_judge_may_decide_where_it_is_right(items):
    cascade = two()
    fit = fit_cascade(cascade, items)
    (threshold,) = fit.cascade.thresholds
    unsure, sure = (confidence_of(cascade.stages[0].judge(**cascades.case(n))) for n in (3, 1))
    assert unsure < threshold <= sure
    assert cascade.stages[1].backend.calls == 0  # labels of people need no strong judge
    assert fit.chosen.coverage == pytest.approx(2 / 3, abs=0.01)
    assert fit.chosen.agreement.value == 1.0
    assert [point.coverage for point in fit.curve] == sorted(point.coverage for point in fit.curve)
    assert fit.curve[0].thresholds == (None,)
    assert fit.curve[-1].agreement.value < 1
    assert (fit.cost_unit, fit.chosen.cost) == ("escalations", pytest.approx(1000 / 3, abs=5))
    again = Cascade(cascade.stages, thresholds=fit.cascade.thresholds)
    assert again.fingerprint() == fit.cascade.fingerprint()


def test_costs_are_in_dollars_once_the_strong_judge_has_verdicts(items):
    cascade = two()
    cascade.stages[1].judge_batch(cascades.case(n) for n in range(10))
    fit = fit_cascade(cascade, items)
    assert fit.cost_unit == "dollars"
    assert fit.curve[0].cost == pytest.approx(20)  # stage 1 is not asked
    assert fit.chosen.cost == pytest.approx(1 + 20 / 3, rel=0.02)


def test_agreement_with_the_last_stage_replays_the_store(items):
    cascade = two()
    cascade.stages[1].judge_batch(cascades.case(n) for n in range(120))
    replayed = stored_items(cascade.stages[1])
    assert len(replayed) == 120
    assert len(stored_items(cascade.stages[1], limit=7)) == 7
    fit = fit_cascade(cascade, replayed, against="last")
    assert cascade.stages[1].backend.calls == 120
    assert fit.passed
    assert fit.thresholds().needs_last
    with pytest.raises(ConfigError, match="has no verdict"):
        stored_items(cascade.stages[1].with_options(passes=2))
    with pytest.raises(ConfigError, match="no verdict store"):
        stored_items(cascade.stages[1].with_options(cache="off"))


def test_nothing_passes_for_a_judge_that_guesses(items):
    fit = fit_cascade(Cascade([stage(cascades.unsure), stage(cascades.strong)]), items)
    assert fit.cascade.thresholds == (None,)
    assert not fit.passed
    assert fit.chosen.coverage == 0
    assert fit.cascade.judge(**cascades.SURE).stages[0].stage == 2


def test_a_cascade_that_may_abstain_has_a_threshold_for_the_last_stage(items):
    cascade = Cascade([stage(cascades.unsure), stage(cascades.cheap)], abstain=True)
    fit = fit_cascade(cascade, items)
    first, last = fit.cascade.thresholds
    assert first is None or first > 0.5  # ties are never right
    assert last is not None
    with pytest.raises(ConfigError, match="cannot check itself"):
        fit_cascade(cascade, items, against="last")


def test_failures_of_the_cheap_judge_count_as_escalated(items):
    def flaky(request):
        return "?" if '"q1' in request.messages[1]["content"] else cascades.cheap(request)

    fit = fit_cascade(Cascade([stage(flaky), stage(cascades.strong)]), items)
    assert fit.stages[0].failed == 71  # q1, q10..q19, q100..q159
    assert fit.chosen is not None
    assert fit.chosen.coverage < 0.4


def test_one_item_of_each_prompt_enters_the_tests(items):
    twice = [*items, *(replace(item, id=f"{item.id}/again", principle="Be very good.") for item in items)]
    fit = fit_cascade(two(), twice)
    assert (fit.items, fit.groups, fit.test.pilot + fit.test.tested) == (320, 160, 160)


def test_scores_agree_within_the_tolerance(tmp_path):
    path = tmp_path / "scores.jsonl"
    rows = [{"prompt": f"q{n}", "response": f"good {n}", "score": 4.5 if n % 3 else 1} for n in range(120)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    single = read_training_items([str(path)], principle="Be good.")
    fit = fit_cascade(two(), single, alpha=0.2)
    assert fit.rule == "scores"
    assert fit.stages[0].agreement.value == pytest.approx(2 / 3, abs=0.01)
    with pytest.raises(ConfigError, match="what counts as agreement must be chosen"):
        fit_cascade(two(), [*single, read_training_items([_one_pair(tmp_path)], principle="x")[0]])
    with pytest.raises(ConfigError, match="have none"):
        fit_cascade(two(), read_training_items([_one_pair(tmp_path)], principle="x") * 60, rule="scores", alpha=0.9)


def _one_pair(folder):
    path = folder / "pair.jsonl"
    path.write_text(json.dumps(ROWS[0]))
    return str(path)


def test_what_cannot_be_fitted_is_refused_before_anything_is_judged(items):
    cascade = two()
    for arguments, message in (
        ({"alpha": 0.0}, "between 0 and 1"),
        ({"alpha": 0.01}, "need labels for 307 prompts or more, and there are 160"),
        ({"tolerance": -1.0}, "0 or more"),
    ):
        with pytest.raises(ConfigError, match=message):
            fit_cascade(cascade, items, **arguments)
    with pytest.raises(ConfigError, match="must be numbers"):
        fit_cascade(cascade, [replace(items[0], human={"a": float("nan"), "b": 1.0}), *items[1:]])
    same = Cascade([stage(cascades.cheap), stage(cascades.cheap)])
    with pytest.raises(ConfigError, match="judge alike"):
        fit_cascade(same, items)
    assert cascade.usage.calls == 0


def test_labels_of_the_head_of_a_stage_are_refused(items):
    def head(**card):
        numbers = np.zeros((2, 4), np.float32), np.ones((8, 4), np.float32)
        return RewardHead.from_weights(*numbers, model="cheap", layer=1, questions_hash="-", card=card)

    def fitted(with_head):
        cheap = stage(cascades.cheap)
        object.__setattr__(cheap.options, "head", with_head)
        return fit_cascade(Cascade([cheap, stage(cascades.strong)]), items)

    with pytest.raises(ConfigError, match="fitted to 3 of these 160 prompts"):
        fitted(head(**{PROMPTS: [*prompt_hashes(items[:3]), "0" * 12]}))
    assert "does not say which labels it was fitted to" in fitted(head()).notes[0]
    assert not any("head" in note for note in fitted(head(**{PROMPTS: ["0" * 12]})).notes)
