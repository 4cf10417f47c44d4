"""`assert_not_worse`: a response must not score less than another, or than a recorded baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, Literal

import pytest

from rewardanything_core import BaseJudge, JudgeFailure, Principle, RewardAnythingError
from rewardanything_core.cases import Conversation
from rewardanything_core.conversations import Response
from rewardanything_core.gate import CheckReport, Comparison, Pair, check
from rewardanything_pytest import baselines, messages
from rewardanything_pytest.judging import (
    Assertion,
    Principles,
    Prompt,
    Row,
    is_single,
    principles_of,
    resampled,
    rows_of,
    with_responses,
)

MIN_TEST_INPUTS = 20
"""Number of inputs from which the gate tests for significance. With fewer it seldom has a result, and means are
compared instead: 13 inputs that all lose one point are not yet a significant drop."""

MAX_FAILURES = 0.05
"""Share of judgements that may fail in a significance test, if the outcome is clear without them."""


class AssertNotWorse(Assertion):
    """The fixture ``assert_not_worse``.

    Args:
        item: The test.
        get_judge: Returns the value of the fixture ``judge``.
    """

    def __init__(self, item: pytest.Item, get_judge: Callable[[], BaseJudge]) -> None:
        super().__init__(item, get_judge)
        self._unnamed = 0

    def __call__(
        self,
        candidate: Response | Conversation | Sequence[Response | Conversation],
        baseline: Response | Conversation | Sequence[Response | Conversation] | None = None,
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

        Both are judged together, blind, in both orders. Fewer than 20 inputs fail if the candidate's mean score is
        lower by more than the margin, and again in fresh orders. 20 and more are tested as ``ra-judge check`` does.

        Args:
            candidate: The response, a text or the messages of an agent's run, or a list of responses.
            baseline: What to compare it with. None: what ``pytest --ra-update`` recorded for this test.
            principle: The principle or rubric to judge by, or a list of them, each of which must be met; a rubric as a
                whole and under each criterion.
            prompt: What both answer: a text or chat messages; for several responses, one for all or a list.
            margin: The tolerated drop in mean score, in points of the 1..5 scale. None: 0.5 for fewer than 20 inputs,
                else 0.3, which a pass then rules out.
            name: Name of the recorded baseline. None: the number of the assertion in its test.
            on_inconclusive: What to do where 20 inputs or more show neither a drop nor its absence.
            reference: A good answer for the judge to compare with; one for all or a list.
            context: Background that the judge should know; one for all or a list.

        Raises:
            AssertionError: the candidate is worse, or there is no baseline. The message has the judge's reasoning.
            NotJudgedError: the judge failed.
            InvalidCaseError: a text is empty, or an argument is not a text or list, such as a mapping.
            ValueError: lists have different lengths.
        """
        __tracebackhide__ = True
        if principle is None:
            raise TypeError("assert_not_worse() needs a principle; the second argument is the baseline.")
        if baseline is not None and is_single(baseline) != is_single(candidate):
            raise TypeError("Give either one candidate and one baseline, or lists of both.")
        principles = principles_of(principle)
        rows = rows_of(self.item, candidate, prompt, reference, context, what="candidate")
        if baseline is None:
            recorded = self._recorded(rows, name, single=is_single(candidate))
            if recorded is None:
                return
            baseline = recorded
        before = with_responses(rows, baseline, what="baseline")
        if len({repr(row["prompt"]) for row in rows}) < MIN_TEST_INPUTS:
            self._compare_means(before, rows, principles, 0.5 if margin is None else margin)
        else:
            self._test_significance(before, rows, principles, 0.3 if margin is None else margin, on_inconclusive)

    def _compare_means(
        self, before: list[Row], rows: list[Row], principles: Sequence[Principle], margin: float
    ) -> None:
        """Fail if the mean difference is below the margin in two looks."""
        __tracebackhide__ = True
        report = self._report(self.judge, before, rows, principles, margin, max_failures=0.0)
        suspects = [comparison for comparison in report.comparisons if _is_below(comparison, margin)]
        if not suspects:
            return
        suspected = list(dict.fromkeys(comparison.requirement.principle for comparison in suspects))
        second_report = self._report(resampled(self.judge), before, rows, suspected, margin, max_failures=0.0)
        second_looks = {comparison.requirement.name: comparison for comparison in second_report.comparisons}
        failed = []
        for first in suspects:
            second = second_looks[first.requirement.name]
            message = (
                f"{first.difference:+.2f} against the baseline, judged again {second.difference:+.2f} "
                f"(-{margin:g} is allowed), under {_quoted(first)}"
            )
            if _is_below(second, margin):
                second_look = {pair.id: pair for pair in second_report.of(second)}
                failed.append(self._worse(message, report, first, second_look))
            else:
                self.notes.remarks.append(f"suspected, not confirmed: {message}")
        if failed:
            raise AssertionError("\n\n".join(failed))

    def _test_significance(
        self,
        before: list[Row],
        rows: list[Row],
        principles: Sequence[Principle],
        margin: float,
        on_inconclusive: str,
    ) -> None:
        """Fail on a significant drop, as the gate finds it."""
        __tracebackhide__ = True
        report = self._report(self.judge, before, rows, principles, margin, max_failures=MAX_FAILURES)
        regressions, inconclusive = [], []
        for comparison in report.comparisons:
            message = f"{_quoted(comparison)}: {comparison.reason}{_both_looks(report.of(comparison))}"
            if comparison.outcome == "regression":
                regressions.append(self._worse(f"worse than the baseline under {message}", report, comparison, {}))
            elif comparison.outcome == "inconclusive":
                inconclusive.append(self._worse(f"inconclusive under {message}", report, comparison, {}))
                self.notes.remarks.append(f"inconclusive under {message}")
            elif comparison.confirmed is False:
                self.notes.remarks.append(f"suspected, not confirmed, under {message}")
        if regressions or (inconclusive and on_inconclusive == "fail"):
            raise AssertionError("\n\n".join(regressions or inconclusive))

    def _worse(self, head: str, report: CheckReport, comparison: Comparison, second_look: Mapping[str, Pair]) -> str:
        pairs = report.worst(comparison, limit=len(report.pairs))
        return messages.worse(head, comparison.requirement, pairs, second_look, verbose=self.verbose)

    def _report(
        self,
        judge: BaseJudge,
        before: list[Row],
        rows: list[Row],
        principles: Sequence[Principle],
        margin: float,
        *,
        max_failures: float,
    ) -> CheckReport:
        """The gate's report. Fails or skips the test if too many judgements failed for an outcome."""
        __tracebackhide__ = True
        try:
            report = check(before, rows, principles, judge=judge, margin=margin, max_failures=max_failures)
        except RewardAnythingError as error:
            self.not_judged_because(error)
        judged = [pair for pair in report.pairs if pair.criterion is None]
        failures = [pair.failure for pair in judged if pair.failure] or _unconfirmed(report)
        looks = [bool(look) for pair in judged for look in (pair.pass_differences, pair.fresh_differences)]
        self.note(judge.model, judged=sum(looks), failed=len(failures), usage=report.usage)
        if failures and (max_failures == 0 or report.outcome == "inconclusive"):
            self.not_judged(failures, total=len(judged))
        return report

    # --- recorded baselines

    def _recorded(self, rows: list[Row], name: str | None, *, single: bool) -> Any:
        """The recorded responses. None: the present ones were recorded instead."""
        __tracebackhide__ = True
        self._unnamed += name is None
        name = str(self._unnamed) if name is None else name
        path, test, notes = baselines.baseline_file(self.item.path), baselines.test_key(self.item), self.notes
        notes.file, notes.test = str(path), test
        if name in notes.used:
            raise ValueError(f"Two baselines of this test are named {name!r}; each needs its own name.")
        notes.used.append(name)
        stored = baselines.read(path).get(test, {}).get(name)
        present = [{key: baselines.to_lines(row[key]) for key in ("prompt", "response")} for row in rows]
        if self.item.config.getoption("--ra-update"):
            notes.recorded[name] = present[0] if single else present
            return None
        where = f"{name!r} of {test} in {baselines.FOLDER}/{path.name}"
        if stored is None:
            raise AssertionError(f"there is no baseline {where}; record it with: pytest --ra-update")
        entries = [stored] if isinstance(stored, dict) else stored
        if [entry["prompt"] for entry in entries] != [entry["prompt"] for entry in present]:
            raise AssertionError(
                f"the baseline {where} belongs to other prompts; record it again with: pytest --ra-update"
            )
        responses = [baselines.from_lines(entry["response"]) for entry in entries]
        return responses[0] if single else responses


def _quoted(comparison: Comparison) -> str:
    """The principle's name or text in quotes, or that of a criterion."""
    requirement = comparison.requirement
    return messages.quoted(requirement.principle) if requirement.criterion is None else f'"{requirement.name}"'


def _is_below(comparison: Comparison, margin: float) -> bool:
    return (comparison.difference or 0.0) < -margin - 1e-9


def _unconfirmed(report: CheckReport) -> list[JudgeFailure]:
    """Pairs whose confirmation failed. The gate counts only failures of the first look."""
    judgements = {  # of a rubric, one for all of its criteria
        (comparison.requirement.principle, pair.id): JudgeFailure(
            case_id=pair.id, error_type="JudgeFailure", message=f"{pair.id} could not be judged again."
        )
        for comparison in report.comparisons
        if comparison.confirmed is not None or report.exhausted
        for pair in report.of(comparison)
        if pair.pass_differences and not pair.fresh_differences and not pair.unchanged
    }
    return list(judgements.values())


def _both_looks(pairs: Sequence[Pair]) -> str:
    """The mean differences of the first and the second look, if there was a second one."""
    confirmed = [pair for pair in pairs if pair.fresh_differences]
    if not confirmed:
        return ""
    first = fmean(fmean(pair.pass_differences) for pair in confirmed)
    second = fmean(fmean(pair.fresh_differences) for pair in confirmed)
    return f" At first {first:+.2f}, judged again {second:+.2f}."
