"""What an alignment found."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from rewardanything_core.agreement.intervals import Estimate


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A proposed text."""

    method: str
    """``examples`` or ``rewrite``."""

    text: str
    """The text."""

    agreement: float
    """Mean agreement on the prompts for selection, 0..1; they were not used to make the proposal."""


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """The best proposal, and how it compares with the text as it was on prompts that nothing else was decided by."""

    text_before: str
    """The text as it was."""

    measure: str
    """What agreement measures."""

    proposals: tuple[Proposal, ...]
    """One per method that found a text other than the given one."""

    best: Proposal | None
    """The proposal that was tested. None: none agreed more than the text as it was on the prompts for selection."""

    selection_before: float
    """Mean agreement of the text as it was on the prompts for selection, 0..1."""

    agreement_before: Estimate
    """Mean agreement of the text as it was on held-out prompts, 0..1."""

    agreement: Estimate
    """The same for the best proposal; without data if there is none. A failed judgement counts as no agreement, so that
    a text that the judge cannot apply is not accepted."""

    gain: Estimate
    """The difference of both, paired by case and resampled by prompt."""

    prompts: tuple[int, int, int]
    """Number of prompts to learn from, for selection, and held out."""

    cases: int
    """Number of labelled cases that were judged."""

    failed: int
    """Number of cases on which the judge failed with the text as it was; they are excluded everywhere."""

    failed_with_best: int
    """Number of held-out cases on which the judge failed with the best proposal."""

    calls: int
    """Number of model calls, of the judge and for rewriting."""

    rewrites: int
    """Number of texts that the reflection model wrote."""

    rewrites_truncated: int
    """Number of these that were cut off at a limit of tokens, and were not used."""

    @property
    def is_better(self) -> bool:
        """Whether the best proposal agrees with people more than the text as it was, beyond chance."""
        return self.gain.low is not None and self.gain.low > 0

    @property
    def text(self) -> str:
        """The text to use: the best proposal if it is better, otherwise the text as it was."""
        return self.best.text if self.best is not None and self.is_better else self.text_before

    def diff(self, before: str = "before", after: str = "after") -> str:
        """The unified diff from the text as it was to the best proposal; empty if there is none.

        Args:
            before: Name of the text as it was.
            after: Name of the proposal.
        """
        if self.best is None:
            return ""
        lines = difflib.unified_diff(
            self.text_before.split("\n"), self.best.text.split("\n"), before, after, lineterm=""
        )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON types."""
        return {
            "accepted": self.is_better,
            "text": self.text,
            "measure": self.measure,
            "best": self.best and dict(vars(self.best)),
            "proposals": [dict(vars(proposal)) for proposal in self.proposals],
            "selection_before": self.selection_before,
            "agreement_before": self.agreement_before.to_dict(),
            "agreement": self.agreement.to_dict(),
            "gain": self.gain.to_dict(),
            "prompts": dict(zip(("learning", "selection", "held_out"), self.prompts, strict=True)),
            "cases": self.cases,
            "failed": self.failed,
            "failed_with_best": self.failed_with_best,
            "calls": self.calls,
            "rewrites": self.rewrites,
            "rewrites_truncated": self.rewrites_truncated,
            "diff": self.diff(),
        }
