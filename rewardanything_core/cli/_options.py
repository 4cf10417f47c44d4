"""Options that several commands share, and how they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

# What is not given comes from RA_JUDGE_* variables, then from ra-judge.toml, then it is the small embedded model.
Model = Annotated[
    str | None,
    typer.Option("--model", help="Hub id, folder, embedded model, or provider/model."),
]
ApiBase = Annotated[
    list[str] | None,
    typer.Option("--api-base", help="URL of the model's server; several are balanced."),
]
ApiKeyEnv = Annotated[
    str | None,
    typer.Option("--api-key-env", help="Environment variable with the server's key."),
]
BackendName = Annotated[str | None, typer.Option("--backend", help="auto, local or endpoint.")]
Device = Annotated[str | None, typer.Option("--device", help="auto, cuda, cpu or mps; local only.")]
Passes = Annotated[int | None, typer.Option("--passes", help="Orders in which each case is judged.")]
Seed = Annotated[int | None, typer.Option("--seed", help="From which the orders are drawn.")]
Store = Annotated[str | None, typer.Option("--store", help="The verdict store's file.")]
Cache = Annotated[
    str | None,
    typer.Option("--cache", help="on: use and fill the store; read: only use it; off."),
]
Config = Annotated[str | None, typer.Option("--config", help="The settings file to use.")]

# The application's own model, of `check` and `baseline`; it shares no setting with the judge.
AppModel = Annotated[
    str | None, typer.Option("--app-model", help="The model that prompts are run on; named as for --model.")
]
AppApiBase = Annotated[list[str] | None, typer.Option("--app-api-base", help="URL of that model's server.")]
AppApiKeyEnv = Annotated[
    str | None, typer.Option("--app-api-key-env", help="Environment variable with that server's key.")
]
AppDevice = Annotated[str | None, typer.Option("--app-device", help="auto, cuda, cpu or mps; local models only.")]
AppTemperature = Annotated[
    float | None, typer.Option("--app-temperature", help="0 takes the likeliest words.", show_default="0")
]
AppMaxTokens = Annotated[
    int | None, typer.Option("--app-max-tokens", help="Longest answer, in tokens.", show_default="1024")
]
AppConcurrency = Annotated[
    int | None,
    typer.Option("--app-concurrency", help="Cases at a time.", show_default="4 for an app, 16 for a model's server"),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Use what the app's last run made, if its file is the same."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Have the app's model write all answers anew.")]
IdColumn = Annotated[str | None, typer.Option("--id-column", help="The column with the case's id.", show_default="id")]
PromptColumn = Annotated[
    str | None, typer.Option("--prompt-column", help="The column with what was asked.", show_default="prompt")
]


def say(line: str) -> None:
    """Tell the user something on standard error."""
    typer.echo(line, err=True)


def print_json(value: Any) -> None:
    """Print a value as JSON: laid out for a person on a terminal, on one line otherwise."""
    typer.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None))


def printable(text: str) -> str:
    """A text that a model or a file may have filled with anything, without what would steer a terminal."""
    return "".join(
        character if character in "\n\t" or character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: drawn on a terminal; otherwise its fields with tabs between, for ``cut`` and the like."""
    if not sys.stdout.isatty():
        for row in [columns, *rows]:
            typer.echo("\t".join(printable(" ".join(field.split())) for field in row))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, no_wrap=place == 0)  # the first is what one copies
    for row in rows:
        table.add_row(*(escape(printable(field)) for field in row))
    Console().print(table)


@contextmanager
def fetch_progress(*, spin: bool = True) -> Iterator[Callable[[str, int, int | None], None]]:
    """What `fetch` wants for its ``progress``: a bar on a terminal, a line a stage otherwise; on stderr.

    On a terminal something also turns while the model is loaded, which takes seconds to minutes; not with
    ``spin=False``, for those who write lines of a log meanwhile.
    """
    if not sys.stderr.isatty():
        told: set[str] = set()

        def tell(stage: str, done: int, total: int | None) -> None:
            del done
            if stage not in told:
                told.add(stage)
                size = f" ({total / 1e6:,.0f} MB)" if total else ""
                typer.echo(f"{stage}{size}", err=True)

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    tasks: dict[str, Any] = {}
    with ExitStack() as shown:
        waiting = console.status("Loading ...")
        if spin:
            shown.enter_context(waiting)

        def draw(stage: str, done: int, total: int | None) -> None:
            if not tasks:  # a terminal shows one thing that moves at a time
                waiting.stop()
                shown.enter_context(bars)
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield draw
