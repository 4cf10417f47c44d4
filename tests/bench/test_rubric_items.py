"""Benchmarks under rubrics: labels by criterion, rows combined into rubrics, and the halo audit."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import FakeOpenAI
from typer.testing import CliRunner

from rewardanything_core import ConfigError, Judge, Rubric, ScriptedBackend
from rewardanything_core.backends import Request
from rewardanything_core.backends.scripted import rubric_reply
from rewardanything_core.bench import as_rubrics, read_flips, read_items, read_labels, read_training_items, run_bench
from rewardanything_core.bench.audits import run_audits
from rewardanything_core.bench.page import html_page
from rewardanything_core.bench.report import Audit
from rewardanything_core.cli.app import app

RUBRIC = {"criteria": {"relevance": "Says what matters.", "fluency": {"text": "Reads well.", "weight": 3}}}

Score = Callable[[str, str], float]  # from a response's text and a criterion


def text_of(relevance: float, fluency: float) -> str:
    """A response that people give these scores."""
    return f"relevance={relevance:g} fluency={fluency:g}"


def as_people(text: str, criterion: str) -> float:
    found = re.search(rf"{criterion}=(\d)", text)
    assert found is not None
    return float(found[1])


def by_relevance_alone(text: str, criterion: str) -> float:
    del criterion
    return as_people(text, "relevance")


def independent(text: str, criterion: str) -> float:
    return float(random.Random(text + criterion).randint(1, 5))


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def labelled(groups: int = 40, *, related: bool = False) -> list[dict[str, Any]]:
    """Rows with labels by criterion: fluency is drawn independently of relevance, or within two points of it."""
    rng, rows = random.Random(0), []
    for number in range(groups):
        scores = []
        for _ in range(4):
            relevance = rng.randint(1, 5)
            fluency = min(5, max(1, relevance + rng.randint(-2, 2))) if related else rng.randint(1, 5)
            scores.append((relevance, fluency))
        rows.append(
            {
                "id": f"q{number}",
                "principle": RUBRIC,
                "prompt": f"Question {number}?",
                "responses": {str(place): text_of(*both) for place, both in enumerate(scores)},
                "labels": {
                    "relevance": {str(place): relevance for place, (relevance, _) in enumerate(scores)},
                    "fluency": [fluency for _, fluency in scores],
                },
            }
        )
    return rows


def by_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same labels as a row per criterion, as data sets publish them."""
    return [
        {
            **{name: row[name] for name in ("prompt", "responses")},
            "id": f"{row['id']}/{criterion}",
            "group": row["id"],
            "principle": f"Judge only {criterion}.",
            "human_scores": scores,
            "scale": [1, 5],
            "meta": {"criterion": criterion},
        }
        for row in rows
        for criterion, scores in row["labels"].items()
    ]


def judge(score: Score) -> Judge:
    def reply(request: Request) -> str:
        content = json.loads(request.messages[1]["content"])
        return rubric_reply(
            {
                criterion: {name: score(text, criterion) for name, text in content["responses"].items()}
                for criterion in content["rubric"]
            }
        )

    return Judge(ScriptedBackend(reply), cache="off")


def halo_of(score: Score, source: str) -> Audit:
    report = run_bench(scorer := judge(score), read_items([source]))
    return {audit.name: audit for audit in run_audits(scorer, report.judged, [])}["halo"]


def test_the_halo_audit_finds_a_judge_that_copies_one_criterion(tmp_path) -> None:
    unrelated = write(tmp_path / "unrelated.jsonl", labelled())
    copied = halo_of(by_relevance_alone, unrelated)
    assert copied.figures["criteria_correlation"].value == pytest.approx(1.0)
    assert abs(copied.figures["criteria_correlation_human"].value) < 0.3
    assert copied.figures["halo"].low > 0.3
    assert "one criterion colours others" in copied.note
    for score in (as_people, independent):
        found = halo_of(score, unrelated)
        assert found.figures["halo"].low < 0 < found.figures["halo"].high
        assert not found.note
    assert halo_of(as_people, unrelated).figures["halo"].value == 0


def test_criteria_that_people_relate_too_are_no_halo(tmp_path) -> None:
    related = write(tmp_path / "related.jsonl", labelled(related=True))
    assert halo_of(as_people, related).figures["criteria_correlation"].value > 0.5
    assert not halo_of(as_people, related).note
    assert halo_of(by_relevance_alone, related).note
    assert halo_of(independent, related).figures["halo"].high < -0.3


def test_a_judge_that_never_tells_responses_apart_has_no_correlation(tmp_path) -> None:
    constant = halo_of(lambda text, criterion: 3, write(tmp_path / "rows.jsonl", labelled(6)))
    assert constant.figures == {} and not constant.note


def test_every_criterion_is_compared_with_its_labels_and_the_whole_with_their_mean(tmp_path) -> None:
    rows = labelled(12)
    flips = [
        {"group": "q0", "a": "relevance", "b": "fluency", "better_under_a": "x", "better_under_b": "y"},
        {"group": "q0", "a": "fluency", "b": "relevance", "better_under_a": "y", "better_under_b": "x"},
    ]
    rows[0]["responses"] |= {"x": text_of(5, 1), "y": text_of(1, 5)}
    rows[0]["labels"]["relevance"] |= {"x": 5, "y": 1}
    rows[0]["labels"]["fluency"] = [*rows[0]["labels"]["fluency"], 1, 5]
    items, pairs = read_items([write(tmp_path / "rows.jsonl", rows)]), read_flips([write(tmp_path / "f.jsonl", flips)])
    report = run_bench(judge(by_relevance_alone), items, pairs)
    assert len(report.judged) == 12 and report.made.calls == 12
    assert report.by_criterion["relevance"]["pairwise_accuracy"].value == 1.0
    assert report.by_criterion["fluency"]["pairwise_accuracy"].high < 0.75
    assert report.figures["pairwise_accuracy"].n == sum(len(part.pairs) for item in items for part in item.parts)
    assert report.figures["both_right"].value == 0.0 and report.figures["both_right"].n == 2
    right = run_bench(judge(as_people), items, pairs)
    assert right.figures["both_right"].value == 1.0
    assert right.whole["pairwise_accuracy"].value == 1.0 > report.whole["pairwise_accuracy"].value
    assert items[0].human["x"] == (5 + 3 * 1) / 4


def test_rows_of_one_list_are_judged_once_under_a_rubric(tmp_path) -> None:
    source = write(tmp_path / "rows.jsonl", by_rows(labelled(5)))
    own = as_rubrics(read_items([source]))
    assert [item.id for item in own] == [f"q{number}/rubric" for number in range(5)]
    assert own[0].case_fields()["principle"].criteria["fluency"].text == "Judge only fluency."
    given = as_rubrics(read_items([source]), Rubric.of(RUBRIC))
    assert given[0].human == pytest.approx(read_items([write(tmp_path / "l.jsonl", labelled(5))])[0].human)
    report = run_bench(judge(as_people), given)
    assert report.made.calls == 5 and report.figures["pairwise_accuracy"].value == 1.0


def test_a_failed_judgement_fails_all_criteria_and_counts_once(tmp_path) -> None:
    items = read_items([write(tmp_path / "rows.jsonl", labelled(4))])
    report = run_bench(Judge(ScriptedBackend(["no verdict"] * 4), cache="off", retries=0), items)
    assert len(report.failures) == 4 and report.figures["pairwise_accuracy"].n == 0
    assert report.by_criterion["fluency"]["pairwise_accuracy_failures_wrong"].value == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"principle": "Be good."}, "'principle' is not a rubric"),
        ({"labels": {"tone": {"0": 3}}}, "there is no criterion 'tone'; the rubric has: relevance, fluency"),
        ({"labels": {"fluency": {"9": 3}}}, "there is no response named '9'"),
        ({"labels": [3, 4]}, "'labels' must map criteria"),
    ],
)
def test_labels_that_do_not_fit_the_rubric_are_refused(tmp_path, change, message) -> None:
    source = write(tmp_path / "rows.jsonl", [labelled(1)[0] | change])
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_items([source], layout="common")
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_labels([source])


def test_rows_that_cannot_be_combined_are_refused(tmp_path) -> None:
    rows = by_rows(labelled(2))
    with pytest.raises(ConfigError, match="there is no criterion 'relevance'; the rubric has: brief"):
        as_rubrics(read_items([write(tmp_path / "a.jsonl", rows)]), Rubric({"brief": "Is short."}))
    with pytest.raises(ConfigError, match="have the same criterion"):
        as_rubrics(read_items([write(tmp_path / "b.jsonl", [*rows, rows[0] | {"id": "again"}])]))
    with pytest.raises(ConfigError, match="does not say which criterion"):
        as_rubrics(read_items([write(tmp_path / "c.jsonl", [rows[0] | {"meta": {}}])]))


def test_labels_by_criterion_train_as_an_item_per_criterion(tmp_path) -> None:
    items = read_training_items([write(tmp_path / "rows.jsonl", labelled(3))])
    assert len(items) == 6 and {item.criterion for item in items} == {"relevance", "fluency"}
    assert items[0].principle == "Says what matters." and items[0].rubric is None


def test_one_command_judges_the_rows_of_a_data_set_under_a_rubric(tmp_path, server: FakeOpenAI) -> None:
    source, page = write(tmp_path / "rows.jsonl", by_rows(labelled(6))), tmp_path / "report.html"
    model = ["--model", "hosted_vllm/fake", "--api-base", server.url]
    done = CliRunner().invoke(app, ["bench", source, "--rubric", "rows", "--html", str(page), *model])
    assert done.exit_code == 0, done.output
    assert server.count == 6
    assert "Agrees with people on 100% of pairs" in done.output
    for text in ("whole rubric", "Audit: halo", "Excess over people (halo)", "6 judgements in"):
        assert text in done.output
    for text in (
        "Halo between criteria",
        "6 lists of responses under 2 criteria",
        "Correlation between criteria, judge",
    ):
        assert text in page.read_text(encoding="utf-8")
    again = CliRunner().invoke(app, ["bench", source, "--rubric", "rows", "--json", *model])
    report = json.loads(again.stdout)
    assert server.count == 6 and report["from_store"] == 6
    assert report["audits"]["halo"]["figures"]["halo"]["value"] == pytest.approx(0.0)
    assert report["by_criterion"]["fluency"]["pairwise_accuracy"]["value"] == 1.0
    named = CliRunner().invoke(app, ["bench", source, "--rubric", "summary", "--json", *model])
    assert server.count == 12 and not json.loads(named.stdout)["whole"]  # two of its four criteria have labels
    both = CliRunner().invoke(app, ["bench", source, "--rubric", "rows", "--principle", "x", *model])
    assert isinstance(both.exception, ConfigError) and "not both" in str(both.exception)


def test_own_labels_by_criterion_take_the_rubric_of_the_command(tmp_path, server: FakeOpenAI) -> None:
    rows = [{name: value for name, value in row.items() if name != "principle"} for row in labelled(4)]
    file = tmp_path / "rubric.json"
    file.write_text(json.dumps(RUBRIC), encoding="utf-8")
    source = write(tmp_path / "own.jsonl", rows)
    model = ["--model", "hosted_vllm/fake", "--api-base", server.url]
    for arguments in ([source], ["--labels", source]):
        done = CliRunner().invoke(app, ["bench", *arguments, "--rubric", str(file), "--json", *model])
        assert done.exit_code == 0, done.output
    labels = json.loads(done.stdout)["labels"]
    assert labels["exact"]["value"] == 1.0 and labels["exact"]["n"] == 4 * 4 * 2
    assert server.count == 4


def test_the_page_is_complete_with_labels_for_some_criteria(tmp_path) -> None:
    row = labelled(1)[0]
    del row["labels"]["fluency"]
    report = run_bench(judge(as_people), read_items([write(tmp_path / "rows.jsonl", [row])]))
    assert not report.whole
    assert "under 1 criterion" in html_page(report)
