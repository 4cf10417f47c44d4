"""LangChain's evaluator interfaces, which are part of langchain-classic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

try:
    from langchain_classic.evaluation.schema import PairwiseStringEvaluator, StringEvaluator
except ImportError as error:
    from rewardanything_langchain.judging import missing_package_error

    raise missing_package_error("langchain-classic", "PrincipleEvaluator") from error

from rewardanything_core import BaseJudge, Case, InvalidCaseError, JudgeFailure, Principle, Verdict
from rewardanything_langchain.judging import Outcome, Principles, RowJudge, failure_of, failure_text
from rewardanything_langchain.keys import feedback_keys
from rewardanything_langchain.texts import prompt_of, response_of, text_of


class _PrincipleEvaluatorBase:
    """The settings that both evaluators share, and LangChain's properties for them.

    Args:
        principle: One, or several: each is judged separately, and the score is their mean. Under a `Rubric` the result
            also has ``criteria``, with ``score``, ``value`` and ``reasoning`` for each, and ``missed``, with the
            required criteria that a response misses.
        judge: The judge, or a model string. None: the process's default judge, loaded when first needed.
        use_reference: Whether to require a reference and show it to the judge. Otherwise a reference is ignored, with
            LangChain's warning.

    Raises:
        ConfigError: the judge is not a judge.
        InvalidCaseError: a principle is invalid.
    """

    def __init__(
        self, *, principle: Principles, judge: BaseJudge | str | None = None, use_reference: bool = False
    ) -> None:
        self.principles = Principle.several(principle)
        self.use_reference = use_reference
        self._row_judge = RowJudge(judge)

    @property
    def evaluation_name(self) -> str:
        """The principle's name, or the class's."""
        names = [principle.name for principle in self.principles if principle.name]
        return "+".join(names) if len(names) == len(self.principles) else type(self).__name__

    @property
    def requires_input(self) -> bool:
        """True: a judge has to see the prompt."""
        return True

    @property
    def requires_reference(self) -> bool:
        """As set by ``use_reference``."""
        return self.use_reference

    @property
    def judge(self) -> BaseJudge:
        """The judge; the default one is loaded now if it was not yet."""
        return self._row_judge.judge

    def _outcomes(self, prompt: Any, responses: Mapping[str, Any], reference: Any) -> list[Outcome]:
        cases = self._cases(prompt, responses, reference)
        return [cases] if isinstance(cases, JudgeFailure) else self._row_judge.outcomes(cases)

    async def _aoutcomes(self, prompt: Any, responses: Mapping[str, Any], reference: Any) -> list[Outcome]:
        cases = self._cases(prompt, responses, reference)
        return [cases] if isinstance(cases, JudgeFailure) else await self._row_judge.aoutcomes(cases)

    def _cases(self, prompt: Any, responses: Mapping[str, Any], reference: Any) -> list[Case] | JudgeFailure:
        """A case for each principle, or the failure of the row."""
        try:
            asked = prompt_of(prompt)
            given = {label: response_of(response, prompt=asked) for label, response in responses.items()}
            reference_text = text_of(reference, "reference") if self.use_reference else None
            return [Case(principle, asked, given, reference_text) for principle in self.principles]
        except InvalidCaseError as error:
            return failure_of(error)

    def _reasoning(self, verdicts: list[Verdict]) -> str:
        if len(verdicts) == 1:
            return verdicts[0].explanation
        pairs = zip(self.principles, verdicts, strict=True)
        return "\n\n".join(
            f"[{principle.name or principle.text}]\n{verdict.explanation}" for principle, verdict in pairs
        )

    def _result(self, outcomes: list[Outcome]) -> dict[str, Any]:
        failures = [outcome for outcome in outcomes if isinstance(outcome, JudgeFailure)]
        if failures:
            errors = [failure.to_dict() for failure in failures]
            return {"reasoning": failure_text(failures), "value": None, "score": None, "errors": errors}
        verdicts = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
        result = {
            "reasoning": self._reasoning(verdicts),
            **self._scores(verdicts),
            "metadata": [verdict.provenance for verdict in verdicts],
        }
        if any(verdict.criteria for verdict in verdicts):
            result |= self._criteria(verdicts)
        return result

    def _criteria(self, verdicts: list[Verdict]) -> dict[str, Any]:
        """``criteria`` and ``missed`` of all rubrics; with several principles, names are ``principle.criterion``."""
        prefixes = [""] if len(verdicts) == 1 else [f"{key}." for key in feedback_keys(self.principles)]
        criteria: dict[str, dict[str, Any]] = {}
        missed: dict[str, list[str]] = {}
        for prefix, verdict in zip(prefixes, verdicts, strict=True):
            for name, each in verdict.criteria.items():
                criteria[prefix + name] = {"reasoning": each.explanation, **self._scores([each])}
            for label, names in verdict.missed.items():
                missed.setdefault(label, []).extend(prefix + name for name in names)
        return {"criteria": criteria, "missed": missed}

    def _scores(self, verdicts: list[Verdict]) -> dict[str, Any]:
        raise NotImplementedError


class PrincipleEvaluator(_PrincipleEvaluatorBase, StringEvaluator):
    """Scores a prediction under a principle.

    The prediction, the input and the reference may be texts, messages, or the structures that `principle_evaluator`
    takes. The result has ``score`` (0.0..1.0), ``value`` (the same on the judge's scale, 1.0..5.0) and ``reasoning``.
    What could not be judged has None for ``score`` and ``value``, the reason in ``reasoning``, and ``errors``. A judge
    that cannot be used raises `JudgeUnavailableError`.
    """

    def _evaluate_strings(
        self,
        *,
        prediction: Any,
        reference: Any = None,
        input: Any = None,  # noqa: A002
        **_: Any,
    ) -> dict[str, Any]:
        return self._result(self._outcomes(input, {"prediction": prediction}, reference))

    async def _aevaluate_strings(
        self,
        *,
        prediction: Any,
        reference: Any = None,
        input: Any = None,  # noqa: A002
        **_: Any,
    ) -> dict[str, Any]:
        return self._result(await self._aoutcomes(input, {"prediction": prediction}, reference))

    def _scores(self, verdicts: list[Verdict]) -> dict[str, Any]:
        value = sum(verdict.scores["prediction"] for verdict in verdicts) / len(verdicts)
        return {"value": value, "score": (value - 1) / 4}


class PrinciplePairwiseEvaluator(_PrincipleEvaluatorBase, PairwiseStringEvaluator):
    """Compares two predictions under a principle, with one listwise verdict.

    The result has ``value`` ("A" if ``prediction`` is better, "B" if ``prediction_b`` is, None for a tie), ``score``
    (1, 0, or 0.5 for a tie), ``reasoning``, and ``scores`` with both on the judge's scale. What could not be judged
    has None for ``value`` and ``score``.
    """

    def _evaluate_string_pairs(
        self,
        *,
        prediction: Any,
        prediction_b: Any,
        reference: Any = None,
        input: Any = None,  # noqa: A002
        **_: Any,
    ) -> dict[str, Any]:
        return self._result(self._outcomes(input, {"A": prediction, "B": prediction_b}, reference))

    async def _aevaluate_string_pairs(
        self,
        *,
        prediction: Any,
        prediction_b: Any,
        reference: Any = None,
        input: Any = None,  # noqa: A002
        **_: Any,
    ) -> dict[str, Any]:
        return self._result(await self._aoutcomes(input, {"A": prediction, "B": prediction_b}, reference))

    def _scores(self, verdicts: list[Verdict]) -> dict[str, Any]:
        scores = {label: sum(verdict.scores[label] for verdict in verdicts) / len(verdicts) for label in "AB"}
        margin = scores["A"] - scores["B"]
        tie = abs(margin) < 1e-9  # means of the same scores in another order differ by rounding
        return {
            "value": None if tie else "A" if margin > 0 else "B",
            "score": 0.5 if tie else 1 if margin > 0 else 0,
            "scores": scores,
        }
