"""Fitting the thresholds of a cascade to labels by people or to the verdicts of its last stage."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING

from rewardanything_core.agreement.confidence import Confidence, confidence_of
from rewardanything_core.agreement.intervals import mean
from rewardanything_core.agreement.same_decision import AgreementRule, ReferenceDecision, same_decision
from rewardanything_core.agreement.selective import (
    NEVER,
    PILOT_SHARE,
    SelectiveFit,
    as_optional,
    deciding_stage,
    fit_thresholds,
    mean_cost,
    smallest_sample,
)
from rewardanything_core.bench.cascade_results import Against, CascadeFit, CostUnit, CurvePoint, StageFigures
from rewardanything_core.bench.fitted_labels import check_fitted_labels
from rewardanything_core.bench.items import BenchItem, ScoreRange, on_our_scale, pairs_of
from rewardanything_core.bench.labels import default_scale
from rewardanything_core.bench.running import Progress, judge_items
from rewardanything_core.bench.training_items import grouped_by_prompt
from rewardanything_core.cases import Case
from rewardanything_core.errors import ConfigError
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.judging.cascade import Cascade
from rewardanything_core.judging.cascade_thresholds import judge_hash
from rewardanything_core.types import Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_POINTS = 10
_ROWS = 1_000


def fit_cascade(
    cascade: Cascade,
    items: Sequence[BenchItem],
    *,
    alpha: float = 0.1,
    delta: float = 0.1,
    against: Against = "people",
    rule: AgreementRule | None = None,
    tolerance: float = 0.5,
    tie_margin: float = 0.0,
    scale: ScoreRange | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> CascadeFit:
    """Fit a cascade's thresholds.

    With probability ``1 - delta`` over the labels, the agreement of what the cascade decides without escalating to the
    end is at least ``1 - alpha`` on prompts that are exchangeable with the labelled ones; see `selective`. Items of one
    prompt are not independent, so one of each prompt, drawn at random, enters the tests.

    Args:
        cascade: The cascade; its thresholds do not matter. Every stage that may escalate judges every item. So does the
            last one if it gives the labels; otherwise it is asked nothing, and only its stored verdicts are looked up.
        items: Labelled items; without labels if ``against`` is ``last``.
        alpha: See `CascadeFit`.
        delta: See `CascadeFit`.
        against: See `Against`.
        rule: See `AgreementRule`. None: ``scores`` if all items have one response, ``best`` if all have several.
        tolerance: See `same_decision`.
        tie_margin: See `same_decision`; if the last stage gives the labels, it applies to them too.
        scale: Lowest and highest possible score by people, as in `compare_labels`.
        seed: Seed of the drawn items and of the division into pilot and test.
        progress: Called after each judgement of a stage.

    Raises:
        ConfigError: an argument is out of range, the labels do not fit the rule or are too few, or a stage's reward
            head was fitted to them.
        BudgetExceededError: the budget of a stage is used up.
    """
    if cascade.abstain and against == "last":
        raise ConfigError("A cascade that may abstain needs labels of people: its last stage cannot check itself.")
    if not (0 < alpha < 1 and 0 < delta < 1):
        raise ConfigError(f"alpha and delta must lie between 0 and 1, not {alpha!r} and {delta!r}.")
    if tolerance < 0 or tie_margin < 0:
        raise ConfigError("tolerance and tie_margin must be 0 or more.")
    if len(set(map(judge_hash, cascade.stages))) < len(cascade.stages):
        raise ConfigError("Two stages of this cascade judge alike: they have the same model and settings.")
    items = grouped_by_prompt(items)
    rule = rule or _default_rule(items)
    _check_number(items, alpha, delta)
    people = _labels_of_people(items, rule, scale) if against == "people" else []
    notes = check_fitted_labels(cascade.stages[: cascade.num_thresholds], items)
    columns = _columns(cascade, items, against, progress)
    labels = people or [_label_of_verdict(verdict, tie_margin) for verdict in columns[-1]]

    def same(verdict: Verdict | None, label: ReferenceDecision | None) -> bool | None:
        if verdict is None or label is None:
            return None
        return same_decision(verdict.scores, label, rule=rule, tolerance=tolerance, tie_margin=tie_margin)

    given = len(items)
    usable = [place for place, label in enumerate(labels) if _is_label(label, items[place], rule)]
    items = [items[place] for place in usable]
    _check_number(items, alpha, delta)
    columns = [[column[place] for place in usable] for column in columns]
    labels = [labels[place] for place in usable]
    costs, unit, cost_notes = _costs(cascade, columns, items)
    table = _Table(
        groups=[item.group for item in items],
        columns=columns,
        same=[[same(*pair) for pair in zip(column, labels, strict=True)] for column in columns],
        costs=costs,
        deciding=cascade.num_thresholds,
        confidence=cascade.confidence,
    )
    drawn = table.one_of_each_group(seed)
    test = fit_thresholds(
        table.confidences[drawn], table.agrees[drawn], alpha=alpha, delta=delta, costs=table.path_costs, seed=seed
    )
    return CascadeFit(
        cascade=cascade.with_thresholds(test.thresholds),
        test=test,
        alpha=alpha,
        delta=delta,
        against=against,
        rule=rule,
        items=len(items),
        groups=len(drawn),
        unlabelled=given - len(items),
        stages=table.stage_figures(cascade.stages, judges_itself=against == "last"),
        curve=table.curve(test),
        cost_unit=unit,
        notes=(*notes, *cost_notes),
    )


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The stages' verdicts on the labelled items."""

    groups: list[str]
    columns: list[list[Verdict | None]]
    """For each stage, the verdict on each item. None: it failed or was not asked."""

    same: list[list[bool | None]]
    """For each stage, whether its verdict on each item agrees with the label."""

    costs: NDArray[np.float64]
    """Mean cost of a case at each stage."""

    deciding: int
    """Number of stages that may escalate."""

    confidence: Confidence

    @cached_property
    def confidences(self) -> NDArray[np.float64]:
        import numpy as np

        columns = [
            [-np.inf if verdict is None else confidence_of(verdict, self.confidence) for verdict in column]
            for column in self.columns[: self.deciding]
        ]
        return np.array(columns, dtype=float).T

    @cached_property
    def agrees(self) -> NDArray[np.bool_]:
        import numpy as np

        return np.array([[right is True for right in column] for column in self.same[: self.deciding]]).T

    @property
    def path_costs(self) -> NDArray[np.float64]:
        """Cost of each stage that may escalate, and of what comes after them."""
        import numpy as np

        return np.append(self.costs[: self.deciding], self.costs[self.deciding :].sum())

    def one_of_each_group(self, seed: int) -> list[int]:
        """The places of one item of each group, drawn at random."""
        places: dict[str, list[int]] = {}
        for place, group in enumerate(self.groups):
            places.setdefault(group, []).append(place)
        draw = random.Random(seed)
        return [draw.choice(members) for members in places.values()]

    def stage_figures(self, stages: Sequence[BaseJudge], *, judges_itself: bool) -> tuple[StageFigures, ...]:
        """Each stage alone; ``judges_itself``: whether the last one's verdicts are the labels."""
        figures = []
        for number, stage in enumerate(stages):
            is_label = judges_itself and number == len(stages) - 1
            found = (
                []
                if is_label
                else [
                    (right, group)
                    for right, group in zip(self.same[number], self.groups, strict=True)
                    if right is not None
                ]
            )
            figures.append(
                StageFigures(
                    model=stage.model,
                    agreement=mean([float(right) for right, _ in found], [group for _, group in found]),
                    cost=float(self.costs[number]) * _ROWS,
                    failed=self.columns[number].count(None) if number < self.deciding else 0,
                )
            )
        return tuple(figures)

    def curve(self, test: SelectiveFit) -> tuple[CurvePoint, ...]:
        """Some of the candidates, the fitted thresholds, and escalation of everything."""
        import numpy as np

        never = (NEVER,) * self.deciding
        step = max(1, len(test.path) // _POINTS)
        candidates = list(dict.fromkeys([never, *test.path[step - 1 :: step], test.thresholds]))
        deciders = deciding_stage(self.confidences, np.array(candidates))
        points = []
        for thresholds, stage in zip(candidates, deciders, strict=True):
            decided = np.flatnonzero(stage < self.deciding)
            right = [float(self.agrees[place, stage[place]]) for place in decided]
            points.append(
                CurvePoint(
                    thresholds=as_optional(thresholds),
                    coverage=len(decided) / len(self.groups),
                    agreement=mean(right, [self.groups[place] for place in decided]),
                    cost=mean_cost(np.array(thresholds), self.confidences, self.path_costs) * _ROWS,
                    chosen=thresholds == test.thresholds,
                )
            )
        return tuple(sorted(points, key=lambda point: point.coverage))


def _default_rule(items: Sequence[BenchItem]) -> AgreementRule:
    single = {len(item.responses) == 1 for item in items}
    if len(single) > 1:
        raise ConfigError(
            "Some items have one response and some have several, so what counts as agreement must be chosen.",
            hint="Give the rule: scores, or best or order, which leave out the items with one response.",
        )
    return "scores" if single == {True} else "best"


def _check_number(items: Sequence[BenchItem], alpha: float, delta: float) -> None:
    """Check that some threshold could pass, before anything is judged."""
    groups, needed = len({item.group for item in items}), smallest_sample(alpha, delta)
    labels = math.ceil(needed / (1 - PILOT_SHARE))
    if groups - round(groups * PILOT_SHARE) < needed:
        raise ConfigError(
            f"alpha = {alpha:g} and delta = {delta:g} need labels for {labels:,} prompts "
            f"or more, and there are {groups:,}.",
            hint=f"A test passes with {needed} decided cases at the least, all of them right; a quarter of the labels "
            "choose the candidates. Label more prompts, or raise alpha or delta.",
        )


def _labels_of_people(
    items: Sequence[BenchItem], rule: AgreementRule, scale: ScoreRange | None
) -> list[ReferenceDecision | None]:
    for item in items:
        if not all(map(math.isfinite, (item.human or {}).values())):
            raise ConfigError(f"The scores of {item.id} must be numbers, not {item.human}.")
    if rule != "scores":
        return [ReferenceDecision(scores=item.human, pairs=item.pairs) if item.labelled else None for item in items]
    rated = [item for item in items if item.rated and item.human]
    if not rated:
        raise ConfigError("Agreement of scores needs scores by people, and these labels have none.")
    ends = scale or default_scale(
        [value for item in rated if item.scale is None for value in (item.human or {}).values()]
    )
    return [
        ReferenceDecision(
            scores={name: on_our_scale(value, item.scale or ends, item.id) for name, value in item.human.items()}
        )
        if item.rated and item.human
        else None
        for item in items
    ]


def _label_of_verdict(verdict: Verdict | None, tie_margin: float) -> ReferenceDecision | None:
    if verdict is None:
        return None
    pairs = [
        (better, worse)
        for better, worse in pairs_of(verdict.scores)
        if verdict.scores[better] - verdict.scores[worse] > tie_margin
    ]
    highest = max(verdict.scores.values())
    tied = {name: highest if highest - score <= tie_margin else score for name, score in verdict.scores.items()}
    return ReferenceDecision(scores=tied, pairs=pairs)


def _is_label(label: ReferenceDecision | None, item: BenchItem, rule: AgreementRule) -> bool:
    return label is not None and (rule == "scores" or len(item.responses) > 1)


def _columns(
    cascade: Cascade, items: Sequence[BenchItem], against: Against, progress: Progress | None
) -> list[list[Verdict | None]]:
    """Each stage's verdicts; the last one's from its store, if nothing depends on them."""
    columns = []
    for number, stage in enumerate(cascade.stages):
        if number < cascade.num_thresholds or against == "last":
            columns.append([one.verdict for one in judge_items(stage, items, progress=progress)])
        else:
            columns.append(stage.cached_verdicts([Case(**item.case_fields()) for item in items]))
    return columns


def _costs(
    cascade: Cascade, columns: Sequence[Sequence[Verdict | None]], items: Sequence[BenchItem]
) -> tuple[NDArray[np.float64], CostUnit, list[str]]:
    """Mean cost of a case at each stage, in the first unit that is known."""
    import numpy as np

    usages = [[verdict.usage for verdict in column if verdict is not None] for column in columns]
    dollars = [_mean([usage.cost for usage in of_stage if usage.cost is not None]) for of_stage in usages]
    if dollars[-1] is None and not usages[-1]:
        dollars[-1] = _estimated_cost(cascade.stages[-1], items)
    known = [bool(of_stage) or cost is not None for of_stage, cost in zip(usages, dollars, strict=True)]
    if any(dollars) and all(known):
        free = [stage.model for stage, cost in zip(cascade.stages, dollars, strict=True) if cost is None]
        notes = [f"No price is known of {model}; its cost counts as 0." for model in free]
        return np.array([cost or 0.0 for cost in dollars]), "dollars", notes
    seconds = [_mean([usage.seconds for usage in of_stage]) for of_stage in usages]
    if all(seconds):
        return np.array(seconds, dtype=float), "seconds", []
    only_last = np.zeros(len(columns))
    only_last[-1] = 1.0
    return only_last, "escalations", ["The stages' costs are not known; cost is the number of rows for the last stage."]


def _estimated_cost(judge: BaseJudge, items: Sequence[BenchItem]) -> float | None:
    estimate = judge.estimate(Case(**item.case_fields()) for item in items)
    if estimate is None or not estimate.cost or estimate.cases == estimate.cached:
        return None
    return estimate.cost / (estimate.cases - estimate.cached)


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
