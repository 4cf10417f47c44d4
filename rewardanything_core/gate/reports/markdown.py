"""A check's result for a pull request's comment or a CI's summary page, in GitHub's Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from rewardanything_core.gate.reports import wording
from rewardanything_core.gate.results import CheckReport, Comparison, Pair

COMMENT_LIMIT = 65_536
"""Characters that GitHub takes in one comment."""

# Marks that mean something in Markdown or HTML wherever they stand, or where they begin a line, a host or an emoji.
_ACTIVE = re.compile(r"[^\w\s,;()%+/'\"\-?=.:\x80-\U0010ffff]|_|^[-+=]|(?<=\d)[.)](?=\s)|\.(?=[^\W\d])|:(?=\S)")
_ROWS = 50
_LEAST_ROOM = 400  # characters; no case takes less
_PROMPT, _ANSWER, _REASONING = 600, 1_500, 3_000
_HEADLINES = {
    "passed": "Prompt check passed",
    "regression": "Prompt check: the answers got worse",
    "inconclusive": "Prompt check: no clear result",
}


def markdown_report(report: CheckReport, *, limit: int = 60_000, cases: int = 5, title: str = "") -> str:
    """The result as Markdown in which nothing from prompts, answers or reasoning acts.

    Args:
        report: What the check found.
        limit: Most characters, 4,000 or more. Whole cases are left out beyond it, and the text says how many.
        cases: How many of the worst cases to show of each comparison.
        title: What was checked, for the headline. Empty: nothing more than the outcome.
    """
    head = "\n".join(_head(report, title))
    foot = "\n".join(_foot(report))
    room = max(limit, 4_000) - len(head) - len(foot) - 400
    # The first case of every comparison comes before the second of any.
    found = [_Cases(report, comparison, cases) for comparison in _first(report)]
    for place in range(cases):
        for section in found:
            if room > _LEAST_ROOM and place < len(section.pairs):
                room -= section.add(place, room)
    sections = [section.text() for section in found]
    wanted = sum(len(section.pairs) for section in found)
    shown = sum(len(section.shown) for section in found)
    note = f"\n{wording.counted(wanted - shown, 'case is', 'cases are')} not shown here for length.\n"
    return head + "".join(sections) + (note if shown < wanted else "") + foot + "\n"


def escaped(text: str) -> str:
    """Text that stands for itself in a paragraph or a table's cell: no markup, HTML, mention or link."""
    text = " ".join(wording.visible(text).split())
    text = _ACTIVE.sub(lambda mark: f"&#{ord(mark[0])};", text)
    # Mentions and links to issues are looked for after entities are resolved; a space of no width keeps them apart.
    return re.sub(r"&#64;|&#35;|(?<=\bGH)-", lambda mark: mark[0] + "&#8203;", text)


def fenced(text: str, language: str = "text") -> str:
    """Text as a block of code, wrapped, whose fence is longer than any run of backticks in it."""
    lines = [part for line in wording.visible(text).split("\n") for part in _wrapped(line, 110)]
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return "\n".join([fence + language, *lines, fence])


def _wrapped(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, width, replace_whitespace=False, break_on_hyphens=False) or [""]


def _code(text: str, limit: int) -> str:
    """A name as code, where GitHub looks for neither mentions nor links; entities keep the rest from acting."""
    text = wording.one_line(text, limit)
    return "<code>" + re.sub(r"[^\w\s-]|_", lambda m: f"&#{ord(m[0])};" if m[0].isascii() else m[0], text) + "</code>"


def _head(report: CheckReport, title: str) -> Iterator[str]:
    of = f" ({escaped(wording.one_line(title, 100))})" if title else ""
    headline = "Prompt check: too many judgements failed" if report.exhausted else _HEADLINES[report.outcome]
    yield f"### {wording.MARKS[report.outcome]} {headline}{of}"
    yield ""
    yield escaped(wording.one_line(report.reason, 1_000))
    yield ""
    if report.comparisons:
        yield (
            f"| Principle | Outcome | Difference | {wording.confidence(report.comparisons)} | Margin "
            "| Better / same / worse | Score before → after |"
        )
        yield "|---|---|--:|---|--:|---|---|"
    for comparison in _first(report):
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
    if len(report.comparisons) > _ROWS:
        yield ""
        yield f"{len(report.comparisons) - _ROWS:,} more comparisons are not shown here for length."
    yield ""
    for comparison in _first(report):
        if comparison.reason == report.reason:
            continue
        said = escaped(wording.one_line(comparison.reason, 600))
        yield f"- **{escaped(wording.name(report, comparison))}**: {said}"
    yield ""


def _first(report: CheckReport) -> list[Comparison]:
    """The comparisons to show: all, or the gravest if they are too many."""
    if len(report.comparisons) <= _ROWS:
        return list(report.comparisons)
    gravity = ("regression", "inconclusive", "passed")
    return sorted(report.comparisons, key=lambda comparison: gravity.index(comparison.outcome))[:_ROWS]


class _Cases:
    """What is shown of one comparison below the table."""

    def __init__(self, report: CheckReport, comparison: Comparison, limit: int) -> None:
        self.report, self.comparison = report, comparison
        rules = wording.broken_rules(report, comparison)
        known = set(map(id, rules))
        worst = [pair for pair in report.worst(comparison, len(report.pairs)) if id(pair) not in known]
        self.of = len(rules) + len(worst)
        self.pairs = [*rules, *worst][:limit]
        self.shown: list[str] = []

    def add(self, place: int, room: int) -> int:
        """Show a case if there is room; how many characters that takes, the section's own with its first case."""
        text = _case(self.pairs[place])
        size = len(text) + 2 + (0 if self.shown else 900)
        if size > room:
            return 0
        self.shown.append(text)
        return size

    def text(self) -> str:
        """The section, folded; empty if no case is shown."""
        if not self.shown:
            return ""
        name = escaped(wording.name(self.report, self.comparison))
        count = "" if len(self.shown) == self.of else f", {len(self.shown)} of {self.of:,}"
        known = wording.noise_in_short(self.comparison.noise), wording.controls_sentence(self.comparison)
        noise = escaped(" ".join(filter(None, known)))
        body = "\n\n".join(self.shown)
        summary = f"<details><summary>Worst cases under <b>{name}</b>{count}</summary>"
        return f"\n{summary}\n\n{noise}\n\n{body}\n\n</details>\n"


def _case(pair: Pair) -> str:
    change = "" if pair.difference is None else f" (**{wording.signed(pair.difference)}**)"
    rule = f", must be at least {pair.min_score:.2f}" if pair.breaks_rule else ""
    scores = f"{wording.score(pair.baseline_score)} → {wording.score(pair.candidate_score)}"
    before, after = wording.excerpts(pair, _ANSWER)
    lines = [
        f"{sign} {part}"
        for sign, text in (("-", before), ("+", after))
        for line in text.split("\n")
        for part in _wrapped(line, 108)
    ]
    gaps = " `[…]` stands for text that both answers share." if "[…]" in before + after else ""
    parts = [
        f"#### {_code(pair.id, 100)} {scores}{change}{rule}",
        fenced(wording.excerpt(pair.prompt, _PROMPT)),
        f"Before (−) and after (+):{gaps}",
        fenced("\n".join(lines), "diff"),
    ]
    if pair.reasoning:
        why = fenced(wording.excerpt(pair.reasoning, _REASONING))
        parts.append(f"<details><summary>Why, in the judge's words</summary>\n\n{why}\n\n</details>")
    return "\n\n".join(parts)


def _foot(report: CheckReport) -> Iterator[str]:
    failed = report.failures
    if failed:
        pairs = wording.counted(len(failed), "pair of answers", "pairs of answers")
        yield f"\n<details><summary>{pairs} could not be judged, which counts for neither side</summary>\n"
        for pair in failed[:10]:
            assert pair.failure is not None
            said = escaped(wording.one_line(f"{pair.failure.error_type}: {pair.failure.message}", 300))
            yield f"- {_code(pair.id, 100)} {said}"
        if len(failed) > 10:
            yield f"- and {len(failed) - 10:,} more"
        yield "\n</details>"
    yield ""
    sentences = [*wording.left_out(report), wording.cost_sentence(report)]
    yield f"<sub>{escaped(' '.join(sentences))}</sub>"
