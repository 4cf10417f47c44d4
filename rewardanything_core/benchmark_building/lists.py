"""What is to be ranked: prompts with responses, and which principles they are ranked under."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewardanything_core.cases import Case
from rewardanything_core.conversations import Response
from rewardanything_core.conversations.trajectory import response_json
from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.principles import Principle, Rubric
from rewardanything_core.types import Message

_UNDECIDED = "To be decided."  # the principle of a case that has none yet


@dataclass(frozen=True, kw_only=True)
class PromptRow:
    """A prompt with responses to it."""

    id: str
    """Unique among the prompts."""

    prompt: str | tuple[Message, ...]
    """A text, or chat messages."""

    responses: Mapping[str, Response] = field(default_factory=dict)
    """Label -> response. The jury sees no labels."""

    origins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Label -> where a response is from: the ``model`` that wrote it, and how. A given response has none."""

    reference: str | None = None
    """A good answer for the jury to compare with. None: there is none."""

    context: str | None = None
    """Background for the jury, and for models that write responses. None: there is none."""

    @classmethod
    def of_case(cls, case: Case, number: int) -> PromptRow:
        """The row of a case, without its principle.

        Args:
            case: The case.
            number: Its number from 1; the row's id if the case has none.
        """
        return cls(
            id=f"prompt-{number}" if case.id is None else case.id,
            prompt=case.prompt,
            responses=case.responses,
            reference=case.reference,
            context=case.context,
        )

    @classmethod
    def of(cls, value: PromptRow | Mapping[str, Any], number: int) -> PromptRow:
        """A row from a mapping with ``prompt``, and optionally ``responses``, ``id``, ``reference`` and ``context``.

        Args:
            value: The mapping, or a row, which is returned.
            number: Its number from 1, for messages and as its id if it has none.

        Raises:
            InvalidCaseError: a part is missing or invalid; the message names the row.
        """
        if isinstance(value, PromptRow):
            return value
        row = {"id": f"prompt-{number}", **value}
        given = row.pop("responses", None)
        case = Case.of({**row, "principle": _UNDECIDED, "responses": given or ["-"]})
        checked = cls.of_case(case, number)
        return checked if given else dataclasses.replace(checked, responses={})

    def with_responses(self, responses: Mapping[str, Response], origins: Mapping[str, Mapping[str, Any]]) -> PromptRow:
        """The row with further responses.

        Args:
            responses: Label -> response.
            origins: Label -> where it is from.
        """
        return dataclasses.replace(self, responses={**self.responses, **responses}, origins={**self.origins, **origins})

    def distinct(self) -> PromptRow:
        """The row with the first of those responses that are the same."""
        kept: dict[str, str] = {}
        for label, response in self.responses.items():
            kept.setdefault(json.dumps(response_json(response), sort_keys=True), label)
        return dataclasses.replace(self, responses={label: self.responses[label] for label in kept.values()})

    def case(self, principle: Principle, id: str | None = None) -> Case:  # noqa: A002
        """The responses under a principle.

        Args:
            principle: The principle.
            id: The id of the case.
        """
        return Case(principle, self.prompt, self.responses, self.reference, self.context, id)


@dataclass(frozen=True, kw_only=True)
class RankingTask:
    """A prompt's responses, to be ranked under a principle."""

    id: str
    """The principle's key and the prompt's id."""

    key: str
    """The principle's key: its name."""

    row: PromptRow
    """The prompt and its responses."""

    principle: Principle
    """The principle."""

    @property
    def case(self) -> Case:
        """What a juror judges."""
        return self.row.case(self.principle, self.id)


def checked_principles(principles: Iterable[Principle | str]) -> dict[str, Principle]:
    """The principles by their keys: the name, or for those without one ``principle-1`` and so on.

    Raises:
        ConfigError: there is none, two are the same or have one name, or one is a rubric.
    """
    by_key: dict[str, Principle] = {}
    texts: dict[str, str] = {}
    for number, value in enumerate(principles, start=1):
        principle = Principle.of(value)
        key = principle.name or f"principle-{number}"
        if isinstance(principle, Rubric):
            raise ConfigError(
                f"{key!r} is a rubric, and a list of a benchmark is ranked under one principle.",
                hint="Give each criterion as a principle of its own.",
            )
        if key in by_key:
            raise ConfigError(f"Two principles have the name {key!r}; give each a name of its own.")
        text = " ".join(principle.text.split())
        if text in texts:
            raise ConfigError(f"The principles {texts[text]!r} and {key!r} have the same text.")
        by_key[key], texts[text] = principle, key
    if not by_key:
        raise ConfigError("There is no principle to rank by.", hint="Give principles.")
    return by_key


def checked_rows(prompts: Iterable[PromptRow | Mapping[str, Any]]) -> list[PromptRow]:
    """The prompts as rows.

    Raises:
        ConfigError: there is none, one is invalid, or two have the same id.
    """
    try:
        rows = [PromptRow.of(value, number) for number, value in enumerate(prompts, start=1)]
    except InvalidCaseError as error:
        raise ConfigError(error.message) from error
    if not rows:
        raise ConfigError("There are no prompts.")
    twice = [row_id for row_id, count in Counter(row.id for row in rows).items() if count > 1]
    if twice:
        raise ConfigError(f"Two prompts have the id {twice[0]!r}; ids must be unique.")
    return rows


def select_tasks(
    principles: Mapping[str, Principle], rows: Sequence[PromptRow], *, number: int | None, seed: int
) -> list[RankingTask]:
    """All combinations of principles and prompts, or a random selection.

    In a selection each principle occurs equally often, and so does each prompt as far as the number allows.

    Args:
        principles: The principles by their keys.
        rows: The prompts.
        number: How many to select, 1 or more. None, or more than there are: all.
        seed: Seed of the selection.

    Raises:
        ConfigError: the number is less than that of the principles, or two lists would have one id.
    """
    if number is None or number >= len(principles) * len(rows):
        chosen = {key: list(range(len(rows))) for key in principles}
    else:
        if number < len(principles):
            raise ConfigError(
                f"{number} lists are too few for {len(principles)} principles, each of which needs one or more."
            )
        chosen = _balanced(list(principles), len(rows), number, random.Random(f"lists/{seed}"))
    tasks = [
        RankingTask(id=f"{key}/{rows[place].id}", key=key, row=rows[place], principle=principle)
        for key, principle in principles.items()
        for place in sorted(chosen[key])
    ]
    by_id: dict[str, RankingTask] = {}
    for task in tasks:
        if (other := by_id.setdefault(task.id, task)) is not task:
            raise ConfigError(
                f"The principle {other.key!r} with the prompt {other.row.id!r}, and {task.key!r} with {task.row.id!r}, "
                f"would both be the list {task.id!r}.",
                hint="Give principles names without slashes.",
            )
    return tasks


def _balanced(keys: Sequence[str], rows: int, number: int, rng: random.Random) -> dict[str, list[int]]:
    """The prompts of each principle: those that were used least so far, at random among equals."""
    shuffled = rng.sample(keys, len(keys))
    share, extra = divmod(number, len(keys))
    used = [0] * rows
    chosen = {}
    for position, key in enumerate(shuffled):
        order = sorted(range(rows), key=lambda place: (used[place], rng.random()))
        chosen[key] = order[: share + (position < extra)]
        for place in chosen[key]:
            used[place] += 1
    return chosen


def content_hash(value: Any) -> str:
    """A hash of plain JSON, as the card shows it."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
