"""Evaluators as plain functions of inputs and outputs, for LangSmith, openevals and agentevals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from rewardanything_core import (
    BaseJudge,
    Case,
    ConfigError,
    InvalidCaseError,
    JudgeFailure,
    Message,
    Principle,
    Rubric,
    Verdict,
)
from rewardanything_core.conversations import Response
from rewardanything_core.errors import JudgeUnavailableError
from rewardanything_langchain.judging import Outcome, Principles, RowJudge, failure_of, failure_text
from rewardanything_langchain.keys import criterion_keys, feedback_keys
from rewardanything_langchain.texts import (
    Selector,
    SelectorError,
    prompt_of,
    response_of,
    row_of,
    select,
    split_conversation,
    text_of,
)

if TYPE_CHECKING:
    from langsmith.evaluation.evaluator import ComparisonEvaluationResult
    from langsmith.schemas import Example, Run

ScoreScale: TypeAlias = Literal["normalized", "raw"]
"""``normalized``: 0.0..1.0. ``raw``: 1.0..5.0."""


class Evaluator(Protocol):
    """The type of the functions that `principle_evaluator` returns."""

    __name__: str
    __qualname__: str

    def __call__(self, inputs: Any = None, outputs: Any = None, reference_outputs: Any = None) -> Any:
        """Judge one output: ``{"key", "score", "comment", "metadata"}``, or a list for several principles or a rubric.

        Args:
            inputs: What the outputs answer; or LangSmith's run. None: the outputs are a conversation, and its first
                message of the user is the prompt.
            outputs: The output to judge; with a run, its example.
            reference_outputs: A good output to compare with. None: there is none.
        """


def principle_evaluator(
    principle: Principles,
    *,
    judge: BaseJudge | str | None = None,
    key: str | None = None,
    scale: ScoreScale = "normalized",
    prompt: Selector = None,
    response: Selector = None,
    reference: Selector = None,
    use_reference: bool = False,
    asynchronous: bool = False,
) -> Evaluator:
    """A function ``(inputs, outputs, reference_outputs) -> {"key", "score", "comment", "metadata"}``.

    Under a rubric it returns a list: the result of the whole, and one for each criterion, named ``key.criterion``, from
    one judgement. LangSmith stores a list as ``{"results": [...]}``.

    It works in ``langsmith.evaluate(evaluators=[...])`` and wherever an openevals or agentevals evaluator does. An
    output that could not be judged has the score None, which LangSmith leaves out of averages, and the reason as its
    comment. The function raises `JudgeUnavailableError` where no row can be judged: there is no judge, it cannot be
    used with its settings, or a selector has not fitted any row so far.

    Args:
        principle: A principle or rubric, or several: then the function returns a list with a result for each.
        judge: The judge, or a model string. None: the process's default judge, loaded when first needed.
        key: The feedback's name. None: the principle's name, else ``principle``; numbered if several have none.
        scale: ``normalized``, 0.0..1.0, or ``raw``, 1.0..5.0.
        prompt: The key of ``inputs`` with the prompt, or a function of them. None: the only one, or all of them.
        response: The key of ``outputs`` to judge, or a function of them. None: the only one, or all of them.
        reference: The same for ``reference_outputs``.
        use_reference: Whether the judge sees the reference, where there is one.
        asynchronous: Whether to return a coroutine function, as openevals' asynchronous simulations need one.

    Raises:
        ConfigError: the scale or the judge is invalid.
        InvalidCaseError: a principle is invalid, or several have the same name.
    """
    if scale not in ("normalized", "raw"):
        raise ConfigError(f"scale must be 'normalized' or 'raw', not {scale!r}.")
    principles = Principle.several(principle)
    several = not isinstance(principle, Principle | str) or isinstance(principle, Rubric)
    keys = feedback_keys(principles, key)
    row_judge = RowJudge(judge)
    fields = _FieldSelectors(prompt=prompt, response=response, reference=reference)

    def cases_of(*row: Any) -> list[Case] | JudgeFailure:
        try:
            inputs, outputs, reference_outputs = row_of(*row)
            prompt, response = fields.prompt_and_response(inputs, outputs)
            reference = fields.select("reference", reference_outputs, "reference_outputs") if use_reference else None
            reference_text = None if reference is None else text_of(reference, "reference")
            return [Case(one, prompt, {"0": response}, reference_text) for one in principles]
        except Exception as error:  # noqa: BLE001 - LangSmith would drop the feedback of a row that raises
            return failure_of(error)

    def results_of(outcomes: Sequence[Outcome] | JudgeFailure) -> Any:
        outcomes = [outcomes] * len(principles) if isinstance(outcomes, JudgeFailure) else outcomes
        results = []
        for one, name, outcome in zip(principles, keys, outcomes, strict=True):
            results += _results(one, name, outcome, scale)
        return results if several else results[0]

    def evaluator(inputs: Any = None, outputs: Any = None, reference_outputs: Any = None, **_more: Any) -> Any:
        _ = row_judge.judge  # its absence is reported before any fault of a row
        cases = cases_of(inputs, outputs, reference_outputs)
        return results_of(cases if isinstance(cases, JudgeFailure) else row_judge.outcomes(cases))

    async def aevaluator(inputs: Any = None, outputs: Any = None, reference_outputs: Any = None, **_more: Any) -> Any:
        _ = await row_judge.ajudge()
        cases = cases_of(inputs, outputs, reference_outputs)
        return results_of(cases if isinstance(cases, JudgeFailure) else await row_judge.aoutcomes(cases))

    function: Evaluator = aevaluator if asynchronous else evaluator
    function.__name__ = function.__qualname__ = keys[0] if len(keys) == 1 else "principles"
    return function


def comparative_evaluator(
    principle: Principle | str,
    *,
    judge: BaseJudge | str | None = None,
    key: str | None = None,
    criterion: str | None = None,
    prompt: Selector = None,
    response: Selector = None,
) -> Callable[[Sequence[Run], Example | None], ComparisonEvaluationResult]:
    """A function for ``langsmith.evaluate_comparative(evaluators=[...])``: all runs of an example in one verdict.

    Each run's score is on the scale 0.0..1.0. Runs without outputs are left out. Without a verdict every run has the
    score None, and the comment holds the reason.

    Args:
        principle: What to judge by.
        judge: The judge, or a model string. None: the process's default judge, loaded when first needed.
        key: The feedback's name. None: the principle's name, else ``principle``.
        criterion: The criterion of a rubric whose scores to return, named ``key.criterion``. None: those of the whole.
            LangSmith takes one score from each evaluator; evaluators that differ in this only share a judgement where
            the judge has a store.
        prompt: The key of the example's inputs with the prompt, or a function of them. None: the only one, or all.
        response: The key of a run's outputs to judge, or a function of them. None: the only one, or all of them.
    """
    principle = Principle.of(principle)
    (name,) = feedback_keys((principle,), key)
    if criterion is not None:
        if not isinstance(principle, Rubric) or criterion not in principle.criteria:
            available = (
                ", ".join(principle.criteria) if isinstance(principle, Rubric) else "none, since it is not a rubric"
            )
            raise ConfigError(f"There is no criterion {criterion!r}; the principle has: {available}.")
        name = criterion_keys(principle, name)[criterion]
    row_judge = RowJudge(judge)
    fields = _FieldSelectors(prompt=prompt, response=response)

    def outcome_of(runs: Sequence[Run], labels: Sequence[str], example: Example | None) -> Outcome:
        _ = row_judge.judge
        try:
            outputs = [fields.select("response", run.outputs, "outputs") for run in runs]
            inputs = example.inputs if example is not None else runs[0].inputs
            prompt = prompt_of(fields.select("prompt", inputs, "inputs"))
            responses = [response_of(output, prompt=prompt) for output in outputs]
            case = Case(principle, prompt, dict(zip(labels, responses, strict=True)))
        except Exception as error:  # noqa: BLE001 - LangSmith would drop the feedback of a row that raises
            return failure_of(error)
        return row_judge.outcomes([case])[0]

    def comparator(runs: Sequence[Run], example: Example | None = None) -> ComparisonEvaluationResult:
        from langsmith.evaluation.evaluator import ComparisonEvaluationResult

        none: Any = {run.id: None for run in runs}  # LangSmith keeps a comment only with a run's score
        runs = [run for run in runs if run.outputs]
        if not runs:
            return ComparisonEvaluationResult(key=name, scores=none, comment="Not judged. No run has outputs.")
        labels = [f"run {str(run.id)[:8]}" for run in runs]
        if len(set(labels)) < len(labels):
            labels = [f"run {run.id}" for run in runs]
        outcome = outcome_of(runs, labels, example)
        if isinstance(outcome, JudgeFailure):
            return ComparisonEvaluationResult(key=name, scores=none, comment=failure_text([outcome]))
        if criterion is not None:
            outcome = outcome.criteria[criterion]
        scores: Any = {run.id: outcome.normalized[label] for run, label in zip(runs, labels, strict=True)}
        return ComparisonEvaluationResult(key=name, scores=scores, comment=outcome.explanation)

    comparator.__name__ = comparator.__qualname__ = name
    return comparator


class _FieldSelectors:
    """The selectors of an evaluator. One that has not fitted any row so far is a mistake in the call."""

    def __init__(self, **selectors: Selector) -> None:
        self._selectors = selectors
        self._fitted: set[str] = set()

    def select(self, field: str, value: Any, name: str) -> Any:
        try:
            part = select(value, self._selectors[field], name)
        except SelectorError as error:
            if field in self._fitted:
                raise
            raise JudgeUnavailableError(
                error.message,
                hint=f"{field}= has not fitted any row so far, so nothing was scored. If rows may lack it, set a "
                "function that returns None for them.",
            ) from error
        if part is not None:
            self._fitted.add(field)
        return part

    def prompt_and_response(self, inputs: Any, outputs: Any) -> tuple[str | list[Message], Response]:
        response = self.select("response", outputs, "outputs")
        if response is None:
            raise InvalidCaseError("There is no output to judge.", field="responses")
        prompt = self.select("prompt", inputs, "inputs")
        if prompt is None:
            return split_conversation(response)
        asked = prompt_of(prompt)
        return asked, response_of(response, prompt=asked)


def _results(principle: Principle, key: str, outcome: Outcome, scale: ScoreScale) -> list[dict[str, Any]]:
    """The result under a principle, and under a rubric one more for each criterion."""
    results = [_result(key, outcome, scale)]
    if not isinstance(principle, Rubric):
        return results
    if isinstance(outcome, Verdict) and outcome.missed:
        results[0]["metadata"]["missed"] = outcome.missed["0"]
    for criterion, criterion_key in criterion_keys(principle, key).items():
        if isinstance(outcome, JudgeFailure):
            results.append(_result(criterion_key, outcome, scale))
            continue
        each = outcome.criteria[criterion]
        metadata = {**outcome.provenance, "agreement": each.agreement, "criterion": criterion}
        results.append({**_result(criterion_key, each, scale), "metadata": metadata})
    return results


def _result(key: str, outcome: Outcome, scale: ScoreScale) -> dict[str, Any]:
    if isinstance(outcome, JudgeFailure):
        failure = {"error_type": outcome.error_type, "attempts": outcome.attempts, "record_id": outcome.record_id}
        return {"key": key, "score": None, "comment": failure_text([outcome]), "metadata": failure}
    score = (outcome.normalized if scale == "normalized" else outcome.scores)["0"]
    return {"key": key, "score": score, "comment": outcome.explanation, "metadata": outcome.provenance}
