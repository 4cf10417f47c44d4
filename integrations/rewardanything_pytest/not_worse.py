"""`assert_not_worse`: a response must hold its own against another, or against a recorded baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Literal

import pytest

from rewardanything_core import BaseJudge, JudgeFailure, Principle, RewardAnythingError
from rewardanything_core.gate import CheckReport, Comparison, Pair, check
from rewardanything_pytest import baselines, wording
from rewardanything_pytest.judging import Assertion, Principles, Prompt, Row, resampled, rows_of

FEWEST = 5
"""With fewer inputs no drop can be significant at 5%, and means are compared instead."""

MAX_FAILURES = 0.05
"""Share of judgements that may fail in a comparison of many, if the outcome is clear without them."""


class AssertNotWorse(Assertion):
    """The fixture ``assert_not_worse``."""

    def __init__(self, item: pytest.Item, judge: Callable[[], BaseJudge]) -> None:
        super().__init__(item, judge)
        self._numbered = 0

    def __call__(
        self,
        candidate: str | Sequence[str],
        baseline: str | Sequence[str] | None = None,
        principle: Principles | None = None,
        *,
        prompt: Prompt | Sequence[Prompt],
        margin: float | None = None,
        name: str | None = None,
        on_inconclusive: Literal["report", "fail"] = "report",
        reference: str | Sequence[str] | None = None,
        context: str | Sequence[str] | None = None,
    ) -> None:
        """Assert that a response is not worse than another under a principle.

        Both are judged together, blind, in both orders. Fewer than five inputs fail if the candidate's mean score is
        lower by more than the margin, and again in fresh orders. Five and more are tested as ``ra-judge check`` does.

        Args:
            candidate: The response, or several.
            baseline: What to compare it with. None: what ``pytest --ra-update`` recorded for this test.
            principle: What to judge by, or several principles, each of which must be kept.
            prompt: What both answer: a text or chat messages; for several responses, one for all or a list.
            margin: The drop in mean score that is tolerated, points of the 1..5 scale. None: 0.5 for fewer than five
                inputs, else 0.3, which a pass then rules out.
            name: Of the recorded baseline. None: its number among those of the test.
            on_inconclusive: What to do where five inputs or more show neither a drop nor its absence.
            reference: A good answer for the judge to compare with; one for all or a list.
            context: Background that the judge should know; one for all or a list.

        Raises:
            AssertionError: the candidate is worse, or there is no baseline. The message holds the judge's reasoning.
            NotJudgedError: the judge failed.
            InvalidCaseError: a text is empty or no text.
        """
        __tracebackhide__ = True
        if principle is None:
            raise TypeError("assert_not_worse() needs a principle; the second argument is the baseline.")
        if baseline is not None and isinstance(baseline, str) != isinstance(candidate, str):
            raise TypeError("Give either one candidate and one baseline, or lists of both.")
        principles = Principle.several(principle)
        rows = rows_of(self.item, candidate, prompt, reference, context)
        if baseline is None:
            recorded = self._recorded(rows, name, one=isinstance(candidate, str))
            if recorded is None:
                return
            baseline = recorded
        before = rows_of(self.item, baseline, prompt, reference, context)
        if len(before) != len(rows):
            raise ValueError(f"There are {len(rows)} candidates and {len(before)} baselines.")
        if len({repr(row["prompt"]) for row in rows}) < FEWEST:
            self._compare(before, rows, principles, 0.5 if margin is None else margin)
        else:
            self._test(before, rows, principles, 0.3 if margin is None else margin, on_inconclusive)

    def _compare(self, before: list[Row], rows: list[Row], principles: Sequence[Principle], margin: float) -> None:
        """Few inputs: the mean difference, looked at twice."""
        __tracebackhide__ = True
        first = self._checked(self.judge, before, rows, principles, margin, max_failures=0.0)
        lower = [found for found in first.comparisons if (found.difference or 0.0) < -margin - 1e-9]
        if not lower:
            return
        suspected = [found.requirement.principle for found in lower]
        again = self._checked(resampled(self.judge), before, rows, suspected, margin, max_failures=0.0)
        worse = []
        for found, then in zip(lower, again.comparisons, strict=True):
            assert found.difference is not None
            assert then.difference is not None
            told = (
                f"{found.difference:+.2f} against the baseline, judged again {then.difference:+.2f} "
                f"(-{margin:g} is allowed), under {wording.named(found.requirement.principle)}"
            )
            if then.difference < -margin - 1e-9:
                worse.append(self._lost(told, first, found, {pair.id: pair for pair in again.of(then)}))
            else:
                self.notes.remarks.append(f"suspected, not confirmed: {told}")
        if worse:
            raise AssertionError("\n\n".join(worse))

    def _test(
        self,
        before: list[Row],
        rows: list[Row],
        principles: Sequence[Principle],
        margin: float,
        on_inconclusive: str,
    ) -> None:
        """Five inputs and more: the gate's three outcomes."""
        __tracebackhide__ = True
        report = self._checked(self.judge, before, rows, principles, margin, max_failures=MAX_FAILURES)
        worse, open_ = [], []
        for found in report.comparisons:
            told = f"{wording.named(found.requirement.principle)}: {found.reason}{_looks(report.of(found))}"
            if found.outcome == "regression":
                worse.append(self._lost(f"worse than the baseline under {told}", report, found, {}))
            elif found.outcome == "inconclusive":
                open_.append(self._lost(f"inconclusive under {told}", report, found, {}))
                self.notes.remarks.append(f"inconclusive under {told}")
            elif found.confirmed is False:
                self.notes.remarks.append(f"suspected, not confirmed, under {told}")
        if worse or (open_ and on_inconclusive == "fail"):
            raise AssertionError("\n\n".join(worse or open_))

    def _lost(self, head: str, report: CheckReport, found: Comparison, again: Mapping[str, Pair]) -> str:
        pairs = report.worst(found, limit=len(report.pairs))
        return wording.lost(head, found.requirement.principle, pairs, again, verbose=self.verbose)

    def _checked(
        self,
        judge: BaseJudge,
        before: list[Row],
        rows: list[Row],
        principles: Sequence[Principle],
        margin: float,
        *,
        max_failures: float,
    ) -> CheckReport:
        """The gate's report, if the judge could say enough for one."""
        __tracebackhide__ = True
        try:
            report = check(before, rows, principles, judge=judge, margin=margin, max_failures=max_failures)
        except RewardAnythingError as error:
            self.give_up_on(error)
        failures = [pair.failure for pair in report.pairs if pair.failure] or _unconfirmed(report)
        looks = [bool(look) for pair in report.pairs for look in (pair.pass_differences, pair.fresh_differences)]
        self.note(judge.model, judged=sum(looks), failed=len(failures), usage=report.usage)
        if failures and (max_failures == 0 or report.outcome == "inconclusive"):
            self.give_up(failures, of=len(report.pairs))
        return report

    # --- recorded baselines

    def _recorded(self, rows: list[Row], name: str | None, *, one: bool) -> str | list[str] | None:
        """The recorded responses; None if the present ones were recorded instead."""
        __tracebackhide__ = True
        self._numbered += name is None
        name = str(self._numbered) if name is None else name
        path = baselines.baselines_of(self.item.path)
        notes, test = self.notes, baselines.key_of(self.item)
        notes.file, notes.test = str(path), test
        if name in notes.used:
            raise ValueError(f"Two baselines of this test are named {name!r}; each needs a name of its own.")
        notes.used.append(name)
        there = baselines.read(path).get(test, {}).get(name)
        now = [{key: baselines.fold(row[key]) for key in ("prompt", "response")} for row in rows]
        if self.item.config.getoption("--ra-update"):
            notes.recorded[name] = now[0] if one else now
            return None
        where = f"{name!r} of {test} in {baselines.FOLDER}/{path.name}"
        if there is None:
            raise AssertionError(f"there is no baseline {where}; record it with: pytest --ra-update")
        exchanges = [there] if isinstance(there, dict) else there
        if [found["prompt"] for found in exchanges] != [found["prompt"] for found in now]:
            raise AssertionError(f"the baseline {where} answers other prompts; record it anew with: pytest --ra-update")
        responses = [baselines.unfold(found["response"]) for found in exchanges]
        return responses[0] if one else responses


def _unconfirmed(report: CheckReport) -> list[JudgeFailure]:
    """What could not be judged when a suspicion was looked at again: the gate counts the first look alone there."""
    return [
        JudgeFailure(case_id=pair.id, error_type="JudgeFailure", message=f"{pair.id} could not be judged again.")
        for found in report.comparisons
        if found.confirmed is not None or report.exhausted
        for pair in report.of(found)
        if pair.pass_differences and not pair.fresh_differences and not pair.unchanged
    ]


def _looks(pairs: Sequence[Pair]) -> str:
    """The mean differences at first and when judged again, if both were needed."""
    looked = [pair for pair in pairs if pair.fresh_differences]
    if not looked:
        return ""
    first = fmean(fmean(pair.pass_differences) for pair in looked)
    again = fmean(fmean(pair.fresh_differences) for pair in looked)
    return f" At first {first:+.2f}, judged again {again:+.2f}."
