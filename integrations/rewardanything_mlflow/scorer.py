"""Principles as scorers for ``mlflow.genai``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mlflow.entities import Feedback, Trace
from mlflow.genai.scorers import Scorer
from pydantic import ConfigDict, Field, PrivateAttr, field_serializer, field_validator, model_validator

from rewardanything_core import BaseJudge, Case, Principle, RewardAnythingError, Rubric, resolve_judge
from rewardanything_core.errors import JudgeUnavailableError
from rewardanything_core.types import MAX_SCORE, MIN_SCORE
from rewardanything_mlflow.alignment import PrincipleOptimizer
from rewardanything_mlflow.feedback import (
    ScoreScale,
    criterion_names,
    failure_feedback,
    metric_name,
    metric_names,
    verdict_feedback,
)
from rewardanything_mlflow.fields import (
    Selector,
    SelectorError,
    candidates_from,
    prompt_from,
    reference_from,
    response_from,
)
from rewardanything_mlflow.judging import failure_of, judge_or_default, stop_if_unusable
from rewardanything_mlflow.pool_check import check_store
from rewardanything_mlflow.spans import without_own_traces
from rewardanything_mlflow.traces import Unit, conversation_from, session_expectations, session_id


def judged(values: list[float]) -> float:
    """The number of rows with a score; an aggregation that shows in a run whether some have none."""
    return len(values)


class PrincipleScorer(Scorer):
    """A scorer for ``mlflow.genai.evaluate(scorers=[...])`` and ``mlflow.genai.optimize_prompts``.

    A row gets a `Feedback` with the score and the judge's reasoning. With ``candidates=True`` the outputs hold several
    responses, which are judged together; each gets a feedback named ``name/label``. Under a `Rubric` there is one more
    feedback for each criterion, named ``name.criterion`` or ``name.criterion/label``, from the same judgement. A row
    that could not be judged gets a feedback of each name with the error and no value, which MLflow leaves out of the
    aggregates.

    With ``on="trace"`` an agent's whole run is judged, and with ``on="session"`` a whole conversation with a user, for
    which MLflow's data must be traces.

    >>> scorer = PrincipleScorer(principle="Concise before complete.", name="concise", threshold=4)
    >>> mlflow.genai.evaluate(data=data, scorers=[scorer]).passed
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    principle: Principle
    """What to judge by; a string becomes a `Principle`, and a mapping with ``criteria`` a `Rubric`."""

    judge: BaseJudge | None = Field(default=None, exclude=True, repr=False)
    """The judge, or a model string such as ``openai:/gpt-5-mini``. None: the process's default judge, loaded when first
    needed."""

    name: str = ""
    """The feedback's name. Empty: the principle's."""

    on: Unit = "row"
    """What is judged. ``row``: the outputs. ``trace``: all that the row's trace records, with its calls of tools and
    their results; it begins with the messages that the program was given, as the prompt. ``session``: likewise all
    traces of a session; the first one gets the feedback, and a reference is an expectation on the session."""

    threshold: float | None = None
    """The lowest score, on ``scale``, with which a row passes (``EvaluationResult.passed``). None: no threshold, which
    MLflow counts as not passed. Under a rubric it is for the score of the whole; MLflow also wants a condition for each
    criterion, which the scorers of `principle_scorers` have."""

    scale: ScoreScale = "raw"
    """``raw`` for 1..5, ``normalized`` for 0..1."""

    prompt: Selector | None = Field(default=None, exclude=True)
    """Where the prompt is in ``inputs``: a key, a dotted path or a function. None: the inputs are the prompt, or a dict
    with it as the only field."""

    response: Selector | None = Field(default=None, exclude=True)
    """Where the response is in ``outputs``, likewise; a function returns None for a row without a response. None: the
    outputs are the response, or a dict with it as the only entry."""

    candidates: bool = False
    """Whether the outputs, or the part that ``response`` selects, are several responses: a list of them, a dict of them
    by label, or a chat completion with several choices."""

    reference: str | None = "expected_response"
    """The expectation to use as a reference answer. None: judge without."""

    aggregations: list[Any] | None = Field(default_factory=lambda: ["mean", judged])
    """What MLflow computes over the judged rows."""

    timeout: float | None = 0
    """Seconds for a row, including the time it waits, as MLflow counts them. 0: only the judge's own limits apply."""

    _selected: set[str] = PrivateAttr(default_factory=set)
    """The selectors that have fitted a row so far."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, options: Any) -> Any:
        if isinstance(options, dict) and "principle" in options:
            options = {**options, "principle": Principle.of(options["principle"])}
            options["name"] = metric_name(options["principle"], options.get("name"))
        return options

    @field_validator("judge", mode="before")
    @classmethod
    def _is_judge(cls, value: Any) -> Any:
        return resolve_judge(value)

    @field_serializer("principle")
    def _principle_json(self, principle: Principle) -> dict[str, Any]:
        return principle.to_json()

    @field_serializer("aggregations")
    def _aggregation_names(self, aggregations: list[Any] | None) -> list[str] | None:
        return aggregations and [getattr(one, "__name__", str(one)) for one in aggregations]

    @model_validator(mode="after")
    def _checked(self) -> PrincipleScorer:
        low, high = (1.0, 5.0) if self.scale == "raw" else (0.0, 1.0)
        if self.threshold is not None and not low <= self.threshold <= high:
            raise ValueError(f"threshold must be within {low:g}..{high:g} on the {self.scale} scale.")
        if self.on != "row" and (self.candidates or self.prompt is not None or self.response is not None):
            raise ValueError(f"on={self.on!r} judges whole traces; leave out prompt=, response= and candidates=.")
        return self

    def model_post_init(self, context: Any, /) -> None:
        """Warn before MLflow can deadlock; see `check_store`."""
        super().model_post_init(context)
        check_store(stacklevel=4)

    @property
    def is_session_level_scorer(self) -> bool:
        """Whether MLflow calls this once for each session."""
        return self.on == "session"

    @property
    def pass_if(self) -> Callable[[Any], bool] | None:
        """The threshold as a predicate; None without one."""
        threshold = self.threshold
        return None if threshold is None else lambda value: value is not None and value >= threshold

    def __call__(
        self,
        *,
        inputs: Any = None,
        outputs: Any = None,
        expectations: Any = None,
        trace: Trace | None = None,
        session: list[Trace] | None = None,
    ) -> Feedback | list[Feedback]:
        """Judge one row or session. MLflow calls this from many threads; the judge batches their requests.

        Args:
            inputs: The row's inputs, which hold the prompt.
            outputs: The row's outputs, which hold the response or the candidates.
            expectations: The row's expectations, which may hold a reference answer.
            trace: The row's trace, whose id becomes the case's.
            session: The traces of a session, whose id becomes the case's, with ``on="session"``.

        Raises:
            JudgeUnavailableError: no row can be judged: there is no judge, it cannot be used with its settings, or a
                selector has not fitted any row so far.
        """
        judge = judge_or_default(self.judge)
        try:
            if self.on == "row":
                case = self._case(inputs, outputs, expectations, trace)
            else:
                traces = session if self.on == "session" else trace and [trace]
                case = self._case_of_traces(traces or [], expectations)
            with without_own_traces():
                verdict = judge.judge(case)
        except RewardAnythingError as error:
            stop_if_unusable(error)
            feedback = failure_feedback(failure_of(error), self.name, principle=self.principle, model=judge.model)
        else:
            feedback = verdict_feedback(verdict, self.name, scale=self.scale)
        return feedback if len(feedback) > 1 or self.candidates else feedback[0]

    def align(self, traces: list[Trace], optimizer: PrincipleOptimizer | None = None) -> PrincipleScorer:
        """Rewrite the principle so that the scores agree more with people's feedback on traces.

        Args:
            traces: Traces with human feedback of this scorer's name.
            optimizer: How. None: `PrincipleOptimizer` with its defaults.

        Returns:
            A new scorer with another principle; this one if no principle was better beyond chance.

        Raises:
            ConfigError: the feedback does not suffice.
        """
        return (optimizer or PrincipleOptimizer()).align_scorer(self, traces)

    def _case(self, inputs: Any, outputs: Any, expectations: Any, trace: Trace | None) -> Case:
        try:
            prompt = prompt_from(inputs, self.prompt)
            self._selected.add("prompt")
            responses: Any
            if self.candidates:
                responses = candidates_from(outputs, self.response)
            else:
                responses = [response_from(outputs, self.response, prompt=prompt)]
            self._selected.add("response")
            explicit = self.reference is not None and "reference" in self.model_fields_set
            reference = reference_from(expectations, self.reference, required=explicit)
            if reference is not None:
                self._selected.add("reference")
        except SelectorError as error:
            if error.field in self._selected:
                raise
            raise JudgeUnavailableError(
                error.message,
                hint="No row has fitted it so far, so nothing was scored. If rows may lack it, set a function that "
                "returns None for them.",
            ) from error
        return Case(self.principle, prompt, responses, reference, id=trace.info.trace_id if trace else None)

    def _case_of_traces(self, traces: Sequence[Trace], expectations: Any) -> Case:
        prompt, response = conversation_from(traces)
        if self.on == "session":
            expectations = expectations or session_expectations(traces)
        case_id = session_id(traces) if self.on == "session" else traces[0].info.trace_id
        return Case(self.principle, prompt, [response], reference_from(expectations, self.reference), id=case_id)


class CriterionCondition(Scorer):
    """Decides whether a criterion of a rubric passes; a `PrincipleScorer` gives the feedback with its score.

    ``EvaluationResult.passed`` counts a number as not passed without a condition of its own, and MLflow takes
    conditions only from scorers of the feedback's name.
    """

    minimum: float
    """The lowest score that passes, on the scale of the feedback."""

    @property
    def pass_if(self) -> Callable[[Any], bool]:
        """The minimum as a predicate."""
        return lambda value: value is not None and value >= self.minimum

    def __call__(self) -> list[Feedback]:  # type: ignore[override]  # MLflow passes the arguments that it names
        """No feedback."""
        return []


def principle_scorers(principles: Principle | Iterable[Principle | str], **options: Any) -> list[Scorer]:
    """A `PrincipleScorer` for each principle, with distinct names.

    With a threshold, each criterion of a rubric has a condition for ``EvaluationResult.passed``, too: its required
    score, or none if it is not required.

    Args:
        principles: What to judge by.
        **options: The options of `PrincipleScorer`, for all of them.
    """
    checked = Principle.several(principles)  # type: ignore[arg-type]  # any iterable is accepted
    scorers: list[Scorer] = []
    for principle, name in zip(checked, metric_names(checked), strict=True):
        scorer = PrincipleScorer(principle=principle, name=name, **options)
        scorers.append(scorer)
        if isinstance(principle, Rubric) and scorer.threshold is not None:
            scorers += _conditions(principle, scorer)
    return scorers


def _conditions(rubric: Rubric, scorer: PrincipleScorer) -> list[CriterionCondition]:
    names = criterion_names(rubric.criteria, scorer.name)
    required = {name: criterion.required or MIN_SCORE for name, criterion in rubric.criteria.items()}
    if scorer.scale == "normalized":
        required = {name: (score - MIN_SCORE) / (MAX_SCORE - MIN_SCORE) for name, score in required.items()}
    return [CriterionCondition(name=names[name], minimum=score) for name, score in required.items()]
