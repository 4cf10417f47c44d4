"""How often the gate errs, and how often it gives a result: simulated worlds, next to the former method.

    python benchmarks/gate_error_rates.py [--draws 20000] [--checks 200] [--only SECTION ...]

A false pass is a pass although the mean score dropped by exactly the margin; a false alarm is a regression although it
did not drop. Both may happen in at most alpha = 5% of runs, in every world: differences that are skewed, with a few
large drops, with many small gains, in clusters, from judges with noise and position bias; with 5 to 200 inputs, several
principles, and sequential looks. The decision is the package's own (`gate.inference`, `gate.significance`). The former
method is a sign-flipping permutation test, which is exact for symmetric differences, with an alpha-spending function
for sequential looks.

Sections: ``pass``, ``alarm``, ``sequential``, ``principles``, ``power``, ``judges``, ``needed`` and ``checks`` (whole
runs through `check`). 20,000 draws of everything take about ten minutes on two cores. The other intervals that the
package prints are in ``interval_coverage.py``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.stats import norm

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.backends import Request, verdict_reply
from rewardanything_core.gate import check
from rewardanything_core.gate.checking import LOOKS
from rewardanything_core.gate.inference import cases_needed, log_capital
from rewardanything_core.gate.significance import run_tests

MARGIN, ALPHA = 0.3, 0.05
NUMBERS = (5, 8, 12, 20, 39, 60, 100, 200)
BATCH = 2_000

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
"""Differences of inputs, of shape (runs, inputs)."""


# --- worlds


def values(**shares: float) -> Draw:
    """A world of a few values, such as ``values(m4=0.075, p0=0.925)``: m4 is -4 and p0 is 0; p0_5 is +0.5."""
    points = [(-1 if name[0] == "m" else 1) * float(name[1:].replace("_", ".")) for name in shares]
    edges = np.cumsum(list(shares.values()))
    assert math.isclose(edges[-1], 1.0), shares
    return lambda rng, shape: np.asarray(points)[np.searchsorted(edges[:-1], rng.random(shape), side="right")]


def balanced(value: float, share: float, mean: float) -> Draw:
    """``value`` for a share of the inputs, and for the others the value that gives this mean."""
    other = (mean - share * value) / (1 - share)
    return lambda rng, shape: np.where(rng.random(shape) < share, value, other)


def exponential(direction: int, scale: float, mean: float) -> Draw:
    """A skewed world with a long tail down (-1) or up (+1), cut at 3 points."""
    centre = scale * -math.expm1(-3.0 / scale)
    return lambda rng, shape: mean + direction * (np.minimum(rng.exponential(scale, shape), 3.0) - centre)


def symmetric(deviation: float, mean: float) -> Draw:
    return lambda rng, shape: mean + np.clip(rng.normal(0, deviation, shape), -3.5, 3.5)


def clusters(drop: float, share: float, mean: float, size: int = 4) -> Draw:
    """Means of clusters whose cases change together in a share of the clusters, with independent noise of each case."""

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        noise = rng.uniform(-0.4, 0.4, (*shape, size)).mean(axis=-1)
        return np.where(rng.random(shape) < share, drop, (mean - share * drop) / (1 - share)) + noise

    return draw


FALSE_PASSES: dict[str, Draw] = {
    "7.5% fall by 4": values(m4=0.075, p0=0.925),
    "10% fall by 3": values(m3=0.1, p0=0.9),
    "15% fall by 2": values(m2=0.15, p0=0.85),
    "30% fall by 1": values(m1=0.3, p0=0.7),
    "60% fall by 0.5": values(m0_5=0.6, p0=0.4),
    "10% fall by 4, others +0.11": balanced(-4, 0.1, -MARGIN),
    "15% fall by 4, 60% gain 0.5": values(m4=0.15, p0_5=0.6, p0=0.25),
    "15% fall by 4, others +0.35": balanced(-4, 0.15, -MARGIN),
    "25% fall by 2, 40% gain 0.5": values(m2=0.25, p0_5=0.4, p0=0.35),
    "skewed, long tail down": exponential(-1, 0.7, -MARGIN),
    "skewed, long tail up": exponential(1, 0.7, -MARGIN),
    "symmetric, deviation 0.7": symmetric(0.7, -MARGIN),
    "clusters of 4, 8.6% fall by 3.5": clusters(-3.5, 0.3 / 3.5, -MARGIN),
}
"""Worlds with a mean of exactly minus the margin."""

FALSE_ALARMS: dict[str, Draw] = {
    "7.5% gain 4, others -0.32": balanced(4, 0.075, 0.0),
    "10% gain 4, others -0.44": balanced(4, 0.1, 0.0),
    "20% gain 4, others -1": balanced(4, 0.2, 0.0),
    "5% gain 4, 40% fall by 0.5": values(p4=0.05, m0_5=0.4, p0=0.55),
    "10% gain 3, 30% fall by 1": values(p3=0.1, m1=0.3, p0=0.6),
    "7.5% fall by 4, others +0.32": balanced(-4, 0.075, 0.0),
    "5% fall by 4, 40% gain 0.5": values(m4=0.05, p0_5=0.4, p0=0.55),
    "skewed, long tail down": exponential(-1, 0.7, 0.0),
    "skewed, long tail up": exponential(1, 0.7, 0.0),
    "symmetric, deviation 0.7": symmetric(0.7, 0.0),
    "symmetric, deviation 1.5": symmetric(1.5, 0.0),
    "clusters of 4, 8.6% gain 3.5": clusters(3.5, 0.3 / 3.5, 0.0),
}
"""Worlds with a mean of exactly 0."""

NO_DROP: dict[str, Draw] = {
    "no difference at all": values(p0=1.0),
    "1% fall by 4": values(m4=0.01, p0=0.99),
    "5% fall by 1": values(m1=0.05, p0=0.95),
    "symmetric, deviation 0.25": symmetric(0.25, 0.0),
    "symmetric, deviation 0.5": symmetric(0.5, 0.0),
    "symmetric, deviation 0.75": symmetric(0.75, 0.0),
    "symmetric, deviation 1": symmetric(1.0, 0.0),
    "symmetric, deviation 1.5": symmetric(1.5, 0.0),
    "deviation 0.5, gain of 0.2": symmetric(0.5, 0.2),
}
DROPS: dict[str, Draw] = {
    "all fall by 1": values(m1=1.0),
    "all fall by 2": values(m2=1.0),
    "20% fall by 3": values(m3=0.2, p0=0.8),
    "mean -0.6, deviation 0.5": symmetric(0.5, -0.6),
    "mean -0.6, deviation 1": symmetric(1.0, -0.6),
    "mean -1, deviation 1": symmetric(1.0, -1.0),
}


# --- the methods on many runs at once


def betting(differences: np.ndarray, null: float, level: float, horizon: int) -> np.ndarray:
    """One-sided p-values of "the mean is ``null`` or less": (runs, inputs) -> (runs,)."""
    return np.exp(-log_capital(differences, null, horizon=horizon, level=level))


def sign_flips(differences: np.ndarray, null: float) -> np.ndarray:
    """The former method's p-values: the share of means of random subsets that do not exceed the null."""
    subsets = _subsets(differences.shape[1])
    means = (differences.astype(np.float32) @ subsets.T) / subsets.sum(axis=1)
    return (1 + (means <= null + 1e-5).sum(axis=1)) / (1 + len(subsets))


@lru_cache(maxsize=8)
def _subsets(number: int) -> np.ndarray:
    if number <= 11:
        return (np.arange(1, 2**number)[:, None] >> np.arange(number) & 1).astype(np.float32)
    drawn = np.random.default_rng([number, 0]).integers(0, 2, size=(1_999, number)).astype(np.float32)
    return drawn[drawn.any(axis=1)]


@lru_cache(maxsize=8)
def spending(alpha: float, looks: tuple[float, ...], shape: float = -2.0) -> tuple[float, ...]:
    """The former method's levels: Hwang, Shih & DeCani, Statistics in Medicine 9, 1990."""
    if len(looks) == 1:
        return (alpha,)
    grid = np.linspace(-6.0, 6.0, 1601)
    step = grid[1] - grid[0]
    found, density, before, spent = [], None, 0.0, 0.0
    for share in looks:
        spread = math.sqrt(share - before)
        if density is None:
            density = norm.pdf(grid, scale=spread)
        else:
            density = norm.pdf(grid[:, None] - grid, scale=spread) * step @ density
        allowed = alpha * math.expm1(-shape * share) / math.expm1(-shape)
        beyond = np.cumsum(density[::-1])[::-1] * step - density * step / 2
        boundary = float(np.interp(-(allowed - spent), -beyond, grid))
        found.append(float(norm.sf(boundary / math.sqrt(share))))
        density = np.where(grid < boundary, density, 0.0)
        before, spent = share, allowed
    return tuple(found)


def outcomes(differences: np.ndarray, looks: tuple[float, ...] = (1.0,), *, former: bool = False) -> np.ndarray:
    """The outcome of each run: 1 passed, -1 regression, 0 inconclusive. Repeated judgements give the same scores."""
    runs, inputs = differences.shape
    outcome = np.zeros(runs, dtype=int)
    open_ = np.arange(runs)
    for look, share in enumerate(looks):
        sample = differences[open_, : round(share * inputs)]
        if former:
            level = spending(ALPHA, looks)[look]
            dropped, within = sign_flips(-sample, 0.0) <= level, sign_flips(sample, -MARGIN) <= level
        else:
            mean = sample.mean(axis=1)
            dropped = (betting(-sample, 0.0, ALPHA, inputs) <= ALPHA) & (mean < 0)
            within = (betting(sample, -MARGIN, ALPHA, inputs) <= ALPHA) & (mean >= -MARGIN)
        outcome[open_[within]] = 1
        outcome[open_[dropped & ~within]] = -1
        open_ = open_[~within & ~dropped]
    return outcome


def rates(
    draw: Draw, inputs: int, draws: int, looks: tuple[float, ...] = (1.0,), *, former: bool = False
) -> tuple[float, float]:
    """The shares of passes and of regressions."""
    rng = np.random.default_rng([inputs, 11])
    passed = regressed = 0
    for start in range(0, draws, BATCH):
        outcome = outcomes(draw(rng, (min(BATCH, draws - start), inputs)), looks, former=former)
        passed += int((outcome == 1).sum())
        regressed += int((outcome == -1).sum())
    return passed / draws, regressed / draws


def agree_with_the_package() -> None:
    """The outcomes above are those of the package, which takes the largest p-value over all smaller nulls."""
    rng = np.random.default_rng(3)
    for draw in [*FALSE_PASSES.values(), *FALSE_ALARMS.values(), *DROPS.values()]:
        for inputs in (12, 60):
            sample = draw(rng, (4, inputs))
            tests = [run_tests({0: row}, {0: MARGIN}, alpha=ALPHA)[0] for row in sample]
            theirs = [1 if test.within else -1 if test.dropped else 0 for test in tests]
            ours = outcomes(sample).tolist()
            assert all(a in (b, 0) for a, b in zip(theirs, ours, strict=True)), (theirs, ours)


def checked(rate: Callable[[int], float], draws: int) -> float:
    """An error rate; one above alpha is measured again with ten times the draws, to tell chance from error."""
    found = rate(draws)
    return found if found <= ALPHA else rate(10 * draws)


# --- sections


def table(
    title: str,
    worlds: dict[str, Draw],
    column: int,
    draws: int,
    numbers: Sequence[int] = NUMBERS,
    looks: tuple[float, ...] = (1.0,),
    *,
    errors: bool = True,
) -> float:
    """Print the rates of one outcome for both methods, and return the largest rate of the present method."""
    print(f"\n{title}. In each cell: now / former method.")
    print(f"{'inputs':<34}" + "".join(f"{number:>14}" for number in numbers))
    largest = 0.0
    for name, draw in worlds.items():
        cells = []
        for number in numbers:

            def rate(draws: int, draw: Draw = draw, number: int = number) -> float:
                return rates(draw, number, draws, looks)[column]

            now = checked(rate, draws) if errors else rate(draws)
            before = rates(draw, number, draws, looks, former=True)[column]
            largest = max(largest, now)
            cells.append(f"{now:>7.3f}/{before:.3f} ")
        print(f"{name:<34}" + "".join(cells), flush=True)
    return largest


def report_largest(largest: float, draws: int) -> None:
    error = math.sqrt(ALPHA * (1 - ALPHA) / draws)
    print(
        f"Largest rate: {largest:.4f}, of {ALPHA} allowed. Standard error of a cell: {error:.4f}; cells above {ALPHA} "
        f"were measured again with {10 * draws:,} draws."
    )


def section_pass(draws: int) -> None:
    largest = table(f"False passes (true drop of exactly {MARGIN})", FALSE_PASSES, 0, draws)
    report_largest(largest, draws)


def section_alarm(draws: int) -> None:
    largest = table("False alarms (true mean difference 0)", FALSE_ALARMS, 1, draws)
    report_largest(largest, draws)


def section_sequential(draws: int) -> None:
    numbers = [number for number in NUMBERS if number >= 20]
    largest = table("False passes with four looks", FALSE_PASSES, 0, draws, numbers, LOOKS)
    largest = max(largest, table("False alarms with four looks", FALSE_ALARMS, 1, draws, numbers, LOOKS))
    report_largest(largest, draws)


def any_alarm(draw: Draw, inputs: int, draws: int, *, identical: bool) -> float:
    """How often one of four principles has a significant drop. Holm's method finds any only if this test does."""
    rng = np.random.default_rng([inputs, 12])
    alarms = 0
    for start in range(0, draws, BATCH):
        shape = (min(BATCH, draws - start), inputs)
        samples = [draw(rng, shape)] if identical else [draw(rng, shape) for _ in range(4)]
        p_drop = np.stack([betting(-sample, 0.0, ALPHA / 4, inputs) for sample in samples])
        alarms += int((p_drop.min(axis=0) <= ALPHA / 4).sum())
    return alarms / draws


def all_pass(draw: Draw, inputs: int, draws: int) -> float:
    """How often four principles pass, of which the first is as drawn and the others do not change."""
    still = NO_DROP["symmetric, deviation 0.25"]
    rng = np.random.default_rng([inputs, 13])
    passes = 0
    for start in range(0, draws, BATCH):
        within = betting(draw(rng, (min(BATCH, draws - start), inputs)), -MARGIN, ALPHA, inputs) <= ALPHA
        for _ in range(3):
            rows = np.flatnonzero(within)
            if len(rows):
                sample = still(rng, (len(rows), inputs))
                within[rows] = betting(sample, -MARGIN, ALPHA, inputs) <= ALPHA
        passes += int(within.sum())
    return passes / draws


def section_principles(draws: int) -> None:
    """Four principles: any false alarm, with Holm's correction; and a pass of all although one drops by the margin."""
    print(
        "\nFour principles: share of runs with any false alarm (independent / identical scores under all principles),"
    )
    print("and share of runs in which all four pass although one drops by the margin and three do not change.")
    largest = 0.0
    for name, draw in FALSE_ALARMS.items():
        for inputs in NUMBERS:
            cells = [
                checked(lambda number, d=draw, n=inputs, i=identical: any_alarm(d, n, number, identical=i), draws)
                for identical in (False, True)
            ]
            largest = max(largest, *cells)
            print(f"  {name:<34}{inputs:>4}  any alarm {cells[0]:.4f} / {cells[1]:.4f}", flush=True)
    for name, draw in FALSE_PASSES.items():
        for inputs in NUMBERS:
            passes = checked(lambda number, d=draw, n=inputs: all_pass(d, n, number), draws)
            largest = max(largest, passes)
            print(f"  {name:<34}{inputs:>4}  all pass {passes:.4f}", flush=True)
    report_largest(largest, draws)


def section_power(draws: int) -> None:
    table("Passes where nothing dropped by the margin", NO_DROP, 0, draws, errors=False)
    table("Regressions found", DROPS, 1, draws, errors=False)
    numbers = [number for number in NUMBERS if number >= 20]
    table("Passes with four looks", NO_DROP, 0, draws, numbers, LOOKS, errors=False)
    table("Regressions found with four looks", DROPS, 1, draws, numbers, LOOKS, errors=False)


def section_needed(draws: int) -> None:
    """Whether the suggested number of inputs has a power of 0.8."""
    print("\nPower with the suggested number of inputs (power 0.8 is promised; at least what rare drops require)")
    print(f"{'deviation':<12}" + "".join(f"{f'margin {margin:g}':>18}" for margin in (0.1, 0.2, 0.3, 0.5, 1.0)))
    for deviation in (0.0, 0.25, 0.5, 0.75, 1.0, 1.5):
        cells = []
        for margin in (0.1, 0.2, 0.3, 0.5, 1.0):
            pilot = [deviation, -deviation] * 2
            exact = deviation / float(np.std(pilot, ddof=1)) if deviation else 0.0
            number = cases_needed([value * exact for value in pilot], margin, level=ALPHA, power=0.8)
            assert number is not None
            rng = np.random.default_rng(number)
            sample = symmetric(deviation, 0.0)(rng, (min(draws, 4_000), number))
            power = (betting(sample, -margin, ALPHA, number) <= ALPHA).mean()
            cells.append(f"{number:>11,} {power:.2f}  ")
        print(f"{deviation:<12}" + "".join(cells), flush=True)


# --- judges with noise and bias


@dataclass(frozen=True)
class World:
    """Answers with a quality, and a judge that scores them in both orders with whole numbers from 1 to 5."""

    answer_noise: float = 0.7
    """Standard deviation of an answer's quality around that of its case: the effect of regenerating it."""

    judge_noise: float = 0.5
    """Standard deviation of a score between passes."""

    position_bias: float = 0.0
    """Points added to the answer in the first position."""

    drop: float = 0.0
    """How much worse the candidate is on average, before scores are rounded and cut."""

    rare: float = 0.0
    """If above 0, the drop is concentrated on this share of the cases."""

    cases: int = 100
    """Number of cases."""

    def passes(self, rng: np.random.Generator, shape: tuple[int, ...], quality: np.ndarray) -> np.ndarray:
        """Differences in both orders, (..., cases, 2), from qualities, (..., cases, side)."""
        noisy = np.repeat(quality[..., None, :], 2, axis=-2) + rng.normal(0, self.judge_noise, (*shape, 2, 2))
        first = np.array([[self.position_bias, 0.0], [0.0, self.position_bias]])  # order, side
        scores = np.clip(np.rint(noisy + first), 1, 5)
        return scores[..., 1] - scores[..., 0]

    def qualities(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        case = rng.uniform(2.0, 4.5, shape)
        sides = case[..., None] + rng.normal(0, self.answer_noise, (*shape, 2))
        if self.rare:
            sides[..., 1] -= (rng.random(shape) < self.rare) * self.drop / self.rare
        else:
            sides[..., 1] -= self.drop
        return sides


def shifted(world: World, target: float) -> World:
    """The world whose mean difference of scores is ``-target``."""
    if not target:
        return world
    low, high = 0.0, 4.0
    for _ in range(18):
        middle = (low + high) / 2
        rng = np.random.default_rng(1)
        moved = World(**{**world.__dict__, "drop": middle})
        mean = moved.passes(rng, (200_000,), moved.qualities(rng, (200_000,))).mean()
        low, high = (middle, high) if mean > -target else (low, middle)
    return moved


def judged_rates(world: World, draws: int, looks: tuple[float, ...]) -> tuple[Counter, float]:
    """Outcomes with a second judgement of suspected drops, and the mean number of passes."""
    rng = np.random.default_rng(7)
    counts: Counter = Counter()
    taken = 0
    for start in range(0, draws, BATCH):
        shape = (min(BATCH, draws - start), world.cases)
        quality = world.qualities(rng, shape)
        first, fresh = (world.passes(rng, shape, quality).mean(axis=2) for _ in range(2))
        outcome = np.zeros(shape[0], dtype=int)
        open_ = np.arange(shape[0])
        for share in looks:
            number = round(share * world.cases)
            suspected = outcomes_at(first[open_, :number], world.cases)
            suspects = open_[suspected == -1]
            both = (first[suspects, :number] + fresh[suspects, :number]) / 2
            again = fresh[suspects, :number]
            confirmed = (outcomes_at(both, world.cases) == -1) & (again.mean(axis=1) < 0)
            outcome[open_[suspected == 1]] = 1
            outcome[suspects[confirmed]] = -1
            taken += 2 * int((outcome[open_] != 0).sum()) * number if share < 1 else 2 * len(open_) * world.cases
            taken += 2 * len(suspects) * number
            open_ = open_[outcome[open_] == 0]
        counts += Counter(outcome.tolist())
    return counts, taken / draws


def outcomes_at(sample: np.ndarray, horizon: int) -> np.ndarray:
    """As `outcomes`, after part of the planned inputs."""
    mean = sample.mean(axis=1)
    dropped = (betting(-sample, 0.0, ALPHA, horizon) <= ALPHA) & (mean < 0)
    within = (betting(sample, -MARGIN, ALPHA, horizon) <= ALPHA) & (mean >= -MARGIN)
    return np.where(within, 1, np.where(dropped, -1, 0))


JUDGES = {
    "quiet judge": World(judge_noise=0.2),
    "moderate judge": World(),
    "noisy judge": World(judge_noise=1.0),
    "position-biased judge": World(position_bias=0.8),
    "moderate judge, 20 cases": World(cases=20),
    "moderate judge, a fifth drops": World(rare=0.2, answer_noise=0.3),
}


def section_judges(draws: int) -> None:
    print("\nJudges with noise and position bias; suspected drops are judged again; 100 cases unless stated")
    print(f"{'judge':<32}{'true drop':>10}{'looks':>7}{'passed':>9}{'regression':>12}{'inconclusive':>14}{'passes':>9}")
    for name, world in JUDGES.items():
        for target in (0.0, MARGIN, 0.6, 1.0):
            for looks in ((1.0,), LOOKS):
                counts, passes = judged_rates(shifted(world, target), draws, looks)
                shares = "".join(
                    f"{counts[outcome] / draws:>{width}.3f}" for outcome, width in ((1, 9), (-1, 12), (0, 14))
                )
                print(f"{name:<32}{target:>10}{len(looks):>7}{shares}{passes:>9.0f}", flush=True)


# --- whole checks


def whole_check(differences: np.ndarray, *, sequential: bool) -> str:
    """One run of `check` with a scripted judge that gives these differences; no two answers are the same text."""
    scores = {}
    rows: tuple[list[dict], list[dict]] = ([], [])
    for case, difference in enumerate(differences):
        for side, score in zip(("old", "new"), (3 - difference / 2, 3 + difference / 2), strict=True):
            text = f"{side} answer {case} {hashlib.sha256(str(case).encode()).hexdigest()}"
            scores[text] = float(score)
            rows[side == "new"].append({"id": str(case), "prompt": f"case {case}", "response": text})

    def by_table(request: Request) -> str:
        responses = json.loads(request.messages[1]["content"])["responses"]
        return verdict_reply({name: scores[text] for name, text in responses.items()})

    judge = Judge(ScriptedBackend(by_table), cache="off")
    return check(*rows, "Be right.", judge=judge, margin=MARGIN, alpha=ALPHA, sequential=sequential).outcome


def section_checks(runs: int) -> None:
    print(f"\n{runs} runs of check() with a scripted judge")
    for name, draw in (
        ("7.5% fall by 4", FALSE_PASSES["7.5% fall by 4"]),
        ("15% fall by 4, 60% gain 0.5", FALSE_PASSES["15% fall by 4, 60% gain 0.5"]),
        ("10% gain 4, others -0.44", FALSE_ALARMS["10% gain 4, others -0.44"]),
    ):
        for inputs in (5, 8, 20, 60):
            for sequential in (False, True):
                rng = np.random.default_rng([inputs, 5])
                counts = Counter(whole_check(row, sequential=sequential) for row in draw(rng, (runs, inputs)))
                mode = "sequential" if sequential else "one look"
                print(f"  {name:<30} {inputs:>3} inputs, {mode:<11} {dict(counts)}", flush=True)


SECTIONS: dict[str, Callable[[int], None]] = {
    "pass": section_pass,
    "alarm": section_alarm,
    "sequential": section_sequential,
    "principles": section_principles,
    "power": section_power,
    "judges": section_judges,
    "needed": section_needed,
    "checks": section_checks,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20_000, help="Draws for each cell.")
    parser.add_argument("--checks", type=int, default=200, help="Runs of check() for each line of that section.")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="Sections to run.")
    arguments = parser.parse_args()
    agree_with_the_package()
    print(f"{arguments.draws:,} draws a cell, margin {MARGIN}, alpha {ALPHA}")
    for name in arguments.only:
        started = time.perf_counter()
        SECTIONS[name](arguments.checks if name == "checks" else arguments.draws)
        print(f"[{name}: {time.perf_counter() - started:.0f} s]")


if __name__ == "__main__":
    main()
