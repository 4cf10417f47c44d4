"""Writing a check's report to standard output and to files."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardanything_core.cli._options import print_json
from rewardanything_core.cli._stdout import discard_output, output, stdout
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    from rewardanything_core.gate.results import CheckReport

KINDS = ("html", "junit", "markdown")
_MAX_WIDTH = 120  # columns


def targets(settings: Mapping[str, Any]) -> dict[str, Path]:
    """Kind of report -> the file to write.

    Raises:
        ConfigError: a file cannot be written, or would replace a file that is read.
    """
    files = {kind: Path(settings[kind]).expanduser() for kind in KINDS if kind in settings}
    inputs = [settings.get(name) for name in ("dataset", "baseline", "prompt", "baseline_prompt")]
    inputs += [path for name in ("candidate", "candidate_prompt") for _, path in settings.get(name, [])]
    taken = {Path(path).resolve(): path for path in inputs if path is not None}
    for kind, path in files.items():
        if path.resolve() in taken:
            raise ConfigError(f"--{kind} {path} would replace a file that is also read or written.")
        taken[path.resolve()] = str(path)
        check_writable(path, f"--{kind}")
    return files


def check_writable(path: Path, option: str, *, reads: Iterable[str | Path] = ()) -> None:
    """Check that a file can be written, before any model is called.

    Args:
        path: The file.
        option: The option that names it, for messages.
        reads: The files that the command reads; it is to replace none of them.

    Raises:
        ConfigError: it cannot be written, or is one of those.
    """
    if path.resolve() in {Path(file).resolve() for file in reads}:
        raise ConfigError(f"{option} {path} would replace a file that is read.")
    if path.is_dir():
        raise ConfigError(f"{option} {path} is a folder; name a file.")
    if not path.parent.is_dir():
        raise ConfigError(f"{option} {path}: there is no folder {path.parent}.", hint="Create it first.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigError(f"{option} {path}: there is no permission to write it.")


def write(report: CheckReport, files: Mapping[str, Path]) -> None:
    """Write the reports. The file that ``GITHUB_STEP_SUMMARY`` names is appended to, because other steps share it.

    Args:
        report: The report.
        files: Kind of report -> the file.

    Raises:
        ConfigError: a file cannot be written.
    """
    for kind, path in files.items():
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        save(_text(report, kind), path, append=bool(summary) and Path(summary or "").resolve() == path.resolve())


def save(text: str, path: Path, *, append: bool = False) -> None:
    """Write a report to a file.

    Args:
        text: The report.
        path: The file.
        append: Whether to add to what the file has.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        with path.open("a" if append else "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(f"Cannot write {path}: {error.strerror or error}.") from error


def show(report: CheckReport, *, as_json: bool) -> None:
    """Print the report. If the reader closes the pipe, as ``head`` does, the exit code stays that of the report.

    Args:
        report: The report.
        as_json: Whether to print JSON instead of text.
    """
    try:
        if as_json:
            print_json(_without_infinity(report.to_dict()))
        else:
            from rewardanything_core.gate.reports.terminal import terminal_report

            is_terminal = stdout().isatty()
            width = min(_MAX_WIDTH, shutil.get_terminal_size((100, 24)).columns) if is_terminal else 100
            color = is_terminal and "NO_COLOR" not in os.environ
            output(terminal_report(report, width=width, color=color).rstrip("\n"), color=color)
    except BrokenPipeError:
        discard_output()


def _text(report: CheckReport, kind: str) -> str:
    if kind == "html":
        from rewardanything_core.gate.reports.html import html_report

        return html_report(report)
    if kind == "junit":
        from rewardanything_core.gate.reports.junit import junit_report

        return junit_report(report)
    from rewardanything_core.gate.reports.markdown import markdown_report

    return markdown_report(report)


def _without_infinity(value: Any) -> Any:
    """The value with None in place of infinite and undefined numbers, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_infinity(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinity(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
