"""Principle profiles: computed from answers about the principle alone, cached, and turned into weights."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from typing import TYPE_CHECKING

import pytest
from pointwise_model import BRIEF, answers

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.readouts.pointwise.principle_profile import SHIPPED_AVERAGES, PrincipleProfiler, weights_of
from rewardanything_core.readouts.pointwise.questions import question_set
from rewardanything_core.types import Usage
from rewardanything_core.weights.catalog import KNOWN_MODELS

if TYPE_CHECKING:
    from pathlib import Path

    from rewardanything_core.backends.local.backend import LocalBackend
    from rewardanything_core.options import CacheMode


def test_profiles_are_stored_beyond_the_process(tmp_path: Path) -> None:
    """A second judge on the same store asks about responses alone; another model asks about principles again."""
    number = count()

    def questions_asked(cache: CacheMode, model: str = "script") -> int:
        backend = ScriptedBackend([], probabilities=answers, name=model)
        judge = Judge(backend, readout="logits", store=tmp_path / "store.db", cache=cache)
        judge.judge("Be good.", f"Say {cache}.", ["good", f"bad {next(number)}"])
        return len(backend.choice_requests)

    first = questions_asked("on")
    about_responses = 2
    assert first > 10 * about_responses
    assert questions_asked("on") == about_responses
    assert questions_asked("read") == about_responses
    assert questions_asked("off") == first
    assert questions_asked("on", "another") == first


def test_where_form_decides_groundedness_does_not_count() -> None:
    profiler = PrincipleProfiler(ScriptedBackend([], probabilities=answers), question_set())
    profile = asyncio.run(profiler.profile(BRIEF, has_source=True, on_usage=lambda usage: None))
    assert profile.feature_preferences["length"] < 0
    assert profile.form_share == 1.0
    assert profile.groundedness_weight == 0


def test_average_answers_ship_for_the_present_questions() -> None:
    """Otherwise run benchmarks/average_answers.py: first verdicts take three times as long without them."""
    entries = json.loads(SHIPPED_AVERAGES.read_text(encoding="utf-8"))
    shipped = {weights: entry["questions"] for weights, entry in entries.items()}
    assert shipped == {
        f"index:{model.gguf_sha256}/torch.{model.dtype}/None": question_set().hash for model in KNOWN_MODELS.values()
    }


@pytest.mark.model
def test_shipped_averages_are_what_the_model_answers_and_are_not_asked_for(small_model: LocalBackend) -> None:
    usages: list[Usage] = []
    profiler = PrincipleProfiler(small_model, question_set())
    asyncio.run(profiler.profile("Be brief.", has_source=False, on_usage=usages.append))
    assert len(usages) == 1
    shipped = json.loads(SHIPPED_AVERAGES.read_text(encoding="utf-8"))[weights_of(small_model)]["answers"]["itself"]
    average = asyncio.run(profiler.average_answers("itself", usages.append))
    assert len(usages) == 1 + len(question_set().examples)
    assert average == pytest.approx(shipped, abs=0.01)
