"""How ``bench`` prints a report: the headline first, then what it is made of."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from rewardanything_core.agreement.intervals import Estimate
from rewardanything_core.bench.measures import HEADLINE
from rewardanything_core.bench.report import BenchReport, Figures
from rewardanything_core.cli._options import print_table
from rewardanything_core.types import Usage

NAMES = {
    "flip_accuracy": "flip questions right",
    "both_right": "flips with both right",
    "pairwise_accuracy": "pairs right",
    "kendall_tau_b": "Kendall's tau-b",
    "ndcg": "NDCG",
    "spearman": "Spearman",
    "score_variance": "variance of scores in a list",
    "best_found": "best response found",
    "agreement_between_passes": "agreement of passes (W)",
}
BY_CHANCE = {"flip_accuracy": ".50", "both_right": ".00-.25", "pairwise_accuracy": ".50", "kendall_tau_b": ".00"}


def show(report: BenchReport) -> None:
    """Print a report for a person."""
    figures = report.figures
    typer.echo(f"Judge: {report.model}\n")
    print_table(["figure", "value", "95% interval", "by ranking", "by chance", "n"], _headline(figures))
    for title, parts in (
        ("By benchmark", report.by_source),
        ("By domain", report.by_domain),
        ("By family of principles", report.by_category),
    ):
        if len(parts) > 1:
            typer.echo(f"\n{title}")
            print_table(["", *(NAMES[name] for name in HEADLINE)], _parts(parts))
    if report.rm_bench is not None:
        typer.echo("\nRM-Bench, by its own rule (ties are wrong)")
        levels = ("hard", "normal", "easy", "average")
        domains = report.rm_bench.domains | {"overall": report.rm_bench.overall}
        print_table(
            ["", *levels, "n"], [[d, *(_brief(f[x]) for x in levels), str(f["hard"].n)] for d, f in domains.items()]
        )
    typer.echo("\n" + _costs(report))
    if report.failures:
        kinds = ", ".join(f"{number} {kind}" for kind, number in report.failures_by_type.items())
        wrong = _brief(figures["pairwise_accuracy_failures_wrong"])
        typer.echo(
            f"{len(report.failures)} of {len(report.judged)} judgements failed ({kinds}) and are in none of these "
            f"figures; counted as wrong, pairs right is {wrong}. The first: {report.failures[0].message}"
        )
    for note in report.notes:
        typer.echo(f"Note: {note}")


def _headline(figures: Figures) -> list[list[str]]:
    rows = []
    for name, title in NAMES.items():
        estimate = figures[name]
        if estimate.value is None and name not in HEADLINE:
            continue
        chance = _number(figures["ndcg_chance"].value) if name == "ndcg" else BY_CHANCE.get(name, "")
        ranking = figures.get(f"{name}_by_ranking")
        rows.append(
            [
                title,
                _number(estimate.value),
                _interval(estimate),
                "" if ranking is None else _number(ranking.value),
                chance if estimate.value is not None else "",
                f"{estimate.n:,}",
            ]
        )
    return rows


def _parts(parts: Mapping[str, Figures]) -> list[list[str]]:
    return [[part, *(_brief(figures[name]) for name in HEADLINE)] for part, figures in parts.items()]


def _costs(report: BenchReport) -> str:
    def said(usage: Usage) -> str:
        cost = "" if usage.cost is None else f", ${usage.cost:,.4f}"
        return f"{usage.calls:,} calls, {usage.prompt_tokens:,} tokens read, {usage.completion_tokens:,} written{cost}"

    lines = [
        f"{len(report.judged):,} judgements in {report.seconds:,.1f} s ({report.from_store:,} from the store): "
        f"{said(report.spent)}."
    ]
    if report.from_store:
        lines.append(f"Made anew, all of them take {said(report.made)}.")
    return "\n".join(lines)


def _brief(estimate: Estimate) -> str:
    return "-" if estimate.value is None else f"{_number(estimate.value)} ({_interval(estimate)})"


def _interval(estimate: Estimate) -> str:
    return "" if estimate.value is None else f"{_number(estimate.low)} to {_number(estimate.high)}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    text = f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
