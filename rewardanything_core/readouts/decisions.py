"""Scores by a decision model, which answers typed questions with probabilities and writes nothing.

One request holds all responses of a list and a question about each of them: a score question with five levels, or a
predicate for a criterion of the kind yes/no. Under a rubric it has these questions for each criterion. The score is the
expectation over the answer's distribution, and the spread its standard deviation. The responses share an input, so
passes show them in different orders, as for written verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rewardanything_core.backends.base import Backend, DecisionResult
from rewardanything_core.cases import Case
from rewardanything_core.concurrency import background_loop
from rewardanything_core.decisions import Answer, PredicateAnswer, RefusalAnswer, ScoreAnswer
from rewardanything_core.errors import RefusalError
from rewardanything_core.principles import Criterion, Rubric
from rewardanything_core.prompting.decision_questions import DecisionWording
from rewardanything_core.prompting.masking import draw_order, mask
from rewardanything_core.readouts.attempts import OnUsage, until_verdict
from rewardanything_core.readouts.results import PassResult, ranking_by_scores
from rewardanything_core.readouts.rubric import criteria_groups, joined_groups
from rewardanything_core.types import MAX_SCORE, MIN_SCORE, Reply

NOTHING_WRITTEN = "No text was generated: the model answers with probabilities only."

_PRINCIPLE = ""
"""The key of a single principle, which is judged like a rubric's only criterion."""


@dataclass(frozen=True, kw_only=True)
class DecisionsReadout:
    """Judges a list of responses with one request per pass, or several under a rubric that is too large for one."""

    backend: Backend
    """A model that supports decisions."""

    wording: DecisionWording
    """The wording of the questions."""

    seed: int
    """Seed of the orders."""

    retries: int
    """How often to ask again, in another order, when a response does not follow its format; 0 or more."""

    criteria_together: bool = True
    """Whether a request has the questions of all criteria of a rubric, instead of those of one."""

    async def run(self, case: Case, index: int, *, on_usage: OnUsage) -> PassResult:
        """Judge a case in the ``index``-th order drawn for it.

        Args:
            case: The case.
            index: Number of the pass, from 0.
            on_usage: Called with the usage of each request, whether or not it gave a verdict.

        Raises:
            RewardAnythingError: no verdict; ``failure`` is set.
        """
        rubric = case.principle
        if not isinstance(rubric, Rubric):
            rules = {_PRINCIPLE: Criterion(text=rubric.text)}
            result = await self._ask(case, rules, index, on_usage)
            (scored,) = result.criteria.values()
            return PassResult(
                order=result.order,
                scores=scored.scores,
                ranking=scored.ranking,
                deviations=scored.deviations,
                replies=[replace(result.replies[0], reasoning=f"{NOTHING_WRITTEN} {scored.replies[0].reasoning}")],
            )
        most = self.backend.max_questions if self.criteria_together else len(case.responses)
        groups = criteria_groups(rubric, case, seed=self.seed, index=index, max_scores=most)
        results = await background_loop.gather(
            self._ask(case, {name: rubric.criteria[name] for name in group}, index, on_usage) for group in groups
        )
        return joined_groups(results, rubric, case)

    async def _ask(self, case: Case, rules: Mapping[str, Criterion], index: int, on_usage: OnUsage) -> PassResult:
        """One pass under some rules, by name."""

        async def attempt(number: int) -> PassResult:
            order = draw_order(case, seed=self.seed, index=index, attempt=number)
            names = mask(order)
            questions = [
                # Questions are named by the rule's number, so that any text can be a criterion's name.
                self.wording.question(rule, name, name if len(rules) == 1 else f"{place}/{name}")
                for place, rule in enumerate(rules.values(), start=1)
                for name in names
            ]
            result = await self.backend.decide(self.wording.input(case, order), questions)
            on_usage(result.usage)
            self._check_refusals(result)
            answers = iter(result.answers)
            return PassResult(
                order=order,
                scores={},
                ranking=[],
                replies=[Reply(reasoning=NOTHING_WRITTEN, raw_output=result.raw)],
                criteria={rule: _scored(case, {label: next(answers) for label in order}) for rule in rules},
                criteria_orders=[list(rules)],
            )

        return await until_verdict(case, attempt, retries=self.retries, on_usage=on_usage)

    def _check_refusals(self, result: DecisionResult) -> None:
        """Check that every question has an answer: a verdict is complete or there is none."""
        refused = [str(answer.name) for answer in result.answers if isinstance(answer, RefusalAnswer)]
        if refused:
            error = RefusalError(
                f"{self.backend.model} refused {len(refused)} of {len(result.answers)} questions: "
                f"{', '.join(refused):.200}."
            )
            error.raw = result.raw
            raise error


def _scored(case: Case, answers: Mapping[str, Answer]) -> PassResult:
    """The result under one rule from the answers about the responses, by label in the order shown."""
    distributions = {label: _distribution(answer) for label, answer in answers.items()}
    scores = {label: _mean(distribution) for label, distribution in distributions.items()}
    return PassResult(
        order=list(answers),
        scores=scores,
        ranking=ranking_by_scores(scores, case),
        replies=[Reply(reasoning=_sentence(list(answers.values())))],
        deviations={
            label: math.sqrt(sum(p * (score - scores[label]) ** 2 for score, p in distribution.items()))
            for label, distribution in distributions.items()
        },
    )


def _distribution(answer: Answer) -> dict[float, float]:
    """Score -> probability."""
    if isinstance(answer, PredicateAnswer):
        return {MIN_SCORE: 1 - answer.probability, MAX_SCORE: answer.probability}
    assert isinstance(answer, ScoreAnswer)
    return {MIN_SCORE + level: probability for level, probability in enumerate(answer.probabilities)}


def _mean(distribution: Mapping[float, float]) -> float:
    mean = math.fsum(score * probability for score, probability in distribution.items())
    return min(MAX_SCORE, max(MIN_SCORE, mean))  # rounding may exceed them


def _sentence(answers: Sequence[Answer]) -> str:
    """The probabilities for a reader, under masked names."""
    is_predicate = isinstance(answers[0], PredicateAnswer)
    shown = (
        f"model-{place} {', '.join(f'{probability:.2f}' for probability in _shown_probabilities(answer))}"
        for place, answer in enumerate(answers, start=1)
    )
    return f"Probability of {'yes' if is_predicate else 'each score from 1 to 5'}: {'; '.join(shown)}."


def _shown_probabilities(answer: Answer) -> Sequence[float]:
    if isinstance(answer, PredicateAnswer):
        return (answer.probability,)
    assert isinstance(answer, ScoreAnswer)
    return answer.probabilities
