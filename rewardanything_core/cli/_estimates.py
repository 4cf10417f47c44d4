"""Tables of estimates that are corrected with labels."""

from __future__ import annotations

from rewardanything_core.bench.estimates import EstimateReport, LabelEstimate
from rewardanything_core.cli._options import echo, one_line, print_table
from rewardanything_core.cli._stdout import output
from rewardanything_core.estimation import Interval
from rewardanything_core.gate.reports.wording import counted


def show_estimates(report: EstimateReport) -> None:
    """Print the estimates, what more labels would give, and warnings.

    Args:
        report: The estimates.
    """
    for principle in dict.fromkeys(one.principle for one in report.estimates):
        estimates = [one for one in report.estimates if one.principle == principle]
        found = [one for one in estimates if one.result is not None]
        if principle is not None:
            output(f"\n{one_line(principle, 100)}")
        if found:
            output("")
            columns = ["figure", "corrected", "labels alone", "judge", "bias"]
            print_table(columns, [_estimate_row(one) for one in found])
            output("\nHalf of the interval's width by number of labels")
            columns = ["figure", "labels", "now", "twice", "4 times", "all rows", "enough", "worth"]
            print_table(columns, [_plan_row(one) for one in found])
        for one in estimates:
            if one.result is None:
                output(f"{_title(one)}: {counted(one.n, 'label')}, too few for an estimate.")
    if report.has_results:
        output(
            "\ncorrected: what people would say about all rows. bias: judge minus people. enough: beyond that, more "
            "labels hardly help. worth: how many labels alone, without the judge, would give as narrow an interval."
        )
    warnings: dict[str, list[str]] = {}
    for one in report.estimates:
        for warning in one.result.warnings if one.result is not None else ():
            warnings.setdefault(warning, []).append(_title(one))
    for warning, names in warnings.items():
        about = f" ({', '.join(names)})" if len(report.estimates) > 1 else ""
        echo(f"Warning: {warning}{about}")


def _title(one: LabelEstimate) -> str:
    return one.name if one.criterion is None else f"{one.criterion}: {one.name}"


def _estimate_row(one: LabelEstimate) -> list[str]:
    result = one.result
    assert result is not None
    sign = "+" if one.measure == "difference" else ""
    corrected = Interval(value=result.value, low=result.low, high=result.high)
    return [
        _title(one),
        _interval(corrected, sign),
        f"{result.labels_only.value:{sign}.2f} ±{result.labels_only.half_width:.2f}",
        f"{result.judge_mean:{sign}.2f}",
        f"{result.bias.value:+.2f} ±{result.bias.half_width:.2f}",
    ]


def _plan_row(one: LabelEstimate) -> list[str]:
    result = one.result
    assert result is not None
    numbers = [n for n in (2 * result.n, 4 * result.n) if n < result.rows]
    widths = [f"±{result.predicted_half_width(n):.2f}" for n in numbers]
    return [
        _title(one),
        f"{result.n:,}",
        f"±{result.half_width:.2f}",
        *[*widths, "", ""][:2],
        f"±{result.predicted_half_width(result.rows):.2f}",
        f"{one.enough:,}",
        f"{result.effective_n:,.0f}",
    ]


def _interval(interval: Interval, sign: str) -> str:
    return f"{interval.value:{sign}.2f} ({interval.low:{sign}.2f} to {interval.high:{sign}.2f})"
