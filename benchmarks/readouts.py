"""What a model writes against what is read off it: the same cases under each readout, against people's answers.

    python benchmarks/readouts.py DATA_FOLDER [--model qwen2.5-coder-1.5b] [--sets styleflips,llmbar] [--groups 8]

Prints, for each set and readout, with 95% intervals from resampling prompts: the share of pairs ordered as people order
them, by scores (a tie counts half) and by ranking; the same for flip questions, and the share of flips right on both
sides; Kendall's tau-b where people gave scores; tokens read and written, and the model's seconds, a case. With --store
and --odds a second run goes on where the first stopped; tokens and seconds are then those of when a case was judged,
and of what is kept in --odds nothing is counted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kept_odds import KeptOdds
from toy_flips import FLIPS

from rewardanything_core import Case, Judge, SamplingParams, Usage, Verdict
from rewardanything_core.agreement.intervals import CORRELATION, Estimate
from rewardanything_core.agreement.intervals import mean as estimated
from rewardanything_core.agreement.lists import kendall_tau_b
from rewardanything_core.backends.base import Backend
from rewardanything_core.backends.local.backend import LocalBackend
from rewardanything_core.weights.fetch import fetch

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
    folder: Path,
    name: str,
    groups: int,
    *,
    skip: int = 0,
    most: int = MOST_RESPONSES,
    longest: int = MOST_CHARACTERS,
) -> tuple[list[Row], list[tuple[Pair, Pair]]]:
    """Rows of some groups, of the first responses of each, without the longest ones; and their flips."""
    if name == "toy":
        return toy()
    by_group: dict[str, list[Row]] = defaultdict(list)
    for row in lines(folder / f"{name}.jsonl"):
        kept = sorted(row["responses"], key=lambda r: int(r[1:]))[:most]
        by_group[row["group"]].append(row | {"responses": {r: row["responses"][r] for r in kept}})
    short = [g for g, rows in by_group.items() if size(rows[0]) <= longest]
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


def judges(model: str, wanted: list[str], store: str | None, odds: Path | None) -> Iterator[tuple[str, Judge]]:
    backend: Backend = LocalBackend(fetch(model), name=model)
    reader = backend if odds is None else KeptOdds(model, odds)
    plain = SamplingParams(thinking_budget=0)
    cache: dict[str, Any] = {"store": store, "cache": "on"} if store else {"cache": "off"}
    every = {
        "json": lambda: Judge(backend, sampling=plain, readout="generate", **cache),
        "json, expected": lambda: Judge(backend, sampling=plain, readout="generate", expected_scores=True, **cache),
        "json, 2 passes": lambda: Judge(backend, sampling=plain, readout="generate", passes=2, **cache),
        "json, 4 passes": lambda: Judge(backend, sampling=plain, readout="generate", passes=4, **cache),
        "logits": lambda: Judge(reader, readout="logits", **cache),
        "logits, 2 wordings": lambda: Judge(reader, readout="logits", passes=2, **cache),
        "logits, 4 wordings": lambda: Judge(reader, readout="logits", passes=4, **cache),
    }
    for name, make in every.items():
        if name in wanted:
            yield name, make()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--sets", default=",".join(SETS), help="each may say its groups: llmbar:20,summeval:2")
    parser.add_argument("--readouts", default="json|logits", help="names with | between them")
    parser.add_argument("--groups", type=int, default=8, help="groups of prompts of each set")
    parser.add_argument("--skip", type=int, default=0, help="leave out so many groups of each set")
    parser.add_argument("--responses", type=int, default=MOST_RESPONSES, help="judge so many of each list")
    parser.add_argument("--characters", type=int, default=MOST_CHARACTERS, help="leave out longer prompts and lists")
    parser.add_argument("--store", help="keep verdicts in this file, so that a second run goes on")
    parser.add_argument("--odds", type=Path, help="keep what was read off in this file, likewise")
    parser.add_argument("--verdicts", type=Path, help="write every verdict to this JSONL file")
    arguments = parser.parse_args()
    parts = [part.partition(":") for part in arguments.sets.split(",")]
    sets = {name: int(number or arguments.groups) for name, _, number in parts}
    columns = ["set", "prompts, cases", "readout", "pairs by scores", "by ranking", "flips by scores", "by ranking"]
    columns += ["both right by scores", "by ranking", "tau-b", "tokens read, written a case", "seconds a case"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    for readout, judge in judges(arguments.model, arguments.readouts.split("|"), arguments.store, arguments.odds):
        for name, groups in sets.items():
            rows, flips = sampled(
                arguments.data,
                name,
                groups,
                skip=arguments.skip,
                most=arguments.responses,
                longest=arguments.characters,
            )
            cases = [Case(row["principle"], row["prompt"], row["responses"], id=row["id"]) for row in rows]
            outcomes = dict(zip([row["id"] for row in rows], judge.judge_batch(cases), strict=True))
            verdicts = {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, Verdict)}
            if arguments.verdicts:
                with arguments.verdicts.open("a") as file:
                    for key, verdict in verdicts.items():
                        file.write(json.dumps({"readout": readout, "set": name, "id": key, **verdict.to_dict()}) + "\n")
            prompts = len({row["group"] for row in rows})
            cells = " | ".join(map(shown, measured(rows, flips, verdicts)))
            spent = sum((verdict.usage for verdict in verdicts.values()), Usage())
            number = max(1, len(verdicts))
            cost = f"{spent.prompt_tokens / number:,.0f}, {spent.completion_tokens / number:,.0f}"
            print(
                f"| {name} | {prompts}, {len(rows)} | {readout} | {cells} | {cost} | {spent.seconds / number:.1f} |",
                flush=True,
            )
            if len(verdicts) < len(rows):
                print(f"{len(rows) - len(verdicts)} judgements of {name} failed.", flush=True)


def measured(rows: list[Row], flips: list[tuple[Pair, Pair]], verdicts: dict[str, Verdict]) -> Iterator[Estimate]:
    """Pairs, flips and both right, each by scores and by ranking, and tau-b; a failed judgement is left out."""
    there = [row for row in rows if row["id"] in verdicts]
    pairs = [(row, a, b) for row in there for a, b in row["pairs"] if {a, b} <= set(row["responses"])]
    whole = [flip for flip in flips if all(row["id"] in verdicts for row, _, _ in flip)]

    def by_score(pair: Pair) -> float:
        row, better, worse = pair
        scores = verdicts[row["id"]].scores
        return scores[better] - scores[worse]

    def by_rank(pair: Pair) -> float:
        row, better, worse = pair
        ranking = verdicts[row["id"]].ranking
        return ranking.index(worse) - ranking.index(better)

    gaps: tuple[Callable[[Pair], float], ...] = (by_score, by_rank)
    for gap in gaps:
        yield estimated([right(gap(pair)) for pair in pairs], [pair[0]["group"] for pair in pairs])
    for gap in gaps:
        asked = [pair for flip in whole for pair in flip]
        yield estimated([right(gap(pair)) for pair in asked], [pair[0]["group"] for pair in asked])
    for gap in gaps:
        yield estimated([float(min(map(gap, flip)) > 0) for flip in whole], [flip[0][0]["group"] for flip in whole])
    taus = []
    for row in there:
        human = {label: score for label, score in (row.get("human_scores") or {}).items() if label in row["responses"]}
        if len(human) > 1 and (tau := kendall_tau_b(verdicts[row["id"]].scores, human)) is not None:
            taus.append((tau, row["group"]))
    yield estimated([tau for tau, _ in taus], [group for _, group in taus], bounds=CORRELATION)


def shown(found: Estimate) -> str:
    return "" if found.value is None else f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f}; {found.n})"


if __name__ == "__main__":
    main()
