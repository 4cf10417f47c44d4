"""What the documentation says is so: its Python runs, its commands parse, its tables are those of the code."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts import by_length
from servers import FakeOpenAI
from serving import serving
from traces import traces

import rewardanything_core
from rewardanything_core import Case, Judge, Jury, ScriptedBackend, errors
from rewardanything_core.backends import verdict_reply
from rewardanything_core.cli._check import settings as check_settings
from rewardanything_core.config import _NOT_SETTINGS, SETTINGS
from rewardanything_core.principles import library

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *DOCS.rglob("*.md")])
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)

RUN_ELSEWHERE = {
    "README.md": "test_docs.py",
    "docs/adding-a-backend.md": "test_registry.py",
    "docs/integrations/dspy.md": "test_dspy.py",
    "docs/integrations/mlflow.md": "test_docs.py",
    "docs/integrations/langchain.md": "test_langchain.py",
    "docs/integrations/pytest.md": "test_pytest_plugin.py",
    "docs/integrations/rl.md": "test_rl.py",
    "docs/recipes.md": "test_recipes.py",
    "docs/rubrics.md": "test_rubrics_page.py",
}
"""Pages whose blocks need an environment of their own, and the tests that set it up."""

CLUSTER = re.compile(r"\bray\.|\bspark\.|\bgrade_dataset\(")
"""Blocks with these calls are only compiled here; test_ray.py and test_spark.py run such calls."""

NEEDS = {"labels.jsonl", "a GPU", "a model", "runs", "traces", "the distribution above"}
NEEDS |= {"an MLflow server", "MLflow 3.18"}
"""A block whose first line is ``# needs ...`` is only compiled; a reader sees the line too."""


def load_site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_site", DOCS / "_site.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


site = load_site()


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page: str, *languages: str) -> list[tuple[int, str]]:
    """Line number and text of each fenced block in one of the languages."""
    text = text_of(page)
    return [
        (text.count("\n", 0, match.start()) + 2, re.sub(f"(?m)^{match[1]}", "", match[3]))
        for match in FENCE.finditer(text)
        if match[2] in languages
    ]


# --- Python


def scripted(*_: Any, **options: Any) -> Judge:
    """What `from_endpoint` and `from_pretrained` give on pages that go on to judge with it."""
    return Judge(ScriptedBackend(by_length, name=f"scripted{len(options)}"), cache="off")


def prepare(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that a page's blocks take from the text around them, and the files that they read."""
    before = [{"id": f"q{i}", "prompt": f"Question {i}?", "response": "A longer answer."} for i in range(12)]
    after = [row | {"response": "Brief."} for row in before]
    if page == "docs/juries.md":
        monkeypatch.setattr(rewardanything_core, "from_endpoint", scripted)
        monkeypatch.setattr(rewardanything_core, "from_pretrained", scripted)
    if page == "docs/juries.md":
        cases = [Case("Be brief.", f"{n}?", {"a": "x" * n, "b": "y"}) for n in (2, 3, 4, 5)]
        return {"cases": cases, "labels": [{"a": len(case.responses["a"]), "b": 1} for case in cases]}
    if page == "docs/cascade.md":
        monkeypatch.setattr(rewardanything_core, "from_endpoint", scripted)
        answers = {"a": "No.", "b": "No, it is not possible."}
        labels = [{"prompt": f"May I, {n}?", "responses": answers, "winner": "b"} for n in range(60)]
        (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labels))
    if page == "docs/estimating.md":
        judged = [row | {"scores": {"response": 2 + n % 3}, "error": None} for n, row in enumerate(before)]
        (folder / "judged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in judged))
        rows = [row | {"score": 1 + n % 4} for n, row in enumerate(before)]
        (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:9]))
    if page == "docs/canary.md":
        rows = [row | {"principle": "Be brief.", "score": 2} for row in before]
        (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if page == "docs/opentelemetry.md":
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true")  # there is nothing to export to
    if page == "docs/scaling-out.md":
        import pandas

        rows = [{"prompt": "2+2?", "responses": {"a": "4", "b": "It is 4."}}] * 3
        (folder / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return {"df": pandas.DataFrame(rows), "pandas": pandas}
    if page == "docs/prompt-regression.md":
        return {"judge": scripted(), "before": before, "after": after}
    if page == "docs/agents.md":
        return agents()
    if page == "docs/train-a-judge.md":
        (folder / "benchmarks").symlink_to(ROOT / "benchmarks")
    if page == "docs/align.md":
        answers = {"a": "No.", "b": "No, it is not possible."}
        labels = [{"prompt": f"May I, {n}?", "responses": answers, "winner": "a"} for n in range(20)]
        (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labels))
    if page == "docs/judge-the-judge.md":
        rows = [
            {
                "principle": principle,
                "prompt": "How are you?",
                "responses": {"long": "very well, thank you", "short": "well"},
                "human_scores": scores,
                "group": "1",
                "meta": {"criterion": name},
            }
            for name, principle, scores in (
                ("brief", "Be brief.", {"long": 1, "short": 5}),
                ("full", "Say much.", {"long": 5, "short": 1}),
            )
        ]
        flip = {"group": "1", "a": "brief", "b": "full", "better_under_a": "short", "better_under_b": "long"}
        (folder / "summeval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "summeval-flips.jsonl").write_text(json.dumps(flip) + "\n")
        labelled = [{"prompt": "2+2?", "response": "4" * n, "score": n} for n in (1, 3, 5)]
        (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labelled))
        (folder / "calibration.json").write_text(
            json.dumps({"format": 1, "judge": [1, 5], "human": [1.5, 4.5], "about": {}})
        )
        return {"load_judge": rewardanything_core.load_judge}
    return {}


def agents() -> dict[str, Any]:
    """A LangGraph agent and a DSPy program with scripted models, for the page about agents."""
    import dspy
    from dspy.utils import DummyLM
    from langchain_core.messages import AIMessage
    from langgraph.graph import START, MessagesState, StateGraph

    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [AIMessage("Done.")]})
    graph.add_edge(START, "model")
    step = {"next_thought": "Done.", "next_tool_name": "finish", "next_tool_args": {}}
    dspy.settings.configure(lm=DummyLM([step, {"reasoning": "-", "answer": "Done."}]))

    def ask_user(question: str) -> str:
        return "Yes."

    def delete_files(before: str) -> str:
        return "214 deleted"

    return {
        "asks_first": "Before anything that cannot be undone, the agent must ask and get a clear yes.",
        "graph": graph.compile(),
        "dspy": dspy,
        "devset": [dspy.Example(task="Clean up my Downloads folder.").with_inputs("task")],
        "ask_user": ask_user,
        "delete_files": delete_files,
    }


def prefers_brief(body: dict[str, Any]) -> str | None:
    """The stub's verdict: 5 for a response of up to 8 characters, otherwise 2. None: the message has no case."""
    for part in reversed(str(body["messages"][-1]["content"]).split("\n\n")):
        try:
            responses = json.loads(part)["responses"]
        except (ValueError, TypeError, KeyError):
            continue
        return verdict_reply({name: 5 if len(text) < 9 else 2 for name, text in responses.items()})
    return None


async def run_block(code: str, where: str, line: int, names: dict[str, Any]) -> None:
    tree = ast.parse("\n" * (line - 1) + code)
    compiled = compile(tree, where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(compiled, names)
    if result is not None:
        await result


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RA_JUDGE_MODEL", "scripted:scripts:by_length")
    return tmp_path


TOKEN = "a-token-of-some-length"


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Iterator[str]:
    """A judge server's address, for the page that is about one."""
    if "serving.md" not in request.node.name:
        yield ""
        return
    with serving(tokens=(TOKEN,)) as server:
        yield server.url


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOpenAI]:
    """A server in place of OpenAI's API and of the servers that the pages name."""
    with FakeOpenAI(prefers_brief) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        yield server


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page, "python")])
def test_python_on_the_pages_runs(
    page: str, elsewhere: Path, served: str, stub: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = blocks_of(page, "python")
    needs = [match[1] for _, block in blocks if (match := re.match(r"# needs (.*)\n", block))]
    assert set(needs) <= NEEDS
    for line, block in blocks:
        compile("\n" * (line - 1) + block, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if page in RUN_ELSEWHERE:
        (path,) = (ROOT / "tests").rglob(RUN_ELSEWHERE[page])
        test = path.read_text()
        assert Path(page).name in test, f"{RUN_ELSEWHERE[page]} no longer runs {page}"
        return
    names = prepare(page, elsewhere, monkeypatch)
    replaced = {} if page != "docs/serving.md" else {"http://localhost:8700": served, '"..."]': f'"{TOKEN}"]'}
    replaced |= {'api_key="..."': f'api_key="{TOKEN}"', "http://localhost:8000/v1": stub.url}

    async def run() -> None:
        for line, block in blocks:
            if not (block.startswith("# needs ") or CLUSTER.search(block)):
                for said, meant in replaced.items():
                    block = block.replace(said, meant)
                await run_block(block, page, line, names)

    asyncio.run(run())


BEFORE_MLFLOW = """
import os, warnings
import mlflow, pandas as pd
from rewardanything_mlflow import PrincipleScorer

for name, answer in (("run_a", "The answer is 4."), ("run_b", "4")):
    with mlflow.start_run(run_name=name):
        data = [{"inputs": {"question": "2+2?"}, "outputs": answer}]
        mlflow.genai.evaluate(data=data, scorers=[PrincipleScorer(principle="Be brief.", judge="openai/gpt-5-mini")])
run_a, run_b = (mlflow.search_runs(filter_string=f"run_name = '{n}'").run_id[0] for n in ("run_a", "run_b"))
table = pd.DataFrame({"inputs": ["2+2?"], "outputs": ["4"]})
"""
AFTER_MLFLOW = """
assert result.metrics == {"concise/mean": 5.0, "concise/judged": 1}, result.metrics
assert comparison.win_rates["run_b"].value == 1.0, comparison
"""


def test_the_readme_runs(elsewhere: Path, stub: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a separate process, because MLflow has one tracking location for a whole process."""
    monkeypatch.delenv("RA_JUDGE_MODEL")
    blocks = [block for _, block in blocks_of("README.md", "python") if not block.startswith("# needs ")]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks).replace("http://localhost:8000/v1", stub.url)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "integrations"), "OPENAI_API_KEY": "none"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert stub.count == 2, done.stdout  # MLflow and LangChain share a verdict


def test_the_mlflow_page_runs(elsewhere: Path) -> None:
    """In a separate process, because MLflow has one tracking location for a whole process."""
    blocks = [block for _, block in blocks_of("docs/integrations/mlflow.md", "python")]
    blocks = [block for block in blocks if not block.startswith("# needs ")]
    with FakeOpenAI(prefers_brief) as server:
        environ = {
            "PYTHONPATH": str(ROOT / "integrations"),
            "MLFLOW_GENAI_EVAL_MAX_WORKERS": "10",
            "OPENAI_BASE_URL": server.url,
        }
        done = subprocess.run(
            [sys.executable, "-c", "\n".join([BEFORE_MLFLOW, *blocks, AFTER_MLFLOW])],
            env=os.environ | environ,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr[-3000:]


# --- commands

COMMANDS = site.subcommands()
OPTIONS = {
    name: {"-h", "--help"}
    | {
        spelling
        for parameter in command.params
        for spelling in [*parameter.opts, *parameter.secondary_opts]
        if spelling.startswith("-")
    }
    for name, command in COMMANDS.items()
}
MARKDOWN = sorted({*PAGES, "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/README.md"})


def words_of(line: str) -> list[str]:
    """The words of a shell line after ``ra-judge``, up to what ends a command."""
    words = shlex.split(line, comments=True)
    end = next((place for place, word in enumerate(words) if word in {"|", ">", ">>", "&&", ";", "&"}), len(words))
    return words[:end]


def spoken(page: str) -> Iterator[tuple[str, list[str], bool]]:
    """Where, the words after ``ra-judge``, and whether it is a whole command line."""
    text = text_of(page)
    for match in FENCE.finditer(text):
        for line in match[3].replace("\\\n", " ").splitlines():
            if match[2] == "dockerfile" and line.startswith('CMD ["ra-judge"'):
                yield line, json.loads(line.removeprefix("CMD "))[1:], True
            elif found := re.search(r"(?:^|[\s/])ra-judge (\S.*)", line):
                whole = match[2] in {"bash", "console", "yaml", "ini"}
                if whole or match[2] in {"text", "python"}:
                    said = found[1] if whole else found[1].partition(", ")[0].rstrip(".)\"'")
                    yield line.strip(), words_of(said), whole
    for prose in FENCE.sub("", text).split("\n\n"):
        for match in re.finditer(r"`ra-judge ([^`]+)`", " ".join(prose.split())):
            yield match[0], words_of(match[1]), False


@pytest.mark.parametrize("page", [page for page in MARKDOWN if "ra-judge " in text_of(page)])
def test_commands_on_the_pages_parse(page: str) -> None:
    for said, words, whole in spoken(page):
        if words[0] in {"COMMAND", "--version", "--help"}:
            continue
        size = next((size for size in (2, 1) if " ".join(words[:size]) in COMMANDS), 0)
        if not size and any(name.startswith(f"{words[0]} ") for name in COMMANDS) and not whole:
            continue  # a group of commands
        assert size, f"{page}: {said}"
        name, arguments = " ".join(words[:size]), words[size:]
        options = [word.partition("=")[0] for word in arguments if re.match(r"--?[a-z]", word)]
        assert [option for option in options if option not in OPTIONS[name]] == [], f"{page}: {said}"
        if whole and "..." not in arguments:
            COMMANDS[name].make_context(name, list(arguments))  # a usage error says which


@pytest.mark.parametrize(
    "page", [*MARKDOWN, *(path.relative_to(ROOT).as_posix() for path in (DOCS / "assets").glob("*.svg"))]
)
def test_pages_name_no_machine_of_ours(page: str) -> None:
    assert traces(text_of(page)) == []


@pytest.mark.parametrize("page", MARKDOWN)
def test_links_to_files_lead_somewhere(page: str) -> None:
    for prose in FENCE.split(text_of(page))[::4]:
        for link in re.findall(r"\]\(([^)\s:#]+)(?:#[^)]*)?\)", prose):
            if page == "docs/index.md" or not link.startswith(("contributing", "changelog", "benchmarks.md")):
                assert (ROOT / page).parent.joinpath(link).exists(), link


# --- tables


def test_every_setting_is_explained() -> None:
    table = site.filled(text_of("docs/configuration.md"))
    for name, setting in SETTINGS.items():
        (row,) = re.findall(rf"^\| `{name}` \|(.*)\|$", table, re.MULTILINE)
        kind, _default, meaning = row.split(" | ")[:3]
        assert kind.strip() == site._KINDS[setting.kind]
        assert len(meaning) > 10, name
    assert {setting.belongs for setting in SETTINGS.values()} == set(site._PARTS)
    assert "| `passes` | whole number | 1 |" in table and "| `max_concurrency` | whole number | 64 |" in table


def test_every_setting_of_a_check_is_explained() -> None:
    page = site.filled(text_of("docs/configuration.md"))
    for name, kind in check_settings.KINDS.items():
        (row,) = re.findall(rf"^\| `{name}` \|(.*)\|$", page.partition("## `[check]`")[2], re.MULTILINE)
        said, meaning = row.split(" | ")
        assert said.strip() == site._CHECK_KINDS[kind] and len(meaning) > 10, name
        assert name == "power" or f"--{name.replace('_', '-')}" in OPTIONS["check"] | OPTIONS["baseline"], name
    for name in check_settings._PRINCIPLE_KINDS:
        assert f"`{name}`" in page.partition("[[check.principles]]")[2].partition("\n\n")[0], name


def test_every_variable_is_explained() -> None:
    """What the code reads as RA_JUDGE_..., apart from the settings, is on the page; and nothing else is."""
    read = {
        name
        for folder in (ROOT / "rewardanything_core", ROOT / "integrations")
        for path in folder.rglob("*.py")
        for name in re.findall(r"RA_JUDGE_[A-Z_]*[A-Z]", path.read_text())
    }
    settings = {f"RA_JUDGE_{name.upper()}" for name in SETTINGS}
    documented = set(re.findall(r"^\| `(RA_JUDGE_\w+)` \|", text_of("docs/configuration.md"), re.MULTILINE))
    assert documented == read - settings == _NOT_SETTINGS


def test_every_command_and_option_is_on_the_page() -> None:
    page = site.filled(text_of("docs/cli.md"))
    assert re.findall(r"^## ([\w -]+)$", page, re.MULTILINE) == list(COMMANDS)
    for name, section in zip(COMMANDS, page.split("\n## ")[1:], strict=True):
        missing = [option for option in OPTIONS[name] - {"-h", "--help"} if option not in section]
        assert missing == []


def test_the_api_page_has_what_is_exported() -> None:
    named = re.findall(r"^::: (rewardanything_core\.\S+)$", text_of("docs/api.md"), re.MULTILINE)
    packages = [
        import_module(f"rewardanything_core.{name}")
        for name in (
            "agreement",
            "alignment",
            "backends",
            "bench",
            "benchmark_building",
            "canary",
            "conversations",
            "estimation",
            "gate",
            "ranking",
            "tables",
        )
    ]
    public = {name for package in (rewardanything_core, *packages) for name in package.__all__}
    public |= {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    public |= {"CostEstimate", "Rendered", "SETUP_ERRORS"}  # what exported functions return, and a tuple of errors
    assert len(named) == len(set(named)) and {name.rpartition(".")[2] for name in named} == public
    for name in named:
        module, _, attribute = name.rpartition(".")
        assert hasattr(import_module(module), attribute), name


def test_what_integrations_export_is_documented() -> None:
    page = site.filled(text_of("docs/api-integrations.md"))
    folders = [path for path in (ROOT / "integrations").iterdir() if (path / "__init__.py").exists()]
    assert sorted(re.findall(r"^## (\w+)$", page, re.MULTILINE)) == sorted(folder.name for folder in folders)
    assert "::: rewardanything_mlflow.PrincipleScorer\n" in page


def test_every_named_principle_is_on_the_page() -> None:
    page = site.filled(text_of("docs/principles.md"))
    assert [
        name for name, principle in library().items() if f"`{name}`" not in page or principle.text not in page
    ] == []


def test_which_errors_may_pass_is_as_the_page_says() -> None:
    table = text_of("docs/concepts.md").partition("| error | means |")[2].partition("\n\n")[0]
    said = {
        name: row.rstrip(" |").endswith("yes")
        for row in table.splitlines()[2:]
        for name in re.findall(r"`(\w+Error)`", row.split("|")[1])
    }
    assert said == {name: getattr(errors, name).retryable for name in said} and len(said) >= 11


def test_a_jury_and_a_judge_take_what_the_pages_call() -> None:
    for name in ("judge", "ajudge", "judge_batch", "ajudge_batch", "judge_stream", "score"):
        assert callable(getattr(Jury, name)) and callable(getattr(Judge, name))


# --- the site


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    for page in (tmp_path / "site").rglob("*.html"):
        tags = re.findall(r"<(?:script|img|link|iframe|source)\b[^>]*>", page.read_text(encoding="utf-8"))
        assert [tag for tag in tags if re.search(r'(?:src|href)="?(?:https?:)?//', tag)] == [], page
