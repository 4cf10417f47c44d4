"""Principles as scorers for ``mlflow.genai``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from mlflow.entities import Feedback, Trace
from mlflow.exceptions import MlflowException
from mlflow.genai.judges.base import AlignmentOptimizer, Judge, JudgeField
from mlflow.genai.scorers import Scorer, ScorerSamplingConfig
from mlflow.genai.scorers.base import ScorerKind
from pydantic import ConfigDict, Field, PrivateAttr, field_serializer, field_validator, model_validator

from rewardanything_core import BaseJudge, Case, ConfigError, Principle, RewardAnythingError, Rubric, resolve_judge
from rewardanything_core.errors import JudgeUnavailableError
from rewardanything_core.types import MAX_SCORE, MIN_SCORE
from rewardanything_mlflow.alignment import PrincipleOptimizer
from rewardanything_mlflow.conditions import conditions
from rewardanything_mlflow.feedback import ScoreScale, failure_feedback, metric_name, metric_names, verdict_feedback
from rewardanything_mlflow.fields import (
    Selector,
    SelectorError,
    candidates_from,
    prompt_from,
    reference_from,
    response_from,
)
from rewardanything_mlflow.judging import failure_of, judge_or_default, stop_if_unusable
from rewardanything_mlflow.optimizers import align_with
from rewardanything_mlflow.pool_check import check_store
from rewardanything_mlflow.registration import mlflow_judge, serialized
from rewardanything_mlflow.run_records import log_principle
from rewardanything_mlflow.spans import without_own_traces
from rewardanything_mlflow.traces import Unit, conversation_from, session_expectations, session_id


def judged(values: list[float]) -> float:
    """The number of rows with a score; an aggregation that shows in a run whether some have none."""
    return len(values)


class PrincipleScorer(Judge):
    """A judge and scorer for ``mlflow.genai.evaluate(scorers=[...])`` and ``mlflow.genai.optimize_prompts``.

    It is an MLflow `Judge`: it can be registered, aligned to people's feedback and combined in an ensemble.

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

    _instructions: str | None = PrivateAttr(default=None)
    """What MLflow's judges with a memory set in a copy, to judge by instead of the principle's text."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, options: Any) -> Any:
        if isinstance(options, dict) and "principle" in options:
            options = {**options, "principle": Principle.of(options["principle"])}
            options["name"] = metric_name(options["principle"], options.get("name"))
            options.setdefault("description", options["principle"].text)
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
        low, high = self.limits
        if self.threshold is not None and not low <= self.threshold <= high:
            raise ValueError(f"threshold must be within {low:g}..{high:g} on the {self.scale} scale.")
        if self.on != "row" and (self.candidates or self.prompt is not None or self.response is not None):
            raise ValueError(f"on={self.on!r} judges whole traces; leave out prompt=, response= and candidates=.")
        return self

    def model_post_init(self, context: Any, /) -> None:
        """Warn before MLflow can deadlock; see `check_store`."""
        super().model_post_init(context)
        check_store(stacklevel=4)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> PrincipleScorer:
        """A copy with the same judge, whose connections and weights are shared."""
        return self.__copy__()

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest score on ``scale``."""
        return (MIN_SCORE, MAX_SCORE) if self.scale == "raw" else (0.0, 1.0)

    @property
    def kind(self) -> ScorerKind:
        """How MLflow stores it: as the source of a function that makes the scorer again."""
        return ScorerKind.DECORATOR

    @property
    def instructions(self) -> str:
        """What it judges by, as text."""
        return self.principle.text if self._instructions is None else self._instructions

    @property
    def feedback_value_type(self) -> Any:
        """``float``."""
        return float

    def get_input_fields(self) -> list[JudgeField]:
        """What of a row it reads: inputs and outputs, or the trace."""
        if self.on == "trace":
            return [JudgeField(name="trace", description="The trace to judge")]
        if self.on == "session":
            return []
        return [
            JudgeField(name="inputs", description="What the program was given, with the prompt"),
            JudgeField(name="outputs", description="What the program returned, with the response"),
        ]

    def model_dump(self, **_: Any) -> dict[str, Any]:
        """The scorer as MLflow's registry stores it, whatever the options, as for MLflow's own scorers.

        Raises:
            ConfigError: an option is a function, or the judge cannot be made in another process.
        """
        return serialized(self)

    def register(self, *, name: str | None = None, experiment_id: str | None = None) -> PrincipleScorer:
        """Store the scorer in an experiment, with the spec of its judge, which never holds a key.

        MLflow stores it as code, which a tracking server accepts if ``MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS=true`` is set
        there. Where it runs, this package has to be installed and the judge's key to be in the environment. To score
        traces on a schedule, register `as_mlflow_judge`.

        Args:
            name: The name to store it under. None: the scorer's.
            experiment_id: The experiment. None: the active one.

        Returns:
            A registered copy.

        Raises:
            ConfigError: an option is a function, or the judge cannot be made in another process.
            MlflowException: MLflow does not accept it.
        """
        copy = self.model_copy()
        copy._cached_dump = copy.model_dump()  # MLflow 3.18 looks for the source here
        name = name and metric_name(self.principle, name)
        made = super(PrincipleScorer, copy).register(name=name, experiment_id=experiment_id)
        assert isinstance(made, PrincipleScorer)
        return made

    def start(
        self, *, name: str | None = None, experiment_id: str | None = None, sampling_config: ScorerSamplingConfig
    ) -> Scorer:
        """Score new traces on a schedule, where the tracking server can run the scorer: on Databricks.

        Args:
            name: As for `register`.
            experiment_id: The experiment. None: the active one.
            sampling_config: The share of traces to score, and a filter.

        Raises:
            ConfigError: the server only schedules judges whose model is an endpoint of its gateway.
        """
        try:
            return super().start(name=name, experiment_id=experiment_id, sampling_config=sampling_config)
        except MlflowException as error:
            if "gateway model" not in str(error):
                raise
            raise ConfigError(
                f"The tracking server cannot schedule {self.name!r}: it runs no code of others on a schedule.",
                hint='Schedule MLflow\'s own judge for the principle: scorer.as_mlflow_judge("gateway:/ENDPOINT")'
                ".register().start(sampling_config=...).",
            ) from error

    def as_mlflow_judge(self, model: str, **options: Any) -> Judge:
        """MLflow's own judge for the same principle, which a tracking server runs without this package.

        It scores 1 to 5. Prompt and parsing are MLflow's, so scores differ from this scorer's. Over a System One
        endpoint, such as ``ra-judge serve``, there is no rationale.

        >>> judge = scorer.as_mlflow_judge("gateway:/principles").register()
        >>> judge.start(sampling_config=ScorerSamplingConfig(sample_rate=0.5))

        Args:
            model: MLflow's URI of the model, such as ``gateway:/principles`` or ``typesafe:/jev-1``.
            **options: Any other of ``mlflow.genai.judges.make_judge``.

        Raises:
            ConfigError: the scorer judges several candidates, or is not on the raw scale.
        """
        return mlflow_judge(self, model, **options)

    def with_principle(self, principle: Principle) -> PrincipleScorer:
        """The scorer with another principle; a description that was the principle's text changes with it."""
        stale = self.description == self.principle.text
        copy = self.model_copy(update={"principle": principle, **({"description": principle.text} if stale else {})})
        copy._instructions = None
        return copy

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
        log_principle(self._rule, self.name)
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
            feedback = failure_feedback(failure_of(error), self.name, principle=self._rule, model=judge.model)
        else:
            feedback = verdict_feedback(verdict, self.name, scale=self.scale, principle=self._rule)
        return feedback if len(feedback) > 1 or self.candidates else feedback[0]

    def align(self, traces: list[Trace], optimizer: AlignmentOptimizer | None = None) -> PrincipleScorer:
        """Rewrite the principle so that the scores agree more with people's feedback on traces.

        Args:
            traces: Traces with human feedback of this scorer's name.
            optimizer: How: a `PrincipleOptimizer`, or MLflow's ``MemAlignOptimizer``, ``SIMBAAlignmentOptimizer`` or
                ``GEPAAlignmentOptimizer``. None: `PrincipleOptimizer` with its defaults.

        Returns:
            A new scorer with another principle; this one if a `PrincipleOptimizer` found none that was better beyond
            chance.

        Raises:
            ConfigError: the feedback does not suffice.
        """
        optimizer = PrincipleOptimizer() if optimizer is None else optimizer
        if isinstance(optimizer, PrincipleOptimizer):
            return optimizer.align_scorer(self, traces)
        return align_with(self, optimizer, traces)

    @property
    def _rule(self) -> Principle:
        return self.principle if self._instructions is None else replace(self.principle, text=self._instructions)

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
        return Case(self._rule, prompt, responses, reference, id=trace.info.trace_id if trace else None)

    def _case_of_traces(self, traces: Sequence[Trace], expectations: Any) -> Case:
        prompt, response = conversation_from(traces)
        if self.on == "session":
            expectations = expectations or session_expectations(traces)
        case_id = session_id(traces) if self.on == "session" else traces[0].info.trace_id
        return Case(self._rule, prompt, [response], reference_from(expectations, self.reference), id=case_id)


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
            scorers += conditions(principle, scorer.name, scorer.scale)
    return scorers
