"""A check's result for a terminal or a log."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rewardanything_core.gate.reports import wording
from rewardanything_core.gate.results import CheckOutcome, CheckReport, Comparison, Pair

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_STYLES: dict[CheckOutcome, str] = {"passed": "bold green", "regression": "bold red", "inconclusive": "bold yellow"}
_EXCERPT = 200  # characters of an answer
_AXIS = 46  # columns of the drawing


def terminal_report(report: CheckReport, *, width: int = 100, color: bool = False, cases: int = 3) -> str:
    """The result as lines of at most ``width`` columns.

    Args:
        report: The report.
        width: Number of columns, at least 60.
        color: Whether to use ANSI colours; otherwise the result is plain aligned text.
        cases: Number of worst cases shown for each comparison that did not pass.
    """
    from rich.console import Console

    console = Console(
        file=io.StringIO(),
        width=max(60, width),
        force_terminal=color,
        force_jupyter=False,  # in a notebook Rich would also display the text
        color_system="standard" if color else None,
        highlight=False,
        emoji=False,
        markup=False,
        legacy_windows=False,
    )
    with console.capture() as captured:
        _write(console, report, cases)
    return "".join(line.rstrip() + "\n" for line in captured.get().splitlines())


def _write(console: Console, report: CheckReport, cases: int) -> None:
    _paragraph(console, report.reason, 0, (report.outcome.upper(), _STYLES[report.outcome]))
    if report.comparisons:
        console.print()
        console.print(_overview(report, console.width))
    for comparison in report.comparisons:
        # The table has all there is to know about a criterion that passed.
        if comparison.requirement.criterion is None or comparison.outcome != "passed":
            _comparison(console, report, comparison, cases)
    if report.failures:
        _failures(console, report)
    console.print()
    for sentence in [*wording.left_out(report), wording.cost_sentence(report)]:
        _paragraph(console, sentence, 0)


def _overview(report: CheckReport, width: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("principle", ratio=1, min_width=12, overflow="fold")
    table.add_column("outcome", no_wrap=True)
    table.add_column("difference", justify="right", no_wrap=True)
    table.add_column(wording.confidence(report.comparisons), no_wrap=True)
    table.add_column("better/same/worse", justify="right", no_wrap=True)
    for comparison in report.comparisons:
        table.add_row(
            Text(wording.one_line(wording.name(report, comparison), 36 if width < 100 else 60)),
            Text(comparison.outcome, _STYLES[comparison.outcome]),
            wording.difference(comparison),
            wording.interval(comparison),
            wording.tally(comparison),
        )
    return table


def _comparison(console: Console, report: CheckReport, comparison: Comparison, cases: int) -> None:
    from rich.rule import Rule
    from rich.text import Text

    console.print()
    console.print(Rule(Text(wording.name(report, comparison), "bold"), align="left", style="dim", characters="─"))
    if comparison.reason != report.reason:
        _paragraph(console, comparison.reason, 2, (comparison.outcome.capitalize() + ":", _STYLES[comparison.outcome]))
        if comparison.difference is not None:
            console.print()
    if comparison.difference is not None:
        if not comparison.all_unchanged:
            _axis(console, comparison)
            console.print()
        facts = [
            f"{_mean_scores(comparison)}{wording.cases_sentence(comparison)}",
            "" if comparison.all_unchanged else wording.noise_in_short(comparison.noise),
            wording.missed_sentence(report, comparison),
            wording.controls_sentence(comparison),
        ]
        for fact in filter(None, facts):
            _paragraph(console, fact, 2)
    broken = wording.broken_rules(report, comparison)
    if broken:
        _cases(console, "Below the minimum score of the case", broken, cases)
    shown = set(map(id, broken[:cases]))
    worst = [pair for pair in report.worst(comparison, len(report.pairs)) if id(pair) not in shown]
    if comparison.outcome != "passed" and worst:
        _cases(console, "Worst cases", worst, cases)


def _mean_scores(comparison: Comparison) -> str:
    before, after = comparison.baseline_score, comparison.candidate_score
    if before is None and after is None:
        return ""
    requirement = comparison.requirement
    minimum = "" if requirement.min_score is None else f" (minimum {requirement.min_score:.2f})"
    return f"Mean score {wording.score(before)} before and {wording.score(after)} after{minimum}. "


def _axis(console: Console, comparison: Comparison) -> None:
    """Draw the interval with the margin and the line of no change."""
    from rich.text import Text

    assert comparison.difference is not None
    margin = -comparison.requirement.margin
    ends = [comparison.low, comparison.high, margin, 0.0, comparison.difference]
    reach = (max(ends) - min(ends)) or 1.0
    left, right = min(ends) - 0.12 * reach, max(ends) + 0.12 * reach
    line = Text("─" * _AXIS, "dim")
    marks = [" "] * (_AXIS + 8)

    def place(value: float) -> int:
        return min(_AXIS - 1, max(0, round((value - left) / (right - left) * (_AXIS - 1))))

    def put(where: int, text: str, style: str) -> None:
        nonlocal line
        line = line[:where] + Text(text, style) + line[where + len(text) :]

    for value, label, mark in ((margin, wording.signed(margin), "┊"), (0.0, "0", "│")):
        where = place(value)
        put(where, mark, "bold")
        start = max(0, where - len(label) // 2)
        if marks[max(0, start - 1)] == " ":
            marks[start : start + len(label)] = label
    low, high, middle = place(comparison.low), place(comparison.high), place(comparison.difference)
    style = _STYLES[comparison.outcome]
    for where in range(low, high + 1):
        if line.plain[where] == "─":
            put(where, "━", style)
    put(low, "├", style)
    put(high, "┤", style)
    put(middle, "●", style)
    console.print(Text("  worse ") + line + Text(" better"))
    console.print(Text("        " + "".join(marks).rstrip(), "dim"))


def _cases(console: Console, title: str, pairs: list[Pair], limit: int) -> None:
    from rich.text import Text

    console.print()
    shown = pairs[:limit]
    count = f" ({len(shown)} of {len(pairs):,})" if len(pairs) > len(shown) else ""
    answers = [wording.excerpts(pair, _EXCERPT) for pair in shown]
    legend = "   […] text that both answers share" if any("[…]" in text for both in answers for text in both) else ""
    console.print(Text.assemble((f"  {title}{count}", "bold"), (legend, "dim")))
    for pair, (before, after) in zip(shown, answers, strict=True):
        change = "" if pair.difference is None else f" ({wording.signed(pair.difference)})"
        minimum = f", must be at least {pair.min_score:.2f}" if pair.breaks_rule else ""
        _paragraph(console, wording.one_line(pair.prompt, 100), 4, (wording.one_line(pair.id, 60), "bold cyan"))
        _paragraph(console, f"{wording.scores(pair)}{change}{minimum}", 6)
        _paragraph(console, " ".join(before.split()), 6, ("before ", "dim"))
        _paragraph(console, " ".join(after.split()), 6, ("after  ", "dim"))


def _failures(console: Console, report: CheckReport) -> None:
    from rich.text import Text

    failed = report.failures
    console.print()
    pairs = wording.counted(len(failed), "pair of answers", "pairs of answers")
    console.print(Text(f"Not judged and excluded: {pairs}", "bold"))
    for pair in failed[:5]:
        assert pair.failure is not None
        text = wording.one_line(pair.failure.summary, 230)
        _paragraph(console, text, 2, (wording.one_line(pair.id, 60), "bold cyan"))
    if len(failed) > 5:
        _paragraph(console, f"and {len(failed) - 5:,} more", 2)


def _paragraph(console: Console, text: str, indent: int, lead: tuple[str, str] | None = None) -> None:
    """Text wrapped under its first word, with a styled lead before it."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    body = Text(wording.visible(text), overflow="fold")
    if lead is None:
        console.print(Padding(body, (0, 0, 0, indent)))
        return
    if len(lead[0]) > 16:
        console.print(Padding(Text.assemble(lead, "  ", body), (0, 0, 0, indent)))
        return
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(*lead), body)
    console.print(Padding(grid, (0, 0, 0, indent)))
