"""One metric for `dspy.Evaluate` and for every optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import dspy

from rewardanything_core import BaseJudge, Case, ConfigError, JudgeFailure, Principle, RewardAnythingError, Verdict
from rewardanything_dspy.fields import Selector, prompt_of, reference_of, response_of
from rewardanything_dspy.judging import Bench, Principles
from rewardanything_dspy.scores import GOOD_ENOUGH, NotJudged, PrincipleScore


class NotJudgedError(RewardAnythingError):
    """The judge failed where only a score or an exception will do."""


class PrincipleMetric:
    """How well a prediction follows a principle, 0.0..1.0.

    Args:
        principle: One, or several: each is judged on its own, and the score is their mean.
        judge: Who judges. None: `load_judge()`, made at the first judgement and shared by the process.
        prompt: The example's field that was asked, or a function of the example. None: its input fields.
        response: The prediction's field to judge, or a function of the prediction. None: its only output field.
        reference: The example's field with a good answer to compare with, or a function. None: there is none.
        threshold: From which score on, 0.0..1.0, an answer may become a demonstration. None: the optimiser's own
            ``metric_threshold`` decides, or 0.75.
        on_failure: ``leave_out`` returns `NotJudged`, which means leave out; ``raise`` raises, and DSPy then counts the
            row as its ``failure_score``, 0.0.
        max_failures: After how many failed judgements in a row to stop the run. None: never.
    """

    def __init__(
        self,
        principle: Principles,
        *,
        judge: BaseJudge | None = None,
        prompt: Selector = None,
        response: Selector = None,
        reference: Selector = None,
        threshold: float | None = None,
        on_failure: Literal["leave_out", "raise"] = "leave_out",
        max_failures: int | None = 10,
    ) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise ConfigError(f"threshold is on the scale 0..1, as (score - 1) / 4; it cannot be {threshold!r}.")
        if on_failure not in ("leave_out", "raise"):
            raise ConfigError(f"on_failure must be 'leave_out' or 'raise', not {on_failure!r}.")
        self.principles = Principle.several(principle)
        self.threshold = threshold
        self.on_failure = on_failure
        self._select = {"prompt": prompt, "response": response, "reference": reference}
        self._bench = Bench(judge, max_failures=max_failures)

    def __call__(
        self,
        gold: dspy.Example,
        pred: dspy.Prediction,
        trace: Any = None,
        pred_name: str | None = None,
        pred_trace: Any = None,  # noqa: ARG002 - part of the call that GEPA makes
    ) -> PrincipleScore | NotJudged | dspy.Prediction | bool:
        """Judge one prediction.

        Returns:
            With ``pred_name``, as GEPA asks for feedback: ``dspy.Prediction(score=, feedback=)``. With a ``trace``, as
            a bootstrap asks, and a threshold: a bool. Otherwise a `PrincipleScore`. If the judge failed, `NotJudged`
            in the score's place.

        Raises:
            InvalidCaseError: a field is missing or there are several to choose from; the message names them.
            NotJudgedError: the judge failed, and ``on_failure="raise"`` or a bootstrap asked.
            JudgeUnavailableError: it failed ``max_failures`` times in a row, or the settings give no judge.
        """
        score = self._score(gold, pred)
        bootstrapping = trace is not None and pred_name is None
        if isinstance(score, NotJudged) and (bootstrapping or self.on_failure == "raise"):
            raise NotJudgedError(f"This prediction was not judged. {score.error}")
        if pred_name is not None:
            return dspy.Prediction(score=score, feedback=score.feedback)
        if bootstrapping and self.threshold is not None:
            return bool(score)
        return score

    @property
    def judge(self) -> BaseJudge:
        """Who judges; made now if it was not yet."""
        return self._bench.judge

    @property
    def failures(self) -> list[JudgeFailure]:
        """The latest judgements that failed, oldest first; at most 1000."""
        return list(self._bench.failures)

    def __repr__(self) -> str:
        return f"PrincipleMetric({', '.join(repr(principle.text) for principle in self.principles)})"

    def _score(self, gold: dspy.Example, pred: dspy.Prediction) -> PrincipleScore | NotJudged:
        cases = self._cases(gold, pred)
        outcomes = self._bench.outcomes(cases)
        verdicts = tuple(outcome for outcome in outcomes if isinstance(outcome, Verdict))
        if len(verdicts) < len(cases):
            return NotJudged(failures=tuple(outcome for outcome in outcomes if isinstance(outcome, JudgeFailure)))
        return PrincipleScore(
            sum(verdict.normalized["0"] for verdict in verdicts) / len(verdicts),
            feedback=feedback_text(self.principles, verdicts),
            verdicts=verdicts,
            threshold=GOOD_ENOUGH if self.threshold is None else self.threshold,
        )

    def _cases(self, gold: dspy.Example, pred: dspy.Prediction) -> list[Case]:
        prompt = prompt_of(gold, self._select["prompt"])
        response = response_of(pred, self._select["response"])
        reference = reference_of(gold, self._select["reference"])
        return [Case(principle, prompt, {"0": response}, reference) for principle in self.principles]


def feedback_text(principles: Sequence[Principle], verdicts: Sequence[Verdict]) -> str:
    """What an optimiser reads: for each principle, the score under it and the judge's reasoning."""
    return "\n\n".join(map(_feedback, principles, verdicts))


def _feedback(principle: Principle, verdict: Verdict) -> str:
    lines = [f"Score {verdict.scores['0']:.3g} on a scale from 1 to 5 (best) under this principle: {principle.text}"]
    if verdict.reasoning:
        lines.append(f"The judge's reasoning: {verdict.explanation}")
    return "\n".join(lines)
