"""Each host at both ends of the range we declare: `make test-oldest`, `make test-newest`.

The wheel goes into an environment of its own with the host's lowest version that pyproject.toml admits, or with the
newest that the package index has, and the integration's own tests run there. `make test-oldest ONLY=mlflow` does one.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from installed import ROOT, build_wheel, environment

pytestmark = pytest.mark.timeout(3600)

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
TOOLS = ["aiohttp", "hypothesis", "pytest", "pytest-timeout"]


@dataclass(frozen=True)
class Host:
    """A package that we work in or stand on."""

    extra: str
    """The extra that names it."""

    tests: str
    """The test files that are run, without ``test_`` and ``.py``."""

    also: str = ""
    """What else these tests need: further extras, and distributions with ``+`` before them."""

    newest_tests: str = ""
    """Further test files for the newest end, of what the oldest version lacks."""

    torch: bool = False
    """Whether torch has to be there first."""

    unresolvable: str = ""
    """A range whose versions need what the package index lacks: put in without their dependencies as the newest end."""


HOSTS = {
    "mlflow": Host(
        "mlflow",
        "mlflow mlflow_fields mlflow_agents mlflow_alignment check_registry",
        "endpoint local dspy +gepa +langchain-core",
        torch=True,
        newest_tests="mlflow_judges mlflow_server",
        unresolvable=">=3.18",  # 3.18.0 came without its mlflow-skinny and mlflow-tracing
    ),
    "dspy": Host("dspy", "dspy dspy_fields dspy_optimizers dspy_best_of_n"),
    "langchain-core": Host(
        "langchain",
        "langchain langgraph_agents langsmith_labels",
        "endpoint +langchain-classic +langgraph +langsmith +openevals +pandas",
        unresolvable=">=1.8.4",  # 1.8.4 came without its langchain-protocol 0.0.22
    ),
    "litellm": Host("endpoint", "endpoint faults concurrency"),
    "transformers": Host("local", "local engine chat_tokenizer logits fetch", "endpoint", torch=True),
    "trl": Host("rl", "rl rl_texts injection_guard verl", "local endpoint", torch=True),
    "ray": Host("ray", "ray", "endpoint"),
    "pytest": Host(
        "pytest", "pytest_plugin pytest_assertions pytest_baselines", "endpoint local +pytest-xdist", torch=True
    ),
}


def lowest(host: str) -> str:
    """``==`` and the lower end of the host's range."""
    (asked,) = [line for line in EXTRAS[HOSTS[host].extra] if re.match(rf"{host}(\[\w+\])?[<>=]", line)]
    end = re.search(r">=([\d.]+)", asked)
    assert end, asked
    return f"{host}=={end[1]}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.mark.parametrize("end", ["oldest", "newest"])
@pytest.mark.parametrize("host", HOSTS)
def test_host(host: str, end: str, wheel: Path) -> None:
    plan = HOSTS[host]
    extras = ",".join([plan.extra, *(word for word in plan.also.split() if word[0] != "+")])
    specs = [f"{wheel}[{extras}]", *TOOLS, *(word[1:] for word in plan.also.split() if word[0] == "+")]
    if end == "oldest":
        specs.append(lowest(host))
    with environment(f"{end}-{host}") as env:
        env.install(*specs, pinned=False, torch=plan.torch)
        if end == "newest" and plan.unresolvable:
            env.install("--no-deps", f"{host}{plan.unresolvable}", pinned=False)
        names = [*plan.tests.split(), *(plan.newest_tests.split() if end == "newest" else ())]
        files = [str(path) for name in names for path in (ROOT / "tests").rglob(f"test_{name}.py")]
        assert len(files) == len(names), files
        # Not the checkout's integrations: the wheel's.
        command = ["pytest", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={ROOT}", "-o", "pythonpath=", "-q"]
        command += ["--tb=short", "--show-capture=no", "-p", "no:cacheprovider", "-m", "not spark and not vllm"]
        said = env.run(*command, *files)
        (result,) = (line for line in said.splitlines() if re.match(r"\d+ passed", line))
        print(f"\n{host} {env.versions(host)[host]} ({end}): {result}")
