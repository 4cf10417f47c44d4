"""One verdict as its page shows it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewardanything_core.bench.charts import BarRow
from rewardanything_core.cases import Case
from rewardanything_core.conversations import Response, read_messages, transcript
from rewardanything_core.conversations.trajectory import Trajectory
from rewardanything_core.gate.reports.answers import (
    AnswerView,
    MarkedText,
    TurnView,
    answer_view,
    answer_views,
    conversation_view,
)
from rewardanything_core.judging.citations import quoted_passages
from rewardanything_core.principles import Rubric
from rewardanything_core.store.verdict_store import Record
from rewardanything_core.types import MAX_SCORE, MIN_SCORE, Usage, Verdict
from rewardanything_core.viewer.passes import PassView, criteria_of, passes_of
from rewardanything_core.viewer.repeating import command, python_line

MAX_TEXT = 30_000
"""Characters of a text on a page; the rest is on a page of its own."""

_MAX_RESPONSES = 40


@dataclass(frozen=True, kw_only=True)
class TextView:
    """A text, cut visibly if it is long."""

    title: str
    """What it is."""

    part: str
    """Names it in the address of the whole text."""

    view: AnswerView
    """What is shown."""

    length: int
    """Characters of the whole text."""

    score: str = ""
    """The judge's score. Empty: it has none."""

    note: str = ""
    """A remark. Empty: none."""

    @property
    def is_cut(self) -> bool:
        """Whether only the beginning is shown."""
        return self.length > MAX_TEXT and not self.view.blocks


@dataclass(frozen=True, kw_only=True)
class RecordView:
    """A verdict, or a failure, with its case."""

    record: Record
    """The record."""

    facts: Sequence[tuple[str, str]]
    """Name and value of what is known about it."""

    bars: Sequence[BarRow]
    """The scores."""

    criteria: tuple[Sequence[str], Sequence[Sequence[str]]]
    """Header and rows of the scores by criterion. Empty: the principle is not a rubric."""

    prompt: TextView
    """The prompt."""

    others: Sequence[TextView]
    """Context and reference."""

    pair: tuple[TextView, ...]
    """Two responses side by side; only one if there is no other."""

    compared: tuple[str, ...]
    """Their labels."""

    responses: Sequence[TextView]
    """The others."""

    left_out: int
    """Number of responses that are not on the page."""

    note: str
    """A remark on the comparison of the two. Empty: none."""

    remarks: Sequence[str]
    """What the verdict says about itself: requirements missed, sentences removed, results shortened."""

    passes: Sequence[PassView]
    """Passes or jurors."""

    by_criterion: Sequence[PassView] = field(default_factory=tuple)
    """The reasoning on each criterion."""

    command: str
    """A command that judges the case again. Empty: it is too long for a command line."""

    python: str
    """The same in Python."""


def record_view(record: Record, path: Path, *, compared: Sequence[str] = ()) -> RecordView:
    """A record as it is shown.

    Args:
        record: The record.
        path: The file it is in.
        compared: Labels of the two responses that are shown side by side. Empty: the best and the worst.
    """
    case, verdict = record.case, record.verdict
    quoted = verdict.reasoning if verdict else ""
    labels = list(verdict.ranking if verdict else case.labels)
    chosen = tuple(label for label in compared if label in labels)[:2]
    if len(chosen) < 2:
        chosen = tuple(dict.fromkeys([labels[0], labels[-1]]))
    others = [label for label in labels if label not in chosen]
    pair, note = _side_by_side(record, chosen, quoted)
    return RecordView(
        record=record,
        facts=list(_facts(record)),
        bars=score_bars(verdict) if verdict else [],
        criteria=_criteria_table(case, verdict),
        prompt=prompt_view(case),
        others=background_views(case),
        pair=pair,
        compared=chosen,
        responses=[_response_view(record, label, quoted) for label in others[:_MAX_RESPONSES]],
        left_out=max(0, len(others) - _MAX_RESPONSES),
        note=note,
        remarks=list(_remarks(verdict)) if verdict else [],
        passes=passes_of(verdict) if verdict else [],
        by_criterion=criteria_of(verdict) if verdict else [],
        command=command(record),
        python=python_line(record, path),
    )


def text_view(title: str, part: str, response: Response, **about: Any) -> TextView:
    """A text or run by itself.

    Args:
        title: What it is.
        part: See `TextView.part`.
        response: The text or run.
        about: Other fields of the view.
    """
    if isinstance(response, str):
        view = answer_view(response[:MAX_TEXT])
        return TextView(title=title, part=part, view=view, length=len(response), **about)
    return TextView(title=title, part=part, view=answer_view(response), length=0, **about)


def whole_text(record: Record, part: str) -> str | None:
    """The whole of a text that a page has only the beginning of; None: there is no such text.

    Args:
        record: The record.
        part: See `TextView.part`.
    """
    case = record.case
    if part == "prompt":
        return case.prompt if isinstance(case.prompt, str) else transcript(case.prompt)
    if part in ("context", "reference"):
        return case.context if part == "context" else case.reference
    kind, _, number = part.partition("-")
    if kind == "response" and number.isdecimal() and int(number) < len(case.labels):
        return case.texts[case.labels[int(number)]]
    return None


def score_bars(verdict: Verdict) -> list[BarRow]:
    """A bar from 1 to 5 for each score, best first, with the spread as its interval.

    Args:
        verdict: The verdict.
    """

    def position(score: float) -> float:
        return 100 * (min(max(score, MIN_SCORE), MAX_SCORE) - MIN_SCORE) / (MAX_SCORE - MIN_SCORE)

    bars = []
    for label in verdict.ranking:
        score, spread = verdict.scores[label], verdict.spread.get(label, 0.0)
        several = f"± {spread:.2f}" if len(verdict.pass_scores) > 1 or verdict.jurors else ""
        name = label if len(verdict.scores) > 1 else "the response"
        bars.append(
            BarRow(
                name=label,
                value=f"{score:.2f}",
                interval=several,
                n=str(len(verdict.jurors or verdict.pass_scores) or 1),
                label=f"{name}: {score:.2f} of 5{', standard deviation ' + f'{spread:.2f}' if several else ''}",
                drawn=True,
                length=position(score),
                low=position(score - spread),
                high=position(score + spread),
                chance=None,
            )
        )
    return bars


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    verdict, case = record.verdict, record.case
    outcome = verdict or record.failure
    assert outcome is not None
    yield "When", record.created.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    yield "Judge", record.model or "unknown"
    if case.id:
        yield "Case", case.id
    yield "Record", record.record_id
    if verdict and verdict.agreement is not None:
        yield "Agreement of orders (Kendall's W)", f"{verdict.agreement:.2f}"
    yield from usage_facts(outcome.usage)
    if record.template_hash:
        yield "Judging prompt", record.template_hash[:12]


def usage_facts(usage: Usage) -> Iterator[tuple[str, str]]:
    """Tokens, time and cost, as far as they are known.

    Args:
        usage: The usage.
    """
    if usage.prompt_tokens or usage.completion_tokens:
        yield "Tokens", f"{usage.prompt_tokens:,} read, {usage.completion_tokens:,} written"
    if usage.calls:
        yield "Calls", f"{usage.calls:,} in {usage.seconds:,.1f} s"
    if usage.cost is not None:
        yield "Cost", f"${usage.cost:,.4f}"


def _criteria_table(case: Case, verdict: Verdict | None) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    if verdict is None or not verdict.criteria:
        return (), ()
    known = case.principle.criteria if isinstance(case.principle, Rubric) else {}
    rows = []
    for name, each in verdict.criteria.items():
        weight = f"{known[name].weight:g}" if name in known else ""
        required = f"at least {known[name].required:g}" if name in known and known[name].required else ""
        rows.append([name, weight, required, *(f"{each.scores[label]:.2f}" for label in verdict.ranking)])
    return ["Criterion", "Weight", "Required", *verdict.ranking], rows


def prompt_view(case: Case) -> TextView:
    """The prompt of a case, with the calls of tools folded."""
    if isinstance(case.prompt, str):
        return text_view("Prompt", "prompt", case.prompt)
    view = conversation_view(read_messages(case.prompt, where="prompt"))
    return TextView(title="Prompt", part="prompt", view=view, length=0)


def background_views(case: Case) -> list[TextView]:
    """Context and reference of a case, as far as it has them."""
    parts = ("Context", "context", case.context), ("Reference", "reference", case.reference)
    return [text_view(title, part, text) for title, part, text in parts if text is not None]


def _side_by_side(record: Record, chosen: Sequence[str], quoted: str) -> tuple[tuple[TextView, ...], str]:
    if len(chosen) < 2:
        return (_response_view(record, chosen[0], quoted),), ""
    texts = [_cut(record.case.responses[label]) for label in chosen]
    *views, note = answer_views(texts[0], texts[1], tags=("ins", "ins"))
    assert len(views) == 2
    return tuple(_response_view(record, label, quoted, view) for label, view in zip(chosen, views, strict=True)), note


def _cut(response: Response) -> Response:
    return response[:MAX_TEXT] if isinstance(response, str) else response


def _response_view(record: Record, label: str, quoted: str, view: AnswerView | None = None) -> TextView:
    case, verdict = record.case, record.verdict
    response = case.responses[label]
    shown = view or answer_view(_cut(response))
    shown = AnswerView(segments=with_quotations(shown.segments, quoted), blocks=shown.blocks)
    if isinstance(response, Trajectory) and verdict and verdict.turns.get(label):
        shown = _with_cited_turns(shown, verdict.turns[label])
    return TextView(
        title=label,
        part=f"response-{case.labels.index(label)}",
        view=shown,
        length=len(response) if isinstance(response, str) else 0,
        score=f"{verdict.scores[label]:.2f}" if verdict else "",
    )


def with_quotations(segments: Sequence[MarkedText], reasoning: str) -> list[MarkedText]:
    """Segments of a text, divided so that what the reasoning quotes is marked.

    Args:
        segments: The segments, which concatenate to the text.
        reasoning: The judge's reasoning.
    """
    passages = quoted_passages(reasoning, "".join(segment.text for segment in segments)) if reasoning else []
    if not passages:
        return list(segments)
    edges = sorted({edge for passage in passages for edge in passage})
    divided, start = [], 0
    for segment in segments:
        end = start + len(segment.text)
        places = [start, *(edge for edge in edges if start < edge < end), end]
        for first, last in itertools.pairwise(places):
            is_quoted = any(begin <= first and last <= finish for begin, finish in passages)
            text = segment.text[first - start : last - start]
            divided.append(dataclasses.replace(segment, text=text, quoted=is_quoted))
        start = end
    return divided


def _with_cited_turns(view: AnswerView, cited: Sequence[int]) -> AnswerView:
    def marked(turn: TurnView) -> TurnView:
        if turn.number not in cited:
            return turn
        note = ", ".join(filter(None, [turn.note, "cited by the judge"]))
        return dataclasses.replace(turn, note=note, kind=f"{turn.kind} cited".strip())

    blocks = [dataclasses.replace(block, turns=list(map(marked, block.turns))) for block in view.blocks]
    return dataclasses.replace(view, blocks=blocks)


def _remarks(verdict: Verdict) -> Iterator[str]:
    for label, names in verdict.missed.items():
        yield f"{label} misses what the rubric requires: {', '.join(names)}."
    for label, sentences in verdict.removed.items():
        quoted = " ".join(sentences)
        yield f"Removed from {label} before judging, since it speaks to the evaluator or vouches for itself: {quoted}"
    for label, omitted in verdict.shortened.items():
        yield f"Judged without {omitted:,} characters of tools' results in {label}."
    if verdict.shortened_prompt:
        yield f"Judged without {verdict.shortened_prompt:,} characters of tools' results in the prompt."
