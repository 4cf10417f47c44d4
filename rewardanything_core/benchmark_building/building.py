"""`build_benchmark`: principles x prompts x responses, ranked by a jury."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from rewardanything_core.agreement.consensus import METHODS, Method
from rewardanything_core.bench.running import Progress
from rewardanything_core.benchmark_building.benchmark import BuiltBenchmark
from rewardanything_core.benchmark_building.jury_run import JuryRun
from rewardanything_core.benchmark_building.lists import (
    PromptRow,
    RankingTask,
    checked_principles,
    checked_rows,
    content_hash,
    select_tasks,
)
from rewardanything_core.benchmark_building.ranked import RankedList, RankingRules
from rewardanything_core.errors import ConfigError
from rewardanything_core.fields import construct
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.judging.cost_estimates import CostEstimate
from rewardanything_core.judging.jury import Jury
from rewardanything_core.principles import Principle

Split: TypeAlias = Literal["principle", "prompt"]

MIN_AGREEMENT = 0.3
"""Least agreement of the jurors on a list that is kept; see ``benchmarks/build.py``."""


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How a benchmark is built.

    Raises:
        ConfigError: an option is out of its range.
    """

    name: str = "benchmark"
    """The benchmark's name, with which the ids of its rows begin."""

    lists: int | None = None
    """How many lists to rank; each principle gets equally many. None: every principle with every prompt."""

    balanced: bool = True
    """Whether every juror judges each list in as many orders as it has responses, each response in every place equally
    often. Otherwise in as many orders as its ``passes``."""

    quorum: int | None = None
    """How many jurors must reach a verdict on a list, 2 or more. None: the jury's ``min_jurors`` if that is fewer than
    all, otherwise more than half of them; two at least."""

    consensus: Method = "kemeny"
    """The consensus of the jurors' rankings: ``kemeny`` or ``borda``; see `consensus_ranking`."""

    min_agreement: float = MIN_AGREEMENT
    """Least agreement of the jurors on a list that is kept, -1..1: their mean Kendall's tau-b with each other."""

    split: Split = "principle"
    """What the train and the test half do not share: ``principle`` or ``prompt``."""

    test_share: float = 0.5
    """Share of the principles or prompts that are in the test half, in (0, 1)."""

    sheet: int = 100
    """For how many pairs people are to be asked, 0 or more; at most one of each list."""

    seed: int = 0
    """Seed of the selection, the halves and the sheet. Orders are drawn with the jurors' own seeds."""

    def __post_init__(self) -> None:
        if self.consensus not in METHODS:
            raise ConfigError(f"consensus must be one of {', '.join(METHODS)}, not {self.consensus!r}.")
        if self.split not in get_args(Split):
            raise ConfigError(f"split must be principle or prompt, not {self.split!r}.")
        if not 0 < self.test_share < 1:
            raise ConfigError(f"test_share must be above 0 and below 1, not {self.test_share!r}.")
        if not -1 <= self.min_agreement <= 1:
            raise ConfigError(f"min_agreement must be within -1..1, not {self.min_agreement!r}.")
        if (self.lists is not None and self.lists < 1) or self.sheet < 0:
            raise ConfigError("lists must be 1 or more, and sheet 0 or more.")
        if not self.name.strip() or not self.name.isprintable():
            raise ConfigError("The benchmark's name must have printable characters.")

    def quorum_of(self, jury: Jury) -> int:
        """How many jurors of a jury must reach a verdict.

        Raises:
            ConfigError: it does not have as many.
        """
        jurors = len(jury.jurors)
        usual = jury.min_jurors if jury.min_jurors < jurors else jurors // 2 + 1
        quorum = max(2, usual) if self.quorum is None else self.quorum
        if not 2 <= quorum <= jurors:
            raise ConfigError(f"quorum must be within 2..{jurors}, the number of jurors, not {quorum}.")
        return quorum


class BenchmarkBuilder:
    """A benchmark to be built: what is to be ranked, and by whom.

    Args:
        principles: The principles, each with a name of its own, or none.
        prompts: Prompts with their responses: `PromptRow`, or mappings with ``prompt``, ``responses`` and optionally
            ``id``, ``reference`` and ``context``.
        jury: The jury; or a list of two judges or more, or of model strings for `resolve_judge`.
        options: How it is built.

    Raises:
        ConfigError: something is missing or invalid; nothing was judged.
    """

    def __init__(
        self,
        principles: Iterable[Principle | str],
        prompts: Iterable[PromptRow | Mapping[str, Any]],
        jury: Jury | Sequence[BaseJudge | str],
        options: BuildOptions,
    ) -> None:
        self.options = options
        self.jury = jury if isinstance(jury, Jury) else Jury(jury)
        self.run = JuryRun(self.jury, balanced=options.balanced)
        self._rules = RankingRules(
            quorum=options.quorum_of(self.jury),
            min_agreement=options.min_agreement,
            consensus=options.consensus,
        )
        self.principles = checked_principles(principles)
        self.given = checked_rows(prompts)
        distinct = [row.distinct() for row in self.given]
        self.rows = [row for row in distinct if len(row.responses) > 1]
        if not self.rows:
            raise ConfigError(
                f"None of the {len(self.given)} prompts has two responses that differ.",
                hint="Give rows with responses, or let models write them: --sample.",
            )
        self.tasks = select_tasks(self.principles, self.rows, number=options.lists, seed=options.seed)
        self._test = self._test_units()

    def estimate(self) -> CostEstimate | None:
        """What judging will take. None: a juror cannot tell."""
        return self.run.estimate(self.tasks)

    def build(self, progress: Progress | None = None) -> BuiltBenchmark:
        """Judge what is not in the store, and build the benchmark.

        Args:
            progress: Called after each list with the counts of a progress bar.

        Raises:
            BudgetExceededError: the budget is used up. What was judged is stored, and the same call continues.
            RewardAnythingError: a juror fails on everything.
        """
        outcomes = self.run.outcomes(self.tasks, progress)
        lists = [RankedList.of(task, outcomes[task.id], self.jury.weights, self._rules) for task in self.tasks]
        responses = sum(len(row.responses) for row in self.given)
        return BuiltBenchmark(
            name=self.options.name,
            options={**vars(self.options), "quorum": self._rules.quorum},
            principles=self.principles,
            rows=tuple(self.given),
            lists=tuple(lists),
            test=tuple(self._is_test(each.task) for each in lists),
            jury=self.jury,
            outcomes=outcomes,
            usage=self.run.usage,
            prompts_left_out=len(self.given) - len(self.rows),
            duplicates=responses - sum(len(row.distinct().responses) for row in self.given),
        )

    def _is_test(self, task: RankingTask) -> bool:
        return (task.key if self.options.split == "principle" else content_hash(task.row.prompt)) in self._test

    def _test_units(self) -> frozenset[str]:
        """The principles or prompts of the test half."""
        split = self.options.split
        # Prompts that are the same are one, whatever their ids.
        prompts = dict.fromkeys(content_hash(row.prompt) for row in self.rows)
        units = list(self.principles) if split == "principle" else list(prompts)
        if len(units) < 2:
            other = "prompt" if split == "principle" else "principle"
            raise ConfigError(
                f"There is only one {split}, which cannot be in both halves.",
                hint=f"Split by {other}: --split {other}.",
            )
        number = min(len(units) - 1, max(1, round(len(units) * self.options.test_share)))
        return frozenset(random.Random(f"halves/{self.options.seed}").sample(units, number))


def build_benchmark(
    principles: Iterable[Principle | str],
    prompts: Iterable[PromptRow | Mapping[str, Any]],
    jury: Jury | Sequence[BaseJudge | str],
    *,
    progress: Progress | None = None,
    **options: Any,
) -> BuiltBenchmark:
    """Build a benchmark of your own domain: the consensus of a jury's rankings, as in RABench (arXiv 2506.03637).

    Verdicts go through the jurors' stores, so the same call continues an interrupted one without paying twice.

    Args:
        principles: The principles, each with a name of its own, or none.
        prompts: Prompts with their responses: `PromptRow`, or mappings with ``prompt``, ``responses`` and optionally
            ``id``, ``reference`` and ``context``. Responses that are the same count once.
        jury: The jury; or a list of two judges or more, or of model strings for `resolve_judge`.
        progress: Called after each list with the counts of a progress bar.
        **options: Fields of `BuildOptions`, such as ``lists``, ``min_agreement`` or ``seed``.

    Raises:
        ConfigError: something is missing or invalid; nothing was judged.
        BudgetExceededError: the budget is used up. What was judged is stored, and the same call continues.
        RewardAnythingError: a juror fails on everything.
    """
    checked = construct(BuildOptions, options, owner="build_benchmark")
    return BenchmarkBuilder(principles, prompts, jury, checked).build(progress)
