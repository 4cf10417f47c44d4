"""Labelling: in which order a person sees a case, and what a decision on the page means."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rewardanything_core.cases import Case
from rewardanything_core.errors import ConfigError
from rewardanything_core.principles import Rubric
from rewardanything_core.store.labels import TIE, Label, case_key
from rewardanything_core.store.verdict_store import Record
from rewardanything_core.viewer.record_view import TextView, background_views, prompt_view, text_view

MAX_PERSON = 80
MAX_NOTE = 20_000
"""Maximum lengths in characters."""

NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

SCORES = (1, 2, 3, 4, 5)


@dataclass(frozen=True, kw_only=True)
class ShownResponse:
    """A response to decide about."""

    name: str
    """How it is called on the page: ``A``, ``B``, ...; its own label could give away where it is from."""

    label: str
    """Its label."""

    view: TextView
    """Its text."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A case to label."""

    record: Record
    """The record from which it is opened."""

    criterion: str
    """The criterion to decide about. Empty: the whole principle."""

    principle: str
    """What to decide by."""

    choices: Sequence[ShownResponse]
    """The responses in the order shown."""

    prompt: TextView
    """The prompt."""

    others: Sequence[TextView]
    """Context and reference."""


def task_of(record: Record, person: str, criterion: str = "") -> Task:
    """A case as a person gets it to label.

    Args:
        record: A record with the case.
        person: The person; each sees the responses in an order of their own.
        criterion: The criterion to decide about. Empty: the whole principle.

    Raises:
        ConfigError: the case has no such criterion.
    """
    case = record.case
    return Task(
        record=record,
        criterion=criterion,
        principle=principle_text(case, criterion),
        choices=[
            ShownResponse(
                name=name,
                label=label,
                view=text_view(name, f"response-{case.labels.index(label)}", case.responses[label]),
            )
            for name, label in _named(shown_order(case, person))
        ],
        prompt=prompt_view(case),
        others=background_views(case),
    )


def shown_order(case: Case, person: str) -> list[str]:
    """The labels of a case's responses in the order in which a person sees them, the same each time.

    Args:
        case: The case.
        person: The person.
    """
    seed = hashlib.sha256(f"{person}\n{case_key(case)}".encode("utf-8", "surrogatepass")).digest()
    order = list(case.canonical_labels)
    random.Random(seed).shuffle(order)
    return order


def principle_text(case: Case, criterion: str = "") -> str:
    """What a label is decided by.

    Args:
        case: The case.
        criterion: The criterion. Empty: the whole principle.

    Raises:
        ConfigError: the case has no such criterion.
    """
    if not criterion:
        return case.principle.text
    criteria = case.principle.criteria if isinstance(case.principle, Rubric) else {}
    if criterion not in criteria:
        raise ConfigError(f"{case} is not judged by a rubric with the criterion {criterion!r}.")
    return criteria[criterion].full_text


def person_of(text: str) -> str:
    """A person's name as it is stored.

    Raises:
        ConfigError: it is empty, too long, or has characters that are not printed.
    """
    name = " ".join(text.split())
    if not name or len(name) > MAX_PERSON or not name.isprintable():
        raise ConfigError(f"A name must have 1 to {MAX_PERSON} printable characters.")
    return name


def label_of(record: Record, form: Mapping[str, str], *, criterion: str = "") -> Label:
    """The label for a decision on the page.

    Args:
        record: The record with the case.
        form: ``person``, ``choice`` (``score``, ``skip``, ``tie``, or the number of the better response in the order
            shown, from 0), for scores ``score-0``, ``score-1``, ... in this order, ``note``, and ``blind`` (``1``).
        criterion: The criterion that was decided about. Empty: the whole principle.

    Raises:
        ConfigError: the form is not complete; the message says what to do.
    """
    person, choice, case = person_of(form.get("person", "")), form.get("choice", ""), record.case
    order = shown_order(case, person)
    note = form.get("note", "").strip().replace("\r\n", "\n")
    if len(note) > MAX_NOTE:
        raise ConfigError(f"The note has {len(note):,} characters, and {MAX_NOTE:,} are allowed.")
    scores: dict[str, float] = {}
    winner = None
    if choice == "score":
        scores = {label: _score(form.get(f"score-{place}", ""), place) for place, label in enumerate(order)}
    elif choice == TIE and TIE in order:
        raise ConfigError(f"A response has the label {TIE!r}, so a tie would mean it; give scores instead.")
    elif choice == TIE and len(order) > 1:
        winner = TIE
    elif choice.isdecimal() and len(order) > 1 and int(choice) < len(order):
        winner = order[int(choice)]
    elif choice != "skip":
        raise ConfigError("Nothing was decided.", hint="Give a score, a preference, or skip the case.")
    principle_text(case, criterion)
    return Label(
        case=case,
        person=person,
        scores=scores,
        winner=winner,
        criterion=criterion or None,
        note=note.encode("utf-8", "backslashreplace").decode(),
        blind=form.get("blind") == "1",
        shown=order,
        record_id=record.record_id,
    )


def decision_text(label: Label, names: Mapping[str, str] | None = None) -> str:
    """A decision in words.

    Args:
        label: The label.
        names: Label of a response -> how to call it. None: by its label.
    """
    names = names or {}
    if label.scores:
        if len(label.scores) == 1:
            return f"{next(iter(label.scores.values())):g}"
        return ", ".join(f"{names.get(name, name)} {score:g}" for name, score in label.scores.items())
    if label.winner is None:
        return "skipped"
    is_tie = label.winner == TIE and TIE not in label.case.responses
    return "no response is better" if is_tie else f"{names.get(label.winner, label.winner)} is better"


def _named(labels: Sequence[str]) -> list[tuple[str, str]]:
    is_short = len(labels) <= len(NAMES)
    return [(NAMES[place] if is_short else str(place + 1), label) for place, label in enumerate(labels)]


def _score(text: str, place: int) -> float:
    if text not in map(str, SCORES):
        raise ConfigError(f"Response {place + 1} has no score from {SCORES[0]} to {SCORES[-1]}.")
    return float(text)
