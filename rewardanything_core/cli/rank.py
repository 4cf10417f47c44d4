"""``ra-judge rank``: rank systems by their answers to the same prompts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.cli._help import DECISION, REPORTS
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    from rewardanything_core.cli._check.dataset import Cells, ColumnNames
    from rewardanything_core.cli._spending import Spending
    from rewardanything_core.principles import Principle
    from rewardanything_core.ranking.results import RankingReport


def rank(
    files: Annotated[
        list[str],
        typer.Argument(metavar="[NAME=]FILE...", help="Each system's outputs; two files or more."),
    ],
    principle: options.Principles = None,
    principle_file: options.PrincipleFiles = None,
    principle_name: options.PrincipleNames = None,
    alpha: Annotated[
        float, typer.Option(help="Probability that any pair is settled wrongly.", rich_help_panel=DECISION)
    ] = 0.05,
    adaptive: Annotated[
        bool,
        typer.Option(
            "--adaptive/--all-prompts", help="Stop asking about pairs that are settled.", rich_help_panel=DECISION
        ),
    ] = True,
    max_failures: Annotated[
        float, typer.Option(help="Share of judgements that may fail.", rich_help_panel=DECISION)
    ] = 0.05,
    common_only: Annotated[
        bool, typer.Option("--common-only", help="Skip cases that some system lacks.", rich_help_panel=DECISION)
    ] = False,
    id_column: options.IdColumn = None,
    prompt_column: options.PromptColumn = None,
    response_column: Annotated[
        str | None, typer.Option(help="Column with the answer.", show_default="response")
    ] = None,
    html: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Also write an HTML report.", rich_help_panel=REPORTS)
    ] = None,
    model: options.Model = None,
    api_base: options.ApiBase = None,
    api_key_env: options.ApiKeyEnv = None,
    backend: options.BackendName = None,
    device: options.Device = None,
    passes: options.Passes = None,
    seed: options.Seed = None,
    concurrency: options.Concurrency = None,
    store: options.Store = None,
    cache: options.Cache = None,
    config: options.Config = None,
    max_cost: options.MaxCost = None,
    max_calls: options.MaxCalls = None,
    max_total_tokens: options.MaxTotalTokens = None,
    yes: options.Yes = False,
    estimate: options.EstimateOnly = False,
    as_json: options.JsonFlag = False,
) -> None:
    """Rank systems by their answers to the same prompts.

    Each file has one system's outputs: rows with prompt, response and, to join them by, id (JSON lines, CSV or
    Parquet), as for ra-judge check. A system has the name of its file, or the one in NAME=FILE.

    The answers to a prompt are judged together and blind, each in every position equally often. Strengths are those of
    the Bradley-Terry model, with intervals from resampling prompts. Once it is settled which of two systems is better,
    they are no longer compared, which --all-prompts turns off.

    Verdicts are stored; if the command is interrupted, run it again to continue.

    Exit code: 0 done, 2 the command cannot run, 3 too many judgements failed or a limit such as --max-cost was reached,
    130 interrupted.
    """
    from rewardanything_core.cli._check.dataset import ColumnNames
    from rewardanything_core.cli._check.reports import check_writable, save
    from rewardanything_core.cli._check.requirements import PrincipleArgs
    from rewardanything_core.cli._spending import Spending
    from rewardanything_core.ranking.page import html_page

    judge = options.judge_settings(locals())
    arguments = PrincipleArgs(texts=principle or (), files=principle_file or (), names=principle_name or ())
    principles = arguments.principles()
    if not principles:
        raise ConfigError(
            "There is no principle to judge by.", hint="Give --principle, --principle-file or --principle-name."
        )
    systems = _systems(files, ColumnNames(id=id_column, prompt=prompt_column, response=response_column))
    if html is not None:
        check_writable(Path(html), "--html", reads=[file.partition("=")[2] or file for file in files])
    spending = Spending(
        max_cost=max_cost, max_calls=max_calls, max_total_tokens=max_total_tokens, yes=yes, estimate=estimate
    )
    settings = {"config": config, **judge, **spending.limits}
    rules = {"alpha": alpha, "adaptive": adaptive, "max_failures": max_failures, "common_only": common_only}
    try:
        report = _run(systems, principles, settings, rules, spending)
    except KeyboardInterrupt:
        options.echo("Verdicts are saved; run the same command again to continue.")
        raise
    if as_json:
        options.print_json(report.to_dict())
    else:
        _show(report)
    if html is not None:
        save(html_page(report), Path(html))
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _systems(files: list[str], names: ColumnNames) -> dict[str, list[Cells]]:
    from rewardanything_core.cli._check.dataset import read_outputs
    from rewardanything_core.cli._check.settings import parse_named
    from rewardanything_core.cli._check.sources import with_names

    if len(files) < 2:
        raise ConfigError("A ranking needs the outputs of two systems or more, each in a file of its own.")
    return {name: read_outputs(path, names, recorded=True) for name, path in with_names(parse_named(files)).items()}


def _run(
    systems: Mapping[str, list[Cells]],
    principles: list[Principle],
    settings: Mapping[str, Any],
    rules: Mapping[str, Any],
    spending: Spending,
) -> RankingReport:
    from rewardanything_core.cli._progress import steps_bar
    from rewardanything_core.gate.judging import estimate_check
    from rewardanything_core.gate.pairing import join
    from rewardanything_core.gate.results import Requirement
    from rewardanything_core.judging.unusable import raise_if_unusable
    from rewardanything_core.ranking.ranking import rank

    items = join(systems, common_only=rules["common_only"]).items  # checked before a model is loaded
    with options.load_judge_with_progress(**settings) as judge:
        requirements = [Requirement(principle=principle, margin=1.0) for principle in principles]
        spending.confirm(judge, lambda: estimate_check(judge, items, requirements))
        with steps_bar("judging") as progress:
            report = rank(systems, principles, judge=judge, progress=progress, **rules)
    if report.failures and not report.judged:
        raise_if_unusable(report.failures)
    return report


def _show(report: RankingReport) -> None:
    from rewardanything_core.cli._spending import usage_in_words
    from rewardanything_core.cli._stdout import output
    from rewardanything_core.ranking.page import cell_text, headline, notes, sample_sentence, table_of

    for ranking in report.rankings:
        output(f"{options.printable(ranking.principle)}: {options.printable(headline(ranking))}")
        options.print_table(*table_of(ranking))
        output("\nPairwise wins: share of orders in which the row's system beats the column's; * settled")
        names = [each.name for each in ranking.systems]
        rows = [
            [row, *("" if row == column else cell_text(ranking.pair(row, column)) for column in names)] for row in names
        ]
        options.print_table(["", *names], rows)
        output("")
    output(f"{sample_sentence(report)}\nJudge: {report.model}; {usage_in_words(report.usage)}.")
    for note in notes(report):
        output(note)
