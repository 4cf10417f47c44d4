"""`assert_principle`: a response must reach a score."""

from __future__ import annotations

from collections.abc import Sequence

from rewardanything_core import BaseJudge, Case, JudgeFailure, RewardAnythingError, Usage, Verdict
from rewardanything_pytest import messages
from rewardanything_pytest.judging import Assertion, Principles, Prompt, principles_of, resampled, rows_of


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

        A response that scores less is judged again with other seeds, and fails if it scores less again.

        Args:
            response: The response, or a list of responses, which are judged in one batch.
            principle: The principle to judge by, or a list of principles, each of which must be met.
            prompt: What the response answers: a text or chat messages; for several responses, one for all or a list.
            min_score: The lowest acceptable score, 1..5.
            reference: A good answer for the judge to compare with; one for all or a list.
            context: Background that the judge should know; one for all or a list.

        Raises:
            AssertionError: a score is too low, twice. The message has the judge's reasoning.
            NotJudgedError: the judge failed.
            InvalidCaseError: a text is empty, or an argument is not a text or list, such as a mapping.
            ValueError: ``min_score`` is out of range, or lists have different lengths.
        """
        __tracebackhide__ = True
        if not 1 <= min_score <= 5:
            raise ValueError(f"min_score must be on the judge's scale of 1..5, not {min_score!r}.")
        rows = rows_of(self.item, response, prompt, reference, context)
        cases = [
            Case(each, row["prompt"], {"response": row["response"]}, row["reference"], row["context"], row["id"])
            for each in principles_of(principle)
            for row in rows
        ]
        first = self._verdicts(self.judge, cases)
        scores = [messages.score_of(verdict) for verdict in first]
        self.notes.scores += [
            (score, messages.quoted(case.principle)) for score, case in zip(scores, cases, strict=True)
        ]
        low = sorted((i for i, score in enumerate(scores) if score < min_score), key=lambda i: scores[i])
        if not low:
            return
        judge, suspects = resampled(self.judge), [cases[i] for i in low]
        second = self._verdicts(judge, suspects, when=" when a low score was judged again")
        failed = []
        for i, verdict in zip(low, second, strict=True):
            score = messages.score_of(verdict)
            if score < min_score:
                failed.append((cases[i], first[i], verdict))
            else:
                self.notes.remarks.append(
                    f"suspected, not confirmed: score {scores[i]:.2f}, judged again {score:.2f} "
                    f"({min_score:g} is required) under {messages.quoted(cases[i].principle)}"
                )
        if failed:
            raise AssertionError(
                messages.low_scores(failed, total=len(cases), min_score=min_score, verbose=self.verbose)
            )

    def _verdicts(self, judge: BaseJudge, cases: Sequence[Case], when: str = "") -> list[Verdict]:
        __tracebackhide__ = True
        try:
            outcomes = judge.judge_batch(cases)
        except RewardAnythingError as error:
            self.not_judged_because(error)
        verdicts = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
        failures = [outcome for outcome in outcomes if isinstance(outcome, JudgeFailure)]
        usage = sum((o.usage for o in outcomes if isinstance(o, JudgeFailure) or not o.cached), Usage())
        self.note(judge.model, judged=len(verdicts), failed=len(failures), usage=usage)
        if failures:
            self.not_judged(failures, total=len(cases), when=when)
        return verdicts
