"""Writing a check's report: to standard output, and to the files that were asked for."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rewardanything_core.cli._options import print_json
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    from rewardanything_core.gate.results import CheckReport

KINDS = ("html", "junit", "markdown")
_WIDEST = 120


def targets(settings: Mapping[str, Any]) -> dict[str, Path]:
    """Kind -> the file to write.

    Raises:
        ConfigError: a file cannot be written where it is to be, or would take the place of what is read.
    """
    found = {kind: Path(settings[kind]).expanduser() for kind in KINDS if kind in settings}
    inputs = [settings.get(name) for name in ("dataset", "baseline", "prompt", "baseline_prompt")]
    inputs += [path for name in ("candidate", "candidate_prompt") for _, path in settings.get(name, [])]
    taken = {Path(path).resolve(): path for path in inputs if path is not None}
    for kind, path in found.items():
        if path.resolve() in taken:
            raise ConfigError(f"--{kind} {path} would replace a file that is read or written too.")
        taken[path.resolve()] = str(path)
        writable(path, f"--{kind}")
    return found


def writable(path: Path, option: str) -> None:
    """See that a file can be written before anything is paid for.

    Raises:
        ConfigError: it cannot.
    """
    if path.is_dir():
        raise ConfigError(f"{option} {path} is a folder; name a file.")
    if not path.parent.is_dir():
        raise ConfigError(f"{option} {path}: there is no folder {path.parent}.", hint="Make it first.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigError(f"{option} {path}: it may not be written.")


def write(report: CheckReport, files: Mapping[str, Path]) -> None:
    """Write the files. The one that ``GITHUB_STEP_SUMMARY`` names is appended to, as other steps' summaries are.

    Raises:
        ConfigError: one cannot be written after all.
    """
    for kind, path in files.items():
        text = _text(report, kind)
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        mode = "a" if summary and Path(summary).resolve() == path.resolve() else "w"
        try:
            with path.open(mode, encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError as error:
            raise ConfigError(f"Cannot write {path}: {error.strerror or error}.") from error


def show(report: CheckReport, *, as_json: bool) -> None:
    """Print the report. A reader that leaves early, as ``head`` does, changes nothing about the exit code."""
    try:
        if as_json:
            print_json(_plain(report.to_dict()))
        else:
            from rewardanything_core.gate.reports.terminal import terminal_report

            drawn = sys.stdout.isatty()
            width = min(_WIDEST, shutil.get_terminal_size((100, 24)).columns) if drawn else 100
            color = drawn and "NO_COLOR" not in os.environ
            typer.echo(terminal_report(report, width=width, color=color).rstrip("\n"), color=color)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _text(report: CheckReport, kind: str) -> str:
    if kind == "html":
        from rewardanything_core.gate.reports.html import html_report

        return html_report(report)
    if kind == "junit":
        from rewardanything_core.gate.reports.junit import junit_report

        return junit_report(report)
    from rewardanything_core.gate.reports.markdown import markdown_report

    return markdown_report(report)


def _plain(value: Any) -> Any:
    """The value in JSON's own terms, which know no infinity."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
