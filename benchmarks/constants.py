"""Do the constants of `readout="logits"` hold on prompts that they were not chosen on?

    python benchmarks/constants.py DATA_FOLDER --answers FILE [--sets llmbar:36,hhh:36] [--offline]

Asks the model the readout's questions once and keeps the answers in FILE. Then it judges every case again under each
value of each constant, with the package's own code and the answers in the file. There are three kinds of questions:
pairs under a data set's principles, its flip questions, and pairs under reversed principles ("prefer the least fluent
one"); a kind's weight is the square root of its number of prompts. In five-fold cross-validation over prompts, the
constants are chosen on four folds (coordinate by coordinate, twice) and evaluated on the fifth. Prints the accuracy of
the shipped constants with intervals, the accuracy in and out of fold, and the calibration of the judge's confidence,
which --plot draws.
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
from typing import Any

from answer_cache import AnswerCache
from readouts import Row, right, sampled

from rewardanything_core import Case, Verdict
from rewardanything_core.agreement.intervals import mean
from rewardanything_core.agreement.pair_probability import Bin, PairProbability, Reliability, reliability
from rewardanything_core.bench.charts import reliability_plot
from rewardanything_core.judging.judge import Judge
from rewardanything_core.readouts.pointwise import principle_profile
from rewardanything_core.readouts.pointwise.estimators import AnswerEstimator
from rewardanything_core.readouts.pointwise.questions import question_set
from rewardanything_core.readouts.pointwise.readout import PointwiseReadout
from rewardanything_core.types import JudgeFailure

GRID: dict[str, tuple[float, ...]] = {
    "feature_weight": (0.0, 1.0, 1.5, 2.0, 3.0),
    "NEUTRAL_BAND": (0.2, 0.3, 0.4),
    "FULL_FORM_PREFERENCE": (0.3, 0.6, 1.0, 9.0),
    "GROUNDING_THRESHOLD": (0.3, 0.5, 0.8, 9.0),
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
class Question:
    """Whether the better of two responses gets the higher score."""

    kind: str
    """Data set and kind: ``llmbar``, ``summeval flips``, ``hhh reversed``."""

    group: str
    case: str
    better: str
    worse: str


def collected(
    folder: Path, sets: Mapping[str, int], skip: int, max_responses: int
) -> tuple[dict[str, Case], list[Question]]:
    """The cases under original and reversed principles, and the questions about them."""
    cases: dict[str, Case] = {}
    questions: list[Question] = []
    for name, groups in sets.items():
        rows, flips = sampled(folder, name, groups, skip=skip, max_responses=max_responses)
        for row in rows:
            pairs = [(a, b) for a, b in row["pairs"] if {a, b} <= set(row["responses"])]
            cases[row["id"]] = Case(row["principle"], row["prompt"], row["responses"], id=row["id"])
            questions += [Question(name, row["group"], row["id"], a, b) for a, b in pairs]
            if (principle := reversed_principle(name, row)) is not None:
                key = f"{row['id']}/reversed"
                cases[key] = Case(principle, row["prompt"], row["responses"], id=key)
                questions += [Question(f"{name} reversed", row["group"], key, b, a) for a, b in pairs]
        for flip in flips:
            questions += [Question(f"{name} flips", row["group"], row["id"], a, b) for row, a, b in flip]
    return cases, questions


def reversed_principle(name: str, row: Row) -> str | None:
    """The reversed principle of a row. None: there is none."""
    meta = row.get("meta", {})
    part = "" if name == "llmbar" else str(meta.get("criterion") or meta.get("sub"))
    return REVERSED.get((name, part))


def owner_of(constant: str) -> Any:
    """The module or class that defines a constant."""
    return AnswerEstimator if hasattr(AnswerEstimator, constant) else principle_profile


def judged(backend: AnswerCache, cases: Mapping[str, Case], constants: Mapping[str, float]) -> dict[str, Verdict]:
    """The verdicts on all cases under some constants, which are restored afterwards."""
    original = {name: getattr(owner_of(name), name) for name in constants}
    for name, value in constants.items():
        setattr(owner_of(name), name, value)
    try:
        outcomes = Judge(backend, readout="logits", cache="off").judge_batch(list(cases.values()))
    finally:
        for name, value in original.items():
            setattr(owner_of(name), name, value)
    failures = [outcome for outcome in outcomes if isinstance(outcome, JudgeFailure)]
    if failures:
        raise SystemExit(f"{len(failures)} judgements failed; the first: {failures[0].message}")
    return dict(zip(cases, (outcome for outcome in outcomes if isinstance(outcome, Verdict)), strict=True))


def credits_of(verdicts: Mapping[str, Verdict], questions: list[Question]) -> list[float]:
    """The credit for each question: 1, 0, or 0.5 for a tie."""
    scores = [(verdicts[question.case].scores, question) for question in questions]
    return [right(by_label[question.better] - by_label[question.worse]) for by_label, question in scores]


def overall(credit: list[float], questions: list[Question], groups: set[str]) -> float:
    """Weighted mean over kinds of the mean credit of their questions in some groups."""
    by_kind: dict[str, list[float]] = defaultdict(list)
    prompts: dict[str, set[str]] = defaultdict(set)
    for question, value in zip(questions, credit, strict=True):
        if question.group in groups:
            by_kind[question.kind].append(value)
            prompts[question.kind].add(question.group)
    weights = {kind: math.sqrt(len(members)) for kind, members in prompts.items()}
    return sum(weights[kind] * sum(v) / len(v) for kind, v in by_kind.items()) / sum(weights.values())


def best_constants(
    credits_under: Any, start: Mapping[str, float], questions: list[Question], groups: set[str]
) -> dict[str, float]:
    """The best constants for some groups by coordinate search; ties keep the starting value."""
    best = dict(start)
    for _ in range(2):
        for name, values in GRID.items():
            scores = {
                value: overall(credits_under(best | {name: value}), questions, groups)
                for value in (best[name], *values)
            }
            highest = max(scores.values())
            if highest > scores[best[name]] + 1e-9:
                best[name] = max(scores, key=lambda value: scores[value])
    return best


def folds(groups: list[str]) -> Iterator[set[str]]:
    ordered = sorted(groups, key=lambda group: hashlib.sha256(f"fold {group}".encode()).hexdigest())
    for fold in range(FOLDS):
        yield set(ordered[fold::FOLDS])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--answers", type=Path, required=True, help="file of the model's answers")
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--sets", default="llmbar:24,hhh:24,rm-bench:4,styleflips:4,summeval:3,topicalchat:3")
    parser.add_argument("--skip", type=int, default=0, help="number of groups to skip in each data set")
    parser.add_argument("--responses", type=int, default=6, help="number of responses to judge of each list")
    parser.add_argument("--offline", action="store_true", help="use only cases whose answers are in the file")
    parser.add_argument("--no-search", action="store_true", help="evaluate only the shipped constants")
    parser.add_argument("--plot", type=Path, help="draw confidence against accuracy, as SVG")
    arguments = parser.parse_args()
    sets = {name: int(number) for name, _, number in (part.partition(":") for part in arguments.sets.split(","))}
    backend = AnswerCache(arguments.model, arguments.answers, live=not arguments.offline)
    cases, questions = collected(arguments.data, sets, arguments.skip, arguments.responses)
    if arguments.offline:
        cases = {key: case for key, case in cases.items() if is_answered(backend, case)}
        questions = [question for question in questions if question.case in cases]
    if not questions:
        raise SystemExit(f"{arguments.answers} has the answers for none of these cases; run without --offline.")
    shipped = {name: float(getattr(owner_of(name), name)) for name in GRID}
    evaluated: dict[tuple[float, ...], list[float]] = {}

    def credits_under(constants: Mapping[str, float]) -> list[float]:
        key = tuple(constants[name] for name in GRID)
        if key not in evaluated:
            evaluated[key] = credits_of(judged(backend, cases, constants), questions)
        return evaluated[key]

    credit = credits_under(shipped)
    print(f"{len(cases)} cases, {len({question.group for question in questions})} prompts; shipped: {shipped}\n")
    print("| kind | right | 95% interval | n | prompts |\n|---|---|---|---|---|")
    for kind in dict.fromkeys(question.kind for question in questions):
        of_kind = [(c, question.group) for c, question in zip(credit, questions, strict=True) if question.kind == kind]
        estimate = mean([credit for credit, _ in of_kind], [group for _, group in of_kind])
        prompts = len({group for _, group in of_kind})
        interval = f"{estimate.low:.2f} to {estimate.high:.2f}"
        print(f"| {kind} | {estimate.value:.2f} | {interval} | {estimate.n} | {prompts} |")
    print_calibration(judged(backend, cases, shipped), questions, arguments.plot)
    if not arguments.no_search:
        cross_validate(credits_under, shipped, questions)


def cross_validate(credits_under: Any, shipped: Mapping[str, float], questions: list[Question]) -> None:
    """Choose the constants on four folds, evaluate them on the fifth, and print both accuracies."""
    groups = {question.group for question in questions}
    in_fold, choices = [], []
    out_of_fold: list[float] = [math.nan] * len(questions)
    for held_out in folds(sorted(groups)):
        choices.append(best_constants(credits_under, shipped, questions, groups - held_out))
        credit = credits_under(choices[-1])
        in_fold.append(overall(credit, questions, groups - held_out))
        for index, question in enumerate(questions):
            if question.group in held_out:
                out_of_fold[index] = credit[index]
    print(f"\nweighted mean, all prompts: shipped {overall(credits_under(shipped), questions, groups):.3f}")
    print(
        f"constants chosen on four folds: there {sum(in_fold) / FOLDS:.3f}, on the other fold "
        f"{overall(out_of_fold, questions, groups):.3f}"
    )
    for choice in choices:
        print("  chosen:", {name: value for name, value in choice.items() if value != shipped[name]} or "as shipped")


def is_answered(backend: AnswerCache, case: Case) -> bool:
    """Whether the file has all answers that judging a case needs."""
    try:
        questions = question_set()
        readout = PointwiseReadout(backend, questions, AnswerEstimator(backend, questions))
        asyncio.run(readout.run(case, passes=1, on_usage=lambda usage: None))
    except KeyError:
        return False
    return True


def print_calibration(verdicts: Mapping[str, Verdict], questions: list[Question], plot: Path | None) -> None:
    """Compare the probability that follows from gap and spreads with the outcomes: as shipped, and refitted."""
    gaps, spreads, groups = [], [], []
    for question in questions:
        if question.kind.endswith(" flips"):
            continue
        verdict = verdicts[question.case]
        gaps.append(verdict.scores[question.better] - verdict.scores[question.worse])
        spreads.append(math.hypot(verdict.spread[question.better], verdict.spread[question.worse]))
        groups.append(question.group)
    predicted = [0.5 * (1 + math.erf(abs(g) / s / math.sqrt(2))) for g, s in zip(gaps, spreads, strict=True)]
    bins = []
    print("\n| predicted | observed | 95% interval | n | prompts |\n|---|---|---|---|---|")
    for low in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        high = {0.9: 0.95, 0.95: 1.01}.get(low, low + 0.1)
        members = [i for i, probability in enumerate(predicted) if low <= probability < high and gaps[i]]
        if members:
            observed = mean([float(gaps[i] > 0) for i in members], [groups[i] for i in members])
            bins.append(Bin(predicted=sum(predicted[i] for i in members) / len(members), observed=observed))
            prompts = len({groups[i] for i in members})
            interval = f"{observed.low:.2f} to {observed.high:.2f}"
            print(f"| {bins[-1].predicted:.2f} | {observed.value:.2f} | {interval} | {observed.n} | {prompts} |")
    unequal = [i for i, gap in enumerate(gaps) if gap]
    error = sum(abs(each.predicted - (each.observed.value or 0)) * each.observed.n for each in bins) / len(unequal)
    brier = sum((predicted[i] - (gaps[i] > 0)) ** 2 for i in unequal) / len(unequal)
    print(f"as shipped: calibration error {error:.3f}, Brier score {brier:.3f}")
    if plot is not None:
        shipped = Reliability(
            bins=tuple(bins),
            calibration_error=error,
            brier=brier,
            pairs=len(unequal),
            fitted=PairProbability(slope=1.0, noise=1.0),
        )
        opening, _, drawing = reliability_plot(shipped).partition(">")
        background = '<rect width="300" height="300" fill="#fff"/>'
        namespace = 'xmlns="http://www.w3.org/2000/svg" width="420" height="420"'
        plot.write_text(f"{opening} {namespace}><style>{STYLE}</style>{background}{drawing}\n")
    refitted = reliability(gaps, spreads, groups)
    if refitted is not None:
        print(
            f"refitted on other prompts: calibration error {refitted.calibration_error:.3f}, "
            f"Brier score {refitted.brier:.3f}"
        )


if __name__ == "__main__":
    main()
