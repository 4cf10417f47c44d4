"""A check's result as one self-contained HTML file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from rewardanything_core.gate.reports import wording
from rewardanything_core.gate.reports.answers import AnswerView, answer_views
from rewardanything_core.gate.reports.figures import Bar, IntervalFigure, histogram, interval_figure
from rewardanything_core.gate.reports.pages import render_page
from rewardanything_core.gate.results import CheckOutcome, CheckReport, Comparison, Pair

_BEST_CASES = 3
_MAX_ROWS = 20_000  # of all lists of cases together
_MIN_ROWS = 200  # of each list
_MAX_FAILURES = 100
_LONG_TEXT = 900  # characters; longer texts are folded
_MANY_LINES = 14
_HEADLINES: dict[CheckOutcome, str] = {
    "passed": "Passed: no worse than the margin allows",
    "regression": "Regression: the answers got worse",
    "inconclusive": "Inconclusive: the result is unclear",
}


def html_report(report: CheckReport, *, cases: int = 10, title: str = "Prompt check") -> str:
    """The result as a page for desktop and mobile browsers.

    Args:
        report: The report.
        cases: Number of worst cases of each comparison shown with both answers; all cases are listed.
        title: The page's title.
    """
    rows = max(_MIN_ROWS, _MAX_ROWS // max(1, len(report.comparisons)))
    return render_page(
        "check.html",
        title=title,
        script="filter.js",
        report=report,
        headline="Inconclusive: too many judgements failed" if report.exhausted else _HEADLINES[report.outcome],
        sections=[
            _section(report, comparison, f"c{number}", cases, rows)
            for number, comparison in enumerate(report.comparisons, start=1)
        ],
        failures=report.failures[:_MAX_FAILURES],
        unchanged=bool(report.comparisons) and all(comparison.all_unchanged for comparison in report.comparisons),
        orders=max((len(pair.pass_differences) for pair in report.pairs), default=0),
    )


@dataclass(frozen=True, kw_only=True)
class CaseView:
    """A case with both answers and what changed between them."""

    pair: Pair
    """The pair."""

    anchor: str
    """Prefix of the ids on the page."""

    before: AnswerView
    """The baseline's answer."""

    after: AnswerView
    """The candidate's answer."""

    note: str
    """A remark on the comparison of both. Empty: none."""

    fold_prompt: bool
    """Whether the prompt is long."""

    fold_answers: bool
    """Whether an answer is long."""

    is_open: bool = False
    """Whether the case is expanded when the page opens: the first one of a comparison is."""

    @property
    def kind(self) -> str:
        """CSS class: ``worse``, ``better`` or ``same``."""
        return case_kind(self.pair)

    @property
    def pass_notes(self) -> str:
        """The differences of all passes, or empty."""
        passes = ("Change by pass", self.pair.pass_differences), ("in fresh orders", self.pair.fresh_differences)
        notes = [f"{name}: {', '.join(map(wording.signed, values))}" for name, values in passes if values]
        return "; ".join(notes) + "." if notes else ""


@dataclass(frozen=True, kw_only=True)
class SectionView:
    """A comparison as it is shown."""

    comparison: Comparison
    anchor: str
    name: str
    facts: list[tuple[str, str, str]]
    """Name, value and explanation."""

    interval: IntervalFigure | None
    shifts: list[Bar]
    changed: int
    """Number of cases in ``shifts``."""

    broken: list[CaseView]
    broken_title: str
    worst: list[CaseView]
    worst_title: str
    best: list[CaseView]
    best_title: str
    rows: list[Pair]
    """The list of cases, worst first."""

    rows_note: str
    total: int
    """Number of all cases."""


def case_kind(pair: Pair) -> str:
    """CSS class of a case: ``worse``, ``better`` or ``same``."""
    difference = pair.difference or 0.0
    return "worse" if difference < 0 else "better" if difference > 0 else "same"


def _section(report: CheckReport, comparison: Comparison, anchor: str, cases: int, rows: int) -> SectionView:
    pairs = report.of(comparison)
    changed = [pair.difference for pair in pairs if pair.difference is not None and not pair.unchanged]
    broken = wording.broken_rules(report, comparison)
    shown = set(map(id, broken[:cases]))
    worst = [pair for pair in report.worst(comparison, len(report.pairs)) if id(pair) not in shown]
    best = wording.best(report, comparison, len(report.pairs))
    listed, note = _listed(pairs, rows)
    views = [
        [_case(pair, f"{anchor}-{letter}{place}") for place, pair in enumerate(chosen)]
        for letter, chosen in (("r", broken[:cases]), ("w", worst[:cases]), ("b", best[:_BEST_CASES]))
    ]
    _open_first(*views)
    return SectionView(
        comparison=comparison,
        anchor=anchor,
        name=wording.name(report, comparison),
        facts=_facts(comparison),
        interval=interval_figure(comparison),
        shifts=histogram(changed),
        changed=len(changed),
        broken=views[0],
        broken_title=f"Below the minimum score of the case{_shown_of(broken, cases)}",
        worst=views[1],
        worst_title=f"Worst cases{_shown_of(worst, cases)}",
        best=views[2],
        best_title=f"Best cases{_shown_of(best, _BEST_CASES)}",
        rows=listed,
        rows_note=note,
        total=len(pairs),
    )


def _shown_of(pairs: Sequence[Pair], shown: int) -> str:
    return f" ({shown} of {len(pairs):,})" if len(pairs) > shown else ""


def _listed(pairs: Sequence[Pair], limit: int) -> tuple[list[Pair], str]:
    """All cases, worst first; if there are too many for a page, the worst and the best of them."""
    ordered = sorted(pairs, key=lambda pair: (pair.difference is None, pair.difference or 0.0, pair.id))
    note = "Answers are shown above for the worst and best cases only; --json prints all of them."
    left_out = len(ordered) - limit
    if left_out > 0:
        ordered = [*ordered[: limit - limit // 4], *ordered[len(ordered) - limit // 4 :]]
        note = f"{left_out:,} cases in the middle are left out of this list to keep the page small. {note}"
    return ordered, note


def _open_first(*lists: list[CaseView]) -> None:
    """Expand the first case of the first list that has one."""
    for cases in filter(None, lists):
        cases[0] = dataclasses.replace(cases[0], is_open=True)
        return


def _facts(comparison: Comparison) -> list[tuple[str, str, str]]:
    requirement = comparison.requirement
    if comparison.all_unchanged:
        return _facts_unchanged(comparison)
    minimum = "" if requirement.min_score is None else f"; minimum {requirement.min_score:.2f}"
    confirmed = {True: "; confirmed in fresh orders", False: "; not confirmed in fresh orders", None: ""}
    unchanged = f"{comparison.unchanged:,} with the same answer" if comparison.unchanged else "every answer changed"
    failed = f"; {comparison.failures:,} more not judged" if comparison.failures else ""
    facts = [
        (
            "Difference",
            wording.difference(comparison),
            f"{wording.confidence([comparison])} {wording.interval(comparison)}",
        ),
        (
            "Margin",
            f"{requirement.margin:.2f}",
            f"the drop to rule out; p {wording.p_value(comparison.p_margin)} for a drop of this size",
        ),
        (
            "Better / same / worse",
            wording.tally(comparison),
            f"of {wording.counted(comparison.n, 'input')}; sign test p {wording.p_value(comparison.p_sign)}",
        ),
        (
            "Mean score",
            f"{wording.score(comparison.baseline_score)} → {wording.score(comparison.candidate_score)}",
            f"1 to 5, before and after{minimum}",
        ),
        (
            "Evidence of a drop",
            f"p {wording.p_value(comparison.p_drop)}",
            f"significant if at most {comparison.level:.2g}{confirmed[comparison.confirmed]}",
        ),
        ("Cases", f"{comparison.cases:,}", unchanged + failed),
    ]
    if comparison.cases_needed is not None:
        facts.append(("Cases needed", f"about {comparison.cases_needed:,}", "if the differences stay as they are"))
    return facts


def _facts_unchanged(comparison: Comparison) -> list[tuple[str, str, str]]:
    facts = [("Cases", f"{comparison.cases:,}", "all with the same answer")]
    if comparison.candidate_score is not None:
        minimum = comparison.requirement.min_score
        least = "" if minimum is None else f"; minimum {minimum:.2f}"
        facts.append(("Mean score", wording.score(comparison.candidate_score), f"1 to 5{least}"))
    return facts


def _case(pair: Pair, anchor: str) -> CaseView:
    before, after, note = answer_views(pair.baseline_response, pair.candidate_response)
    return CaseView(
        pair=pair,
        anchor=anchor,
        before=before,
        after=after,
        note=note,
        fold_prompt=_is_long(pair.prompt),
        fold_answers=any(map(_is_long, pair.texts)),
    )


def _is_long(text: str) -> bool:
    return len(text) > _LONG_TEXT or text.count("\n") > _MANY_LINES
