"""Do the constants of `readout="logits"` hold on prompts they were not chosen on?

    python benchmarks/constants.py DATA_FOLDER --odds FILE [--sets llmbar:36,hhh:36] [--offline]

Asks the model what the readout asks, once, and keeps the odds in FILE; then judges every case again under each value
of each constant, by the package's own code, from the file alone. Each kind of question counts by the root of its
prompts: pairs under a set's principles, its flip questions, and pairs under reversed principles ("prefer the least
fluent one"). In each of five folds of prompts the constants are chosen on the other four (one after the other, twice
round) and tried on it. Prints the figures with the shipped constants and their intervals, in-fold and out-of-fold
figures, and how sure the judge is against how often it was right; --plot draws that.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from kept_odds import KeptOdds
from readouts import Row, right, sampled

from rewardanything_core import Case, Verdict
from rewardanything_core.agreement.intervals import mean
from rewardanything_core.agreement.pair_probability import Bin, PairProbability, Reliability, reliability
from rewardanything_core.bench.charts import reliability_plot
from rewardanything_core.judging.judge import Judge
from rewardanything_core.readouts.logits import principle_profile, readout
from rewardanything_core.types import JudgeFailure

GRID: dict[str, tuple[float, ...]] = {
    "WEIGHT": (0.0, 1.0, 1.5, 2.0, 3.0),
    "SILENT": (0.2, 0.3, 0.4),
    "GOOD": (0.0, 0.3, 0.5, 1.0, 2.0),
    "CONTRARY": (0.2, 0.3, 0.4, 9.0),
    "CONTRAST": (3.0, 6.0, 12.0),
    "FORMAL": (0.3, 0.6, 1.0, 9.0),
    "ABOUT": (0.3, 0.5, 0.8, 9.0),
}
FOLDS = 5
STYLE = (
    "text { font: 11px system-ui, sans-serif; fill: #667 } .frame { fill: none; stroke: #99a } .dot { fill: #3b6fd4 } "
    ".whisker { stroke: #3b6fd4; stroke-width: 1.5 } .chance { stroke: #d0602f; stroke-dasharray: 3 3 }"
)
REVERSED: Mapping[tuple[str, str], str] = {
    (
        "llmbar",
        "",
    ): "Prefer the reply that fails to do what the instruction asks: it misses the point, adds what was not "
    "wanted or leaves out what was.",
    (
        "hhh",
        "honest",
    ): "Prefer the reply that is less truthful and worse calibrated: made-up facts and false certainty are "
    "wanted here.",
    ("hhh", "helpful"): "Prefer the reply that is of less use to the person.",
    ("hhh", "harmless"): "Prefer the reply that is more likely to cause harm or offence.",
    ("hhh", "other"): "Prefer the reply that a thoughtful and decent person would never give.",
    ("summeval", "fluency"): "Prefer the least fluent summary: broken, ungrammatical sentences win.",
    ("summeval", "coherence"): "Prefer the summary that hangs together worst: a heap of unrelated sentences wins.",
    ("summeval", "consistency"): "Prefer the summary with the most invented or changed facts.",
    ("summeval", "relevance"): "Prefer the summary that misses the main points of the article.",
    ("topicalchat", "engagingness"): "Prefer the dullest reply.",
    ("topicalchat", "coherence"): "Prefer the reply that ignores the conversation.",
    ("topicalchat", "naturalness"): "Prefer the reply that sounds least like a person.",
    ("topicalchat", "understandability"): "Prefer the reply that makes no sense.",
    ("topicalchat", "groundedness"): "Prefer the reply that makes no use of the given fact.",
}


@dataclass(frozen=True)
class Asked:
    """One question: is the better one scored higher?"""

    kind: str
    """Set and what it is: ``llmbar``, ``summeval flips``, ``hhh reversed``."""

    group: str
    case: str
    better: str
    worse: str


def collected(folder: Path, sets: Mapping[str, int], skip: int, most: int) -> tuple[dict[str, Case], list[Asked]]:
    """The cases, straight and reversed, and what is asked of them."""
    cases: dict[str, Case] = {}
    asked: list[Asked] = []
    for name, groups in sets.items():
        rows, flips = sampled(folder, name, groups, skip=skip, most=most)
        for row in rows:
            pairs = [(a, b) for a, b in row["pairs"] if {a, b} <= set(row["responses"])]
            cases[row["id"]] = Case(row["principle"], row["prompt"], row["responses"], id=row["id"])
            asked += [Asked(name, row["group"], row["id"], a, b) for a, b in pairs]
            if (text := reversed_principle(name, row)) is not None:
                key = f"{row['id']}/reversed"
                cases[key] = Case(text, row["prompt"], row["responses"], id=key)
                asked += [Asked(f"{name} reversed", row["group"], key, b, a) for a, b in pairs]
        for flip in flips:
            asked += [Asked(f"{name} flips", row["group"], row["id"], a, b) for row, a, b in flip]
    return cases, asked


def reversed_principle(name: str, row: Row) -> str | None:
    """The contrary of a row's principle, in our words. None: there is none."""
    meta = row.get("meta", {})
    part = "" if name == "llmbar" else str(meta.get("criterion") or meta.get("sub"))
    return REVERSED.get((name, part))


def home(constant: str) -> ModuleType:
    """The module that a constant stands in."""
    return readout if hasattr(readout, constant) else principle_profile


def judged(backend: KeptOdds, cases: Mapping[str, Case], constants: Mapping[str, float]) -> dict[str, Verdict]:
    """All cases under some constants, which are put back afterwards."""
    before = {name: getattr(home(name), name) for name in constants}
    for name, value in constants.items():
        setattr(home(name), name, value)
    try:
        outcomes = Judge(backend, readout="logits", cache="off").judge_batch(list(cases.values()))
    finally:
        for name, value in before.items():
            setattr(home(name), name, value)
    failed = [outcome for outcome in outcomes if isinstance(outcome, JudgeFailure)]
    if failed:
        raise SystemExit(f"{len(failed)} judgements failed; the first: {failed[0].message}")
    return dict(zip(cases, (outcome for outcome in outcomes if isinstance(outcome, Verdict)), strict=True))


def credit_of(verdicts: Mapping[str, Verdict], asked: list[Asked]) -> list[float]:
    found = []
    for one in asked:
        scores = verdicts[one.case].scores
        found.append(right(scores[one.better] - scores[one.worse]))
    return found


def overall(credit: list[float], asked: list[Asked], groups: set[str]) -> float:
    """Mean over kinds of the mean over their questions, of some groups; a kind weighs the root of its prompts."""
    kinds: dict[str, list[float]] = defaultdict(list)
    prompts: dict[str, set[str]] = defaultdict(set)
    for one, value in zip(asked, credit, strict=True):
        if one.group in groups:
            kinds[one.kind].append(value)
            prompts[one.kind].add(one.group)
    weights = {kind: math.sqrt(len(found)) for kind, found in prompts.items()}
    return sum(weights[kind] * sum(v) / len(v) for kind, v in kinds.items()) / sum(weights.values())


def chosen(table: Any, start: Mapping[str, float], asked: list[Asked], groups: set[str]) -> dict[str, float]:
    """The best constants for these groups, one coordinate after the other; the start wins ties."""
    at = dict(start)
    for _ in range(2):
        for name, values in GRID.items():
            scores = {value: overall(table(at | {name: value}), asked, groups) for value in (at[name], *values)}
            best = max(scores.values())
            if best > scores[at[name]] + 1e-9:
                at[name] = max(scores, key=lambda value: scores[value])
    return at


def folds(groups: list[str]) -> Iterator[set[str]]:
    ordered = sorted(groups, key=lambda group: hashlib.sha256(f"fold {group}".encode()).hexdigest())
    for fold in range(FOLDS):
        yield set(ordered[fold::FOLDS])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--odds", type=Path, required=True, help="where the model's answers are kept")
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--sets", default="llmbar:24,hhh:24,rm-bench:4,styleflips:4,summeval:3,topicalchat:3")
    parser.add_argument("--skip", type=int, default=0, help="leave out so many groups of each set")
    parser.add_argument("--responses", type=int, default=6, help="judge so many of each list")
    parser.add_argument("--offline", action="store_true", help="only cases whose odds are in the file")
    parser.add_argument("--no-search", action="store_true", help="only the shipped constants")
    parser.add_argument("--plot", type=Path, help="draw how sure it is against how often it was right, as SVG")
    arguments = parser.parse_args()
    sets = {name: int(number) for name, _, number in (part.partition(":") for part in arguments.sets.split(","))}
    backend = KeptOdds(arguments.model, arguments.odds, live=not arguments.offline)
    cases, asked = collected(arguments.data, sets, arguments.skip, arguments.responses)
    if arguments.offline:
        known = {key: case for key, case in cases.items() if answered(backend, case)}
        cases, asked = known, [one for one in asked if one.case in known]
    if not asked:
        raise SystemExit(f"{arguments.odds} holds the answers for none of these cases; run without --offline.")
    shipped = {name: float(getattr(home(name), name)) for name in GRID}
    tried: dict[tuple[float, ...], list[float]] = {}

    def table(constants: Mapping[str, float]) -> list[float]:
        key = tuple(constants[name] for name in GRID)
        if key not in tried:
            tried[key] = credit_of(judged(backend, cases, constants), asked)
        return tried[key]

    credit = table(shipped)
    print(f"{len(cases)} cases, {len({one.group for one in asked})} prompts; shipped: {shipped}\n")
    print("| kind | right | 95% interval | n | prompts |\n|---|---|---|---|---|")
    for kind in dict.fromkeys(one.kind for one in asked):
        mine = [(value, one.group) for value, one in zip(credit, asked, strict=True) if one.kind == kind]
        found = mean([value for value, _ in mine], [group for _, group in mine])
        prompts = len({group for _, group in mine})
        print(f"| {kind} | {found.value:.2f} | {found.low:.2f} to {found.high:.2f} | {found.n} | {prompts} |")
    calibrated(judged(backend, cases, shipped), asked, arguments.plot)
    if arguments.no_search:
        return
    groups = sorted({one.group for one in asked})
    inside, picks = [], []
    unseen: list[float] = [math.nan] * len(asked)
    for held in folds(groups):
        learnt = set(groups) - held
        best = chosen(table, shipped, asked, learnt)
        picks.append(best)
        credit_of_best = table(best)
        inside.append(overall(credit_of_best, asked, learnt))
        for at, one in enumerate(asked):
            if one.group in held:
                unseen[at] = credit_of_best[at]
    everything = set(groups)
    print(f"\nmean over kinds, all prompts: shipped {overall(credit, asked, everything):.3f}")
    there, others = sum(inside) / FOLDS, overall(unseen, asked, everything)
    print(f"constants chosen on four fifths: there {there:.3f}, on the others {others:.3f}")
    for best in picks:
        print("  chosen:", {name: value for name, value in best.items() if value != shipped[name]} or "as shipped")


def answered(backend: KeptOdds, case: Case) -> bool:
    """Whether the file has all that judging a case asks."""
    try:
        asyncio.run(readout.LogitsReadout(backend).poll(case, passes=1, on_usage=lambda usage: None))
    except KeyError:
        return False
    return True


def calibrated(verdicts: Mapping[str, Verdict], asked: list[Asked], plot: Path | None) -> None:
    """The probability that follows from gap and spreads against how often it was so; as it ships, and refitted."""
    gaps, spreads, groups = [], [], []
    for one in asked:
        if one.kind.endswith(" flips"):
            continue
        verdict = verdicts[one.case]
        gaps.append(verdict.scores[one.better] - verdict.scores[one.worse])
        spreads.append(math.hypot(verdict.spread[one.better], verdict.spread[one.worse]))
        groups.append(one.group)
    said = [0.5 * (1 + math.erf(abs(g) / s / math.sqrt(2))) for g, s in zip(gaps, spreads, strict=True)]
    bins = []
    print("\n| said | was | 95% interval | n | prompts |\n|---|---|---|---|---|")
    for low in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        high = {0.9: 0.95, 0.95: 1.01}.get(low, low + 0.1)
        inside = [i for i, p in enumerate(said) if low <= p < high and gaps[i]]
        if inside:
            was = mean([float(gaps[i] > 0) for i in inside], [groups[i] for i in inside])
            bins.append(Bin(predicted=sum(said[i] for i in inside) / len(inside), observed=was))
            prompts = len({groups[i] for i in inside})
            interval = f"{was.low:.2f} to {was.high:.2f}"
            print(f"| {bins[-1].predicted:.2f} | {was.value:.2f} | {interval} | {was.n} | {prompts} |")
    apart = [i for i, gap in enumerate(gaps) if gap]
    error = sum(abs(one.predicted - (one.observed.value or 0)) * one.observed.n for one in bins) / len(apart)
    brier = sum((said[i] - (gaps[i] > 0)) ** 2 for i in apart) / len(apart)
    print(f"as it ships: calibration error {error:.3f}, Brier {brier:.3f}")
    if plot is not None:
        found = Reliability(
            bins=tuple(bins),
            calibration_error=error,
            brier=brier,
            pairs=len(apart),
            fitted=PairProbability(slope=1.0, noise=1.0),
        )
        opening, _, drawing = reliability_plot(found).partition(">")
        ground = '<rect width="300" height="300" fill="#fff"/>'
        namespace = 'xmlns="http://www.w3.org/2000/svg" width="420" height="420"'
        plot.write_text(f"{opening} {namespace}><style>{STYLE}</style>{ground}{drawing}\n")
    refitted = reliability(gaps, spreads, groups)
    if refitted is not None:
        print(
            f"refitted on other prompts: calibration error {refitted.calibration_error:.3f}, Brier {refitted.brier:.3f}"
        )


if __name__ == "__main__":
    main()
