"""Judging under rubrics: one call or several, in which order, and at what price.

    python benchmarks/rubrics.py DATA_FILE FOLDER [--rubric summary] [--model qwen2.5-coder-1.5b] [--limit 12]
    python benchmarks/rubrics.py --curve [--model qwen2.5-coder-1.5b]

The first judges the lists of a data set whose rows name their criteria, under each of `ARMS`, and prints for each: the
share of pairs ordered as people order them under each criterion and under all; the correlation between criteria of the
judge and of people within prompts, and their difference, the halo; tokens and processor seconds per list. A second
table has differences to separate calls on the same lists. All intervals are 95% intervals over prompts. Every arm may
reason with the same number of tokens per criterion. Verdicts are stored in FOLDER, so a second run only prints.

The second prints how the processor time of the pointwise readouts grows with the number of criteria.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

from rewardanything_core import Criterion, Judge, JudgeFailure, Rubric, SamplingParams, Usage, Verdict
from rewardanything_core.agreement.intervals import Estimate, mean
from rewardanything_core.agreement.pairs import pair_credits
from rewardanything_core.backends.base import Backend
from rewardanything_core.backends.local.backend import LocalBackend
from rewardanything_core.bench.halo import halo
from rewardanything_core.bench.items import BenchItem
from rewardanything_core.bench.measures import JudgedItem
from rewardanything_core.bench.reading import read_items
from rewardanything_core.bench.rubric_items import as_rubrics
from rewardanything_core.bench.running import judge_items
from rewardanything_core.readouts import rubric as rubric_readout
from rewardanything_core.readouts.pointwise.principle_profile import (
    NO_PREFERENCES,
    PrincipleProfile,
    PrincipleProfiler,
)
from rewardanything_core.weights.fetch import fetch

ARMS: Mapping[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "one call a criterion": ({"criteria": "separate"}, (1,)),
    "one call, fixed order": ({"criteria": "together"}, (1,)),
    "one call, balanced orders": ({"criteria": "together", "passes": 2}, (1, 2)),
    "logits": ({"readout": "logits"}, (1,)),
    "head": ({"readout": "head"}, (1,)),
}
"""Arm -> options, and after how many passes it is measured: the first pass of two is that of a judge with one."""

CHUNK = 8  # lists in flight

SHORT = {
    "a": "The train leaves at nine from platform two, and the ride takes an hour.",
    "b": "There is a train at nine. I hope that you enjoy your trip!",
    "c": "Trains are a popular way to travel.",
}
TIMETABLE = " ".join(
    f"Train {number} leaves at {number % 12 + 1} from platform {number % 5 + 1} and calls at {number % 7 + 2} stations."
    for number in range(30)
)
SHAPES: Mapping[str, tuple[dict[str, str], str | None]] = {
    "short question, 1 short response": ({"a": SHORT["a"]}, None),
    "short question, 3 short responses": (SHORT, None),
    "long context, 1 short response": ({"a": SHORT["a"]}, TIMETABLE),
}
"""Name -> responses and context."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--curve", action="store_true")
    parser.add_argument("--repeats", type=int, default=5, help="of --curve; the fastest counts")
    parser.add_argument("--rubric", help="name in the library; without it, the principles of the rows")
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--limit", type=int, default=12, help="number of prompts")
    parser.add_argument("--responses", type=int, default=4, help="number of responses of each list")
    parser.add_argument("--characters", type=int, default=1_000_000, help="longer prompts are left out")
    parser.add_argument("--reasoning", type=int, default=24, help="tokens of reasoning per criterion")
    arguments = parser.parse_args()
    if arguments.curve:
        curve(LocalBackend(fetch(arguments.model), name=arguments.model), arguments.repeats)
        return
    items = lists(arguments)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    backend = LocalBackend(fetch(arguments.model), name=arguments.model)
    judged: dict[str, list[JudgedItem]] = {}
    costs: dict[str, tuple[Usage, float]] = {}
    for name, (options, after) in ARMS.items():
        if name == "head" and arguments.model != "qwen2.5-coder-1.5b":
            continue
        outcomes, seconds = judge_arm(backend, name, options, items, arguments.folder, arguments.reasoning)
        usage = sum((one.outcome.usage for one in outcomes), Usage())
        for passes in after:
            title = f"{name}, {passes} {'pass' if passes == 1 else 'passes'}" if len(after) > 1 else name
            judged[title] = [of_first_passes(one, passes) for one in outcomes]
            share = passes / max(after) / len(items)
            costs[title] = (
                Usage(
                    prompt_tokens=round(usage.prompt_tokens * share),
                    completion_tokens=round(usage.completion_tokens * share),
                ),
                seconds * share,
            )
        failures = [one.outcome for one in outcomes if isinstance(one.outcome, JudgeFailure)]
        print(f"{name}: {len(failures)} of {len(items)} failed {[each.message for each in failures[:1]]}", flush=True)
    report(judged, costs)


def lists(arguments: argparse.Namespace) -> list[BenchItem]:
    """Lists of the first responses, under rubrics."""
    found = [item for item in read_items([arguments.data]) if len(item.prompt) <= arguments.characters]
    by_hash = sorted({item.group for item in found}, key=lambda group: hashlib.sha256(group.encode()).digest())
    items = []
    for item in (item for item in found if item.group in by_hash[: arguments.limit]):
        kept = dict(list(item.responses.items())[: arguments.responses])
        human = {label: score for label, score in (item.human or {}).items() if label in kept}
        pairs = tuple(pair for pair in item.pairs if set(pair) <= kept.keys())
        items.append(dataclasses.replace(item, responses=kept, human=human, pairs=pairs))
    items.sort(key=lambda item: by_hash.index(item.group))  # a larger limit appends
    return as_rubrics(items, Rubric.named(arguments.rubric) if arguments.rubric else None)


def judge_arm(
    backend: Backend, name: str, options: Mapping[str, Any], items: Sequence[BenchItem], folder: Path, reasoning: int
) -> tuple[list[JudgedItem], float]:
    """The lists with their verdicts, and the processor seconds that these took when they were made."""
    criteria = 1 if options.get("criteria") == "separate" else len(items[0].rubric.criteria if items[0].rubric else ())
    written = "readout" not in options
    # A function in place of the drawn orders, for the arm with a fixed one.
    fixed = patch.object(rubric_readout, "draw_criteria_order", lambda rubric, case, **_: list(rubric.criteria))
    file = folder / f"{name}.seconds.json"
    spent: float = json.loads(file.read_text()) if file.exists() else 0.0
    judged: list[JudgedItem] = []
    settings: dict[str, Any] = {"readout": "generate", "sampling": SamplingParams(thinking_budget=reasoning * criteria)}
    store = folder / f"{name}.sqlite3"
    judge = Judge(backend, store=store, screen="off", **{**(settings if written else {}), **options})
    with fixed if "fixed" in name else nullcontext():
        if not written and not spent:
            # The questions about principles alone, whose answers are kept.
            judge.judge(items[0].rubric or items[0].principle, items[0].prompt, ["."])
        for start in range(0, len(items), CHUNK):
            before = time.process_time()
            found = judge_items(judge, items[start : start + CHUNK])
            if not all(isinstance(one.outcome, Verdict) and one.outcome.cached for one in found):
                spent += time.process_time() - before
                file.write_text(json.dumps(spent))
            judged += found
    return judged, spent


def of_first_passes(one: JudgedItem, passes: int) -> JudgedItem:
    """The item as if the judge had made only its first passes."""
    if (verdict := one.verdict) is None:
        return one
    criteria = {
        name: dataclasses.replace(
            each,
            scores={label: fmean(scores[label] for scores in each.pass_scores[:passes]) for label in each.scores}
            if each.pass_scores
            else each.scores,
        )
        for name, each in verdict.criteria.items()
    }
    return JudgedItem(one.item, dataclasses.replace(verdict, criteria=criteria))


def report(judged: Mapping[str, Sequence[JudgedItem]], costs: Mapping[str, tuple[Usage, float]]) -> None:
    names = list(
        dict.fromkeys(
            part.item.criterion for one in judged["head" if "head" in judged else "logits"] for part in one.parts
        )
    )
    columns = ["", *map(str, names), "all", "between criteria: judge", "people", "halo", "tokens read, written", "s"]
    print(f"\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for arm, items in judged.items():
        parts = [part for one in items for part in one.parts if part.verdict is not None]
        found = halo(items).figures
        usage, seconds = costs[arm]
        cells = [agreement([part for part in parts if part.item.criterion == name]) for name in names]
        cells += [
            agreement(parts),
            *(found.get(name) for name in ("criteria_correlation", "criteria_correlation_human", "halo")),
        ]
        cost = f"{usage.prompt_tokens:,}, {usage.completion_tokens:,} | {seconds:.1f}"
        print(f"| {arm} | {' | '.join(map(shown, cells))} | {cost} |")
    first, *others = judged
    print(f"\n| minus {first} | agreement | correlation between criteria |\n|---|---|---|")
    for arm in others:
        gains = agreement_gain(judged[arm], judged[first]), halo_gain(judged[arm], judged[first])
        print(f"| {arm} | {' | '.join(map(shown, gains))} |")


def agreement(parts: Sequence[JudgedItem]) -> Estimate:
    shares = [(share, part.item.group) for part in parts for share in part.observed["pairwise_accuracy"]]
    return mean([share for share, _ in shares], [group for _, group in shares])


def both(one: Sequence[JudgedItem], other: Sequence[JudgedItem]) -> Iterator[tuple[JudgedItem, JudgedItem]]:
    """Lists that have verdicts in both arms."""
    return ((a, b) for a, b in zip(one, other, strict=True) if a.verdict is not None and b.verdict is not None)


def agreement_gain(one: Sequence[JudgedItem], other: Sequence[JudgedItem]) -> Estimate:
    gains, groups = [], []
    for a, b in both(one, other):
        for part, base in zip(a.parts, b.parts, strict=True):
            assert part.verdict is not None and base.verdict is not None
            pairs = part.item.pairs
            of_one, of_base = (pair_credits(each.scores, pairs) for each in (part.verdict, base.verdict))
            gains += [credit - other for credit, other in zip(of_one, of_base, strict=True)]
            groups += [part.item.group] * len(pairs)
    return mean(gains, groups, bounds=(-1.0, 1.0))


def halo_gain(one: Sequence[JudgedItem], other: Sequence[JudgedItem]) -> Estimate | None:
    """The audit with the other arm in place of people."""
    return halo(JudgedItem(labelled_by(a.item, b.verdict), a.outcome) for a, b in both(one, other)).figures.get("halo")


def labelled_by(item: BenchItem, verdict: Verdict | None) -> BenchItem:
    assert verdict is not None
    criteria = {
        name: dataclasses.replace(part, human=verdict.criteria[name].scores, rated=True)
        for name, part in item.criteria.items()
    }
    return dataclasses.replace(item, criteria=criteria)


def shown(figure: Estimate | None) -> str:
    if figure is None or figure.value is None:
        return ""
    return f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f}; {figure.n})"


async def _no_profile(*_: object, **__: object) -> PrincipleProfile:
    return NO_PREFERENCES


@patch.object(PrincipleProfiler, "profile", _no_profile)
def curve(backend: Backend, repeats: int) -> None:
    """Processor time and tokens of a case by number of criteria, without questions about principles alone."""
    named = (Rubric.named(name).criteria for name in ("rag", "support", "summary"))
    criteria = {name: Criterion(text=each.text) for one in named for name, each in one.items()}
    rubrics = {number: Rubric(dict(list(criteria.items())[:number])) for number in (1, 2, 5, 10)}
    print(f"| readout | case | {' | '.join(f'{number} criteria' for number in rubrics)} |\n|---|---|---|---|---|---|")
    for readout in ("logits", "head"):
        if readout == "head" and backend.model != "qwen2.5-coder-1.5b":
            continue
        judge = Judge(backend, readout=readout, screen="off", cache="off")
        judge.judge(rubrics[1], "How do I get to the coast?", SHORT)  # loads what is loaded late
        for shape, (texts, context) in SHAPES.items():
            seconds: dict[int, list[float]] = {number: [] for number in rubrics}
            tokens = {}
            for repeat in range(repeats):
                for number, rubric in rubrics.items():
                    before = time.process_time()
                    verdict = judge.judge(rubric, f"How do I get to town {repeat}?", texts, context=context)
                    seconds[number].append(time.process_time() - before)
                    tokens[number] = verdict.usage.prompt_tokens
            base = min(seconds[1])
            cells = [
                f"{min(each):.2f} s ({min(each) / base:.2f}), {tokens[number]:,} tokens"
                for number, each in seconds.items()
            ]
            print(f"| {readout} | {shape} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
