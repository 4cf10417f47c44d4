"""What all reports say in the same words: numbers, names, noise, cost, and texts that may hold anything."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from rewardanything_core.gate.reports.diff import Piece, compare
from rewardanything_core.gate.results import CheckReport, Comparison, JudgeNoise, Outcome, Pair

MARKS: dict[Outcome, str] = {"passed": "✅", "regression": "❌", "inconclusive": "⚠️"}

_JOINERS = "\u200c\u200d"  # Persian and Indic spelling and joined emoji need them
_CONTEXT = 40
_DOUBTFUL = re.compile(r"[^\n\t\x20-\x7e]")


def visible(text: str) -> str:
    r"""A text in which nothing acts and nothing hides.

    Control characters, bidirectional overrides, zero-width and tag characters, halves of surrogate pairs and what XML
    forbids become escapes such as ``\x1b``; line breaks, tabs and all that prints stay.
    """
    return "".join(part for part, _ in parts(text))


def parts(text: str) -> Iterator[tuple[str, bool]]:
    """What `visible` makes of a text, in stretches, and whether each is an escape."""
    text = text.replace("\r\n", "\n")
    start = 0
    for match in _DOUBTFUL.finditer(text):
        place = match.start()
        if _shown(text[place], text[place - 1 : place]):
            continue
        if place > start:
            yield text[start:place], False
        yield text[place].encode("unicode_escape").decode(), True
        start = place + 1
    if start < len(text):
        yield text[start:], False


def _shown(character: str, before: str) -> bool:
    if character in _JOINERS:
        return bool(before) and not before.isascii()
    return character.isprintable() or unicodedata.category(character) == "Zs"


def one_line(text: str, limit: int) -> str:
    """The beginning of a text on one line, of at most ``limit`` characters; an ellipsis says that there is more."""
    line = " ".join(visible(text[: 4 * limit]).split())  # no need to look through a novel for a line of it
    if len(line) <= limit and len(text) <= 4 * limit:
        return line
    return line[: limit - 1].rstrip() + "…"


def excerpt(text: str, limit: int) -> str:
    """The beginning of a text, with a note in brackets of how much more there is."""
    if not text:
        return "[empty]"
    left = len(text) - limit
    return visible(text[:limit]) + (f"… [{left:,} more characters]" if left > 0 else "")


def excerpts(pair: Pair, limit: int) -> tuple[str, str]:
    """Both answers; where they are longer than ``limit``, with ``[…]`` for long stretches that both share."""
    texts = pair.baseline_response, pair.candidate_response
    if max(map(len, texts)) <= limit:
        return excerpt(texts[0], limit), excerpt(texts[1], limit)
    found = compare(*texts)
    return _gist(found.old, limit), _gist(found.new, limit)


def _gist(pieces: Sequence[Piece], limit: int) -> str:
    parts = []
    for place, piece in enumerate(pieces):
        head = 0 if place == 0 and len(pieces) > 1 else _CONTEXT
        tail = 0 if place == len(pieces) - 1 and len(pieces) > 1 else _CONTEXT
        text = piece.text
        if not piece.changed and len(pieces) > 1 and len(text) > head + tail + 20:
            text = text[:head].rpartition(" ")[0] + " […] " + text[len(text) - tail :].partition(" ")[2]
        parts.append(text)
    return excerpt("".join(parts).strip(" "), limit)


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign; 0 has none."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def score(value: float | None) -> str:
    """A score with two digits, or ``n/a``."""
    return "n/a" if value is None else f"{value:.2f}"


def share(value: float) -> str:
    """A share as a percentage; what is not zero does not become it."""
    return "under 1%" if 0 < value < 0.005 else f"{100 * value:.0f}%"


def p_value(value: float) -> str:
    """A p-value as ``= 0.03`` or ``< 0.001``."""
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


def interval(comparison: Comparison) -> str:
    """The interval as ``-0.61 to -0.22``, with the digits it takes to tell its end from the margin."""
    if comparison.difference is None:
        return "n/a"
    margin = -comparison.requirement.margin
    close = comparison.low != margin and round(comparison.low, 2) == round(margin, 2)
    return f"{signed(comparison.low, 3 if close else 2)} to {signed(comparison.high)}"


def difference(comparison: Comparison) -> str:
    """The mean difference, or ``n/a``."""
    return "n/a" if comparison.difference is None else signed(comparison.difference)


def tally(comparison: Comparison) -> str:
    """Wins, ties and losses as ``12 / 60 / 28``."""
    return f"{comparison.wins} / {comparison.ties} / {comparison.losses}"


def confidence(comparisons: Sequence[Comparison]) -> str:
    """What to call the intervals: ``90% interval``, or ``interval`` where their confidence differs."""
    found = {comparison.confidence for comparison in comparisons}
    return f"{100 * found.pop():.4g}% interval" if len(found) == 1 else "interval"


def name(report: CheckReport, comparison: Comparison) -> str:
    """The principle's name, with the candidate's where there are several."""
    several = len({other.candidate for other in report.comparisons}) > 1
    principle = one_line(comparison.requirement.name, 80)
    return f"{one_line(comparison.candidate, 60)}: {principle}" if several else principle


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """``1 case``, ``1,200 cases``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def cases_sentence(comparison: Comparison) -> str:
    """How many cases there were and what became of them."""
    parts = [counted(comparison.cases, "case") + " compared"]
    if comparison.unchanged:
        parts.append(f"{comparison.unchanged:,} with the same answer on both sides")
    if comparison.n != comparison.cases:
        parts.append(f"{comparison.n:,} different inputs, each counted once")
    if comparison.failures:
        parts.append(f"{comparison.failures:,} could not be judged, which counts for neither side")
    return "; ".join(parts) + "."


def noise_in_short(noise: JudgeNoise | None) -> str:
    """The judge's noise on a line."""
    if noise is None:
        return "Judge noise: not known (it takes at least two passes)."
    return (
        f"Judge noise: {noise.deviation:.2f} points from pass to pass; it changes sides in {share(noise.flips)} of "
        f"cases; {share(noise.share)} of the spread between cases; standing first is worth "
        f"{signed(noise.position_bias)} (cancelled over the orders)."
    )


def controls_sentence(comparison: Comparison) -> str:
    """What the judge made of answers that were spoiled on purpose; empty if it was not tested."""
    if not comparison.controls:
        return ""
    told = "; ".join(
        f"{control.kind} {'n/a' if control.difference is None else signed(control.difference)} "
        f"({counted(control.n, 'input')}), {'noticed' if control.noticed else 'not noticed'}"
        for control in comparison.controls
    )
    return f"Controls, answers of the baseline made worse on purpose: {told}."


def noise_in_full(noise: JudgeNoise | None) -> str:
    """The judge's noise for someone who has never heard of it."""
    if noise is None:
        return "How far the judge disagrees with itself is not known: that takes at least two passes."
    bias = (
        "Standing first makes no difference to an answer's score."
        if abs(noise.position_bias) < 0.005
        else f"An answer scores {abs(noise.position_bias):.2f} points "
        f"{'higher' if noise.position_bias > 0 else 'lower'} for standing before the other; judging in both orders "
        "cancels this."
    )
    return (
        "Asked again about the same two answers, the judge moves the difference between them by "
        f"{noise.deviation:.2f} points (standard deviation, their order aside), and in {share(noise.flips)} of the "
        "cases it preferred one answer in one pass and the other in another. Its noise makes up "
        f"{share(noise.share)} of how much the cases differ from each other. {bias}"
    )


def left_out(report: CheckReport) -> list[str]:
    """Sentences on cases that were given and not looked at."""
    sentences = []
    if report.looked < report.planned:
        sentences.append(f"{report.looked:,} of {counted(report.planned, 'case')} were looked at.")
    if report.missing:
        shown = ", ".join(one_line(each, 60) for each in report.missing[:5])
        more = f" and {len(report.missing) - 5:,} more" if len(report.missing) > 5 else ""
        ids = counted(len(report.missing), "id was", "ids were")
        sentences.append(f"{ids} left out, because not every side has them: {shown}{more}.")
    return sentences


def cost_sentence(report: CheckReport) -> str:
    """Who judged, and what that took."""
    usage, judge = report.usage, f"Judge: {one_line(report.model, 100) or 'unnamed'}."
    if not usage.calls:
        return f"{judge} No calls: every verdict was in the store, or none was needed."
    cost = "" if usage.cost is None else f", ${usage.cost:.2f}" if usage.cost >= 0.005 else f", ${usage.cost:.4f}"
    tokens = f"{usage.prompt_tokens:,} tokens read, {usage.completion_tokens:,} written"
    return f"{judge} {counted(usage.calls, 'call')}, {tokens}{cost}; stored verdicts cost nothing."


def scores(pair: Pair) -> str:
    """``5.00 -> 2.00``: what the baseline got and what the candidate got."""
    return f"{score(pair.baseline_score)} -> {score(pair.candidate_score)}"


def best(report: CheckReport, comparison: Comparison, limit: int) -> list[Pair]:
    """The pairs in which the candidate gained most, best first."""
    won = [pair for pair in report.of(comparison) if (pair.difference or 0.0) > 0]
    return sorted(won, key=lambda pair: (-(pair.difference or 0.0), pair.id))[:limit]


def broken_rules(report: CheckReport, comparison: Comparison) -> list[Pair]:
    """The pairs whose answer misses the score that this very case must reach, the furthest off first."""
    broken = [pair for pair in report.of(comparison) if pair.breaks_rule]
    return sorted(broken, key=lambda pair: ((pair.candidate_score or 0) - (pair.min_score or 0), pair.id))
