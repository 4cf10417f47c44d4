"""Cascades: how sure a small model has to be, what that saves, and whether the guarantee holds.

    python benchmarks/cascade.py simulate
    python benchmarks/cascade.py judge DATA_FOLDER --store FILE --judge head --set hhh+llmbar [--seconds 540]
    python benchmarks/cascade.py measures DATA_FOLDER --store FILE
    python benchmarks/cascade.py savings DATA_FOLDER --store FILE

``judge`` stores the verdicts of one small judge on one set, and continues where an earlier run stopped; the others take
verdicts from the store. The strong judge is scripted: it has people's preference, except for one case in ten that is
drawn by a hash, and each of its verdicts costs $0.01.

``simulate`` counts how often the risk exceeds alpha for miscalibrated judges. ``measures`` compares what a confidence
can be computed from, by the area under the ROC curve for telling right verdicts from wrong ones. ``savings`` fits
cascades, and fits each 200 times to a random half of the cases and measures it on the other half.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from simulated_judges import ALPHA, MISCALIBRATED, Decided, best_looking, calibrated

from rewardanything_core import Cascade, Case, Judge, ScriptedBackend, Verdict, load_judge
from rewardanything_core.agreement.confidence import CONFIDENCES, confidence_of
from rewardanything_core.agreement.selective import fit_thresholds
from rewardanything_core.backends import Completion, Request, verdict_reply
from rewardanything_core.bench.cascade_fitting import fit_cascade
from rewardanything_core.bench.cascade_results import CascadeFit
from rewardanything_core.bench.items import BenchItem
from rewardanything_core.types import Usage

JUDGES = {
    "135M": {"model": "smollm2-135m", "readout": "logits", "passes": 2},
    "head": {"model": "qwen2.5-coder-1.5b", "readout": "head"},
    "logits": {"model": "qwen2.5-coder-1.5b", "readout": "logits", "passes": 2},
}
SETS = ("hhh+llmbar", "hhh", "styleflips", "hhh+styleflips")
MAX_CHARACTERS = 2_000
MIN_CASES = 40
ALPHA_OF_SPLITS = 0.2
NOISE_OF_STRONG, PRICE_OF_STRONG = 0.1, 0.01


def pairs(folder: Path, name: str) -> list[BenchItem]:
    """Short items with one labelled pair each, one for each prompt, in an order drawn by a hash."""
    items: dict[str, BenchItem] = {}
    for part in name.split("+"):
        rows = [json.loads(line) for line in (folder / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()]
        for row in sorted(rows, key=lambda row: _hash(row["id"])):
            better, worse = min(row["pairs"], key=lambda pair: _hash(row["id"], *pair))
            responses = {label: row["responses"][label] for label in sorted((better, worse))}
            if len(str(row["prompt"])) + sum(map(len, responses.values())) <= MAX_CHARACTERS:
                items.setdefault(
                    row["group"],
                    BenchItem(
                        id=row["id"],
                        source=row["source"],
                        group=row["group"],
                        principle=row["principle"],
                        prompt=row["prompt"],
                        responses=responses,
                        pairs=((better, worse),),
                    ),
                )
    return sorted(items.values(), key=lambda item: _hash(item.group))


def small_judge(name: str, store: str, *, cache: str = "read") -> Judge:
    judge = load_judge(**JUDGES[name], store=store, cache=cache)
    assert isinstance(judge, Judge)
    return judge


def strong_judge(items: Sequence[BenchItem]) -> Judge:
    """People's preference with noise."""
    labels = {json.dumps([item.prompt, sorted(item.responses.values())]): item for item in items}

    def reply(request: Request) -> Completion:
        case = json.loads(request.messages[1]["content"])
        item = labels[json.dumps([case["prompt"], sorted(case["responses"].values())])]
        better = item.responses[item.pairs[0][0]]
        wrong = int(_hash("strong", item.id), 16) % 1000 < 1000 * NOISE_OF_STRONG
        scores = {name: 4.5 if (text == better) != wrong else 1.5 for name, text in case["responses"].items()}
        return Completion(answer=verdict_reply(scores), usage=Usage(calls=1, cost=PRICE_OF_STRONG))

    return Judge(ScriptedBackend(reply, name="scripted-strong"), cache="off")


def judged(judge: Judge, items: Sequence[BenchItem]) -> list[tuple[BenchItem, Verdict]]:
    """The items that have a stored verdict."""
    verdicts = judge.cached_verdicts([Case(**item.case_fields()) for item in items])
    return [(item, verdict) for item, verdict in zip(items, verdicts, strict=True) if verdict is not None]


def is_right(item: BenchItem, verdict: Verdict) -> bool:
    ((better, worse),) = item.pairs
    return verdict.scores[better] > verdict.scores[worse]


# --- commands


def judge_set(folder: Path, store: str, judge_name: str, set_name: str, seconds: float) -> None:
    items, started, right = pairs(folder, set_name), time.monotonic(), []
    with small_judge(judge_name, store, cache="on") as judge:
        for index, outcome in judge.judge_stream((item.case_fields() for item in items), window=8):
            right.append(isinstance(outcome, Verdict) and is_right(items[index], outcome))
            if time.monotonic() - started > seconds:
                break
    print(f"{judge_name}, {set_name}: {len(right)} of {len(items)} judged, {np.mean(right):.3f} right")


def measures(folder: Path, store: str) -> None:
    print(f"| judge | set | cases | right | {' | '.join(CONFIDENCES)} | right among the surest third by gap |")
    print(f"|{'---|' * (5 + len(CONFIDENCES))}")
    for name in JUDGES:
        with small_judge(name, store) as judge:
            for set_name in SETS:
                found = judged(judge, pairs(folder, set_name))
                if len(found) < MIN_CASES:
                    continue
                right = np.array([is_right(*one) for one in found])
                sure = {m: np.array([confidence_of(verdict, m) for _, verdict in found]) for m in CONFIDENCES}
                areas = " | ".join(f"{_auroc(values, right):.2f}" for values in sure.values())
                surest = right[np.argsort(-sure["gap"])[: len(right) // 3]].mean()
                print(f"| {name} | {set_name} | {len(found)} | {right.mean():.2f} | {areas} | {surest:.2f} |")


def savings(folder: Path, store: str) -> None:
    for set_name in SETS:
        for name in JUDGES:
            with small_judge(name, store) as cheap:
                items = [item for item, _ in judged(cheap, pairs(folder, set_name))]
                if len(items) < MIN_CASES:
                    continue
                cascade = Cascade([cheap, strong_judge(items)])
                asyncio.run(cascade.stages[-1].ajudge_batch(Case(**item.case_fields()) for item in items))
                print(f"\n### {name} in front of the scripted strong judge, {set_name}")
                for against in ("people", "last"):
                    show(fit_cascade(cascade, items, alpha=ALPHA_OF_SPLITS, against=against))
                splits(items, cheap)
    with small_judge("head", store) as head, small_judge("logits", store) as logits:
        shared = [item for item, _ in judged(logits, [item for item, _ in judged(head, pairs(folder, SETS[0]))])]
        for cheap, last in ((head, logits), (logits, head)):
            if len(shared) >= MIN_CASES:
                print(f"\n### {cheap.readout} in front of {last.readout}, 1.5B, {SETS[0]}")
                show(fit_cascade(Cascade([cheap, last]), shared, alpha=ALPHA_OF_SPLITS, against="last"))


def show(fit: CascadeFit) -> None:
    print(
        f"\nAgreement with {fit.against}, alpha {fit.alpha:g}, delta {fit.delta:g}, {fit.items} cases; alone: ", end=""
    )
    print(", ".join(f"{stage.model} {stage.agreement.value or 1:.2f}" for stage in fit.stages))
    print(f"\n| not escalated | agreement | {fit.cost_unit} per 1,000 rows | threshold |\n|---|---|---|---|")
    for point in fit.curve:
        value = "" if point.agreement.value is None else f"{point.agreement.value:.2f}"
        threshold = "never" if point.thresholds[0] is None else f"{point.thresholds[0]:.3f}"
        mark = "**" if point.chosen else ""
        print(f"| {mark}{point.coverage:.0%}{mark} | {value} | {point.cost:.4g} | {threshold} |")


def splits(items: Sequence[BenchItem], cheap: Judge, number: int = 200) -> None:
    """Fit to one half of the cases and measure on the other."""
    found = judged(cheap, items)
    confidence = np.array([confidence_of(verdict) for _, verdict in found])
    right = np.array([is_right(*one) for one in found])
    coverage, wrong, decided, passed = [], 0, 0, 0
    for seed in range(number):
        order = np.random.default_rng(seed).permutation(len(found))
        fitted, other = np.split(order, [len(order) // 2])
        fit = fit_thresholds(
            confidence[fitted][:, None], right[fitted][:, None], alpha=ALPHA_OF_SPLITS, delta=0.1, seed=seed
        )
        sure = confidence[other] >= fit.thresholds[0]
        coverage.append(sure.mean())
        decided, wrong, passed = decided + sure.sum(), wrong + (~right[other][sure]).sum(), passed + fit.passed
    agreement = f"{1 - wrong / decided:.3f}" if decided else "none decided"
    print(
        f"\nFitted to half of the cases, {number} times: a threshold passes in {passed / number:.0%}; on the other "
        f"half {np.mean(coverage):.0%} are not escalated, and their agreement with people is {agreement}."
    )


def simulate(delta: float = 0.1, labels: int = 160, draws: int = 2_000) -> None:
    print(f"{labels} labels, alpha {ALPHA:g}, delta {delta:g}, {draws:,} draws\n")
    print("| judge | risk above alpha, fitted | risk above alpha, best-looking threshold | mean coverage, fitted |")
    print("|---|---|---|---|")
    for simulated in (*MISCALIBRATED, calibrated):
        decided = Decided(simulated)
        rng, violations, naive, coverage = np.random.default_rng(20), 0, 0, 0.0
        for draw in range(draws):
            confidence, probability = simulated(rng, labels)
            agrees = rng.random(labels) < probability
            fit = fit_thresholds(confidence[:, None], agrees[:, None], alpha=ALPHA, delta=delta, seed=draw)
            violations += decided.risk(fit.thresholds[0]) > ALPHA
            coverage += decided.coverage(fit.thresholds[0])
            naive += decided.risk(best_looking(confidence, agrees)) > ALPHA
        name = simulated.__name__.replace("_", "-")
        print(f"| {name} | {violations / draws:.3f} | {naive / draws:.3f} | {coverage / draws:.2f} |")
    print(
        f"\nThe calibrated judge, which could decide {_best_coverage(ALPHA):.2f}\n\n| labels | passes | mean coverage |"
    )
    print("|---|---|---|")
    for number in (100, 200, 400, 800, 1600):
        fits = [_coverage_of_calibrated(number, ALPHA, delta, draw) for draw in range(300)]
        print(f"| {number} | {np.mean(np.array(fits) > 0):.2f} | {np.mean(fits):.2f} |")


def _best_coverage(alpha: float) -> float:
    """The coverage of the threshold t at which 1 - (0.8 + 0.2 t) is alpha."""
    return 1 - (0.2 - alpha) / 0.2


def _coverage_of_calibrated(labels: int, alpha: float, delta: float, seed: int) -> float:
    rng = np.random.default_rng([labels, seed])
    confidence, probability = calibrated(rng, labels)
    right = rng.random(labels) < probability
    fit = fit_thresholds(confidence[:, None], right[:, None], alpha=alpha, delta=delta, seed=seed)
    return max(0.0, 1 - fit.thresholds[0])


def _auroc(confidence: np.ndarray, right: np.ndarray) -> float:
    ranks, number = rankdata(confidence), right.sum()
    return float((ranks[right].sum() - number * (number + 1) / 2) / (number * (len(right) - number)))


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["simulate", "judge", "measures", "savings"])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--store", help="the verdict store")
    parser.add_argument("--judge", choices=list(JUDGES), default="head")
    parser.add_argument("--set", choices=list(SETS), default=SETS[0])
    parser.add_argument("--seconds", type=float, default=540.0)
    arguments = parser.parse_args()
    if arguments.what == "simulate":
        return simulate()
    if arguments.data is None or arguments.store is None:
        parser.error("give the data folder and --store")
    if arguments.what == "judge":
        return judge_set(arguments.data, arguments.store, arguments.judge, arguments.set, arguments.seconds)
    return (measures if arguments.what == "measures" else savings)(arguments.data, arguments.store)


if __name__ == "__main__":
    main()
