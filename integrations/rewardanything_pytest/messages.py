"""The messages of failed assertions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rewardanything_core import Case, JudgeFailure, Message, Principle, Verdict
from rewardanything_core.gate import Pair

SHOWN_CASES = 3
"""Number of cases in a message; ``pytest -vv`` shows all."""

SHOWN_CHARACTERS = 1500
"""Number of characters of a text; ``pytest -vv`` shows all."""


def quoted(principle: Principle) -> str:
    """A principle's name or the beginning of its text, in quotes."""
    text = " ".join((principle.name or principle.text).split())
    return f'"{text if len(text) <= 70 else text[:69] + "…"}"'


def score_of(verdict: Verdict) -> float:
    """The score of the only response."""
    (score,) = verdict.scores.values()
    return score


def prompt_text(prompt: str | Sequence[Message]) -> str:
    """A prompt as one text."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def low_scores(failed: Sequence[tuple[Case, Verdict, Verdict]], *, total: int, min_score: float, verbose: bool) -> str:
    """The message about cases that scored too low twice.

    Args:
        failed: Cases with both verdicts, lowest score first; 1 or more.
        total: Number of all cases.
        min_score: The lowest acceptable score, 1..5.
        verbose: Whether to show everything.
    """
    case, first, second = failed[0]
    head = f"score {score_of(first):.2f}, judged again {score_of(second):.2f}, below {min_score:g}"
    if total > 1:
        head = f"{len(failed)} of {total} scores are too low; the lowest: {head}"
    blocks = [
        [
            ("principle", case.principle.text),
            ("prompt", prompt_text(case.prompt)),
            ("response", case.responses["response"]),
            ("because", first.explanation),
            (f"again, {score_of(second):.2f}", second.explanation),
            ("records", _log_commands(first.record_id, second.record_id)),
        ]
        for case, first, second in failed
    ]
    return _message(f"{head}, under {quoted(case.principle)}", blocks, verbose=verbose)


def worse(
    head: str, principle: Principle, pairs: Iterable[Pair], second_look: Mapping[str, Pair], *, verbose: bool
) -> str:
    """The message about responses that scored less than their baselines.

    Args:
        head: The first line.
        principle: The principle that they were judged by.
        pairs: The pairs of the first look.
        second_look: Id -> the pair of a separate second look. Empty: there was none.
        verbose: Whether to show everything.
    """
    blocks = []
    for pair in pairs:
        second = second_look.get(pair.id)
        blocks.append(
            [
                ("principle", principle.text),
                ("prompt", pair.prompt),
                (f"baseline, {pair.baseline_score:.2f}", pair.baseline_response),
                (f"candidate, {pair.candidate_score:.2f}", pair.candidate_response),
                ("because", pair.reasoning),
                ("again", second.reasoning if second else ""),
                ("records", _log_commands(*pair.record_ids, *(second.record_ids if second else ()))),
            ]
        )
    return _message(head, blocks, verbose=verbose)


def not_judged(failures: Sequence[JudgeFailure], *, total: int, when: str, verbose: bool) -> str:
    """The message about judgements that failed.

    Args:
        failures: The failed judgements, 1 or more.
        total: Number of all judgements.
        when: In which step; appended to the first line.
        verbose: Whether to show everything.
    """
    blocks = [
        [
            (failure.error_type, failure.message),
            ("reply", failure.raw_output or ""),
            ("record", _log_commands(failure.record_id)),
        ]
        for failure in failures
    ]
    head = f"could not be judged: {failures[0].error_type} in {len(failures)} of {total} judgements{when}"
    return _message(head, blocks, verbose=verbose)


def _message(head: str, blocks: Sequence[Sequence[tuple[str, str]]], *, verbose: bool) -> str:
    shown = blocks if verbose else blocks[:SHOWN_CASES]
    paragraphs = [
        "\n".join(_field(label, text, verbose=verbose) for label, text in block if text.strip()) for block in shown
    ]
    if len(blocks) > len(shown):
        paragraphs.append(f"and {len(blocks) - len(shown)} more (pytest -vv)")
    return "\n\n".join([head, *paragraphs])


def _field(label: str, text: str, *, verbose: bool) -> str:
    if not verbose and len(text) > SHOWN_CHARACTERS:
        omitted = len(text) - SHOWN_CHARACTERS
        text = f"{text[:SHOWN_CHARACTERS]} [... {omitted:,} more characters; pytest -vv]"
    lines = text.strip("\n").split("\n")
    if len(lines) == 1:
        return f"  {label}: {lines[0]}"
    return "\n".join([f"  {label}:", *(f"    {line}" for line in lines)])


def _log_commands(*record_ids: str | None) -> str:
    return ", ".join(f"ra-judge log {record_id}" for record_id in record_ids if record_id)
