"""What a model writes against what is read off it: the same cases under each readout, against people's answers.

    python benchmarks/readouts.py DATA_FOLDER [--model qwen2.5-coder-1.5b] [--sets styleflips,llmbar] [--groups 8]

Prints, for each set and readout: the share of pairs ordered as people order them (a tie counts half), by scores; the
same for flip questions, and the share of flips right on both sides; tokens read and written; and CPU seconds, which
depend less than the clock on what else the machine does. At the end: how often the higher score was right, by the
probability of that which follows from the gap of the scores and their spreads.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from toy_flips import FLIPS

from rewardanything_core import Case, Judge, SamplingParams, Verdict
from rewardanything_core.backends.local import LocalBackend
from rewardanything_core.embedded import fetch

SETS = ("toy", "styleflips", "summeval", "topicalchat", "llmbar", "hhh", "rm-bench")
MOST_RESPONSES = 8
MOST_CHARACTERS = 9_000

Row = dict[str, Any]
Pair = tuple[Row, str, str]


def lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def toy() -> tuple[list[Row], list[tuple[Pair, Pair]]]:
    """The short, obvious pairs of toy_flips.py, all of them."""
    rows: list[Row] = []
    for number, (under_a, under_b, prompt, a, b) in enumerate(FLIPS):
        row = {"group": f"toy/{number}", "prompt": prompt, "responses": {"a": a, "b": b}}
        rows.append(row | {"id": f"toy/{number}/a", "principle": under_a, "pairs": [["a", "b"]]})
        rows.append(row | {"id": f"toy/{number}/b", "principle": under_b, "pairs": [["b", "a"]]})
    return rows, [((a, "a", "b"), (b, "b", "a")) for a, b in zip(rows[::2], rows[1::2], strict=True)]


def sampled(
    folder: Path, name: str, groups: int, *, skip: int = 0, most: int = MOST_RESPONSES
) -> tuple[list[Row], list[tuple[Pair, Pair]]]:
    """Rows of some groups, of the first responses of each, without the longest ones; and their flips."""
    if name == "toy":
        return toy()
    by_group: dict[str, list[Row]] = defaultdict(list)
    for row in lines(folder / f"{name}.jsonl"):
        kept = sorted(row["responses"], key=lambda r: int(r[1:]))[:most]
        by_group[row["group"]].append(row | {"responses": {r: row["responses"][r] for r in kept}})
    short = [g for g, rows in by_group.items() if size(rows[0]) <= MOST_CHARACTERS]
    chosen = sorted(short, key=lambda g: hashlib.sha256(g.encode()).hexdigest())[skip : skip + groups]
    rows = [row for group in chosen for row in by_group[group]]
    found = {(row["group"], row["meta"].get("criterion")): row for row in rows}
    flips = []
    for flip in lines(folder / "flip_pairs" / f"{name}.jsonl"):
        a, b = flip["better_under_a"], flip["better_under_b"]
        one, other = found.get((flip["group"], flip["a"])), found.get((flip["group"], flip["b"]))
        if one and other and {a, b} <= set(one["responses"]):
            flips.append(((one, a, b), (other, b, a)))
    return rows, flips


def size(row: Row) -> int:
    return len(str(row["prompt"])) + sum(map(len, row["responses"].values()))


def right(gap: float) -> float:
    return 0.5 if gap == 0 else float(gap > 0)


def mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else math.nan


def judges(model: str, wanted: list[str], store: str | None) -> Iterator[tuple[str, Judge]]:
    backend = LocalBackend(fetch(model), name=model)
    plain = SamplingParams(thinking_budget=0)
    cache: dict[str, Any] = {"store": store, "cache": "on"} if store else {"cache": "off"}
    every = {
        "json": lambda: Judge(backend, sampling=plain, readout="generate", **cache),
        "json, expected": lambda: Judge(backend, sampling=plain, readout="generate", expected_scores=True, **cache),
        "json, 2 passes": lambda: Judge(backend, sampling=plain, readout="generate", passes=2, **cache),
        "logits": lambda: Judge(backend, readout="logits", **cache),
        "logits, 2 wordings": lambda: Judge(backend, readout="logits", passes=2, **cache),
        "logits, 4 wordings": lambda: Judge(backend, readout="logits", passes=4, **cache),
    }
    for name, make in every.items():
        if name in wanted:
            yield name, make()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--readouts", default="json|logits", help="names with | between them")
    parser.add_argument("--groups", type=int, default=8, help="groups of prompts of each set")
    parser.add_argument(
        "--store", help="keep verdicts in this file, so that a second run goes on (figures of cost then do not count)"
    )
    parser.add_argument("--verdicts", type=Path, help="write every verdict to this JSONL file")
    arguments = parser.parse_args()
    reliability: dict[str, list[tuple[float, float]]] = defaultdict(list)
    print("| set | groups, cases | readout | pairs | flips (n) | both right | tokens read, written | CPU s a case |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for readout, judge in judges(arguments.model, arguments.readouts.split("|"), arguments.store):
        # What is asked once for each model is no cost of any set.
        judge.judge("Be polite.", "Hello?", {"a": "Good morning.", "b": "What."})
        for name in arguments.sets.split(","):
            rows, flips = sampled(arguments.data, name, arguments.groups)
            before, started = judge.usage, time.process_time()
            cases = [Case(row["principle"], row["prompt"], row["responses"], id=row["id"]) for row in rows]
            outcomes = dict(zip([row["id"] for row in rows], judge.judge_batch(cases), strict=True))
            seconds = (time.process_time() - started) / len(rows)
            verdicts = {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, Verdict)}
            pairs = [(row, a, b) for row in rows for a, b in row["pairs"] if {a, b} <= set(row["responses"])]

            def gap(pair: Pair, verdicts: dict[str, Verdict] = verdicts) -> float:
                row, better, worse = pair
                verdict = verdicts.get(row["id"])
                return verdict.scores[better] - verdict.scores[worse] if verdict else 0.0

            for row, a, b in pairs:
                if verdict := verdicts.get(row["id"]):
                    off = math.hypot(verdict.spread[a], verdict.spread[b])
                    if off and (difference := gap((row, a, b))):
                        sure = 0.5 * (1 + math.erf(abs(difference) / off / math.sqrt(2)))
                        reliability[readout].append((sure, right(difference)))
            if arguments.verdicts:
                with arguments.verdicts.open("a") as file:
                    for row in rows:
                        if verdict := verdicts.get(row["id"]):
                            record = {"readout": readout, "set": name, "id": row["id"], **verdict.to_dict()}
                            file.write(json.dumps(record) + "\n")
            accuracy = mean(right(gap(pair)) for pair in pairs)
            flipped = mean(right(gap(pair)) for flip in flips for pair in flip)
            both = mean(float(min(map(gap, flip)) > 0) for flip in flips)
            read = judge.usage.prompt_tokens - before.prompt_tokens
            written = judge.usage.completion_tokens - before.completion_tokens
            groups = len({row["group"] for row in rows})
            print(
                f"| {name} | {groups}, {len(rows)} | {readout} | {accuracy:.2f} ({len(pairs)}) "
                f"| {flipped:.2f} ({2 * len(flips)}) | {both:.2f} | {read:,}, {written:,} | {seconds:.1f} |",
                flush=True,
            )
            if len(verdicts) < len(rows):
                print(f"{len(rows) - len(verdicts)} judgements of {name} failed.", flush=True)
    for readout, found in reliability.items():
        print(f"\n{readout}: probability that follows from gap and spreads, against how often it was so")
        for low in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
            high = {0.9: 0.95, 0.95: 1.01}.get(low, low + 0.1)
            inside = [(sure, good) for sure, good in found if low <= sure < high]
            if inside:
                print(f"  {mean(s for s, _ in inside):.2f}  {mean(g for _, g in inside):.2f}  of {len(inside)}")


if __name__ == "__main__":
    main()
