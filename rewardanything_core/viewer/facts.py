"""What the index keeps of a record: the numbers to filter and sort by, and the words to search."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewardanything_core.cases import Case
from rewardanything_core.conversations import message_text
from rewardanything_core.conversations.trajectory import Response, sort_key
from rewardanything_core.errors import AbstainedError, StoreError
from rewardanything_core.gate.reports import wording
from rewardanything_core.store.verdict_store import Record
from rewardanything_core.types import JudgeFailure, Verdict

MAX_TENSION = 10.0
"""The tension of cases that were left to a person."""

_TITLE = 160  # characters
_MAX_SHOWN_SCORES = 12


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The row of one record in the index. All scores are 1..5."""

    record_id: str
    """The record's id."""

    created: int
    """Time of writing, in milliseconds since 1970."""

    title: str
    """The beginning of the prompt's last message, on one line."""

    words: str
    """All texts: the prompt, the responses, the reasoning, the id, and the message of a failure."""

    case_id: str = ""
    """The case's own id. Empty: it has none."""

    principle: tuple[str, str] = ("", "")
    """Its text and its name."""

    model: str = ""
    """The judge model's name."""

    template: str = ""
    """Hash of the judging prompt. Empty: unknown."""

    judged: int = 0
    """Equal for cases that a judge sees as equal, the principle included."""

    material: int = 0
    """The same without the principle."""

    scores: Sequence[tuple[str, float, int]] = ()
    """Label, score and hash of each response, best first."""

    criteria: Mapping[str, float] = field(default_factory=dict)
    """Criterion of a rubric -> the lowest score of a response under it."""

    failure: str = ""
    """Name of the error class. Empty: it is a verdict."""

    winner: int | None = None
    """Hash of the response with the highest score. None: several share it, or there is only one."""

    low: float | None = None
    mean: float | None = None
    """The lowest and the mean score. None: there is no verdict."""

    spread: float = 0.0
    """The largest standard deviation of a response's score over passes or jurors."""

    agreement: float | None = None
    """Kendall's W. None: there was one ranking."""

    passes: float = 0.0
    """The largest difference between two passes' scores of a response."""

    jurors: float = 0.0
    """The largest difference between two jurors' scores of a response."""

    calls: int = 0
    tokens_read: int = 0
    tokens_written: int = 0
    cost: float | None = None
    """What the judgement took; the cost in US dollars, None if it is unknown."""

    @property
    def tension(self) -> float | None:
        """How informative a label would be, 0 and above: how far passes, jurors and orders disagree, in points.

        A case that a cascade left to a person comes before all others. None: there is nothing to label.
        A verdict without any of these counts by how close its two best responses are, which is where a judge is least
        sure: 0.5 at a tie, 0 from a gap of one point.
        """
        if self.failure:
            return MAX_TENSION if self.failure == AbstainedError.__name__ else None
        if self.spread or self.jurors or self.passes:
            return max(
                self.spread, self.jurors / 2, self.passes / 2, 1 - (1.0 if self.agreement is None else self.agreement)
            )
        gaps = [a[1] - b[1] for a, b in zip(self.scores, self.scores[1:], strict=False)]
        return max(0.0, 0.5 * (1 - gaps[0])) if gaps else 0.0


def facts_of(record: Record | StoreError, position: int) -> Facts:
    """The row of a record, or of one that cannot be read, which counts as a failure.

    Args:
        record: The record.
        position: Its position, which names one that cannot be read.
    """
    try:
        return _facts(record, position)
    except Exception as error:  # noqa: BLE001  # what a model or a file says harms its own record only
        return _facts(StoreError(f"Record {position} cannot be shown ({type(error).__name__}: {error})."), position)


def _facts(record: Record | StoreError, position: int) -> Facts:
    if isinstance(record, StoreError):
        text = record.message
        return Facts(record_id=f"unreadable-{position}", created=0, title=text, words=text, failure="Unreadable")
    case, outcome = record.case, record.verdict or record.failure
    assert outcome is not None
    about: dict[str, Any] = {
        "record_id": record.record_id,
        "created": int(record.created.timestamp() * 1000),
        "title": wording.one_line(_last_text(case), _TITLE),
        "words": "\n".join(_texts(case, outcome)),
        "case_id": case.id or "",
        "principle": (case.principle.text, case.principle.name or ""),
        "model": record.model,
        "template": record.template_hash,
        "judged": number_of(case.digest),
        "material": number_of(case.material_digest),
        "calls": outcome.usage.calls,
        "tokens_read": outcome.usage.prompt_tokens,
        "tokens_written": outcome.usage.completion_tokens,
        "cost": outcome.usage.cost,
    }
    if isinstance(outcome, JudgeFailure):
        return Facts(**about, failure=outcome.error_type)
    return Facts(**about, **_figures(case, outcome))


def number_of(digest: str) -> int:
    """A hash in hexadecimal as a signed number of 64 bits, as SQLite stores it."""
    return int.from_bytes(bytes.fromhex(digest[:16]), signed=True)


def response_number(response: Response) -> int:
    """A number that identifies a response by what it says."""
    return number_of(hashlib.sha256(sort_key(response).encode("utf-8", "surrogatepass")).hexdigest())


def scores_json(facts: Facts) -> str:
    """Label, score and hash of the responses as JSON."""
    return json.dumps(list(facts.scores))


def shown_scores(scores: str) -> list[tuple[str, float]]:
    """Label and score of the best responses, from `scores_json`."""
    return [(label, score) for label, score, _ in json.loads(scores)[:_MAX_SHOWN_SCORES]]


def _figures(case: Case, verdict: Verdict) -> dict[str, Any]:
    values = verdict.scores
    scores = [(label, values[label], response_number(case.responses[label])) for label in verdict.ranking]
    scores.sort(key=lambda each: -each[1])
    is_won = len(scores) > 1 and scores[0][1] > scores[1][1]
    jurors = [juror.scores for juror in verdict.jurors or () if isinstance(juror, Verdict)]
    return {
        "scores": scores,
        "criteria": {name: min(each.scores.values()) for name, each in verdict.criteria.items()},
        "winner": scores[0][2] if is_won else None,
        "low": min(values.values()),
        "mean": sum(values.values()) / len(values),
        "spread": max(verdict.spread.values(), default=0.0),
        "agreement": verdict.agreement,
        "passes": _largest_range(verdict.pass_scores) if verdict.jurors is None else 0.0,
        "jurors": _largest_range(jurors),
    }


def _largest_range(scores: Sequence[Mapping[str, float]]) -> float:
    """The largest difference between two values of one label."""
    labels = scores[0] if scores else ()
    values = ([each[label] for each in scores if label in each] for label in labels)
    return max((max(found) - min(found) for found in values), default=0.0)


def _last_text(case: Case) -> str:
    return case.prompt if isinstance(case.prompt, str) else message_text(case.prompt[-1])


def _texts(case: Case, outcome: Verdict | JudgeFailure) -> Iterator[str]:
    prompt: Iterable[str] = [case.prompt] if isinstance(case.prompt, str) else map(message_text, case.prompt)
    yield case.id or ""
    yield from prompt
    yield from case.texts.values()
    yield case.context or ""
    yield case.reference or ""
    yield outcome.message if isinstance(outcome, JudgeFailure) else outcome.reasoning
