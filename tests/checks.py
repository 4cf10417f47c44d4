"""Helpers for tests of the command line: scripted judges and applications, and ways to run a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers import score_text
from typer.testing import CliRunner, Result

from rewardanything_core import RewardAnythingError
from rewardanything_core.backends import Request, verdict_reply
from rewardanything_core.cli._judge_errors import exit_code
from rewardanything_core.cli.app import app

RA_JUDGE = str(Path(sys.executable).with_name("ra-judge"))
NAMES = [first + second for first in ("", *"abcdefgh") for second in "abcdefghijkl"][:60]
"""Names of cases: enough for a check to rule out a drop of its default margin, rare large drops included."""

PRINCIPLE = "The higher the number in the answer, the better."


def judge(request: Request) -> str:
    """A judge that scores a response by its first number, and records each request in the file ``judged``."""
    case = json.loads(request.messages[1]["content"])
    with Path("judged").open("a") as file:
        file.write(json.dumps(case) + "\n")
    if "UNJUDGEABLE" in str(case["prompt"]):
        return "I would rather not."
    return verdict_reply({name: score_text(text) for name, text in case["responses"].items()}, thoughts="by number")


def crash(request: Request) -> str:
    """A judge with a bug."""
    raise LookupError("a bug")


def application(request: Request) -> str:
    """A model that follows its prompt, "carefully" or not, and records its messages in the file ``written``."""
    with Path("written").open("a") as file:
        file.write(json.dumps(request.messages) + "\n")
    text = " ".join(message["content"] for message in request.messages)
    return f"{request.messages[-1]['content'][-1]} is {4 if 'carefully' in text else 2}"


def written() -> list[list[dict[str, str]]]:
    """The messages that `application` received in this folder."""
    return read_jsonl("written") if Path("written").exists() else []


def judged() -> list[dict[str, Any]]:
    """The cases that `judge` received in this folder."""
    return read_jsonl("judged") if Path("judged").exists() else []


def environ(**changes: str) -> dict[str, str]:
    """The environment of a command whose home is in the working folder and whose judge is `judge`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RA_JUDGE_", "GITHUB_"))}
    inherited.pop("MLFLOW_EXPERIMENT_ID", None)  # MLflow sets it when a test of this process chooses an experiment
    return inherited | {
        "RA_JUDGE_HOME": "home",
        "RA_JUDGE_MODEL": "scripted:checks:judge",
        "PYTHONPATH": str(Path(__file__).parent),
        **changes,
    }


def ra_judge(
    *arguments: object, code: int = 0, stdin: str | None = None, cwd: str | Path = ".", **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, and check its exit code and that it prints no traceback."""
    done = subprocess.run(
        [RA_JUDGE, *map(str, arguments)],
        cwd=cwd, env=environ(**env), input=stdin, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


@dataclass(frozen=True)
class Invocation:
    """The outcome of a command that ran in this process."""

    code: int
    """The exit code that `rewardanything_core.cli.main` would end with."""

    stdout: str
    """Its standard output."""

    stderr: str
    """Its standard error, with the message of the error that ended it."""


def invoke(*arguments: object, code: int | None = 0, stdin: str | bytes = b"", **env: str) -> Invocation:
    """Run a command in this process, which is about ten times faster, and check its exit code; None: any."""
    result = _run(arguments, stdin, env)
    stderr, actual = result.stderr, result.exit_code
    if isinstance(result.exception, RewardAnythingError):
        stderr, actual = stderr + str(result.exception), exit_code(result.exception)
    elif result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert code is None or actual == code, (actual, result.stdout, stderr)
    assert "Traceback" not in stderr
    return Invocation(actual, result.stdout, stderr)


def complaint(*arguments: object, **env: str) -> str:
    """The error that ends a command, on one line. Runs in this process."""
    result = _run(arguments, b"", env)
    if isinstance(result.exception, RewardAnythingError):
        return " ".join(str(result.exception).split())
    sys.stderr.write(result.stderr)
    raise AssertionError(f"it exited with {result.exit_code}: {result.output} {result.exception!r}")


def _run(arguments: Iterable[object], stdin: str | bytes, env: dict[str, str]) -> Result:
    with _environment(environ(**env)):
        return CliRunner().invoke(app, [*map(str, arguments)], input=stdin)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def errors_of(done: subprocess.CompletedProcess[str] | Invocation) -> str:
    """Standard error, on one line."""
    return " ".join(done.stderr.split())


def write_jsonl(path: str | Path, rows: Iterable[Any]) -> None:
    """Write rows as JSON lines; a string is written as a line of its own."""
    Path(path).write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def read_jsonl(path: str | Path) -> list[Any]:
    """The rows of a file."""
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def outputs(score: int | Callable[[int], int], n: int = len(NAMES), **more: Any) -> list[dict[str, Any]]:
    """Rows of outputs to which `judge` gives this score, or the score for each row number."""
    return [
        {
            "id": f"q-{name}",
            "prompt": f"question {name}",
            "response": f"{name} is {score(number) if callable(score) else score}",
            **more,
        }
        for number, name in enumerate(NAMES[:n])
    ]
