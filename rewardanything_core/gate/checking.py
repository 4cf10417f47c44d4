"""`check`: are a candidate's answers worse than the baseline's under principles, by more than a margin?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from rewardanything_core.errors import ConfigError
from rewardanything_core.gate.controls import chosen
from rewardanything_core.gate.decision import Standing, standings
from rewardanything_core.gate.pairing import Row, pair
from rewardanything_core.gate.results import AUTO, CheckReport, Pair, Requirement
from rewardanything_core.gate.sequential import LOOKS
from rewardanything_core.gate.summary import Ruling, by_input, compared, concluded, drops_afresh, misses_rules
from rewardanything_core.gate.trial import Trial
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.principles import Principle
from rewardanything_core.types import MAX_SCORE, MIN_SCORE

Rows = Iterable[Row]
Key = tuple[str, str]
"""A comparison: the candidate's name and the requirement's."""

_CASES_A_LOOK = 5  # with fewer, the first look of a sequential check cannot show anything


def check(
    baseline: Rows,
    candidate: Rows | Mapping[str, Rows],
    principles: Principle | str | Requirement | Sequence[Principle | str | Requirement],
    *,
    judge: BaseJudge,
    margin: float = 0.3,
    min_score: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    max_failures: float = 0.05,
    sequential: bool = False,
    confirm: bool = True,
    controls: str | Sequence[str] = AUTO,
    common_only: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Compare candidates' answers with a baseline's under principles.

    All sides' answers to an input are judged together, blind, each in every place equally often. The check passes if a
    drop of ``margin`` in the mean score is ruled out under every principle. It finds a regression where there is a
    significant drop that may be as large and that stands when all is judged again in fresh orders, or where a
    ``min_score`` is missed. Anything else is inconclusive; so is a pass by a judge that does not notice answers made
    worse on purpose in the way in which the candidate's may have become worse. How often it errs:
    ``benchmarks/gate_error_rates.py``.

    Args:
        baseline: Rows with ``prompt``, ``response`` and, to pair them by, ``id`` (else their number); optionally
            ``context``, ``reference``, ``group`` (cases of one group count once; by default those with the same
            prompt), ``min_score`` (1..5: what candidates must reach in this very case) and ``worse`` (an answer that
            is known to be worse than the baseline's, to test the judge with).
        candidate: The same for the candidate; or several candidates, name -> rows, which are judged in the same lists.
        principles: What to judge by. A `Requirement` has a margin, a min_score and controls of its own.
        judge: The judge. Its ``passes`` are raised until every answer stands in every place equally often.
        margin: The drop in mean score, in points of the 1..5 scale, that must be ruled out; above 0, at most 4.
        min_score: The least mean score, 1..5, for candidates. None: any.
        alpha: One-sided probability of a false alarm, and of passing a drop of the margin; in (0, 0.5).
        power: With which probability the number of cases that the report suggests would settle it.
        max_failures: Share of judgements, 0..1, that may fail; with more the check is inconclusive, and stops.
        sequential: Look at the results after each quarter of the cases, and stop once they are clear.
        confirm: Judge again, in fresh orders, before something counts as a regression.
        controls: How the judge is tested before anything passes: ``cut``, ``padded``, ``rude``, ``swapped``, ``worse``
            (see `Control`), one or several; ``"none"``; or ``"auto"``: ``cut`` if many answers became much shorter,
            ``padded`` if many became much longer, ``worse`` if cases have such answers.
        common_only: Leave out cases that not every side has, instead of refusing.
        progress: Called with ``(judgements done, judgements planned)``.

    Raises:
        ConfigError: rows or arguments are wrong; nothing was judged.
    """
    _check_arguments(alpha=alpha, power=power, max_failures=max_failures)
    requirements = _requirements(principles, margin, min_score, controls)
    candidates: dict[str, Rows] = dict(candidate) if isinstance(candidate, Mapping) else {"candidate": candidate}
    paired = pair(baseline, candidates, common_only=common_only)
    ruled = any(r.min_score is not None for r in requirements) or any(i.min_score is not None for i in paired.items)
    trial = Trial(
        paired.items,
        list(candidates),
        requirements,
        judge=judge,
        max_failures=max_failures,
        keep_scores=ruled,
        progress=progress,
    )
    looks = LOOKS if sequential and len(paired.items) >= _CASES_A_LOOK * len(LOOKS) else (1.0,)
    referee = _Referee(trial, list(candidates), requirements, alpha=alpha, looks=looks, confirm=confirm)
    for look, share in enumerate(looks):
        trial.go_on(round(share * len(paired.items)))
        last = share == 1.0
        rulings = referee.rule(look, last=last)
        outcomes = {ruling.outcome for ruling in rulings.values()}
        if trial.exhausted or "regression" in outcomes or (outcomes == {"passed"} and not ruled):
            break
    pairs = trial.pairs()
    comparisons = tuple(
        compared(
            _of(pairs, key), candidate=key[0], requirement=referee.requirements[key[1]], ruling=ruling, power=power
        )
        for key, ruling in rulings.items()
    )
    outcome, reason = concluded(comparisons, failures=trial.failures, tried=trial.tried, exhausted=trial.exhausted)
    return CheckReport(
        outcome=outcome,
        reason=reason,
        comparisons=comparisons,
        pairs=pairs,
        alpha=alpha,
        planned=len(paired.items),
        looked=trial.reached,
        missing=paired.missing,
        model=judge.model,
        usage=trial.usage,
        exhausted=trial.exhausted,
    )


class _Referee:
    """Rules on every comparison of a trial, having what it suspects looked at again."""

    def __init__(
        self,
        trial: Trial,
        candidates: Sequence[str],
        requirements: Sequence[Requirement],
        *,
        alpha: float,
        looks: Sequence[float],
        confirm: bool,
    ) -> None:
        self.requirements = {requirement.name: requirement for requirement in requirements}
        self._trial = trial
        self._keys: list[Key] = [(candidate, name) for name in self.requirements for candidate in candidates]
        self._alpha, self._looks, self._confirm = alpha, looks, confirm

    def rule(self, look: int, *, last: bool) -> dict[Key, Ruling]:
        """What holds of each comparison at a look; rules about scores count at the last one only."""
        pairs = self._trial.pairs()
        standing = self._standings(pairs, look)
        missed = {key for key in self._keys if last and self._misses_rules(pairs, key)}
        guilty = suspects = {key for key in self._keys if standing[key].suspected} | missed
        if suspects and self._confirm and not self._trial.exhausted:
            self._trial.look_again(name for _, name in suspects)
            dropped = {key for key in suspects if standing[key].suspected}
            pairs = self._trial.pairs()
            standing = self._standings(pairs, look)
            guilty = {
                key
                for key in suspects
                if (key in dropped and standing[key].suspected and drops_afresh(_of(pairs, key)))
                or (key in missed and self._misses_rules(pairs, key))
            }
        confirmed = {key: key in guilty for key in suspects} if self._confirm else {}
        rulings = {
            key: Ruling.of(
                standing[key],
                _of(pairs, key),
                regressed=key in guilty,
                confirmed=confirmed.get(key),
                void=self._trial.exhausted,
            )
            for key in self._keys
        }
        return {
            key: self._tested(key, ruling, _of(pairs, key)) if ruling.outcome == "passed" else ruling
            for key, ruling in rulings.items()
        }

    def _tested(self, key: Key, ruling: Ruling, pairs: Sequence[Pair]) -> Ruling:
        """A ruling that would let something pass, once the judge was put to the test."""
        if all(pair.unchanged for pair in pairs):
            return ruling
        requirement = self.requirements[key[1]]
        kinds = chosen(requirement.controls)
        asked = self._trial.called_for(pairs) if kinds is None else dict.fromkeys(kinds, "")
        return ruling.tested(
            [self._trial.control(requirement, kind, alpha=self._alpha, why=why) for kind, why in asked.items()]
        )

    def _standings(self, pairs: Sequence[Pair], look: int) -> dict[Key, Standing]:
        return standings(
            {key: by_input(_of(pairs, key)) for key in self._keys},
            {key: self.requirements[key[1]].margin for key in self._keys},
            alpha=self._alpha,
            looks=self._looks,
            look=look,
        )

    def _misses_rules(self, pairs: Sequence[Pair], key: Key) -> bool:
        return misses_rules(_of(pairs, key), self.requirements[key[1]])


def _of(pairs: Sequence[Pair], key: Key) -> list[Pair]:
    return [pair for pair in pairs if (pair.candidate, pair.principle) == key]


def _requirements(
    principles: Principle | str | Requirement | Sequence[Principle | str | Requirement],
    margin: float,
    min_score: float | None,
    controls: str | Sequence[str],
) -> list[Requirement]:
    given = [principles] if isinstance(principles, Principle | str | Requirement) else list(principles)
    if not given:
        raise ConfigError("Give at least one principle.")
    requirements = [
        item
        if isinstance(item, Requirement)
        else Requirement(principle=Principle.of(item), margin=margin, min_score=min_score, controls=controls)
        for item in given
    ]
    names = [requirement.name for requirement in requirements]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ConfigError(
            f"Two principles go by the name {min(twice)!r}.", hint="Give each Principle a name of its own."
        )
    for requirement in requirements:
        chosen(requirement.controls)
        if not 0 < requirement.margin <= MAX_SCORE - MIN_SCORE:
            raise ConfigError(
                f"The margin of {requirement.name!r} must be above 0 and at most 4, not {requirement.margin!r}."
            )
        if requirement.min_score is not None and not MIN_SCORE <= requirement.min_score <= MAX_SCORE:
            raise ConfigError(
                f"The min_score of {requirement.name!r} must be within 1..5, not {requirement.min_score!r}."
            )
    return requirements


def _check_arguments(*, alpha: float, power: float, max_failures: float) -> None:
    if not 0 < alpha < 0.5:
        raise ConfigError(f"alpha must be above 0 and below 0.5, not {alpha!r}.")
    if not 0.5 <= power < 1:
        raise ConfigError(f"power must be at least 0.5 and below 1, not {power!r}.")
    if not 0 <= max_failures <= 1:
        raise ConfigError(f"max_failures is a share of the judgements, 0..1, not {max_failures!r}.")
