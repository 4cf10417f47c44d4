"""``ra-judge fit``: fit a reward head for a local model to people's labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.cli._stdout import output
from rewardanything_core.cli.exit_codes import JUDGE_FAILED
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    from rewardanything_core.agreement.intervals import Estimate
    from rewardanything_core.bench.head_fitting import HeadFit


def fit(
    labels: Annotated[
        list[str],
        typer.Argument(metavar="LABELS...", help="Files with people's scores, rankings or pairs; mlflow:EXPERIMENT."),
    ],
    out: Annotated[str, typer.Option("-o", "--out", metavar="FILE", help="Where to write the reward head.")],
    principle: Annotated[str | None, typer.Option(help="Principle for rows that have none.")] = None,
    layer: Annotated[
        int | None,
        typer.Option("--layer", min=1, help="Number of layers to run.", show_default="about two thirds of the model's"),
    ] = None,
    model: options.Model = None,
    device: options.Device = None,
    seed: options.Seed = None,
    store: options.Store = None,
    cache: options.Cache = None,
    config: options.Config = None,
    max_cost: options.MaxCost = None,
    max_calls: options.MaxCalls = None,
    max_total_tokens: options.MaxTotalTokens = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Fit a reward head to people's labels, and compare it with the judge on held-out prompts.

    The head is written only if it is significantly better than the judge without it. Use it with head = "FILE" in
    ra-judge.toml, --head FILE, or head="FILE" in Python.
    """
    from rewardanything_core.bench.head_fitting import fit_head
    from rewardanything_core.bench.training_items import read_training_items
    from rewardanything_core.cli._check.reports import check_writable
    from rewardanything_core.judging.judge import Judge

    items = read_training_items(labels, principle=principle)
    check_writable(Path(out), "--out", reads=[*labels, *([] if config is None else [config])])
    judge = options.load_judge_with_progress(
        config=config,
        model=model,
        device=device,
        seed=seed,
        store=store,
        cache=cache,
        max_cost=max_cost,
        max_calls=max_calls,
        max_total_tokens=max_total_tokens,
    )
    if not isinstance(judge, Judge):
        raise ConfigError("A reward head belongs to one model; fit it to each juror's.")
    with judge:
        options.echo(f"Judging {len(items)} labelled items with {judge.model} ...")
        result = fit_head(judge, items, layer=layer, seed=seed or 0)
    if result.is_better:
        result.head.save(out)
    if as_json:
        options.print_json(_json(result, out))
    else:
        _show(result, out)
    if not result.is_better:
        raise typer.Exit(JUDGE_FAILED)


def _json(result: HeadFit, out: str) -> dict[str, Any]:
    return {
        "written": out if result.is_better else None,
        "layer": result.head.layer,
        "hash": result.head.hash,
        "pairs": result.pairs,
        "prompts": result.groups,
        "failed": result.failed,
        "accuracy": result.accuracy.to_dict(),
        "accuracy_before": result.accuracy_before.to_dict(),
        "gain": result.gain.to_dict(),
        "curve": [{"prompts": prompts, "accuracy": accuracy} for prompts, accuracy in result.curve],
    }


def _show(result: HeadFit, out: str) -> None:
    output(f"{result.pairs} pairs from {result.groups} prompts; accuracy on held-out prompts:\n")
    rows = [
        ["judge without the head", *_cells(result.accuracy_before)],
        ["judge with the head", *_cells(result.accuracy)],
        ["gain", *_cells(result.gain)],
    ]
    options.print_table(["judge", "pairs ordered as people do", "95% interval"], rows)
    if len(result.curve) > 1:
        points = ", ".join(f"{prompts}: {accuracy:.2f}" for prompts, accuracy in result.curve)
        output(f"\nAccuracy by number of labelled prompts: {points}.")
    if result.expected_gain is not None:
        output(f"{result.groups} more labelled prompts would raise it by about {result.expected_gain:.2f}.")
    if result.failed:
        output(f"{result.failed} items could not be judged and are excluded.")
    if result.is_better:
        output(f'\nWritten to {out}. Use it with head = "{out}" in ra-judge.toml, or --head {out}.')
    else:
        output("\nNot written: the head is not significantly better than the judge without it. More labels may help.")


def _cells(estimate: Estimate) -> list[str]:
    from rewardanything_core.bench.charts import interval, number

    return [number(estimate.value), interval(estimate)]
