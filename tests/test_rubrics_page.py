"""docs/rubrics.md as a reader follows it: its files and its Python, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from paths import ROOT
from servers import FakeOpenAI

from rewardanything_core.principles import rubric_library

PAGE = (ROOT / "docs" / "rubrics.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    found = re.findall(rf"(?ms)^( *)```{language}\n(.*?)^\1```$", PAGE)
    return [textwrap.dedent(text) for _, text in found]


def test_the_files_and_the_python_of_the_page(tmp_path: Path) -> None:
    """In a separate process, because MLflow has one tracking location for a whole process."""
    for suffix, language in (("toml", "toml"), ("md", "markdown"), ("json", "json")):
        (content,) = blocks(language)
        (tmp_path / f"support.{suffix}").write_text(content, encoding="utf-8")
    checks = """
assert set(verdict.criteria) == set(rubric.criteria) and again.criteria.keys() == verdict.criteria.keys()
assert set(result.metrics) == {"answers/mean", "answers/judged"} | {f"answers.{name}/mean" for name in rubric.criteria}
assert set(score.criteria) == set(rubric.criteria) and 0 <= rewards[0] <= 1
assert row["key"] == "answers.brief" and apart.options.criteria == "separate"
"""
    with FakeOpenAI() as server:
        environ = {
            "OPENAI_API_KEY": "sk-1",
            "OPENAI_BASE_URL": server.url,
            "PYTHONPATH": str(ROOT / "integrations"),
            "DSPY_CACHEDIR": str(tmp_path / "dspy"),
            "MLFLOW_GENAI_EVAL_MAX_WORKERS": "10",
        }
        done = subprocess.run(
            [sys.executable, "-c", "\n".join([*blocks("python"), checks])],
            cwd=tmp_path,
            env=os.environ | environ,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    # The first block, then MLflow and the others on another prompt, of which only TRL judges two responses.
    assert server.count == 3


def test_the_table_of_rubrics_is_that_of_the_library() -> None:
    for name, rubric in rubric_library().items():
        (row,) = re.findall(rf"(?m)^\| `{name}` \| (.*) \|$", PAGE)
        assert re.findall(r"`([\w-]+)`", row) == list(rubric.criteria)
        for criterion, one in rubric.criteria.items():
            settings = re.search(rf"`{criterion}` \(([^)]*)\)", row)
            expected = [f"weight {one.weight:g}"] * (one.weight != 1) + ["required"] * (one.required is not None)
            assert (settings[1].split(", ") if settings else []) == expected
