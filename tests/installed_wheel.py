"""The wheel with each extra, in a clean environment of its own, doing what its example says: `make test-wheel`.

First each extra alone, with a scripted judge: what it brings must be enough for what it is for. Then what the first
lines of the examples tell a new user to type, with the small model on this machine's CPU. One of them:
`make test-wheel ONLY=dspy`.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from alignment_data import REWRITTEN, VAGUE, literal_judge, pair_rows
from installed import ROOT, Environment, build_wheel, environment
from servers import FakeOpenAI

pytestmark = pytest.mark.timeout(3600)

EXAMPLES = ROOT / "examples"
SCRIPTED = {"RA_JUDGE_MODEL": "scripted:scripts:by_length"}
CASES = [{"id": i, "prompt": "How far is the moon?", "responses": {"a": "x" * i, "b": "xxx"}} for i in range(1, 6)]
WRITE_PARQUET = (
    "import json, pyarrow, pyarrow.parquet as p; "
    "kind = pyarrow.schema([('id', 'int64'), ('prompt', 'str'), ('responses', pyarrow.map_('str', 'str'))]); "
    "rows = [r | {'responses': list(r['responses'].items())} for r in map(json.loads, open('cases.jsonl'))]; "
    "p.write_table(pyarrow.Table.from_pylist(rows, kind), 'cases.parquet')"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture
def env(request: pytest.FixtureRequest) -> Iterator[Environment]:
    """A fresh environment, with a scripted judge and some cases in its folder."""
    name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-")
    with environment(name) as made:
        shutil.copy(ROOT / "tests" / "scripts.py", made.work)
        (made.work / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in CASES))
        yield made


def scripted(env: Environment) -> dict[str, str]:
    return SCRIPTED | {"PYTHONPATH": str(env.work)}


# --- without any extra


def test_base(env: Environment, wheel: Path) -> None:
    """The light install works with a script, and says what to install for all else."""
    env.install(str(wheel))
    assert "rewardanything-core 0." in env.run("ra-judge", "--version")
    assert "qwen2.5-coder-1.5b" in env.run("ra-judge", "models")
    readme = (ROOT / "README.md").read_text().rpartition("## Test what you build on it\n\n```python\n")[2]
    env.run("python", "-c", readme.partition("```")[0])
    out = env.run("ra-judge", "grade", "cases.jsonl", "--principle", "Longer.", "-o", "out.jsonl", **scripted(env))
    assert len((env.work / "out.jsonl").read_text().splitlines()) == len(CASES), out

    def lacks(extra: str, said: str) -> None:
        assert f"pip install 'rewardanything-core[{extra}]'" in said, said

    lacks("local", env.run("ra-judge", "demo", code=2))
    lacks("endpoint", env.run("ra-judge", "demo", "--model", "anthropic/claude-sonnet-4-5", code=2))
    with FakeOpenAI() as server:
        env.run("ra-judge", "init", "new", "--yes", "--model", "Qwen/Qwen3-8B", "--api-base", server.url)
        files = ["new/sample.jsonl", "--principle-file", "new/principle.md", "-o", "judged.jsonl"]
        said = env.run("ra-judge", "grade", *files, "--config", "new/ra-judge.toml")
        assert "10 rows, 10 judged" in said
    lacks("serve", env.run("ra-judge", "serve", code=2))
    (env.work / "cases.parquet").write_bytes(b"PAR1")
    lacks(
        "parquet", env.run("ra-judge", "grade", "cases.parquet", "--principle", "P", "-o", "o", code=2, **scripted(env))
    )
    for extra in ("mlflow", "dspy", "langchain", "ray"):
        lacks(extra, env.run("python", "-c", f"from rewardanything_{extra} import *", code=1))
    env.run("python", "-c", "import rewardanything_rl")  # needs nothing of its own
    lacks(
        "ray",
        env.run(
            "python",
            "-c",
            "from rewardanything_core.tables import judge_frames as f; list(f([], principle='P'))",
            code=1,
        ),
    )


# --- each extra alone, with a script or a server of ours as the model

THROUGH_A_SERVER = {
    "mlflow": "from rewardanything_mlflow import PrincipleScorer as S\n"
    "print(S(principle='p', judge='openai:/judge')(inputs='q', outputs='is 4').value)",
    "dspy": "import dspy, rewardanything_dspy as ra\n"
    "example, prediction = dspy.Example(question='q').with_inputs('question'), dspy.Prediction(answer='is 4')\n"
    "print(1 + 4 * float(ra.PrincipleMetric('p', judge='openai/judge')(example, prediction)))",
    "langchain": "from rewardanything_langchain import JudgeRunnable as R\n"
    "print(R(principle='p', judge='openai:judge').invoke({'prompt': 'q', 'responses': ['is 4']}).scores['0'])",
    "rl": "from rewardanything_rl import reward_function as f; print(f('p', 'q', 'is 4', judge='openai/judge'))",
}
"""Integration -> a program that judges through a server with OpenAI's protocol, with nothing else installed."""


def judge_through_a_server(extra: str, env: Environment) -> None:
    missing = "import importlib.util as u; print([n for n in ('litellm', 'torch') if u.find_spec(n)])"
    brings = {"dspy": "['litellm']\n", "rl": "['torch']\n"}.get(extra, "[]\n")
    assert env.run("python", "-c", missing) == brings
    with FakeOpenAI() as server:
        variables = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "none"}
        said = env.run("python", "-c", THROUGH_A_SERVER[extra], **variables)
        assert "4.0" in said.splitlines() and server.count == 1, said


def local(env: Environment) -> None:
    said = env.run("ra-judge", "demo", "--model", "smollm2-135m")
    assert "verdicts in" in said


def quantized(env: Environment) -> None:
    """It belongs to ``local``; what it loads wants a GPU, so here it is only brought together."""
    env.run("python", "-c", "import bitsandbytes")


def endpoint(env: Environment) -> None:
    with FakeOpenAI() as server:
        variables = {"RA_JUDGE_CLIENT": "litellm", "RA_JUDGE_API_KEY": "none"}
        said = env.run("ra-judge", "demo", "--model", "openai/judge", "--api-base", server.url, **variables)
        assert "4 verdicts" in said


def parquet(env: Environment) -> None:
    env.run("python", "-c", WRITE_PARQUET)
    env.run("ra-judge", "grade", "cases.parquet", "--principle", "P", "-o", "judged.parquet", **scripted(env))
    assert (
        env.run("python", "-c", "import pyarrow.parquet as p; print(p.read_table('judged.parquet').num_rows)") == "5\n"
    )


def align(env: Environment) -> None:
    labels = "".join(json.dumps(row) + "\n" for row in pair_rows())
    (env.work / "labels.jsonl").write_text(labels)
    (env.work / "P.md").write_text(VAGUE)
    with FakeOpenAI(literal_judge) as server:
        judge = {"RA_JUDGE_MODEL": "hosted_vllm/fake", "RA_JUDGE_API_BASE": server.url}
        env.run("ra-judge", "align", "labels.jsonl", "--principle", "P.md", "-o", "P2.md", **judge)
    assert REWRITTEN in (env.work / "P2.md").read_text()


def otel(env: Environment) -> None:
    (env.work / "one.py").write_text("from rewardanything_core import EvaluationEvents; EvaluationEvents()")
    env.run("python", "one.py", OTEL_SDK_DISABLED="true")


def serve(env: Environment) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [str(env.path / "bin" / "ra-judge"), "serve", "--port", str(port)]
    server = subprocess.Popen(command, cwd=env.work, env=env.environ(scripted(env)))
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"{url}/health")
                break
            except urllib.error.URLError:
                time.sleep(0.2)
        said = env.run("python", EXAMPLES / "serve_client.py", url)
        assert "is better" in said and "case 2 was not judged" in said
    finally:
        server.terminate()
        assert server.wait(20) == 0


def mlflow(env: Environment) -> None:
    for name in ("mlflow_evaluate.py", "mlflow_table.py"):
        assert "could not be judged" not in env.run("python", EXAMPLES / name, **scripted(env)).replace(
            "0 rows could", ""
        )


def dspy(env: Environment) -> None:
    assert "0 judgements failed" in env.run("python", EXAMPLES / "dspy_evaluate.py", **scripted(env))


def langchain(env: Environment) -> None:
    """Without langchain-classic, which only the two evaluator classes need."""
    code = (
        "from rewardanything_langchain import JudgeRunnable, principle_evaluator as p\n"
        "print(JudgeRunnable(principle='P').invoke({'prompt': 'q', 'responses': {'a': 'x', 'b': 'xxx'}}).ranking)\n"
        "print(p('P')(inputs={'question': 'q'}, outputs={'answer': 'xxx'})['score'])\n"
    )
    assert env.run("python", "-c", code, **scripted(env)) == "['b', 'a']\n0.5\n"
    said = env.run("python", EXAMPLES / "langchain_evaluate.py", code=1, **scripted(env))
    assert "pip install langchain-classic" in said
    env.install("langchain-classic")
    assert "concise=1.0" in env.run("python", EXAMPLES / "langchain_evaluate.py", **scripted(env))


def pytest_(env: Environment) -> None:
    shutil.copytree(EXAMPLES / "pytest", env.work / "examples" / "pytest", ignore=shutil.ignore_patterns("__*"))
    env.run("pytest", "examples/pytest", "--ra-update", **scripted(env))
    said = env.run("pytest", "examples/pytest", **scripted(env))
    assert "4 passed" in said and "judgements by scripted" in said


def rl(env: Environment) -> None:
    env.run("python", "-c", "import trl")
    code = "from rewardanything_rl import *; print(PrincipleReward('P')(prompts=['q'] * 2, completions=['x', 'xxx']))"
    assert env.run("python", "-c", code, **scripted(env)) == "[0.0, 0.5]\n"


def graded(env: Environment, example: str) -> None:
    env.run("python", "-c", WRITE_PARQUET)
    with FakeOpenAI() as server:
        asked = ["cases.parquet", "judged", "--model", "hosted_vllm/judge", "--api-base", server.url]
        assert "5 rows in judged, 0 of them without" in env.run("python", EXAMPLES / example, *asked)
        assert "5 rows in judged, 0 of them without" in env.run("python", EXAMPLES / example, *asked)  # nothing left


def ray(env: Environment) -> None:
    graded(env, "ray_grade.py")


def spark(env: Environment) -> None:
    graded(env, "spark_grade.py")


def docs(env: Environment) -> None:
    site = env.work / "site"
    variables = {"NO_MKDOCS_2_WARNING": "1"}
    env.run("mkdocs", "build", "--strict", "--quiet", "-f", ROOT / "mkdocs.yml", "--site-dir", site, **variables)
    assert (site / "index.html").exists()


def trained_prompt(env: Environment) -> None:
    code = "from rewardanything_core import Template; print(Template)"
    env.run("python", "-c", code)


ALONE = {
    "local": local,
    "quantized": quantized,
    "endpoint": endpoint,
    "parquet": parquet,
    "serve": serve,
    "align": align,
    "otel": otel,
    "mlflow": mlflow,
    "dspy": dspy,
    "langchain": langchain,
    "pytest": pytest_,
    "rl": rl,
    "ray": ray,
    "spark": spark,
    "docs": docs,
    "trained-prompt": trained_prompt,
}
WANT_TORCH = {"local", "quantized", "rl", "trained-prompt"}


@pytest.mark.parametrize("extra", ALONE)
def test_extra(extra: str, env: Environment, wheel: Path) -> None:
    if extra == "spark":
        assert shutil.which("java"), "Spark needs a Java runtime; on Debian: apt-get install default-jre-headless"
    env.install(f"{wheel}[{extra}]", torch=extra in WANT_TORCH)
    if extra in THROUGH_A_SERVER:
        judge_through_a_server(extra, env)
    ALONE[extra](env)
    env.run("pip", "check")


# --- what the examples tell a new user to type

AS_WRITTEN = [
    "mlflow_evaluate.py",
    "mlflow_table.py",
    "dspy_evaluate.py",
    "dspy_gepa.py",
    "langchain_evaluate.py",
    "pytest/test_answers.py",
    "grpo_short_answers.py",
]
SHORTER = {"grpo_short_answers.py": ["--steps", "2", "--length", "16"]}
"""Options with which an example that trains for a quarter of an hour is over sooner."""


def instructions(example: str) -> list[str]:
    """The lines of an example's docstring that are to be typed."""
    said = ast.get_docstring(ast.parse((EXAMPLES / example).read_text(encoding="utf-8"))) or ""
    lines = [line.strip() for line in said.splitlines()]
    typed = [line for line in lines if re.match(r"(pip install|python|pytest) ", line)]
    assert typed and typed[0].startswith("pip install"), f"{example} does not say how to run it"
    return typed


@pytest.mark.parametrize("example", AS_WRITTEN)
def test_example_as_written(example: str, env: Environment, wheel: Path) -> None:
    shutil.copytree(EXAMPLES, env.work / "examples", ignore=shutil.ignore_patterns("__*"))
    ran = []
    for line in instructions(example):
        for part in line.partition("#")[0].split("&&"):
            program, *arguments = shlex.split(part)
            if program == "pip":
                specs = [re.sub(r"^\.(?=\[)", str(wheel), word) for word in arguments[1:]]
                env.install(*specs, torch=True)
            elif not (example in SHORTER and ran):
                ran.append(env.run(program, *arguments, *SHORTER.get(example, [])))
    assert ran
    assert "Traceback" not in "".join(ran)
    print(f"\n{example}:\n{ran[-1][-1500:]}")
