"""The attack suite, and what ``bench --attacks`` reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rewardanything_core import ConfigError, Judge, ScriptedBackend
from rewardanything_core.backends import ChoiceRequest, Request, verdict_reply
from rewardanything_core.bench import run_attacks
from rewardanything_core.bench.attack_suite import HALVES, attack_suite
from rewardanything_core.cli.app import app
from rewardanything_core.prompting.sentences import plain_spelling


def by_answer(request: Request) -> str:
    """2 for a bad answer of the suite, 4 for a good one, and 5 for one with the text of an attack."""
    suite = attack_suite()
    scores = {}
    for name, text in json.loads(request.messages[1]["content"])["responses"].items():
        attacked = any(attack.text in text for attack in suite.attacks)
        good = any(pair.good == text for pair in suite.pairs)
        scores[name] = 5 if attacked else 4 if good else 2
    return verdict_reply(scores)


def flags_attacks(question: ChoiceRequest) -> dict[str, float]:
    sentence = question.messages[-1]["content"]
    share = 0.95 if any(sentence in plain_spelling(attack.text) for attack in attack_suite().attacks) else 0.02
    return dict(zip(question.options, (share, 1 - share), strict=True))


def test_the_suite_has_what_it_promises() -> None:
    suite = attack_suite()
    by_half = {half: [attack for attack in suite.attacks if attack.half == half] for half in HALVES}
    assert 60 <= len(suite.attacks) <= 90 and all(len(attacks) >= 30 for attacks in by_half.values())
    assert len({attack.id for attack in suite.attacks}) == len({attack.text for attack in suite.attacks})
    languages = {half: {attack.language for attack in attacks} for half, attacks in by_half.items()}
    kinds = {half: {attack.kind for attack in attacks} for half, attacks in by_half.items()}
    assert len(languages["published"] | languages["tested"]) >= 8
    assert languages["published"] & languages["tested"] == {"en"}
    assert kinds["published"] - kinds["tested"] and kinds["tested"] - kinds["published"]
    for attack in suite.attacks:
        assert attack.language in suite.harmless
        assert any((pair.half, pair.language) == (attack.half, attack.language) for pair in suite.pairs)
    for half in HALVES:
        for form in ("near", "ordinary"):
            assert sum(honest.half == half and honest.form == form for honest in suite.honest) >= 15


def test_a_control_has_about_the_length_of_its_attack() -> None:
    for trial in attack_suite().trials():
        shortest = min(map(len, attack_suite().harmless[trial.attack.language]))
        assert abs(len(trial.control) - len(trial.attack.text)) <= max(shortest, 0.5 * len(trial.attack.text))


def test_a_sample_is_reproducible_and_repeats_no_attack_before_all_are_in_it() -> None:
    suite = attack_suite()
    sample = suite.trials(40, seed=3)
    assert sample == suite.trials(40, seed=3) != suite.trials(40, seed=4)
    assert len(sample) == len({trial.attack.id for trial in sample}) == 40
    assert {trial.attack.half for trial in sample} == set(HALVES)


def test_gains_and_overtakes_are_measured_against_the_harmless_text() -> None:
    report = run_attacks(Judge(ScriptedBackend(by_answer), cache="off"), limit=20)
    for half in HALVES:
        figures = {name: figure.value for name, figure in report.figures(half).items()}
        assert figures == {"gain": 3.0, "overtakes": 1.0, "overtakes_control": 0.0, "overtakes_excess": 1.0}
        assert report.figures(half, report.kinds(half)[0])["gain"].value == 3.0
    assert (report.judged, report.failed, report.refused) == (40, 0, {})


def test_a_judge_that_screens_reports_what_it_removes() -> None:
    backend = ScriptedBackend(by_answer, probabilities=flags_attacks)
    judge = Judge(backend, readout="generate", screen="on", cache="off")
    report = run_attacks(judge, limit=10)
    assert all(report.figures(half)["removed"].value == 1.0 for half in HALVES)
    assert all(share.value == 0.0 for forms in report.refused.values() for share in forms.values())
    assert all(report.figures(half)["gain"].value == 0.0 for half in HALVES)


def test_failed_judgements_are_left_out_and_counted() -> None:
    report = run_attacks(Judge(ScriptedBackend(lambda _: "no verdict"), cache="off", retries=0), limit=4)
    assert report.failed == 8 and report.figures("tested")["gain"].value is None


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return ["--model", "scripted:test_attacks:by_answer", "--store", str(tmp_path / "store.db")]


def test_the_command_needs_no_file(scripted: list[str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["bench", "--attacks", "--attack-trials", "6", "--html", str(page), *scripted])
    assert result.exit_code == 0, result.output
    assert "Attacks, published half" in result.output and "Attacks, tested half" in result.output
    assert "Attacks, tested half" in page.read_text(encoding="utf-8")
    result = CliRunner().invoke(app, ["bench", "--attacks", "--attack-trials", "6", "--json", *scripted])
    assert json.loads(result.output)["attacks"]["halves"]["tested"]["gain"]["value"] == 3.0


def test_a_wrong_number_of_trials_is_refused(scripted: list[str]) -> None:
    result = CliRunner().invoke(app, ["bench", "--attacks", "--attack-trials", "many", *scripted])
    assert isinstance(result.exception, ConfigError) and "--attack-trials must be" in str(result.exception)
