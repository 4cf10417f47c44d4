"""What importing the package does, and what it offers."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import rewardanything_core

HEAVY = ["torch", "transformers", "litellm", "mlflow", "dspy", "langchain_core", "pandas", "numpy", "pydantic", "rich"]

PROBE = """
import json, logging, os, random, sys, time
from pathlib import Path
before = dict(os.environ), random.getstate(), list(logging.root.handlers), len(sys.meta_path), sys.excepthook
files = {str(p) for p in Path().rglob("*")}
WORK
after = dict(os.environ), random.getstate(), list(logging.root.handlers), len(sys.meta_path), sys.excepthook
assert before == after, "importing changed the process"
assert files == {str(p) for p in Path().rglob("*")}, "importing wrote files"
import threading
print(json.dumps({"modules": sorted(sys.modules), "threads": threading.active_count()}))
"""


def probe(work, folder):
    code = PROBE.replace("WORK", work)
    return json.loads(subprocess.check_output([sys.executable, "-c", code], cwd=folder, text=True))


@pytest.mark.parametrize(
    "work",
    [
        "import rewardanything_core",
        "from rewardanything_core import *",
        "from rewardanything_core import Judge, ScriptedBackend; Judge(ScriptedBackend([]), cache='off')",
    ],
)
def test_importing_is_free(work, tmp_path):
    found = probe(work, tmp_path)
    assert [name for name in HEAVY if name in found["modules"]] == []
    assert found["threads"] == 1


def test_the_plain_import_loads_next_to_nothing(tmp_path):
    found = probe("import rewardanything_core", tmp_path)
    assert not {"asyncio", "sqlite3", "dataclasses"} & set(found["modules"])


def test_all_that_is_offered_can_be_imported_and_nothing_else_is():
    assert rewardanything_core.__all__ == sorted(rewardanything_core.__all__)
    for name in rewardanything_core.__all__:
        assert getattr(rewardanything_core, name) is not None
    assert set(rewardanything_core.__all__) == set(rewardanything_core._HOME_OF)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = rewardanything_core.no_such_name


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(rewardanything_core.__file__).read_text())
    typed = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("rewardanything_core")
        for alias in node.names
    }
    assert typed == set(rewardanything_core.__all__)


def test_every_error_is_a_rewardanything_error_and_says_what_to_do():
    from rewardanything_core import errors

    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert all(issubclass(cls, errors.RewardAnythingError) for cls in classes)
    assert "pip install 'rewardanything-core[local]'" in str(errors.MissingExtraError("Running", extra="local"))
    both = str(errors.ContextLengthError(tokens=5000, limit=4096))
    assert "5,000" in both
    assert "4,096" in both


@pytest.mark.parametrize(
    ("hidden", "work", "extra"),
    [
        ("torch", "from_pretrained('x/y')", "local"),
        ("torch", "load_judge()", "local"),
        ("litellm", "from_endpoint('anthropic/x', cache='off')", "endpoint"),
    ],
)
def test_a_missing_extra_says_how_to_install_it(hidden, work, extra, tmp_path):
    code = f"import sys; sys.modules[{hidden!r}] = None\nfrom rewardanything_core import *\n{work}"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "MissingExtraError" in result.stderr
    assert f"rewardanything-core[{extra}]" in result.stderr


def test_who_chose_no_judge_is_told_that_there_are_others(tmp_path):
    code = "import sys; sys.modules['torch'] = None\nfrom rewardanything_core import *\nload_judge(**{})"
    printed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True).stderr
    assert "No judge is set" in printed
    assert "RA_JUDGE_MODEL" in printed
    code = code.replace("**{}", "model='smollm2-135m'")
    printed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True).stderr
    assert "rewardanything-core[local]" in printed
    assert "No judge is set" not in printed
