"""The steps of the GitHub Action, run here one after the other with its expressions filled in."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from checks import PRINCIPLE, environ

ACTION = yaml.safe_load((Path(__file__).parent.parent / "action.yml").read_text(encoding="utf-8"))
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}
GH = """#!/usr/bin/env python3
import json, os, sys
from pathlib import Path
comments, given = Path(os.environ["COMMENTS"]), sys.argv[1:]
known = json.loads(comments.read_text()) if comments.exists() else {}
if os.environ.get("GH_REFUSES"):
    sys.exit(1)
body = next((Path(a.removeprefix("body=@")).read_text() for a in given if a.startswith("body=@")), None)
if body is None:
    print("\\n".join(key for key, text in known.items() if text.startswith(os.environ["MARK"])))
elif "PATCH" in given:
    known[next(a for a in given if a.startswith("repos/")).rsplit("/", 1)[1]] = body
else:
    known[str(100 + len(known))] = body
comments.write_text(json.dumps(known))
"""


class Job:
    """What a job's steps share."""

    def __init__(self, folder: Path, **inputs: str) -> None:
        self.folder = folder
        known = {name: str(about["default"]) for name, about in ACTION["inputs"].items()}
        assert set(inputs) <= set(known)
        self.inputs = known | inputs
        self.outputs: dict[str, str] = {}
        self.printed = ""
        self.summary, self.comments = folder / "summary.md", folder / "comments.json"
        (folder / "bin").mkdir(exist_ok=True)
        gh = folder / "bin" / "gh"
        gh.write_text(GH)
        gh.chmod(gh.stat().st_mode | stat.S_IXUSR)
        (folder / "bin" / "ra-judge").unlink(missing_ok=True)
        (folder / "bin" / "ra-judge").symlink_to(Path(sys.executable).with_name("ra-judge"))

    def value(self, text: str) -> str:
        known = {
            **{f"inputs.{name}": value for name, value in self.inputs.items()},
            **{f"steps.check.outputs.{name}": value for name, value in self.outputs.items()},
            "runner.temp": str(self.folder / "temp"),
            "github.repository": "o/r",
            "github.event.pull_request.number": "7",
            "github.token": "t",
            "steps.upload.outputs.artifact-url": "https://example.org/artifact",
        }
        return re.sub(r"\$\{\{ (.+?) \}\}", lambda match: known[match[1]], text)

    def step(self, name: str, **env: str) -> int:
        step = STEPS[name]
        assert "${{" not in step["run"], "what users give must not become part of a script"
        (self.folder / "output").write_text("")
        values = {key: self.value(text) for key, text in step["env"].items()}
        values = {key: self.value(text) for key, text in values.items()}  # a default may be an expression
        done = subprocess.run(
            [sys.executable, "-c", step["run"]]
            if step["shell"] == "python"
            else ["bash", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.folder,
            env=environ(
                PATH=f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
                GITHUB_OUTPUT=str(self.folder / "output"),
                GITHUB_STEP_SUMMARY=str(self.summary),
                COMMENTS=str(self.comments),
                **(values | env),
            ),
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.printed = done.stdout + done.stderr
        assert "Traceback" not in self.printed, self.printed
        self.outputs |= dict(line.split("=", 1) for line in (self.folder / "output").read_text().splitlines())
        return done.returncode


@pytest.fixture
def job(tmp_path):
    def write(name: str, score: int) -> None:
        rows = [{"id": f"q{n}", "prompt": f"What is {n}?", "response": f"{score} of {n}"} for n in range(20)]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    write("old.jsonl", 4)
    write("same.jsonl", 4)
    write("good.jsonl", 5)
    write("bad.jsonl", 2)

    def make(candidate: str, more: str = "", **inputs: str) -> Job:
        args = f"--baseline old.jsonl --candidate {candidate} --principle '{PRINCIPLE}' {more}"
        return Job(tmp_path, args=args, **inputs)

    return make


@pytest.mark.parametrize(
    ("candidate", "code", "outcome", "said"),
    [("good.jsonl", 0, "passed", ""), ("bad.jsonl", 1, "regression", "::error::The answers got worse")],
)
def test_a_good_and_a_bad_change(job, candidate, code, outcome, said):
    run = job(candidate)
    assert run.step("Check") == 0, run.printed
    assert run.outputs["outcome"] == outcome
    assert sorted(file.name for file in Path(run.outputs["reports"]).iterdir()) == [
        "junit.xml",
        "report.html",
        "report.md",
    ]
    assert run.step("Summary") == 0
    assert outcome in run.summary.read_text()
    assert run.step("Result") == code
    assert said in run.printed
    kept = run.folder / "temp" / "ra-judge" / "prompts" / "home" / "verdicts.sqlite3"
    assert kept.exists()


def test_one_comment_is_kept_up_to_date(job):
    first, second, other = job("bad.jsonl"), job("good.jsonl"), job("good.jsonl", name="other")
    for run in (first, second, other):
        run.step("Check")
        assert run.step("Comment") == 0, run.printed
    comments = json.loads(first.comments.read_text())
    assert len(comments) == 2
    assert "passed" in comments["100"]
    assert "https://example.org/artifact" in comments["100"]
    assert comments["101"].startswith("<!-- ra-judge check: other -->")


def test_a_comment_that_is_refused_does_not_fail_the_job(job):
    run = job("good.jsonl")
    run.step("Check")
    assert run.step("Comment", GH_REFUSES="1") == 0
    assert "::warning::" in run.printed


@pytest.mark.parametrize(("inconclusive", "code", "said"), [("fail", 3, "::error::"), ("warn", 0, "::warning::")])
def test_what_inconclusive_is_can_be_chosen(job, inconclusive, code, said):
    run = job("good.jsonl", inconclusive=inconclusive)
    few = (run.folder / "old.jsonl", run.folder / "good.jsonl")
    for file in few:
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:2]))
    run.step("Check")
    assert run.outputs["outcome"] == "inconclusive", run.printed
    assert run.step("Result") == code
    assert said in run.printed


def test_an_error_always_fails(job):
    run = job("nowhere.jsonl", inconclusive="warn")
    assert run.step("Check") == 0
    assert run.outputs["outcome"] == "error"
    assert run.outputs["exit-code"] == "2"
    assert run.step("Result") == 2


def test_a_judge_that_fails_is_never_only_a_warning(job):
    run = job("good.jsonl", inconclusive="warn")
    for file in (run.folder / "old.jsonl", run.folder / "good.jsonl"):
        file.write_text(file.read_text().replace("What is", "UNJUDGEABLE"))
    run.step("Check")
    assert (run.outputs["outcome"], run.outputs["exit-code"]) == ("error", "3"), run.printed
    assert run.step("Summary") == 0
    assert "too many judgements failed" in run.summary.read_text()
    assert run.step("Result") == 3


def test_inputs_become_options_and_words_keep_their_spaces(job, tmp_path):
    run = job("good.jsonl", "--margin 0.5", model="m", name="a-name")
    run.inputs |= {"api-base": "http://one http://two", "api-key": "s3cret", "config": "my file.toml"}
    (tmp_path / "bin" / "ra-judge").unlink()
    (tmp_path / "bin" / "ra-judge").write_text('#!/bin/sh\nprintf "%s\\n" "$@" "key $RA_JUDGE_API_KEY"\nenv\n')
    (tmp_path / "bin" / "ra-judge").chmod(0o755)
    run.step("Check")
    words = run.printed.split("\n")
    assert PRINCIPLE in words
    assert words[words.index("--config") + 1] == "my file.toml"
    assert words.count("--api-base") == 2
    assert "key s3cret" in words
    assert not any(word.startswith("CHECK_") for word in words)
    assert "--api-key-env" not in words


def test_every_expression_names_something_that_is_there():
    text = (Path(__file__).parent.parent / "action.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(ACTION["inputs"])
    assert set(re.findall(r"steps\.(\w+)\.", text)) <= {step.get("id") for step in ACTION["runs"]["steps"]}
    for step in ACTION["runs"]["steps"]:
        assert "shell" in step or "uses" in step
        assert "${{" not in step.get("run", "")
