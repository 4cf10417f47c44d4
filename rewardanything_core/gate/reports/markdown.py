"""A check's result for a pull request comment or a CI summary page, in GitHub's Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from rewardanything_core.gate.reports import wording
from rewardanything_core.gate.results import CheckReport, Comparison, Pair

COMMENT_LIMIT = 65_536
"""Maximum number of characters in a GitHub comment."""

# Characters that have a meaning in Markdown or HTML anywhere, or at the start of a line, a host name or an emoji.
_ACTIVE = re.compile(r"[^\w\s,;()%+/'\"\-?=.:\x80-\U0010ffff]|_|^[-+=]|(?<=\d)[.)](?=\s)|\.(?=[^\W\d])|:(?=\S)")
_MAX_ROWS = 50
_MIN_CASE_SIZE = 400  # characters; no case takes less
_SECTION_SIZE = 900  # characters reserved for a section's heading and noise
_PROMPT, _ANSWER, _REASONING = 600, 1_500, 3_000  # characters shown of each
_HEADLINES = {
    "passed": "Prompt check passed",
    "regression": "Prompt check: the answers got worse",
    "inconclusive": "Prompt check: no clear result",
}


def markdown_report(report: CheckReport, *, limit: int = 60_000, cases: int = 5, title: str = "") -> str:
    """The result as Markdown in which prompts, answers and reasoning are inert text.

    Args:
        report: The report.
        limit: Maximum number of characters, at least 4,000. Cases beyond it are left out, and the text states how many.
        cases: Number of worst cases shown for each comparison.
        title: What was checked, for the headline. Empty: the headline is the outcome alone.
    """
    head = "\n".join(_head(report, title))
    foot = "\n".join(_foot(report))
    room = max(limit, 4_000) - len(head) - len(foot) - 400
    # The first case of every comparison comes before the second case of any.
    sections = [CaseSection(report, comparison, cases) for comparison in _worst_comparisons(report)]
    for place in range(cases):
        for section in sections:
            if room > _MIN_CASE_SIZE and place < len(section.pairs):
                room -= section.add(place, room)
    total = sum(len(section.pairs) for section in sections)
    shown = sum(len(section.shown) for section in sections)
    note = f"\n{wording.counted(total - shown, 'case is', 'cases are')} not shown here for length.\n"
    return head + "".join(section.text() for section in sections) + (note if shown < total else "") + foot + "\n"


def escaped(text: str) -> str:
    """Text for a paragraph or a table cell, without active markup, HTML, mentions or links."""
    text = " ".join(wording.visible(text).split())
    text = _ACTIVE.sub(lambda mark: f"&#{ord(mark[0])};", text)
    # GitHub looks for mentions and issue links after it resolves entities; a zero-width space breaks them up.
    return re.sub(r"&#64;|&#35;|(?<=\bGH)-", lambda mark: mark[0] + "&#8203;", text)


def fenced(text: str, language: str = "text") -> str:
    """Text as a wrapped code block, with a fence longer than any run of backticks in it.

    Args:
        text: Any text.
        language: The info string of the fence.
    """
    lines = [part for line in wording.visible(text).split("\n") for part in _wrapped(line, 110)]
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return "\n".join([fence + language, *lines, fence])


def _wrapped(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, width, replace_whitespace=False, break_on_hyphens=False) or [""]


def _code(text: str, limit: int) -> str:
    """A name as code, where GitHub looks for neither mentions nor links; entities keep the rest inert."""
    text = wording.one_line(text, limit)
    return "<code>" + re.sub(r"[^\w\s-]|_", lambda m: f"&#{ord(m[0])};" if m[0].isascii() else m[0], text) + "</code>"


def _head(report: CheckReport, title: str) -> Iterator[str]:
    subject = f" ({escaped(wording.one_line(title, 100))})" if title else ""
    headline = "Prompt check: too many judgements failed" if report.exhausted else _HEADLINES[report.outcome]
    yield f"### {wording.MARKS[report.outcome]} {headline}{subject}"
    yield ""
    yield escaped(wording.one_line(report.reason, 1_000))
    yield ""
    if report.comparisons:
        yield (
            f"| Principle | Outcome | Difference | {wording.confidence(report.comparisons)} | Margin "
            "| Better / same / worse | Score before → after |"
        )
        yield "|---|---|--:|---|--:|---|---|"
    for comparison in _worst_comparisons(report):
        cells = [
            escaped(wording.name(report, comparison)),
            f"{wording.MARKS[comparison.outcome]} {comparison.outcome}",
            f"**{wording.difference(comparison)}**",
            wording.interval(comparison),
            f"{comparison.requirement.margin:.2f}",
            wording.tally(comparison),
            f"{wording.score(comparison.baseline_score)} → {wording.score(comparison.candidate_score)}",
        ]
        yield "| " + " | ".join(cells) + " |"
    if len(report.comparisons) > _MAX_ROWS:
        yield ""
        yield f"{len(report.comparisons) - _MAX_ROWS:,} more comparisons are not shown here for length."
    yield ""
    for comparison in _worst_comparisons(report):
        if comparison.reason == report.reason:
            continue
        if comparison.requirement.criterion is not None and comparison.outcome == "passed":
            continue  # the table has its figures
        sentences = [wording.one_line(comparison.reason, 600), wording.missed_sentence(report, comparison)]
        reason = escaped(" ".join(filter(None, sentences)))
        yield f"- **{escaped(wording.name(report, comparison))}**: {reason}"
    yield ""


def _worst_comparisons(report: CheckReport) -> list[Comparison]:
    """The comparisons to show: all, or those with the worst outcomes if there are too many."""
    if len(report.comparisons) <= _MAX_ROWS:
        return list(report.comparisons)
    worst_first = ("regression", "inconclusive", "passed")
    return sorted(report.comparisons, key=lambda comparison: worst_first.index(comparison.outcome))[:_MAX_ROWS]


class CaseSection:
    """The cases of one comparison, shown below the table.

    Args:
        report: The report.
        comparison: The comparison.
        limit: Maximum number of cases.
    """

    def __init__(self, report: CheckReport, comparison: Comparison, limit: int) -> None:
        self.report, self.comparison = report, comparison
        broken = wording.broken_rules(report, comparison)
        listed = set(map(id, broken))
        worst = [pair for pair in report.worst(comparison, len(report.pairs)) if id(pair) not in listed]
        self.total = len(broken) + len(worst)
        self.pairs = [*broken, *worst][:limit]
        self.shown: list[str] = []

    def add(self, place: int, room: int) -> int:
        """Show a case if there is room for it.

        Args:
            place: Index of the case.
            room: Characters left.

        Returns:
            The characters used; the first case includes those of the section's heading.
        """
        text = _case(self.pairs[place])
        size = len(text) + 2 + (0 if self.shown else _SECTION_SIZE)
        if size > room:
            return 0
        self.shown.append(text)
        return size

    def text(self) -> str:
        """The folded section; empty if it shows no case."""
        if not self.shown:
            return ""
        name = escaped(wording.name(self.report, self.comparison))
        count = "" if len(self.shown) == self.total else f", {len(self.shown)} of {self.total:,}"
        judge = wording.noise_in_short(self.comparison.noise), wording.controls_sentence(self.comparison)
        noise = escaped(" ".join(filter(None, judge)))
        body = "\n\n".join(self.shown)
        summary = f"<details><summary>Worst cases under <b>{name}</b>{count}</summary>"
        return f"\n{summary}\n\n{noise}\n\n{body}\n\n</details>\n"


def _case(pair: Pair) -> str:
    change = "" if pair.difference is None else f" (**{wording.signed(pair.difference)}**)"
    minimum = f", must be at least {pair.min_score:.2f}" if pair.breaks_rule else ""
    scores = f"{wording.score(pair.baseline_score)} → {wording.score(pair.candidate_score)}"
    before, after = wording.excerpts(pair, _ANSWER)
    lines = [
        f"{sign} {part}"
        for sign, text in (("-", before), ("+", after))
        for line in text.split("\n")
        for part in _wrapped(line, 108)
    ]
    legend = " `[…]` marks text that both answers share." if "[…]" in before + after else ""
    parts = [
        f"#### {_code(pair.id, 100)} {scores}{change}{minimum}",
        fenced(wording.excerpt(pair.prompt, _PROMPT)),
        f"Before (−) and after (+):{legend}",
        fenced("\n".join(lines), "diff"),
    ]
    if pair.reasoning:
        reasoning = fenced(wording.excerpt(wording.reasoning(pair), _REASONING))
        parts.append(f"<details><summary>The judge's reasoning</summary>\n\n{reasoning}\n\n</details>")
    return "\n\n".join(parts)


def _foot(report: CheckReport) -> Iterator[str]:
    failed = report.failures
    if failed:
        pairs = wording.counted(len(failed), "pair of answers", "pairs of answers")
        yield f"\n<details><summary>{pairs} could not be judged and are excluded</summary>\n"
        for pair in failed[:10]:
            assert pair.failure is not None
            message = escaped(wording.one_line(pair.failure.summary, 300))
            yield f"- {_code(pair.id, 100)} {message}"
        if len(failed) > 10:
            yield f"- and {len(failed) - 10:,} more"
        yield "\n</details>"
    yield ""
    sentences = [*wording.left_out(report), wording.cost_sentence(report)]
    yield f"<sub>{escaped(' '.join(sentences))}</sub>"
