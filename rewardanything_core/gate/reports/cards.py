"""The parts of the HTML report that show cases."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from rewardanything_core.gate.reports import wording
from rewardanything_core.gate.reports.diff import Piece, compare
from rewardanything_core.gate.results import Pair

_FAILURES = 100
_CONTEXT = 400  # characters shown around a change
_FOLD = 900  # characters
_FOLD_LINES = 14


def marked(text: str) -> str:
    """Text as HTML, with what had to be made visible marked as such."""
    return "".join(
        f'<span class="escape">{escape(part)}</span>' if escaped else escape(part)
        for part, escaped in wording.parts(text)
    )


def number(text: str) -> str:
    """A sentence of ours with a real minus sign before numbers."""
    return re.sub(r"(?<![\w-])-(?=\d)", "−", text)


def case_card(pair: Pair, anchor: str) -> str:
    """A case with its scores, its prompt, both answers with what changed between them, and the judge's reasoning."""
    parts = [
        f'<div class="title"><h4><code>{marked(wording.one_line(pair.id, 200))}</code></h4> {_change(pair)}</div>',
        f'<div><div class="label">Prompt</div>{_folded(_text(marked(pair.prompt)), [pair.prompt], anchor + "p")}</div>',
        _sides(pair, anchor),
    ]
    if pair.reasoning:
        parts.append(f"<details><summary>The judge's reasoning</summary>{_text(marked(pair.reasoning))}</details>")
    notes = []
    for what, differences in (("Change by pass", pair.pass_differences), ("in fresh orders", pair.fresh_differences)):
        if differences:
            notes.append(f"{what}: {', '.join(wording.signed(each) for each in differences)}")
    told = number("; ".join(notes)) + "." if notes else ""
    if pair.record_ids:
        first, *others = (marked(each[:12]) for each in pair.record_ids)
        more = "".join(f", <code>{each}</code>" for each in others)
        told += f" In full: <code>ra-judge log --show {first}</code>{more}."
    if told:
        parts.append(f'<p class="quiet">{told}</p>')
    return f'<article class="case {_kind(pair)}">\n' + "\n".join(parts) + "\n</article>"


def _kind(pair: Pair) -> str:
    difference = pair.difference or 0.0
    return "worse" if difference < 0 else "better" if difference > 0 else "same"


def _change(pair: Pair) -> str:
    change = (
        "" if pair.difference is None else f' <span class="change">{number(wording.signed(pair.difference))}</span>'
    )
    rule = f" (must be at least {pair.min_score:.2f})" if pair.breaks_rule else ""
    return f"<span>{wording.score(pair.baseline_score)} → {wording.score(pair.candidate_score)}{rule}</span>{change}"


def _sides(pair: Pair, anchor: str) -> str:
    texts = [pair.baseline_response, pair.candidate_response]
    found = compare(*texts)
    columns = "".join(
        f'<div><div class="label">{label}, {wording.score(score)}</div>{_text(_pieces(pieces, tag))}</div>'
        for label, score, pieces, tag in (
            ("Before", pair.baseline_score, found.old, "del"),
            ("After", pair.candidate_score, found.new, "ins"),
        )
    )
    note = f'<p class="quiet">{found.note}</p>' if found.note else ""
    return _folded(f'<div class="sides">{columns}</div>', texts, anchor + "a") + note


def _pieces(pieces: Sequence[Piece], tag: str) -> str:
    if len(pieces) == 1 and not pieces[0].changed:
        return marked(pieces[0].text)
    return "".join(
        f"<{tag}>{marked(piece.text)}</{tag}>"
        if piece.changed
        else _shared(piece.text, place > 0, place < len(pieces) - 1)
        for place, piece in enumerate(pieces)
    )


def _shared(text: str, after_change: bool, before_change: bool) -> str:
    """What both answers share; where it is long it is folded but for its ends, so that the changes come together."""
    start, end = after_change * _CONTEXT, len(text) - before_change * _CONTEXT
    if end - start < 2 * _CONTEXT:
        return marked(text)
    return (
        f"{marked(text[:start])}<details><summary>{end - start:,} characters that are alike</summary>"
        f"{marked(text[start:end])}</details>{marked(text[end:])}"
    )


def _text(html: str) -> str:
    return f'<div class="text" dir="auto">{html or "<em>(empty)</em>"}</div>'


def _folded(html: str, texts: Sequence[str], anchor: str) -> str:
    """What is long is shown in part until it is asked for; nothing is left out of the page."""
    if all(len(text) <= _FOLD and text.count("\n") <= _FOLD_LINES for text in texts):
        return html
    sizes = " and ".join(f"{len(text):,}" for text in texts)
    return (
        f'<div class="fold"><input type="checkbox" id="{anchor}"><div class="inside">{html}</div>'
        f'<label for="{anchor}"><span class="closed">Show all ({sizes} characters)</span>'
        '<span class="opened">Show less</span></label></div>'
    )


def failure_list(pairs: Sequence[Pair]) -> str:
    """Every pair that could not be judged, with the reason and the judge's last reply."""
    items = []
    for pair in pairs[:_FAILURES]:
        assert pair.failure is not None
        raw = pair.failure.raw_output
        reply = "" if not raw else f"<details><summary>The judge's last reply</summary>{_text(marked(raw))}</details>"
        items.append(
            f'<article class="case"><div class="title"><h4><code>{marked(wording.one_line(pair.id, 200))}</code></h4>'
            f'<span class="quiet">{marked(wording.one_line(pair.principle, 80))}</span></div>'
            f"<p>{marked(pair.failure.error_type)}: {marked(pair.failure.message)}</p>{reply}</article>"
        )
    first, rest = items[:5], items[5:]
    left = f"; {len(pairs) - _FAILURES:,} of them only --json prints" if len(pairs) > _FAILURES else ""
    more = f"<details><summary>{len(rest):,} more</summary>\n{''.join(rest)}\n</details>" if rest else ""
    return (
        f"<section><h2>Not judged: {wording.counted(len(pairs), 'pair of answers', 'pairs of answers')}</h2>"
        f'<p class="quiet">A failed judgement has no score and counts for neither side{left}.</p>'
        f"{''.join(first)}{more}</section>"
    )


def all_cases(pairs: Sequence[Pair], anchor: str, limit: int) -> str:
    """Every case on a line, the worst first; where there are too many for a page, the worst and the best of them."""
    ordered = sorted(pairs, key=lambda pair: (pair.difference is None, pair.difference or 0.0, pair.id))
    cut = len(ordered) - limit
    note = "Answers are shown above for the worst and best cases only; --json prints all of them."
    if cut > 0:
        ordered = [*ordered[: limit - limit // 4], *ordered[len(ordered) - limit // 4 :]]
        note = f"{cut:,} cases in the middle are left out of this list to keep the page small. {note}"
    rows = "\n".join(
        f"<tr><td><code>{marked(wording.one_line(pair.id, 100))}</code>"
        f"<small>{marked(wording.one_line(pair.prompt, 90))}</small></td>"
        f'<td class="number">{wording.score(pair.baseline_score)}</td>'
        f'<td class="number">{wording.score(pair.candidate_score)}</td>'
        f'<td class="number change {_kind(pair)}">{_outcome(pair)}</td></tr>'
        for pair in ordered
    )
    return (
        f"<details><summary>All {len(pairs):,} cases</summary>"
        f'<p class="quiet">{note}</p>'
        f'<input class="filter" type="search" data-rows="{anchor}-all" hidden aria-label="Narrow the list down" '
        f'placeholder="Narrow down by id or prompt">'
        f'<table id="{anchor}-all"><thead><tr><th>Case</th><th class="number">Before</th>'
        f'<th class="number">After</th><th class="number">Change</th></tr></thead><tbody>\n{rows}\n</tbody></table>'
        "</details>"
    )


def _outcome(pair: Pair) -> str:
    if pair.difference is None:
        return "not judged"
    return "same answer" if pair.unchanged else number(wording.signed(pair.difference))
