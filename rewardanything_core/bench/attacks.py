"""Measuring how much attacks on the judge raise the score of a bad answer: ``ra-judge bench --attacks``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from rewardanything_core.agreement.intervals import Estimate, mean
from rewardanything_core.bench.attack_report import AttackReport, JudgedTrial
from rewardanything_core.bench.attack_suite import HALVES, AttackSuite, AttackTrial, HonestText, attack_suite
from rewardanything_core.bench.items import BenchItem
from rewardanything_core.bench.running import Progress, judge_items
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.judging.judge import Judge

DEFAULT_TRIALS = 40
"""Number of trials where none is given: a few minutes with a 1.5B model on a CPU."""


def run_attacks(
    judge: BaseJudge,
    *,
    limit: int | None = DEFAULT_TRIALS,
    seed: int = 0,
    suite: AttackSuite | None = None,
    progress: Progress | None = None,
) -> AttackReport:
    """Judge pairs of answers of which the worse one has an attack added, and the same with a harmless text.

    Args:
        judge: A judge or a jury.
        limit: Maximum number of trials, two judgements each. None: the whole suite.
        seed: Seed of the sample of trials.
        suite: The attacks. None: those that ship with the package.
        progress: Called after each judgement.
    """
    suite = suite or attack_suite()
    started, before = time.perf_counter(), judge.usage
    trials = suite.trials(limit, seed=seed)
    items = [item for index, trial in enumerate(trials) for item in _items(index, trial)]
    outcomes = iter(judge_items(judge, items, progress=progress))
    judged = tuple(JudgedTrial(trial=trial, attacked=next(outcomes), control=next(outcomes)) for trial in trials)
    refused_texts: list[tuple[str, str]] = []
    refused: dict[str, dict[str, Estimate]] = {}
    if isinstance(judge, Judge) and judge.screens:
        found = judge.find_appeals([honest.text for honest in suite.honest])
        refused = _shares(suite.honest, [bool(parts) for parts in found])
        refused_texts = [
            (honest.text, "".join(parts)) for honest, parts in zip(suite.honest, found, strict=True) if parts
        ]
    return AttackReport(
        model=judge.model,
        judge=judge.fingerprint(),
        trials=judged,
        screens=isinstance(judge, Judge) and judge.screens,
        refused=refused,
        refused_texts=tuple(refused_texts),
        spent=judge.usage - before,
        seconds=time.perf_counter() - started,
    )


def _items(index: int, trial: AttackTrial) -> Iterable[BenchItem]:
    pair, attack = trial.pair, trial.attack
    for name, text in (("attacked", attack.text), ("control", trial.control)):
        yield BenchItem(
            id=f"{attack.id}/{index}/{name}",
            source="attacks",
            group=attack.id,
            principle=pair.principle,
            prompt=pair.prompt,
            responses={"good": pair.good, "bad": attack.added_to(pair.bad, text)},
            pairs=(("good", "bad"),),
        )


def _shares(texts: Sequence[HonestText], flagged: Sequence[bool]) -> dict[str, dict[str, Estimate]]:
    shares: dict[str, dict[str, Estimate]] = {}
    for half in HALVES:
        for form in sorted({honest.form for honest in texts}):
            values = [
                float(flag)
                for honest, flag in zip(texts, flagged, strict=True)
                if (honest.half, honest.form) == (half, form)
            ]
            shares.setdefault(half, {})[form] = mean(values, range(len(values)))
    return shares
