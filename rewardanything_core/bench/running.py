"""Running a judge over a benchmark."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from rewardanything_core.agreement.pair_probability import Reliability, reliability
from rewardanything_core.bench.items import BenchItem, Flip
from rewardanything_core.bench.measures import JudgedFlip, JudgedItem, by_flip, by_part, figures, match_flips, rm_bench
from rewardanything_core.bench.report import BenchReport
from rewardanything_core.errors import ConfigError
from rewardanything_core.judging.base import DEFAULT_WINDOW, BaseJudge
from rewardanything_core.judging.streaming import stream_within_budget
from rewardanything_core.options import UNWRITTEN_READOUTS
from rewardanything_core.types import Abstention, JudgeFailure, Usage, Verdict

Progress = Callable[[Mapping[str, int]], None]
"""Called after each judgement with the counts ``rows``, ``failed``, ``from_store`` and ``done_before`` (0)."""

_FEW_GROUPS = 20  # with fewer the report says that intervals are wide; see benchmarks/interval_coverage.py


def run_bench(
    judge: BaseJudge,
    items: Sequence[BenchItem],
    flips: Iterable[Flip] = (),
    *,
    progress: Progress | None = None,
    window: int = DEFAULT_WINDOW,
) -> BenchReport:
    """Judge every item and measure the agreement with human labels.

    Verdicts go through the judge's store, so an interrupted run continues where it stopped. A failed judgement is
    counted and excluded from every figure, except those whose names say that failures count as wrong.

    Args:
        judge: A judge or a jury.
        items: Items from `read_items`. Under a rubric, figures are over its criteria, each as a list of its own.
        flips: Flip pairs from `read_flips` that refer to these items.
        progress: Called after each judgement.
        window: Maximum number of judgements in flight.

    Raises:
        ConfigError: there are flip pairs and none of them refers to these items.
    """
    flips = list(flips)
    places, missing = match_flips([part for item in items for part in item.parts], flips)
    if flips and not places:
        raise ConfigError(
            "None of the flip pairs refers to these items.",
            hint="'group' must be the group of two rows, and 'a' and 'b' their meta.criterion.",
        )
    started, usage_before = time.perf_counter(), judge.usage
    judged = judge_items(judge, items, progress=progress, window=window)
    parts = [part for one in judged for part in one.parts]
    matched = [JudgedFlip(flip, parts[a], parts[b]) for flip, a, b in places]
    wholes = [one for one in judged if one.item.rubric is not None and one.item.pairs]
    is_written = judge.fingerprint().get("readout") not in UNWRITTEN_READOUTS
    return BenchReport(
        judge=judge.fingerprint(),
        model=judge.model,
        judged=tuple(judged),
        figures=figures(parts, matched),
        whole=figures(wholes, []) if wholes else {},
        by_source=by_part(parts, matched, lambda item: item.source),
        by_domain=by_part(parts, matched, lambda item: item.domain),
        by_category=by_part(parts, matched, lambda item: item.category),
        by_criterion=by_part(parts, matched, lambda item: item.criterion),
        by_flip=by_flip(matched),
        rm_bench=rm_bench(parts),
        flips=len(matched),
        flips_missing=missing,
        reliability=pair_reliability(parts),
        spent=judge.usage - usage_before,
        made=sum((one.outcome.usage for one in judged), Usage()),
        seconds=time.perf_counter() - started,
        notes=tuple(_notes(judged, flips, missing, written=is_written)),
    )


def judge_items(
    judge: BaseJudge, items: Sequence[BenchItem], *, progress: Progress | None = None, window: int = DEFAULT_WINDOW
) -> list[JudgedItem]:
    """Judge items and return them with their outcomes, in input order.

    Args:
        judge: A judge or a jury.
        items: The items.
        progress: Called after each judgement.
        window: Maximum number of judgements in flight.
    """
    counts = {"rows": 0, "failed": 0, "from_store": 0, "done_before": 0}
    outcomes: dict[int, Verdict | JudgeFailure] = {}
    # Mappings instead of cases: an item that is not a valid case becomes a failure instead of raising.
    for index, outcome in stream_within_budget(judge, (item.case_fields() for item in items), window=window):
        outcomes[index] = outcome
        counts["rows"] += 1
        counts["failed"] += isinstance(outcome, JudgeFailure) and not isinstance(outcome, Abstention)
        counts["from_store"] += isinstance(outcome, Verdict) and outcome.cached
        if progress is not None:
            progress(counts)
    return [JudgedItem(item, outcomes[index]) for index, item in enumerate(items)]


def pair_reliability(judged: Iterable[JudgedItem]) -> Reliability | None:
    """How well the gap and the spread of two scores predict which response people prefer, over all labelled pairs."""
    gaps: list[float] = []
    spreads: list[float] = []
    groups: list[str] = []
    for one in judged:
        if (verdict := one.verdict) is None:
            continue
        for better, worse in one.item.pairs:
            gaps.append(verdict.scores[better] - verdict.scores[worse])
            spreads.append(math.hypot(verdict.spread.get(better, 0.0), verdict.spread.get(worse, 0.0)))
            groups.append(one.item.group)
    return reliability(gaps, spreads, groups)


def _notes(judged: Sequence[JudgedItem], flips: Sequence[Flip], missing: int, *, written: bool) -> Iterable[str]:
    verdicts = [one.verdict for one in judged if one.verdict is not None]
    abstained = sum(isinstance(one.outcome, Abstention) for one in judged)
    if abstained:
        yield f"{abstained} of {len(judged)} judgements were left to a person, and no figure includes them."
    if not verdicts:
        return
    groups = len({one.item.group for one in judged})
    if not flips:
        yield (
            "Without --flips, these figures do not show whether the judge follows the principle: a judge that "
            "recognises good answers and ignores the principle can also agree with people often."
        )
    if missing:
        yield f"{missing} flip pairs were left out because they refer to an item or response that the files lack."
    if groups < _FEW_GROUPS:
        prompts = "is only 1 group" if groups == 1 else f"are only {groups} groups"
        yield (
            f"There {prompts} of prompts, too few for precise figures: the intervals allow for prompts with very "
            "different results, of which so small a sample may have none."
        )
    if written and any(len(verdict.orders) == 1 for verdict in verdicts):
        yield "Each list was judged in one order; --passes 2 judges pairs in both orders, as LLMBar and JudgeBench do."
