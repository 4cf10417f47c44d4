"""Selective evaluation: which confidence a judge needs to decide alone, with a guarantee on what it then decides.

A judge with a threshold decides the cases where its confidence reaches it and escalates the others. Selecting the
threshold on the same labels that measure its agreement would be optimistic. Here a part of the labels, the pilot,
chooses the candidates and their order, and the rest tests them in that order, each at level ``delta``, until one fails
(fixed-sequence testing). The test is exact: of n independent cases that are decided, the number of disagreements
is binomial. If the disagreement among decided cases were above ``alpha``, so few of them would have a probability
of at most ``delta``. So with probability ``1 - delta`` over the labels, the agreement of what is decided
without escalation is at least ``1 - alpha`` on data that are exchangeable with the labels. Nothing is assumed about the
confidences; a bad one only decides less.

Sources: Jung, Brahman & Choi, "Trust or Escalate: LLM Judges with Provable Guarantees for Human Agreement", ICLR 2025,
section 2; Angelopoulos, Bates, Candès, Jordan & Lei, "Learn then Test", 2021 (split fixed-sequence testing).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEVER = math.inf
"""The threshold of a stage that decides nothing."""

PILOT_SHARE = 0.25
"""Share of the labelled cases that choose the candidates and their order. They are not tested. Not swept."""

_START = 0.9
"""Where the tests begin: at this share of the largest expected probability of passing. At the largest itself, which is
often at permissive thresholds and uncertain, more sequences end with their first test (benchmarks/cascade.py)."""

_LEVELS = 40
"""Candidates of one path: the shares of the pilot's cases that each stage decides, in equal steps."""


@dataclass(frozen=True, kw_only=True)
class ThresholdTest:
    """The test of one candidate."""

    thresholds: tuple[float, ...]
    """The confidence that each stage needs to decide."""

    decided: int
    """Number of tested cases that a stage decides."""

    wrong: int
    """Number of those that disagree."""

    p_value: float
    """Probability of at most so many disagreements if their rate were ``alpha``."""

    passed: bool
    """Whether the p-value is at most ``delta``."""


@dataclass(frozen=True, kw_only=True)
class SelectiveFit:
    """The thresholds that a test supports."""

    thresholds: tuple[float, ...]
    """The confidence that each stage needs to decide; all `NEVER` if no candidate passed."""

    path: tuple[tuple[float, ...], ...]
    """All candidates from the strictest to the most permissive, tested or not."""

    tests: tuple[ThresholdTest, ...]
    """The tests in their order; the last may be the one that failed."""

    pilot: int
    """Number of cases that chose the candidates."""

    tested: int
    """Number of cases in the tests."""

    @property
    def passed(self) -> bool:
        """Whether any stage may decide."""
        return any(threshold != NEVER for threshold in self.thresholds)


def smallest_sample(alpha: float, delta: float) -> int:
    """The number of decided cases without any disagreement below which no test can pass.

    Args:
        alpha: Greatest acceptable share of disagreement among decided cases, in (0, 1).
        delta: Greatest acceptable probability that the share is larger after all, in (0, 1).
    """
    return math.ceil(math.log(delta) / math.log1p(-alpha))


def deciding_stage(confidences: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
    """The first stage whose confidence reaches its threshold.

    Args:
        confidences: (cases, stages); -inf where a stage has no verdict.
        thresholds: (candidates, stages).

    Returns:
        (candidates, cases) the number of the stage from 0, or the number of stages where none decides.
    """
    import numpy as np

    decides = (confidences[None] >= thresholds[:, None]) & (confidences[None] > -np.inf)
    first: NDArray[np.int64] = np.where(decides.any(axis=2), decides.argmax(axis=2), confidences.shape[1])
    return first


def mean_cost(thresholds: NDArray[np.float64], confidences: NDArray[np.float64], costs: NDArray[np.float64]) -> float:
    """The mean cost of a case.

    Args:
        thresholds: (stages,).
        confidences: (cases, stages).
        costs: (stages + 1,) cost of asking each stage, and the one that decides the rest. A stage that never decides is
            not asked.
    """
    import numpy as np

    asked = np.append(np.where(thresholds < NEVER, costs[:-1], 0.0), costs[-1])
    return float(asked.cumsum()[deciding_stage(confidences, thresholds[None])[0]].mean())


def as_optional(thresholds: Sequence[float]) -> tuple[float | None, ...]:
    """Thresholds with None in place of `NEVER`."""
    return tuple(None if threshold == NEVER else threshold for threshold in thresholds)


def fit_thresholds(
    confidences: NDArray[np.float64],
    agrees: NDArray[np.bool_],
    *,
    alpha: float,
    delta: float,
    costs: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> SelectiveFit:
    """Find the most permissive thresholds that keep the agreement at ``1 - alpha`` with probability ``1 - delta``.

    Args:
        confidences: (cases, stages) of independent cases; higher is surer, -inf where a stage has no verdict.
        agrees: (cases, stages) whether the stage's verdict agrees with the label.
        alpha: Greatest acceptable share of disagreement among decided cases, within 0..1.
        delta: Greatest acceptable probability that the share is larger after all, within 0..1.
        costs: (stages + 1,) cost of asking each stage, and the one that decides the rest. None: equal costs. With
            several stages, they decide which of them may decide at all.
        seed: Seed of the division into pilot and test.
    """
    import numpy as np

    number, stages = confidences.shape
    order = np.random.default_rng(seed).permutation(number)
    pilot, test = np.split(order, [round(number * PILOT_SHARE)])
    prices = np.ones(stages + 1) if costs is None else costs
    path, start = _chosen_path(confidences[pilot], agrees[pilot], len(test), prices, alpha, delta)
    tests = _tested_in_order(path[start:], confidences[test], agrees[test], alpha, delta)
    passed = [each for each in tests if each.passed]
    return SelectiveFit(
        thresholds=passed[-1].thresholds if passed else (NEVER,) * stages,
        path=tuple(tuple(row) for row in path.tolist()),
        tests=tuple(tests),
        pilot=len(pilot),
        tested=len(test),
    )


def _tested_in_order(
    path: NDArray[np.float64], confidences: NDArray[np.float64], agrees: NDArray[np.bool_], alpha: float, delta: float
) -> list[ThresholdTest]:
    """The tests up to the first that fails."""
    from scipy.special import bdtr

    decided, wrong = _counts(path, confidences, agrees)
    p_values = bdtr(wrong, decided, alpha)
    tests = []
    for row, n, k, p_value in zip(path.tolist(), decided.tolist(), wrong.tolist(), p_values.tolist(), strict=True):
        passed = n > 0 and p_value <= delta
        tests.append(ThresholdTest(thresholds=tuple(row), decided=n, wrong=k, p_value=p_value, passed=passed))
        if not passed:
            break
    return tests


def _counts(
    path: NDArray[np.float64], confidences: NDArray[np.float64], agrees: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of decided cases and of disagreements among them, for each candidate."""
    import numpy as np

    stages = confidences.shape[1]
    stage = deciding_stage(confidences, path)
    wrong_at = np.concatenate([~agrees, np.zeros((len(agrees), 1), dtype=bool)], axis=1)
    return (stage < stages).sum(axis=1), wrong_at[np.arange(len(agrees)), stage].sum(axis=1)


def _chosen_path(
    confidences: NDArray[np.float64],
    agrees: NDArray[np.bool_],
    test_size: int,
    costs: NDArray[np.float64],
    alpha: float,
    delta: float,
) -> tuple[NDArray[np.float64], int]:
    """The path whose end the pilot expects to be the cheapest, and where on it the tests are to begin.

    A path belongs to a set of stages; on it these decide ever larger shares of the cases, and the others nothing. The
    tests begin at the strictest thresholds of which the pilot expects about the largest probability of passing.
    """
    stages = confidences.shape[1]
    best: tuple[float, NDArray[np.float64], int] | None = None
    for size in range(stages, 0, -1):
        for members in combinations(range(stages), size):
            path = _path(confidences, members)
            power = _expected_power(path, confidences, agrees, test_size, alpha, delta)
            start = int((power >= _START * power.max()).argmax())
            end = start
            while end + 1 < len(power) and power[end + 1] >= 0.5:
                end += 1
            cost = mean_cost(path[end], confidences, costs) if power[start] >= 0.5 else math.inf
            if best is None or cost < best[0]:
                best = cost, path, start
    assert best is not None
    return best[1], best[2]


def _path(confidences: NDArray[np.float64], members: tuple[int, ...]) -> NDArray[np.float64]:
    """(candidates, stages) thresholds at ever lower quantiles of the pilot's confidences, each once."""
    import numpy as np

    path = np.full((_LEVELS, confidences.shape[1]), NEVER)
    for stage in members:
        known = np.sort(confidences[confidences[:, stage] > -np.inf, stage])[::-1]
        if len(known):
            path[:, stage] = known[np.ceil(np.arange(1, _LEVELS + 1) / _LEVELS * len(known)).astype(int) - 1]
    distinct: NDArray[np.float64] = path[np.append(True, (path[1:] != path[:-1]).any(axis=1))]
    return distinct


def _expected_power(
    path: NDArray[np.float64],
    confidences: NDArray[np.float64],
    agrees: NDArray[np.bool_],
    test_size: int,
    alpha: float,
    delta: float,
) -> NDArray[np.float64]:
    """The probability that each candidate passes, from the pilot and in normal approximation; it only sets an order."""
    import numpy as np
    from scipy.special import ndtr, ndtri

    decided, wrong = _counts(path, confidences, agrees)
    rate = (wrong + 0.5) / (decided + 1)
    expected = decided * test_size / max(1, len(confidences))
    gap = (alpha - rate) * np.sqrt(expected) + ndtri(delta) * math.sqrt(alpha * (1 - alpha))
    power: NDArray[np.float64] = ndtr(gap / np.sqrt(rate * (1 - rate)))
    power[expected < smallest_sample(alpha, delta)] = 0.0
    return power
