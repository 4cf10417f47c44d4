"""``ra-judge bench``: judge the judge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.errors import ConfigError


def bench(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE...", help="Benchmark files or folders, or hf:owner/name for one on the hub."),
    ] = None,
    flips: Annotated[
        list[str] | None, typer.Option("--flips", metavar="FILE", help="Flip pairs between rows of FILE; repeatable.")
    ] = None,
    told_format: Annotated[
        str, typer.Option("--format", help="The layout of FILE if its fields do not say.", show_default=True)
    ] = "auto",
    principle: Annotated[str | None, typer.Option(help="The principle for rows that bring none.")] = None,
    limit_groups: Annotated[
        int | None, typer.Option("--limit-groups", min=1, help="Only so many groups of prompts of each file.")
    ] = None,
    html: Annotated[str | None, typer.Option("--html", metavar="FILE", help="Write a page with plots.")] = None,
    model: options.Model = None,
    api_base: options.ApiBase = None,
    api_key_env: options.ApiKeyEnv = None,
    backend: options.BackendName = None,
    device: options.Device = None,
    passes: options.Passes = None,
    seed: options.Seed = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Most requests to an endpoint at a time.")] = None,
    store: options.Store = None,
    cache: options.Cache = None,
    config: options.Config = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Measure how far a judge agrees with people, and whether it follows the principle.

    FILE has responses that people compared or scored: rows as in docs/judge-the-judge.md, or RABench, RM-Bench,
    RewardBench, LLMBar and JudgeBench as published. Flip pairs are two responses that people order one way under one
    principle and the other way under another; only they show whether the judge reads the principle.

    Verdicts are kept: stop it whenever you like, and the same command goes on from there.

    Exit code: 0 done, 3 if more than a tenth of the judgements failed, 2 if the command cannot work, 130 if
    interrupted.
    """
    from rewardanything_core.bench.reading import holds_flips, read_flips, read_items
    from rewardanything_core.bench.running import run_bench
    from rewardanything_core.cli._bench import show
    from rewardanything_core.cli._progress import progress_bar

    # A shell that expands --flips *.jsonl puts all but the first among the files.
    also_flips = [file for file in files or [] if holds_flips(file)]
    sources = [file for file in files or [] if file not in also_flips]
    items = read_items(sources, layout=told_format, principle=principle, limit_groups=limit_groups)
    flip_pairs = read_flips([*(flips or []), *also_flips])
    if html is not None:
        _writable(html)
    settings: dict[str, Any] = {
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
    }
    from rewardanything_core.loading import load_judge

    try:
        with options.fetch_progress() as told:
            judge = load_judge(progress=told, **settings)
        with judge, progress_bar(len(items)) as progress:
            report = run_bench(judge, items, flip_pairs, progress=progress)
    except KeyboardInterrupt:
        typer.echo("What was judged is kept; the same command goes on from here.", err=True)
        raise
    if as_json:
        options.print_json(report.to_dict())
    else:
        show(report)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _writable(path: str) -> None:
    """Find out before judging whether a file can be written."""
    try:
        with Path(path).open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise ConfigError(f"Cannot write {path}: {error.strerror or error}.") from error
