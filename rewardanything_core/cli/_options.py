"""Options that several commands share, and how commands print."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardanything_core.cli._help import APP, JUDGE, PRINCIPLES, SPENDING
from rewardanything_core.cli._stdout import output, stdout
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rewardanything_core.judging.base import BaseJudge
    from rewardanything_core.principles import Principle, Rubric
    from rewardanything_core.types import Verdict

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

PrincipleFile = Annotated[
    str | None, typer.Option("--principle-file", help="File with the principle or rubric: Markdown, text, TOML, JSON.")
]
PrincipleName = Annotated[
    str | None, typer.Option("--principle-name", help="Name of a principle or rubric that ships with the package.")
]

Principles = Annotated[
    list[str] | None,
    typer.Option(
        "--principle",
        metavar="TEXT",
        help="Principle to judge by, in plain words; repeatable.",
        rich_help_panel=PRINCIPLES,
    ),
]
PrincipleFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--principle-file",
        metavar="FILE",
        help="File with a principle or rubric, or a folder of such files; repeatable.",
        rich_help_panel=PRINCIPLES,
    ),
]
PrincipleNames = Annotated[
    list[str] | None,
    typer.Option(
        "--principle-name",
        metavar="NAME",
        help="Name of a principle or rubric that ships with the package; repeatable.",
        rich_help_panel=PRINCIPLES,
    ),
]

# An option that is not given comes from RA_JUDGE_* variables, then from ra-judge.toml, then from the defaults.
Model = Annotated[
    str | None,
    typer.Option(
        "--model", help="provider/model, a server's model, hub id, folder or short name.", rich_help_panel=JUDGE
    ),
]
ApiBase = Annotated[
    list[str] | None,
    typer.Option(
        "--api-base",
        "--base-url",
        help="URL of the model's server; repeat to balance load.",
        rich_help_panel=JUDGE,
    ),
]
ApiKeyEnv = Annotated[
    str | None,
    typer.Option("--api-key-env", help="Environment variable with the API key.", rich_help_panel=JUDGE),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency", min=1, help="Maximum number of requests to an endpoint at a time.", rich_help_panel=JUDGE
    ),
]
BackendName = Annotated[str | None, typer.Option("--backend", help="auto, local or endpoint.", rich_help_panel=JUDGE)]
Device = Annotated[
    str | None, typer.Option("--device", help="auto, cuda, cpu or mps; local models only.", rich_help_panel=JUDGE)
]
ReadoutName = Annotated[
    str | None,
    typer.Option("--readout", help="auto, generate, logits, head or decisions.", rich_help_panel=JUDGE),
]
Passes = Annotated[
    int | None, typer.Option("--passes", help="Number of orders in which each case is judged.", rich_help_panel=JUDGE)
]
Seed = Annotated[int | None, typer.Option("--seed", help="Random seed of the orders.", rich_help_panel=JUDGE)]
Store = Annotated[str | None, typer.Option("--store", help="File of the verdict store.", rich_help_panel=JUDGE)]
Cache = Annotated[
    str | None,
    typer.Option("--cache", help="Verdict store: on, read (read only) or off.", rich_help_panel=JUDGE),
]
Config = Annotated[str | None, typer.Option("--config", help="Settings file to use.", rich_help_panel=JUDGE)]

_JUDGE_SETTINGS = {
    "model": "model",
    "api_base": "api_base",
    "api_key_env": "api_key_env",
    "backend": "backend",
    "device": "device",
    "readout": "readout",
    "head": "head",
    "passes": "passes",
    "seed": "seed",
    "store": "store",
    "cache": "cache",
    "max_concurrency": "concurrency",
}
"""Setting of a judge -> the parameter that commands have for it."""

MaxCost = Annotated[
    float | None,
    typer.Option(
        "--max-cost", metavar="USD", min=0, help="Maximum cost of the judge, in US dollars.", rich_help_panel=SPENDING
    ),
]
MaxCalls = Annotated[
    int | None,
    typer.Option("--max-calls", min=0, help="Maximum number of requests to the judge.", rich_help_panel=SPENDING),
]
MaxTotalTokens = Annotated[
    int | None,
    typer.Option(
        "--max-total-tokens", min=0, help="Maximum number of tokens, read and written.", rich_help_panel=SPENDING
    ),
]
Yes = Annotated[
    bool,
    typer.Option("--yes", "-y", help="Run up to the limit without asking.", rich_help_panel=SPENDING),
]
EstimateOnly = Annotated[
    bool,
    typer.Option("--estimate", help="Print what the run would take, and judge nothing.", rich_help_panel=SPENDING),
]

ThroughBatches = Annotated[
    bool,
    typer.Option(
        "--batch",
        help="Send requests through the provider's batch API: cheaper, within a day.",
        rich_help_panel=SPENDING,
    ),
]
WaitForBatches = Annotated[
    bool, typer.Option("--wait", help="With --batch, wait for the batches.", rich_help_panel=SPENDING)
]

# The application's own model, of `check` and `baseline`; it shares no setting with the judge.
AppModel = Annotated[
    str | None,
    typer.Option("--app-model", help="Model that the prompts run on; named as for --model.", rich_help_panel=APP),
]
AppApiBase = Annotated[
    list[str] | None,
    typer.Option("--app-api-base", "--app-base-url", help="URL of that model's server.", rich_help_panel=APP),
]
AppApiKeyEnv = Annotated[
    str | None,
    typer.Option("--app-api-key-env", help="Environment variable with its API key.", rich_help_panel=APP),
]
AppDevice = Annotated[
    str | None, typer.Option("--app-device", help="auto, cuda, cpu or mps; local models only.", rich_help_panel=APP)
]
AppTemperature = Annotated[
    float | None, typer.Option("--app-temperature", help="Sampling temperature.", show_default="0", rich_help_panel=APP)
]
AppMaxTokens = Annotated[
    int | None,
    typer.Option(
        "--app-max-tokens", help="Maximum length of an answer, in tokens.", show_default="1024", rich_help_panel=APP
    ),
]
AppConcurrency = Annotated[
    int | None,
    typer.Option(
        "--app-concurrency",
        help="Cases run at a time.",
        show_default="4 for an app, 16 for a model's server",
        rich_help_panel=APP,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Reuse the answers of the app's last run, if its file is unchanged.", rich_help_panel=APP
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Ignore cached answers of the app's model.", rich_help_panel=APP)]
IdColumn = Annotated[str | None, typer.Option("--id-column", help="Column with the case's id.", show_default="id")]
PromptColumn = Annotated[
    str | None, typer.Option("--prompt-column", help="Column with the prompt.", show_default="prompt")
]


def one_principle(
    text: str | None, file: str | None, name: str | None, *, column: str | None = None, takes_column: bool = True
) -> Principle | None:
    """The principle that one of several options names.

    Args:
        text: ``--principle``.
        file: ``--principle-file``.
        name: ``--principle-name``.
        column: ``--principle-column``.
        takes_column: Whether the command has that option.

    Returns:
        The principle. None: a column has it.

    Raises:
        ConfigError: none or several were given, or the one given cannot be read.
    """
    from rewardanything_core.principles import Principle

    if sum(given is not None for given in (text, file, name, column)) != 1:
        others = (
            "--principle-file, --principle-name and --principle-column"
            if takes_column
            else ("--principle-file and --principle-name")
        )
        raise ConfigError(f"Give one of --principle, {others}.")
    if text is not None:
        return typed_principle(text)
    if file is not None:
        return Principle.from_file(file)
    return None if name is None else Principle.named(name)


def typed_principle(text: str) -> Principle:
    """The principle that ``--principle`` holds.

    Raises:
        ConfigError: it is the name of a file.
    """
    from rewardanything_core.principles import Principle

    if re.fullmatch(r"\S+\.(md|txt|toml|json)", text.strip(), re.IGNORECASE):
        raise ConfigError(
            f"--principle takes a principle in plain words, and {text.strip()!r} is the name of a file.",
            hint="Use --principle-file.",
        )
    return Principle(text)


def one_line(text: str, width: int) -> str:
    """A text on one line, cut visibly at ``width`` characters.

    Args:
        text: The text; white space is collapsed.
        width: Maximum number of characters, 1 or more.
    """
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


def criteria_table(verdict: Verdict, rubric: Rubric) -> tuple[list[str], list[list[str]]]:
    """The headings and rows of a table of scores: a row for each criterion, a column for each response, best first.

    Args:
        verdict: A verdict under the rubric.
        rubric: The rubric.
    """
    rows = []
    for name, criterion in rubric.criteria.items():
        required = f" (at least {criterion.required:g})" if criterion.required else ""
        scores = verdict.criteria[name].scores
        rows.append([name + required, f"{criterion.weight:g}", *(f"{scores[label]:.2f}" for label in verdict.ranking)])
    return ["CRITERION", "WEIGHT", *verdict.ranking], rows


def echo(line: str) -> None:
    """Print a line to standard error."""
    typer.echo(line, err=True)


def print_json(value: Any) -> None:
    """Print a value as JSON: indented on a terminal, on one line otherwise."""
    output(json.dumps(value, indent=2 if stdout().isatty() else None))


def printable(text: str) -> str:
    """The text with escapes in place of control characters, which could otherwise steer a terminal."""
    return "".join(
        character if character in "\n\t" or character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: aligned on a terminal, with tabs between the fields otherwise.

    Args:
        columns: The headings.
        rows: The fields of each row, as many as there are headings.
    """
    if not stdout().isatty():
        for row in [columns, *rows]:
            output("\t".join(printable(" ".join(field.split())) for field in row))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=index == 0)  # users copy from the first column
    for row in rows:
        table.add_row(*(escape(printable(field)) for field in row))
    Console(file=stdout()).print(table)


def judge_settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a judge that a command was given, by their names in `load_judge`; ``--config`` is not among them.

    Args:
        arguments: What ``locals()`` is at the start of the command: its parameters by name, of which those for a judge
            are named as the options above.
    """
    given = {setting: arguments.get(parameter) for setting, parameter in _JUDGE_SETTINGS.items()}
    return {setting: value for setting, value in given.items() if value not in (None, [])}


def load_judge_with_progress(*, spin: bool = True, **settings: Any) -> BaseJudge:
    """The judge that options of a command describe; the download of its model is shown on standard error.

    Args:
        spin: See `fetch_progress`.
        **settings: Arguments of `load_judge`; None or an empty list: the option was not given.
    """
    from rewardanything_core.loading import load_judge

    given = {name: value for name, value in settings.items() if value not in (None, [])}
    with fetch_progress(spin=spin) as progress:
        return load_judge(progress=progress, **given)


@contextmanager
def fetch_progress(*, spin: bool = True) -> Iterator[Callable[[str, int, int | None], None]]:
    """Yield the ``progress`` callback for `fetch`; it draws on standard error.

    On a terminal it draws a bar; elsewhere it prints a line for each stage.

    Args:
        spin: Whether a terminal also shows a spinner while the model is loaded, which takes seconds to minutes. A
            command that writes log lines meanwhile needs False.
    """
    if not sys.stderr.isatty():
        announced: set[str] = set()

        def announce(stage: str, done: int, total: int | None) -> None:
            del done
            if stage not in announced:
                announced.add(stage)
                size = f" ({total / 1e6:,.0f} MB)" if total else ""
                echo(f"{stage}{size}")

        yield announce
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
    with ExitStack() as stack:
        spinner = console.status("Loading ...")
        if spin:
            stack.enter_context(spinner)

        def draw(stage: str, done: int, total: int | None) -> None:
            if not tasks:  # rich allows one live display at a time
                spinner.stop()
                stack.enter_context(bars)
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield draw
