"""A benchmark report as one self-contained HTML page, with the templates of ``check --html``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewardanything_core.agreement.intervals import Estimate
from rewardanything_core.bench import charts
from rewardanything_core.bench.attack_report import AttackReport
from rewardanything_core.bench.attack_suite import HALVES
from rewardanything_core.bench.labels import LabelReport
from rewardanything_core.bench.measures import CHANCE, HEADLINE, TITLES
from rewardanything_core.bench.naming import AUDIT_TITLES, in_brief, title_of, unit_of
from rewardanything_core.bench.report import BenchReport, Figures
from rewardanything_core.bench.summary import summary
from rewardanything_core.bench.worst import wrong_pairs
from rewardanything_core.conversations import Response, read_messages
from rewardanything_core.gate.reports.answers import AnswerView, answer_view, answer_views, conversation_view
from rewardanything_core.gate.reports.pages import render_page
from rewardanything_core.gate.reports.wording import counted
from rewardanything_core.types import MAX_SCORE, MIN_SCORE

_MAX_TEXT = 4_000  # characters of a prompt, a response or reasoning
_MAX_WRONG = 10
_MAX_FAILURES = 20
_LEVELS = ("hard", "normal", "easy", "average")


@dataclass(frozen=True, kw_only=True)
class BarGroup:
    """Bars under a heading."""

    title: str = ""
    """The heading. Empty: none."""

    rows: list[charts.BarRow]
    """The bars."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """A case whose texts are shown on request."""

    title: str
    """What is shown of it at first."""

    texts: list[tuple[str, str | AnswerView]]
    """Heading, and a text or the turns of a conversation."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A section of the page; what is empty is left out."""

    title: str
    """The heading."""

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
        title="Judge benchmark",
        report=report,
        headline=summary(report),
        sample=_sample(report),
        parts=[
            *(_labels(report.labels) if report.labels is not None else ()),
            *_headline(report.figures),
            *_by_part("By criterion", report.by_criterion_and_whole),
            *_by_part("By pair of criteria", report.by_flip),
            *_by_part("By benchmark", report.by_source),
            *_by_part("By domain", report.by_domain),
            *_by_part("By family of principles", report.by_category),
            *_rm_bench(report),
            *(_worst(report) if report.labels is None else ()),
            *_reliability(report),
            *_audits(report),
            *_attacks(report),
            *_failures(report),
        ],
        settings=json.dumps(report.judge, indent=1, ensure_ascii=False, default=str),
    )


def _sample(report: BenchReport) -> str:
    """What was judged, and how the figures are to be read."""
    if not report.judged:
        return ""
    groups = len({one.item.group for one in report.judged})
    lists = counted(len(report.judged), "list of responses", "lists of responses")
    if any(one.item.criteria for one in report.judged):
        lists += f" under {counted(len(report.by_criterion), 'criterion', 'criteria')}"
    guessing = "; a dashed line marks the result of guessing" if any(report.figures[name].n for name in CHANCE) else ""
    flips = f", {counted(report.flips, 'flip pair')}" if report.flips else ""
    return f"{lists}, {counted(groups, 'prompt')}{flips}. Intervals are 95% intervals with prompts as units{guessing}."


def _headline(figures: Figures) -> Iterator[Part]:
    groups = []
    for name in TITLES:
        if name == "score_variance" or figures[name].value is None:
            continue
        chance = figures["ndcg_chance"].value if name == "ndcg" else CHANCE.get(name)
        rows = [(title_of(name), figures[name])]
        ranking = figures.get(f"{name}_by_ranking")
        if ranking is not None and ranking.value != figures[name].value:
            rows.append(("ties broken by the ranking", ranking))
        first, *variants = _bars(name, rows, chance)
        groups.append(BarGroup(rows=[first, *(dataclasses.replace(row, secondary=True) for row in variants)]))
    if groups:
        yield Part(title="Agreement with people", groups=groups)


def _by_part(title: str, parts: dict[str, Figures]) -> Iterator[Part]:
    """Bars for every figure that at least two parts have."""
    groups = []
    for name in HEADLINE:
        rows = [(part, found[name]) for part, found in parts.items() if name in found and found[name].n]
        if len(rows) > 1:
            groups.append(BarGroup(title=title_of(name), rows=_bars(name, rows, CHANCE.get(name))))
    if groups:
        yield Part(title=title, groups=groups)


def _bars(name: str, rows: list[tuple[str, Estimate]], chance: float | None) -> list[charts.BarRow]:
    low = -1.0 if name in ("kendall_tau_b", "spearman") else 0.0
    return charts.bar_rows(rows, unit=unit_of(name), low=low, chance=chance)


def _rm_bench(report: BenchReport) -> Iterator[Part]:
    if (found := report.rm_bench) is None:
        return
    levels = {**found.domains, "Overall": found.overall}
    yield Part(
        title="RM-Bench by its own rule",
        text="A pair with equal scores counts as wrong. Overall is the mean of the domains.",
        header=["Domain", *map(title_of, _LEVELS)],
        rows=[[domain, *(_brief(figures, level) for level in _LEVELS)] for domain, figures in levels.items()],
    )


def _reliability(report: BenchReport) -> Iterator[Part]:
    if (found := report.reliability) is None or not found.bins:
        return
    yield Part(
        title="Does the gap between scores predict who is right?",
        text="For each pair, the gap between both scores predicts the probability that the higher score is on the "
        "better response; the prediction is fitted on other prompts. A point on the dashed line is a correct "
        f"prediction. Expected calibration error {charts.number(found.calibration_error)}, Brier score "
        f"{charts.number(found.brier)}, {counted(found.pairs, 'pair')}.",
        plot=charts.reliability_figure(found),
    )


def _audits(report: BenchReport) -> Iterator[Part]:
    for audit in report.audits.values():
        if not audit.figures and not audit.note:
            continue
        failed = f"{audit.failed} of {audit.judged} judgements failed. " if audit.failed else ""
        yield Part(
            title=AUDIT_TITLES.get(audit.name, audit.name),
            header=["Figure", "Value (95% interval)", "n"],
            rows=[
                [title_of(name), in_brief(found, unit_of(name)), f"{found.n:,}"]
                for name, found in audit.figures.items()
            ],
            note=failed + audit.note,
        )


def _attacks(report: BenchReport) -> Iterator[Part]:
    if (found := report.attacks) is None:
        return
    for half in HALVES:
        header, rows = attack_table(found, half)
        if not found.kinds(half):
            continue
        yield Part(
            title=f"Attacks, {half} half",
            text="A text that asks for a score, or claims quality, was added to the worse of two answers. The gain is "
            "measured against a harmless text of the same length.",
            header=[cell.capitalize() for cell in header],
            rows=rows,
            note="; ".join(
                f"something was removed from {_brief(found.refused[half], form)} of {form} honest texts"
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
    return ["kind", "trials", *(title_of(name)[:1].lower() + title_of(name)[1:] for name in all_kinds)], rows


def _labels(found: LabelReport) -> Iterator[Part]:
    low, high = found.scale
    figures = {name: one for name, one in found.figures.items() if one.value is not None}
    if not figures:
        return
    names = [f"{level:g}" for level in found.levels]
    yield Part(
        title="Agreement with your labels",
        text=f"Your scores from {low:g} to {high:g}"
        f"{'' if (low, high) == (MIN_SCORE, MAX_SCORE) else ', converted to the scale of 1 to 5'}. "
        "Recalibrated: after a mapping of the judge's scores that was fitted on other prompts.",
        header=["Figure", "As judged", "Recalibrated"] if found.calibrated else ["Figure", "As judged"],
        rows=[
            [title_of(name), _brief(figures, name), *([_brief(found.calibrated, name)] if found.calibrated else [])]
            for name in figures
        ],
    )
    yield Part(
        title="Scores of people and of the judge",
        text="Number of responses by human score (rows) and judge score (columns).",
        header=["People", *names],
        rows=[[level, *map(str, row)] for level, row in zip(names, found.confusion, strict=True)],
    )
    if found.calibration is not None:
        yield Part(
            title="Recalibration",
            text="The mapping from the judge's scores to human scores, fitted on all labels.",
            plot=charts.calibration_figure(found.calibration),
        )
    cards = [
        Card(
            title=f"{one.id}, {one.label}: people {one.human:g}, judge {one.judged:.2f}",
            texts=_texts([("Prompt", one.prompt), ("Response", _response(one.response)), ("Reasoning", one.reasoning)]),
        )
        for one in found.worst[:_MAX_WRONG]
    ]
    if cards:
        yield Part(title="Largest disagreements", cards=cards)


def _worst(report: BenchReport) -> Iterator[Part]:
    cards = []
    for pair in wrong_pairs(report.parts, limit=_MAX_WRONG):
        item, verdict = pair.judged.item, pair.judged.verdict
        assert verdict is not None
        better, worse, _ = answer_views(item.responses[pair.better], item.responses[pair.worse], tags=("ins", "ins"))
        title = (
            f"{item.id}: people prefer {pair.better} ({verdict.scores[pair.better]:.2f}), the judge prefers "
            f"{pair.worse} ({verdict.scores[pair.worse]:.2f})"
        )
        texts = [
            ("Principle", item.principle),
            ("Prompt", _prompt(item.prompt)),
            (f"Preferred by people: {pair.better}", better if better.blocks else item.texts[pair.better]),
            (f"Preferred by the judge: {pair.worse}", worse if worse.blocks else item.texts[pair.worse]),
            ("Reasoning", "\n\n".join(dict.fromkeys(verdict.explanation.split("\n\n")))),
        ]
        cards.append(Card(title=title, texts=_texts(texts)))
    if cards:
        yield Part(title="Largest mistakes", cards=cards)


def _failures(report: BenchReport) -> Iterator[Part]:
    if not report.failures:
        return
    wrong = report.figures["pairwise_accuracy_failures_wrong"]
    counted_wrong = (
        f" If failures counted as wrong, {in_brief(wrong, 'share')} of pairs would be ordered as people do."
        if wrong.value is not None
        else ""
    )
    yield Part(
        title="Failures",
        text=f"{len(report.failures):,} of {counted(len(report.judged), 'judgement')} failed and are excluded from "
        f"every figure above.{counted_wrong}",
        header=["Row", "Error", "Message"],
        rows=[[f.case_id or "", f.error_type, f.message[:200]] for f in report.failures[:_MAX_FAILURES]],
    )


def _brief(figures: Figures, name: str) -> str:
    return in_brief(figures.get(name), unit_of(name))


def _response(response: Response) -> str | AnswerView:
    return response if isinstance(response, str) else answer_view(response)


def _prompt(prompt: Any) -> str | AnswerView:
    return prompt if isinstance(prompt, str) else conversation_view(read_messages(prompt, where="prompt"))


def _texts(texts: Iterable[tuple[str, str | AnswerView]]) -> list[tuple[str, str | AnswerView]]:
    return [(title, _beginning(text) if isinstance(text, str) else text) for title, text in texts if text]


def _beginning(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]} ... ({len(text) - _MAX_TEXT:,} more characters)"
