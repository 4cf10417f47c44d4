"""Tests of whether one run of a judge differs from its recorded runs on the same cases.

If the judge has not changed, its runs on a case are exchangeable: which of them was the last one is arbitrary. So each
figure of the last run is compared with the same figure after choosing, for each case at random, one of all runs to be
the last. These are permutation tests: they hold for any judge and any number of cases, however its verdicts vary, and
are exact up to the random choice of permutations (Hemerik & Goeman, Test 27, 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Figure = Literal["shift", "changes", "spread", "agreement"]

PERMUTATIONS = 9_999
"""Random permutations; if there are no more different ones, all of them are used."""

_BLOCK = 2_000_000  # scores held at a time
_EQUAL = 1e-9


@dataclass(frozen=True, kw_only=True)
class DriftTest:
    """One figure of the last run against the recorded ones."""

    figure: Figure
    """``shift``: the mean score. ``changes``: the mean distance of scores from their mean over all runs. ``spread``:
    the standard deviation of scores over responses. ``agreement``: the share of pairs ordered as people order them."""

    recorded: float
    """The mean of the figure over the recorded runs."""

    now: float
    """The figure of the last run."""

    p_value: float
    """Two-sided for all but ``changes``, and corrected for the number of figures (Holm)."""

    moved: bool
    """Whether it differs significantly."""


def drift_tests(
    scores: NDArray[np.float64],
    cases: NDArray[np.int64],
    pairs: NDArray[np.int64],
    *,
    alpha: float,
    seed: int = 0,
) -> tuple[DriftTest, ...]:
    """Test all figures.

    Args:
        scores: Shape ``(runs, n)``: the scores of n responses, 1..5; the last run is the one under test. Two runs or
            more, all complete.
        cases: Shape ``(n,)``: the independent prompt of each response, 0, 1, ...
        pairs: Shape ``(m, 2)``: responses of which people prefer the first to the second; may be empty.
        alpha: The probability of an alarm if the judge has not changed, for all figures together.
        seed: Seed of the permutations.
    """
    import numpy as np

    centre = scores.mean(axis=0)
    figures: dict[Figure, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
        "shift": lambda runs: runs.mean(axis=-1),
        "changes": lambda runs: np.abs(runs - centre).mean(axis=-1),
        "spread": lambda runs: runs.std(axis=-1),
    }
    if len(scores) < 3:
        del figures["changes"]  # the distances of two runs from their mean are the same
    if len(pairs):
        figures["agreement"] = lambda runs: _agreement(runs, pairs)
    found = {name: figure(scores) for name, figure in figures.items()}
    drawn: dict[Figure, list[NDArray[np.float64]]] = {name: [] for name in figures}
    picks_of_blocks, complete = _picks(len(scores), int(cases.max()) + 1, seed=seed, width=scores.shape[1])
    for picks in picks_of_blocks:
        chosen = np.take_along_axis(scores[None], picks[:, None, cases], axis=1)[:, 0]
        for name, figure in figures.items():
            drawn[name].append(figure(chosen))
    p_values = {
        name: _p_value(found[name][-1], np.concatenate(values), complete=complete, two_sided=name != "changes")
        for name, values in drawn.items()
    }
    corrected = holm(list(p_values.values()))
    return tuple(
        DriftTest(
            figure=name,
            recorded=float(found[name][:-1].mean()),
            now=float(found[name][-1]),
            p_value=p_value,
            moved=p_value <= alpha,
        )
        for name, p_value in zip(figures, corrected, strict=True)
    )


def smallest_p_value(runs: int, cases: int, figures: int) -> float:
    """The smallest corrected p-value that the tests of so many runs and cases can give.

    Args:
        runs: Number of runs, the last one included.
        cases: Number of independent prompts.
        figures: Number of figures tested.
    """
    smallest: float = max(runs ** -float(cases), 1 / (PERMUTATIONS + 1))
    return min(1.0, figures * smallest * (1 if runs > 2 else 2))  # that of changes, with three runs, is one-sided


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = largest
    return corrected


def _agreement(runs: NDArray[np.float64], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    gaps = runs[..., pairs[:, 0]] - runs[..., pairs[:, 1]]
    agreement: NDArray[np.float64] = 0.5 + 0.5 * ((gaps > _EQUAL).astype(float) - (gaps < -_EQUAL)).mean(axis=-1)
    return agreement


def _picks(runs: int, cases: int, *, seed: int, width: int) -> tuple[list[NDArray[np.int64]], bool]:
    """Blocks of shape ``(permutations, cases)`` with the run chosen for each case; and whether they are all."""
    import numpy as np

    if cases * np.log(runs) <= np.log(PERMUTATIONS + 1):
        every = np.indices((runs,) * cases).reshape(cases, -1).T
        return [every], True
    generator = np.random.default_rng([seed, runs, cases])
    rows = max(1, _BLOCK // width)
    starts = range(0, PERMUTATIONS, rows)
    return [generator.integers(runs, size=(min(rows, PERMUTATIONS - start), cases)) for start in starts], False


def _p_value(observed: float, drawn: NDArray[np.float64], *, complete: bool, two_sided: bool) -> float:
    """The share of permutations with as extreme a value; the observed one is among them if they are complete."""
    extra = 0 if complete else 1
    above = (int((drawn >= observed - _EQUAL).sum()) + extra) / (len(drawn) + extra)
    below = (int((drawn <= observed + _EQUAL).sum()) + extra) / (len(drawn) + extra)
    return min(1.0, 2 * min(above, below)) if two_sided else above
