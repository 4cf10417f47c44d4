"""How often the gate errs: false alarms, missed drops and wrong passes, with judges of known noise and bias.

    python benchmarks/gate_error_rates.py [--runs 20000] [--whole-runs 200]

Scores are simulated the way judges give them: whole numbers within 1..5, from an answer's quality plus noise, plus an
advantage for whoever stands first. The decision is the package's own (`gate.significance`, `gate.sequential`), and some
runs go through `check` from end to end with a scripted judge of the same noise. Either side writes its answers anew,
so even "no change" moves each case. A suspected drop is judged again with fresh noise, as `check` does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.backends import Request, verdict_reply
from rewardanything_core.gate import check, inference, sequential
from rewardanything_core.gate.significance import run_tests

MARGIN, ALPHA = 0.3, 0.05


@dataclass(frozen=True)
class World:
    """How answers and judges behave."""

    answer_noise: float = 0.7
    """Standard deviation of an answer's quality around its case's: what regenerating changes."""

    judge_noise: float = 0.5
    """Standard deviation of a score from pass to pass."""

    position_bias: float = 0.0
    """Points that standing first is worth."""

    drop: float = 0.0
    """How much worse the candidate is in the mean."""

    rare: float = 0.0
    """If above 0: the drop falls on this share of the cases only, and is as much larger there."""

    cases: int = 100

    def passes(self, rng: np.random.Generator, shape: tuple[int, ...], quality: np.ndarray) -> np.ndarray:
        """Differences candidate - baseline in both orders: shape (..., cases, 2). ``quality``: (..., cases, side)."""
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


def shift_for(world: World, target: float) -> World:
    """The world whose mean difference of scores (whole numbers, ends cut) is ``-target``."""
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


def tests(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p_drop and p_margin of many runs at once: (runs, cases) -> (runs,), (runs,). The same as `run_tests` gives."""
    counts_drop = counts_margin = 0
    total = 1
    for subsets in inference._subsets(differences.shape[1]):
        means = (subsets @ differences.T) / subsets.sum(axis=1)[:, None]
        counts_drop = counts_drop + (means >= -1e-9).sum(axis=0)
        counts_margin = counts_margin + (means <= -MARGIN + 1e-9).sum(axis=0)
        total += len(subsets)
    return (1 + counts_drop) / total, (1 + counts_margin) / total


def decide(first: np.ndarray, fresh: np.ndarray, looks: tuple[float, ...], confirm: str) -> tuple[Counter, int]:
    """The outcomes of many runs and the passes they took. ``first`` and ``fresh``: (runs, cases, 2)."""
    runs, cases, _ = first.shape
    known, again = first.mean(axis=2), np.zeros((runs, cases), dtype=bool)
    outcome, took = np.full(runs, "inconclusive"), np.full(runs, 2 * cases)
    open_ = np.arange(runs)
    for look, share in enumerate(looks):
        number, level = round(share * cases), sequential.levels(ALPHA, looks)[look]
        p_drop, p_margin = tests(known[open_, :number])
        suspected = (p_drop <= level) & (p_margin > level)
        guilty = suspected.copy()
        if confirm != "none" and suspected.any():
            suspects = open_[suspected]
            again[suspects, :number] = True
            pooled = (first.mean(axis=2) + fresh.mean(axis=2)) / 2
            known = np.where(again, pooled, known)
            evidence = known[suspects, :number] if confirm == "pooled" else fresh.mean(axis=2)[suspects, :number]
            p_drop_again, p_margin_again = tests(evidence)
            lower_afresh = fresh.mean(axis=2)[suspects, :number].mean(axis=1) < 0
            guilty[suspected] = (p_drop_again <= level) & (p_margin_again > level) & lower_afresh
        within = (p_margin <= level) & ~suspected
        outcome[open_[guilty]], outcome[open_[within]] = "regression", "passed"
        took[open_] = 2 * number + 2 * again[open_].sum(axis=1)
        open_ = open_[~guilty & ~within]
    return Counter(outcome.tolist()), int(took.sum())


def rates(
    world: World, target: float, runs: int, *, looks: tuple[float, ...] = (1.0,), confirm: str = "pooled"
) -> dict:
    world = shift_for(world, target)
    rng = np.random.default_rng(7)
    outcomes, passes, deviation = Counter(), 0, []
    for start in range(0, runs, 500):
        shape = (min(500, runs - start), world.cases)
        quality = world.qualities(rng, shape)
        first, fresh = world.passes(rng, shape, quality), world.passes(rng, shape, quality)
        deviation.append(first.mean(axis=2).std(axis=1).mean())
        if not start:
            agree_with_the_package(first.mean(axis=2)[:20])
        found, took = decide(first, fresh, looks, confirm)
        outcomes += found
        passes += took
    return {
        **{outcome: outcomes[outcome] / runs for outcome in ("passed", "regression", "inconclusive")},
        "passes": passes / runs,
        "deviation": float(np.mean(deviation)),
    }


def agree_with_the_package(differences: np.ndarray) -> None:
    ours = zip(*tests(differences), strict=True)
    theirs = [run_tests({0: sample}, {0: MARGIN}, alpha=ALPHA)[0] for sample in differences]
    assert np.allclose(list(ours), [(test.p_drop, test.p_margin) for test in theirs])


def whole_run(world: World, seed: int, *, sequential_: bool) -> str:
    """One run through `check` with a scripted judge: answers carry their quality, noise comes from the request."""
    rng = np.random.default_rng(seed)
    quality = world.qualities(rng, (world.cases,))

    def judge_by_quality(request: Request) -> str:
        responses = json.loads(request.messages[1]["content"])["responses"]
        name = f"{seed}/{request.sampling.seed}/{request.messages[1]['content']}"
        noise = np.random.default_rng(list(hashlib.sha256(name.encode()).digest())).normal(0, world.judge_noise, 2)
        first = (world.position_bias, 0.0)
        given = zip(responses.items(), noise, first, strict=True)
        return verdict_reply({key: int(np.clip(np.rint(float(text) + n + f), 1, 5)) for (key, text), n, f in given})

    rows = [
        [{"id": str(i), "prompt": f"case {i}", "response": repr(float(sides[side]))} for i, sides in enumerate(quality)]
        for side in (0, 1)
    ]
    judge = Judge(ScriptedBackend(judge_by_quality), cache="off")
    return check(rows[0], rows[1], "Be right.", judge=judge, margin=MARGIN, alpha=ALPHA, sequential=sequential_).outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--whole-runs", type=int, default=200)
    given = parser.parse_args()
    quiet, moderate, noisy = World(judge_noise=0.2), World(), World(judge_noise=1.0)
    biased = World(position_bias=0.8)
    judges = [("quiet judge", quiet), ("moderate judge", moderate), ("noisy judge", noisy), ("position-biased", biased)]
    few, skewed = World(cases=20), World(rare=0.2, answer_noise=0.3)
    worlds = [*judges, ("moderate, 20 cases", few), ("moderate, a fifth drops", skewed)]
    print(f"{given.runs:,} runs each, margin {MARGIN}, alpha {ALPHA}; 100 cases where not said otherwise")
    print(f"{'judge':<28}{'true drop':>10}{'looks':>6}{'confirm':>8}{'passed':>9}{'regress.':>9}", end="")
    print(f"{'inconcl.':>9}{'passes':>8}{'sd':>6}")

    def row(name: str, world: World, target: float, looks: tuple[float, ...] = (1.0,), confirm: str = "pooled") -> None:
        found = rates(world, target, given.runs, looks=looks, confirm=confirm)
        print(
            f"{name:<28}{target:>10}{len(looks):>6}{confirm:>8}{found['passed']:>9.3f}{found['regression']:>9.4f}"
            f"{found['inconclusive']:>9.3f}{found['passes']:>8.0f}{found['deviation']:>6.2f}",
            flush=True,
        )

    for name, world in worlds:
        for target in (0.0, 0.3, 0.6):
            row(name, world, target)
    for target in (0.0, 0.3):
        for confirm in ("none", "pooled"):
            row("moderate judge", moderate, target, confirm=confirm)
    shape = sequential._SHAPE
    for target in (0.0, 0.3, 0.6, 1.0):
        for variant in (-4.0, -2.0, 1.0):
            sequential.levels.__defaults__ = (variant,)
            row(f"moderate, spending {variant:g}", moderate, target, looks=sequential.LOOKS)
    sequential.levels.__defaults__ = (shape,)
    row("position-biased", biased, 0.0, looks=sequential.LOOKS)

    started = time.perf_counter()
    print(f"\n{given.whole_runs} runs through check() with a scripted judge (moderate noise, position bias 0.8):")
    for target in (0.0, 0.3):
        for steps in (False, True):
            world = shift_for(biased, target)
            outcomes = Counter(whole_run(world, seed, sequential_=steps) for seed in range(given.whole_runs))
            print(f"  true drop {target}, {'sequential' if steps else 'one look'}: {dict(outcomes)}", flush=True)
    print(f"  {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
