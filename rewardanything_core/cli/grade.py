"""``ra-judge grade``: judge every row of a file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    from rewardanything_core.principles import Principle


def grade(
    source: Annotated[str, typer.Argument(metavar="IN", help="JSON lines, CSV or Parquet; - for standard input.")],
    out: Annotated[str, typer.Option("-o", "--out", metavar="OUT", help="Where to; - for standard output.")],
    principle: Annotated[str | None, typer.Option(help="The principle to judge by, in plain words.")] = None,
    principle_file: Annotated[str | None, typer.Option(help="A Markdown, text or TOML file with it.")] = None,
    principle_name: Annotated[str | None, typer.Option(help="The name of one that ships with the package.")] = None,
    principle_column: Annotated[str | None, typer.Option(help="The column with a principle for each row.")] = None,
    prompt_column: Annotated[str, typer.Option(help="A text or chat messages.")] = "prompt",
    responses_column: Annotated[
        str | None, typer.Option(help="A mapping label -> text, a list, or one text.", show_default="responses")
    ] = None,
    response_column: Annotated[
        list[str] | None, typer.Option(help="A column that holds one response, labelled by its name; repeatable.")
    ] = None,
    reference_column: Annotated[str | None, typer.Option(help="A good answer to compare with.")] = None,
    context_column: Annotated[str | None, typer.Option(help="Background that the judge should know.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Ids for the log and for messages.")] = None,
    told_format: Annotated[
        str, typer.Option("--format", metavar="auto|jsonl|csv|parquet", help="If a file's name does not say.")
    ] = "auto",
    prefix: Annotated[str, typer.Option(help="Put before the names of the columns that are added.")] = "",
    limit: Annotated[int | None, typer.Option(min=0, help="Only so many rows from the beginning.")] = None,
    window: Annotated[int | None, typer.Option(min=1, help="Most rows in memory at a time; 256 if not said.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Most requests to an endpoint at a time.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin again if OUT exists.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Judge rows again that failed.")] = False,
    model: options.Model = None,
    api_base: options.ApiBase = None,
    api_key_env: options.ApiKeyEnv = None,
    backend: options.BackendName = None,
    device: options.Device = None,
    passes: options.Passes = None,
    seed: options.Seed = None,
    store: options.Store = None,
    cache: options.Cache = None,
    config: options.Config = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Judge every row of a file and write each row with its scores, in the order of the input.

    Added to each row: scores, ranking, best, agreement, spread, reasoning, record_id (see ra-judge log), and error,
    which is null for a row that was judged; a row that could not be judged has nothing else. A summary goes to stderr
    (with --json: to stdout, as JSON).

    If it is stopped, killed even, the same command goes on where it stopped, and does nothing if all is done.
    OUT.run.json notes the settings, so that other settings do not get mixed in; delete it with OUT, or use --overwrite.

    Exit code: 0 if every row of OUT was judged, 3 if any was not, 2 if the command cannot work, 130 if interrupted.
    """
    from rewardanything_core.cli._grading import Task, run
    from rewardanything_core.tables.columns import Columns

    if responses_column is not None and response_column:
        raise ConfigError("Give --responses-column or --response-column, not both.")
    task = Task(
        source=source,
        out=out,
        told_format=told_format,
        columns=Columns(
            prompt=prompt_column,
            responses=None if response_column else responses_column or "responses",
            each_response=tuple(response_column or ()),
            principle=principle_column,
            reference=reference_column,
            context=context_column,
            id=id_column,
        ),
        principle=_principle(principle, principle_file, principle_name, principle_column),
        prefix=prefix,
        limit=limit,
        window=window,
        overwrite=overwrite,
        retry_failed=retry_failed,
        judge={
            "config": config,
            "model": model,
            "api_base": api_base or None,
            "api_key_env": api_key_env,
            "backend": backend,
            "device": device,
            "passes": passes,
            "seed": seed,
            "store": store,
            "cache": cache,
            "max_concurrency": concurrency,
        },
    )
    try:
        summary = run(task)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ConfigError(f"Cannot write {out}: {error.strerror or error}.") from error
    except KeyboardInterrupt:
        if out != "-":
            typer.echo("What was judged is kept; the same command goes on from here.", err=True)
        raise
    _report(summary, as_json, out)
    if summary["failed"]:
        raise typer.Exit(3)


def _principle(text: str | None, file: str | None, name: str | None, column: str | None) -> Principle | None:
    from rewardanything_core.principles import Principle

    if sum(given is not None for given in (text, file, name, column)) != 1:
        raise ConfigError("Give one of --principle, --principle-file, --principle-name and --principle-column.")
    if text is not None:
        return Principle(text)
    if file is not None:
        return Principle.from_file(file)
    return None if name is None else Principle.named(name)


def _report(summary: dict[str, Any], as_json: bool, out: str) -> None:
    if as_json:
        import json

        typer.echo(json.dumps(summary), file=sys.stderr if out == "-" else sys.stdout)
        return
    parts = [
        f"{summary['rows']:,} rows",
        f"{summary['judged']:,} judged",
        f"{summary['from_store']:,} from the store",
        f"{summary['failed']:,} failed",
        f"{summary['prompt_tokens']:,} tokens read",
        f"{summary['completion_tokens']:,} written",
        f"{summary['seconds']:.1f} s",
    ]
    if summary["done_before"]:
        parts.insert(1, f"{summary['done_before']:,} done before")
    typer.echo(", ".join(parts) + ".", err=True)
    if summary["first_failure"]:
        typer.echo(
            f"The first without a verdict: {summary['first_failure']}\n"
            "The column 'error' has the reason for each; --retry-failed judges them again.",
            err=True,
        )
