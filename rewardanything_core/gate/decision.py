"""Decisions on comparisons: tests, confirmation of suspected regressions, and controls before a pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from rewardanything_core.estimation import CorrectedMean, LabelledSample, corrected_mean
from rewardanything_core.gate.controls import parse_controls, unnoticed
from rewardanything_core.gate.labels import PeopleLabels
from rewardanything_core.gate.results import CheckOutcome, Control, Pair, Requirement
from rewardanything_core.gate.samples import by_input, fresh_passes_drop, misses_minimum
from rewardanything_core.gate.significance import TestResult, run_tests
from rewardanything_core.gate.trial import Trial

Key = tuple[str, str]
"""A comparison: the candidate's name and the requirement's."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The decision on one comparison."""

    outcome: CheckOutcome
    """The outcome."""

    test: TestResult
    """The tests over all passes."""

    confirmed: bool | None
    """Whether judging again confirmed a suspicion. None: nothing was suspected, or no confirmation was made."""

    void: bool
    """Whether too many judgements failed for any decision."""

    controls: tuple[Control, ...] = ()
    """The controls evaluated before a pass."""

    corrected: CorrectedMean | None = None
    """The difference corrected with people's labels, which the tests are about. None: there are no labels."""

    labels: int = 0
    """Number of inputs with different answers whose labels it rests on."""

    def with_controls(self, controls: Sequence[Control]) -> Decision:
        """The decision after controls; it becomes inconclusive if the judge did not notice one of them."""
        outcome: CheckOutcome = "inconclusive" if unnoticed(controls) else self.outcome
        return dataclasses.replace(self, outcome=outcome, controls=tuple(controls))


def decide(test: TestResult, pairs: Sequence[Pair], *, regressed: bool, confirmed: bool | None, void: bool) -> Decision:
    """The decision on a comparison before any controls.

    Args:
        test: The tests over all passes.
        pairs: The pairs of the comparison.
        regressed: Whether there is a regression, after confirmation.
        confirmed: Whether judging again confirmed it. None: nothing was suspected, or no confirmation was made.
        void: Whether too many judgements failed for any decision.
    """
    outcome: CheckOutcome = "inconclusive"
    if void:
        confirmed = None
    elif regressed:
        outcome = "regression"
    elif confirmed is False:
        pass  # passing now would be a second chance, with a larger error probability than alpha
    elif test.within or (pairs and all(pair.unchanged and not pair.failure for pair in pairs)):
        outcome = "passed"
    return Decision(outcome=outcome, test=test, confirmed=confirmed, void=void)


class DecisionMaker:
    """Decides on every comparison of a trial, and has suspected regressions judged again.

    Args:
        trial: The trial.
        candidates: Names of the candidates.
        requirements: The principles.
        alpha: One-sided error probability.
        confirm: Whether suspected regressions are judged again before they count.
        labels: People's labels, which correct the judge. Comparisons with labels need neither confirmation nor
            controls, since these guard against errors of the judge. None: there are none.
    """

    def __init__(
        self,
        trial: Trial,
        candidates: Sequence[str],
        requirements: Sequence[Requirement],
        *,
        alpha: float,
        confirm: bool,
        labels: PeopleLabels | None = None,
    ) -> None:
        self.requirements = {requirement.name: requirement for requirement in requirements}
        self._trial = trial
        self._keys: list[Key] = [(candidate, name) for name in self.requirements for candidate in candidates]
        self._alpha, self._confirm = alpha, confirm
        self._labels = labels
        self._labelled = {
            key for key in self._keys if labels is not None and labels.covers(self.requirements[key[1]], key[0])
        }

    def decide(self, *, last: bool) -> dict[Key, Decision]:
        """Decide on every comparison after the cases judged so far.

        Args:
            last: Whether all cases are judged; minimum scores count only then.
        """
        pairs = self._trial.pairs()
        tests = self._tests(pairs)
        missed = {key for key in self._keys if last and self._misses_minimum(pairs, key)}
        suspects = {key for key in self._keys if tests[key].suspected} | missed
        certain = {key for key in suspects & self._labelled if tests[key].suspected}
        suspects -= certain
        regressed = suspects
        if suspects and self._confirm and not self._trial.exhausted:
            self._trial.confirm(name for _, name in suspects)
            dropped = {key for key in suspects if tests[key].suspected}
            pairs = self._trial.pairs()
            tests = self._tests(pairs)
            regressed = {
                key
                for key in suspects
                if (key in dropped and tests[key].suspected and fresh_passes_drop(pairs_of(pairs, key)))
                or (key in missed and self._misses_minimum(pairs, key))
            }
        confirmed = {key: key in regressed for key in suspects} if self._confirm else {}
        decisions = {
            key: decide(
                tests[key],
                pairs_of(pairs, key),
                regressed=key in regressed | certain,
                confirmed=confirmed.get(key),
                void=self._trial.exhausted,
            )
            for key in self._keys
        }
        samples = self._samples(pairs)
        for key in self._labelled:
            decisions[key] = self._with_labels(key, decisions[key], samples.get(key), pairs_of(pairs, key))
        return {
            key: self._with_controls(key, decision, pairs_of(pairs, key)) if decision.outcome == "passed" else decision
            for key, decision in decisions.items()
        }

    def _samples(self, pairs: Sequence[Pair]) -> dict[Key, LabelledSample]:
        """The differences with labels of each comparison that has enough of them."""
        found = {
            key: self._labels.sample(pairs_of(pairs, key), self.requirements[key[1]])
            for key in self._labelled
            if self._labels is not None
        }
        return {key: sample for key, sample in found.items() if sample is not None}

    def _with_labels(
        self, key: Key, decision: Decision, sample: LabelledSample | None, pairs: Sequence[Pair]
    ) -> Decision:
        if sample is None or self._labels is None:
            return dataclasses.replace(decision, outcome="inconclusive", void=True)
        found = corrected_mean(sample, confidence=1 - 2 * self._alpha)
        labels = self._labels.count(pairs, self.requirements[key[1]])
        return dataclasses.replace(decision, corrected=found, labels=labels)

    def _with_controls(self, key: Key, decision: Decision, pairs: Sequence[Pair]) -> Decision:
        if key in self._labelled or all(pair.unchanged for pair in pairs):
            return decision
        requirement = self.requirements[key[1]]
        kinds = parse_controls(requirement.controls)
        required = self._trial.required_controls(pairs) if kinds is None else dict.fromkeys(kinds, "")
        return decision.with_controls(
            [self._trial.control(requirement, kind, alpha=self._alpha, why=why) for kind, why in required.items()]
        )

    def _tests(self, pairs: Sequence[Pair]) -> dict[Key, TestResult]:
        """The tests on the first judgement of every case, and on all judgements if cases were judged again.

        A result must hold in both. What was judged again depends on the first judgement, so a test of all judgements
        alone would have a larger error probability than alpha.
        """
        ordered = {key: self._trial.in_random_order(pairs_of(pairs, key)) for key in self._keys}
        margins = {key: self.requirements[key[1]].margin for key in self._keys}
        first, together = (
            {key: by_input(ordered[key], first_only=first_only) for key in self._keys} for first_only in (True, False)
        )
        labelled = self._samples(pairs)
        results = run_tests(first, margins, alpha=self._alpha, horizon=self._trial.inputs, labelled=labelled)
        if first == together:
            return results
        others = run_tests(together, margins, alpha=self._alpha, horizon=self._trial.inputs, labelled=labelled)
        return {key: results[key].and_also(others[key]) for key in self._keys}

    def _misses_minimum(self, pairs: Sequence[Pair], key: Key) -> bool:
        return misses_minimum(pairs_of(pairs, key), self.requirements[key[1]])


def pairs_of(pairs: Sequence[Pair], key: Key) -> list[Pair]:
    """The pairs of one comparison.

    Args:
        pairs: Pairs of any comparisons.
        key: The comparison.
    """
    return [pair for pair in pairs if (pair.candidate, pair.principle) == key]
