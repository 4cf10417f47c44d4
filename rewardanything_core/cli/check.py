"""``ra-judge check``: test whether answers got worse."""

from __future__ import annotations

import traceback
from typing import Annotated

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.cli._help import DECISION, REPORTS, SIDES
from rewardanything_core.cli.exit_codes import USAGE
from rewardanything_core.errors import RewardAnythingError

Repeatable = list[str] | None


def check(
    baseline: Annotated[
        str | None, typer.Option(metavar="FILE", help="Outputs to compare with.", rich_help_panel=SIDES)
    ] = None,
    candidate: Annotated[
        Repeatable, typer.Option(metavar="[NAME=]FILE", help="Outputs to test; repeatable.", rich_help_panel=SIDES)
    ] = None,
    principle: options.Principles = None,
    principle_file: options.PrincipleFiles = None,
    principle_name: options.PrincipleNames = None,
    margin: Annotated[
        float | None,
        typer.Option(help="Drop in mean score (1..5) to rule out.", show_default="0.3", rich_help_panel=DECISION),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(help="Minimum mean score of a candidate.", rich_help_panel=DECISION)
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(help="Probability of a false alarm, one-sided.", show_default="0.05", rich_help_panel=DECISION),
    ] = None,
    max_failures: Annotated[
        float | None,
        typer.Option(help="Share of judgements that may fail.", show_default="0.05", rich_help_panel=DECISION),
    ] = None,
    sequential: Annotated[
        bool | None,
        typer.Option(
            "--sequential/--no-sequential", help="Stop as soon as the result is clear.", rich_help_panel=DECISION
        ),
    ] = None,
    confirm: Annotated[
        bool | None,
        typer.Option(
            "--confirm/--no-confirm",
            help="Judge again before a regression counts; the default.",
            rich_help_panel=DECISION,
        ),
    ] = None,
    controls: Annotated[
        Repeatable,
        typer.Option(
            metavar="KIND",
            help="Test the judge with degraded answers: cut, padded, rude, swapped, worse; auto; none. Repeatable.",
            show_default="auto",
            rich_help_panel=DECISION,
        ),
    ] = None,
    labels: Annotated[
        Repeatable,
        typer.Option(
            metavar="FILE",
            help="People's scores of both answers to some inputs, which correct the judge; repeatable.",
            rich_help_panel=DECISION,
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH", help="Scale of people's scores.", show_default="1:5", rich_help_panel=DECISION
        ),
    ] = None,
    common_only: Annotated[
        bool | None,
        typer.Option(
            "--common-only/--all-cases", help="Skip cases that are missing on one side.", rich_help_panel=SIDES
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Cases to run an app or prompts on; any columns.", rich_help_panel=SIDES),
    ] = None,
    app: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="Candidate: function from a case (dict) to text or messages.",
            rich_help_panel=SIDES,
        ),
    ] = None,
    baseline_prompt: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|prompts:/NAME@ALIAS", help="Baseline: this prompt, run on the cases.", rich_help_panel=SIDES
        ),
    ] = None,
    candidate_prompt: Annotated[
        Repeatable,
        typer.Option(
            metavar="[NAME=]FILE|prompts:/...", help="Candidate: this prompt; repeatable.", rich_help_panel=SIDES
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Candidate: this prompt, working copy. See --baseline-rev.", rich_help_panel=SIDES
        ),
    ] = None,
    baseline_rev: Annotated[
        str | None, typer.Option(metavar="REV", help="Baseline: --prompt at this git revision.", rich_help_panel=SIDES)
    ] = None,
    candidate_rev: Annotated[
        str | None, typer.Option(metavar="REV", help="Candidate: --prompt at this git revision.", rich_help_panel=SIDES)
    ] = None,
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
    response_column: Annotated[
        str | None, typer.Option(help="Column with the answer.", show_default="response", rich_help_panel=SIDES)
    ] = None,
    html: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Also write an HTML report.", rich_help_panel=REPORTS)
    ] = None,
    junit: Annotated[
        str | None, typer.Option("--junit", metavar="FILE", help="Also write JUnit XML.", rich_help_panel=REPORTS)
    ] = None,
    markdown: Annotated[
        str | None,
        typer.Option(
            "--markdown", metavar="FILE", help="Also write Markdown for a pull request.", rich_help_panel=REPORTS
        ),
    ] = None,
    model: options.Model = None,
    api_base: options.ApiBase = None,
    api_key_env: options.ApiKeyEnv = None,
    backend: options.BackendName = None,
    device: options.Device = None,
    readout: options.ReadoutName = None,
    passes: options.Passes = None,
    seed: options.Seed = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of requests to the judge at a time.", rich_help_panel=options.JUDGE),
    ] = None,
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
    """Test whether a candidate's answers are worse than a baseline's, under principles.

    Both answers to a case are judged together, blind and in both orders. The check passes if it can rule out a drop of
    --margin in the mean score. It reports a regression if it finds a significant drop that a second judgement confirms.
    Any other result is inconclusive, and the report states how many cases would settle it.

    Under a rubric every criterion is a comparison of its own, next to the one of the whole, at the cost of one
    judgement per case.

    A judge that ignores padding would let padded answers pass. If many answers became much longer or shorter, the judge
    is therefore tested on the baseline's own answers, padded or cut in half. The check passes only if it scores these
    lower (--controls auto).

    A judge may be biased towards one side's answers. --labels has people's scores of both answers to some inputs that
    were drawn at random, 10 or more: rows with prompt, and response and score, or responses and human_scores. The mean
    difference is then corrected with them, and the decision rests on the corrected difference. It needs neither a
    second judgement nor --controls, and the report says how many labels it used. Minimum scores stay those of the
    judge.

    Files of outputs have rows with id, prompt and response (JSON lines, CSV or Parquet). They may also have context,
    reference, group (cases with the same input count once), min_score (a minimum for this case) and worse (an answer
    that is known to be worse than the baseline's, to test the judge). An empty CSV cell is a null.

    Instead of reading files, the command can produce the outputs with a Python function (--app), or with a model and a
    prompt. {{ placeholders }} in a prompt file are replaced by the case's columns; a file without placeholders is the
    system message, and the case's prompt is the user message. A .json file has a list of chat messages. Model outputs
    are cached for a week, so that an interrupted run can continue; verdicts are stored permanently.

    Options that are not given come from the [check] table of ra-judge.toml, whose settings have the names of the
    options (with _ for -), and from [[check.principles]] with text, file or name, and margin, min_score and controls;
    for a rubric also margins and min_scores, tables of criterion = number.
    Paths there are relative to the file. If no judge is configured, the built-in small model judges.

    The report goes to standard output, everything else to standard error. If GITHUB_STEP_SUMMARY names the --markdown
    file, the report is appended to it; any other file is replaced.

    Exit code: 0 passed, 1 regression, 2 the command cannot run (for example, because the API key is wrong), 3
    inconclusive, the judge failed or a limit such as --max-cost was reached, 4 batches are under way (--batch), 130
    interrupted.
    """
    from rewardanything_core.cli._check import reports
    from rewardanything_core.cli._check.requirements import PrincipleArgs
    from rewardanything_core.cli._check.running import CheckTask, run_check
    from rewardanything_core.cli._check.settings import parse_named
    from rewardanything_core.cli._check.sources import CachePolicy
    from rewardanything_core.cli._spending import Spending

    judge = options.judge_settings(locals())
    spending = Spending(
        max_cost=max_cost,
        max_calls=max_calls,
        max_total_tokens=max_total_tokens,
        yes=yes,
        estimate=estimate,
        batch=batch,
        wait=wait,
    )
    task = CheckTask(
        given={
            "baseline": baseline,
            "candidate": parse_named(candidate or []),
            "margin": margin,
            "min_score": min_score,
            "alpha": alpha,
            "max_failures": max_failures,
            "sequential": sequential,
            "confirm": confirm,
            "controls": controls or None,
            "labels": labels or None,
            "scale": scale,
            "common_only": common_only,
            "dataset": dataset,
            "app": app,
            "baseline_prompt": baseline_prompt,
            "candidate_prompt": parse_named(candidate_prompt or []),
            "prompt": prompt,
            "baseline_rev": baseline_rev,
            "candidate_rev": candidate_rev,
            "app_model": app_model,
            "app_api_base": app_api_base or None,
            "app_api_key_env": app_api_key_env,
            "app_device": app_device,
            "app_temperature": app_temperature,
            "app_max_tokens": app_max_tokens,
            "app_concurrency": app_concurrency,
            "id_column": id_column,
            "prompt_column": prompt_column,
            "response_column": response_column,
            "html": html,
            "junit": junit,
            "markdown": markdown,
        },
        principles=PrincipleArgs(texts=principle or (), files=principle_file or (), names=principle_name or ()),
        judge=judge | spending.limits,
        spending=spending,
        config=config,
        cache_policy=CachePolicy(resume=resume, fresh=fresh),
    )
    try:
        report, files = run_check(task, options.echo)
        reports.show(report, as_json=as_json)
        reports.write(report, files)
    except KeyboardInterrupt:
        options.echo("Verdicts are saved; run the same command again to continue.")
        raise
    except (RewardAnythingError, typer.Exit):
        raise
    except Exception as error:  # Python would exit with 1, which here means a regression
        traceback.print_exc()
        raise typer.Exit(USAGE) from error
    raise typer.Exit(report.exit_code)
