"""Principles as scorers for ``mlflow.genai``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mlflow.entities import Feedback, Trace
from mlflow.genai.scorers import Scorer
from pydantic import ConfigDict, Field, field_serializer, model_validator

from rewardanything_core import BaseJudge, Case, Principle, RewardAnythingError, default_judge
from rewardanything_core.errors import JudgeUnavailableError
from rewardanything_mlflow.feedback import (
    Scale,
    failure_feedback,
    failure_of,
    name_of,
    names_of,
    verdict_feedback,
)
from rewardanything_mlflow.fields import Selector, prompt_from, reference_from, responses_from
from rewardanything_mlflow.judges import is_of_the_judge
from rewardanything_mlflow.spans import within_scorer
from rewardanything_mlflow.workers import check_store


def judged(values: list[float]) -> float:
    """How many rows have a score; an aggregation, so that a run shows when some have none."""
    return len(values)


class PrincipleScorer(Scorer):
    """A scorer for ``mlflow.genai.evaluate(scorers=[...])`` and ``mlflow.genai.optimize_prompts``.

    A row gets a `Feedback` with the score and the judge's reasoning; where the outputs are several candidates (a list,
    or a dict by label) they are judged together and each gets one, named ``name/label``. A row that could not be
    judged gets a feedback with the error and no value, which MLflow leaves out of the aggregates.

    >>> scorer = PrincipleScorer(principle="Concise before complete.", name="concise", threshold=4)
    >>> mlflow.genai.evaluate(data=data, scorers=[scorer]).passed
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    principle: Principle
    """What to prefer; a string becomes a `Principle`."""

    judge: BaseJudge | None = Field(default=None, exclude=True, repr=False)
    """The judge. None: one `load_judge()` for the process, made when first needed."""

    name: str = ""
    """The feedback's name. Empty: the principle's."""

    threshold: float | None = None
    """A row passes (``EvaluationResult.passed``) from this score on, on ``scale``. None: no opinion, which MLflow
    counts as not passed."""

    scale: Scale = "raw"
    """``raw`` for 1..5, ``normalized`` for 0..1."""

    prompt: Selector | None = Field(default=None, exclude=True)
    """Where the prompt is in ``inputs``: a key, a dotted path or a function. None: where it is obvious."""

    response: Selector | None = Field(default=None, exclude=True)
    """Where the response is in ``outputs``, likewise."""

    reference: str | None = "expected_response"
    """The expectation that is a good answer to compare with. None: judge without."""

    aggregations: list[Any] | None = Field(default_factory=lambda: ["mean", judged])
    """What MLflow computes over the judged rows."""

    timeout: float | None = 0
    """Seconds for a row, waiting included, as MLflow counts them. 0: no limit beside those of the judge itself."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        if isinstance(given, dict) and "principle" in given:
            given = {**given, "principle": Principle.of(given["principle"])}
            given["name"] = name_of(given["principle"], given.get("name"))
        return given

    @field_serializer("aggregations")
    def _aggregation_names(self, aggregations: list[Any] | None) -> list[str] | None:
        return aggregations and [getattr(one, "__name__", str(one)) for one in aggregations]

    @model_validator(mode="after")
    def _checked(self) -> PrincipleScorer:
        low, high = (1.0, 5.0) if self.scale == "raw" else (0.0, 1.0)
        if self.threshold is not None and not low <= self.threshold <= high:
            raise ValueError(f"threshold must be within {low:g}..{high:g} on the {self.scale} scale.")
        return self

    def model_post_init(self, context: Any, /) -> None:
        """Warn before MLflow can deadlock; see `check_store`."""
        super().model_post_init(context)
        check_store(stacklevel=4)

    @property
    def pass_if(self) -> Callable[[Any], bool] | None:
        """The threshold as a predicate; None without one."""
        threshold = self.threshold
        return None if threshold is None else lambda value: value is not None and value >= threshold

    def __call__(  # type: ignore[override]  # MLflow passes what the signature asks for
        self, *, inputs: Any = None, outputs: Any = None, expectations: Any = None, trace: Trace | None = None
    ) -> Feedback | list[Feedback]:
        """Judge one row; MLflow calls this from many threads, and the judge gathers their requests.

        Raises:
            JudgeUnavailableError: no row could be judged: there is no judge, or it cannot be asked as it is set up.
        """
        try:
            judge = self.judge or default_judge()
        except RewardAnythingError as error:
            raise JudgeUnavailableError(f"There is no judge, so nothing was scored. {error}") from error
        try:
            responses = responses_from(outputs, self.response)
            case = Case(
                self.principle,
                prompt_from(inputs, self.prompt),  # Case checks
                [responses] if isinstance(responses, str) else responses,
                reference_from(expectations, self.reference),
                id=trace.info.trace_id if trace else None,
            )
            with within_scorer():
                verdict = judge.judge(case)
        except RewardAnythingError as error:
            if is_of_the_judge(error):
                raise JudgeUnavailableError(f"The judge cannot be asked. {error}") from error
            return failure_feedback(failure_of(error), self.name, model=judge.model)
        feedback = verdict_feedback(verdict, self.name, scale=self.scale)
        return feedback[0] if isinstance(responses, str) else feedback


def principle_scorers(principles: Iterable[Principle | str], **options: Any) -> list[PrincipleScorer]:
    """A `PrincipleScorer` for each principle, with names of their own. The options are those of `PrincipleScorer`."""
    known = [Principle.of(principle) for principle in principles]
    return [PrincipleScorer(principle=p, name=name, **options) for p, name in zip(known, names_of(known), strict=True)]
