"""The reward of a judge's completion: how well its verdict orders the responses, and 0 if it is not a verdict.

The listwise reward is that of the RewardAnything paper (arXiv 2506.03637): 1 minus the share of pairs that are put the
wrong way, each weighted by 1 plus the gap of its labels, a false tie counting half. Two responses that people rank
equally are no pair here. So a judge that gives the same verdict under a principle and under its contrary, which
reverses every pair, gets exactly 0.5 in the mean, whatever the verdict is.

Consistency over orders follows J1 (arXiv 2505.10320): part of the reward of a pair depends on whether the same pair is
right in the completions that saw the responses in another order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from numbers import Real
from statistics import fmean
from typing import Any, NamedTuple

from rewardanything_core import ConfigError, Verdict, parse_verdict
from rewardanything_core.errors import VerdictParseError


class OrderedPair(NamedTuple):
    """Two responses that people do not rank equally."""

    better: str
    """Label of the better one."""

    worse: str
    """Label of the other one."""

    gap: float
    """How far they are apart in points of the scale 1..5, above 0."""


@dataclass(frozen=True, kw_only=True)
class RewardRules:
    """What a completion is rewarded for.

    Raises:
        ConfigError: a value is out of its range.
    """

    consistency: float = 0.25
    """Share of the reward, 0..1, that a pair earns only as far as it is also right in the other orders of the case in
    the batch. Not tuned."""

    max_thinking: int | None = 2000
    """Reasoning in characters, 1 or more, from which the reward falls: linearly, to 0 at twice the length. None: no
    limit. Not tuned; reasoning that never ends is not a verdict in any case."""

    def __post_init__(self) -> None:
        if not 0 <= self.consistency <= 1:
            raise ConfigError(f"consistency must be within 0..1, not {self.consistency!r}.")
        if self.max_thinking is not None and self.max_thinking < 1:
            raise ConfigError(f"max_thinking must be 1 or more characters, or None, not {self.max_thinking!r}.")


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One completion of the policy, and what it was asked.

    Raises:
        ConfigError: `pairs` is empty, or a pair has a label that was not shown or a gap that is not a positive number.
    """

    completion: str
    """What the policy wrote, all of it."""

    labels: Sequence[str]
    """Labels of the responses in the order in which this prompt showed them: the first is ``model-1``."""

    pairs: Sequence[OrderedPair]
    """People's order."""

    case: str
    """Equal for all orders of the same responses under the same principle."""

    def __post_init__(self) -> None:
        try:
            _check_pairs(self.pairs)
        except ConfigError as error:
            raise ConfigError(f"The case {self.case!r}: {error.message}") from error
        if missing := {label for pair in self.pairs for label in pair[:2]} - set(self.labels):
            raise ConfigError(
                f"The case {self.case!r} has a pair with {', '.join(sorted(map(repr, missing)))}, but its labels are "
                f"{', '.join(map(repr, self.labels)) or 'none'}."
            )

    @classmethod
    def of_row(cls, completion: str, labels: Any, pairs: Any, case: Any) -> Attempt:
        """A completion with the columns of its row, as a data set holds them.

        Args:
            completion: What the policy wrote.
            labels: The column ``labels``.
            pairs: The column ``pairs``.
            case: The column ``case``.

        Raises:
            ConfigError: the columns are not those of `training_rows`.
        """
        try:
            ordered = [OrderedPair(pair["better"], pair["worse"], pair["gap"]) for pair in pairs]
            return cls(completion=completion, labels=list(labels), pairs=ordered, case=str(case))
        except (KeyError, TypeError, IndexError) as error:
            raise ConfigError(f"The row of the case {case!r} was not made by training_rows(): {error!r}.") from error


@dataclass(frozen=True, kw_only=True)
class AttemptReward:
    """The reward of one completion, and what it consists of."""

    reward: float
    """0..1; 0 without a verdict."""

    parsed: bool
    """Whether the completion is a verdict by the rules of `parse_verdict`."""

    listwise: float | None = None
    """See `listwise_reward`. None without a verdict."""

    consistent: float | None = None
    """The part of ``listwise`` that is also right in the other orders. None: the batch has no other order."""

    thinking: int = 0
    """Length of the reasoning in characters."""


def ordered_pairs(reference: Mapping[str, float] | Sequence[str]) -> list[OrderedPair]:
    """All pairs of responses that a reference orders.

    Args:
        reference: Label -> score on 1..5; or the labels, best first, of which any two count as one point apart.

    Raises:
        ConfigError: it orders no pair.
    """
    if isinstance(reference, Mapping):
        if unusable := [label for label, score in reference.items() if not _is_number(score)]:
            raise ConfigError(f"The reference has no score of {', '.join(map(repr, unusable))} that is a number.")
        ranked = sorted(reference, key=lambda label: -reference[label])
        gaps = {(a, b): reference[a] - reference[b] for a, b in combinations(ranked, 2)}
    else:
        if len(set(reference)) < len(reference):
            raise ConfigError(f"The reference has a label twice: {', '.join(map(repr, reference))}.")
        gaps = dict.fromkeys(combinations(reference, 2), 1.0)
    pairs = [OrderedPair(better, worse, gap) for (better, worse), gap in gaps.items() if gap > 0]
    if not pairs:
        raise ConfigError("The reference orders no two responses, so there is nothing to reward a verdict for.")
    return pairs


def listwise_reward(
    predicted: Verdict | Mapping[str, float], reference: Mapping[str, float] | Sequence[str] | Sequence[OrderedPair]
) -> float:
    """How well scores order the responses: 1 minus the weighted share of pairs put the wrong way.

    Args:
        predicted: A verdict, or label -> score.
        reference: Label -> score on 1..5; or labels, best first; or pairs.

    Returns:
        0..1. A pair weighs 1 plus its gap; one with equal predicted scores counts half.

    Raises:
        ConfigError: the reference orders no pair, or a label has no predicted score.
    """
    pairs = _as_pairs(reference)
    return _weighted(pairs, _credits(predicted.scores if isinstance(predicted, Verdict) else predicted, pairs))


def batch_rewards(attempts: Sequence[Attempt], rules: RewardRules) -> list[AttemptReward]:
    """The rewards of all completions of a batch.

    Args:
        attempts: The completions. Those of one case in other orders are what consistency is measured against.
        rules: What is rewarded.

    Raises:
        ConfigError: two completions of one case have different pairs.
    """
    pairs_of = {attempt.case: attempt.pairs for attempt in attempts}
    if mixed := [attempt.case for attempt in attempts if list(attempt.pairs) != list(pairs_of[attempt.case])]:
        raise ConfigError(f"Rows of the case {mixed[0]!r} have different pairs; each item needs an id of its own.")
    verdicts = [_verdict(attempt) for attempt in attempts]
    shares = [
        [0.0] * len(attempt.pairs) if verdict is None else _credits(verdict.scores, attempt.pairs)
        for attempt, verdict in zip(attempts, verdicts, strict=True)
    ]
    by_order: dict[str, dict[tuple[str, ...], list[int]]] = {}
    for index, attempt in enumerate(attempts):
        by_order.setdefault(attempt.case, {}).setdefault(tuple(attempt.labels), []).append(index)
    rewards = []
    for attempt, verdict, own in zip(attempts, verdicts, shares, strict=True):
        if verdict is None:
            rewards.append(AttemptReward(reward=0.0, parsed=False))
            continue
        orders = by_order[attempt.case]
        others = [shares[index] for order in orders if order != tuple(attempt.labels) for index in orders[order]]
        listwise, consistent = _weighted(attempt.pairs, own), None
        reward = listwise
        if others:
            elsewhere = [fmean(column) for column in zip(*others, strict=True)]
            consistent = _weighted(attempt.pairs, [here * there for here, there in zip(own, elsewhere, strict=True)])
            reward = (1 - rules.consistency) * listwise + rules.consistency * consistent
        thinking = len(verdict.replies[0][0].reasoning)
        if rules.max_thinking is not None:
            reward *= min(1.0, max(0.0, 2 - thinking / rules.max_thinking))
        rewards.append(
            AttemptReward(reward=reward, parsed=True, listwise=listwise, consistent=consistent, thinking=thinking)
        )
    return rewards


def _verdict(attempt: Attempt) -> Verdict | None:
    masked = {f"model-{place}": label for place, label in enumerate(attempt.labels, start=1)}
    try:
        return parse_verdict(attempt.completion, masked)
    except VerdictParseError:
        return None


def _as_pairs(reference: Mapping[str, float] | Sequence[str] | Sequence[OrderedPair]) -> Sequence[OrderedPair]:
    if isinstance(reference, Mapping):
        return ordered_pairs(reference)
    pairs = [one for one in reference if isinstance(one, OrderedPair)]
    if not pairs:
        return ordered_pairs([str(one) for one in reference])
    _check_pairs(pairs)
    return pairs


def _check_pairs(pairs: Sequence[OrderedPair]) -> None:
    if not pairs:
        raise ConfigError("There is no pair of responses that people's labels order, so no completion can be rewarded.")
    for better, worse, gap in pairs:
        if better == worse or not _is_number(gap) or gap <= 0:
            raise ConfigError(f"{better!r} cannot be better than {worse!r} by {gap!r}; gaps are numbers above 0.")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _credits(predicted: Mapping[str, float], pairs: Sequence[OrderedPair]) -> list[float]:
    """For each pair 1 if it is ordered as people do, 0.5 for equal scores, otherwise 0."""
    if missing := {label for pair in pairs for label in pair[:2]} - set(predicted):
        raise ConfigError(f"The verdict has no predicted score of {', '.join(sorted(map(repr, missing)))}.")
    return [
        0.5 if predicted[better] == predicted[worse] else float(predicted[better] > predicted[worse])
        for better, worse, _ in pairs
    ]


def _weighted(pairs: Sequence[OrderedPair], values: Sequence[float]) -> float:
    weights = [1 + pair.gap for pair in pairs]
    return sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)
