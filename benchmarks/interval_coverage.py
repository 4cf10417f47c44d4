"""How often the 95% intervals that the package prints miss the true value, in simulated worlds.

    python benchmarks/interval_coverage.py [--draws 2000] [--only SECTION ...]

``means``: figures of ``bench`` that are means over prompts (accuracies, correlations by list, points), with the former
method, a percentile bootstrap, next to the present one. ``agreement``: kappa, alpha and Spearman over all responses.
``runs``: figures of ``compare_runs``. ``controls``: the gate's controls. A cell is the share of draws whose interval
misses the true value; 5% is allowed, 2.5% on each side. The interval of the gate itself is in ``gate_error_rates.py``.
2,000 draws of everything take about half an hour on one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from scipy.stats import norm, spearmanr, t

from rewardanything_core.agreement import krippendorff_alpha, scores
from rewardanything_core.agreement.intervals import CORRELATION, SHARE, Estimate, mean, stratified_mean
from rewardanything_core.gate.inference import mean_interval, typical_values

NUMBERS = (3, 5, 8, 12, 20, 35, 50, 100, 200)
POINTS = (-4.0, 4.0)

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
"""Values and their groups, for a number of groups."""


# --- worlds


def single(values: Callable[[np.random.Generator, int], np.ndarray]) -> Draw:
    """One value for each group."""
    return lambda rng, groups: (values(rng, groups), np.arange(groups))


def of(**shares: float) -> Draw:
    """A few values, such as ``of(m4=0.075, p0=0.925)``: m4 is -4 and p0 is 0; p0_5 is +0.5."""
    points = [(-1 if name[0] == "m" else 1) * float(name[1:].replace("_", ".")) for name in shares]
    return single(lambda rng, groups: rng.choice(points, size=groups, p=list(shares.values())))


def beta(a: float, b: float, low: float, high: float) -> Draw:
    return single(lambda rng, groups: low + (high - low) * rng.beta(a, b, groups))


def four_pairs(rng: np.random.Generator, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Four questions about each prompt; prompts differ in difficulty."""
    rates = np.repeat(rng.beta(1.5, 0.5, groups), 4)
    return (rng.random(len(rates)) < rates).astype(float), np.repeat(np.arange(groups), 4)


def large_prompts_are_hard(rng: np.random.Generator, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """One prompt in ten has 12 questions, of which half are answered correctly; the others have 3 and 95%."""
    hard = rng.random(groups) < 0.1
    sizes = np.where(hard, 12, 3)
    index = np.repeat(np.arange(groups), sizes)
    return (rng.random(len(index)) < np.where(hard, 0.5, 0.95)[index]).astype(float), index


MEANS: dict[str, tuple[Draw, float, tuple[float, float]]] = {
    "share .5": (of(p1=0.5, p0=0.5), 0.5, SHARE),
    "share .8": (of(p1=0.8, p0=0.2), 0.8, SHARE),
    "share .95": (of(p1=0.95, p0=0.05), 0.95, SHARE),
    "share .99": (of(p1=0.99, p0=0.01), 0.99, SHARE),
    "share .75, four a prompt": (four_pairs, 0.75, SHARE),
    "share, large prompts are hard": (large_prompts_are_hard, (1.2 * 0.5 + 2.7 * 0.95) / 3.9, SHARE),
    "NDCG, mean .94": (beta(8, 1, 0.5, 1), 0.5 + 0.5 * 8 / 9, SHARE),
    "tau, mostly at the ends": (beta(0.4, 0.2, -1, 1), 2 * 2 / 3 - 1, CORRELATION),
    "distance from people, skewed": (beta(0.5, 6, 0, 4), 4 * 0.5 / 6.5, (0.0, 4.0)),
    "7.5% fall by 4": (of(m4=0.075, p0=0.925), -0.3, POINTS),
    "15% fall by 4, 60% gain 0.5": (of(m4=0.15, p0_5=0.6, p0=0.25), -0.3, POINTS),
    "5% gain 4, others -0.5": (of(p4=0.05, m0_5=0.95), 0.2 - 0.475, POINTS),
    "symmetric, deviation 0.7": (single(lambda rng, groups: np.clip(rng.normal(0, 0.7, groups), -4, 4)), 0.0, POINTS),
}


def responses(
    rng: np.random.Generator, groups: int, *, levels: Sequence[float], noise: float, strict: float, broken: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """People's and the judge's levels 0..4 of four responses to each prompt, and their groups.

    The judge is off by independent noise, by a common error for each prompt, and random on a share of the prompts.
    """
    index = np.repeat(np.arange(groups), 4)
    human = rng.choice(5, size=len(index), p=levels)
    prompt = rng.normal(0, noise / 2, groups)[index] - strict
    judged = np.clip(np.rint(human + prompt + rng.normal(0, noise, len(index))), 0, 4).astype(int)
    random = (rng.random(groups) < broken)[index]
    return human, np.where(random, rng.integers(0, 5, len(index)), judged), index


AGREEMENT: dict[str, dict] = {
    "even levels": {"levels": [0.2] * 5, "noise": 1.0, "strict": 0.0, "broken": 0.0},
    "close judge": {"levels": [0.2] * 5, "noise": 0.3, "strict": 0.0, "broken": 0.0},
    "mostly fives": {"levels": [0.02, 0.03, 0.05, 0.1, 0.8], "noise": 0.7, "strict": 0.0, "broken": 0.0},
    "fails on 5% of prompts": {"levels": [0.2] * 5, "noise": 0.4, "strict": 0.0, "broken": 0.05},
    "too strict": {"levels": [0.1, 0.1, 0.2, 0.3, 0.3], "noise": 0.7, "strict": 0.7, "broken": 0.0},
    "no agreement": {"levels": [0.2] * 5, "noise": 0.4, "strict": 0.0, "broken": 1.0},
}

Levels = np.ndarray
STATISTICS: dict[str, tuple[Callable[..., Estimate], Callable[[Levels, Levels], float]]] = {
    "kappa": (lambda h, j, g: scores.cohen_kappa(h, j, g, 5), lambda h, j: kappa(h, j, (np.arange(5) > 0) * 1.0)),
    "kappa_quadratic": (
        lambda h, j, g: scores.cohen_kappa(h, j, g, 5, weights="quadratic"),
        lambda h, j: kappa(h, j, np.arange(5.0) ** 2),
    ),
    "krippendorff_alpha": (scores.interval_alpha, lambda h, j: krippendorff_alpha([h.tolist(), j.tolist()]) or 0.0),
    "spearman": (scores.pooled_spearman, lambda h, j: float(spearmanr(h, j).statistic)),
}


def kappa(human: np.ndarray, judged: np.ndarray, cost: np.ndarray) -> float:
    costs = cost[np.abs(np.subtract.outer(np.arange(5), np.arange(5)))]
    sides = [np.bincount(side, minlength=5) / len(side) for side in (human, judged)]
    return 1 - costs[human, judged].mean() / float(sides[0] @ costs @ sides[1])


# --- the former method


@lru_cache(maxsize=1)
def drawn_groups(number: int) -> np.ndarray:
    drawn = np.random.default_rng(number).multinomial(number, np.full(number, 1 / number), size=2_000)
    return drawn.astype(float)


def bootstrap(values: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """A percentile bootstrap over groups, expanded for few groups (Hesterberg, The American Statistician 69, 2015)."""
    number = int(groups[-1]) + 1
    sums, sizes = np.bincount(groups, values), np.bincount(groups)
    drawn = drawn_groups(number)
    tail = norm.cdf(-np.sqrt(number / (number - 1)) * t.ppf(0.975, number - 1))
    low, high = np.quantile((drawn @ sums) / (drawn @ sizes), [tail, 1 - tail])
    return float(low), float(high)


# --- sections


def misses(ends: list[tuple[float, float]], truth: float) -> str:
    low, high = np.array(ends).T
    above, below = float((low > truth + 1e-9).mean()), float((high < truth - 1e-9).mean())
    return f"{above + below:>8.3f} {above:.3f}/{below:.3f} {float((high - low).mean()):>5.2f}"


def print_header(title: str, numbers: Sequence[int]) -> None:
    print(f"\n{title}: misses, of them wholly above / below the true value, and mean width, by number of groups")
    print(f"{'':<50}" + "".join(f"{number:>27}" for number in numbers))


def ends_of(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


def section_means(draws: int) -> None:
    print_header("Means of bench", NUMBERS)
    for name, (draw, truth, bounds) in MEANS.items():
        now, before = [], []
        for number in NUMBERS:
            rng = np.random.default_rng([number, 21])
            samples = [draw(rng, number) for _ in range(draws)]
            now.append(misses([ends_of(mean(v.tolist(), g.tolist(), bounds=bounds)) for v, g in samples], truth))
            before.append(misses([bootstrap(*sample) for sample in samples], truth))
        print(f"{name:<50}" + "".join(f"{cell:>27}" for cell in now))
        print(f"{'  bootstrap':<50}" + "".join(f"{cell:>27}" for cell in before), flush=True)
    cells = []
    for number in NUMBERS[1:]:
        rng = np.random.default_rng([number, 22])
        sizes = (max(1, number * 6 // 10), max(1, number * 3 // 10), max(1, number // 10))
        ends = []
        for _ in range(draws):
            strata = []
            for stratum, (size, share) in enumerate(zip(sizes, (0.9, 0.6, 0.97), strict=True)):
                right = (rng.random(size) < share).astype(float).tolist()
                strata.append((right, [(stratum, group) for group in range(size)]))
            ends.append(ends_of(stratified_mean(strata)))
        cells.append(misses(ends, (0.9 + 0.6 + 0.97) / 3))
    print(f"{'mean of three domains of 60%, 30% and 10%':<50}{'':>27}" + "".join(f"{cell:>27}" for cell in cells))


def section_agreement(draws: int) -> None:
    print_header("Agreement with labels of four responses a prompt", NUMBERS[1:])
    for world, options in AGREEMENT.items():
        human, judged, _ = responses(np.random.default_rng(0), 200_000, **options)
        for name, (statistic, exact) in STATISTICS.items():
            truth, cells = exact(human, judged), []
            for number in NUMBERS[1:]:
                rng = np.random.default_rng([number, 23])
                estimates = [statistic(*responses(rng, number, **options)) for _ in range(draws)]
                cells.append(misses([ends_of(each) for each in estimates if each.value is not None], truth))
            print(f"{f'{name}: {world} ({truth:.3f})':<50}" + "".join(f"{cell:>27}" for cell in cells), flush=True)


def section_runs(draws: int) -> None:
    print_header("compare_runs", NUMBERS)
    for name, (draw, truth, bounds) in MEANS.items():
        cells = []
        for number in NUMBERS:
            rng = np.random.default_rng([number, 24])
            samples = [draw(rng, number) for _ in range(max(100, draws // 5))]
            if any(len(values) > number for values, _ in samples):
                break  # rows are independent there
            cells.append(misses([mean_interval(v, low=bounds[0], high=bounds[1]) for v, _ in samples], truth))
        if cells:
            print(f"{name:<50}" + "".join(f"{cell:>27}" for cell in cells), flush=True)


def section_controls(draws: int) -> None:
    """The interval of a control has 90%, 5% on each side; its test is about symmetric differences around 0."""
    numbers = (5, 8, 10, 12)
    print_header("Controls of the gate (90%)", numbers)
    drops = {
        "symmetric around 0": MEANS["symmetric, deviation 0.7"][:2],
        "7.5% fall by 4": MEANS["7.5% fall by 4"][:2],
        "half fall by 2": (of(m2=0.5, p0=0.5), -1.0),
        "all fall by 1, deviation 0.5": (single(lambda rng, groups: rng.normal(-1, 0.5, groups)), -1.0),
    }
    for name, (draw, truth) in drops.items():
        cells = []
        for number in numbers:
            rng = np.random.default_rng([number, 25])
            cells.append(misses([typical_values(draw(rng, number)[0]).interval(0.05) for _ in range(draws)], truth))
        print(f"{name:<50}" + "".join(f"{cell:>27}" for cell in cells), flush=True)


SECTIONS: dict[str, Callable[[int], None]] = {
    "means": section_means,
    "agreement": section_agreement,
    "runs": section_runs,
    "controls": section_controls,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2_000, help="Draws for each cell.")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="Sections to run.")
    arguments = parser.parse_args()
    print(f"{arguments.draws:,} draws a cell")
    for name in arguments.only:
        started = time.perf_counter()
        SECTIONS[name](arguments.draws)
        print(f"[{name}: {time.perf_counter() - started:.0f} s]")


if __name__ == "__main__":
    main()
