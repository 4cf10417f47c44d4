"""A project with a scripted judge, run by pytest within pytest, for the tests of our plugin.

>>> pytest_plugins = ["pytester"]
>>> project = pytest.fixture(scripted_project)
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy  # noqa: F401  - cannot be imported again by a run of pytest within this process
import pytest
import scipy.stats  # noqa: F401

from rewardanything_core.gate import check  # noqa: F401

# A response scores 5 with a "please", else 2. "wavering" scores less and "unsure" can be judged only in the first look.
SCRIPT = """
import json, os
from rewardanything_core.backends import verdict_reply
from rewardanything_core.backends.scripted import rubric_reply

def score(text, second_look):
    if "gibberish" in text or ("unsure" in text and second_look):
        return None
    if "wavering" in text:
        return 5 if second_look else 1
    return 5 if "please" in text else 2

def reply(request):
    if "CALLS" in os.environ:
        with open(os.environ["CALLS"], "a") as calls:
            calls.write("x")
    case = json.loads(request.messages[1]["content"])
    scores = {name: score(text, request.sampling.temperature > 0) for name, text in case["responses"].items()}
    if None in scores.values():
        return "I would rather not."
    if "rubric" in case:
        return rubric_reply(dict.fromkeys(case["rubric"], scores))
    return verdict_reply(scores, thoughts="; ".join(f"{name} says {case['responses'][name]!r}" for name in scores))

def first_is_better(request):
    names = list(json.loads(request.messages[1]["content"])["responses"])
    return verdict_reply({name: 5 - 2 * place for place, name in enumerate(names)}, thoughts="first come")
"""

HEAD = """
import pytest
POLITE, ASK = "Be polite.", "Ask for the salt."
"""


def scripted_project(pytester: pytest.Pytester, own_store: Any, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Write a project whose judge is the script. To be made a fixture."""
    pytester.makepyfile(script=SCRIPT)
    pytester.syspathinsert()
    # Other plugins of this environment take seconds to load. That pytest finds ours is a test of its own.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\naddopts = -p rewardanything_pytest.plugin -p xdist\n")
    monkeypatch.setenv("RA_JUDGE_MODEL", "scripted:script:reply")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(pytester.path), os.environ.get("PYTHONPATH", "")]))
    return pytester


def write(project: pytest.Pytester, body: str, name: str = "test_answers") -> None:
    """Write a test file of the project."""
    project.makepyfile(**{name: HEAD + body})


def baselines(project: pytest.Pytester, name: str = "test_answers") -> dict[str, Any]:
    """The baselines of a test file of the project."""
    entries: dict[str, Any] = json.loads((project.path / "__baselines__" / f"{name}.json").read_text(encoding="utf-8"))
    return entries


def output(result: pytest.RunResult) -> str:
    """Everything that a run printed."""
    return str(result.stdout.str() + result.stderr.str())
