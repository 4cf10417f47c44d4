"""`rank`: whose answers to the same prompts are best?"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations, groupby

from rewardanything_core.errors import ConfigError
from rewardanything_core.gate.judging import CaseJudge, JudgingUnit, UnitResult, UnitScores
from rewardanything_core.gate.pairing import PairedCase, Row, join
from rewardanything_core.gate.requirements import as_requirements, with_criteria
from rewardanything_core.gate.results import Requirement
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.loading import resolve_judge
from rewardanything_core.principles import Principle
from rewardanything_core.ranking.analysis import RESAMPLES, ListScores, analyse, results_of, settle
from rewardanything_core.ranking.results import Ranking, RankingReport
from rewardanything_core.types import JudgeFailure

_LOOKS = 12  # an adaptive ranking looks at the results about so many times
_MIN_PROMPTS_PER_LOOK = 5


def rank(
    systems: Mapping[str, Iterable[Row]],
    principles: Principle | str | Sequence[Principle | str],
    *,
    judge: BaseJudge | str,
    alpha: float = 0.05,
    adaptive: bool = True,
    max_failures: float = 0.05,
    common_only: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> RankingReport:
    """Rank systems by their answers to the same prompts.

    The answers of all systems to a prompt are judged together and blind, each in every position equally often. Their
    order gives the systems' Bradley-Terry strengths, with intervals from resampling prompts. Between two systems that
    are settled the judge is not asked again: what is left to judge is split into lists of systems that are connected by
    unsettled pairs, and a system whose pairs are all settled is in no list.

    Args:
        systems: Name -> rows with ``prompt`` and ``response`` and, to join them by, ``id`` (otherwise their row
            number); two systems or more. Optional: ``context``, ``reference`` and ``group``, as for `check`.
        principles: One or several, which are judged and ranked separately. A rubric is judged once for each case, and
            ranked as a whole and under each criterion; its pairs are settled as a whole.
        judge: The judge, or a model string such as ``openai/gpt-5-mini``. Its ``passes`` are raised until every answer
            is in every position equally often.
        alpha: The probability that any pair of a ranking is settled wrongly, in (0, 0.5).
        adaptive: Whether to stop asking about what is settled. Otherwise every case is judged with all systems.
        max_failures: Share of judgements, 0..1, that may fail; with more the ranking stops.
        common_only: Leave out cases that some system lacks, instead of raising.
        resamples: How often prompts are resampled for the intervals, 100 or more.
        seed: Seed of the resampling.
        progress: Called with ``(judgements done, judgements planned)``.

    Raises:
        ConfigError: rows or arguments are invalid, and nothing was judged.
        RewardAnythingError: one of `SETUP_ERRORS` made every judgement fail, or so many in a row that there is no
            result.
    """
    _check_arguments(systems, alpha=alpha, max_failures=max_failures, resamples=resamples)
    requirements = with_criteria(as_requirements(principles, margin=1.0, min_score=None, controls="none"))
    joined = join(systems, common_only=common_only)
    resolved = resolve_judge(judge)
    if resolved is None:
        raise ConfigError("rank needs a judge: load_judge(), or a model string such as 'openai/gpt-5-mini'.")
    contests = [_Contest(principle, list(systems)) for principle in dict.fromkeys(r.principle for r in requirements)]
    done, left = 0, len(joined.items)
    planned = left * len(contests)

    def count() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, planned)

    case_judge = CaseJudge(resolved, max_failed=max_failures * planned, on_judged=count)
    groups = _in_random_order(joined.items)
    for part in _parts(groups, adaptive=adaptive):
        items = [item for group in part for item in group]
        units = [unit for contest in contests for unit in contest.units(items)]
        to_judge = [unit for unit in units if len(unit.answers) > 1]
        left -= len(items)
        planned = done + len(to_judge) + left * sum(len(contest.lists) for contest in contests)
        results = case_judge.judge(to_judge)
        for contest in contests:
            contest.add([unit for unit in units if unit.principle == contest.principle], results)
            if adaptive:
                contest.settle(alpha=alpha)
        if case_judge.exhausted or not any(contest.lists for contest in contests):
            break
    by_principle = {contest.principle: contest for contest in contests}
    return RankingReport(
        rankings=tuple(
            by_principle[each.principle].ranking(each, alpha=alpha, resamples=resamples, seed=seed)
            for each in requirements
        ),
        alpha=alpha,
        prompts=len(groups),
        cases=len(joined.items),
        judged=sum(contest.judged for contest in contests),
        shown=sum(contest.shown for contest in contests),
        shown_in_full=sum(contest.shown_in_full(len(joined.items)) for contest in contests),
        missing=joined.missing,
        failures=tuple(failure for contest in contests for failure in contest.failures),
        exhausted=case_judge.exhausted,
        model=resolved.model,
        usage=case_judge.usage,
    )


class _Contest:
    """The systems under one principle: what was judged, and what is left to judge."""

    def __init__(self, principle: Principle, names: list[str]) -> None:
        self.principle = principle
        self.names = names
        self.lists = [names]
        """The systems that are judged together from now on; each list has two or more."""

        self._results: list[tuple[JudgingUnit, UnitScores | None]] = []  # None: all answers are the same
        self.failures: list[JudgeFailure] = []

    def units(self, items: Sequence[PairedCase]) -> list[JudgingUnit]:
        """What is to be judged of some cases."""
        return [
            JudgingUnit(
                dataclasses.replace(item, responses={name: item.responses[name] for name in names}), self.principle
            )
            for item in items
            for names in self.lists
        ]

    def add(self, units: Sequence[JudgingUnit], results: Mapping[JudgingUnit, UnitResult]) -> None:
        """Add what was judged; a unit whose answers are all the same is a tie of its systems."""
        for unit in units:
            result = results.get(unit)
            if isinstance(result, JudgeFailure):
                self.failures.append(result)
            elif result is not None or len(unit.answers) == 1:
                self._results.append((unit, result))

    @property
    def judged(self) -> int:
        """Number of lists judged."""
        return sum(result is not None for _, result in self._results)

    @property
    def shown(self) -> int:
        """Number of answers shown to the judge, in all orders together."""
        return sum(map(_shown, self._results))

    def shown_in_full(self, cases: int) -> int:
        """That number if all systems were judged in all cases, going by the cases in which they were."""
        full = [each for each in self._results if len(each[0].item.responses) == len(self.names)]
        return round(cases * sum(map(_shown, full)) / len(full)) if full else 0

    def scores(self, criterion: str | None = None) -> list[ListScores]:
        """The scores of all lists, in the order of judging."""
        return [
            ListScores(
                group=unit.item.group,
                passes=[dict.fromkeys(unit.item.responses, math.nan)]
                if result is None
                else result.under(criterion).passes,
            )
            for unit, result in self._results
        ]

    def settle(self, *, alpha: float) -> None:
        """Split what is left to judge into the systems that are connected by unsettled pairs."""
        _, better = settle(results_of(self.names, self.scores()), alpha=alpha)
        unsettled = {
            (first, second)
            for names in self.lists
            for first, second in combinations(names, 2)
            if not (better | better.T)[self.names.index(first), self.names.index(second)]
        }
        self.lists = [names for names in _connected(self.names, unsettled) if len(names) > 1]

    def ranking(self, requirement: Requirement, *, alpha: float, resamples: int, seed: int) -> Ranking:
        """The ranking under the principle or one of its criteria."""
        return analyse(
            self.names,
            self.scores(requirement.criterion),
            principle=requirement.name,
            criterion=requirement.criterion,
            alpha=alpha,
            resamples=resamples,
            seed=seed,
        )


def _shown(judged: tuple[JudgingUnit, UnitScores | None]) -> int:
    unit, result = judged
    return 0 if result is None else len(unit.answers) * len(result.passes)


def _connected(names: Sequence[str], pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The names in lists, of which each has those that pairs connect, in the order of the names."""
    label = {name: place for place, name in enumerate(names)}
    for first, second in pairs:
        joined, other = sorted((label[first], label[second]))
        label = {name: joined if each == other else each for name, each in label.items()}
    return [[name for name in names if label[name] == each] for each in dict.fromkeys(label.values())]


def _in_random_order(items: Iterable[PairedCase]) -> list[list[PairedCase]]:
    """The cases of each independent prompt; the order depends on the prompts alone, so it is the same in every run."""

    def key(item: PairedCase) -> tuple[float, str]:
        return random.Random(item.group).random(), item.group

    return [list(group) for _, group in groupby(sorted(items, key=key), key=key)]


def _parts(groups: Sequence[list[PairedCase]], *, adaptive: bool) -> Iterator[Sequence[list[PairedCase]]]:
    """The prompts between two looks at the results."""
    size = max(_MIN_PROMPTS_PER_LOOK, math.ceil(len(groups) / _LOOKS)) if adaptive else len(groups)
    for start in range(0, len(groups), size):
        yield groups[start : start + size]


def _check_arguments(
    systems: Mapping[str, Iterable[Row]], *, alpha: float, max_failures: float, resamples: int
) -> None:
    if not isinstance(systems, Mapping) or len(systems) < 2:
        raise ConfigError("Give the rows of two systems or more, by name.")
    if not 0 < alpha < 0.5:
        raise ConfigError(f"alpha must be above 0 and below 0.5, not {alpha!r}.")
    if not 0 <= max_failures <= 1:
        raise ConfigError(f"max_failures is a share of the judgements, 0..1, not {max_failures!r}.")
    if resamples < 100:
        raise ConfigError(f"resamples must be 100 or more, not {resamples!r}.")
