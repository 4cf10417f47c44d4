"""The result of fitting a cascade's thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from rewardanything_core.agreement.intervals import Estimate
from rewardanything_core.agreement.same_decision import AgreementRule
from rewardanything_core.agreement.selective import SelectiveFit, as_optional
from rewardanything_core.judging.cascade import Cascade
from rewardanything_core.judging.cascade_thresholds import CascadeThresholds, judge_hash

Against: TypeAlias = Literal["people", "last"]
"""Whose decisions the cascade is to agree with: people's labels, or the verdicts of its last stage."""

CostUnit: TypeAlias = Literal["dollars", "seconds", "escalations"]
"""Unit of costs, the first of these that is known: US dollars; seconds of the models' time; or cases that the last
stage judges, where the others count nothing."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """What a cascade would do with some thresholds, over all labelled items."""

    thresholds: tuple[float | None, ...]
    """The confidence that each stage needs to decide; None: it never decides."""

    coverage: float
    """Share of items that are decided without escalation to the end, 0..1."""

    agreement: Estimate
    """Share of those that agree with the labels."""

    cost: float
    """Cost of a thousand rows, in `CascadeFit.cost_unit`."""

    chosen: bool
    """Whether these are the fitted thresholds."""


@dataclass(frozen=True, kw_only=True)
class StageFigures:
    """One stage judging alone."""

    model: str
    """The judge's model."""

    agreement: Estimate
    """Share of its verdicts that agree with the labels. No data: its verdicts are the labels, or it was not asked."""

    cost: float
    """Cost of a thousand rows, in `CascadeFit.cost_unit`."""

    failed: int
    """Number of items on which it failed."""


@dataclass(frozen=True, kw_only=True)
class CascadeFit:
    """Fitted thresholds, and the trade-off that they were chosen from."""

    cascade: Cascade
    """The cascade with the thresholds."""

    test: SelectiveFit
    """The tests that support them."""

    alpha: float
    """Greatest acceptable share of disagreement among what is decided without escalation."""

    delta: float
    """Greatest acceptable probability that the share is larger after all."""

    against: Against
    """Whose decisions the labels are."""

    rule: AgreementRule
    """What counts as agreement."""

    items: int
    """Number of items with labels."""

    groups: int
    """Number of their prompts. One item of each enters the tests."""

    unlabelled: int
    """Number of items without a label under `rule`, or that the last stage failed on if it gives the labels."""

    stages: tuple[StageFigures, ...]
    """Each stage alone."""

    curve: tuple[CurvePoint, ...]
    """From little coverage to much."""

    cost_unit: CostUnit
    """Unit of all costs."""

    notes: tuple[str, ...]
    """What limits the guarantee, as far as it is known."""

    @property
    def passed(self) -> bool:
        """Whether any stage may decide. If not, every case goes to the last stage, or to a person."""
        return self.test.passed

    @property
    def chosen(self) -> CurvePoint | None:
        """The point of the fitted thresholds. None: none passed."""
        return next((point for point in self.curve if point.chosen), None)

    def thresholds(self) -> CascadeThresholds:
        """The thresholds with what `CascadeThresholds.check` needs."""
        assert self.cascade.thresholds is not None
        return CascadeThresholds(
            thresholds=self.cascade.thresholds,
            confidence=self.cascade.confidence,
            judges=tuple(map(judge_hash, self.cascade.stages)),
            needs_last=self.against == "last",
            card={name: value for name, value in self.to_dict().items() if name not in ("thresholds", "curve")},
        )

    def to_dict(self) -> dict[str, Any]:
        """The fit as plain JSON types."""
        assert self.cascade.thresholds is not None
        names = ("passed", "alpha", "delta", "against", "rule", "items", "groups", "unlabelled", "cost_unit", "notes")
        return {
            "thresholds": list(self.cascade.thresholds),
            "confidence": self.cascade.confidence,
            **{name: getattr(self, name) for name in names},
            "pilot": self.test.pilot,
            "tested": self.test.tested,
            "tests": [{**vars(each), "thresholds": list(as_optional(each.thresholds))} for each in self.test.tests],
            "stages": [{**vars(stage), "agreement": stage.agreement.to_dict()} for stage in self.stages],
            "curve": [{**vars(point), "agreement": point.agreement.to_dict()} for point in self.curve],
        }
