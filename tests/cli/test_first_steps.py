"""``ra-judge init`` and ``ra-judge judge``, and the first ``grade`` after them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checks import errors_of, invoke, read_jsonl, write_jsonl
from servers import FakeOpenAI, Fault

pytestmark = pytest.mark.usefixtures("here")

CASE = ("judge", "--principle", "The higher the better.", "--prompt", "Rate it.")


def test_judge_prints_answers_from_best_to_worst(server: FakeOpenAI) -> None:
    done = invoke(*CASE, "is 2", "is 5", "--model", "Qwen/Qwen3-8B", "--base-url", server.url)
    assert done.stdout.splitlines()[:3] == ["ANSWER\tSCORE\tTEXT", "B\t5.00\tis 5", "A\t2.00\tis 2"]
    assert server.bodies[0]["model"] == "Qwen/Qwen3-8B"
    verdict = json.loads(
        invoke(*CASE, "is 2", "is 5", "--model", "Qwen/Qwen3-8B", "--api-base", server.url, "--json").stdout
    )
    assert verdict["scores"] == {"A": 2.0, "B": 5.0} and verdict["cached"]


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [(401, 2, "There is no key"), (404, 2, "was not found"), (500, 3, "replied with status 500")],
)
def test_a_judge_that_fails_has_an_exit_code(server: FakeOpenAI, monkeypatch, status, code, message) -> None:
    server.reply = Fault.status(status)
    monkeypatch.setenv("RA_JUDGE_ATTEMPTS", "1")
    assert message in errors_of(invoke(*CASE, "is 2", "--model", "m", "--api-base", server.url, code=code))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["judge", "--prompt", "q", "a"], "Give one of --principle, --principle-file and --principle-name."),
        ([*CASE, "a", "--model", "gtp-4o-mini"], "There is no model 'gtp-4o-mini'"),
        ([*CASE, "a", "--model", "openai/gpt-4o-mini"], "Set OPENAI_API_KEY"),
        ([*CASE, "a", "--model", "gpt-4o-mini"], "There is no key for openai/gpt-4o-mini"),
        ([*CASE, "-", "-"], "Only one answer"),
    ],
)
def test_judge_explains_what_is_missing(monkeypatch, arguments, message) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert message in errors_of(invoke(*arguments, code=2))


def test_init_writes_files_with_which_grade_and_check_work(server: FakeOpenAI) -> None:
    done = invoke("init", "--yes", "--model", "Qwen/Qwen3-8B", "--api-base", server.url)
    assert "ra-judge grade sample.jsonl --principle-file principle.md -o judged.jsonl" in done.stdout
    graded = invoke(
        "grade", "sample.jsonl", "--principle-file", "principle.md", "-o", "judged.jsonl", RA_JUDGE_MODEL=""
    )
    assert "10 rows, 10 judged" in errors_of(graded)
    assert [row["best"] for row in read_jsonl("judged.jsonl")] == ["response"] * 10
    assert server.bodies[0]["model"] == "Qwen/Qwen3-8B"
    checked = invoke("check", "--baseline", "sample.jsonl", "--candidate", "sample.jsonl", "--json", RA_JUDGE_MODEL="")
    assert json.loads(checked.stdout)["outcome"] == "passed"


def test_init_asks_four_questions() -> None:
    answers = ["hosted_vllm/judge", "http://localhost:8000/v1", "JUDGE_KEY", "Be brief."]
    invoke("init", "new", stdin="\n".join(answers) + "\n")
    assert Path("new/ra-judge.toml").read_text().splitlines()[1:5] == [
        "[judge]",
        'model = "hosted_vllm/judge"',
        'api_base = "http://localhost:8000/v1"',
        'api_key_env = "JUDGE_KEY"',
    ]
    assert Path("new/principle.md").read_text() == "# Good answers\n\nBe brief.\n"
    assert len(read_jsonl("new/sample.jsonl")) == 10


@pytest.mark.parametrize(("answer", "replaced"), [("y", True), ("n", False), ("", False)])
def test_init_replaces_a_file_only_with_consent(answer: str, replaced: bool) -> None:
    Path("principle.md").write_text("mine")
    assert "the folder already has principle.md" in errors_of(invoke("init", "--yes", code=2))
    options = ["--model", "smollm2-135m", "--api-base", "", "--api-key-env", "", "--principle", "Be brief."]
    invoke("init", *options, stdin=f"{answer}\n", code=0 if replaced else 2)
    assert (Path("principle.md").read_text() != "mine") == Path("sample.jsonl").exists() == replaced
    invoke("init", "--yes", "--overwrite")
    assert "mine" not in Path("principle.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "gtp-4o"], "There is no model 'gtp-4o'"),
        (["--model", "m", "--api-base", "localhost:8000"], "must be a URL"),
        (["--principle", " "], "principle is empty"),
    ],
)
def test_init_refuses_answers_that_cannot_work(options: list[str], message: str) -> None:
    assert message in errors_of(invoke("init", "--yes", *options, code=2))
    assert list(Path.cwd().glob("*.jsonl")) == []


def test_grade_counts_one_row_and_names_an_empty_principle_file() -> None:
    write_jsonl("in.jsonl", [{"prompt": "q", "response": '["a text that looks like a list"]'}])
    Path("empty.md").write_text("# Title\n\n")
    judge = {"RA_JUDGE_MODEL": "scripted:scripts:by_length"}
    done = invoke("grade", "in.jsonl", "-o", "out.jsonl", "--principle", "p", **judge)
    assert "1 row, 1 judged" in errors_of(done)
    done = invoke("grade", "in.jsonl", "-o", "other.jsonl", "--principle-file", "empty.md", code=2, **judge)
    assert "The principle file empty.md has no text" in errors_of(done)


def test_help_lists_options_in_groups() -> None:
    text = invoke("check", "--help").stdout
    places = [
        text.index(f"\n{group}:\n") for group in ("What to compare", "Principles", "Decision", "Reports", "Options")
    ]
    assert places == sorted(places)
    assert text.index("\nJudge:\n") < text.index("--base-url") < text.index("\nOptions:\n") < text.index("--help")
