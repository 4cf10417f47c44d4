"""Virtual environments made for one test, as a new user would make them.

What is installed comes from the package index and takes minutes, so the tests that use these are in files that pytest
only collects when they are named: `installed_wheel.py` and `installed_hosts.py`.
`RA_TEST_KEEP=folder` keeps the environments there, for looking into one that failed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
TORCH = "torch==2.13.0"
"""Goes in first, where anything needs it: on Linux an unpinned one can be a build with gigabytes of CUDA."""


def build_wheel(folder: Path) -> Path:
    """The wheel, built from the source distribution."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = folder.glob("*.whl")
    return wheel


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and a folder to work in that is not the repository."""

    path: Path
    work: Path

    def install(self, *specs: str, pinned: bool = True, torch: bool = False) -> None:
        """`pip install`, with `constraints.txt` unless the newest of everything is wanted."""
        command = [str(self.path / "bin" / "pip"), "--disable-pip-version-check", "install", "--quiet"]
        command += ["-c", str(ROOT / "constraints.txt")] if pinned else []
        if torch:
            self._run([*command, TORCH])
        self._run([*command, *specs, *([TORCH] if torch else [])])

    def run(self, *command: str | Path, code: int | tuple[int, ...] = 0, **variables: str) -> str:
        """What a command prints on both streams. It has to end with one of these exit codes."""
        program = self.path / "bin" / command[0]
        return self._run([str(program), *map(str, command[1:])], code, variables)

    def versions(self, *names: str) -> dict[str, str]:
        """Distribution -> the version that is installed."""
        code = f"import importlib.metadata as m; print(*map(m.version, {names!r}))"
        return dict(zip(names, self.run("python", "-c", code).split(), strict=True))

    def environ(self, variables: Mapping[str, str] | None = None) -> dict[str, str]:
        """The variables of a fresh shell in this environment: nothing of ours but where models are cached."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RA_JUDGE_", "PYTHON", "PYTEST", "VIRTUAL_"))}
        home = {"RA_JUDGE_HOME": os.environ["RA_JUDGE_HOME"]} if "RA_JUDGE_HOME" in os.environ else {}
        own = {"PATH": f"{self.path / 'bin'}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(self.path)}
        store = {"RA_JUDGE_STORE": str(self.work / "verdicts.sqlite3"), "MLFLOW_DISABLE_TELEMETRY": "true"}
        return kept | home | own | store | dict(variables or {})

    def _run(self, command: list[str], code: int | tuple[int, ...] = 0, variables: Mapping[str, str] = {}) -> str:
        done = subprocess.run(
            command,
            cwd=self.work,
            env=self.environ(variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        # What threads print after the last test would push the summary of a test run out of sight.
        failed = "\n".join(line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR ", "E  ")))
        said = f"{' '.join(command)}\nended with {done.returncode}\n{failed[:4000]}\n{done.stdout[-4000:]}"
        assert done.returncode in (code if isinstance(code, tuple) else (code,)), said
        return done.stdout


@contextmanager
def environment(name: str) -> Iterator[Environment]:
    """A fresh virtual environment of the Python that runs the tests, removed afterwards."""
    keep = os.environ.get("RA_TEST_KEEP")
    base = Path(tempfile.mkdtemp(prefix=f"wheel-{name}-", dir=keep))
    try:
        subprocess.run([sys.executable, "-m", "venv", str(base / "venv")], check=True)
        (base / "work").mkdir()
        yield Environment(base / "venv", base / "work")
    finally:
        if not keep:
            shutil.rmtree(base, ignore_errors=True)
