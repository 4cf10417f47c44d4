"""What is aligned: labelled cases, and a judge whose agreement with the labels depends on a text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rewardanything_core.types import JudgeFailure

MIN_PROMPTS = 20
"""The least number of labelled prompts. Half of them are held out, and with fewer than ten no gain is beyond chance."""

MAX_TEXT = 12_000
"""The longest text that is proposed, in characters. Every judgement reads it."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The judge's reply to one case, compared with people's labels."""

    agreement: float | None
    """Agreement with the labels of the case, 0..1. None: the judgement failed."""

    record: Mapping[str, str]
    """Title -> text: the case, the judge's reply and people's labels, for the model that rewrites the text."""

    calls: int = 1
    """Number of model calls that the judgement took when it was made."""

    failure: JudgeFailure | None = None
    """Why there is no agreement."""


class AlignmentTask(ABC):
    """Labelled cases, numbered from 0, and a judge whose text is to be rewritten."""

    text: str
    """The text as it is."""

    groups: Sequence[str]
    """The prompt of each case; cases of one prompt are never split."""

    measure: str
    """What `Evaluation.agreement` measures, as a noun phrase for reports."""

    calls_per_case: int = 1
    """Number of model calls that a judgement is expected to take."""

    on_judged: Callable[[], None]
    """Called by `evaluate` after each judgement."""

    @property
    @abstractmethod
    def calls(self) -> int:
        """Number of model calls so far."""

    @abstractmethod
    def num_cached(self, text: str) -> int:
        """Number of cases that cost no call with this text."""

    @abstractmethod
    def evaluate(self, text: str, cases: Sequence[int]) -> list[Evaluation]:
        """Judge cases with a text, in the order given.

        Args:
            text: The text; one that `prepared` returned.
            cases: Numbers of cases.
        """

    @abstractmethod
    def worked_example(self, case: int) -> str | None:
        """The case with people's judgement, to append to the text. None: it cannot be an example."""

    def prepared(self, text: str) -> str | None:
        """A proposed text in the form in which the judge takes it. None: it cannot be used."""
        text = text.strip()
        try:
            text.encode()
        except UnicodeEncodeError:
            return None
        return text if 0 < len(text) <= MAX_TEXT else None
