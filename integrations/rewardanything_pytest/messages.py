"""The messages of failed assertions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rewardanything_core import Abstention, Case, JudgeFailure, Principle, Rubric, Verdict
from rewardanything_core.gate import Pair, Requirement
from rewardanything_core.gate.pairing import prompt_text

SHOWN_CASES = 3
"""Number of cases in a message; ``pytest -vv`` shows all."""

SHOWN_CHARACTERS = 1500
"""Number of characters of a text; ``pytest -vv`` shows all."""


def quoted(principle: Principle) -> str:
    """A principle's name or the beginning of its text, in quotes."""
    text = " ".join((principle.name or principle.text).split())
    return f'"{text if len(text) <= 70 else text[:69] + "…"}"'


def score_of(verdict: Verdict, criterion: str | None = None) -> float:
    """The score of the only response.

    Args:
        verdict: A verdict on one response.
        criterion: A criterion of its rubric. None: the whole.
    """
    (score,) = (verdict if criterion is None else verdict.criteria[criterion]).scores.values()
    return score


@dataclass(frozen=True)
class LowScore:
    """A response that scored too low in the first look."""

    case: Case
    first: Verdict
    second: Verdict

    minimums: Mapping[str | None, float]
    """Criterion of the rubric, or None for the principle as a whole -> the score that was not reached; 1 or more."""

    def summary(self, *, confirmed: bool) -> str:
        """The scores of both looks, and the principle.

        Args:
            confirmed: Whether the scores of the second look are too low as well.
        """
        clauses = [
            f"{'score' if criterion is None else criterion} {score_of(self.first, criterion):.2f}, "
            f"judged again {score_of(self.second, criterion):.2f}"
            f"{f', below {least:g}' if confirmed else f' ({least:g} is required)'}"
            for criterion, least in self.minimums.items()
        ]
        return f"{'; '.join(clauses)}{',' * confirmed} under {quoted(self.case.principle)}"

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Labels and texts of the message."""
        rules, reasons = [], []
        for criterion in self.minimums:
            principle, looks = self.case.principle, [self.first, self.second]
            label, because, rule = "principle", "because", principle.text
            if criterion is not None and isinstance(principle, Rubric):
                label, because = criterion, f"{criterion}, {score_of(self.first, criterion):.2f}"
                rule, looks = principle.criteria[criterion].full_text, [look.criteria[criterion] for look in looks]
            rules.append((label, rule))
            reasons += [(because, looks[0].explanation), (f"again, {score_of(looks[1]):.2f}", looks[1].explanation)]
        return [
            *rules,
            ("prompt", prompt_text(self.case.prompt)),
            ("response", self.case.texts["response"]),
            *reasons,
            ("records", _log_commands(self.first.record_id, self.second.record_id)),
        ]


def low_scores(failed: Sequence[LowScore], *, total: int, verbose: bool) -> str:
    """The message about responses that scored too low twice.

    Args:
        failed: The responses, lowest score first; 1 or more.
        total: Number of all cases.
        verbose: Whether to show everything.
    """
    head = failed[0].summary(confirmed=True)
    if total > 1:
        head = f"{len(failed)} of {total} scores are too low; the lowest: {head}"
    return _message(head, [each.fields for each in failed], verbose=verbose)


def worse(
    head: str, requirement: Requirement, pairs: Iterable[Pair], second_look: Mapping[str, Pair], *, verbose: bool
) -> str:
    """The message about responses that scored less than their baselines.

    Args:
        head: The first line.
        requirement: The principle or criterion that they were judged by.
        pairs: The pairs of the first look.
        second_look: Id -> the pair of a separate second look. Empty: there was none.
        verbose: Whether to show everything.
    """
    blocks = []
    for pair in pairs:
        second = second_look.get(pair.id)
        blocks.append(
            [
                (requirement.criterion or "principle", requirement.text),
                ("prompt", pair.prompt),
                (f"baseline, {pair.baseline_score:.2f}", pair.texts[0]),
                (f"candidate, {pair.candidate_score:.2f}", pair.texts[1]),
                ("misses", ", ".join(pair.missed)),
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
    if all(isinstance(failure, Abstention) for failure in failures):
        head = f"was left to a person: no judge was sure enough in {len(failures)} of {total} judgements{when}"
        return _message(head, blocks, verbose=verbose)
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
