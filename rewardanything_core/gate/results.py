"""The result of a check as plain values. Every report is rendered from these."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rewardanything_core.conversations import Response, response_text
from rewardanything_core.conversations.trajectory import response_json
from rewardanything_core.estimation import CorrectedMean
from rewardanything_core.principles import Principle, Rubric
from rewardanything_core.types import JudgeFailure, Usage

CheckOutcome = Literal["passed", "regression", "inconclusive"]

ControlKind = Literal["cut", "padded", "rude", "swapped", "worse"]

AUTO = "auto"
"""Controls are chosen by how the candidate's answers changed."""

EXIT_CODES: dict[CheckOutcome, int] = {"passed": 0, "regression": 1, "inconclusive": 3}

BASELINE = "baseline"
"""The label of the side that candidates are compared with."""


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """A principle and what candidates must satisfy under it.

    A rubric is judged once for each case, and compared as a whole and under each criterion: see `criteria`.
    """

    principle: Principle
    """The principle that answers are judged by."""

    margin: float
    """The drop in mean score (points of the 1..5 scale, above 0) that must be ruled out for a pass."""

    min_score: float | None = None
    """The lowest acceptable mean score of a candidate, 1..5; under a rubric, of the whole. None: no minimum."""

    controls: str | Sequence[str] = AUTO
    """How the judge is tested before a candidate passes: kinds of `Control`, ``"none"``, or ``"auto"``."""

    margins: Mapping[str, float] = field(default_factory=dict)
    """Criterion of the rubric -> its margin, where it is not ``margin``."""

    min_scores: Mapping[str, float] = field(default_factory=dict)
    """Criterion of the rubric -> the lowest acceptable mean score of a candidate under it, 1..5."""

    criterion: str | None = None
    """The criterion of the rubric that this is about; `criteria` sets it. None: the principle as a whole."""

    @property
    def name(self) -> str:
        """The principle's name, or the beginning of its text; for a criterion ``rubric: criterion``."""
        name = self.principle.name
        if self.criterion is not None:
            return self.criterion if name is None else f"{name}: {self.criterion}"
        text = " ".join(self.principle.text.split())
        if isinstance(self.principle, Rubric):
            text = f"rubric of {', '.join(self.principle.criteria)}"
        return name or (text if len(text) <= 60 else text[:59] + "…")

    @property
    def text(self) -> str:
        """The text of the principle or criterion."""
        if self.criterion is not None:
            assert isinstance(self.principle, Rubric)
            return self.principle.criteria[self.criterion].full_text
        return self.principle.text

    def criteria(self) -> list[Requirement]:
        """The requirement under each criterion of the rubric; none for a plain principle."""
        names = self.principle.criteria if isinstance(self.principle, Rubric) else ()
        return [
            Requirement(
                principle=self.principle,
                margin=self.margins.get(name, self.margin),
                min_score=self.min_scores.get(name),
                controls=self.controls,
                criterion=name,
            )
            for name in names
        ]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A candidate's answer and the baseline's answer to the same case, under one principle or criterion."""

    id: str
    """The case's id."""

    group: str
    """The group of cases that share an input; a group counts as one observation."""

    principle: str
    """Name of the requirement."""

    criterion: str | None = None
    """The criterion of the rubric. None: the principle as a whole."""

    candidate: str
    """Name of the candidate."""

    prompt: str
    """The prompt as one text."""

    baseline_response: Response
    """The baseline's answer: a text, or an agent's run."""

    candidate_response: Response
    """The candidate's answer."""

    baseline_score: float | None = None
    """Mean score over all passes, 1.0..5.0. None: not judged, or the judgement failed."""

    candidate_score: float | None = None
    """The candidate's mean score over all passes, 1.0..5.0. None: not judged, or the judgement failed."""

    difference: float | None = None
    """Candidate minus baseline, -4.0..4.0; 0.0 without judging if both answers are identical. None: failed."""

    pass_differences: tuple[float, ...] = ()
    """The difference in each pass of the first judgement."""

    fresh_differences: tuple[float, ...] = ()
    """The difference in each pass of the confirmation. Empty: there was no confirmation."""

    candidate_first: tuple[bool, ...] = ()
    """For each pass, confirmation last, whether the candidate's answer came before the baseline's."""

    reasoning: str = ""
    """The judge's reasoning, with "baseline" and the candidate's name in place of model-n."""

    record_ids: tuple[str, ...] = ()
    """Ids of the records in the verdict store: ``ra-judge log --show ID``."""

    min_score: float | None = None
    """The score that this case must reach. None: no minimum."""

    missed: tuple[str, ...] = ()
    """Required criteria of the rubric that the candidate's answer misses, for the rubric as a whole."""

    failure: JudgeFailure | None = None
    """Why there is no difference. None: there is one."""

    @property
    def unchanged(self) -> bool:
        """Whether both answers are the same."""
        return self.baseline_response == self.candidate_response

    @property
    def texts(self) -> tuple[str, str]:
        """The baseline's answer and the candidate's as texts; a run is its transcript."""
        return response_text(self.baseline_response), response_text(self.candidate_response)

    @property
    def breaks_rule(self) -> bool:
        """Whether the candidate's answer scores less than this case's ``min_score``."""
        return self.min_score is not None and self.candidate_score is not None and self.candidate_score < self.min_score


@dataclass(frozen=True, kw_only=True)
class JudgeNoise:
    """How much the judge's scores of the same answers vary from pass to pass."""

    deviation: float
    """Standard deviation of a case's difference between passes, in points, with position bias removed."""

    flips: float
    """Share of cases, 0..1, in which one pass preferred the candidate and another the baseline, for any reason."""

    share: float
    """Share of the variance between cases, 0..1, that judge noise explains; more passes reduce it."""

    position_bias: float
    """How many points higher an answer scores when it comes first; averaging over both orders cancels this."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """Whether the judge notices that the baseline's answers were made worse in a known way."""

    kind: ControlKind
    """``cut`` in half; ``padded`` with empty sentences; ``rude``; ``swapped`` with the answer to another input;
    ``worse``: the answer that the case itself provides as a worse one. The first three change the last text of an
    agent's run, and leave what it did."""

    why: str
    """Why this control was required."""

    n: int
    """Number of inputs judged."""

    difference: float | None
    """Mean score of the degraded answers minus that of the baseline's. None: nothing was judged."""

    low: float
    """Lower end of the interval for ``difference``, at the check's alpha."""

    high: float
    """Upper end of that interval."""

    p_drop: float
    """One-sided p-value of "the judge scores both alike"."""

    noticed: bool
    """Whether the degraded answers lost at least the margin, with statistical significance; for a rubric, as a whole or
    under a criterion."""

    criterion: str | None = None
    """The criterion of the rubric that the figures are about. None: the principle as a whole."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One candidate compared with the baseline under one principle or criterion."""

    candidate: str
    """Name of the candidate."""

    requirement: Requirement
    """The principle and what candidates must satisfy under it."""

    outcome: CheckOutcome
    """``passed``: a drop of the margin is ruled out and no minimum is missed; ``regression``; ``inconclusive``."""

    reason: str
    """Why, in one or two sentences."""

    n: int
    """Independent inputs: cases with the same input count once."""

    cases: int
    """Cases that were judged or are known to be unchanged."""

    unchanged: int
    """How many of these have the same answer as the baseline."""

    failures: int
    """Cases without a judgement; they are excluded from every figure."""

    baseline_score: float | None
    """Mean score of the baseline over judged cases. None: nothing was judged."""

    candidate_score: float | None
    """Mean score of the candidate over judged cases. None: nothing was judged."""

    difference: float | None
    """Mean of candidate minus baseline over inputs. None: nothing was compared."""

    low: float
    """Lower end of the interval for ``difference``."""

    high: float
    """Upper end of that interval."""

    confidence: float
    """Confidence level of the interval, such as 0.9. Its lower end is above ``-margin`` exactly when a drop of the
    margin is ruled out."""

    p_drop: float
    """One-sided p-value of "no drop"."""

    p_margin: float
    """One-sided p-value of "a drop of the margin or more"."""

    level: float
    """The threshold for ``p_drop``: the significance level after Holm's correction."""

    wins: int
    """Inputs on which the candidate scores higher."""

    ties: int
    """Inputs on which both score the same."""

    losses: int
    """Inputs on which the candidate scores lower."""

    p_sign: float
    """Two-sided p-value of an exact sign test on wins and losses. For information; it decides nothing."""

    noise: JudgeNoise | None
    """The judge's noise. None: there was a single pass, or nothing was judged."""

    confirmed: bool | None
    """Whether a suspected regression was confirmed in fresh orders. None: nothing was suspected, or no confirmation
    was made."""

    cases_needed: int | None
    """How many inputs would give a result if the differences stay as they are. None: there is a result, or no number
    would be enough."""

    controls: tuple[Control, ...] = ()
    """How the judge was tested before this comparison could pass; it passes only if all were noticed."""

    corrected: CorrectedMean | None = None
    """The difference corrected with people's labels: ``difference``, ``low``, ``high`` and the p-values are about it.
    None: there are no labels under this requirement, and the judge's own differences decide."""

    labels: int = 0
    """Number of inputs with different answers whose labels the decision rests on."""

    labels_needed: int | None = None
    """How many labels in all would give a result if differences and judge stay as they are. None: there is a result,
    there are no labels, or labelling every input would not be enough."""

    @property
    def all_unchanged(self) -> bool:
        """Whether every answer is the same as the baseline's, so that there is no change to estimate."""
        return 0 < self.cases == self.unchanged and not self.failures


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """The result of `check`."""

    outcome: CheckOutcome
    """``regression`` if any comparison is one, ``passed`` if all passed, else ``inconclusive``."""

    reason: str
    """Why, in a sentence."""

    comparisons: tuple[Comparison, ...]
    """One for each candidate and principle; for a rubric one for the whole, followed by one for each criterion."""

    pairs: tuple[Pair, ...]
    """Every candidate's answer with the baseline's in each comparison, failures included."""

    alpha: float
    """One-sided error probability of the whole check."""

    planned: int
    """Number of cases given."""

    looked: int
    """Number of cases judged: fewer than ``planned`` if a sequential check stopped early or the judge kept failing."""

    missing: tuple[str, ...]
    """Ids left out because not every side has them; only with ``common_only``."""

    model: str
    """The judge model's name."""

    usage: Usage
    """Usage of this run; verdicts from the store cost nothing."""

    exhausted: bool = False
    """Whether more judgements failed than ``max_failures`` allows. The check then stopped without a result."""

    @property
    def exit_code(self) -> int:
        """0 passed, 1 regression, 3 inconclusive."""
        return EXIT_CODES[self.outcome]

    @property
    def failures(self) -> tuple[Pair, ...]:
        """The pairs without a judgement, each once for a rubric."""
        return tuple(pair for pair in self.pairs if pair.failure is not None and pair.criterion is None)

    def worst(self, comparison: Comparison, limit: int = 10) -> list[Pair]:
        """The pairs in which the candidate lost most, worst first.

        Args:
            comparison: One of ``comparisons``.
            limit: Maximum number of pairs.
        """
        lost = [pair for pair in self.of(comparison) if pair.difference is not None and pair.difference < 0]
        return sorted(lost, key=lambda pair: (pair.difference, pair.id))[:limit]

    def of(self, comparison: Comparison) -> list[Pair]:
        """The pairs of a comparison, in input order."""
        key = (comparison.candidate, comparison.requirement.name)
        return [pair for pair in self.pairs if (pair.candidate, pair.principle) == key]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types, with ``exit_code``, and each requirement with its ``name``."""
        plain = {**dataclasses.asdict(self), "exit_code": self.exit_code}
        for fields, comparison in zip(plain["comparisons"], self.comparisons, strict=True):
            requirement = comparison.requirement
            fields["requirement"]["name"] = requirement.name
            if requirement.criterion is not None:  # the rubric is in the comparison of the whole
                fields["requirement"]["principle"] = {"name": requirement.principle.name, "text": requirement.text}
        for fields, pair in zip(plain["pairs"], self.pairs, strict=True):
            fields["baseline_response"] = response_json(pair.baseline_response)
            fields["candidate_response"] = response_json(pair.candidate_response)
        return plain
