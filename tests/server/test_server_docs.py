"""The documentation page about serving is correct."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT
from scripts import by_length
from serving import serving

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.server.limits import Limits

RA_JUDGE = str(Path(sys.executable).with_name("ra-judge"))
PAGE = (ROOT / "docs" / "serving.md").read_text()


def test_the_example_client_runs():
    shorter = Judge(ScriptedBackend.scoring(lambda text: max(1, 5 - len(text) / 40)), cache="off")
    with serving(shorter, tokens=("a-token-of-some-length",)) as server:
        for token, code, part in (("a-token-of-some-length", 0, "case 1: terse is better"), ("", 1, "401: ")):
            done = subprocess.run(
                [sys.executable, ROOT / "examples" / "serve_client.py", server.url],
                env={"JUDGE_TOKEN": token},
                capture_output=True,
                text=True,
            )
            assert done.returncode == code
            assert part in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_documented_request_works():
    body = re.search(r"-d '(\{.*?\n\})'", PAGE, re.DOTALL)
    with serving(Judge(ScriptedBackend(by_length), cache="off")) as server:
        response = server.post("/v1/judge", json.loads(body[1]))
    assert set(response.json()["scores"]) == {"a", "b"}
    assert {"scores", "ranking", "best", "reasoning", "explanation", "agreement", "cached"} <= set(response.json())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max-body", f"{Limits().body_bytes // 2**20} MiB"),
        ("max-text", f"{Limits().text_chars:,}"),
        (
            "max-responses",
            f"{Limits().responses} | responses of a case (a prompt, or a response that is a run, may have "
            f"{Limits().messages} messages)",
        ),
        ("max-criteria", f"{Limits().criteria}"),
        ("max-batch", f"{Limits().batch:,}"),
        ("max-pending", f"{Limits().pending:,}"),
        (
            "timeout",
            f"{Limits().seconds:g} s | time per case in the judge, which processes at most {Limits().window} cases",
        ),
        ("drain", f"{Limits().drain_seconds:g} s"),
    ],
)
def test_the_documented_limits_are_the_defaults(option, value):
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `--{option}`")]
    assert f"| {value}" in row
    help_text = subprocess.check_output([RA_JUDGE, "serve", "--help"], text=True)
    assert f"--{option}" in help_text


def test_every_error_type_is_documented():
    sources = "".join(path.read_text() for path in (ROOT / "rewardanything_core" / "server").glob("*.py"))
    kinds = set(re.findall(r'APIError\(\s*\d{3},\s*"(\w+)"', sources)) - {"client_gone"}
    assert len(kinds) > 10
    assert [kind for kind in kinds if f"`{kind}`" not in PAGE] == []
