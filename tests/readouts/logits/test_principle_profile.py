"""Principle profiles: computed from answers about the principle alone, cached, and turned into weights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING

import pytest
from logits_model import BRIEF, answers

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.backends import ChoiceRequest
from rewardanything_core.readouts.logits.principle_profile import PrincipleProfile, PrincipleProfiler
from rewardanything_core.readouts.logits.questions import question_set

if TYPE_CHECKING:
    from pathlib import Path

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
    about_responses = 2 * (1 + len(question_set().quality_questions))
    assert first > 10 * about_responses
    assert questions_asked("on") == about_responses
    assert questions_asked("read") == about_responses
    assert questions_asked("off") == first
    assert questions_asked("on", "another") == first


def profile_by_quality_answers(principle: str, good: float) -> PrincipleProfile:
    """The profile by a model that says "good" with this probability to each question about quality."""

    def answers(question: ChoiceRequest) -> Mapping[str, float]:
        text = question.messages[-1]["content"]
        pairs = (*question_set().quality_traits, *question_set().quality_principle_questions)
        if principle in text and any(pair.more in text for pair in pairs):
            return dict(zip(question.options, (good, 1 - good), strict=True))
        return dict(zip(question.options, (0.7, 0.3) if "Markdown" not in text else (0.5, 0.5), strict=True))

    profiler = PrincipleProfiler(ScriptedBackend([], probabilities=answers), question_set())
    return asyncio.run(profiler.profile(principle, has_source=False, on_usage=lambda usage: None))


def test_the_quality_weight_falls_from_one_to_minus_one() -> None:
    weights = [profile_by_quality_answers("Ours.", good).quality_weight for good in (0.7, 0.6, 0.5, 0.4, 0.2)]
    assert weights[0] == pytest.approx(1.0)
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] == -1.0


def test_where_form_decides_quality_and_groundedness_do_not_count() -> None:
    profiler = PrincipleProfiler(ScriptedBackend([], probabilities=answers), question_set())
    profile = asyncio.run(profiler.profile(BRIEF, has_source=True, on_usage=lambda usage: None))
    assert profile.feature_preferences["length"] < 0
    assert profile.form_share == 1.0
    assert (profile.quality_weight, profile.groundedness_weight) == (0.0, 0.0)


@pytest.mark.parametrize(("principle", "counts"), [("Be good.", True), (BRIEF, False)])
def test_the_explanation_mentions_quality_where_it_counts(principle: str, counts: bool) -> None:
    judge = Judge(ScriptedBackend([], probabilities=answers), readout="logits", cache="off")
    verdict = judge.judge(principle, "Say it.", {"first": "good", "second": "bad"})
    assert ("counts for a response: " in verdict.explanation) is counts
    if counts:
        assert "first 0.80" in verdict.explanation.splitlines()[-1]
    responses = json.loads(verdict.raw_output)["responses"]
    assert sorted(round(response["good"], 6) for response in responses.values()) == [0.2, 0.8]
