"""What a model wrote for a verdict: its replies, and reasons that were requested separately."""

from __future__ import annotations

from dataclasses import dataclass, field

from rewardanything_core.explanations import unmask


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One reply of a judge model: to one pass, or to one sub-list of a pass over a long list."""

    reasoning: str = ""
    """What the model wrote before its scores, with responses under their masked names (``model-1``). Empty: nothing."""

    raw_output: str = ""
    """The whole reply as received."""


@dataclass(frozen=True, kw_only=True)
class Reasons:
    """Reasons for a verdict, written by another model, or separately, after the scores were given."""

    model: str
    """The model that wrote them."""

    text: str = ""
    """The reasons, with responses under their masked names (``model-1``). Empty: there are none; see ``error``."""

    order: list[str] = field(default_factory=list)
    """The labels in the order of the masked names."""

    error: str | None = None
    """Why there are no reasons. None: there are."""

    @property
    def explanation(self) -> str:
        """The reasons for a reader, marked as what they are."""
        if self.error is not None:
            return f"[no reasons: {self.model} failed with {self.error}]"
        return f"[reasons for the given scores, by {self.model}]\n{unmask(self.text, self.order)}"
