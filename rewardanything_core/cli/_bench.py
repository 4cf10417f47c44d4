"""The text report of ``ra-judge bench``: the headline figures first, then their parts."""

from __future__ import annotations

from collections.abc import Mapping

from rewardanything_core.agreement.intervals import Estimate
from rewardanything_core.bench.attack_report import AttackReport
from rewardanything_core.bench.attack_suite import HALVES
from rewardanything_core.bench.charts import interval, number
from rewardanything_core.bench.labels import LabelReport
from rewardanything_core.bench.measures import CHANCE, HEADLINE, TITLES
from rewardanything_core.bench.page import attack_table
from rewardanything_core.bench.report import BenchReport, Figures
from rewardanything_core.cli._options import print_table
from rewardanything_core.cli._stdout import output
from rewardanything_core.types import Usage

_LEVELS = ("hard", "normal", "easy", "average")


def show(report: BenchReport) -> None:
    """Print a report as text."""
    output(f"Judge: {report.model}\n")
    if report.judged:
        print_table(["figure", "value", "95% interval", "by ranking", "by chance", "n"], _headline(report.figures))
    for title, parts in (
        ("By benchmark", report.by_source),
        ("By domain", report.by_domain),
        ("By family of principles", report.by_category),
        ("By criterion", report.by_criterion),
    ):
        if len(parts) > 1:
            output(f"\n{title}")
            _parts(parts)
    if len(report.by_flip) > 1:
        output("\nFlips, by their two criteria")
        names = ("flip_accuracy", "flip_accuracy_by_ranking", "both_right", "both_right_by_ranking")
        rows = [[kind, *(_brief(figures[name]) for name in names)] for kind, figures in report.by_flip.items()]
        print_table(["", TITLES["flip_accuracy"], "by ranking", TITLES["both_right"], "by ranking"], rows)
    if report.rm_bench is not None:
        output("\nRM-Bench, by its own rule (ties count as wrong)")
        domains = report.rm_bench.domains | {"overall": report.rm_bench.overall}
        rows = [[name, *(_brief(levels[level]) for level in _LEVELS)] for name, levels in domains.items()]
        print_table(["", *_LEVELS], rows)
    for audit in report.audits.values():
        failed = f", {audit.failed} of {audit.judged} judgements failed" if audit.failed else ""
        output(f"\nAudit: {audit.name}{failed}")
        rows = [[_plain(name), number(f.value), interval(f), f"{f.n:,}"] for name, f in audit.figures.items()]
        print_table(["", "value", "95% interval", "n"], rows)
        if audit.note:
            output(audit.note)
    if report.attacks is not None:
        _attacks(report.attacks)
    if report.labels is not None:
        _labels(report.labels)
    if report.reliability is not None:
        output(
            f"\nConfidence estimated from score gaps, on held-out prompts: expected calibration error "
            f"{number(report.reliability.calibration_error)}, Brier {number(report.reliability.brier)} "
            f"({report.reliability.pairs:,} pairs)."
        )
    if report.judged:
        output("\n" + _costs(report))
    _failures(report)
    for note in report.notes:
        output(f"Note: {note}")


def _headline(figures: Figures) -> list[list[str]]:
    rows = []
    for name, title in TITLES.items():
        figure = figures[name]
        if figure.value is None and name not in HEADLINE:
            continue
        chance = figures["ndcg_chance"].value if name == "ndcg" else CHANCE.get(name)
        ranking = figures.get(f"{name}_by_ranking")
        by_chance = "0 to .25" if name == "both_right" else "" if chance is None else number(chance)
        by_chance = "" if figure.value is None else by_chance
        by_ranking = "" if ranking is None else number(ranking.value)
        rows.append([title, number(figure.value), interval(figure), by_ranking, by_chance, f"{figure.n:,}"])
    return rows


def _parts(parts: Mapping[str, Figures]) -> None:
    names = [name for name in HEADLINE if any(figures[name].n for figures in parts.values())]
    rows = [[part, *(_brief(figures[name]) for name in names)] for part, figures in parts.items()]
    print_table(["", *(TITLES[name] for name in names)], rows)


def _attacks(report: AttackReport) -> None:
    for half in HALVES:
        output(f"\nAttacks, {half} half: points gained over a harmless text of the same length")
        header, rows = attack_table(report, half)
        print_table(header, rows)
        for form, share in report.refused.get(half, {}).items():
            output(f"Honest texts ({form}) from which something is removed: {_brief(share)}")
    for text, part in report.refused_texts:
        output(f"Removed from an honest text: {part.strip()!r} in {text!r}")
    failed = f", {report.failed} failed" if report.failed else ""
    output(f"{report.judged} judgements{failed} in {report.seconds:,.1f} s: {_usage(report.spent)}.")


def _labels(report: LabelReport) -> None:
    low, high = report.scale
    output(f"\nCompared with your labels (scores from {low:g} to {high:g}, converted to 1..5)")
    rows = [[_plain(name), _brief(f), _brief(report.calibrated.get(name))] for name, f in report.figures.items()]
    print_table(["", "as judged", "recalibrated, on held-out prompts"], rows)
    output("\nConfusion matrix: people in rows, the judge in columns")
    names = [f"{level:g}" for level in report.levels]
    print_table(["", *names], [[name, *map(str, row)] for name, row in zip(names, report.confusion, strict=True)])
    output("\nWorst disagreements (reasoning: ra-judge log ID)")
    rows = [[w.id, w.label, f"{w.human:g}", f"{w.judged:.2f}", w.record_id or "-"] for w in report.worst[:5]]
    print_table(["item", "response", "people", "judge", "record"], rows)


def _failures(report: BenchReport) -> None:
    if not report.failures:
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.failures_by_type.items())
    counted_as_wrong = _brief(report.figures["pairwise_accuracy_failures_wrong"])
    output(
        f"{len(report.failures)} of {len(report.judged)} judgements failed ({kinds}) and are excluded from these "
        f"figures; if they count as wrong, pairs right is {counted_as_wrong}. The first failure: "
        f"{' '.join(report.failures[0].message.split())}"
    )


def _costs(report: BenchReport) -> str:
    lines = [
        f"{len(report.judged):,} judgements in {report.seconds:,.1f} s ({report.from_store:,} from the store): "
        f"{_usage(report.spent)}."
    ]
    if report.from_store:
        lines.append(f"Without the store they would take {_usage(report.made)}.")
    return "\n".join(lines)


def _usage(usage: Usage) -> str:
    cost = "" if usage.cost is None else f", ${usage.cost:,.4f}"
    return f"{usage.calls:,} calls, {usage.prompt_tokens:,} tokens read, {usage.completion_tokens:,} written{cost}"


def _brief(figure: Estimate | None) -> str:
    return "-" if figure is None or figure.value is None else f"{number(figure.value)} ({interval(figure)})"


def _plain(name: str) -> str:
    return name.replace("_", " ")
