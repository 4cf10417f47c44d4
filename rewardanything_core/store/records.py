"""Records of the verdict store and their columns."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from rewardanything_core.cases import Case
from rewardanything_core.conversations.trajectory import response_json
from rewardanything_core.errors import StoreError
from rewardanything_core.types import JudgeFailure, Reasons, Reply, Usage, Verdict

T = TypeVar("T", Verdict, JudgeFailure)

RECORD_ID_LENGTH = 16
COLUMNS = 'seq, record_id, key, created, "case", model, template_hash, settings, verdict, failure'
INSERT = """
    INSERT INTO records
        (record_id, key, created, case_id, model, template_hash, labels, "case", settings, verdict, failure)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO NOTHING
"""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A verdict to be stored."""

    key: str
    """SHA-256, in hex, of everything that affects the verdict."""

    case: Case
    """The case."""

    verdict: Verdict
    """Its verdict."""

    model: str
    """The judge model's name."""

    template_hash: str
    """Hash of the judging prompt's wording and wire format."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Everything else that the key covers, as plain JSON."""

    @property
    def record_id(self) -> str:
        """The id of its record, as ``ra-judge log`` shows it."""
        return record_id_of(self.key)


@dataclass(frozen=True, kw_only=True)
class StoredVerdict:
    """A stored verdict, possibly of a case with other labels."""

    verdict: Verdict
    """The verdict with the labels it was stored with."""

    labels: tuple[str, ...]
    """The `Case.canonical_labels` it was stored with, in the order of those of any case with the same key."""

    def relabel(self, case: Case, *, cached: bool) -> Verdict:
        """The verdict under a case's own labels, in their order, and with its id.

        Args:
            case: A case with the same key.
            cached: Whether the verdict was read from the store.
        """
        to = dict(zip(self.labels, case.canonical_labels, strict=True))
        return _renamed(self.verdict, to, case, cached=cached)


@dataclass(frozen=True, kw_only=True)
class Record:
    """One record of the log: a verdict or a failure, with its case and settings."""

    record_id: str
    """Hexadecimal; any unambiguous prefix finds it."""

    key: str | None
    """The verdict's key. None: it is a failure, which is never looked up."""

    created: datetime
    """Time of writing, in UTC."""

    case: Case
    """The case."""

    verdict: Verdict | None
    """The verdict. None: it is a failure."""

    failure: JudgeFailure | None
    """The failure. None: it is a verdict."""

    model: str
    """The judge model's name."""

    template_hash: str
    """Hash of the judging prompt's wording and wire format."""

    settings: Mapping[str, Any]
    """Everything else that the key covers, as plain JSON."""

    def to_dict(self) -> dict[str, Any]:
        """The whole record as plain JSON types."""
        return {
            "record_id": self.record_id,
            "key": self.key,
            "created": self.created.isoformat(),
            "model": self.model,
            "template_hash": self.template_hash,
            "settings": dict(self.settings),
            "case": case_to_dict(self.case),
            "verdict": self.verdict.to_dict() if self.verdict else None,
            "failure": self.failure.to_dict() if self.failure else None,
        }


def record_id_of(key: str) -> str:
    """The id of the record under a key: a prefix of the key, and so known before writing."""
    return key[:RECORD_ID_LENGTH]


def to_row(
    record_id: str,
    key: str | None,
    case: Case,
    model: str,
    template_hash: str,
    settings: Mapping[str, Any],
    outcome: Verdict | JudgeFailure,
) -> tuple[str | None, ...]:
    """The values for `INSERT`; exactly one of verdict and failure, and a key for the former only.

    Args:
        record_id: The record's id.
        key: The verdict's key. None: the outcome is a failure.
        case: The case.
        model: The judge model's name.
        template_hash: Hash of the judging prompt's wording and wire format.
        settings: Everything else that the key covers, as plain JSON.
        outcome: The verdict or failure.
    """
    is_verdict = isinstance(outcome, Verdict)
    if is_verdict != (key is not None):
        raise TypeError("a verdict has a key, a failure has none")
    content = to_json(dataclasses.asdict(outcome))
    created = datetime.now(UTC).isoformat(timespec="microseconds")
    labels = to_json(case.canonical_labels)
    verdict, failure = (content, None) if is_verdict else (None, content)
    texts = to_json(case_to_dict(case)), to_json(dict(settings))
    return record_id, key, created, case.id, model, template_hash, labels, *texts, verdict, failure


def from_row(
    record_id: str,
    key: str | None,
    created: str,
    case: str,
    model: str,
    template_hash: str,
    settings: str,
    verdict: str | None,
    failure: str | None,
) -> Record:
    """The record with the values of `COLUMNS`, without the first column.

    Args:
        record_id: The record's id.
        key: The verdict's key. None: it is a failure.
        created: Time of writing, in ISO 8601.
        case: The case in JSON.
        model: The judge model's name.
        template_hash: Hash of the judging prompt's wording and wire format.
        settings: The other settings in JSON.
        verdict: The verdict in JSON. None: it is a failure.
        failure: The failure in JSON. None: it is a verdict.
    """
    with _read_errors_explained(record_id):
        content = json.loads(case)
        return Record(
            record_id=record_id,
            key=key,
            created=datetime.fromisoformat(created),
            case=Case(**content),
            verdict=_outcome(Verdict, record_id, verdict) if verdict else None,
            failure=_outcome(JudgeFailure, record_id, failure) if failure else None,
            model=model,
            template_hash=template_hash,
            settings=json.loads(settings),
        )


def stored_verdict(record_id: str, labels: str, verdict: str) -> StoredVerdict:
    """The verdict with the values of these columns.

    Args:
        record_id: The record's id.
        labels: The `Case.canonical_labels` in JSON.
        verdict: The verdict in JSON.
    """
    with _read_errors_explained(record_id):
        return StoredVerdict(verdict=_outcome(Verdict, record_id, verdict), labels=tuple(json.loads(labels)))


@contextmanager
def _read_errors_explained(record_id: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"Record {record_id} of the verdict store cannot be read ({type(error).__name__}: {error}).",
            hint="It was not written by this package; delete it, or use another store.",
        ) from error


def _renamed(verdict: Verdict, to: Mapping[str, str], case: Case, **changes: Any) -> Verdict:
    def named(values: Mapping[str, float]) -> dict[str, float]:
        by_label = {to[label]: value for label, value in values.items()}
        return {label: by_label[label] for label in case.labels}

    return dataclasses.replace(
        verdict,
        scores=named(verdict.scores),
        ranking=[to[label] for label in verdict.ranking],
        spread=named(verdict.spread),
        orders=[[to[label] for label in order] for order in verdict.orders],
        pass_scores=[named(scores) for scores in verdict.pass_scores],
        sublists=verdict.sublists
        and [[[to[label] for label in order] for order in one_pass] for one_pass in verdict.sublists],
        criteria={name: _renamed(each, to, case) for name, each in verdict.criteria.items()},
        missed={to[label]: names for label, names in verdict.missed.items()},
        turns={to[label]: numbers for label, numbers in verdict.turns.items()},
        shortened={to[label]: omitted for label, omitted in verdict.shortened.items()},
        removed={to[label]: sentences for label, sentences in verdict.removed.items()},
        reasons=verdict.reasons
        and dataclasses.replace(verdict.reasons, order=[to[label] for label in verdict.reasons.order]),
        case_id=case.id,
        jurors=verdict.jurors
        and [_renamed(juror, to, case) if isinstance(juror, Verdict) else juror for juror in verdict.jurors],
        **changes,
    )


def _outcome(kind: type[T], record_id: str, content: str) -> T:
    return _from_json(kind, json.loads(content) | {"record_id": record_id})


def _from_json(kind: type[T], content: Mapping[str, Any]) -> T:
    fields = {name: content[name] for name in kind.__dataclass_fields__ if name in content}
    if fields.get("jurors"):
        fields["jurors"] = [
            _from_json(Verdict, juror) if "scores" in juror else _from_json(JudgeFailure, juror)
            for juror in fields["jurors"]
        ]
    if fields.get("reasons"):
        fields["reasons"] = Reasons(**fields["reasons"])
    if fields.get("criteria"):
        fields["criteria"] = {name: _from_json(Verdict, each) for name, each in fields["criteria"].items()}
    if kind is Verdict:
        fields["replies"] = (
            [[Reply(**reply) for reply in replies] for replies in content["replies"]]
            if "replies" in content
            else _split_replies(content)
        )
    return kind(**fields | {"usage": Usage(**content["usage"])})


def _split_replies(content: Mapping[str, Any]) -> list[list[Reply]]:
    """The replies of a record written before they were stored separately: two joined texts with headings."""
    passes = max(1, len(content.get("orders") or ()))
    lists = [len(sublists) for sublists in content.get("sublists") or ()] or [1] * passes
    reasoning, raw = (_split_text(content[name], lists) for name in ("reasoning", "raw_output"))
    return [
        [Reply(reasoning=text, raw_output=reply) for text, reply in zip(*both, strict=True)]
        for both in zip(reasoning, raw, strict=True)
    ]


def _split_text(text: str, lists: Sequence[int]) -> list[list[str]]:
    """A text by pass and by list; ``lists`` has the number of lists of each pass."""
    passes = _split_at_headings("pass", text, len(lists))
    return [_split_at_headings("list", part, count) for part, count in zip(passes, lists, strict=True)]


def _split_at_headings(kind: str, text: str, count: int) -> list[str]:
    if count == 1:
        return [text]
    parts = re.split(rf"(?m)^\[{kind} (\d+) of {count}\]$", text)
    texts = [""] * count
    for number, part in zip(parts[1::2], parts[2::2], strict=True):
        texts[(int(number) - 1) % count] += part.strip()
    return texts


def case_to_dict(case: Case) -> dict[str, Any]:
    """A case as plain JSON types, with the fields of its constructor."""
    return {
        "principle": case.principle.to_json(),
        "prompt": case.prompt,
        "responses": {label: response_json(response) for label, response in case.responses.items()},
        "reference": case.reference,
        "context": case.context,
        "id": case.id,
    }


def to_json(value: Any) -> str:
    """Readable JSON; a lone surrogate, which UTF-8 cannot encode, is escaped."""
    readable = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        readable.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return readable
