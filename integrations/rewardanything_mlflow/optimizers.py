"""Aligning a `PrincipleScorer` with MLflow's own optimizers: MemAlign, SIMBA, GEPA and others of the same interface."""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlflow.entities import Feedback, Trace
from mlflow.genai.judges.base import AlignmentOptimizer, Judge, JudgeField
from pydantic import PrivateAttr

from rewardanything_core import ConfigError, Rubric
from rewardanything_mlflow.labels import WORDS, expectations_of, human_feedback
from rewardanything_mlflow.traces import inputs_and_outputs

if TYPE_CHECKING:
    from rewardanything_mlflow.scorer import PrincipleScorer

_log = logging.getLogger("rewardanything_mlflow")

_FROM_PROGRAM = "_create_judge_from_dspy_program"
"""The method with which MLflow's DSPy optimizers make the judge that scores a candidate. By itself it makes a judge of
``make_judge``, so that candidates would be tried with a judge other than the one they are for."""


def align_with(scorer: PrincipleScorer, optimizer: AlignmentOptimizer, traces: Sequence[Trace]) -> PrincipleScorer:
    """Align a scorer with one of MLflow's optimizers; candidates are scored by the scorer's own judge.

    Unlike `PrincipleOptimizer`, these optimizers do not compare old and new on held-out traces.

    Args:
        scorer: The scorer.
        optimizer: The optimizer.
        traces: Traces with human feedback of the scorer's name.

    Returns:
        A scorer whose principle has the optimizer's instructions as its text; the same scorer if they are unchanged.

    Raises:
        ConfigError: the scorer cannot be aligned, there is no human feedback, or it does not fit the scorer's scale.
        MlflowException: the optimizer failed.
    """
    check_alignable(scorer)
    judge = Candidate.of(scorer, traces)
    if hasattr(optimizer, _FROM_PROGRAM):
        judge.remember(traces)
        optimizer = copy.copy(optimizer)
        setattr(optimizer, _FROM_PROGRAM, _candidate_of_program)
    text = optimizer.align(judge, list(traces)).instructions.strip()
    if text == scorer.principle.text.strip():
        _log.warning("%s is returned as it was: the optimizer proposed no other text.", scorer.name)
        return scorer
    return scorer.with_principle(dataclasses.replace(scorer.principle, text=text))


def check_alignable(scorer: PrincipleScorer) -> None:
    """Refuse scorers whose scores people's feedback on traces cannot correct.

    Raises:
        ConfigError: the scorer has a rubric, judges sessions, or judges candidates.
    """
    if isinstance(scorer.principle, Rubric):
        raise ConfigError("A rubric cannot be aligned as a whole; align a PrincipleScorer for each criterion.")
    if scorer.on == "session":
        raise ConfigError("A scorer on='session' cannot be aligned, since people's feedback is on single traces.")
    if scorer.candidates:
        raise ConfigError("A scorer with candidates=True cannot be aligned; people's feedback is on whole traces.")


class Candidate(Judge):
    """A scorer under other instructions, as MLflow's optimizers see it.

    They compare a judge's value with people's as texts, so the value is the one of people's values that is nearest to
    the score.
    """

    _scorer: Any = PrivateAttr()
    _text: str = PrivateAttr()
    _values: dict[Any, float] = PrivateAttr()
    _traces: dict[Any, Trace] = PrivateAttr(default_factory=dict)

    @classmethod
    def of(cls, scorer: PrincipleScorer, traces: Sequence[Trace]) -> Candidate:
        """The scorer as it is.

        Args:
            scorer: The scorer.
            traces: Traces with the feedback whose values are to be given.

        Raises:
            ConfigError: there is no such feedback, or a value is not on the scorer's scale.
        """
        judge = cls(name=scorer.name)
        judge._scorer, judge._text = scorer, scorer.principle.text
        values = {one.value for trace in traces for one in human_feedback(trace, scorer.name)}
        if not values:
            raise ConfigError(f"There is no human feedback named {scorer.name!r} on these {len(traces)} traces.")
        judge._values = {value: _on_scale(value, scorer) for value in values}
        return judge

    def with_text(self, text: str) -> Candidate:
        """The same scorer under other instructions."""
        other = self.model_copy()
        other._text = text
        return other

    def remember(self, traces: Sequence[Trace]) -> None:
        """Note which trace each example is of, since the texts that optimizers pass have lost parts of it.

        It judges one, so that a judge that cannot be used stops here: optimizers count errors as disagreement.
        """
        from mlflow.genai.judges.optimizers.dspy_utils import trace_to_dspy_example

        for trace in traces:
            for example in trace_to_dspy_example(trace, self):
                self._traces[example.get("inputs"), example.get("outputs")] = trace
        if self._traces and self._scorer.on == "row":
            inputs, outputs = next(iter(self._traces))
            self(inputs=inputs, outputs=outputs)

    @property
    def instructions(self) -> str:
        """The principle's text, or what an optimizer has made of it."""
        return self._text

    @property
    def feedback_value_type(self) -> Any:
        """The type of people's values."""
        return type(next(iter(self._values)))

    @property
    def model(self) -> str:
        """The model of the scorer's judge."""
        judge = self._scorer.judge
        return judge.model if judge is not None else "rewardanything"

    def get_input_fields(self) -> list[JudgeField]:
        """The scorer's."""
        fields: list[JudgeField] = self._scorer.get_input_fields()
        return fields

    def __call__(  # type: ignore[override]  # MLflow passes the arguments that it names
        self, *, inputs: Any = None, outputs: Any = None, expectations: Any = None, trace: Trace | None = None
    ) -> Feedback:
        """Judge one example."""
        known = self._traces.get((inputs, outputs)) if trace is None else None
        if known is not None:
            (inputs, outputs), expectations, trace = inputs_and_outputs(known), expectations_of(known), known
        scorer = self._scorer.with_principle(dataclasses.replace(self._scorer.principle, text=self._text))
        feedback: Feedback = scorer(inputs=inputs, outputs=outputs, expectations=expectations, trace=trace)
        score: Any = feedback.value
        if score is not None:
            feedback.value = min(self._values, key=lambda value: abs(self._values[value] - score))
        return feedback


def _candidate_of_program(optimized_program: Any, original_judge: Candidate) -> Candidate:
    """The judge of a DSPy program: its instructions, after the examples that it keeps."""
    from mlflow.genai.judges.optimizers.dspy_utils import format_demos_as_examples

    examples = format_demos_as_examples(getattr(optimized_program, "demos", []), original_judge)
    parts = [examples, optimized_program.signature.instructions]
    return original_judge.with_text("\n\n".join(part for part in parts if part))


def _on_scale(value: Any, scorer: PrincipleScorer) -> float:
    low, high = scorer.limits
    if isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in WORDS):
        share = float(value) if isinstance(value, bool) else WORDS[value.strip().lower()]
        return low + share * (high - low)
    if isinstance(value, int | float) and low <= value <= high:
        return float(value)
    raise ConfigError(
        f"The feedback {value!r} named {scorer.name!r} is not on the scorer's scale from {low:g} to {high:g}.",
        hint='Booleans and words such as "yes" fit any scale; scale="normalized" is 0 to 1.',
    )
