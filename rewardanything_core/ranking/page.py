"""A ranking as one self-contained HTML page, with the templates of ``check --html``."""

from __future__ import annotations

from dataclasses import dataclass

from rewardanything_core.gate.reports.pages import render_page
from rewardanything_core.gate.reports.wording import counted, signed
from rewardanything_core.ranking.results import PairResult, Ranking, RankingReport, SystemRank
from rewardanything_core.types import Abstention

_SHADES = 10  # CSS classes heat-0 .. heat-10: from "always loses" to "always wins"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of the heat map: the row's system against the column's."""

    text: str
    """The share of wins; a dash on the diagonal and where they were not compared."""

    shade: str
    """CSS class."""

    title: str
    """The result in a sentence, for a pointer and for screen readers."""


@dataclass(frozen=True, kw_only=True)
class RankingView:
    """A ranking as it is shown."""

    title: str
    headline: str
    header: list[str]
    rows: list[list[str]]
    names: list[str]
    cells: list[tuple[str, list[Cell]]]
    """For each system, its name and its row of the heat map."""

    settled: str
    """How many pairs are settled."""


def html_page(report: RankingReport, *, title: str = "Ranking of systems") -> str:
    """The report as a page for desktop and mobile browsers.

    Args:
        report: The report.
        title: The page's title.
    """
    return render_page(
        "ranking.html",
        title=title,
        report=report,
        sample=sample_sentence(report),
        notes=notes(report),
        views=[_view(ranking) for ranking in report.rankings],
        failures=report.failures[:20],
    )


def headline(ranking: Ranking) -> str:
    """The result in a sentence: the strongest system, or those that it cannot be distinguished from."""
    first, *others = ranking.systems
    rivals = [each.name for each in others if ranking.pair(first.name, each.name).better is None]
    if not rivals:
        return f"{first.name} is the best"
    if not any(each.prompts for each in ranking.systems):
        return "Nothing was judged"
    if len(rivals) == len(others):
        leads = f"; {first.name} leads" if first.strength - others[0].strength > 1e-9 else ""
        return f"No system is clearly the best{leads}"
    return f"{first.name} leads, and is not clearly better than {_listed(rivals)}"


def table_of(ranking: Ranking) -> tuple[list[str], list[list[str]]]:
    """The headings and rows of the table of systems, the strongest first."""
    header = ["rank", "system", "strength", "95% interval", "P(best)", "win rate", "score", "prompts"]
    return header, [
        [
            places(each),
            each.name,
            *(
                (signed(each.strength), f"{signed(each.low)} to {signed(each.high)}", f"{each.best:.0%}")
                if each.prompts
                else ("-", "-", "-")
            ),
            "-" if each.win_rate is None else f"{each.win_rate:.0%}",
            "-" if each.score is None else f"{each.score:.2f}",
            f"{each.prompts:,}",
        ]
        for each in ranking.systems
    ]


def places(system: SystemRank) -> str:
    """The places that the settled pairs leave, such as ``1`` or ``2-3``."""
    return str(system.rank_low) if system.rank_low == system.rank_high else f"{system.rank_low}-{system.rank_high}"


def cell_text(pair: PairResult) -> str:
    """The share of wins of a pair's first system, with a star if the pair is settled."""
    return "-" if pair.win_rate is None else f"{pair.win_rate:.0%}{'*' if pair.better else ''}"


def sample_sentence(report: RankingReport) -> str:
    """What was judged, and how the figures are to be read."""
    cases = "" if report.cases == report.prompts else f" ({counted(report.cases, 'case')})"
    saved = 1 - report.shown / report.shown_in_full if report.shown_in_full else 0.0
    less = f", {saved:.0%} fewer answers shown to the judge than for all systems on all prompts" if saved > 0 else ""
    return (
        f"{counted(report.prompts, 'prompt')}{cases}, {counted(report.judged, 'list')} of answers judged{less}. "
        "Strength is in log-odds relative to the mean system; its interval and the probability of being best come from "
        f"resampling prompts. Pairs are settled with a probability of error of {report.alpha:g} for all pairs of a "
        "ranking together."
    )


def notes(report: RankingReport) -> list[str]:
    """What went wrong, in sentences."""
    found = []
    if report.exhausted:
        found.append("Stopped: more judgements failed than --max-failures admits. The figures are those so far.")
    abstained = sum(isinstance(failure, Abstention) for failure in report.failures)
    if failed := len(report.failures) - abstained:
        found.append(f"Not judged, and in no figure: {counted(failed, 'list')}, since the judge failed.")
    if abstained:
        found.append(f"Not judged, and in no figure: {counted(abstained, 'list')} left to a person.")
    if report.missing:
        found.append(f"{counted(len(report.missing), 'case')} left out, since some system lacks them.")
    return found


def _view(ranking: Ranking) -> RankingView:
    header, rows = table_of(ranking)
    names = [each.name for each in ranking.systems]
    return RankingView(
        title=ranking.principle,
        headline=headline(ranking),
        header=header,
        rows=rows,
        names=names,
        cells=[(row, [_cell(ranking, row, column) for column in names]) for row in names],
        settled=f"{ranking.settled} of {counted(len(ranking.pairs), 'pair')} settled",
    )


def _cell(ranking: Ranking, row: str, column: str) -> Cell:
    if row == column:
        return Cell(text="", shade="", title="")
    pair = ranking.pair(row, column)
    if pair.win_rate is None:
        return Cell(text="-", shade="", title=f"{row} and {column} were not compared.")
    settled = f"settled: {pair.better} is better" if pair.better else "not settled"
    return Cell(
        text=cell_text(pair),
        shade=f"heat-{round(pair.win_rate * _SHADES)}",
        title=f"{row} against {column}: {pair.wins} won, {pair.ties} tied, {pair.losses} lost; {settled}, "
        f"p {pair.p_value:.2g}.",
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
