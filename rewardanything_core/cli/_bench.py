"""How ``bench`` prints a report: the headline first, then what it is made of."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from rewardanything_core.agreement.intervals import Estimate
from rewardanything_core.bench.charts import interval, number
from rewardanything_core.bench.labels import LabelReport
from rewardanything_core.bench.measures import CHANCE, HEADLINE, TITLES
from rewardanything_core.bench.report import BenchReport, Figures
from rewardanything_core.cli._options import print_table
from rewardanything_core.types import Usage

_LEVELS = ("hard", "normal", "easy", "average")


def show(report: BenchReport) -> None:
    """Print a report for a person."""
    typer.echo(f"Judge: {report.model}\n")
    print_table(["figure", "value", "95% interval", "by ranking", "by chance", "n"], _headline(report.figures))
    for title, parts in (
        ("By benchmark", report.by_source),
        ("By domain", report.by_domain),
        ("By family of principles", report.by_category),
        ("By criterion", report.by_criterion),
    ):
        if len(parts) > 1:
            typer.echo(f"\n{title}")
            _parts(parts)
    if len(report.by_flip) > 1:
        typer.echo("\nFlips, by the two criteria they are between")
        asked = ("flip_accuracy", "flip_accuracy_by_ranking", "both_right", "both_right_by_ranking")
        rows = [[kind, *(_brief(found[name]) for name in asked)] for kind, found in report.by_flip.items()]
        print_table(["", TITLES["flip_accuracy"], "by ranking", TITLES["both_right"], "by ranking"], rows)
    if report.rm_bench is not None:
        typer.echo("\nRM-Bench, by its own rule (ties are wrong)")
        domains = report.rm_bench.domains | {"overall": report.rm_bench.overall}
        rows = [[name, *(_brief(found[level]) for level in _LEVELS)] for name, found in domains.items()]
        print_table(["", *_LEVELS], rows)
    for audit in report.audits.values():
        failed = f", {audit.failed} of {audit.judged} judgements failed" if audit.failed else ""
        typer.echo(f"\nAudit: {audit.name}{failed}")
        rows = [[_plain(name), number(f.value), interval(f), f"{f.n:,}"] for name, f in audit.figures.items()]
        print_table(["", "value", "95% interval", "n"], rows)
        if audit.note:
            typer.echo(audit.note)
    if report.labels is not None:
        _labels(report.labels)
    if report.reliability is not None:
        typer.echo(
            f"\nConfidence read from score gaps, on prompts it was not learnt from: expected calibration error "
            f"{number(report.reliability.calibration_error)}, Brier {number(report.reliability.brier)} "
            f"({report.reliability.pairs:,} pairs)."
        )
    typer.echo("\n" + _costs(report))
    _failures(report)
    for note in report.notes:
        typer.echo(f"Note: {note}")


def _headline(figures: Figures) -> list[list[str]]:
    rows = []
    for name, title in TITLES.items():
        found = figures[name]
        if found.value is None and name not in HEADLINE:
            continue
        chance = figures["ndcg_chance"].value if name == "ndcg" else CHANCE.get(name)
        ranking = figures.get(f"{name}_by_ranking")
        guessed = "0 to .25" if name == "both_right" else "" if chance is None else number(chance)
        guessed = "" if found.value is None else guessed
        by_ranking = "" if ranking is None else number(ranking.value)
        rows.append([title, number(found.value), interval(found), by_ranking, guessed, f"{found.n:,}"])
    return rows


def _parts(parts: Mapping[str, Figures]) -> None:
    there = [name for name in HEADLINE if any(figures[name].n for figures in parts.values())]
    rows = [[part, *(_brief(figures[name]) for name in there)] for part, figures in parts.items()]
    print_table(["", *(TITLES[name] for name in there)], rows)


def _labels(found: LabelReport) -> None:
    low, high = found.scale
    typer.echo(f"\nBeside your labels (scores from {low:g} to {high:g}, shown on the scale of 1 to 5)")
    rows = [[_plain(name), _brief(f), _brief(found.calibrated.get(name))] for name, f in found.figures.items()]
    print_table(["", "as judged", "recalibrated, on unseen prompts"], rows)
    typer.echo("\nConfusion: people in rows, the judge in columns")
    names = [f"{level:g}" for level in found.levels]
    print_table(["", *names], [[name, *map(str, row)] for name, row in zip(names, found.confusion, strict=True)])
    typer.echo("\nWorst disagreements (reasoning: ra-judge log ID)")
    rows = [[w.id, w.label, f"{w.human:g}", f"{w.judged:.2f}", w.record_id or "-"] for w in found.worst[:5]]
    print_table(["row", "response", "people", "judge", "log"], rows)


def _failures(report: BenchReport) -> None:
    if not report.failures:
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.failures_by_type.items())
    typer.echo(
        f"{len(report.failures)} of {len(report.judged)} judgements failed ({kinds}) and are in none of these figures; "
        f"counted as wrong, pairs right is {_brief(report.figures['pairwise_accuracy_failures_wrong'])}. The first: "
        f"{' '.join(report.failures[0].message.split())}"
    )


def _costs(report: BenchReport) -> str:
    lines = [
        f"{len(report.judged):,} judgements in {report.seconds:,.1f} s ({report.from_store:,} from the store): "
        f"{_usage(report.spent)}."
    ]
    if report.from_store:
        lines.append(f"Made anew, all of them take {_usage(report.made)}.")
    return "\n".join(lines)


def _usage(usage: Usage) -> str:
    cost = "" if usage.cost is None else f", ${usage.cost:,.4f}"
    return f"{usage.calls:,} calls, {usage.prompt_tokens:,} tokens read, {usage.completion_tokens:,} written{cost}"


def _brief(found: Estimate | None) -> str:
    return "-" if found is None or found.value is None else f"{number(found.value)} ({interval(found)})"


def _plain(name: str) -> str:
    return name.replace("_", " ")
