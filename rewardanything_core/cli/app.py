"""The commands. Each imports what it needs when it runs, so that ``--help`` is fast."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any

import typer

from rewardanything_core.cli._help import GroupedCommand
from rewardanything_core.cli._stdout import reserve_stdout
from rewardanything_core.cli.align import align
from rewardanything_core.cli.baseline import baseline
from rewardanything_core.cli.batch import cancel as cancel_batches
from rewardanything_core.cli.batch import fetch as fetch_batches
from rewardanything_core.cli.batch import list_batches
from rewardanything_core.cli.batch import wait as wait_for_batches
from rewardanything_core.cli.bench import bench
from rewardanything_core.cli.build import build
from rewardanything_core.cli.canary import record as record_canary
from rewardanything_core.cli.canary import run as run_canary
from rewardanything_core.cli.cascade import fit as fit_cascade
from rewardanything_core.cli.check import check
from rewardanything_core.cli.demo import demo
from rewardanything_core.cli.estimate import estimate
from rewardanything_core.cli.export_backbone import export_backbone
from rewardanything_core.cli.fit import fit
from rewardanything_core.cli.grade import grade
from rewardanything_core.cli.init import init
from rewardanything_core.cli.judge import judge
from rewardanything_core.cli.log import log
from rewardanything_core.cli.models import models
from rewardanything_core.cli.rank import rank
from rewardanything_core.cli.serve import serve
from rewardanything_core.cli.view import view

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from rewardanything_core import __version__

        typer.echo(f"rewardanything-core {__version__}")
        raise typer.Exit


@app.callback(epilog="\b\nExample:\n  ra-judge grade answers.jsonl --principle-name concise -o judged.jsonl")
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Judge LLM responses under a principle written in plain language."""


def _command(
    function: Callable[..., None], summary: str, example: str, *, group: typer.Typer = app, name: str | None = None
) -> None:
    """Add a command.

    Args:
        function: The command.
        summary: Its line in the list of commands.
        example: What to type, at the end of its help.
        group: The commands that it belongs to.
        name: What it is called. None: as the function.
    """

    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> None:
        with reserve_stdout():
            function(*arguments, **options)

    group.command(name, cls=GroupedCommand, short_help=summary, epilog=f"\b\nExample:\n{example}")(run)


def _group(name: str, summary: str) -> typer.Typer:
    """Add a command that has commands of its own.

    Args:
        name: What it is called.
        summary: Its line in the list of commands.
    """
    group = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]}
    )
    app.add_typer(group, name=name, help=summary, short_help=summary)
    return group


_command(
    demo,
    "Try it: answers judged under opposite principles.",
    "  ra-judge demo\n  ra-judge demo --model openai/gpt-4o-mini",
)
_command(
    init,
    "Write settings, a principle and sample rows.",
    "  ra-judge init\n  ra-judge init --yes --model Qwen/Qwen3-8B --api-base http://localhost:8000/v1",
)
_command(
    judge,
    "Judge answers typed on the command line.",
    "  ra-judge judge --principle 'Be brief.' --prompt 'How far is the moon?' \\\n"
    "    'About 384,400 km.' 'That is a question that has fascinated people for ages.'",
)
_command(
    grade,
    "Judge every row of a file.",
    "  ra-judge grade answers.csv --principle 'Be brief.' --response-column a -o out.csv",
)
_command(
    check,
    "Test whether a candidate's answers are worse.",
    "  ra-judge check --baseline a.jsonl --candidate b.jsonl --principle 'Be brief.'\n"
    "  ra-judge check --prompt prompt.md --baseline-rev origin/main --dataset cases.jsonl \\\n"
    "    --app-model openai/gpt-4o-mini --principle-name concise --html report.html",
)
_command(
    rank,
    "Rank systems by their answers to the same prompts.",
    "  ra-judge rank gpt.jsonl qwen.jsonl ours=runs/17.jsonl --principle-name concise --html ranking.html",
)
_command(
    baseline,
    "Record an application's outputs to check against.",
    "  ra-judge baseline --dataset cases.jsonl --app app:answer -o baseline.jsonl",
)
_command(
    log,
    "Inspect verdicts and the reasons for them.",
    "  ra-judge log --since 2h --principle concise\n  ra-judge log 3f9a",
)
_command(
    view,
    "Look at verdicts in a browser, and label them.",
    "  ra-judge view\n  ra-judge view verdicts.sqlite3 judged.jsonl",
)
_command(
    models,
    "List the models that have short names.",
    "  ra-judge models --fetch qwen2.5-coder-1.5b",
)
_command(
    bench,
    "Measure a judge against human labels.",
    "  ra-judge bench summeval.jsonl --flips flips.jsonl --limit-groups 20",
)
_command(
    build,
    "Build a benchmark of your own domain.",
    "  ra-judge build prompts.jsonl --principle-file principles -o helpdesk --sample openai/gpt-5 \\\n"
    "    --sample openai/gpt-5-nano --judge openai/gpt-5-mini --judge anthropic/claude-sonnet-4-5\n"
    "  ra-judge build -o helpdesk --human decisions.csv",
)
_command(
    estimate,
    "Correct the judge's means with a few labels.",
    "  ra-judge estimate judged.jsonl --next 50 -o labels.jsonl\n"
    "  ra-judge estimate judged.jsonl --labels labels.jsonl",
)
_command(
    fit,
    "Fit a reward head to people's labels.",
    "  ra-judge fit labels.jsonl -o ours.safetensors",
)
_command(
    fit_cascade,
    "Fit the thresholds of a cascade to labels.",
    "  ra-judge cascade fit labels.jsonl --stage qwen2.5-coder-1.5b --stage openai/gpt-5-mini -o cascade.json\n"
    "  ra-judge cascade fit --replay --config ra-judge.toml -o cascade.json",
    group=_group("cascade", "A cheap judge first, a strong one where it is not sure."),
    name="fit",
)
_BATCHES = _group("batch", "Batches of requests that providers process within a day.")
_command(list_batches, "List the batches.", "  ra-judge batch list", group=_BATCHES, name="list")
_command(
    wait_for_batches,
    "Wait for batches, and fetch their replies.",
    "  ra-judge batch wait",
    group=_BATCHES,
    name="wait",
)
_command(fetch_batches, "Fetch batches that have ended.", "  ra-judge batch fetch", group=_BATCHES, name="fetch")
_command(
    cancel_batches,
    "Cancel batches.",
    "  ra-judge batch cancel ra-0123456789abcdef",
    group=_BATCHES,
    name="cancel",
)
_canary = _group("canary", "Find out whether the judge itself has changed.")
_command(
    record_canary,
    "Judge cases and freeze them with the verdicts.",
    "  ra-judge canary record labels.jsonl --principle 'Be brief.' --model openai/gpt-5-mini -o canary.json",
    group=_canary,
    name="record",
)
_command(
    run_canary,
    "Judge them again, and test whether the judge moved.",
    "  ra-judge canary run canary.json\n  ra-judge canary run canary.json --mlflow nightly --json",
    group=_canary,
    name="run",
)
_command(
    export_backbone,
    "Write the layers below a reward head for vLLM.",
    "  ra-judge export-backbone --head ours.safetensors -o backbone",
)
_command(
    align,
    "Rewrite a principle to agree with people's labels.",
    "  ra-judge align labels.jsonl --principle tone.md -o tone-2.md --model openai/gpt-5-mini",
)
_command(
    serve,
    "Serve a judge over HTTP.",
    "  ra-judge serve --model hosted_vllm/WisdomShell/RewardAnything-8B-v1 \\\n"
    "    --api-base http://localhost:8000/v1 --port 8700",
)
