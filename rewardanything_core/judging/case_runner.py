"""Judging one case on a model: screening, the readout, passes, sub-lists and criteria, without store or observers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, Protocol

from rewardanything_core.backends.base import Backend
from rewardanything_core.cases import Case, Omitted, shorten_case
from rewardanything_core.concurrency import background_loop
from rewardanything_core.concurrency.memo import PersistentCache
from rewardanything_core.errors import ContextLengthError, InvalidCaseError
from rewardanything_core.options import LIST_READOUTS, JudgeOptions
from rewardanything_core.principles import Rubric
from rewardanything_core.prompting.appeals import AppealDetector
from rewardanything_core.prompting.decision_questions import decision_wording
from rewardanything_core.prompting.response_templates import ResponseTemplate
from rewardanything_core.prompting.templates import Template
from rewardanything_core.readouts.attempts import OnUsage
from rewardanything_core.readouts.decisions import DecisionsReadout
from rewardanything_core.readouts.generate import GenerateReadout
from rewardanything_core.readouts.long_lists import judge_in_passes
from rewardanything_core.readouts.pointwise.estimators import AnswerEstimator, FitEstimator, HeadEstimator
from rewardanything_core.readouts.pointwise.questions import question_set
from rewardanything_core.readouts.pointwise.readout import PointwiseReadout
from rewardanything_core.readouts.pointwise.reward_head import RewardHead
from rewardanything_core.readouts.ratings import RatingsReadout
from rewardanything_core.readouts.results import CaseResult, PassResult, join_criteria
from rewardanything_core.readouts.rubric import RubricReadout
from rewardanything_core.readouts.scalar import ScalarReadout
from rewardanything_core.types import JudgeFailure, Usage


class ListReadout(Protocol):
    """Judges a list of responses in one pass."""

    async def run(self, case: Case, index: int, *, on_usage: OnUsage) -> PassResult:
        """Judge a case in the ``index``-th order drawn for it.

        Args:
            case: The case.
            index: Number of the pass, from 0.
            on_usage: Called with the usage of each request, whether or not it gave a verdict.
        """


class CaseRunner:
    """Judges cases on a model as options say.

    Args:
        backend: The model.
        options: Options with nothing left to defaults.
        template: The wording of written verdicts under one principle.
        cache: Stores a model's answers about principles beyond the process. None: they are kept in memory only.
    """

    def __init__(
        self, backend: Backend, options: JudgeOptions, template: Template, cache: PersistentCache | None
    ) -> None:
        self._backend, self._options = backend, options
        self._pointwise: PointwiseReadout | None = None
        self._list: ListReadout | None = None
        self._rubric: ListReadout | None = None
        self.template_hash: str
        """Hash of the wording that the model is prompted with, under one principle."""
        self.rubric_template_hash: str
        """Hash of the wording under a rubric."""
        if options.readout == "generate":
            assert options.sampling is not None
            settings: dict[str, Any] = {
                "backend": backend,
                "sampling": options.sampling,
                "seed": options.seed,
                "retries": options.retries,
                "expected": options.expected_scores,
            }
            if not isinstance(template, ResponseTemplate):
                self._list = GenerateReadout(template=template, **settings)
            elif template.is_scalar:
                calibrated = options.calibration is not None
                self._list = ScalarReadout(backend=backend, template=template, calibrated=calibrated)
            else:
                self._list = RatingsReadout(template=template, **settings)
            self.template_hash = self.rubric_template_hash = template.hash
            if options.criteria == "together":
                of_rubrics = Template.for_rubrics(template.style)
                self._rubric = RubricReadout(template=of_rubrics, **settings)
                self.rubric_template_hash = of_rubrics.hash
        elif options.readout == "decisions":
            wording = decision_wording()
            self._list = self._rubric = DecisionsReadout(
                backend=backend,
                wording=wording,
                seed=options.seed,
                retries=options.retries,
                criteria_together=options.criteria == "together",
            )
            self.template_hash = self.rubric_template_hash = wording.hash
        else:
            questions = question_set()
            estimator: FitEstimator
            if options.readout == "head":
                estimator = HeadEstimator(backend, questions, RewardHead.of(options.head, backend.model))
            else:
                estimator = AnswerEstimator(backend, questions, cache)
            self._pointwise = PointwiseReadout(backend, questions, estimator, cache)
            self.template_hash = self.rubric_template_hash = estimator.hash

    @cached_property
    def detector(self) -> AppealDetector:
        """Finds appeals in responses."""
        return AppealDetector(self._backend)

    async def judge(self, case: Case, on_usage: Callable[[Usage], None]) -> CaseResult:
        """Judge a case in all passes.

        Args:
            case: The case.
            on_usage: Called with the usage of each request.

        Raises:
            RewardAnythingError: no verdict; ``failure`` is set if that is specific to the case.
        """
        short, omitted = case, Omitted()
        if self._options.shorten is not None and case.has_turns:
            short, omitted = shorten_case(case, self._options.shorten)
        self._check_images(short)
        removed: Mapping[str, list[str]] = {}
        if self._options.screen != "off":
            screened = await self.detector.screen(short, on_usage=on_usage)
            short, removed = screened.case, screened.removed
        try:
            result = await self._judge_as_given(short, on_usage)
        except ContextLengthError as error:
            if case.has_turns and self._options.shorten is None:
                error.advise("Long results of tools can be shortened with shorten=CHARACTERS. " + error.hint)
            raise
        return result if short is case else dataclasses.replace(result, removed=removed, omitted=omitted)

    def _check_images(self, case: Case) -> None:
        """Refuse images that the model would not see."""
        if not case.has_images or (self._options.readout in LIST_READOUTS and self._backend.supports_images):
            return
        error = InvalidCaseError(
            f"{case} has an image, and {self._backend.model} with readout={self._options.readout!r} judges text only; "
            "use a model behind an endpoint that takes images, or put a description in its place.",
            field="responses",
            case_id=case.id,
        )
        error.failure = JudgeFailure(case_id=case.id, error_type="InvalidCaseError", message=error.message)
        raise error

    async def _judge_as_given(self, case: Case, on_usage: Callable[[Usage], None]) -> CaseResult:
        if self._pointwise is not None:
            return await self._pointwise.run(case, passes=self._options.passes, on_usage=on_usage)
        rubric = case.principle
        if not isinstance(rubric, Rubric) or self._rubric is not None:
            return await self._judge_lists(case, on_usage)
        cases = [dataclasses.replace(case, principle=principle) for principle in rubric.principles]
        results = await background_loop.gather(self._judge_lists(each, on_usage) for each in cases)
        return join_criteria(dict(zip(rubric.criteria, results, strict=True)), rubric)

    async def _judge_lists(self, case: Case, on_usage: Callable[[Usage], None]) -> CaseResult:
        readout = self._rubric if isinstance(case.principle, Rubric) else self._list
        assert readout is not None
        options, passes, max_list = self._options, self._options.passes, self._options.max_list
        if options.readout == "decisions":
            max_list = min(max_list, self._backend.max_questions)
            # A single response has one order only, and nothing is sampled: another pass would be the same request.
            passes = 1 if len(case.responses) == 1 else passes
        run = partial(readout.run, on_usage=on_usage)
        return await judge_in_passes(case, run, passes=passes, max_list=max_list, seed=options.seed)
