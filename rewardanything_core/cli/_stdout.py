"""Standard output, reserved for the results of a command.

Libraries print to standard output, some from threads of their own: LiteLLM prints a list of providers for a model name
that it does not know. Applications under test and the processes that they start do so too. A line from any of them
between two JSON lines makes the output unreadable for the next program. While a command runs, both ``sys.stdout`` and
file descriptor 1 therefore lead to standard error, and only this module writes to the real standard output.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import typer

from rewardanything_core.errors import ConfigError

_reserved: TextIO | None = None


def stdout() -> TextIO:
    """The real standard output."""
    return _reserved or sys.stdout


def output(text: str, *, newline: bool = True, **style: Any) -> None:
    """Write text to standard output.

    Args:
        text: The text, which may contain ANSI codes; they are removed unless the output is a terminal.
        newline: Whether to end the line.
        **style: Options of `typer.style`, and ``color`` to keep or remove ANSI codes whatever the output is.

    Raises:
        ConfigError: it cannot be written, for instance because the disk is full.
    """
    color = style.pop("color", None)
    try:
        typer.echo(typer.style(text, **style) if style else text, file=stdout(), nl=newline, color=color)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ConfigError(f"Cannot write to standard output: {error.strerror or error}.") from error


@contextlib.contextmanager
def reserve_stdout() -> Iterator[None]:
    """Reserve standard output for `output` and `stdout`.

    In a process of the command line this lasts until the process ends, because threads of libraries may still print.
    Under a test runner, which replaces ``sys.stdout`` and owns file descriptor 1, only ``sys.stdout`` is replaced, and
    restored.

    Raises:
        BrokenPipeError: the reader closed the pipe.
    """
    global _reserved
    original = sys.stdout
    if original is None:  # the parent process closed it
        _reserved = sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
        yield
        return
    whole_process = original is sys.__stdout__ and _descriptor(original) == 1
    _reserved = _take_over(original) if whole_process else original
    sys.stdout = sys.stderr
    try:
        yield
        _reserved.flush()
    except BrokenPipeError:
        discard_output()
        raise
    finally:
        if not whole_process:
            sys.stdout, _reserved = original, None


def discard_output() -> None:
    """Drop buffered and further output after the reader has closed the pipe."""
    stream = stdout()
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _take_over(original: TextIO) -> TextIO:
    """A stream to the real standard output on a descriptor of its own; descriptor 1 then leads to standard error."""
    original.flush()
    own = os.dup(1)
    target = _descriptor(sys.stderr)
    os.dup2(os.open(os.devnull, os.O_WRONLY) if target is None else target, 1)
    # A console's encoding may lack a character, which must not end the command.
    return open(own, "w", encoding=original.encoding, errors="backslashreplace", closefd=False)


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
