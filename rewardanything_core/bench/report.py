"""The result of a benchmark run as plain values. The table, the JSON and the page are rendered from these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rewardanything_core.agreement.intervals import CONFIDENCE, Estimate
from rewardanything_core.agreement.pair_probability import Reliability
from rewardanything_core.bench.attack_report import AttackReport
from rewardanything_core.bench.estimates import EstimateReport
from rewardanything_core.bench.labels import LabelReport
from rewardanything_core.bench.measures import JudgedItem, RmBench
from rewardanything_core.bench.worst import wrong_pairs
from rewardanything_core.types import Abstention, JudgeFailure, Usage, Verdict

Figures = dict[str, Estimate]

MAX_FAILED_SHARE = 0.1
"""The share of judgements that may fail; with more, the exit code is 3."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Measurements of one bias of a judge."""

    name: str
    """``length``, ``halo``, ``position``, ``repeat`` or ``injection``."""

    figures: Figures
    """The measurements, by name."""

    judged: int = 0
    """Additional judgements, made or read from the store."""

    failed: int = 0
    """How many of these failed."""

    note: str = ""
    """A remark for the reader. Empty: none."""


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """The result of `run_bench`."""

    judge: dict[str, Any]
    """The judge's fingerprint: model, prompt, readout and every other setting that can change a verdict."""

    model: str
    """The judge model's name."""

    judged: tuple[JudgedItem, ...]
    """Every item with its verdict or failure, in input order."""

    figures: Figures
    """All of `FIGURES` over all items; under rubrics, over their criteria."""

    by_source: dict[str, Figures]
    """``figures`` for each benchmark."""

    by_domain: dict[str, Figures]
    """``figures`` for each domain."""

    by_category: dict[str, Figures]
    """``figures`` for each family of principles."""

    by_criterion: dict[str, Figures]
    """``figures`` for each criterion, of the rows that name one."""

    whole: Figures = field(default_factory=dict)
    """``figures`` of the scores of whole rubrics against the weighted means of people's. Empty: there are none."""

    by_flip: dict[str, Figures]
    """``flip_accuracy`` and ``both_right``, also by ranking, for each pair of criteria."""

    rm_bench: RmBench | None
    """RM-Bench's own figures. None: RM-Bench is not among the items."""

    flips: int
    """Number of flip pairs evaluated."""

    flips_missing: int
    """Flip pairs that refer to a missing item or response, although other items of their group exist."""

    reliability: Reliability | None
    """How well the gap between scores predicts that the judge is right. None: too few groups, or all scores tie."""

    audits: dict[str, Audit] = field(default_factory=dict)
    """The audits by name; ``length`` is always included, and ``halo`` where items have rubrics."""

    labels: LabelReport | None = None
    """Agreement with the user's own labels. None: there are none."""

    estimates: EstimateReport | None = None
    """What people would say about all rows of the user's own, from the labels of some. None: all have labels, or none
    has."""

    attacks: AttackReport | None = None
    """The effect of attacks on scores. None: it was not measured."""

    spent: Usage = field(default_factory=Usage)
    """Usage of this run; verdicts from the store cost nothing."""

    made: Usage = field(default_factory=Usage)
    """Usage of all verdicts and failures of the benchmark when they were made, in this run or before."""

    seconds: float = 0.0
    """Wall time of this run."""

    notes: tuple[str, ...] = ()
    """Remarks for the reader, in sentences."""

    @property
    def by_criterion_and_whole(self) -> dict[str, Figures]:
        """`by_criterion`, followed by `whole` if there is one."""
        return self.by_criterion | ({"whole rubric": self.whole} if self.whole else {})

    @property
    def parts(self) -> tuple[JudgedItem, ...]:
        """What the figures are over: every item, or under a rubric its criteria."""
        return tuple(part for one in self.judged for part in one.parts)

    @property
    def failures(self) -> tuple[JudgeFailure, ...]:
        """The judgements that failed."""
        outcomes = (one.outcome for one in self.judged if not isinstance(one.outcome, Abstention))
        return tuple(outcome for outcome in outcomes if isinstance(outcome, JudgeFailure))

    @property
    def abstained(self) -> int:
        """How many judgements a cascade left to a person; no figure includes them."""
        return sum(isinstance(one.outcome, Abstention) for one in self.judged)

    @property
    def from_store(self) -> int:
        """How many verdicts came from the store."""
        return sum(one.outcome.cached for one in self.judged if isinstance(one.outcome, Verdict))

    @property
    def failed_share(self) -> float:
        """Share of judgements that failed, 0..1, including those of audits and attacks."""
        extra: list[Audit | AttackReport] = [*self.audits.values(), *([self.attacks] if self.attacks else [])]
        failed = len(self.failures) + sum(one.failed for one in extra)
        return failed / max(1, len(self.judged) + sum(one.judged for one in extra))

    @property
    def exit_code(self) -> int:
        """0, or 3 if more than `MAX_FAILED_SHARE` of the judgements failed."""
        return 3 if self.failed_share > MAX_FAILED_SHARE else 0

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types, without the verdicts, which are in the store."""
        return {
            **_plain(self.figures),
            "confidence": CONFIDENCE,
            "by_source": {name: _plain(figures) for name, figures in self.by_source.items()},
            "by_domain": {name: _plain(figures) for name, figures in self.by_domain.items()},
            "by_category": {name: _plain(figures) for name, figures in self.by_category.items()},
            "by_criterion": {name: _plain(figures) for name, figures in self.by_criterion.items()},
            "whole": _plain(self.whole),
            "by_flip": {name: _plain(figures) for name, figures in self.by_flip.items()},
            "rm_bench": self.rm_bench and {
                "overall": _plain(self.rm_bench.overall),
                "domains": {name: _plain(figures) for name, figures in self.rm_bench.domains.items()},
                "matrices": self.rm_bench.matrices,
            },
            "audits": {
                name: {"figures": _plain(a.figures), "judged": a.judged, "failed": a.failed, "note": a.note}
                for name, a in self.audits.items()
            },
            "reliability": self.reliability and _reliability(self.reliability),
            "labels": self.labels and self.labels.to_dict(),
            "estimates": self.estimates and self.estimates.to_dict(),
            "attacks": self.attacks and self.attacks.to_dict(),
            "worst": [pair.to_dict() for pair in wrong_pairs(self.parts)],
            "items": len(self.judged),
            "groups": len({one.item.group for one in self.judged}),
            "flips": self.flips,
            "flips_missing": self.flips_missing,
            "from_store": self.from_store,
            "failed": len(self.failures),
            "abstained": self.abstained,
            "failures": [
                {"id": f.case_id, "error_type": f.error_type, "message": f.message, "record_id": f.record_id}
                for f in self.failures[:20]
            ],
            "failures_by_type": self.failures_by_type,
            "spent": _usage(self.spent),
            "made": _usage(self.made),
            "seconds": self.seconds,
            "model": self.model,
            "judge": self.judge,
            "notes": list(self.notes),
        }  # fmt: skip

    @property
    def failures_by_type(self) -> dict[str, int]:
        """Number of failed judgements by class of error."""
        counts: dict[str, int] = {}
        for failure in self.failures:
            counts[failure.error_type] = counts.get(failure.error_type, 0) + 1
        return counts


def _plain(figures: Figures) -> dict[str, Any]:
    return {name: estimate.to_dict() for name, estimate in figures.items()}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "calls": usage.calls,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "call_seconds": usage.seconds,
        "cost": usage.cost,
    }


def _reliability(found: Reliability) -> dict[str, Any]:
    return {
        "bins": [{"predicted": each.predicted, "observed": each.observed.to_dict()} for each in found.bins],
        "calibration_error": found.calibration_error,
        "brier": found.brier,
        "pairs": found.pairs,
        "slope": found.fitted.slope,
        "noise": found.fitted.noise,
    }
