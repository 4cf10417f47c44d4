"""Wording that all reports share: numbers, names, noise, cost, and safe rendering of arbitrary text."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

from rewardanything_core.gate.reports.diff import Piece, compare
from rewardanything_core.gate.results import CheckOutcome, CheckReport, Comparison, JudgeNoise, Pair

MARKS: dict[CheckOutcome, str] = {"passed": "✅", "regression": "❌", "inconclusive": "⚠️"}

_JOINERS = "\u200c\u200d"  # Persian and Indic spelling and joined emoji need them
_CONTEXT = 40  # characters of shared text shown on each side of a change
_MAYBE_INVISIBLE = re.compile(r"[^\n\t\x20-\x7e]")


def visible(text: str) -> str:
    r"""The text without invisible and control characters.

    Control characters, bidirectional overrides, zero-width and tag characters, lone surrogates and characters that XML
    forbids become escapes such as ``\x1b``. Line breaks, tabs and printable characters stay.
    """
    return "".join(part for part, _ in parts(text))


def parts(text: str) -> Iterator[tuple[str, bool]]:
    """The result of `visible` in parts, each with whether it is an escape."""
    text = text.replace("\r\n", "\n")
    start = 0
    for match in _MAYBE_INVISIBLE.finditer(text):
        place = match.start()
        if _is_visible(text[place], text[place - 1 : place]):
            continue
        if place > start:
            yield text[start:place], False
        yield text[place].encode("unicode_escape").decode(), True
        start = place + 1
    if start < len(text):
        yield text[start:], False


def _is_visible(character: str, previous: str) -> bool:
    if character in _JOINERS:
        return bool(previous) and not previous.isascii()
    return character.isprintable() or unicodedata.category(character) == "Zs"


def one_line(text: str, limit: int) -> str:
    """The beginning of a text on one line, with an ellipsis if it is cut.

    Args:
        text: Any text.
        limit: Maximum number of characters.
    """
    line = " ".join(visible(text[: 4 * limit]).split())  # a long text need not be scanned in full
    if len(line) <= limit and len(text) <= 4 * limit:
        return line
    return line[: limit - 1].rstrip() + "…"


def excerpt(text: str, limit: int) -> str:
    """The beginning of a text, with a note in brackets of how much was cut.

    Args:
        text: Any text.
        limit: Number of characters that are kept.
    """
    if not text:
        return "[empty]"
    cut = len(text) - limit
    return visible(text[:limit]) + (f"… [{cut:,} more characters]" if cut > 0 else "")


def excerpts(pair: Pair, limit: int) -> tuple[str, str]:
    """Both answers; if they are longer than ``limit``, long stretches that both share become ``[…]``.

    Args:
        pair: The pair with the answers.
        limit: Number of characters that are kept of each.
    """
    texts = pair.texts
    if max(map(len, texts)) <= limit:
        return excerpt(texts[0], limit), excerpt(texts[1], limit)
    diff = compare(*texts)
    return _shortened(diff.old, limit), _shortened(diff.new, limit)


def _shortened(pieces: Sequence[Piece], limit: int) -> str:
    texts = []
    for place, piece in enumerate(pieces):
        head = 0 if place == 0 and len(pieces) > 1 else _CONTEXT
        tail = 0 if place == len(pieces) - 1 and len(pieces) > 1 else _CONTEXT
        text = piece.text
        if not piece.changed and len(pieces) > 1 and len(text) > head + tail + 20:
            text = text[:head].rpartition(" ")[0] + " […] " + text[len(text) - tail :].partition(" ")[2]
        texts.append(text)
    return excerpt("".join(texts).strip(" "), limit)


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign; 0 has none.

    Args:
        value: The difference.
        digits: Digits after the decimal point.
    """
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def score(value: float | None) -> str:
    """A score with two digits, or ``n/a``."""
    return "n/a" if value is None else f"{value:.2f}"


def share(value: float) -> str:
    """A share as a percentage; a small share above zero is not rounded to zero."""
    return "under 1%" if 0 < value < 0.005 else f"{100 * value:.0f}%"


def p_value(value: float) -> str:
    """A p-value as ``= 0.03`` or ``< 0.001``."""
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


def interval(comparison: Comparison) -> str:
    """The interval as ``-0.61 to -0.22``, with a third digit if two would round its end to the margin.

    Without a changed answer there is nothing to estimate and no interval.
    """
    if comparison.difference is None or comparison.all_unchanged:
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
    """The name of the intervals: ``90% interval``, or ``interval`` if their confidence levels differ."""
    levels = {comparison.confidence for comparison in comparisons}
    return f"{100 * levels.pop():.4g}% interval" if len(levels) == 1 else "interval"


def name(report: CheckReport, comparison: Comparison) -> str:
    """The principle's name, with the candidate's name if there are several candidates.

    Args:
        report: The report.
        comparison: One of its comparisons.
    """
    several = len({other.candidate for other in report.comparisons}) > 1
    principle = one_line(comparison.requirement.name, 80)
    return f"{one_line(comparison.candidate, 60)}: {principle}" if several else principle


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: ``1 case``, ``1,200 cases``.

    Args:
        number: The number.
        noun: The singular.
        plural: The plural. None: the singular with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def cases_sentence(comparison: Comparison) -> str:
    """How many cases were compared, unchanged, and not judged."""
    if comparison.all_unchanged:
        return f"{counted(comparison.cases, 'case')}, all with the same answer on both sides."
    clauses = [counted(comparison.cases, "case") + " compared"]
    if comparison.unchanged:
        clauses.append(f"{comparison.unchanged:,} with the same answer on both sides")
    if comparison.n != comparison.cases:
        clauses.append(f"{comparison.n:,} different inputs, each counted once")
    if comparison.failures:
        clauses.append(f"{comparison.failures:,} could not be judged and are excluded")
    return "; ".join(clauses) + "."


def noise_in_short(noise: JudgeNoise | None) -> str:
    """The judge's noise on one line."""
    if noise is None:
        return "Judge noise: unknown (it takes at least two passes)."
    return (
        f"Judge noise: {noise.deviation:.2f} points from pass to pass; preference reversed in {share(noise.flips)} of "
        f"cases; {share(noise.share)} of the variance between cases; first position adds "
        f"{signed(noise.position_bias)} (cancelled by judging in all orders)."
    )


def noise_in_full(noise: JudgeNoise | None) -> str:
    """The judge's noise, explained."""
    if noise is None:
        return "The judge's noise is unknown, because measuring it takes at least two passes."
    if noise.deviation < 0.005 and abs(noise.position_bias) < 0.005:
        return "The judge is consistent: it scored the difference between two answers alike in every pass and order."
    bias = (
        "An answer's position makes no difference to its score."
        if abs(noise.position_bias) < 0.005
        else f"An answer scores {abs(noise.position_bias):.2f} points "
        f"{'higher' if noise.position_bias > 0 else 'lower'} when it comes first; judging in all orders cancels this."
    )
    return (
        "When the judge scores the same two answers again, the difference between them varies by "
        f"{noise.deviation:.2f} points (standard deviation, position bias removed). In {share(noise.flips)} of the "
        "cases it preferred one answer in one pass and the other in another pass. Judge noise explains "
        f"{share(noise.share)} of the variance between cases. {bias}"
    )


def controls_sentence(comparison: Comparison) -> str:
    """The controls and whether the judge noticed them; empty if there were none."""
    if not comparison.controls:
        return ""
    results = "; ".join(
        f"{control.kind} {'n/a' if control.difference is None else signed(control.difference)} "
        f"({counted(control.n, 'input')}), {'noticed' if control.noticed else 'not noticed'}"
        f"{'' if control.criterion is None else f' under {one_line(control.criterion, 80)}'}"
        for control in comparison.controls
    )
    return f"Controls (the baseline's answers, made worse on purpose): {results}."


def missed_sentence(report: CheckReport, comparison: Comparison) -> str:
    """How many of the candidate's answers miss required criteria of the rubric, and which; empty if none does.

    Args:
        report: The report.
        comparison: One of its comparisons.
    """
    missed = [pair.missed for pair in report.of(comparison) if pair.missed]
    if not missed:
        return ""
    counts = Counter(name for names in missed for name in names)
    by_name = ", ".join(f"{one_line(name, 80)} {count:,}" for name, count in counts.most_common())
    answers = counted(len(missed), "answer of the candidate misses", "answers of the candidate miss")
    return f"{answers} what the rubric requires and so score 1: {by_name}."


def left_out(report: CheckReport) -> list[str]:
    """Sentences on cases that were given and not judged."""
    sentences = []
    if report.looked < report.planned:
        sentences.append(f"{report.looked:,} of {counted(report.planned, 'case')} were judged.")
    if report.missing:
        shown = ", ".join(one_line(each, 60) for each in report.missing[:5])
        more = f" and {len(report.missing) - 5:,} more" if len(report.missing) > 5 else ""
        ids = counted(len(report.missing), "id was", "ids were")
        sentences.append(f"{ids} left out, because some side lacks them: {shown}{more}.")
    return sentences


def cost_sentence(report: CheckReport) -> str:
    """The judge and what the run took."""
    usage, judge = report.usage, f"Judge: {one_line(report.model, 100) or 'unnamed'}."
    if not usage.calls:
        return f"{judge} No calls: every verdict was in the store, or none was needed."
    cost = "" if usage.cost is None else f", ${usage.cost:,.4f}"
    tokens = f"{usage.prompt_tokens:,} prompt tokens, {usage.completion_tokens:,} completion tokens"
    return f"{judge} {counted(usage.calls, 'call')}, {tokens}{cost}; stored verdicts cost nothing."


def reasoning(pair: Pair) -> str:
    """The judge's reasoning, without paragraphs that repeat an earlier one, as passes that agree do."""
    return "\n\n".join(dict.fromkeys(pair.reasoning.split("\n\n")))


def scores(pair: Pair) -> str:
    """The baseline's and the candidate's score as ``5.00 -> 2.00``."""
    return f"{score(pair.baseline_score)} -> {score(pair.candidate_score)}"


def best(report: CheckReport, comparison: Comparison, limit: int) -> list[Pair]:
    """The pairs in which the candidate gained most, best first.

    Args:
        report: The report.
        comparison: One of its comparisons.
        limit: Maximum number of pairs.
    """
    won = [pair for pair in report.of(comparison) if (pair.difference or 0.0) > 0]
    return sorted(won, key=lambda pair: (-(pair.difference or 0.0), pair.id))[:limit]


def broken_rules(report: CheckReport, comparison: Comparison) -> list[Pair]:
    """The pairs whose answer misses the minimum of its case, furthest below it first.

    Args:
        report: The report.
        comparison: One of its comparisons.
    """
    broken = [pair for pair in report.of(comparison) if pair.breaks_rule]
    return sorted(broken, key=lambda pair: ((pair.candidate_score or 0) - (pair.min_score or 0), pair.id))
