"""What both assertions share: their rows, the judge, the second look, and what happens when the judge fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, NoReturn

import pytest

from rewardanything_core import (
    BaseJudge,
    Case,
    InvalidCaseError,
    JudgeFailure,
    Principle,
    RewardAnythingError,
    Usage,
)
from rewardanything_core.cases import as_responses
from rewardanything_core.conversations.trajectory import response_json
from rewardanything_core.errors import SETUP_ERRORS, error_from_failure
from rewardanything_pytest import messages
from rewardanything_pytest.tally import NOTES, Notes

Prompt = str | Sequence[Mapping[str, Any]]
Principles = Principle | str | Sequence[Principle | str]
Row = dict[str, Any]
"""A response with its prompt, reference, context and id, as `rewardanything_core.gate.check` takes it."""

SECOND_LOOK_PASSES = 4
"""The score of a second look is the mean of at least so many passes. They are only paid for where a test would fail."""


class NotJudgedError(Exception):
    """The judge failed, so nothing is known about the responses. Not an AssertionError: they may be fine."""

    __module__ = "rewardanything_pytest"  # as it is imported, and as reports show it


class Assertion:
    """An assertion in one test.

    Args:
        item: The test.
        get_judge: Returns the value of the fixture ``judge``.
    """

    def __init__(self, item: pytest.Item, get_judge: Callable[[], BaseJudge]) -> None:
        self.item = item
        self._get_judge = get_judge
        self.verbose = item.config.get_verbosity() > 1

    @property
    def judge(self) -> BaseJudge:
        """The judge of the fixture ``judge``."""
        judge = self._get_judge()
        if not isinstance(judge, BaseJudge):
            raise TypeError(
                f"The fixture 'judge' returns a {type(judge).__name__}, and assertions need a Judge or Jury: "
                f"let your own fixture return one, or give it another name."
            )
        return judge

    @property
    def notes(self) -> Notes:
        """The test's notes for the summary."""
        notes: Notes = self.item.stash.setdefault(NOTES, Notes())
        return notes

    def note(self, model: str, *, judged: int, failed: int, usage: Usage) -> None:
        """Add judgements to the notes.

        Args:
            model: The name of the judge's model.
            judged: Number of verdicts.
            failed: Number of judgements that failed.
            usage: What they cost.
        """
        notes = self.notes
        notes.model = model
        notes.judged += judged
        notes.failed += failed
        notes.usage += usage

    def not_judged(self, failures: Sequence[JudgeFailure], *, total: int, when: str = "") -> NoReturn:
        """Fail or skip the test because judgements failed. It is not skipped if the settings must be corrected.

        Args:
            failures: The failed judgements, 1 or more.
            total: Number of all judgements.
            when: In which step, to complete the message.
        """
        __tracebackhide__ = True
        message = messages.not_judged(failures, total=total, when=when, verbose=self.verbose)
        unusable = any(isinstance(error_from_failure(failure), SETUP_ERRORS) for failure in failures)
        if self.item.config.getoption("--ra-judge-failures") == "skip" and not unusable:
            pytest.skip(message)
        raise NotJudgedError(message) from None

    def not_judged_because(self, error: RewardAnythingError) -> NoReturn:
        """Fail or skip the test because the whole batch failed; errors of the test or of the settings are raised."""
        __tracebackhide__ = True
        if isinstance(error, (InvalidCaseError, *SETUP_ERRORS)):
            raise error
        self.note("", judged=0, failed=1, usage=Usage())
        self.not_judged([JudgeFailure(case_id=None, error_type=type(error).__name__, message=str(error))], total=1)


def resampled(judge: BaseJudge) -> BaseJudge:
    """The judge of a second look."""
    return judge.resampled().with_balanced_passes(SECOND_LOOK_PASSES)


def principles_of(value: Principles) -> tuple[Principle, ...]:
    """One principle, or several, as a tuple.

    Raises:
        InvalidCaseError: the value is neither.
    """
    return Principle.several(value if isinstance(value, Principle | str) else listed(value, "principle"))


def listed(value: Iterable[Any], what: str) -> list[Any]:
    """The items of a list.

    Args:
        value: The list, or any other iterable with an order.
        what: The name of the argument, for the message.

    Raises:
        InvalidCaseError: it is a mapping or a record, which would be judged by its keys or fields, or a set, which has
            no order; or it cannot be iterated.
    """
    is_record = any(hasattr(value, name) for name in ("keys", "model_fields", "_fields"))  # predictions, data frames
    if is_record or isinstance(value, Mapping | Set | bytes | bytearray) or not isinstance(value, Iterable):
        hint = "; for the values of a mapping use list(mapping.values())" if isinstance(value, Mapping) else ""
        raise InvalidCaseError(f"{what} must be a text or a list, not {type(value).__name__}{hint}.", field=what)
    return list(value)


def rows_of(
    item: pytest.Item, responses: Any, prompts: Any, references: Any, contexts: Any, *, what: str = "response"
) -> list[Row]:
    """One row for each response.

    Args:
        item: The test; its node id becomes part of the rows' ids.
        responses: A response, which is a text or an agent's messages, or a list of responses.
        prompts: A prompt for all responses, or a list with one for each.
        references: A text for all responses, a list with one for each, or None.
        contexts: The same.
        what: The name of the responses' argument, for messages.

    Raises:
        InvalidCaseError: one of them has a wrong type, or a response cannot be judged.
        ValueError: there are no responses, or a list has another length.
    """
    if is_single(responses):
        return [_row(item.nodeid, responses, prompts, references, contexts)]
    responses = listed(responses, what)
    if not responses:
        raise ValueError("There are no responses to judge.")
    prompts = prompts if isinstance(prompts, str) else listed(prompts, "prompt")
    one_chat = not isinstance(prompts, str) and all(isinstance(message, Mapping) for message in prompts)
    columns = [
        [prompts] * len(responses) if one_chat else _one_each(prompts, len(responses), "prompt"),
        _one_each(references, len(responses), "reference"),
        _one_each(contexts, len(responses), "context"),
    ]
    return [_row(f"{item.nodeid} #{i}", *row) for i, row in enumerate(zip(responses, *columns, strict=True), start=1)]


def with_responses(rows: Sequence[Row], responses: Any, *, what: str) -> list[Row]:
    """The rows with other responses in place of theirs.

    Args:
        rows: The rows.
        responses: A response, or a list with one for each row.
        what: The name of the responses' argument, for messages.

    Raises:
        InvalidCaseError: a response cannot be judged.
        ValueError: there are more or fewer responses than rows.
    """
    given = as_responses(responses) if is_single(responses) else listed(responses, what)
    if len(given) != len(rows):
        raise ValueError(f"There are {len(rows)} candidates and {len(given)} {what}s.")
    return [
        _row(row["id"], response, row["prompt"], row["reference"], row["context"])
        for row, response in zip(rows, given, strict=True)
    ]


def is_single(responses: Any) -> bool:
    """Whether an argument is one response, and not a list of them."""
    return as_responses(responses) is not responses


def _row(key: str, response: Any, prompt: Any, reference: str | None, context: str | None) -> Row:
    case = Case("-", prompt, {"response": response}, reference, context, key)  # raises InvalidCaseError
    plain = response_json(case.responses["response"])
    return {"id": key, "prompt": case.prompt, "response": plain, "reference": reference, "context": context}


def _one_each(value: Any, number: int, what: str) -> list[Any]:
    if value is None or isinstance(value, str):
        return [value] * number
    values = listed(value, what)
    if len(values) != number:
        raise ValueError(f"There are {number} responses and {len(values)} {what}s; give one for all, or one for each.")
    return values
