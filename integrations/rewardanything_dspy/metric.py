"""One metric for `dspy.Evaluate` and for every optimiser."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import dspy

from rewardanything_core import (
    BaseJudge,
    Case,
    ConfigError,
    InvalidCaseError,
    JudgeFailure,
    Principle,
    RewardAnythingError,
    Rubric,
    Verdict,
)
from rewardanything_dspy.fields import Selector, TextField
from rewardanything_dspy.judging import DEFAULT_MAX_FAILURES, JudgeRunner, Principles
from rewardanything_dspy.scores import DEFAULT_THRESHOLD, NotJudged, PrincipleScore


class NotJudgedError(RewardAnythingError):
    """A row was not judged where the caller accepts only a score or an exception."""


class PrincipleMetric:
    """How well a prediction follows a principle, 0.0..1.0.

    Args:
        principle: A principle, or a list of principles: each is judged separately, and the score is their mean. Under
            a `Rubric` the criteria are judged together, the score is their weighted mean, or 0.0 if a required one is
            missed, and the feedback has the reasoning on each, those that are missed first.
        judge: The judge, or a model string such as ``openai/gpt-5-mini``. None: `default_judge()`, loaded at the first
            judgement and shared by the process.
        prompt: The example's field with the prompt, or a function of the example. None: its input fields.
        response: The prediction's field to judge, or a function of the prediction. None: its only output field. A
            function with a second parameter named ``program_trace`` gets the calls of the program's predictors too, as
            (predictor, inputs, prediction); None where DSPy records none.
        reference: The example's field with a good answer to compare with, or a function. None: there is none.
        threshold: The score, 0.0..1.0, from which a prediction may become a demonstration. None: the optimiser's own
            ``metric_threshold``, or 0.75.
        on_failure: ``leave_out`` returns `NotJudged`, which means exclude the row; ``raise`` raises, and DSPy then
            counts the row as its ``failure_score``, 0.0.
        max_failures: Failed judgements in a row after which the run stops, 1 or more. None: no limit.

    Raises:
        ConfigError: an argument has an invalid value.
        InvalidCaseError: a principle is invalid.
    """

    def __init__(
        self,
        principle: Principles,
        *,
        judge: BaseJudge | str | None = None,
        prompt: Selector = None,
        response: Selector = None,
        reference: Selector = None,
        threshold: float | None = None,
        on_failure: Literal["leave_out", "raise"] = "leave_out",
        max_failures: int | None = DEFAULT_MAX_FAILURES,
    ) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise ConfigError(f"threshold must be within 0..1, as (score - 1) / 4, not {threshold!r}.")
        if on_failure not in ("leave_out", "raise"):
            raise ConfigError(f"on_failure must be 'leave_out' or 'raise', not {on_failure!r}.")
        if isinstance(principle, Mapping) and "criteria" not in principle:
            raise ConfigError("principle must be a text or a list; for a mapping use list(principles.values()).")
        self.principles = Principle.several(principle)
        self.threshold = threshold
        self.on_failure = on_failure
        self._prompt = TextField("prompt", prompt)
        self._response = TextField("response", response)
        self._reference = None if reference is None else TextField("reference", reference)
        self._runner = JudgeRunner(judge, max_failures=max_failures)

    def __call__(
        self,
        gold: dspy.Example,
        pred: dspy.Prediction,
        trace: Any = None,
        pred_name: str | None = None,
        pred_trace: Any = None,  # noqa: ARG002 - part of the call that GEPA makes
        program_trace: Any = None,
    ) -> PrincipleScore | NotJudged | dspy.Prediction | bool:
        """Judge one prediction.

        Args:
            gold: The example.
            pred: The program's prediction for it. None: the program failed.
            trace: The program's trace; DSPy passes it when it selects demonstrations.
            pred_name: The predictor that GEPA wants feedback for.
            pred_trace: Not used.
            program_trace: What GEPA recorded of the program's run, if it has a `dspy.Flex` module; for ``response``.

        Returns:
            With ``pred_name``, ``dspy.Prediction(score=, feedback=)``. With a ``trace`` and a threshold, a bool.
            Otherwise a `PrincipleScore`. In place of all but the first, `NotJudged` if the row makes no case or the
            judge failed.

        Raises:
            NotJudgedError: the row was not judged, and ``on_failure`` is ``raise``.
            JudgeUnavailableError: a field is misspelt or ambiguous, the judge cannot be used, or it failed
                ``max_failures`` times in a row. DSPy does not catch it, so the run stops.
        """
        # For feedback on one predictor, GEPA passes the trace of the whole program as ``trace``.
        score = self._score(gold, pred, trace if program_trace is None and pred_name is not None else program_trace)
        if isinstance(score, NotJudged) and self.on_failure == "raise":
            raise NotJudgedError(f"This prediction was not judged. {score.error}")
        if pred_name is not None:
            return dspy.Prediction(score=score, feedback=score.feedback)
        if trace is not None and self.threshold is not None and isinstance(score, PrincipleScore):
            return bool(score)
        return score

    @property
    def judge(self) -> BaseJudge:
        """The judge; the default judge is loaded if it is needed and not loaded yet."""
        return self._runner.judge

    @property
    def failures(self) -> list[JudgeFailure]:
        """The most recent failures, oldest first; at most 1000."""
        return list(self._runner.failures)

    def __repr__(self) -> str:
        return f"PrincipleMetric({', '.join(repr(principle.text) for principle in self.principles)})"

    def _score(self, gold: dspy.Example, pred: dspy.Prediction, program_trace: Any) -> PrincipleScore | NotJudged:
        try:
            cases = self._cases(gold, pred, program_trace)
        except InvalidCaseError as error:
            failure = JudgeFailure(case_id=None, error_type="InvalidCaseError", message=str(error))
            self._runner.record([failure])
            return NotJudged(failures=(failure,))
        outcomes = self._runner.outcomes(cases)
        verdicts = tuple(outcome for outcome in outcomes if isinstance(outcome, Verdict))
        if len(verdicts) < len(cases):
            return NotJudged(failures=tuple(outcome for outcome in outcomes if isinstance(outcome, JudgeFailure)))
        return PrincipleScore(
            sum(verdict.normalized["0"] for verdict in verdicts) / len(verdicts),
            feedback=feedback_text(self.principles, verdicts),
            verdicts=verdicts,
            threshold=DEFAULT_THRESHOLD if self.threshold is None else self.threshold,
            objective_scores=objective_scores(self.principles, verdicts),
        )

    def _cases(self, gold: dspy.Example, pred: dspy.Prediction, program_trace: Any) -> list[Case]:
        prompt, response = self._prompt.read(gold), self._response.read_response(pred, program_trace)
        reference = None if self._reference is None else self._reference.read(gold)
        return [Case(principle, prompt, {"0": response}, reference) for principle in self.principles]


def objective_scores(principles: Sequence[Principle], verdicts: Sequence[Verdict]) -> dict[str, float]:
    """The score under each principle, and for a rubric under each criterion; empty if there is only one.

    Args:
        principles: The principles. One without a name is ``principle``; equal names are numbered.
        verdicts: The verdict under each of them.

    Returns:
        Name -> score, 0.0..1.0. With several principles, the name of a rubric's criterion is ``rubric.criterion``.
    """
    scores: dict[str, float] = {}
    for principle, verdict in zip(principles, verdicts, strict=True):
        name = principle.name or "principle"
        prefix = f"{name}." if len(principles) > 1 else ""
        of_criteria = {f"{prefix}{criterion}": each for criterion, each in verdict.criteria.items()}
        for objective, each in (of_criteria or {name: verdict}).items():
            scores[_unused(objective, scores)] = each.normalized["0"]
    return scores if len(scores) > 1 else {}


def _unused(name: str, names: Mapping[str, float]) -> str:
    """The name, with a number if it is one of the names."""
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return name if name not in names else next(one for one in numbered if one not in names)


def feedback_text(principles: Sequence[Principle], verdicts: Sequence[Verdict]) -> str:
    """Feedback for an optimiser: for each principle, the score and the judge's reasoning.

    Args:
        principles: The principles.
        verdicts: The verdict under each of them.
    """
    return "\n\n".join(map(_feedback, principles, verdicts))


def _feedback(principle: Principle, verdict: Verdict) -> str:
    if verdict.criteria:
        return _rubric_feedback(principle, verdict)
    lines = [f"Score {verdict.scores['0']:.3g} on a scale from 1 to 5 (best) under this principle: {principle.text}"]
    if verdict.reasoning:
        lines.append(f"The judge's reasoning: {verdict.explanation}")
    return "\n".join(lines)


def _rubric_feedback(rubric: Principle, verdict: Verdict) -> str:
    """The score of the whole, then each criterion with its rule, score and reasoning; missed ones first."""
    assert isinstance(rubric, Rubric)
    missed = verdict.missed.get("0", [])
    whole = f"Score {verdict.scores['0']:.3g} on a scale from 1 to 5 (best), the weighted mean of these criteria."
    if missed:
        whole = (
            "Score 1 on a scale from 1 to 5 (best), whatever the other criteria's scores are, since a required "
            f"criterion is missed: {', '.join(missed)}. Correct this first."
        )
    # The jurors' explanations are those of the criteria once more.
    general = "" if verdict.jurors else dataclasses.replace(verdict, criteria={}, missed={}).explanation
    sections = [whole, general] if general else [whole]
    for name in sorted(verdict.criteria, key=lambda name: name not in missed):
        criterion, each = rubric.criteria[name], verdict.criteria[name]
        minimum = f", and at least {criterion.required:.3g} is required" if name in missed else ""
        lines = [f"{name}: score {each.scores['0']:.3g}{minimum}, under this rule: {criterion.full_text}"]
        if each.explanation:
            lines.append(f"The judge's reasoning: {each.explanation}")
        sections.append("\n".join(lines))
    return "\n\n".join(sections)
