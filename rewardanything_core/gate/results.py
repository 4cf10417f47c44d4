"""What a check finds, as plain values; every report is written from these."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rewardanything_core.principles import Principle
from rewardanything_core.types import JudgeFailure, Usage

Outcome = Literal["passed", "regression", "inconclusive"]

ControlKind = Literal["cut", "padded", "rude", "swapped", "worse"]

AUTO = "auto"
"""Controls chosen by what the candidate changed."""

EXIT_CODES: dict[Outcome, int] = {"passed": 0, "regression": 1, "inconclusive": 3}

BASELINE = "baseline"
"""The label of what is compared with."""


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """A principle, and what is asked of candidates under it."""

    principle: Principle
    """What the answers are judged by."""

    margin: float
    """The drop in mean score (points of the 1..5 scale, above 0) that must be ruled out for a pass."""

    min_score: float | None = None
    """The least mean score, 1..5, that a candidate must have. None: any."""

    controls: str | Sequence[str] = AUTO
    """How the judge is tested before a candidate passes: kinds of `Control`, ``"none"``, or ``"auto"``."""

    @property
    def name(self) -> str:
        """The principle's name, or the beginning of its text."""
        text = " ".join(self.principle.text.split())
        return self.principle.name or (text if len(text) <= 60 else text[:59] + "…")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A candidate's answer beside the baseline's, under one principle."""

    id: str
    """The case's id."""

    group: str
    """What ties cases with the same input together; they count once."""

    principle: str
    """Name of the requirement's principle."""

    candidate: str
    """Name of the candidate."""

    prompt: str
    """The prompt as one text."""

    baseline_response: str
    """The baseline's answer."""

    candidate_response: str
    """The candidate's answer."""

    baseline_score: float | None = None
    """Mean score over all passes, 1.0..5.0. None: not judged, or failed."""

    candidate_score: float | None = None
    """The same of the candidate."""

    difference: float | None = None
    """Candidate minus baseline, -4.0..4.0; 0.0 without judging where the answers are the same. None: failed."""

    pass_differences: tuple[float, ...] = ()
    """The difference in each pass."""

    fresh_differences: tuple[float, ...] = ()
    """The difference in each pass of the confirmation; empty if there was none."""

    candidate_first: tuple[bool, ...] = ()
    """For each of these passes, the confirmation's last, whether the candidate's answer stood before the other one."""

    reasoning: str = ""
    """What the judge wrote, with the names "baseline" and the candidate's in place of model-n."""

    record_ids: tuple[str, ...] = ()
    """Where the verdict store keeps it: ``ra-judge log --show ID``."""

    min_score: float | None = None
    """The score this very case must reach. None: no such rule."""

    failure: JudgeFailure | None = None
    """Why there is no difference. None: there is one."""

    @property
    def unchanged(self) -> bool:
        """Whether both answers are the same text."""
        return self.baseline_response == self.candidate_response

    @property
    def breaks_rule(self) -> bool:
        """Whether the candidate's answer misses the score that this case must reach."""
        return self.min_score is not None and self.candidate_score is not None and self.candidate_score < self.min_score


@dataclass(frozen=True, kw_only=True)
class JudgeNoise:
    """How far the judge disagrees with itself on the same answers, from its passes."""

    deviation: float
    """Standard deviation of a case's difference from pass to pass, in points of the scale, position bias taken out."""

    flips: float
    """Share of cases, 0..1, in which one pass preferred the candidate and another the baseline, for whatever reason."""

    share: float
    """Share of the variance between cases, 0..1, that the judge's noise explains; more passes would lessen it."""

    position_bias: float
    """How much higher an answer scores for standing before the other, in points; the orders cancel it."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """Whether the judge notices when the baseline's answers are made worse in a known way."""

    kind: ControlKind
    """``cut`` in half; ``padded`` with empty sentences; ``rude``; ``swapped`` for the answer to another input;
    ``worse``: the answer that the case itself says is worse."""

    why: str
    """What asked for it."""

    n: int
    """Inputs judged."""

    difference: float | None
    """Mean score of the spoiled answers minus that of the baseline's. None: nothing was judged."""

    low: float
    """Lower end of the interval for it, at the check's alpha."""

    high: float
    """Upper end."""

    p_drop: float
    """One-sided p-value of "no drop"."""

    noticed: bool
    """Whether they lost the margin at least, beyond chance."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One candidate against the baseline under one principle."""

    candidate: str
    """Name of the candidate."""

    requirement: Requirement
    """The principle and what is asked under it."""

    outcome: Outcome
    """``passed``: a drop of the margin is ruled out and no rule is broken; ``regression``; ``inconclusive``."""

    reason: str
    """Why, in a sentence or two for a person."""

    n: int
    """Inputs that count: cases with the same input count once."""

    cases: int
    """Cases judged or known to be unchanged."""

    unchanged: int
    """Of these, how many have the same answer as the baseline."""

    failures: int
    """Cases without a judgement; they count for neither side."""

    baseline_score: float | None
    """Mean score of the baseline over judged cases. None: nothing was judged."""

    candidate_score: float | None
    """The same of the candidate."""

    difference: float | None
    """Mean of candidate minus baseline over inputs. None: nothing was compared."""

    low: float
    """Lower end of the interval for it."""

    high: float
    """Upper end."""

    confidence: float
    """The confidence of the interval, such as 0.9; its lower end is above ``-margin`` just when that is ruled out."""

    p_drop: float
    """One-sided p-value of "no drop"."""

    p_margin: float
    """One-sided p-value of "a drop of the margin or more"."""

    level: float
    """What ``p_drop`` had to be at most: the significance level after Holm's correction and for this look."""

    wins: int
    """Inputs on which the candidate scores higher."""

    ties: int
    """Inputs on which both score the same."""

    losses: int
    """Inputs on which the candidate scores lower."""

    p_sign: float
    """Two-sided p-value of an exact sign test on wins and losses: another view, not what decides."""

    noise: JudgeNoise | None
    """The judge's own noise. None with a single pass, or where nothing was judged."""

    confirmed: bool | None
    """Whether a suspected regression showed again in fresh orders. None: nothing was suspected, or not confirmed."""

    cases_needed: int | None
    """How many cases would settle it if things stay as they are. None: it is settled, or none would."""

    controls: tuple[Control, ...] = ()
    """What the judge was tested with before this could pass; it does not pass unless all are noticed."""


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """The result of `check`."""

    outcome: Outcome
    """``regression`` if any comparison is one, ``passed`` if all passed, else ``inconclusive``."""

    reason: str
    """Why, in a sentence for a person."""

    comparisons: tuple[Comparison, ...]
    """One for each candidate and principle."""

    pairs: tuple[Pair, ...]
    """Every answer beside the baseline's under each principle, failures included."""

    alpha: float
    """One-sided error probability of the whole check."""

    planned: int
    """Cases given."""

    looked: int
    """Cases looked at: fewer than ``planned`` if a sequential check could stop, or a judge kept failing."""

    missing: tuple[str, ...]
    """Ids left out because not every side has them; only if that was allowed."""

    model: str
    """The judge model's name."""

    usage: Usage
    """What judging took this time; stored verdicts cost nothing."""

    exhausted: bool = False
    """Whether more judgements failed than may; then the check stopped, and nothing can be said."""

    @property
    def exit_code(self) -> int:
        """0 passed, 1 regression, 3 inconclusive."""
        return EXIT_CODES[self.outcome]

    @property
    def failures(self) -> tuple[Pair, ...]:
        """The pairs without a judgement."""
        return tuple(pair for pair in self.pairs if pair.failure is not None)

    def worst(self, comparison: Comparison, limit: int = 10) -> list[Pair]:
        """The pairs of a comparison in which the candidate lost most, worst first."""
        lost = [pair for pair in self.of(comparison) if pair.difference is not None and pair.difference < 0]
        return sorted(lost, key=lambda pair: (pair.difference, pair.id))[:limit]

    def of(self, comparison: Comparison) -> list[Pair]:
        """The pairs of a comparison, in input order."""
        key = (comparison.candidate, comparison.requirement.name)
        return [pair for pair in self.pairs if (pair.candidate, pair.principle) == key]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types, with ``exit_code``, and each requirement with its ``name``."""
        plain = {**dataclasses.asdict(self), "exit_code": self.exit_code}
        for written, comparison in zip(plain["comparisons"], self.comparisons, strict=True):
            written["requirement"]["name"] = comparison.requirement.name
        return plain
