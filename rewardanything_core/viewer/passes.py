"""The passes of a judge and the jurors of a jury, as the page of a verdict shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rewardanything_core.explanations import unmask
from rewardanything_core.types import JudgeFailure, Verdict


@dataclass(frozen=True, kw_only=True)
class PassView:
    """One pass of a judge, or one juror."""

    title: str
    """Its name."""

    scores: Sequence[tuple[str, str]]
    """Label and score."""

    order: str = ""
    """The order in which the judge saw the responses. Empty: unknown."""

    reasoning: str = ""
    """The reasoning, with the labels of the responses. Empty: there is none."""

    raw: Sequence[str] = ()
    """The replies as received."""

    inner: Sequence[PassView] = ()
    """A juror's passes, if it has several."""


def passes_of(verdict: Verdict) -> list[PassView]:
    """The passes of a judge, or the jurors of a jury."""
    if verdict.jurors is not None:
        return [_juror(juror, number) for number, juror in enumerate(verdict.jurors, start=1)]
    views: list[PassView] = []
    if verdict.reasons is not None:
        title = f"Reasons that {verdict.reasons.model} wrote after the scores"
        why = verdict.reasons.error or unmask(verdict.reasons.text, verdict.reasons.order)
        views.append(PassView(title=title, scores=[], reasoning=why))
    total = max(len(verdict.replies), len(verdict.pass_scores))
    orders = verdict.sublists or [[order] for order in verdict.orders]
    for number in range(total):
        replies = verdict.replies[number] if number < len(verdict.replies) else []
        seen = orders[number] if number < len(orders) else []
        texts = [
            unmask(reply.reasoning, seen[place]) if place < len(seen) else reply.reasoning.strip()
            for place, reply in enumerate(replies)
        ]
        scores = verdict.pass_scores[number] if number < len(verdict.pass_scores) else verdict.scores
        views.append(
            PassView(
                title=f"Pass {number + 1} of {total}" if total > 1 else "Reasoning",
                scores=[(label, f"{score:.2f}") for label, score in scores.items()] if total > 1 else [],
                order="; ".join(", ".join(order) for order in seen) if len(verdict.scores) > 1 else "",
                reasoning="\n\n".join(filter(None, texts)),
                raw=[reply.raw_output for reply in replies if reply.raw_output],
            )
        )
    return views


def _juror(juror: Verdict | JudgeFailure, number: int) -> PassView:
    title = f"Juror {number}: {juror.model}"
    if isinstance(juror, JudgeFailure):
        raw = [juror.raw_output] if juror.raw_output else []
        return PassView(title=title, scores=[], reasoning=f"{juror.error_type}: {juror.message}", raw=raw)
    inner = passes_of(juror)
    whole = inner[0] if len(inner) == 1 else None
    return PassView(
        title=title,
        scores=_scored(juror),
        order=whole.order if whole else "",
        reasoning=whole.reasoning if whole else "",
        raw=whole.raw if whole else [],
        inner=[] if whole else inner,
    )


def _scored(verdict: Verdict) -> list[tuple[str, str]]:
    return [(label, f"{verdict.scores[label]:.2f}") for label in verdict.ranking]


def _raw(verdict: Verdict) -> Iterator[str]:
    yield from (reply.raw_output for replies in verdict.replies for reply in replies if reply.raw_output)


def criteria_of(verdict: Verdict) -> list[PassView]:
    """The reasoning on each criterion of a rubric."""
    return [
        PassView(title=name, scores=_scored(each), reasoning=each.explanation, raw=list(_raw(each)))
        for name, each in verdict.criteria.items()
    ]
