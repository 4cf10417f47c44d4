"""`assert_principle`: a response must score enough."""

from __future__ import annotations

from collections.abc import Sequence

from rewardanything_core import BaseJudge, Case, JudgeFailure, Principle, RewardAnythingError, Usage, Verdict
from rewardanything_pytest import wording
from rewardanything_pytest.judging import Assertion, Principles, Prompt, resampled, rows_of


class AssertPrinciple(Assertion):
    """The fixture ``assert_principle``."""

    def __call__(
        self,
        response: str | Sequence[str],
        principle: Principles,
        *,
        prompt: Prompt | Sequence[Prompt],
        min_score: float = 3.0,
        reference: str | Sequence[str] | None = None,
        context: str | Sequence[str] | None = None,
    ) -> None:
        """Assert that a response scores at least ``min_score`` under a principle.

        A response that does not is judged again with other seeds, and fails if it scores too low again.

        Args:
            response: The response, or several, which are judged in one batch.
            principle: What to judge by, or several principles, each of which must be kept.
            prompt: What the response answers: a text or chat messages; for several responses, one for all or a list.
            min_score: The least score, 1..5.
            reference: A good answer for the judge to compare with; one for all or a list.
            context: Background that the judge should know; one for all or a list.

        Raises:
            AssertionError: a score is too low, twice. The message holds the judge's reasoning.
            NotJudgedError: the judge failed.
            InvalidCaseError: a text is empty or no text.
        """
        __tracebackhide__ = True
        if not 1 <= min_score <= 5:
            raise ValueError(f"min_score is on the judge's scale of 1..5, not {min_score!r}.")
        rows = rows_of(self.item, response, prompt, reference, context)
        cases = [
            Case(each, row["prompt"], {"response": row["response"]}, row["reference"], row["context"], row["id"])
            for each in Principle.several(principle)
            for row in rows
        ]
        first = self._judged(self.judge, cases)
        scores = [wording.score_of(verdict) for verdict in first]
        self.notes.scores += [(score, wording.named(case.principle)) for score, case in zip(scores, cases, strict=True)]
        low = sorted((i for i, score in enumerate(scores) if score < min_score), key=lambda i: scores[i])
        if not low:
            return
        again = self._judged(resampled(self.judge), [cases[i] for i in low], then=" when a low score was judged again")
        failed = []
        for i, verdict in zip(low, again, strict=True):
            score = wording.score_of(verdict)
            if score < min_score:
                failed.append((cases[i], first[i], verdict))
            else:
                self.notes.remarks.append(
                    f"suspected, not confirmed: score {scores[i]:.2f}, judged again {score:.2f} "
                    f"({min_score:g} is asked) under {wording.named(cases[i].principle)}"
                )
        if failed:
            raise AssertionError(wording.low_scores(failed, of=len(cases), min_score=min_score, verbose=self.verbose))

    def _judged(self, judge: BaseJudge, cases: Sequence[Case], then: str = "") -> list[Verdict]:
        __tracebackhide__ = True
        try:
            outcomes = judge.judge_batch(cases)
        except RewardAnythingError as error:
            self.give_up_on(error)
        verdicts = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
        failures = [outcome for outcome in outcomes if isinstance(outcome, JudgeFailure)]
        usage = sum((o.usage for o in outcomes if isinstance(o, JudgeFailure) or not o.cached), Usage())
        self.note(judge.model, judged=len(verdicts), failed=len(failures), usage=usage)
        if failures:
            self.give_up(failures, of=len(cases), then=then)
        return verdicts
