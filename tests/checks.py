"""What the tests of ``ra-judge check`` and ``ra-judge baseline`` share: a scripted judge, and running the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from servers import score_text
from typer.testing import CliRunner

from rewardanything_core import RewardAnythingError
from rewardanything_core.backends import Request, verdict_reply
from rewardanything_core.cli.app import app

RA_JUDGE = str(Path(sys.executable).with_name("ra-judge"))
PRINCIPLE = "The higher the number in the answer, the better."


def judge(request: Request) -> str:
    """A judge that goes by the first number in a response; what it was asked goes into the file ``judged``."""
    asked = json.loads(request.messages[1]["content"])
    with Path("judged").open("a") as file:
        file.write(json.dumps(asked) + "\n")
    if "UNJUDGEABLE" in str(asked["prompt"]):
        return "I would rather not."
    return verdict_reply({name: score_text(text) for name, text in asked["responses"].items()}, thoughts="by number")


def crash(request: Request) -> str:
    """A judge with a bug."""
    raise LookupError("a bug")


def application(request: Request) -> str:
    """An application's model that follows its prompt, "carefully" or not; what it was sent goes into ``written``."""
    with Path("written").open("a") as file:
        file.write(json.dumps(request.messages) + "\n")
    told = " ".join(message["content"] for message in request.messages)
    return f"{request.messages[-1]['content'][-1]} is {4 if 'carefully' in told else 2}"


def written() -> list[list[dict[str, str]]]:
    """The messages that the application's model was sent so far, in this folder."""
    return read_jsonl("written") if Path("written").exists() else []


def judged() -> list[dict[str, Any]]:
    """What the judge was asked so far, in this folder."""
    return read_jsonl("judged") if Path("judged").exists() else []


def environ(**changes: str) -> dict[str, str]:
    """The environment of a command whose home is in the working folder and whose judge is `judge`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RA_JUDGE_", "GITHUB_"))}
    kept.pop("MLFLOW_EXPERIMENT_ID", None)  # MLflow leaves it where a test of this process chose an experiment
    return kept | {
        "RA_JUDGE_HOME": "home",
        "RA_JUDGE_MODEL": "scripted:checks:judge",
        "PYTHONPATH": str(Path(__file__).parent),
        **changes,
    }


def ra_judge(
    *arguments: object, code: int = 0, stdin: str | None = None, cwd: str | Path = ".", **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the command, and see that it ends with this code and without a traceback."""
    done = subprocess.run(
        [RA_JUDGE, *map(str, arguments)],
        cwd=cwd, env=environ(**env), input=stdin, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


def complaint(*arguments: object) -> str:
    """What the command complains of, run in this process, which takes a tenth of the time of a process of its own."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environ())
    try:
        result = CliRunner().invoke(app, [*map(str, arguments)])
    finally:
        os.environ.clear()
        os.environ.update(before)
    if isinstance(result.exception, RewardAnythingError):
        return " ".join(str(result.exception).split())
    sys.stderr.write(result.stderr)
    raise AssertionError(f"it exited with {result.exit_code}: {result.output} {result.exception!r}")


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What went to standard error, on one line."""
    return " ".join(done.stderr.split())


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any] | str]) -> None:
    """Write rows; a string is a line as it is."""
    Path(path).write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def read_jsonl(path: str | Path) -> list[Any]:
    """The rows of a file."""
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def outputs(score: int | Callable[[int], int], n: int = 12, **more: Any) -> list[dict[str, Any]]:
    """Rows of outputs that `judge` gives this score, or this one for each number."""
    scores = [score(i) if callable(score) else score for i in range(n)]
    names = "abcdefghijklmnopqrstuvwxyz"
    return [
        {"id": f"q-{names[i]}", "prompt": f"question {names[i]}", "response": f"{names[i]} is {scores[i]}", **more}
        for i in range(n)
    ]
