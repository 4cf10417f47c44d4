"""The notebooks run, and what is committed of them is what they put out, small and without a trace of a machine."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import shlex
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from traces import traces

import rewardanything_core
from rewardanything_core.config import SETTINGS

ROOT = Path(__file__).parent.parent
INTEGRATIONS = sorted(path.parent.name for path in (ROOT / "integrations").glob("*/__init__.py"))
LARGEST_PICTURE = 60_000
"""Bytes of base64."""

LARGEST_NOTEBOOK = 150_000
WIDEST = 96
"""Columns of code; more makes a reader scroll sideways."""


def load_refresh() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebooks_refresh", ROOT / "notebooks" / "refresh.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


refresh = load_refresh()
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in refresh.notebooks()}
every = pytest.mark.parametrize("name", NOTEBOOKS)


def code_of(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parsed(cell: Any) -> ast.Module:
    """The code of a cell, whose first line may be a magic."""
    return ast.parse(re.sub(r"\A%%\w+\n", "", cell.source))


def prose_of(notebook: Any) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def texts_of(output: Any) -> list[str]:
    return [output.text] if "text" in output else [v for k, v in output.data.items() if k.startswith("text/")]


def complaints(notebook: Any) -> list[str]:
    """What no notebook may put out: errors, and what libraries say on the side."""
    return [
        str(output.get("evalue", output.get("text")))
        for output in refresh.outputs(notebook)
        if output.output_type == "error" or output.get("name") == "stderr"
    ]


# --- what is committed


def test_there_are_seven_and_the_page_has_them_all() -> None:
    page = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    assert [name[:2] for name in NOTEBOOKS] == [f"{number:02}" for number in range(1, 8)]
    assert re.findall(r"\]\(\.\./notebooks/(\w+)\.ipynb\)\]?", page)[::2] == list(NOTEBOOKS)
    for name, notebook in NOTEBOOKS.items():
        title = notebook.cells[0].source.partition("\n")[0]
        assert title.startswith("# "), name
        assert (refresh.PICTURES / f"{name}.png").read_bytes() == refresh.pictures(notebook)[0], f"refresh {name}"


@every
def test_outputs_are_of_this_code_and_in_order(name: str) -> None:
    notebook = NOTEBOOKS[name]
    cells = code_of(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert notebook.metadata.outputs_of == refresh.fingerprint(notebook), (
        f"The code of {name} has changed since its outputs were made: python notebooks/refresh.py {name[:2]}"
    )
    assert complaints(notebook) == []


@every
def test_outputs_are_small(name: str) -> None:
    notebook = NOTEBOOKS[name]
    found = [output.data for output in refresh.outputs(notebook) if "data" in output]
    pictures = [data["image/png"] for data in found if "image/png" in data]
    assert pictures and max(map(len, pictures)) <= LARGEST_PICTURE
    assert (ROOT / "notebooks" / f"{name}.ipynb").stat().st_size <= LARGEST_NOTEBOOK


@every
def test_nothing_of_a_machine_or_a_moment_is_in_it(name: str) -> None:
    notebook = NOTEBOOKS[name]
    text = "\n".join([prose_of(notebook), *(cell.source for cell in code_of(notebook))])
    printed = "\n".join(text for output in refresh.outputs(notebook) for text in texts_of(output))
    assert traces(text + printed, "/Users/", "site-packages", r"verdicts\.sqlite3") == []
    assert re.findall(r"\b20\d\d-\d\d-\d\d|\b\d\d:\d\d:\d\d\b|\b0x[0-9a-f]{6,}|\b[0-9a-f]{32}\b", printed) == []
    assert set(notebook.metadata) == {"kernelspec", "language_info", "outputs_of"}
    assert all(cell.metadata == {} for cell in notebook.cells)


@every
def test_nothing_is_too_wide(name: str) -> None:
    code = [line for cell in code_of(NOTEBOOKS[name]) for line in cell.source.splitlines()]
    assert [line for line in code if len(line) > WIDEST] == []


# --- what is said


@every
def test_names_in_the_code_are_there(name: str) -> None:
    for cell in code_of(NOTEBOOKS[name]):
        for node in ast.walk(parsed(cell)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("rewardanything_"):
                module = importlib.import_module(str(node.module))
                assert [each.name for each in node.names if not hasattr(module, each.name)] == []


def known_names() -> set[str]:
    """What the package and its integrations export, and the public members of the classes among it."""
    names = {*SETTINGS, *(f"RA_JUDGE_{setting.upper()}" for setting in SETTINGS), *INTEGRATIONS}
    packages = [f"rewardanything_core.{name}" for name in ("agreement", "backends", "bench", "gate", "tables")]
    for module in map(importlib.import_module, ["rewardanything_core", *packages, *INTEGRATIONS]):
        for exported in module.__all__:
            found = getattr(module, exported)
            names |= {exported, *(member for member in dir(found) if isinstance(found, type) and member[0] != "_")}
            names |= set(getattr(found, "__annotations__", {}))
    return names


@every
def test_names_in_the_prose_are_there(name: str) -> None:
    """A name in backquotes is in the notebook's own code or outputs, or is ours, or is a file."""
    notebook = NOTEBOOKS[name]
    seen = "\n".join(
        [
            *(cell.source for cell in code_of(notebook)),
            *(text for output in refresh.outputs(notebook) for text in texts_of(output)),
        ]
    )
    known = known_names()
    prose = re.sub(r"```.*?```", "", prose_of(notebook), flags=re.DOTALL)
    unknown = []
    for said in re.findall(r"`([^`]+)`", prose):
        words = re.findall(r"[A-Za-z_][\w.-]*", said)
        if said.startswith(("ra-judge", "--")) or said in seen or (ROOT / said).exists():
            continue
        if not all(word in seen or word in known or word.rpartition(".")[2] in known for word in words[:1]):
            unknown.append(said)
    assert [said for said in unknown if said not in ELSEWHERE] == []


ELSEWHERE = {
    "mlflow.evaluate",
    "mlflow ui",
    'model = init_chat_model("openai:gpt-4o-mini", temperature=1)',
    'dspy.configure(lm=dspy.LM("openai/gpt-4o-mini"))',
}
"""Names of other programs, looked up by hand."""


@every
def test_commands_in_the_prose_parse(name: str) -> None:
    import typer.main

    from rewardanything_core.cli.app import app

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    prose = prose_of(NOTEBOOKS[name]).replace("\\\n", " ")
    said = [*re.findall(r"`(ra-judge [^`\n]+)`", prose), *re.findall(r"(?m)^(ra-judge .+)$", prose)]
    every_option = {o for each in commands.values() for p in each.params for o in (*p.opts, *p.secondary_opts)}
    assert set(re.findall(r"`(--[\w-]+)`", prose)) <= every_option
    for words in map(shlex.split, said):
        command = commands[words[1]]
        command.make_context(words[1], words[2:], resilient_parsing="..." in words)
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert [word for word in words[2:] if word.startswith("--") and word not in options] == []


@every
def test_links_in_the_prose_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)\s:#]+)\)", prose_of(NOTEBOOKS[name])):
        assert (ROOT / "notebooks" / link).exists(), link


# --- they run


SCRIPTED = ("03_dspy", "04_langchain", "07_grpo_reward")
"""Those in which a script judges, without a store."""


@pytest.fixture(scope="module")
def running(
    request: pytest.FixtureRequest, model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[Path, Future[Any]]]]:
    """Every notebook that is to be tested, running in a folder of its own; two at a time, each on one thread."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RA_JUDGE_")}
    ours |= {"RA_JUDGE_HOME": str(model_folder.parent.parent), "RA_JUDGE_MODEL": "smollm2-135m"}
    ours |= {"GRPO_STEPS": "2", "OMP_NUM_THREADS": "1"}
    tests = [item for item in request.session.items if getattr(item, "originalname", "") == test_it_runs.__name__]
    with ThreadPoolExecutor(max_workers=2) as pool:
        runs = {}
        for name in (test.callspec.params["name"] for test in tests):
            folder = tmp_path_factory.mktemp(name)
            runs[name] = folder, pool.submit(refresh.execute, ROOT / "notebooks" / f"{name}.ipynb", folder, ours)
        yield runs
        for _, run in runs.values():
            run.cancel()


@pytest.mark.model
@pytest.mark.timeout(900)
@every
def test_it_runs(name: str, running: dict[str, tuple[Path, Future[Any]]]) -> None:
    """From top to bottom on the 135M model, in an empty folder; its verdicts are no better than chance."""
    folder, run = running[name]
    notebook = run.result()
    assert complaints(notebook) == []
    committed = [bool(cell.outputs) for cell in code_of(NOTEBOOKS[name])]
    assert [bool(cell.outputs) for cell in code_of(notebook)] == committed
    assert (folder / "verdicts.sqlite3").exists() == (name not in SCRIPTED)


def test_a_notebook_that_fails_is_not_passed_over(tmp_path: Path) -> None:
    """The way in which they are run reports a cell that raises, and what is written to stderr."""
    from nbclient.exceptions import CellExecutionError

    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(broken, tmp_path / "broken.ipynb")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        refresh.execute(tmp_path / "broken.ipynb", tmp_path, os.environ)
    noisy = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import sys; print('oh', file=sys.stderr)")])
    nbformat.write(noisy, tmp_path / "noisy.ipynb")
    assert complaints(refresh.execute(tmp_path / "noisy.ipynb", tmp_path, os.environ)) == ["oh\n"]


def test_exports_are_known() -> None:
    """The names that prose is held against are those of the package."""
    assert {*rewardanything_core.__all__, "scores", "agreement", "PrincipleScorer", "threshold"} <= known_names()
