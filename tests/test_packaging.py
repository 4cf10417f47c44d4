"""What a release holds: the source distribution, and the wheel that is built from it."""

from __future__ import annotations

import email
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = [ROOT / "rewardanything_core", *sorted((ROOT / "integrations").glob("rewardanything_*"))]
DATA = {
    "rewardanything_core/prompting/prompts/judge.md",
    "rewardanything_core/prompting/prompts/principles.toml",
    "rewardanything_core/prompting/prompts/questions.toml",
    "rewardanything_core/readouts/pointwise/heads/qwen2.5-coder-1.5b.safetensors",
    "rewardanything_core/bench/attacks.toml",
    "rewardanything_core/alignment/reflection_prompt.md",
    "rewardanything_core/gate/reports/templates/page.html",
    "rewardanything_core/gate/reports/templates/page.css",
    "rewardanything_core/gate/reports/templates/filter.js",
    "rewardanything_core/viewer/templates/view.html",
    "rewardanything_core/viewer/static/view.css",
    "rewardanything_core/viewer/static/view.js",
}
"""Some of the files that are not Python and without which something fails at run time."""

FOR_USERS = (
    "local adapter quantized endpoint parquet serve align otel mlflow dspy langchain pytest rl ray spark".split()
)
FOR_US = "docs dev trained-prompt".split()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both distributions."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    assert path.name.endswith("-py3-none-any.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return email.message_from_bytes(wheel.read(name))


def sources() -> set[str]:
    """The files of our packages, as they are named once installed."""
    return {
        f"{package.name}/{path.relative_to(package).as_posix()}"
        for package in PACKAGES
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_our_packages_whole_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert files == sources()
    assert files >= DATA
    suffixes = {".py", ".typed", ".md", ".toml", ".html", ".css", ".js", ".json", ".safetensors"}
    assert {Path(name).suffix for name in files} == suffixes
    assert len(PACKAGES) == 7


def test_each_package_says_that_it_is_typed(wheel: zipfile.ZipFile) -> None:
    assert [p.name for p in PACKAGES if f"{p.name}/py.typed" not in wheel.namelist()] == []


def test_the_source_distribution_is_what_tests_and_documentation_need(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {f"integrations/{name}" for name in sources() if not name.startswith("rewardanything_core/")}
    wanted |= {name for name in sources() if name.startswith("rewardanything_core/")}
    wanted |= {"LICENSE", "README.md", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md", "RELEASING.md"}
    wanted |= {"Makefile", "constraints.txt", "mkdocs.yml", "tests/conftest.py", "docs/index.md"}
    assert wanted - files == set()
    unwanted = ("mlruns", "site", ".venv", ".ci", ".git/", "dist", "build")
    assert [name for name in files if name.startswith(unwanted) or "__pycache__" in name] == []


def test_metadata(metadata: Message, wheel: zipfile.ZipFile) -> None:
    assert (metadata["Name"], metadata["Version"]) == ("rewardanything-core", PROJECT["version"])
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).startswith("# rewardanything-core\n")
    assert len(metadata["Summary"]) < 120
    links = dict(line.split(", ", 1) for line in metadata.get_all("Project-URL", []))
    assert links["Paper"] == "https://arxiv.org/abs/2506.03637"
    classifiers = metadata.get_all("Classifier", [])
    assert {"Typing :: Typed", "Framework :: Pytest", "Programming Language :: Python :: 3.11"} <= set(classifiers)
    assert not any(line.startswith("License ::") for line in classifiers)  # PEP 639: the expression stands for it


def test_the_documented_extras_are_those_of_the_package(metadata: Message) -> None:
    assert sorted(metadata.get_all("Provides-Extra", [])) == sorted([*FOR_USERS, *FOR_US])
    table = (ROOT / "docs" / "quickstart.md").read_text().partition("| extra | for |")[2].partition("\n\n")[0]
    documented = [line.split("`")[1] for line in table.splitlines()[2:]]
    assert sorted(documented) == sorted(FOR_USERS)


def test_the_base_install_is_light(metadata: Message) -> None:
    names = [line.split(">")[0] for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(names) == ["aiohttp", "certifi", "jinja2", "numpy", "platformdirs", "rich", "scipy", "typer"]


def test_the_command_and_the_plugin_are_registered(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    said = wheel.read(name).decode()
    assert "[console_scripts]\nra-judge = rewardanything_core.cli:main" in said
    assert "[pytest11]\nrewardanything = rewardanything_pytest.plugin" in said


def test_what_is_pinned_satisfies_what_is_asked_for() -> None:
    """`constraints.txt` names a version within the range of everything that an extra asks for."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    asked = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
    wrong = []
    for requirement in map(Requirement, asked):
        version = pinned.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(version):
            wrong.append(f"{requirement}: pinned is {version}")
    assert wrong == []
