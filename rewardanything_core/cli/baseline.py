"""``ra-judge baseline``: record outputs to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.cli.exit_codes import JUDGE_FAILED

if TYPE_CHECKING:
    from rewardanything_core.cli._check.recording import Summary

_MAX_SHOWN = 5


def baseline(
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="FILE", help="Output file.", show_default="baseline in [check]")
    ] = None,
    dataset: Annotated[str | None, typer.Option(metavar="FILE", help="Cases to run on; any columns.")] = None,
    app: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="Function from a case (dict) to text or messages.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(metavar="FILE|prompts:/NAME@ALIAS", help="Prompt to run --app-model with.")
    ] = None,
    rev: Annotated[str | None, typer.Option(metavar="REV", help="Read --prompt at this git revision.")] = None,
    principle: options.Principles = None,
    principle_file: options.PrincipleFiles = None,
    principle_name: options.PrincipleNames = None,
    judge: Annotated[
        bool, typer.Option("--judge/--no-judge", help="Whether to judge, if there are principles.", show_default=False)
    ] = True,
    update: Annotated[bool, typer.Option("--update", help="Update FILE if it exists.")] = False,
    app_model: options.AppModel = None,
    app_api_base: options.AppApiBase = None,
    app_api_key_env: options.AppApiKeyEnv = None,
    app_device: options.AppDevice = None,
    app_temperature: options.AppTemperature = None,
    app_max_tokens: options.AppMaxTokens = None,
    app_concurrency: options.AppConcurrency = None,
    resume: options.Resume = False,
    fresh: options.Fresh = False,
    id_column: options.IdColumn = None,
    prompt_column: options.PromptColumn = None,
    model: options.Model = None,
    api_base: options.ApiBase = None,
    api_key_env: options.ApiKeyEnv = None,
    backend: options.BackendName = None,
    device: options.Device = None,
    passes: options.Passes = None,
    seed: options.Seed = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of requests to the judge at a time.")
    ] = None,
    store: options.Store = None,
    cache: options.Cache = None,
    config: options.Config = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Record an application's outputs in a file to commit, for check --baseline.

    The file has one line per case, sorted by id: id, prompt, response, the case's other columns for the judge, and
    verdicts (for each principle, the score of this output judged alone and the record's id for ra-judge log). The same
    outputs produce the same file. Rows without an id are numbered.

    With --update, the app runs on every case and only changes are judged: new cases, changed outputs, another
    principle or another judge. A summary goes to standard error (with --json: to standard output, as JSON).

    Options that are not given come from the [check] table of ra-judge.toml; see ra-judge check.

    Exit code: 0 done, 2 the command cannot run, 3 written, but some outputs could not be judged, 130 interrupted.
    """
    from rewardanything_core.cli._check.recording import run_baseline
    from rewardanything_core.cli._check.requirements import PrincipleArgs
    from rewardanything_core.cli._check.running import CheckTask
    from rewardanything_core.cli._check.sources import CachePolicy

    settings = options.judge_settings(locals())
    task = CheckTask(
        given={
            "baseline": out,
            "dataset": dataset,
            "app": app,
            "prompt": prompt,
            "candidate_rev": rev,
            "app_model": app_model,
            "app_api_base": app_api_base or None,
            "app_api_key_env": app_api_key_env,
            "app_device": app_device,
            "app_temperature": app_temperature,
            "app_max_tokens": app_max_tokens,
            "app_concurrency": app_concurrency,
            "id_column": id_column,
            "prompt_column": prompt_column,
        },
        principles=PrincipleArgs(texts=principle or (), files=principle_file or (), names=principle_name or ()),
        judge=settings,
        config=config,
        cache_policy=CachePolicy(resume=resume, fresh=fresh),
    )
    summary = run_baseline(task, judge=judge, update=update, echo=options.echo)
    if as_json:
        options.print_json(summary.to_dict())
    else:
        _print(summary)
    if summary.failures:
        raise typer.Exit(JUDGE_FAILED)


def _print(summary: Summary) -> None:
    parts = [f"{summary.cases} cases"]
    for kind, ids in (("new", summary.new), ("changed", summary.changed), ("removed", summary.removed)):
        shown = ", ".join(ids[:_MAX_SHOWN]) + (", ..." if len(ids) > _MAX_SHOWN else "")
        everything = kind == "new" and len(ids) == summary.cases
        parts.append(f"{len(ids)} {kind}" + (f" ({shown})" if ids and not everything else ""))
    options.echo(f"{summary.path}: {'; '.join(parts)}; {summary.judged} judged, {len(summary.failures)} failed.")
    for name, (now, before) in summary.means.items():
        if now is not None:
            was = f", {before:.2f} before" if before is not None else ""
            options.echo(f"{name}: mean score {now:.2f}{was}")
    for failure in summary.failures[:_MAX_SHOWN]:
        options.echo(f"Case {failure.case_id!r} has no verdict. {failure.summary}")
