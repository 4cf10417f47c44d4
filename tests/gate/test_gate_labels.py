"""The gate with people's labels: the decision rests on the corrected difference."""

import json
import random
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from checks import write_jsonl

from rewardanything_core import ConfigError, Judge, ScriptedBackend
from rewardanything_core.backends import Request, verdict_reply
from rewardanything_core.bench import read_labels
from rewardanything_core.estimation import LabelledSample
from rewardanything_core.gate import CheckReport, check
from rewardanything_core.gate.inference import analyse_labelled

Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a working folder of its own."""
    monkeypatch.chdir(tmp_path)


def sides(drop: int, changed: int = 120) -> tuple[Rows, Rows, Rows]:
    """A baseline, a candidate whose answers are longer and worse by ``drop`` points, and what people say."""
    before, after, labels = [], [], []
    for number in range(150):
        score = 2 + number % 3
        worse = max(1, score - drop * (number % 5 > 0)) if number < changed else score
        texts = f"{score} points", f"{worse} points and many more words" if number < changed else f"{score} points"
        row = {"id": str(number), "prompt": f"P{number}"}
        before.append(row | {"response": texts[0]})
        after.append(row | {"response": texts[1]})
        answers = dict(zip(("baseline", "candidate"), texts, strict=True))
        people = {"baseline": score, "candidate": worse}
        labels.append({"prompt": f"P{number}", "responses": answers, "human_scores": people})
    return before, after, labels


def loves_length(request: Request) -> str:
    """A judge that adds a point for many words, and errs a little."""
    case = json.loads(request.messages[1]["content"])
    return verdict_reply(
        {
            name: min(
                5.0, float(text[0]) + len(text) / 28 + random.Random(str(case["prompt"]) + text).uniform(-0.3, 0.3)
            )
            for name, text in case["responses"].items()
        }
    )


def checked(drop: int, labels: int, **options: Any) -> CheckReport:
    before, after, people = sides(drop)
    write_jsonl("labels.jsonl", random.Random(0).sample(people[:120], labels))
    items = read_labels(["labels.jsonl"], principle="-") if labels else []
    with Judge(ScriptedBackend(loves_length), cache="off") as judge:
        return check(before, after, "Be good.", judge=judge, labels=items, **({"controls": "none"} | options))


def test_the_gate_decides_on_the_corrected_difference() -> None:
    assert checked(1, 0).outcome == "passed"  # the judge likes what people do not
    report = checked(1, 40)
    (comparison,) = report.comparisons
    assert report.outcome == "regression"
    assert comparison.confirmed is None
    assert comparison.labels == 40
    _, _, people = sides(1)
    truth = fmean(each["human_scores"]["candidate"] - each["human_scores"]["baseline"] for each in people)
    assert comparison.low <= truth <= comparison.high < -0.3
    assert comparison.corrected is not None
    assert comparison.corrected.judge_mean > -0.2
    assert "corrected with people's labels of 40 of 150 inputs (the judge alone: -0.0" in report.reason
    assert report.to_dict()["comparisons"][0]["corrected"]["judge_mean"] == comparison.corrected.judge_mean


def test_the_gate_passes_without_controls_where_labels_say_so() -> None:
    report = checked(0, 40, controls="padded")
    assert report.outcome == "passed"
    assert report.comparisons[0].controls == ()
    assert report.comparisons[0].high < 0.3  # the judge alone sees a gain of half a point and more


def test_an_open_result_says_how_many_labels_would_settle_it() -> None:
    narrow = checked(0, 12, margin=0.05)
    assert narrow.outcome == "inconclusive"
    assert (
        "labels would settle it" in narrow.reason or "More labels of these inputs would not settle it" in narrow.reason
    )


@pytest.mark.parametrize(
    ("labels", "options", "problem"),
    [
        (4, {}, "Both answers are labelled for 4 inputs under 'Be good.' .candidate. whose answers differ"),
        (40, {"sequential": True}, "A sequential check cannot be corrected with labels"),
        (40, {"scale": (0, 3)}, "lies outside the scale 0 to 3"),
    ],
)
def test_labels_that_cannot_decide_are_refused_before_judging(
    labels: int, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        checked(1, labels, **options)


@pytest.mark.parametrize("unchanged", [0.0, 0.5])
def test_error_rates_of_corrected_decisions(unchanged: float) -> None:
    """A judge that is a point too kind: false alarms without a drop, and passes of a drop of the margin."""
    alarms = passes = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        same = rng.random(200) < unchanged
        for drop in (0.0, 0.5):
            people = np.where(same, 0, np.clip(np.round(-drop / (1 - unchanged) + rng.normal(size=200)), -4, 4))
            judged = np.where(same, 0, np.clip(people + 1 + 0.7 * rng.normal(size=200), -4, 4))
            labels = np.where(same | (rng.permutation(200) < 60), people, np.nan)
            sample = LabelledSample(
                judged=judged, labels=labels, bounds=(-4, 4), strata=same.tolist() if same.any() else None
            )
            found = analyse_labelled(sample, 0.5, level=0.05)
            alarms += drop == 0 and found.p_drop <= 0.05
            passes += drop > 0 and found.p_margin <= 0.05
    # Two standard errors of a share of 300 draws around 5% are 2.5 points.
    assert alarms / 300 <= 0.08
    assert passes / 300 <= 0.08
