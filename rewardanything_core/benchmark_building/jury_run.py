"""The jury over the lists: each juror judges each list in balanced orders, and failures are kept apart from votes."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from rewardanything_core.bench.running import Progress
from rewardanything_core.benchmark_building.lists import RankingTask
from rewardanything_core.errors import ConfigError, error_from_failure
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.judging.cost_estimates import CostEstimate
from rewardanything_core.judging.jury import Jury
from rewardanything_core.judging.streaming import stream_within_budget
from rewardanything_core.types import JudgeFailure, Usage, Verdict

BROKEN = 5
"""A juror that fails on so many lists before its first verdict ends the run: it would fail on all of them."""

Outcomes = Sequence[Verdict | JudgeFailure]
"""For each juror its verdict or failure."""


class JuryRun:
    """The jury, which judges every list with all jurors, and counts what that takes.

    Args:
        jury: The jury. Whether enough jurors reached a verdict on a list is decided by the caller.
        balanced: Whether to raise each juror's ``passes`` until every response is in every place equally often.
    """

    def __init__(self, jury: Jury, *, balanced: bool) -> None:
        if len(jury.jurors) < 2:
            raise ConfigError(
                "A consensus needs two jurors or more, better three of different makers.",
                hint="Give --judge several times, or [[jury]] in ra-judge.toml; in Python a list of judges.",
            )
        keys = [json.dumps(juror.fingerprint(), sort_keys=True, default=str) for juror in jury.jurors]
        if len(set(keys)) < len(keys):
            twice = next(juror for juror, key in zip(jury.jurors, keys, strict=True) if keys.count(key) > 1)
            raise ConfigError(
                f"Two jurors are the same judge, {twice.model}, and would give the same verdicts.",
                hint="Take judges of different makers; or give one of them another seed and a temperature above 0.",
            )
        self._jury = Jury(jury.jurors, weights=jury.weights, min_jurors=1, on_verdict=jury.observers)
        self._balanced = balanced
        self.usage = Usage()
        """Usage of this run; stored verdicts cost nothing."""

    def estimate(self, tasks: Sequence[RankingTask]) -> CostEstimate | None:
        """What judging all lists will take. None: a juror cannot tell."""
        total: CostEstimate | None = None
        for jury, same_size in self._planned(tasks):
            one = jury.estimate([task.case for task in same_size])
            if one is None:
                return None
            if total is not None:
                cases, cached = total.cases + one.cases, total.cached + one.cached
                one = dataclasses.replace(total + one, cases=cases, cached=cached)
            total = one
        return total

    def outcomes(self, tasks: Sequence[RankingTask], progress: Progress | None = None) -> dict[str, Outcomes]:
        """The outcomes of all jurors on each list, by the list's id.

        Args:
            tasks: The lists.
            progress: Called after each list with the counts of a progress bar.

        Raises:
            BudgetExceededError: the budget is used up; what was judged is stored.
            RewardAnythingError: a juror failed on its first `BROKEN` lists, or on all.
        """
        found: dict[str, Outcomes] = {}
        counts = {"rows": 0, "failed": 0, "from_store": 0, "done_before": 0}
        check = _BrokenJurors(len(self._jury.jurors))
        # A few lists come first, so that a juror that cannot judge is noticed before the others have judged many.
        for jury, same_size in chain(self._planned(tasks[:BROKEN]), self._planned(tasks[BROKEN:])):
            try:
                for index, outcome in stream_within_budget(jury, (task.case for task in same_size)):
                    of_jurors = self._of_jurors(outcome)
                    found[same_size[index].id] = of_jurors
                    counts["rows"] += 1
                    counts["failed"] += any(isinstance(each, JudgeFailure) for each in of_jurors)
                    counts["from_store"] += isinstance(outcome, Verdict) and outcome.cached
                    if progress is not None:
                        progress(counts)
                    check.add(of_jurors)
            finally:
                self.usage += jury.usage
        check.finish()
        return found

    def _planned(self, tasks: Sequence[RankingTask]) -> Iterator[tuple[Jury, list[RankingTask]]]:
        by_size: dict[int, list[RankingTask]] = defaultdict(list)
        for task in tasks:
            by_size[len(task.row.responses)].append(task)
        for size, same_size in by_size.items():
            # A copy counts its own usage, whether or not its passes change.
            yield self._jury.with_balanced_passes(size if self._balanced else 1), same_size

    def _of_jurors(self, outcome: Verdict | JudgeFailure) -> Outcomes:
        if isinstance(outcome, Verdict):
            return list(outcome.jurors or ())
        return [outcome] * len(self._jury.jurors)  # no juror reached a verdict


class _BrokenJurors:
    """Notices jurors that cannot judge anything.

    Args:
        number: Number of jurors.
    """

    def __init__(self, number: int) -> None:
        self._failures: list[list[JudgeFailure]] = [[] for _ in range(number)]
        self._works = [False] * number

    def add(self, outcomes: Outcomes) -> None:
        """Count the outcomes of a list.

        Raises:
            RewardAnythingError: a juror has failed too often.
        """
        for juror, outcome in enumerate(outcomes):
            if isinstance(outcome, Verdict):
                self._works[juror] = True
            elif not self._works[juror]:
                self._failures[juror].append(outcome)
        self._check(BROKEN)

    def finish(self) -> None:
        """Check what was judged as a whole.

        Raises:
            RewardAnythingError: a juror failed on everything.
        """
        self._check(1)

    def _check(self, number: int) -> None:
        for works, failures in zip(self._works, self._failures, strict=True):
            if not works and len(failures) >= number:
                first = failures[0]
                lists = "its only list" if len(failures) == 1 else f"each of its first {len(failures)} lists"
                message = f"The juror {first.model} failed on {lists}. {first.message}"
                raise error_from_failure(dataclasses.replace(first, message=message))


def described(juror: BaseJudge) -> dict[str, Any]:
    """A juror's model and settings, for the card.

    Args:
        juror: The juror.
    """
    singles = juror.single_judges
    return {
        "model": juror.model,
        "readout": ", ".join(dict.fromkeys(judge.readout for judge in singles)),
        "prompt_hash": ", ".join(dict.fromkeys(judge.template_hash for judge in singles)),
        "seed": ", ".join(dict.fromkeys(str(judge.seed) for judge in singles)),
        "fingerprint": juror.fingerprint(),
    }


def total_usage(outcomes: Mapping[str, Outcomes]) -> Usage:
    """What all verdicts took when they were made, in this run or before."""
    usages = {id(each): each.usage for of_list in outcomes.values() for each in of_list}
    return sum(usages.values(), Usage())
