"""``ra-judge estimate``: what people would say about all judged rows, from labels of a few."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.cli._stdout import output
from rewardanything_core.cli.exit_codes import JUDGE_FAILED
from rewardanything_core.errors import ConfigError
from rewardanything_core.types import MAX_SCORE, MIN_SCORE

if TYPE_CHECKING:
    from rewardanything_core.bench.estimates import EstimateReport
    from rewardanything_core.bench.judged_rows import JudgedRow
    from rewardanything_core.bench.label_requests import LabelRequest

ROWS = "Judged rows"
NEXT = "Labels to ask for"


def estimate(
    judged: Annotated[
        str | None, typer.Argument(metavar="JUDGED", help="Output of ra-judge grade.", show_default="the store")
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option("--labels", metavar="FILE", help="People's labels of some rows; mlflow:EXPERIMENT; repeatable."),
    ] = None,
    scale: Annotated[
        str | None, typer.Option("--scale", metavar="LOW:HIGH", help="Scale of people's scores.", show_default="1:5")
    ] = None,
    confidence: Annotated[float, typer.Option("--confidence", help="Confidence level of the intervals.")] = 0.95,
    stratify: Annotated[
        str | None,
        typer.Option("--stratify", metavar="COLUMN", help="Labels were drawn separately for each value of COLUMN."),
    ] = None,
    number: Annotated[
        int | None,
        typer.Option("--next", metavar="K", min=1, help="Draw K rows to label next.", rich_help_panel=NEXT),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "-o", "--out", metavar="FILE", help="Where to write them, with the labels so far.", rich_help_panel=NEXT
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Random seed of the draw.", rich_help_panel=NEXT)] = 0,
    prompt_column: Annotated[
        str, typer.Option("--prompt-column", help="As for grade, as are the others.", rich_help_panel=ROWS)
    ] = "prompt",
    responses_column: Annotated[
        str | None,
        typer.Option(
            "--responses-column",
            help="Column with the responses.",
            show_default="the columns that were judged",
            rich_help_panel=ROWS,
        ),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option("--id-column", help="Column with the ids.", show_default="id, if any", rich_help_panel=ROWS),
    ] = None,
    prefix: Annotated[str, typer.Option("--prefix", help="Prefix of the judge's columns.", rich_help_panel=ROWS)] = "",
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="FILE", help="Verdict store, instead of JUDGED.", rich_help_panel=ROWS),
    ] = None,
    principle: Annotated[
        str | None,
        typer.Option("--principle", help="Only verdicts of the store under this principle.", rich_help_panel=ROWS),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Only verdicts of the store by this model.", rich_help_panel=ROWS),
    ] = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Estimate what people would say about all judged rows, from their labels of a few.

    The judge's mean is corrected by its mean error on the labelled rows, and has an interval that is valid however
    biased the judge is (prediction-powered inference). A better judge makes the interval narrower. Labelled rows must
    have been drawn at random: let --next draw them.

    JUDGED is the output of ra-judge grade. Labels are rows with prompt and response as judged and a score, or responses
    with human_scores or a winner; a row with the id of a judged row belongs to that one. The mean score is estimated
    under each principle and criterion. Where all rows have responses of the same labels, these are systems: each has a
    mean score, and is compared with the first.

    --next K writes a file with the labels so far and K rows whose score is null. Fill these in, and give the file as
    --labels. Rows that the judge is less sure of are drawn more often; each row's probability is in the file, and the
    estimate accounts for it. FILE.draw.json has those of all rows, for the next draw.

    Exit code: 0 done, 3 if there are too few labels for any estimate, 2 if the command cannot run.
    """
    from rewardanything_core.bench.estimates import estimate_rows
    from rewardanything_core.bench.label_matching import match_labels, read_labels_of_rows
    from rewardanything_core.bench.label_requests import read_draw, request_labels, write_request
    from rewardanything_core.bench.labels import count_unlabelled
    from rewardanything_core.cli.bench import scale_of

    if (number is None) != (out is None):
        raise ConfigError("Give --next and --out together.")
    if not labels and number is None:
        raise ConfigError("There are no labels.", hint="Give --labels, or let --next draw the first rows to label.")
    human_scale = scale_of(scale) or (MIN_SCORE, MAX_SCORE)  # a guess would change the estimate
    rows, failed = _rows(judged, store, principle, model, prompt_column, responses_column, id_column, stratify, prefix)
    matched = match_labels(rows, read_labels_of_rows(rows, labels or []), scale=human_scale)
    report = estimate_rows(rows, matched, confidence=confidence)
    unlabelled = count_unlabelled([source for source in labels or [] if Path(source).is_file()])
    request = None
    if number is not None and out is not None:
        before = read_draw(labels or [])
        request = request_labels(rows, matched, number, before=before, confidence=confidence, seed=seed)
        write_request(request, out)
    if as_json:
        plain = report.to_dict() | {"failed": failed, "unlabelled": unlabelled}
        options.print_json(plain | ({} if request is None else {"next": _request_json(request, out)}))
    else:
        if labels:
            _show(report, failed, unlabelled, confidence)
        if request is not None:
            _show_request(request, str(out))
    if labels and not report.has_results:
        raise typer.Exit(JUDGE_FAILED)


def _rows(
    judged: str | None,
    store: str | None,
    principle: str | None,
    model: str | None,
    prompt_column: str,
    responses_column: str | None,
    id_column: str | None,
    stratify: str | None,
    prefix: str,
) -> tuple[list[JudgedRow], int]:
    from rewardanything_core.bench.judged_rows import judged_rows_of_store, read_judged_rows

    if judged is None:
        if stratify is not None:
            raise ConfigError("--stratify needs JUDGED; a store has no columns.")
        return judged_rows_of_store(store, principle=principle, model=model), 0
    if given := [name for name, value in (("store", store), ("principle", principle), ("model", model)) if value]:
        raise ConfigError(f"--{given[0]} is for verdicts of a store; give it or JUDGED, not both.")
    return read_judged_rows(
        judged,
        prompt_column=prompt_column,
        responses_column=responses_column,
        id_column=id_column,
        stratum_column=stratify,
        prefix=prefix,
    )


def _show(report: EstimateReport, failed: int, unlabelled: int, confidence: float) -> None:
    from rewardanything_core.cli._estimates import show_estimates
    from rewardanything_core.gate.reports.wording import counted

    low, high = report.scale
    output(
        f"{counted(report.rows, 'judged row')}, {report.labelled:,} with labels (scores from {low:g} to {high:g}"
        f"{'' if (low, high) == (1, 5) else ', converted to 1 to 5'}). {100 * confidence:g}% intervals."
    )
    show_estimates(report)
    _notes(report, failed, unlabelled)


def _notes(report: EstimateReport, failed: int, unlabelled: int) -> None:
    from rewardanything_core.gate.reports.wording import counted

    if report.unmatched:
        first, number = options.one_line(report.unmatched[0], 60), len(report.unmatched)
        options.echo(
            f"Warning: {counted(number, 'label')} {'belongs' if number == 1 else 'belong'} to no judged row, such as "
            f"{first!r}."
        )
    if failed:
        options.echo(f"Warning: {counted(failed, 'row')} could not be judged; the estimates are about the others.")
    if unlabelled:
        options.echo(
            f"Warning: {counted(unlabelled, 'row')} of the labels are not filled in. The estimates hold if these are "
            f"no different from the others."
        )


def _show_request(request: LabelRequest, out: str) -> None:
    output(f"\nWrote {request.number:,} rows to label to {out}. Fill in each score or winner that is null, then run:")
    output(f"  ra-judge estimate ... --labels {out}")
    if request.predicted is not None and request.predicted_uniform is not None:
        output(
            f"They should narrow the interval from ±{request.half_width:.2f} to ±{request.predicted:.2f}; drawn with "
            f"equal probabilities, to ±{request.predicted_uniform:.2f}."
        )


def _request_json(request: LabelRequest, out: str | None) -> dict[str, Any]:
    return {
        "output": out,
        "number": request.number,
        "half_width": request.half_width,
        "predicted": request.predicted,
        "predicted_uniform": request.predicted_uniform,
    }
