"""The text report of ``ra-judge bench``: the headline figures first, then their parts."""

from __future__ import annotations

from collections.abc import Mapping

from rewardanything_core.agreement.intervals import Estimate
from rewardanything_core.bench.attack_report import AttackReport
from rewardanything_core.bench.attack_suite import HALVES
from rewardanything_core.bench.charts import number
from rewardanything_core.bench.labels import LabelReport
from rewardanything_core.bench.measures import CHANCE, HEADLINE, TITLES
from rewardanything_core.bench.naming import in_brief, interval_shown, shown, title_of, unit_of
from rewardanything_core.bench.page import attack_table
from rewardanything_core.bench.report import BenchReport, Figures
from rewardanything_core.bench.summary import summary
from rewardanything_core.cli._estimates import show_estimates
from rewardanything_core.cli._options import print_table
from rewardanything_core.cli._spending import share_in_words, usage_in_words
from rewardanything_core.cli._stdout import output
from rewardanything_core.types import MAX_SCORE, MIN_SCORE

_LEVELS = ("hard", "normal", "easy", "average")


def show(report: BenchReport) -> None:
    """Print a report as text."""
    output(f"{summary(report)}\nJudge: {report.model}")
    if report.labels is not None:
        _labels(report.labels)
    if report.estimates is not None:
        output(
            f"\nWhat people would say about all {report.estimates.rows:,} rows of yours, from the labels of "
            f"{report.estimates.labelled:,}"
        )
        show_estimates(report.estimates)
    if rows := _headline(report.figures):
        output("")
        print_table(["figure", "value", "95% interval", "ties broken by ranking", "by guessing", "n"], rows)
    for title, parts in (
        ("By benchmark", report.by_source),
        ("By domain", report.by_domain),
        ("By family of principles", report.by_category),
        ("By criterion", report.by_criterion_and_whole),
    ):
        if len(parts) > 1:
            _parts(title, parts)
    if len(report.by_flip) > 1:
        output("\nBy pair of criteria")
        names = ("flip_accuracy", "flip_accuracy_by_ranking", "both_right", "both_right_by_ranking")
        rows = [[kind, *(_brief(figures, name) for name in names)] for kind, figures in report.by_flip.items()]
        print_table(["criteria", TITLES["flip_accuracy"], "by ranking", TITLES["both_right"], "by ranking"], rows)
    if report.rm_bench is not None:
        output("\nRM-Bench by its own rule (equal scores count as wrong)")
        domains = report.rm_bench.domains | {"overall": report.rm_bench.overall}
        rows = [[name, *(_brief(levels, level) for level in _LEVELS)] for name, levels in domains.items()]
        print_table(["domain", *_LEVELS], rows)
    for audit in report.audits.values():
        if not audit.figures and not audit.note:
            continue
        failed = f", {audit.failed} of {audit.judged} judgements failed" if audit.failed else ""
        output(f"\nAudit: {audit.name}{failed}")
        rows = [
            [title_of(name), shown(f.value, unit_of(name)), interval_shown(f, unit_of(name)), f"{f.n:,}"]
            for name, f in audit.figures.items()
        ]
        print_table(["figure", "value", "95% interval", "n"], rows)
        if audit.note:
            output(audit.note)
    if report.attacks is not None:
        _attacks(report.attacks)
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
        if figure.value is None:
            continue
        chance = figures["ndcg_chance"].value if name == "ndcg" else CHANCE.get(name)
        ranking = figures.get(f"{name}_by_ranking")
        unit = unit_of(name)
        by_chance = "0% to 25%" if name == "both_right" else "" if chance is None else shown(chance, unit)
        by_ranking = "" if ranking is None else shown(ranking.value, unit)
        value, ends = shown(figure.value, unit), interval_shown(figure, unit)
        rows.append([title, value, ends, by_ranking, by_chance, f"{figure.n:,}"])
    return rows


def _parts(title: str, parts: Mapping[str, Figures]) -> None:
    names = [name for name in HEADLINE if any(figures[name].n for figures in parts.values())]
    if not names:
        return
    output(f"\n{title}")
    rows = [[part, *(_brief(figures, name) for name in names)] for part, figures in parts.items()]
    print_table(["part", *(TITLES[name] for name in names)], rows)


def _attacks(report: AttackReport) -> None:
    for half in HALVES:
        output(f"\nAttacks, {half} half: points gained over a harmless text of the same length")
        header, rows = attack_table(report, half)
        print_table(header, rows)
        for form, share in report.refused.get(half, {}).items():
            output(f"Honest texts ({form}) from which something is removed: {in_brief(share, 'share')}")
    for text, part in report.refused_texts:
        output(f"Removed from an honest text: {part.strip()!r} in {text!r}")
    failed = f", {report.failed} failed" if report.failed else ""
    output(f"{report.judged} judgements{failed} in {report.seconds:,.1f} s: {usage_in_words(report.spent)}.")


def _labels(report: LabelReport) -> None:
    low, high = report.scale
    if all(figure.value is None for figure in report.figures.values()):
        return
    converted = "" if (low, high) == (MIN_SCORE, MAX_SCORE) else ", converted to the scale of 1 to 5"
    output(f"\nAgreement with your labels (scores from {low:g} to {high:g}{converted})")
    if report.calibrated:
        output("Recalibrated: the judge's scores after a mapping fitted on other prompts")
    rows = [[title_of(name), _brief(report.figures, name), _brief(report.calibrated, name)] for name in report.figures]
    print_table(["figure", "as judged", "recalibrated"], rows)
    if report.label_worth is not None:
        output(
            f"A label is worth {report.label_worth:.1f} labels alone, if the judge scores many more rows and a mean "
            f"score is corrected with the labels (ra-judge estimate)."
        )
    output("\nNumber of responses by human score (rows) and judge score (columns)")
    names = [f"{level:g}" for level in report.levels]
    print_table(["people", *names], [[name, *map(str, row)] for name, row in zip(names, report.confusion, strict=True)])
    if not report.worst:
        return
    output("\nLargest disagreements (reasoning: ra-judge log --show RECORD)")
    rows = [[w.id, w.label, f"{w.human:g}", f"{w.judged:.2f}", w.record_id or "-"] for w in report.worst[:5]]
    print_table(["item", "response", "people", "judge", "record"], rows)


def _failures(report: BenchReport) -> None:
    if not report.failures:
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.failures_by_type.items())
    counted_as_wrong = _brief(report.figures, "pairwise_accuracy_failures_wrong")
    output(
        f"{len(report.failures)} of {len(report.judged)} judgements failed ({kinds}) and are excluded from these "
        f"figures; if they count as wrong, {counted_as_wrong} of pairs are ordered as people do. The first failure: "
        f"{' '.join(report.failures[0].message.split())}"
    )


def _costs(report: BenchReport) -> str:
    judged = len(report.judged)
    lines = [
        f"{judged:,} judgements in {report.seconds:,.1f} s, {share_in_words(report.from_store, judged)}: "
        f"{usage_in_words(report.spent)}."
    ]
    if report.from_store:
        lines.append(f"Without the store they would take {usage_in_words(report.made)}.")
    return "\n".join(lines)


def _brief(figures: Mapping[str, Estimate], name: str) -> str:
    return in_brief(figures.get(name), unit_of(name))
