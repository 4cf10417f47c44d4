"""``ra-judge cascade fit``: fit a cascade's thresholds to labels, or to the stored verdicts of its last stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.cli._stdout import output
from rewardanything_core.cli.bench import scale_of
from rewardanything_core.cli.exit_codes import JUDGE_FAILED
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    from rewardanything_core.bench.cascade_results import CascadeFit, CurvePoint
    from rewardanything_core.bench.items import BenchItem
    from rewardanything_core.judging.cascade import Cascade

_COSTS = {"dollars": "$", "seconds": "model seconds", "escalations": "last stage's rows"}
_MEANINGS = {
    "best": "the same response first",
    "order": "the same order of every labelled pair",
    "scores": "every score within the tolerance",
}


def fit(
    labels: Annotated[
        list[str] | None,
        typer.Argument(metavar="LABELS...", help="Files with people's scores, rankings or pairs; mlflow:EXPERIMENT."),
    ] = None,
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="FILE", help="Where to write the thresholds, as JSON.")
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Instead of labels: the stored verdicts of the last stage.")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(help="What the cascade is to agree with: people or last.", show_default="people; last: --replay"),
    ] = None,
    alpha: Annotated[float, typer.Option(help="Greatest share of disagreement among what is not escalated.")] = 0.1,
    delta: Annotated[float, typer.Option(help="Greatest probability that it is larger after all.")] = 0.1,
    agreement: Annotated[
        str | None,
        typer.Option(
            "--agreement",
            help="What counts as agreement: best, order or scores.",
            show_default="best; scores: single responses",
        ),
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="For scores: greatest difference, in points.")] = 0.5,
    tie_margin: Annotated[
        float, typer.Option("--tie-margin", min=0, help="Scores at most this far apart count as a tie, in points.")
    ] = 0.0,
    scale: Annotated[
        str | None, typer.Option(help="Lowest and highest score by people: 0:10.", show_default="1:5, or as found")
    ] = None,
    confidence: Annotated[
        str | None,
        typer.Option(help="Confidence from: gap, order, votes or spread.", show_default="the settings', else gap"),
    ] = None,
    principle: Annotated[
        str | None, typer.Option(help="Principle for rows that have none; with --replay: only cases under it.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of items.", show_default="all")] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            "--stage", metavar="MODEL", help="A stage, the cheapest first; repeat.", show_default="the settings'"
        ),
    ] = None,
    abstain: Annotated[
        bool | None,
        typer.Option("--abstain/--no-abstain", help="Leave what the last stage is not sure of to a person."),
    ] = None,
    passes: options.Passes = None,
    seed: options.Seed = None,
    store: options.Store = None,
    cache: options.Cache = None,
    config: options.Config = None,
    max_cost: options.MaxCost = None,
    max_calls: options.MaxCalls = None,
    max_total_tokens: options.MaxTotalTokens = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Fit the thresholds of a cascade, so that what it decides without escalation agrees with people.

    Prints coverage against agreement against cost. With probability 1 - delta, the agreement of what is not escalated
    is at least 1 - alpha on data like the labels. Use the file with thresholds = "FILE" under [judge] in ra-judge.toml,
    or Cascade(..., thresholds="FILE"). Exit code 3: no threshold passes, and the file has everything escalated.
    """
    from rewardanything_core.bench.cascade_fitting import fit_cascade
    from rewardanything_core.cli._check.reports import check_writable

    if bool(labels) == replay:
        raise ConfigError("Give either files with labels, or --replay.")
    if out is not None:
        check_writable(Path(out), "--out", reads=[*(labels or []), *([] if config is None else [config])])
    against = against or ("last" if replay else "people")
    if against not in ("people", "last") or (replay and against == "people"):
        raise ConfigError("--against must be people or last; --replay has no labels of people.")
    items = [] if replay else _labelled(labels or [], principle, limit, against)
    cascade = _cascade(
        cascade=stage,
        abstain=abstain,
        confidence=confidence,
        passes=passes,
        seed=seed,
        store=store,
        cache=cache,
        config=config,
        max_cost=max_cost,
        max_calls=max_calls,
        max_total_tokens=max_total_tokens,
    )
    with cascade:
        if replay:
            from rewardanything_core.bench.stored_items import stored_items

            items = stored_items(cascade.stages[-1], principle=principle, limit=limit)
        options.echo(f"Judging {len(items)} items with {cascade.model} ...")
        result = fit_cascade(
            cascade,
            items,
            alpha=alpha,
            delta=delta,
            against=against,  # type: ignore[arg-type]  # checked above
            rule=_rule(agreement),
            tolerance=tolerance,
            tie_margin=tie_margin,
            scale=scale_of(scale),
            seed=seed or 0,
        )
        if out is not None:
            result.thresholds().save(out)
    if as_json:
        options.print_json({"written": out, **result.to_dict()})
    else:
        _show(result, out)
    if not result.passed:
        raise typer.Exit(JUDGE_FAILED)


def _labelled(labels: list[str], principle: str | None, limit: int | None, against: str) -> list[BenchItem]:
    from rewardanything_core.bench.labels import read_labels
    from rewardanything_core.bench.training_items import read_training_items

    if against == "last":
        return read_labels(labels, principle=principle, unlabelled="keep")[:limit]
    return read_training_items(labels, principle=principle)[:limit]


def _cascade(**settings: Any) -> Cascade:
    from rewardanything_core.judging.cascade import Cascade

    judge = options.load_judge_with_progress(thresholds="", **settings)  # those of the settings are to be replaced
    if not isinstance(judge, Cascade):
        judge.close()
        raise ConfigError(
            "The settings describe no cascade.",
            hint="Give two stages or more, such as --stage smollm2-135m --stage openai/gpt-5-mini, or [[cascade]] in "
            "ra-judge.toml.",
        )
    return judge


def _rule(agreement: str | None) -> Any:
    from rewardanything_core.agreement.same_decision import AGREEMENT_RULES

    if agreement is not None and agreement not in AGREEMENT_RULES:
        raise ConfigError(f"--agreement must be one of {', '.join(AGREEMENT_RULES)}, not {agreement!r}.")
    return agreement


def _show(result: CascadeFit, out: str | None) -> None:
    whom = "people" if result.against == "people" else "the last stage"
    output(
        f"{result.items} items from {result.groups} prompts; agreement with {whom}: {_MEANINGS[result.rule]}. "
        f"Confidence: {result.cascade.confidence}.\n"
    )
    cost = f"{_COSTS[result.cost_unit]} per 1,000 rows"
    rows = [
        [_stage_name(result, number), *_estimate(one.agreement), f"{one.cost:,.4g}", str(one.failed)]
        for number, one in enumerate(result.stages, start=1)
    ]
    options.print_table(["each stage alone", "agreement", "95% interval", cost, "failed"], rows)
    output("")
    escalated = "left to people" if result.cascade.abstain else "escalated"
    columns = ["not escalated", escalated, "agreement of the former", "95% interval", cost, "thresholds", ""]
    options.print_table(columns, [_point(point) for point in result.curve])
    output("")
    for note in result.notes:
        output(f"Note: {note}")
    if result.unlabelled:
        output(f"{result.unlabelled} items have no label for this kind of agreement and are left out.")
    _show_guarantee(result, out, whom)


def _show_guarantee(result: CascadeFit, out: str | None, whom: str) -> None:
    tests = result.test.tests
    if result.passed:
        last = next(test for test in reversed(tests) if test.passed)
        output(
            f"Of the {result.test.tested} tested prompts, {last.decided} are decided without escalation, {last.wrong} "
            f"of them not as {whom} did (p = {last.p_value:.2g})."
        )
        output(
            f"With probability {1 - result.delta:g}, the agreement with {whom} of what is not escalated is at least "
            f"{1 - result.alpha:g}, on data like these."
        )
    else:
        tried = (
            f"; the test failed with {tests[0].wrong} of {tests[0].decided} (p = {tests[0].p_value:.2g})"
            if tests
            else ""
        )
        output(
            f"No threshold passes for an agreement of {1 - result.alpha:g}{tried}. Every row is escalated. "
            "More labels, a larger --alpha, another --confidence or a better first stage may help."
        )
    if out is not None:
        output(f'\nWritten to {out}. Use it with thresholds = "{out}" under [judge] in ra-judge.toml.')


def _stage_name(result: CascadeFit, number: int) -> str:
    is_label = result.against == "last" and number == len(result.stages)
    return f"{number}: {result.stages[number - 1].model}{' (gives the labels)' if is_label else ''}"


def _point(point: CurvePoint) -> list[str]:
    thresholds = ", ".join("never" if each is None else f"{each:.4f}" for each in point.thresholds)
    return [
        f"{point.coverage:.0%}",
        f"{1 - point.coverage:.0%}",
        *_estimate(point.agreement),
        f"{point.cost:,.4g}",
        thresholds,
        "chosen" if point.chosen else "",
    ]


def _estimate(estimate: Any) -> list[str]:
    from rewardanything_core.bench.charts import interval, number

    return [number(estimate.value), interval(estimate)] if estimate.n else ["-", "-"]
