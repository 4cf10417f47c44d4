"""Judging one case on a model: screening, the readout, passes, sub-lists and criteria, without store or observers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

from rewardanything_core.backends.base import Backend
from rewardanything_core.cases import Case, Omitted, shorten_case
from rewardanything_core.concurrency import background_loop
from rewardanything_core.concurrency.memo import PersistentCache
from rewardanything_core.errors import ContextLengthError, InvalidCaseError
from rewardanything_core.options import JudgeOptions
from rewardanything_core.principles import Rubric
from rewardanything_core.prompting.appeals import AppealDetector
from rewardanything_core.prompting.templates import Template
from rewardanything_core.readouts.generate import GenerateReadout
from rewardanything_core.readouts.long_lists import judge_in_passes
from rewardanything_core.readouts.pointwise.estimators import AnswerEstimator, FitEstimator, HeadEstimator
from rewardanything_core.readouts.pointwise.questions import question_set
from rewardanything_core.readouts.pointwise.readout import PointwiseReadout
from rewardanything_core.readouts.pointwise.reward_head import RewardHead
from rewardanything_core.readouts.results import CaseResult, join_criteria
from rewardanything_core.readouts.rubric import RubricReadout
from rewardanything_core.readouts.written import WrittenReadout
from rewardanything_core.types import JudgeFailure, Usage


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
        self._written: WrittenReadout | None = None
        self._rubric: RubricReadout | None = None
        if options.readout == "generate":
            assert options.sampling is not None
            settings: dict[str, Any] = {
                "backend": backend,
                "sampling": options.sampling,
                "seed": options.seed,
                "retries": options.retries,
                "expected": options.expected_scores,
            }
            self._written = GenerateReadout(template=template, **settings)
            self.template_hash = template.hash
            """Hash of the wording that the model is prompted with, under one principle."""
            if options.criteria == "together":
                self._rubric = RubricReadout(template=Template.for_rubrics(template.style), **settings)
        else:
            questions = question_set()
            estimator: FitEstimator
            if options.readout == "head":
                estimator = HeadEstimator(backend, questions, RewardHead.of(options.head, backend.model))
            else:
                estimator = AnswerEstimator(backend, questions, cache)
            self._pointwise = PointwiseReadout(backend, questions, estimator, cache)
            self.template_hash = estimator.hash
        self.rubric_template_hash = self.template_hash if self._rubric is None else self._rubric.template.hash
        """Hash of the wording under a rubric."""

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
        return dataclasses.replace(result, removed=removed, omitted=omitted)

    def _check_images(self, case: Case) -> None:
        """Refuse images that the model would not see."""
        if not case.has_images or (self._options.readout == "generate" and self._backend.supports_images):
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
            return await self._judge_written(case, on_usage)
        cases = [dataclasses.replace(case, principle=principle) for principle in rubric.principles]
        results = await background_loop.gather(self._judge_written(each, on_usage) for each in cases)
        return join_criteria(dict(zip(rubric.criteria, results, strict=True)), rubric)

    async def _judge_written(self, case: Case, on_usage: Callable[[Usage], None]) -> CaseResult:
        readout = self._rubric if isinstance(case.principle, Rubric) else self._written
        assert readout is not None
        options = self._options
        run = partial(readout.run, on_usage=on_usage)
        return await judge_in_passes(case, run, passes=options.passes, max_list=options.max_list, seed=options.seed)
