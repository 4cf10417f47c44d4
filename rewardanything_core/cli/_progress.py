"""Progress bars, drawn on standard error if it is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def progress_bar(total: int | None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield a callback for the counts (``rows``, ``failed``, ``from_store``, ``done_before``) after each row.

    Args:
        total: The number of rows. None: unknown.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    with Progress(
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f}/s"),
        TextColumn("{task.fields[failed]} failed", style="red"),
        TextColumn("{task.fields[from_store]} from the store"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bars:
        task = bars.add_task("", total=total, rate=0.0, failed=0, from_store=0)

        def show(counts: Mapping[str, Any]) -> None:
            elapsed = bars.tasks[0].elapsed or 0.0
            new = counts["rows"] - counts["done_before"]
            bars.update(
                task,
                completed=counts["rows"],
                rate=new / elapsed if elapsed else 0.0,
                failed=counts["failed"],
                from_store=counts["from_store"],
            )

        yield show


@contextmanager
def steps_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a callback for (steps done, steps planned); the number planned may change.

    Args:
        label: The text in front of the bar.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _planned: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, planned: bars.update(task, completed=done, total=planned)
