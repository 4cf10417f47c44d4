"""What a principle wants: asked of the principle alone, kept, and turned into what counts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING

import pytest
from test_logits import BRIEF, understands

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.backends.base import ChoiceRequest
from rewardanything_core.readouts.logits.principle_profile import PrincipleProfile, Understanding
from rewardanything_core.readouts.logits.questions import question_set

if TYPE_CHECKING:
    from pathlib import Path

    from rewardanything_core.options import CacheMode


def test_what_a_model_says_of_principles_outlasts_the_process(tmp_path: Path) -> None:
    """A second judge on the same store asks about responses alone; another wording or model asks anew."""

    def asked(cache: CacheMode, model: str = "script") -> int:
        backend = ScriptedBackend([], odds=understands, name=model)
        judge = Judge(backend, readout="logits", store=tmp_path / "store.db", cache=cache)
        judge.judge("Be good.", f"Say {cache} {len(backend.questions)}.", ["good", f"bad {next(number)}"])
        return len(backend.questions)

    number = count()
    first = asked("on")
    each = 2 * (1 + len(question_set().quality_questions))
    assert first > 10 * each
    assert asked("on") == each
    assert asked("read") == each
    assert asked("off") == first
    assert asked("on", "another") == first


def wants(principle: str, likes: float) -> PrincipleProfile:
    """By a model that answers every question about quality in a principle of ours with this probability."""

    def answers(question: ChoiceRequest) -> Mapping[str, float]:
        text = question.messages[-1]["content"]
        good = (*question_set().quality_traits, *question_set().quality_views)
        if principle in text and any(trait.more in text for trait in good):
            return dict(zip(question.options, (likes, 1 - likes), strict=True))
        return dict(zip(question.options, (0.7, 0.3) if "Markdown" not in text else (0.5, 0.5), strict=True))

    understanding = Understanding(ScriptedBackend([], odds=answers), question_set())
    return asyncio.run(understanding.of(principle, source=False, on_usage=lambda usage: None))


def test_quality_is_wanted_as_much_as_usual_or_less_or_not_at_all() -> None:
    found = [wants("Ours.", likes).quality for likes in (0.7, 0.6, 0.5, 0.4, 0.2)]
    assert found[0] == pytest.approx(1.0)
    assert found == sorted(found, reverse=True)
    assert found[-1] == -1.0


def test_where_form_decides_nothing_else_counts() -> None:
    understanding = Understanding(ScriptedBackend([], odds=understands), question_set())
    found = asyncio.run(understanding.of(BRIEF, source=True, on_usage=lambda usage: None))
    assert found.demands["length"] < 0
    assert found.formality == 1.0
    assert (found.quality, found.keeping) == (0.0, 0.0)


@pytest.mark.parametrize(("principle", "counts"), [("Be good.", True), (BRIEF, False)])
def test_a_trace_says_what_common_quality_counted(principle: str, counts: bool) -> None:
    judge = Judge(ScriptedBackend([], odds=understands), readout="logits", cache="off")
    verdict = judge.judge(principle, "Say it.", {"first": "good", "second": "bad"})
    assert ("counts as well: " in verdict.explanation) is counts
    if counts:
        assert "first 0.80" in verdict.explanation.splitlines()[-1]
    read = json.loads(verdict.raw_output)["responses"]
    assert sorted(round(response["good"], 6) for response in read.values()) == [0.2, 0.8]
