from __future__ import annotations

import json

import cascades
import pytest
from typer.testing import CliRunner

from rewardanything_core import Cascade, VerdictStore, load_judge
from rewardanything_core.cli.app import app


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in cascades.ROWS))
    settings = cascades.SETTINGS.format(judge='thresholds = "cascade.json"', first="")
    (tmp_path / "ra-judge.toml").write_text(settings)
    (tmp_path / "single.toml").write_text('[judge]\nmodel = "scripted:cascades:cheap"\n')
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, ["cascade", "fit", *arguments], catch_exceptions=True)


def test_fit_grade_and_fit_again(folder):
    """The settings name the file before it exists; afterwards every command uses it."""
    done = run("labels.jsonl", "--principle", "Be good.", "-o", "cascade.json")
    assert done.exit_code == 0, done.output
    assert "With probability 0.9, the agreement with people of what is not escalated is at least 0.9" in done.stdout
    (chosen,) = (line for line in done.stdout.splitlines() if line.endswith("chosen"))
    assert chosen.startswith("66%\t34%\t1.000")
    assert 'thresholds = "cascade.json" under [judge]' in done.stdout
    cascade = load_judge()
    assert isinstance(cascade, Cascade)
    verdicts = cascade.judge_batch([cascades.SURE, cascades.UNSURE])
    assert [len(verdict.stages) for verdict in verdicts] == [1, 2]
    again = run("labels.jsonl", "--principle", "Be good.", "--json", "--seed", "0")
    content = json.loads(again.stdout)
    assert content["thresholds"] == list(cascade.thresholds)
    assert content["curve"][0]["thresholds"] == [None]
    assert content["cost_unit"] == "dollars"  # the strong judge has a stored verdict now


def test_replay_asks_the_strong_judge_nothing(folder, monkeypatch):
    strong = load_judge(thresholds="").stages[1]
    strong.judge_batch(cascades.case(n) for n in range(100))
    monkeypatch.setattr(cascades, "strong", lambda _: "not asked")
    done = run("--replay", "--principle", "good")
    assert done.exit_code == 0, done.output
    assert "agreement with the last stage" in done.stdout
    assert "2: strong (gives the labels)" in done.stdout


def test_without_a_threshold_that_passes_the_file_escalates_everything(folder):
    settings = (folder / "ra-judge.toml").read_text().replace("cascades:cheap", "cascades:unsure")
    (folder / "ra-judge.toml").write_text(settings)
    done = run("labels.jsonl", "--principle", "Be good.", "-o", "cascade.json")
    assert done.exit_code == 3
    assert "No threshold passes for an agreement of 0.9" in done.stdout
    assert load_judge().thresholds == (None,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give either files with labels, or --replay"),
        (["labels.jsonl", "--replay"], "Give either files with labels, or --replay"),
        (["labels.jsonl", "--principle", "x", "-o", "no/such/file.json"], "there is no folder no/such"),
        (["labels.jsonl", "--principle", "x", "-o", "."], "is a folder"),
        (["labels.jsonl", "--principle", "x", "-o", "labels.jsonl"], "would replace a file that is read"),
        (
            ["labels.jsonl", "--principle", "x", "--agreement", "vibes"],
            "--agreement must be one of best, order, scores",
        ),
        (["labels.jsonl", "--principle", "x", "--confidence", "hunch"], "gap, order, votes, spread"),
        (["labels.jsonl", "--principle", "x", "--against", "me"], "--against must be people or last"),
        (["labels.jsonl", "--principle", "x", "--alpha", "2"], "between 0 and 1"),
        (["labels.jsonl", "--principle", "x", "--stage", "scripted:cascades:cheap"], "two stages or more"),
        (["labels.jsonl", "--principle", "x", "--config", "single.toml"], "describe no cascade"),
        (["missing.jsonl"], "no file missing.jsonl"),
    ],
)
def test_mistakes_are_named(folder, arguments, message):
    done = run(*arguments)
    assert message in str(done.exception)
    assert VerdictStore(folder / "verdicts.sqlite3").count(kind="all") == 0
