"""Principle profiles: computed from answers about the principle alone, cached, and turned into weights."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING

from pointwise_model import BRIEF, answers

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.readouts.pointwise.principle_profile import PrincipleProfiler
from rewardanything_core.readouts.pointwise.questions import question_set

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
