"""Telling the failure of a case from a judge that cannot judge any: its settings are wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, TypeAlias, TypeVar

from rewardanything_core.errors import SETUP_ERRORS, InvalidCaseError, error_from_failure
from rewardanything_core.types import JudgeFailure, Verdict

Item = TypeVar("Item")
Outcome: TypeAlias = Verdict | JudgeFailure

ENOUGH = 50
"""Set-up failures in a row after which a run stops. Large enough that some rows may be refused for what they contain;
small enough that a wrong key is reported at once, since an endpoint serves 64 requests at a time."""

_MOST_HELD = 5_000
"""Rows that are held back at most, including those that need no verdict."""


def is_setup_failure(failure: JudgeFailure) -> bool:
    """Whether the fault lies in the settings, such as the key or the model's name, and not in the case."""
    return isinstance(error_from_failure(failure), SETUP_ERRORS)


def raise_if_unusable(failures: Sequence[JudgeFailure]) -> None:
    """Raise the judge's own error if the settings are at fault.

    Args:
        failures: The outcomes of all the cases, none of which has a verdict.

    Raises:
        RewardAnythingError: every one is a set-up failure.
    """
    if failures and all(map(is_setup_failure, failures)):
        raise error_from_failure(failures[0])


class UnusableJudgeDetector(Generic[Item]):
    """Holds set-up failures back until a case is judged, and raises the judge's error if none is.

    Rows that fail because of a wrong key are therefore not recorded as failed, and the same command continues with them
    once the key is right. Verdicts from the store, and rows that make no case, do not show that the judge works.
    Outcomes leave in the order in which they came.
    """

    def __init__(self) -> None:
        self._held: list[tuple[Item, Outcome | None]] = []
        self._failures: list[JudgeFailure] = []
        self._works = False

    def add(self, item: Item, outcome: Outcome | None) -> Iterator[tuple[Item, Outcome | None]]:
        """Add an outcome, and yield what is no longer held back.

        Args:
            item: What was judged.
            outcome: Its outcome. None: it needed no judge.

        Raises:
            RewardAnythingError: `ENOUGH` cases in a row had set-up failures.
        """
        self._held.append((item, outcome))
        is_stored = isinstance(outcome, Verdict) and outcome.cached
        is_invalid = isinstance(outcome, JudgeFailure) and outcome.error_type == InvalidCaseError.__name__
        if isinstance(outcome, JudgeFailure) and is_setup_failure(outcome):
            self._failures.append(outcome)
            if len(self._failures) >= ENOUGH:
                raise error_from_failure(self._failures[0])
        elif not (outcome is None or is_stored or is_invalid) or not self._failures or len(self._held) > _MOST_HELD:
            self._works = self._works or (isinstance(outcome, Verdict) and not is_stored)
            yield from self._release()

    def finish(self) -> Iterator[tuple[Item, Outcome | None]]:
        """Yield what is still held back.

        Raises:
            RewardAnythingError: cases had set-up failures, and none was judged.
        """
        if not self._works:
            raise_if_unusable(self._failures)
        yield from self._release()

    def _release(self) -> Iterator[tuple[Item, Outcome | None]]:
        held, self._held, self._failures = self._held, [], []
        yield from held
