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

import numpy as np
from former_gate import sign_flips, spending
from gate_worlds import (
    DROPS,
    FALSE_ALARMS,
    FALSE_PASSES,
    JUDGES,
    MARGIN,
    NO_DROP,
    Draw,
    JudgedAnswers,
    shifted,
    symmetric,
)

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.backends import Request, verdict_reply
from rewardanything_core.gate import check
from rewardanything_core.gate.checking import LOOKS
from rewardanything_core.gate.inference import cases_needed, log_capital
from rewardanything_core.gate.significance import run_tests

ALPHA = 0.05
NUMBERS = (5, 8, 12, 20, 39, 60, 100, 200)
BATCH = 2_000

# --- the methods on many runs at once


def betting(differences: np.ndarray, null: float, level: float, horizon: int) -> np.ndarray:
    """One-sided p-values of "the mean is ``null`` or less": (runs, inputs) -> (runs,)."""
    return np.exp(-log_capital(differences, null, horizon=horizon, level=level))


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


def judged_rates(world: JudgedAnswers, draws: int, looks: tuple[float, ...]) -> tuple[Counter, float]:
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
