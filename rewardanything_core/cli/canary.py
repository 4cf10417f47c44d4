"""``ra-judge canary``: whether the judge still judges as it did."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.errors import MissingExtraError, RewardAnythingError

if TYPE_CHECKING:
    from rewardanything_core.canary import Canary, CanaryReport
    from rewardanything_core.judging.base import BaseJudge

MaxFailures = Annotated[float, typer.Option("--max-failures", help="Share of the cases that may fail.")]

MLFLOW_TAG = "rewardanything.canary"
"""The tag of the MLflow run that holds the history of a canary; its value says which one."""


def record(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Cases, labelled by people or not.")],
    out: Annotated[str, typer.Option("--out", "-o", metavar="FILE", help="The canary to write.")],
    principle: Annotated[str | None, typer.Option(help="Principle for rows that have none, in plain words.")] = None,
    principle_file: options.PrincipleFile = None,
    principle_name: options.PrincipleName = None,
    runs: Annotated[int, typer.Option(min=1, help="How often to judge, to know the judge's own variation.")] = 3,
    max_failures: MaxFailures = 0.05,
    model: options.Model = None,
    api_base: options.ApiBase = None,
    api_key_env: options.ApiKeyEnv = None,
    backend: options.BackendName = None,
    device: options.Device = None,
    passes: options.Passes = None,
    seed: options.Seed = None,
    concurrency: options.Concurrency = None,
    config: options.Config = None,
) -> None:
    """Judge cases and freeze them with the verdicts.

    FILE has rows with prompt and response, or prompt and responses (label -> text), and principle unless one is given
    here. Labels by people are optional: score, human_scores or winner, as for ra-judge bench --labels.

    Verdicts are neither read from the store nor written to it. Cases that fail in some run are left out; if more fail
    than --max-failures admits, nothing is written and the exit code is 3.
    """
    from rewardanything_core.bench.labels import read_labels
    from rewardanything_core.canary import record_canary
    from rewardanything_core.canary.drift import smallest_p_value
    from rewardanything_core.cli._check.reports import check_writable
    from rewardanything_core.cli._progress import steps_bar
    from rewardanything_core.gate.reports.wording import counted
    from rewardanything_core.principles import Rubric

    settings = options.judge_settings(locals()) | {"config": config, "cache": "off"}
    given = None
    if any((principle, principle_file, principle_name)):
        given = options.one_principle(principle, principle_file, principle_name, takes_column=False)
    items = read_labels(files, principle=None if given is None else given.text, unlabelled="keep")
    if isinstance(given, Rubric):  # rows without a principle of their own have its text so far
        items = [
            dataclasses.replace(item, rubric=given) if (item.rubric, item.principle) == (None, given.text) else item
            for item in items
        ]
    check_writable(Path(out), "--out", reads=files)
    with (
        options.load_judge_with_progress(**settings) as judge,
        steps_bar("judging") as progress,
    ):
        try:
            canary = record_canary(items, judge, runs=runs, max_failures=max_failures, progress=progress)
        except RewardAnythingError as error:
            if error.failure is not None:
                options.echo("More cases failed than --max-failures allows; nothing is written. The first failure:")
            raise
    canary.save(out)
    left_out = len(items) - len(canary.cases)
    groups = len({each.group for each in canary.cases})
    if smallest_p_value(runs + 1, groups, figures=4) > 0.05:
        options.echo(f"Too few to find any change: {counted(groups, 'different prompt')}. Record more cases.")
    options.echo(
        f"Recorded {counted(len(canary.cases), 'case')} in {counted(runs, 'run')} with {canary.model} in {out}."
        + (f" {counted(left_out, 'case')} failed and left out." if left_out else "")
    )


def run(
    file: Annotated[str, typer.Argument(metavar="CANARY", help="The file that ra-judge canary record wrote.")],
    alpha: Annotated[float, typer.Option(help="Probability of an alarm although the judge has not changed.")] = 0.05,
    max_failures: MaxFailures = 0.05,
    mlflow: Annotated[
        str | None,
        typer.Option("--mlflow", metavar="EXPERIMENT", help="Add the result to the canary's run in this experiment."),
    ] = None,
    model: options.Model = None,
    api_base: options.ApiBase = None,
    api_key_env: options.ApiKeyEnv = None,
    backend: options.BackendName = None,
    device: options.Device = None,
    concurrency: options.Concurrency = None,
    config: options.Config = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Judge a canary's cases again, and test whether the judge moved.

    The judge is the recorded one with its recorded settings, unless --model, --config or another option of the judge
    is given. Stored verdicts are not used.

    Exit code: 0 no change was found, 1 the judge moved, 2 the command cannot run, 3 too many judgements failed or there
    are too few cases, 130 interrupted.
    """
    from rewardanything_core.canary import Canary, run_canary
    from rewardanything_core.cli._progress import steps_bar
    from rewardanything_core.judging.unusable import raise_if_unusable

    settings = options.judge_settings(locals())
    canary = Canary.load(file)
    if mlflow is not None:
        _require_mlflow()
    with _judge(canary, config, settings) as judge, steps_bar("judging") as progress:
        report = run_canary(canary, judge, alpha=alpha, max_failures=max_failures, progress=progress)
    if len(report.failures) == len(canary.cases):
        raise_if_unusable(report.failures)
    if as_json:
        options.print_json(report.to_dict())
    else:
        _show(report)
    if mlflow is not None:
        _log(report, canary, mlflow, Path(file).stem)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _judge(canary: Canary, config: str | None, settings: dict[str, Any]) -> BaseJudge:
    """The recorded judge, or another one if settings are given."""
    from rewardanything_core.loading import load_judge

    if config is not None or settings:
        return options.load_judge_with_progress(config=config, **settings, cache="off")
    return load_judge(canary.judge)


def _show(report: CanaryReport) -> None:
    from rewardanything_core.cli._spending import usage_in_words
    from rewardanything_core.cli._stdout import output

    output(f"{report.outcome.upper()}  {report.reason}")
    if report.tests:
        output("")
        rows = [
            [test.figure, f"{test.recorded:.3f}", f"{test.now:.3f}", f"{test.p_value:.2g}", "yes" if test.moved else ""]
            for test in report.tests
        ]
        options.print_table(["figure", "recorded", "now", "p", "moved"], rows)
    if report.changed:
        output(f"\nScores outside the range of the recorded runs: {len(report.changed)}")
        changed = [[each.id, each.label, f"{each.recorded:.2f}", f"{each.now:.2f}"] for each in report.changed[:10]]
        options.print_table(["case", "response", "recorded", "now"], changed)
    output(f"\nRecorded {report.recorded} in {report.recorded_runs} runs; {report.cases} cases compared.")
    if report.settings:
        output(f"Settings that differ from the recorded ones: {', '.join(report.settings)}.")
    if report.failures:
        output(f"{len(report.failures)} judgements failed, the first with: {report.failures[0].message}")
    output(f"Judge: {options.printable(report.model)}; {usage_in_words(report.usage)}.")


def _require_mlflow() -> Any:
    try:
        import mlflow
    except ImportError as error:
        raise MissingExtraError("Logging to MLflow", extra="mlflow") from error
    return mlflow


def _log(report: CanaryReport, canary: Canary, experiment: str, name: str) -> None:
    """Add the figures to the canary's run, as the next step of its metrics, so that they make a line."""
    mlflow = _require_mlflow()
    mlflow.set_experiment(experiment)
    key = f"{name} {canary.recorded}"
    client = mlflow.MlflowClient()
    found = mlflow.search_runs(
        experiment_names=[experiment], filter_string=f"tags.`{MLFLOW_TAG}` = '{key}'", output_format="list"
    )
    run_id = found[0].info.run_id if found else None
    with mlflow.start_run(run_id=run_id, run_name=None if run_id else f"canary {name}") as run:
        if run_id is None:
            mlflow.set_tag(MLFLOW_TAG, key)
            mlflow.log_params({"model": canary.model, "recorded": canary.recorded, "cases": len(canary.cases)})
        step = len(client.get_metric_history(run.info.run_id, "canary/moved"))
        metrics = {"canary/moved": float(report.outcome == "moved"), "canary/failures": float(len(report.failures))}
        for test in report.tests:
            metrics |= {f"canary/{test.figure}": test.now, f"canary/{test.figure}_p": test.p_value}
        mlflow.log_metrics(metrics, step=step)
        mlflow.set_tag("outcome", report.outcome)
        mlflow.log_dict(report.to_dict(), f"canary/{step}.json")
