"""`assert_principle`: a response must reach a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rewardanything_core import BaseJudge, Case, JudgeFailure, Principle, RewardAnythingError, Rubric, Usage, Verdict
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
        min_score: float | Mapping[str, float] = 3.0,
        reference: str | Sequence[str] | None = None,
        context: str | Sequence[str] | None = None,
    ) -> None:
        """Assert that a response scores at least ``min_score`` under a principle.

        A response that scores less is judged again with other seeds, and fails if it scores less again.

        Args:
            response: The response, a text or the messages of an agent's run; or a list of responses, which are judged
                in one batch.
            principle: The principle or rubric to judge by, or a list of them, each of which must be met. The required
                criteria of a rubric must always be met.
            prompt: What the response answers: a text or chat messages; for several responses, one for all or a list.
            min_score: The lowest acceptable score, 1..5, under a rubric of the whole; or criterion of the rubric ->
                the lowest acceptable score under it.
            reference: A good answer for the judge to compare with; one for all or a list.
            context: Background that the judge should know; one for all or a list.

        Raises:
            AssertionError: a score is too low, twice. The message has the judge's reasoning, and names the criterion.
            NotJudgedError: the judge failed.
            InvalidCaseError: a text is empty, or an argument is not a text or list, such as a mapping.
            ValueError: ``min_score`` is out of range or names a criterion that does not exist, or lists have different
                lengths.
        """
        __tracebackhide__ = True
        principles = principles_of(principle)
        _check(min_score, principles)
        rows = rows_of(self.item, response, prompt, reference, context)
        cases = [
            Case(each, row["prompt"], {"response": row["response"]}, row["reference"], row["context"], row["id"])
            for each in principles
            for row in rows
        ]
        first = self._verdicts(self.judge, cases)
        scores = [messages.score_of(verdict) for verdict in first]
        self.notes.scores += [
            (score, messages.quoted(case.principle)) for score, case in zip(scores, cases, strict=True)
        ]
        shortfalls = [_shortfalls(case, verdict, min_score) for case, verdict in zip(cases, first, strict=True)]
        low = sorted((i for i, missed in enumerate(shortfalls) if missed), key=lambda i: scores[i])
        if not low:
            return
        judge, suspects = resampled(self.judge), [cases[i] for i in low]
        second = self._verdicts(judge, suspects, when=" when a low score was judged again")
        failed = []
        for i, verdict in zip(low, second, strict=True):
            again = _shortfalls(cases[i], verdict, min_score)
            if confirmed := {criterion: least for criterion, least in shortfalls[i].items() if criterion in again}:
                failed.append(messages.LowScore(cases[i], first[i], verdict, confirmed))
            else:
                low_scores = messages.LowScore(cases[i], first[i], verdict, shortfalls[i])
                self.notes.remarks.append(f"suspected, not confirmed: {low_scores.summary(confirmed=False)}")
        if failed:
            raise AssertionError(messages.low_scores(failed, total=len(cases), verbose=self.verbose))

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


def _shortfalls(case: Case, verdict: Verdict, min_score: float | Mapping[str, float]) -> dict[str | None, float]:
    """Criterion, or None for the whole -> the minimum that the response does not reach.

    A required criterion that is missed is reported instead of the whole, whose score is then 1.
    """
    criteria = case.principle.criteria if isinstance(case.principle, Rubric) else {}
    minimums = {name: criterion.required for name, criterion in criteria.items() if criterion.required is not None}
    if isinstance(min_score, Mapping):
        minimums = {name: max(minimums.get(name, 1.0), min_score.get(name, 1.0)) for name in criteria}
    missed: dict[str | None, float] = {
        name: least for name, least in minimums.items() if messages.score_of(verdict, name) < least
    }
    if not missed and not isinstance(min_score, Mapping) and messages.score_of(verdict) < min_score:
        missed[None] = min_score
    return missed


def _check(min_score: float | Mapping[str, float], principles: Sequence[Principle]) -> None:
    by_criterion = min_score if isinstance(min_score, Mapping) else {}
    for each in principles:
        criteria = each.criteria if isinstance(each, Rubric) else {}
        if unknown := [name for name in by_criterion if name not in criteria]:
            has = f"which has: {', '.join(criteria)}" if criteria else "which is not a rubric"
            raise ValueError(f"min_score names a criterion {unknown[0]!r} of {messages.quoted(each)}, {has}.")
    for value in by_criterion.values() if isinstance(min_score, Mapping) else [min_score]:
        if not 1 <= value <= 5:
            raise ValueError(f"min_score must be on the judge's scale of 1..5, not {value!r}.")
