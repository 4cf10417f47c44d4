"""LangChain's evaluator interfaces, which live in langchain-classic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

try:
    from langchain_classic.evaluation.schema import PairwiseStringEvaluator, StringEvaluator
except ImportError as error:
    from rewardanything_langchain.judging import missing

    raise missing("langchain-classic", "PrincipleEvaluator") from error

from rewardanything_core import BaseJudge, Case, JudgeFailure, Principle, Verdict
from rewardanything_langchain.judging import Principles, judge_or_default, not_judged

Outcomes = list[Verdict | JudgeFailure]


class _Principled:
    """What both evaluators share: their settings, and LangChain's questions about them."""

    def __init__(self, *, principle: Principles, judge: BaseJudge | None = None, use_reference: bool = False) -> None:
        """Make one.

        Args:
            principle: One, or several: each is judged on its own, and the score is their mean.
            judge: Who judges. None: ``load_judge()``, made at the first judgement and shared by the process.
            use_reference: Whether to require a reference and show it to the judge; otherwise one given is ignored,
                with LangChain's warning.
        """
        self.principles = Principle.several(principle)
        self.use_reference = use_reference
        self._judge = judge

    @property
    def evaluation_name(self) -> str:
        """The principle's name, or the class's."""
        names = [principle.name for principle in self.principles if principle.name]
        return "+".join(names) if len(names) == len(self.principles) else type(self).__name__

    @property
    def requires_input(self) -> bool:
        """True: a judge has to see what was asked."""
        return True

    @property
    def requires_reference(self) -> bool:
        """As set by ``use_reference``."""
        return self.use_reference

    @property
    def judge(self) -> BaseJudge:
        """Who judges; made now if it was not yet."""
        return judge_or_default(self._judge)

    def _cases(self, prompt: Any, responses: Mapping[str, Any], reference: Any) -> list[Case]:
        shown = reference if self.use_reference else None
        return [Case(principle, prompt, responses, shown) for principle in self.principles]

    def _reasoning(self, verdicts: list[Verdict]) -> str:
        if len(verdicts) == 1:
            return verdicts[0].explanation
        pairs = zip(self.principles, verdicts, strict=True)
        return "\n\n".join(
            f"[{principle.name or principle.text}]\n{verdict.explanation}" for principle, verdict in pairs
        )

    def _unmeasured(self, outcomes: Outcomes) -> dict[str, Any] | None:
        failures = [outcome for outcome in outcomes if isinstance(outcome, JudgeFailure)]
        if not failures:
            return None
        errors = [failure.to_dict() for failure in failures]
        return {"reasoning": not_judged(failures), "value": None, "score": None, "errors": errors}


class PrincipleEvaluator(_Principled, StringEvaluator):
    """Scores a prediction under a principle.

    The result has ``score`` (0.0..1.0, or None if it was not judged), ``value`` (on the judge's scale, 1.0..5.0)
    and ``reasoning``.
    """

    def _evaluate_strings(
        self,
        *,
        prediction: Any,
        reference: Any = None,
        input: Any = None,  # noqa: A002
        **_: Any,
    ) -> dict[str, Any]:
        return self._result(self.judge.judge_batch(self._cases(input, {"prediction": prediction}, reference)))

    async def _aevaluate_strings(
        self,
        *,
        prediction: Any,
        reference: Any = None,
        input: Any = None,  # noqa: A002
        **_: Any,
    ) -> dict[str, Any]:
        return self._result(await self.judge.ajudge_batch(self._cases(input, {"prediction": prediction}, reference)))

    def _result(self, outcomes: Outcomes) -> dict[str, Any]:
        if unmeasured := self._unmeasured(outcomes):
            return unmeasured
        verdicts = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
        value = sum(verdict.scores["prediction"] for verdict in verdicts) / len(verdicts)
        return {
            "reasoning": self._reasoning(verdicts),
            "value": value,
            "score": (value - 1) / 4,
            "metadata": [verdict.provenance for verdict in verdicts],
        }


class PrinciplePairwiseEvaluator(_Principled, PairwiseStringEvaluator):
    """Says which of two predictions follows a principle better, by one listwise verdict.

    The result has ``value`` ("A" for ``prediction``, "B" for ``prediction_b``, None for a tie), ``score`` (1, 0, or 0.5
    for a tie) and ``reasoning``; ``scores`` has both on the judge's scale. What was not judged has None for both
    ``value`` and ``score``.
    """

    def _evaluate_string_pairs(
        self,
        *,
        prediction: str,
        prediction_b: str,
        reference: str | None = None,
        input: str | None = None,  # noqa: A002
        **_: Any,
    ) -> dict[str, Any]:
        pair = {"A": prediction, "B": prediction_b}
        return self._result(self.judge.judge_batch(self._cases(input, pair, reference)))

    async def _aevaluate_string_pairs(
        self,
        *,
        prediction: str,
        prediction_b: str,
        reference: str | None = None,
        input: str | None = None,  # noqa: A002
        **_: Any,
    ) -> dict[str, Any]:
        pair = {"A": prediction, "B": prediction_b}
        return self._result(await self.judge.ajudge_batch(self._cases(input, pair, reference)))

    def _result(self, outcomes: Outcomes) -> dict[str, Any]:
        if unmeasured := self._unmeasured(outcomes):
            return unmeasured
        verdicts = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
        scores = {label: sum(verdict.scores[label] for verdict in verdicts) / len(verdicts) for label in "AB"}
        margin = scores["A"] - scores["B"]
        tie = abs(margin) < 1e-9  # means of the same scores in another order
        return {
            "reasoning": self._reasoning(verdicts),
            "value": None if tie else "A" if margin > 0 else "B",
            "score": 0.5 if tie else 1 if margin > 0 else 0,
            "scores": scores,
            "metadata": [verdict.provenance for verdict in verdicts],
        }
