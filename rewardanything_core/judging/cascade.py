"""The cascade: a cheap judge decides where it is sure, and the next one where it is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rewardanything_core.agreement.confidence import Confidence, confidence_of
from rewardanything_core.backends.base import Backend
from rewardanything_core.cases import Case
from rewardanything_core.errors import (
    AbstainedError,
    AuthenticationError,
    BatchPendingError,
    BudgetExceededError,
    ConfigError,
    MissingExtraError,
    ModelFetchError,
    RewardAnythingError,
    error_from_failure,
)
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.judging.cascade_thresholds import (
    CascadeThresholds,
    Thresholds,
    checked_confidence,
    checked_thresholds,
)
from rewardanything_core.judging.jury import judge_from_spec
from rewardanything_core.judging.members import CompositeJudge, as_judge, outcome_of
from rewardanything_core.judging.observers import Observer, as_observer
from rewardanything_core.types import Abstention, JudgeFailure, StageResult, Usage, Verdict, stages_summary

if TYPE_CHECKING:
    pass

_NOT_ESCALATED = (
    AuthenticationError,
    BatchPendingError,
    BudgetExceededError,
    ConfigError,
    MissingExtraError,
    ModelFetchError,
)
"""Errors of the settings. If they were escalated, a mistyped key would send every case to the most expensive judge."""


class Cascade(CompositeJudge):
    """Judges in order of cost: each decides where it is sure and escalates the other cases to the next one.

    A verdict is that of the stage that decided, whatever the stages before it said; ``Verdict.stages`` has the outcome,
    confidence and threshold of each one asked, and ``usage`` is that of all. A stage that fails escalates. Accepted
    wherever a `Judge` is.

    Each stage keeps its own store, cache and options, and the cascade stores nothing: a stage's verdicts are reused
    under other thresholds, in other cascades and by the judge alone.

    Args:
        stages: Judges, juries, or model strings for `resolve_judge`, the cheapest first; two or more, each only once.
        thresholds: The confidence, 0..1, that each stage but the last needs to decide, and that the last one needs too
            if ``abstain``; None for a stage that never decides, which is not asked. Or the file of ``ra-judge cascade
            fit``. None: not known yet, so it can be fitted and cannot judge.
        confidence: What confidences are computed from; see `confidence_of`. None: that of the file, else ``gap``.
        abstain: Whether cases that the last stage is not sure of, or fails on, are left to a person: an `Abstention`,
            and from `judge` an `AbstainedError`. Otherwise the last stage decides whatever its confidence.
        on_verdict: Observers of the cascade's outcomes; see `JudgeOptions.on_verdict`.

    Raises:
        ConfigError: the arguments contradict each other, a string names no model, or the file's thresholds were fitted
            for other judges.
        AuthenticationError: the key of a model string's provider is missing.
        MissingExtraError: a model string needs a package that is not installed.
    """

    def __init__(
        self,
        stages: Sequence[BaseJudge | str],
        *,
        thresholds: Thresholds | str | Path | None = None,
        confidence: Confidence | None = None,
        abstain: bool = False,
        on_verdict: Sequence[Observer | str] = (),
    ) -> None:
        if isinstance(stages, str):
            raise ConfigError(f"stages must be a list, such as [{stages!r}, ...], not a string.")
        self.observers = tuple(map(as_observer, on_verdict))
        self.stages = tuple(as_judge(stage, "a stage of a cascade") for stage in stages)
        if len(self.stages) < 2 or len({id(stage) for stage in self.stages}) < len(self.stages):
            raise ConfigError("A cascade needs two stages or more, each of them once.")
        self.abstain = abstain
        if isinstance(thresholds, str | Path):
            fitted = CascadeThresholds.load(thresholds)
            if confidence not in (None, fitted.confidence):
                raise ConfigError(f"{thresholds} is for confidence={fitted.confidence!r}, not {confidence!r}.")
            fitted.check(self.stages, str(thresholds))
            thresholds, confidence = fitted.thresholds, fitted.confidence
        self.confidence = checked_confidence(confidence or "gap")
        self.thresholds = None if thresholds is None else checked_thresholds(thresholds, "a cascade")
        if self.thresholds is not None and len(self.thresholds) != self.num_thresholds:
            raise ConfigError(
                f"A cascade of {len(self.stages)} stages {'that may abstain ' if abstain else ''}needs "
                f"{self.num_thresholds} thresholds, not {len(self.thresholds)}."
            )

    @property
    def num_thresholds(self) -> int:
        """The number of stages that may escalate."""
        return len(self.stages) - (not self.abstain)

    async def _judge_case(self, case: Case) -> Verdict:
        """The verdict of the first stage that is sure.

        Raises:
            AbstainedError: none was, and a person is to decide.
            RewardAnythingError: the last stage failed; or an earlier one did because of its settings.
        """
        if self.thresholds is None:
            raise ConfigError(
                "This cascade has no thresholds.",
                hint="Fit them (ra-judge cascade fit LABELS -o FILE, thresholds='FILE'), or give thresholds=[0.9].",
            )
        asked: list[StageResult] = []
        error: RewardAnythingError | None = None
        for place, stage in enumerate(self.stages):
            is_free = place == len(self.thresholds)
            threshold = None if is_free else self.thresholds[place]
            if threshold is None and not is_free:
                continue
            outcome, error = await outcome_of(stage, case)
            confidence = confidence_of(outcome, self.confidence) if isinstance(outcome, Verdict) else None
            decided = confidence is not None and (threshold is None or confidence >= threshold)
            asked.append(
                StageResult(
                    stage=place + 1, outcome=outcome, confidence=confidence, threshold=threshold, decided=decided
                )
            )
            if decided:
                return self._decided(case, asked)
            if isinstance(error, _NOT_ESCALATED):
                break
        raise self._undecided(case, asked, error)

    def _decided(self, case: Case, asked: list[StageResult]) -> Verdict:
        outcomes = [stage.outcome for stage in asked]
        verdict = outcomes[-1]
        assert isinstance(verdict, Verdict)
        return dataclasses.replace(
            verdict,
            stages=asked,
            usage=sum((outcome.usage for outcome in outcomes), Usage()),
            cached=all(isinstance(outcome, Verdict) and outcome.cached for outcome in outcomes),
            case_id=case.id,
            model=self.model,
        )

    def _undecided(
        self, case: Case, asked: list[StageResult], error: RewardAnythingError | None
    ) -> RewardAnythingError:
        """The error of a case that no stage decided: a new one, since other callers may be waiting for a stage's."""
        outcomes = [stage.outcome for stage in asked]
        new = [outcome for outcome in outcomes if isinstance(outcome, JudgeFailure) or not outcome.cached]
        common: dict[str, Any] = {
            "case_id": case.id,
            "usage": sum((outcome.usage for outcome in new), Usage()),
            "model": self.model,
            "stages": asked,
        }
        if self.abstain and not isinstance(error, _NOT_ESCALATED):
            asked_any = stages_summary(asked) if asked else "No stage may decide."
            message = f"No judge was sure enough, so a person is to decide. {asked_any}"
            return error_from_failure(Abstention(error_type=AbstainedError.__name__, message=message, **common))
        failure = outcomes[-1]
        assert error is not None
        assert isinstance(failure, JudgeFailure)
        own = error_from_failure(
            dataclasses.replace(failure, message=f"[{stages_summary(asked)}] {failure.message}", **common)
        )
        own.__dict__ = {**error.__dict__, **own.__dict__}
        own.__cause__ = error
        return own

    # --- properties and copies

    @property
    def members(self) -> Sequence[BaseJudge]:
        """The stages."""
        return self.stages

    @property
    def model(self) -> str:
        """The stages' models: ``cascade(one, other)``."""
        return f"cascade({', '.join(stage.model for stage in self.stages)})"

    def fingerprint(self) -> dict[str, Any]:
        """Everything except the case that affects a verdict, as plain JSON. Equal fingerprints judge alike."""
        return {"stages": [stage.fingerprint() for stage in self.stages], **self._own_settings()}

    def with_thresholds(self, thresholds: Thresholds | str | Path) -> Cascade:
        """The cascade with other thresholds.

        Args:
            thresholds: See `Cascade`.
        """
        is_file = isinstance(thresholds, str | Path)
        return Cascade(
            self.stages,
            thresholds=thresholds,
            confidence=None if is_file else self.confidence,
            abstain=self.abstain,
            on_verdict=self.observers,
        )

    def spec(self) -> dict[str, Any]:
        """This cascade as plain JSON, for `from_spec` or ``load_judge(spec)`` in another process. Never holds a key."""
        return {
            "stages": [stage.spec() for stage in self.stages],
            **self._own_settings(),
            **self._limits_in_spec(),
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], *, backends: dict[str, Backend] | None = None) -> Self:
        """The cascade that `spec` describes; stages with the same model share it.

        Args:
            spec: What `spec` returned.
            backends: See `Judge.from_spec`.

        Raises:
            ConfigError: it is not the spec of a cascade.
        """
        backends = {} if backends is None else backends
        try:
            stages = [judge_from_spec(stage, backends=backends) for stage in spec["stages"]]
            own = {name: spec[name] for name in ("thresholds", "confidence", "abstain")}
            cascade = cls(stages, **own)
            return cascade._with_limits_of(spec)
        except (KeyError, TypeError) as error:
            raise ConfigError(f"This is not the spec of a cascade: {error!r}.") from error

    def __repr__(self) -> str:
        return f"Cascade({list(self.stages)!r}, thresholds={self.thresholds}, abstain={self.abstain})"

    def _own_settings(self) -> dict[str, Any]:
        return {
            "thresholds": None if self.thresholds is None else list(self.thresholds),
            "confidence": self.confidence,
            "abstain": self.abstain,
        }

    def _of(self, members: Sequence[BaseJudge]) -> Self:
        return type(self)(members, **self._own_settings(), on_verdict=self.observers)
