"""``ra-judge build``: a benchmark of one's own domain."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.cli._help import BENCHMARK, JURY, PEOPLE, RESPONSES
from rewardanything_core.cli.exit_codes import JUDGE_FAILED
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    from rewardanything_core.backends.base import Backend
    from rewardanything_core.benchmark_building import BuildOptions, PromptRow
    from rewardanything_core.benchmark_building.sampling import SampleOptions
    from rewardanything_core.cli._spending import Spending
    from rewardanything_core.judging.cost_estimates import CostEstimate
    from rewardanything_core.judging.jury import Jury
    from rewardanything_core.principles import Principle

_MAX_WITHOUT_QUORUM = 0.1


def build(
    out: Annotated[str, typer.Option("-o", "--out", metavar="FOLDER", help="Folder of the benchmark.")],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="PROMPTS...", help="Prompts: JSON lines, CSV or Parquet.")
    ] = None,
    principle: options.Principles = None,
    principle_file: options.PrincipleFiles = None,
    principle_name: options.PrincipleNames = None,
    prompt_column: Annotated[
        str | None, typer.Option(help="Column with the prompt.", show_default="prompt", rich_help_panel=RESPONSES)
    ] = None,
    responses_column: Annotated[
        str | None,
        typer.Option(
            help="Column with all responses, as for grade.",
            show_default="responses, or else response",
            rich_help_panel=RESPONSES,
        ),
    ] = None,
    response_column: Annotated[
        list[str] | None,
        typer.Option(help="Column with one response, labelled by its name; repeatable.", rich_help_panel=RESPONSES),
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column with ids.", show_default="id, if any", rich_help_panel=RESPONSES)
    ] = None,
    sample: Annotated[
        list[str] | None,
        typer.Option(
            "--sample",
            metavar="MODEL",
            help="Let a model write responses; repeat, with models of several strengths.",
            rich_help_panel=RESPONSES,
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Responses of each model to each prompt.", rich_help_panel=RESPONSES)
    ] = 1,
    temperature: Annotated[
        float, typer.Option(min=0, help="Sampling temperature of --sample.", rich_help_panel=RESPONSES)
    ] = 0.7,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Maximum length of a sampled response.", rich_help_panel=RESPONSES)
    ] = 512,
    sample_api_base: Annotated[
        list[str] | None,
        typer.Option("--sample-api-base", help="URL of the server of --sample.", rich_help_panel=RESPONSES),
    ] = None,
    sample_api_key_env: Annotated[
        str | None, typer.Option(help="Environment variable with its API key.", rich_help_panel=RESPONSES)
    ] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(
            "--judge",
            metavar="MODEL",
            help="A juror; repeat. Settings of its own: [[jury]].",
            show_default="the settings' jury",
            rich_help_panel=JURY,
        ),
    ] = None,
    quorum: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Jurors that must reach a verdict.",
            show_default="min_jurors, or else more than half",
            rich_help_panel=JURY,
        ),
    ] = None,
    balanced: Annotated[
        bool,
        typer.Option(
            "--balanced/--unbalanced",
            help="As many orders as responses, or just --passes.",
            rich_help_panel=JURY,
        ),
    ] = True,
    lists: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Lists to rank, equally many under each principle.",
            show_default="every principle with every prompt",
            rich_help_panel=BENCHMARK,
        ),
    ] = None,
    consensus: Annotated[str, typer.Option(help="kemeny or borda.", rich_help_panel=BENCHMARK)] = "kemeny",
    min_agreement: Annotated[
        float | None,
        typer.Option(
            help="Leave out lists on which the jurors' mean Kendall's tau is lower.",
            show_default="0.3",
            rich_help_panel=BENCHMARK,
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(help="What both halves do not share: principle or prompt.", rich_help_panel=BENCHMARK)
    ] = "principle",
    test_share: Annotated[
        float, typer.Option(help="Share of these in the test half.", rich_help_panel=BENCHMARK)
    ] = 0.5,
    name: Annotated[
        str | None, typer.Option(help="Name of the benchmark.", show_default="the folder's", rich_help_panel=BENCHMARK)
    ] = None,
    sheet: Annotated[int, typer.Option(min=0, help="Pairs for people.", rich_help_panel=PEOPLE)] = 100,
    human: Annotated[
        list[str] | None,
        typer.Option(
            "--human",
            metavar="FILE",
            help="Add people's decisions to the card of FOLDER, and build nothing; repeatable.",
            rich_help_panel=PEOPLE,
        ),
    ] = None,
    api_base: options.ApiBase = None,
    api_key_env: options.ApiKeyEnv = None,
    backend: options.BackendName = None,
    device: options.Device = None,
    readout: options.ReadoutName = None,
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
    """Build a benchmark of your own domain: responses ranked under principles by a jury, and checked by people.

    PROMPTS has rows with a prompt, with responses or without; --sample lets models write responses. Every juror ranks
    the responses to a prompt under a principle, blind and in balanced orders. The consensus of their rankings is kept,
    with ties where the vote is split; lists that they dispute are left out and counted.

    FOLDER gets train.jsonl and test.jsonl for ra-judge bench, with flip pairs; disputed.jsonl; sheet.html and sheet.csv
    for people; card.md, which says how all of it was made; and build.json with all figures. Fill in the sheet, and give
    the files with --human: their agreement with the consensus goes to the card.

    Responses are kept in FOLDER/responses.jsonl and verdicts in the store; if the command is interrupted or stopped by
    a limit such as --max-cost, run it again to continue.

    Exit code: 0 done, 3 if too few jurors reached a verdict on more than 10% of the lists, nothing is kept, or a limit
    was reached, 2 if the command cannot run, 130 if interrupted.
    """
    from rewardanything_core.benchmark_building import BuildOptions, add_people
    from rewardanything_core.benchmark_building.building import MIN_AGREEMENT
    from rewardanything_core.benchmark_building.files import check_folder
    from rewardanything_core.benchmark_building.sampling import SampleOptions
    from rewardanything_core.cli._build import PromptColumns, read_prompts, show_people
    from rewardanything_core.cli._check.requirements import PrincipleArgs, files_of
    from rewardanything_core.cli._spending import Spending

    given = options.judge_settings(locals())
    if human:
        if files:
            raise ConfigError("--human adds to a benchmark that is built; give it without PROMPTS.")
        summary = add_people(out, human)
        options.print_json(summary["human"]) if as_json else show_people(summary, out)
        return
    if not files:
        raise ConfigError("There are no prompts.", hint="Give a file with a prompt in each row.")
    principles = PrincipleArgs(
        texts=principle or (), files=principle_file or (), names=principle_name or ()
    ).principles()
    rows = read_prompts(
        files,
        PromptColumns(
            prompt=prompt_column, id=id_column, responses=responses_column, each_response=response_column or ()
        ),
    )
    built_as = BuildOptions(
        name=name or Path(out).resolve().name,
        lists=lists,
        balanced=balanced,
        quorum=quorum,
        consensus=consensus,  # type: ignore[arg-type]  # BuildOptions checks it
        min_agreement=MIN_AGREEMENT if min_agreement is None else min_agreement,
        split=split,  # type: ignore[arg-type]  # BuildOptions checks it
        test_share=test_share,
        sheet=sheet,
        seed=seed or 0,
    )
    written_as = SampleOptions(samples=samples, temperature=temperature, max_tokens=max_tokens, seed=seed or 0)
    models = _models(sample or [], sample_api_base, sample_api_key_env)
    spending = Spending(
        max_cost=max_cost, max_calls=max_calls, max_total_tokens=max_total_tokens, yes=yes, estimate=estimate
    )
    settings = {"config": config, "jury": judge or None, **given, **spending.limits}
    read = [*files, *(str(file) for given in principle_file or () for file in files_of(given))]
    check_folder(out, read)
    try:
        with _jury(settings) as jury:
            summary = _run(principles, rows, jury, built_as, models, written_as, spending, Path(out), read)
    except KeyboardInterrupt:
        options.echo("Responses and verdicts are saved; run the same command again to continue.")
        raise
    _finish(summary, out, as_json)


def _finish(summary: Mapping[str, Any], out: str, as_json: bool) -> None:
    from rewardanything_core.cli._build import show_built

    if as_json:
        options.print_json(summary)
    else:
        show_built(summary, out)
    counts = summary["counts"]
    if not counts["kept"]:
        options.echo("Nothing is kept; card.md has the numbers.")
    if not counts["kept"] or counts["no_quorum"] > _MAX_WITHOUT_QUORUM * counts["lists"]:
        raise typer.Exit(JUDGE_FAILED)


def _jury(settings: Mapping[str, Any]) -> Jury:
    from rewardanything_core.judging.jury import Jury

    jury = options.load_judge_with_progress(**settings)
    if not isinstance(jury, Jury):
        jury.close()
        raise ConfigError("A benchmark needs a jury.", hint="Give --judge twice or more, or [[jury]] in ra-judge.toml.")
    return jury


def _models(names: list[str], api_base: list[str] | None, api_key_env: str | None) -> dict[str, Callable[[], Backend]]:
    """The models of ``--sample``, each with what loads it."""
    from rewardanything_core.cli._check.models import is_local, load_app_model
    from rewardanything_core.loading import check_model

    if len(set(names)) < len(names):
        raise ConfigError("A model is given twice as --sample; --samples says how often each writes.")
    given = {"app_api_base": api_base, "app_api_key_env": api_key_env}
    local = [name for name in names if is_local(name, api_base)]
    if api_key_env is not None and local:
        raise ConfigError(f"--sample-api-key-env does not apply to {local[0]}, which runs on this machine.")

    def loader(name: str) -> Callable[[], Backend]:
        settings = {key: value for key, value in given.items() if value is not None} | {"app_model": name}

        def load() -> Backend:
            with options.fetch_progress() as progress:
                return load_app_model(settings, progress)

        return load

    for name in names:
        check_model(name, api_base)
    return {name: loader(name) for name in names}


def _run(
    principles: list[Principle],
    rows: list[PromptRow],
    jury: Jury,
    built_as: BuildOptions,
    models: Mapping[str, Callable[[], Backend]],
    written_as: SampleOptions,
    spending: Spending,
    out: Path,
    read: list[str],
) -> dict[str, Any]:
    from rewardanything_core.benchmark_building import BenchmarkBuilder, write_benchmark
    from rewardanything_core.benchmark_building.sampling import (
        ResponseFile,
        count_missing,
        sample_responses,
        with_placeholders,
    )
    from rewardanything_core.cli._progress import progress_bar, steps_bar

    file = ResponseFile(out / "responses.jsonl")
    missing = count_missing(rows, list(models), written_as, file)
    planned = BenchmarkBuilder(principles, with_placeholders(rows, list(models), written_as, file), jury, built_as)

    def estimated() -> CostEstimate | None:
        judging = planned.estimate()
        if missing:
            options.echo(
                f"{missing:,} responses are to be written, of at most {written_as.max_tokens} tokens each; the "
                "estimate has their calls, and takes them to be that long where they are judged."
            )
        return None if judging is None else dataclasses.replace(judging, calls=judging.calls + missing)

    spending.confirm(jury, estimated)
    if models:
        with steps_bar("sampling") as steps:
            rows, failures = sample_responses(rows, models, written_as, file=file, budget=jury.budget, progress=steps)
        for failure in failures[:3]:
            options.echo(f"Failed: {options.printable(failure)}")
        if failures:
            options.echo(f"{len(failures):,} responses could not be sampled; the same command tries again.")
    builder = BenchmarkBuilder(principles, rows, jury, built_as)
    with progress_bar(len(builder.tasks)) as progress:
        built = builder.build(progress)
    return write_benchmark(built, out, files=read)
