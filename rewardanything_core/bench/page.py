"""A benchmark report as one self-contained HTML page, with the templates of ``check --html``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rewardanything_core.bench import charts
from rewardanything_core.bench.attack_report import AttackReport
from rewardanything_core.bench.attack_suite import HALVES
from rewardanything_core.bench.labels import LabelReport
from rewardanything_core.bench.measures import CHANCE, HEADLINE, TITLES
from rewardanything_core.bench.report import BenchReport, Figures
from rewardanything_core.bench.worst import wrong_pairs
from rewardanything_core.gate.reports.pages import render_page

_MAX_TEXT = 4_000  # characters of a prompt, a response or reasoning
_MAX_WRONG = 10
_MAX_FAILURES = 20
_LEVELS = ("hard", "normal", "easy", "average")


@dataclass(frozen=True, kw_only=True)
class BarGroup:
    """Bars under a heading."""

    title: str
    """The heading. Empty: none."""

    rows: list[charts.BarRow]
    """The bars."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """A case whose texts are shown on request."""

    title: str
    """What is shown of it at first."""

    texts: list[tuple[str, str]]
    """Heading and text."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A section of the page; what is empty is left out."""

    title: str
    """The heading. Empty: the first section, which has none."""

    text: str = ""
    """A paragraph."""

    groups: list[BarGroup] = field(default_factory=list)
    """Bars."""

    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    """A table."""

    plot: charts.Plot | None = None
    """A plot."""

    cards: list[Card] = field(default_factory=list)
    """Cases."""

    note: str = ""
    """A remark at the end."""


def html_page(report: BenchReport) -> str:
    """The report as a page for desktop and mobile browsers."""
    return render_page(
        "bench.html",
        title=f"Judge benchmark: {report.model}",
        report=report,
        groups=len({one.item.group for one in report.judged}),
        headline=_headline(report.figures),
        parts=[
            *_parts("By benchmark", report.by_source),
            *_parts("By domain", report.by_domain),
            *_parts("By family of principles", report.by_category),
            *_parts("By criterion", report.by_criterion),
            *_by_flip(report),
            *_rm_bench(report),
            *_reliability(report),
            *_audits(report),
            *_attacks(report),
            *(_labels(report.labels) if report.labels is not None else _worst(report)),
            *_failures(report),
        ],
        settings=json.dumps(report.judge, indent=1, ensure_ascii=False, default=str),
    )


def _headline(figures: Figures) -> list[BarGroup]:
    groups = []
    for name, title in TITLES.items():
        if name == "score_variance" or (figures[name].value is None and name not in HEADLINE):
            continue
        chance = figures["ndcg_chance"].value if name == "ndcg" else CHANCE.get(name)
        rows = [(title, figures[name])]
        if f"{name}_by_ranking" in figures and figures[name].value is not None:
            rows.append(("by ranking", figures[f"{name}_by_ranking"]))
        low = -1.0 if name in ("kendall_tau_b", "spearman") else 0.0
        first, *variants = charts.bar_rows(rows, low=low, chance=chance)
        bars = [first, *(dataclasses.replace(row, secondary=True) for row in variants)]
        groups.append(BarGroup(title="", rows=bars))
    return groups


def _parts(title: str, parts: dict[str, Figures]) -> Iterator[Part]:
    if len(parts) < 2:
        return
    groups = []
    for name in HEADLINE:
        rows = [(part, figures[name]) for part, figures in parts.items() if figures[name].value is not None]
        if rows:
            low = -1.0 if name == "kendall_tau_b" else 0.0
            bars = charts.bar_rows(rows, low=low, chance=CHANCE.get(name))
            groups.append(BarGroup(title=TITLES[name], rows=bars))
    yield Part(title=title, groups=groups)


def _by_flip(report: BenchReport) -> Iterator[Part]:
    if len(report.by_flip) < 2:
        return
    groups = [
        BarGroup(
            title=TITLES[name],
            rows=charts.bar_rows(
                [(kind, figures[name]) for kind, figures in report.by_flip.items()], chance=CHANCE.get(name)
            ),
        )
        for name in ("flip_accuracy", "both_right")
    ]
    yield Part(title="Flips, by pair of criteria", groups=groups)


def _rm_bench(report: BenchReport) -> Iterator[Part]:
    if (found := report.rm_bench) is None:
        return
    rows = [[domain, *(_brief(f, level) for level in _LEVELS)] for domain, f in found.domains.items()]
    yield Part(
        title="RM-Bench, by its own rule",
        text="Ties are wrong; overall is the mean of the domains' means.",
        header=["", *_LEVELS],
        rows=[*rows, ["overall", *(_brief(found.overall, level) for level in _LEVELS)]],
    )


def _reliability(report: BenchReport) -> Iterator[Part]:
    if (found := report.reliability) is None:
        return
    yield Part(
        title="Does the judge know how certain it is?",
        text="The gap between two unequal scores predicts how likely the higher one is on the better response; the "
        "prediction is fitted on other prompts. Points on the dashed line mean that the predicted probabilities are "
        f"correct. Expected calibration error {charts.number(found.calibration_error)}, Brier score "
        f"{charts.number(found.brier)}, {found.pairs:,} pairs.",
        plot=charts.reliability_figure(found),
    )


def _audits(report: BenchReport) -> Iterator[Part]:
    for audit in report.audits.values():
        failed = f"{audit.failed} of {audit.judged} judgements failed. " if audit.failed else ""
        yield Part(
            title=f"Audit: {audit.name}",
            header=["", "value", "95% interval", "n"],
            rows=[
                [name.replace("_", " "), charts.number(found.value), charts.interval(found), f"{found.n:,}"]
                for name, found in audit.figures.items()
            ],
            note=failed + audit.note,
        )


def _attacks(report: BenchReport) -> Iterator[Part]:
    if (found := report.attacks) is None:
        return
    for half in HALVES:
        header, rows = attack_table(found, half)
        yield Part(
            title=f"Attacks, {half} half",
            text="A text that asks for a score, or claims quality, was added to the worse of two answers. The gain is "
            "in points, over a harmless text of the same length.",
            header=header,
            rows=rows,
            note="; ".join(
                f"something removed from {_brief(found.refused[half], form)} of {form} honest texts"
                for form in found.refused.get(half, {})
            ),
        )


def attack_table(found: AttackReport, half: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the figures of one half of the attacks: all kinds, then each.

    Args:
        found: The report.
        half: The half.
    """
    all_kinds = found.figures(half)
    rows = [
        [kind or "all", str(figures["gain"].n), *(_brief(figures, name) for name in figures)]
        for kind in (None, *found.kinds(half))
        for figures in [found.figures(half, kind)]
    ]
    return ["kind", "trials", *(name.replace("_", " ") for name in all_kinds)], rows


def _labels(found: LabelReport) -> Iterator[Part]:
    low, high = found.scale
    names = [f"{level:g}" for level in found.levels]
    yield Part(
        title="Agreement with your labels",
        text=f"Human scores from {low:g} to {high:g}, shown on the scale of 1 to 5.",
        header=["", "as judged", "recalibrated, on unseen prompts"],
        rows=[
            [name.replace("_", " "), _brief(found.figures, name), _brief(found.calibrated, name)]
            for name in found.figures
        ],
    )
    yield Part(
        title="Confusion: human scores in rows, the judge's in columns",
        header=["", *names],
        rows=[[level, *map(str, row)] for level, row in zip(names, found.confusion, strict=True)],
    )
    if found.calibration is not None:
        yield Part(title="Recalibration", plot=charts.calibration_figure(found.calibration))
    cards = [
        Card(
            title=f"{one.id}, {one.label}: human {one.human:g}, judge {one.judged:.2f}",
            texts=_texts([("Prompt", one.prompt), ("Response", one.response), ("Reasoning", one.reasoning)]),
        )
        for one in found.worst
    ]
    yield Part(title="Worst disagreements", text="" if cards else "There are none.", cards=cards)


def _worst(report: BenchReport) -> Iterator[Part]:
    cards = []
    for pair in wrong_pairs(report.judged, limit=_MAX_WRONG):
        item, verdict = pair.judged.item, pair.judged.verdict
        assert verdict is not None
        prompt = item.prompt if isinstance(item.prompt, str) else json.dumps(item.prompt, ensure_ascii=False, indent=1)
        title = (
            f"{item.id}: {verdict.scores[pair.worse]:.2f} for {pair.worse}, {verdict.scores[pair.better]:.2f} for "
            f"{pair.better}, which people prefer"
        )
        texts = [
            ("Principle", item.principle),
            ("Prompt", prompt),
            (f"Preferred by people: {pair.better}", item.responses[pair.better]),
            (f"Preferred by the judge: {pair.worse}", item.responses[pair.worse]),
            ("Reasoning", verdict.explanation),
        ]
        cards.append(Card(title=title, texts=_texts(texts)))
    if cards:
        yield Part(title="Confident mistakes", cards=cards)


def _failures(report: BenchReport) -> Iterator[Part]:
    if not report.failures:
        return
    wrong = _brief(report.figures, "pairwise_accuracy_failures_wrong")
    shown = report.failures[:_MAX_FAILURES]
    yield Part(
        title="Failures",
        text=f"{len(report.failures):,} of {len(report.judged):,} judgements failed and are excluded from every "
        f"figure above. With failures counted as wrong, pairs right is {wrong}.",
        header=["row", "error", "message"],
        rows=[[failure.case_id or "", failure.error_type, failure.message[:200]] for failure in shown],
    )


def _brief(figures: Figures, name: str) -> str:
    if name not in figures or figures[name].value is None:
        return "-"
    return f"{charts.number(figures[name].value)} ({charts.interval(figures[name])})"


def _texts(texts: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [
        (
            title,
            text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]} ... ({len(text) - _MAX_TEXT:,} more characters)",
        )
        for title, text in texts
        if text
    ]
