"""What three new users type first, in a shell, as their pages have it; a local server replaces the models' servers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
from paths import ROOT
from servers import FakeOpenAI
from test_recipes import reply_of_the_model

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
BLOCK = re.compile(r"^( *)```(bash|python)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
BEFORE = """\
pip() { [ "$1" = install ] && echo "$@" >> installed; }
vllm() { [ "$1" = serve ]; }
"""
"""Installing and serving take minutes: `make test-wheel` installs what is written to the file, and vLLM needs a GPU."""


def typed(page: str, first: str = "", *, blocks: int, before: str = "", after: str = "") -> str:
    """The first blocks of a page as a shell script, in which Python is a program on standard input.

    Args:
        page: The page.
        first: Where to begin: the first occurrence of this text.
        blocks: How many blocks.
        before: Python that goes before the page's own.
        after: Python that goes after it.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    found = list(BLOCK.finditer(text, text.index(first)))[:blocks]
    parts = [(match[2], textwrap.dedent(match[3])) for match in found]
    python = "".join(code for language, code in parts if language == "python")
    shell = "".join(code for language, code in parts if language == "bash")
    return shell + (f"python - << 'PYTHON'\n{before}\n{python}\n{after}\nPYTHON\n" if python else "")


def run(script: str, server: FakeOpenAI, folder: Path) -> str:
    """What a script prints, in an empty folder and without settings."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("RA_JUDGE_", "OPENAI_"))}
    environ |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "integrations"),
        "RA_JUDGE_STORE": str(folder / "store.sqlite3"),
        "DSPY_CACHEDIR": str(folder / "dspy"),
        "OPENAI_BASE_URL": server.url,
        "OMP_NUM_THREADS": "1",
    }
    script = script.replace("http://localhost:8000/v1", server.url)
    done = subprocess.run(
        ["bash", "-euc", BEFORE + script], cwd=folder, env=environ, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert {*re.findall(r"\.\[(\w+)\]", (folder / "installed").read_text())} <= EXTRAS.keys()
    return done.stdout


def test_an_engineer_with_mlflow_and_a_server_of_their_own(server: FakeOpenAI, tmp_path: Path) -> None:
    row = {"prompt": "2+2?", "responses": {"a": "It is 4.", "b": "It is 3, I think."}}
    (tmp_path / "answers.jsonl").write_text(json.dumps(row) + "\n")
    script = (
        typed("README.md", "## Install", blocks=4)
        + typed("docs/quickstart.md", '=== "A server of your own"', blocks=2)
        + typed("docs/integrations/mlflow.md", blocks=3, after="print(scorer(inputs='q', outputs='is 4').value)")
    )
    printed = run(script, server, tmp_path)
    assert "'concise/judged': 1" in printed and printed.splitlines()[-1] == "4.0"
    (judged,) = map(json.loads, (tmp_path / "judged.jsonl").read_text().splitlines())
    assert judged["scores"] == {"a": 4.0, "b": 3.0}
    assert {body.body["model"] for body in server.requests} == {
        "Qwen/Qwen2.5-Coder-1.5B-Instruct",  # README
        "Qwen/Qwen3-8B",
        "gpt-5-mini",
    }


def test_a_researcher_with_dspy(server: FakeOpenAI, tmp_path: Path) -> None:
    server.reply = reply_of_the_model
    printed = run(typed("docs/integrations/dspy.md", blocks=2), server, tmp_path)
    assert re.search(r"^(0\.\d+|1\.0) ", printed, re.MULTILINE), printed


@pytest.mark.model
def test_an_engineer_who_trains_with_trl(server: FakeOpenAI, tmp_path: Path, model_folder: Path) -> None:
    before = (
        f"model = {str(model_folder)!r}\n"
        "settings = dict(output_dir='out', use_cpu=True, bf16=False, report_to='none', gradient_checkpointing=False)\n"
        "settings |= dict(max_completion_length=4, max_steps=1)\n"
    )
    script = typed("docs/integrations/rl.md", blocks=3, before=before, after="trainer.train()")
    assert "'train_loss'" in run(script, server, tmp_path)
    assert server.count == 2  # the completions on the page, and those of one step
