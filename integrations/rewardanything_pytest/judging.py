"""What both assertions do: take cases, ask the judge, look again, and give up where the judge failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import pytest

from rewardanything_core import (
    BaseJudge,
    Case,
    ConfigError,
    InvalidCaseError,
    JudgeFailure,
    Principle,
    RewardAnythingError,
    Usage,
)
from rewardanything_pytest import wording
from rewardanything_pytest.plugin import NOTES
from rewardanything_pytest.tally import Notes

Prompt = str | Sequence[Mapping[str, Any]]
Principles = Principle | str | Sequence[Principle | str]
Row = dict[str, Any]
"""A response with all that belongs to it, as `check` takes it."""

FRESH_PASSES = 4
"""Second looks are the mean of so many passes or more; they are only paid for where a test would fail."""


class NotJudgedError(Exception):
    """The judge failed, so nothing is known about the responses. No AssertionError: they may be fine."""

    __module__ = "rewardanything_pytest"  # as it is imported, and as reports will show it


class Assertion:
    """An assertion in one test."""

    def __init__(self, item: pytest.Item, judge: Callable[[], BaseJudge]) -> None:
        self.item = item
        self._get_judge = judge
        self.verbose = item.config.get_verbosity() > 1

    @property
    def judge(self) -> BaseJudge:
        """The judge of the fixture ``judge``."""
        judge = self._get_judge()
        if not isinstance(judge, BaseJudge):
            raise TypeError(
                f"The fixture 'judge' gives a {type(judge).__name__}, and assertions need a Judge or Jury: "
                f"let your own fixture return one, or give it another name."
            )
        return judge

    @property
    def notes(self) -> Notes:
        """Where to note what the summary tells."""
        notes: Notes = self.item.stash.setdefault(NOTES, Notes())
        return notes

    def note(self, model: str, *, judged: int, failed: int, usage: Usage) -> None:
        """Note what was judged."""
        notes = self.notes
        notes.model = model
        notes.judged += judged
        notes.failed += failed
        notes.usage += usage

    def give_up(self, failures: Sequence[JudgeFailure], *, of: int, then: str = "") -> NoReturn:
        """Fail, or skip, because the judge did."""
        __tracebackhide__ = True
        message = wording.not_judged(failures, of=of, then=then, verbose=self.verbose)
        if self.item.config.getoption("--ra-judge-failures") == "skip":
            pytest.skip(message)
        raise NotJudgedError(message) from None

    def give_up_on(self, error: RewardAnythingError) -> NoReturn:
        """The same for an error that is not a single judgement's; one of the settings is raised as it is."""
        __tracebackhide__ = True
        if isinstance(error, InvalidCaseError | ConfigError):
            raise error
        self.note("", judged=0, failed=1, usage=Usage())
        self.give_up([JudgeFailure(case_id=None, error_type=type(error).__name__, message=str(error))], of=1)


def resampled(judge: BaseJudge) -> BaseJudge:
    """The judge for a second look."""
    return judge.resampled().with_balanced_passes(FRESH_PASSES)


def rows_of(item: pytest.Item, responses: Any, prompts: Any, references: Any, contexts: Any) -> list[Row]:
    """One row for each response, with what belongs to it."""
    if isinstance(responses, str):
        return [_row(item.nodeid, responses, prompts, references, contexts)]
    responses = list(responses)
    if not responses:
        raise ValueError("There are no responses to judge.")
    one_chat = not isinstance(prompts, str) and all(isinstance(each, Mapping) for each in prompts)
    prompts = [prompts] * len(responses) if one_chat else _each(prompts, len(responses), "prompts")
    about = _each(references, len(responses), "references"), _each(contexts, len(responses), "contexts")
    return [
        _row(f"{item.nodeid} #{i}", *row) for i, row in enumerate(zip(responses, prompts, *about, strict=True), start=1)
    ]


def _row(key: str, response: str, prompt: Any, reference: str | None, context: str | None) -> Row:
    case = Case("-", prompt, [response], reference, context, key)  # refuses what cannot be judged
    return {"id": key, "prompt": case.prompt, "response": response, "reference": reference, "context": context}


def _each(value: Any, number: int, what: str) -> list[Any]:
    if value is None or isinstance(value, str):
        return [value] * number
    values = list(value)
    if len(values) != number:
        raise ValueError(f"There are {number} responses and {len(values)} {what}; give one for all, or one for each.")
    return values
