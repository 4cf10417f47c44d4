"""What a failed assertion says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rewardanything_core import Case, JudgeFailure, Message, Principle, Verdict
from rewardanything_core.gate import Pair

SHOWN = 3
"""Cases told in full; ``pytest -vv`` tells all."""

LONGEST = 1500
"""Characters of a text; ``pytest -vv`` shows all."""


def named(principle: Principle) -> str:
    """A principle in a few words, in quotes."""
    text = " ".join((principle.name or principle.text).split())
    return f'"{text if len(text) <= 70 else text[:69] + "…"}"'


def score_of(verdict: Verdict) -> float:
    """The score of the only response."""
    (score,) = verdict.scores.values()
    return score


def text_of(prompt: str | Sequence[Message]) -> str:
    """A prompt as one text."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def low_scores(rows: Sequence[tuple[Case, Verdict, Verdict]], *, of: int, min_score: float, verbose: bool) -> str:
    """Cases that scored too low twice, lowest first, with both verdicts."""
    case, verdict, fresh = rows[0]
    head = f"score {score_of(verdict):.2f}, judged again {score_of(fresh):.2f}, below {min_score:g}"
    if of > 1:
        head = f"{len(rows)} of {of} scores are too low; the lowest: {head}"
    told = [
        [
            ("principle", case.principle.text),
            ("prompt", text_of(case.prompt)),
            ("response", case.responses["response"]),
            ("because", verdict.explanation),
            (f"again, {score_of(fresh):.2f}", fresh.explanation),
            ("records", _records(verdict.record_id, fresh.record_id)),
        ]
        for case, verdict, fresh in rows
    ]
    return _message(f"{head}, under {named(case.principle)}", told, verbose=verbose)


def lost(head: str, principle: Principle, pairs: Iterable[Pair], again: Mapping[str, Pair], *, verbose: bool) -> str:
    """Responses that lost against their baselines; ``again`` is the same judged afresh, by id, where that was apart."""
    told = []
    for pair in pairs:
        fresh = again.get(pair.id)
        told.append(
            [
                ("principle", principle.text),
                ("prompt", pair.prompt),
                (f"baseline, {pair.baseline_score:.2f}", pair.baseline_response),
                (f"candidate, {pair.candidate_score:.2f}", pair.candidate_response),
                ("because", pair.reasoning),
                ("again", fresh.reasoning if fresh else ""),
                ("records", _records(*pair.record_ids, *(fresh.record_ids if fresh else ()))),
            ]
        )
    return _message(head, told, verbose=verbose)


def not_judged(failures: Sequence[JudgeFailure], *, of: int, then: str, verbose: bool) -> str:
    """Judgements that failed."""
    told = [
        [
            (failure.error_type, failure.message),
            ("reply", failure.raw_output or ""),
            ("record", _records(failure.record_id)),
        ]
        for failure in failures
    ]
    first = failures[0]
    head = f"could not be judged: {first.error_type} in {len(failures)} of {of} judgements{then}"
    return _message(head, told, verbose=verbose)


def _message(head: str, told: Sequence[Sequence[tuple[str, str]]], *, verbose: bool) -> str:
    shown = told if verbose else told[:SHOWN]
    parts = [head, *("\n".join(_block(*part, verbose=verbose) for part in parts if part[1].strip()) for parts in shown)]
    if len(told) > len(shown):
        parts.append(f"and {len(told) - len(shown)} more (pytest -vv)")
    return "\n\n".join(parts)


def _block(label: str, text: str, *, verbose: bool) -> str:
    if not verbose and len(text) > LONGEST:
        text = f"{text[:LONGEST]} [... {len(text) - LONGEST:,} more characters; pytest -vv]"
    lines = text.strip("\n").split("\n")
    if len(lines) == 1:
        return f"  {label}: {lines[0]}"
    return "\n".join([f"  {label}:", *(f"    {line}" for line in lines)])


def _records(*ids: str | None) -> str:
    return ", ".join(f"ra-judge log {found}" for found in ids if found)
