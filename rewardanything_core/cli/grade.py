"""``ra-judge grade``: judge every row of a file."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.cli._stdout import output
from rewardanything_core.cli.exit_codes import JUDGE_FAILED
from rewardanything_core.errors import ConfigError


def grade(
    source: Annotated[str, typer.Argument(metavar="IN", help="JSON lines, CSV or Parquet; - for standard input.")],
    out: Annotated[str, typer.Option("-o", "--out", metavar="OUT", help="Output file; - for standard output.")],
    principle: Annotated[str | None, typer.Option(help="Principle to judge by, in plain words.")] = None,
    principle_file: options.PrincipleFile = None,
    principle_name: options.PrincipleName = None,
    principle_column: Annotated[
        str | None, typer.Option(help="Column with the principle of each row: text, or a rubric in JSON.")
    ] = None,
    prompt_column: Annotated[str, typer.Option(help="Column with the prompt: a text, or chat messages.")] = "prompt",
    responses_column: Annotated[
        str | None,
        typer.Option(
            help="Column with all responses: a mapping label -> response, a list, or one response.",
            show_default="responses, or else response",
        ),
    ] = None,
    response_column: Annotated[
        list[str] | None, typer.Option(help="Column with one response, labelled by its name; repeatable.")
    ] = None,
    reference_column: Annotated[
        str | None,
        typer.Option(help="Column with a reference answer; '' for none.", show_default="reference, if there is one"),
    ] = None,
    context_column: Annotated[
        str | None,
        typer.Option(
            help="Column with background for the judge; '' for none.", show_default="context, if there is one"
        ),
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="Column with ids for the log and for messages.")] = None,
    file_format: Annotated[
        str, typer.Option("--format", metavar="auto|jsonl|csv|parquet", help="Format of IN; auto: by its name.")
    ] = "auto",
    prefix: Annotated[str, typer.Option(help="Prefix for the names of the added columns.")] = "",
    limit: Annotated[int | None, typer.Option(min=0, help="Number of rows to judge, from the beginning.")] = None,
    window: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of rows in memory.", show_default="256")
    ] = None,
    concurrency: options.Concurrency = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start over if OUT exists.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Judge failed rows again.")] = False,
    excel_safe: Annotated[
        bool,
        typer.Option("--excel-safe", help="In CSV, put ' before cells that a spreadsheet would run as a formula."),
    ] = False,
    model: options.Model = None,
    api_base: options.ApiBase = None,
    api_key_env: options.ApiKeyEnv = None,
    backend: options.BackendName = None,
    device: options.Device = None,
    readout: options.ReadoutName = None,
    passes: options.Passes = None,
    seed: options.Seed = None,
    store: options.Store = None,
    cache: options.Cache = None,
    config: options.Config = None,
    max_cost: options.MaxCost = None,
    max_calls: options.MaxCalls = None,
    max_total_tokens: options.MaxTotalTokens = None,
    yes: options.Yes = False,
    estimate: options.EstimateOnly = False,
    batch: options.ThroughBatches = False,
    wait: options.WaitForBatches = False,
    as_json: options.JsonFlag = False,
) -> None:
    """Judge every row of a file and write each row with its scores, in the order of the input.

    Each row gets the columns scores, ranking, best, agreement, spread, reasoning, record_id (see ra-judge log) and
    error. For a judged row error is null; for a row that could not be judged it has the reason, and the others are
    null. A summary goes to standard error (with --json: to standard output, as JSON).

    A rubric adds scores_NAME and reasoning_NAME for each criterion, and missed (label -> the required criteria that it
    misses). With --principle-column, rows judged under a rubric have criteria and missed instead.

    A response is a text, or the messages of an agent's run. Texts are judged exactly as they are in the file. The
    --responses-column holds a mapping label -> response, a list of responses, or one response. In CSV, mappings, lists
    and messages are written as JSON; any other cell of the --responses-column that begins with { or [ is an error in
    its row, and any other cell of a --response-column is text, even if it looks like JSON. An empty CSV cell is a null.

    If the command is interrupted, run it again to continue; if all rows are done, it does nothing. OUT.run.json
    records the settings: a run with other settings is refused unless you delete both files or use --overwrite.

    With --max-cost, --max-calls or --max-total-tokens an estimate is shown first. The run stops at the limit: requests
    in flight are finished and written, and the same command continues with the rows that are missing.

    With --batch the requests go through the provider's batch API. The command submits them and ends with code 4; the
    same command continues when the batches have ended (ra-judge batch wait).

    Exit code: 0 if every row of OUT was judged, 3 if any was not or the run stopped at a limit, 2 if the command cannot
    run (for example, because the API key is wrong), 4 if batches are under way, 130 if interrupted.
    """
    from rewardanything_core.cli._grading import GradeTask, run
    from rewardanything_core.cli._spending import Spending
    from rewardanything_core.tables.columns import CaseColumns
    from rewardanything_core.tables.results import ResultColumns

    judge = options.judge_settings(locals())
    if responses_column is not None and response_column:
        raise ConfigError("Give --responses-column or --response-column, not both.")
    task = GradeTask(
        source=source,
        out=out,
        format_option=file_format,
        columns=CaseColumns(
            prompt=prompt_column,
            responses=None if response_column else responses_column or "responses",
            each_response=tuple(response_column or ()),
            principle=principle_column,
            reference=reference_column,
            context=context_column,
            id=id_column,
        ),
        default_columns=responses_column is None and not response_column,
        added=ResultColumns(
            options.one_principle(principle, principle_file, principle_name, column=principle_column), prefix
        ),
        limit=limit,
        window=window,
        overwrite=overwrite,
        retry_failed=retry_failed,
        excel_safe=excel_safe,
        judge={"config": config, **judge},
        spending=Spending(
            max_cost=max_cost,
            max_calls=max_calls,
            max_total_tokens=max_total_tokens,
            yes=yes,
            estimate=estimate,
            batch=batch,
            wait=wait,
        ),
    )
    try:
        summary = run(task)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ConfigError(f"Cannot write {out}: {error.strerror or error}.") from error
    except KeyboardInterrupt:
        if out != "-":
            options.echo("Judged rows are saved; run the same command again to continue.")
        raise
    _report(summary, as_json, out)
    if summary["failed"] or summary["stopped"]:
        raise typer.Exit(JUDGE_FAILED)


def _report(summary: dict[str, Any], as_json: bool, out: str) -> None:
    from rewardanything_core.cli._grade_counts import USAGE
    from rewardanything_core.cli._spending import share_in_words, usage_in_words
    from rewardanything_core.gate.reports.wording import counted
    from rewardanything_core.types import Usage

    if as_json:
        (options.echo if out == "-" else output)(json.dumps(summary))
        return
    parts = [
        counted(summary["rows"], "row"),
        f"{summary['judged']:,} judged",
        share_in_words(summary["from_store"], summary["rows"] - summary["done_before"]),
        *([f"{summary['abstained']:,} left to a person"] if summary["abstained"] else []),
        f"{summary['failed']:,} failed",
        usage_in_words(Usage(**{name: summary[name] for name in USAGE})),
        f"{summary['seconds']:.1f} s",
    ]
    if summary["done_before"]:
        parts.insert(1, f"{summary['done_before']:,} done before")
    options.echo(", ".join(parts) + ".")
    for name, criterion in summary["criteria"].items():
        mean = "no scores" if criterion["mean"] is None else f"mean score {criterion['mean']:.2f}"
        missed = counted(criterion["missed"], "response")
        required = f", {missed} below the required {criterion['required']:g}" if criterion["required"] else ""
        options.echo(f"  {name}: {mean}{required}")
    if summary["stopped"]:
        options.echo(f"Stopped. {summary['stopped']} The same command continues.")
    if summary["first_failure"]:
        options.echo(
            f"The first row without a verdict: {summary['first_failure']}\n"
            "The column 'error' has the reason for each; --retry-failed judges them again."
        )
