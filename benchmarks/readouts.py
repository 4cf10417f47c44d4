"""Compare the readouts: the same cases judged under each, against people's judgements.

    python benchmarks/readouts.py DATA_FOLDER [--model qwen2.5-coder-1.5b] [--sets styleflips,llmbar] [--groups 8]

Prints, for each data set and readout, with 95% intervals from resampling prompts: the share of pairs ordered as people
order them, by scores (a tie counts half) and by ranking; the same for flip questions, and the share of flips with both
questions right; Kendall's tau-b where people gave scores; tokens processed and generated and the model's seconds per
case. With --store and --answers a second run resumes the first; tokens and seconds are then those of the first
judgement, and cached answers count nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from answer_cache import AnswerCache
from toy_flips import FLIPS

from rewardanything_core import Case, Judge, SamplingParams, Usage, Verdict
from rewardanything_core.agreement.intervals import CORRELATION, Estimate
from rewardanything_core.agreement.intervals import mean as estimated
from rewardanything_core.agreement.lists import kendall_tau_b
from rewardanything_core.backends.base import Backend
from rewardanything_core.backends.local.backend import LocalBackend
from rewardanything_core.weights.fetch import fetch

DATA_SETS = ("toy", "styleflips", "summeval", "topicalchat", "llmbar", "hhh", "rm-bench")
MAX_RESPONSES = 8
MAX_CHARACTERS = 9_000

Row = dict[str, Any]
Pair = tuple[Row, str, str]


def lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def toy() -> tuple[list[Row], list[tuple[Pair, Pair]]]:
    """All pairs of toy_flips.py as rows and flips."""
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
    max_responses: int = MAX_RESPONSES,
    max_characters: int = MAX_CHARACTERS,
) -> tuple[list[Row], list[tuple[Pair, Pair]]]:
    """The rows of some groups and the flips among them.

    Args:
        folder: The folder with the data sets.
        name: A data set.
        groups: Number of groups, chosen by hash.
        skip: Number of groups to skip before them.
        max_responses: Number of responses to keep of each list.
        max_characters: Groups whose prompt and responses are longer are excluded.
    """
    if name == "toy":
        return toy()
    by_group: dict[str, list[Row]] = defaultdict(list)
    for row in lines(folder / f"{name}.jsonl"):
        first = sorted(row["responses"], key=lambda r: int(r[1:]))[:max_responses]
        by_group[row["group"]].append(row | {"responses": {r: row["responses"][r] for r in first}})
    short = [g for g, rows in by_group.items() if size(rows[0]) <= max_characters]
    chosen = sorted(short, key=lambda g: hashlib.sha256(g.encode()).hexdigest())[skip : skip + groups]
    rows = [row for group in chosen for row in by_group[group]]
    by_criterion = {(row["group"], row["meta"].get("criterion")): row for row in rows}
    flips = []
    for flip in lines(folder / "flip_pairs" / f"{name}.jsonl"):
        a, b = flip["better_under_a"], flip["better_under_b"]
        row_a, row_b = by_criterion.get((flip["group"], flip["a"])), by_criterion.get((flip["group"], flip["b"]))
        if row_a and row_b and {a, b} <= set(row_a["responses"]):
            flips.append(((row_a, a, b), (row_b, b, a)))
    return rows, flips


def size(row: Row) -> int:
    return len(str(row["prompt"])) + sum(map(len, row["responses"].values()))


def right(gap: float) -> float:
    return 0.5 if gap == 0 else float(gap > 0)


def judges(model: str, names: list[str], store: str | None, answers: Path | None) -> Iterator[tuple[str, Judge]]:
    backend: Backend = LocalBackend(fetch(model), name=model)
    scorer = backend if answers is None else AnswerCache(model, answers)
    plain = SamplingParams(thinking_budget=0)
    cache: dict[str, Any] = {"store": store, "cache": "on"} if store else {"cache": "off"}
    makers = {
        "json": lambda: Judge(backend, sampling=plain, readout="generate", **cache),
        "json, expected": lambda: Judge(backend, sampling=plain, readout="generate", expected_scores=True, **cache),
        "json, 2 passes": lambda: Judge(backend, sampling=plain, readout="generate", passes=2, **cache),
        "json, 4 passes": lambda: Judge(backend, sampling=plain, readout="generate", passes=4, **cache),
        "logits": lambda: Judge(scorer, readout="logits", **cache),
        "logits, 2 wordings": lambda: Judge(scorer, readout="logits", passes=2, **cache),
        "logits, 4 wordings": lambda: Judge(scorer, readout="logits", passes=4, **cache),
    }
    for name, make in makers.items():
        if name in names:
            yield name, make()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument(
        "--sets", default=",".join(DATA_SETS), help="optionally with the number of groups: llmbar:20,summeval:2"
    )
    parser.add_argument("--readouts", default="json|logits", help="names separated by |")
    parser.add_argument("--groups", type=int, default=8, help="number of groups of each data set")
    parser.add_argument("--skip", type=int, default=0, help="number of groups to skip in each data set")
    parser.add_argument(
        "--responses", type=int, default=MAX_RESPONSES, help="number of responses to judge of each list"
    )
    parser.add_argument("--characters", type=int, default=MAX_CHARACTERS, help="exclude longer prompts and lists")
    parser.add_argument("--store", help="verdict store, which a second run resumes from")
    parser.add_argument("--answers", type=Path, help="file of the model's answers, which a second run resumes from")
    parser.add_argument("--verdicts", type=Path, help="write every verdict to this JSONL file")
    arguments = parser.parse_args()
    parts = [part.partition(":") for part in arguments.sets.split(",")]
    sets = {name: int(number or arguments.groups) for name, _, number in parts}
    columns = ["set", "prompts, cases", "readout", "pairs by scores", "by ranking", "flips by scores", "by ranking"]
    columns += [
        "both right by scores",
        "by ranking",
        "tau-b",
        "tokens processed, generated per case",
        "seconds per case",
    ]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    for readout, judge in judges(arguments.model, arguments.readouts.split("|"), arguments.store, arguments.answers):
        for name, groups in sets.items():
            rows, flips = sampled(
                arguments.data,
                name,
                groups,
                skip=arguments.skip,
                max_responses=arguments.responses,
                max_characters=arguments.characters,
            )
            cases = [Case(row["principle"], row["prompt"], row["responses"], id=row["id"]) for row in rows]
            outcomes = dict(zip([row["id"] for row in rows], judge.judge_batch(cases), strict=True))
            verdicts = {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, Verdict)}
            if arguments.verdicts:
                with arguments.verdicts.open("a") as file:
                    for key, verdict in verdicts.items():
                        file.write(json.dumps({"readout": readout, "set": name, "id": key, **verdict.to_dict()}) + "\n")
            prompts = len({row["group"] for row in rows})
            cells = " | ".join(map(formatted, measured(rows, flips, verdicts)))
            usage = sum((verdict.usage for verdict in verdicts.values()), Usage())
            number = max(1, len(verdicts))
            cost = f"{usage.prompt_tokens / number:,.0f}, {usage.completion_tokens / number:,.0f}"
            print(
                f"| {name} | {prompts}, {len(rows)} | {readout} | {cells} | {cost} | {usage.seconds / number:.1f} |",
                flush=True,
            )
            if len(verdicts) < len(rows):
                print(f"{len(rows) - len(verdicts)} judgements of {name} failed.", flush=True)


def measured(rows: list[Row], flips: list[tuple[Pair, Pair]], verdicts: dict[str, Verdict]) -> Iterator[Estimate]:
    """Pairs, flip questions and both right, each by scores and by ranking; and tau-b. Failures are excluded."""
    judged = [row for row in rows if row["id"] in verdicts]
    pairs = [(row, a, b) for row in judged for a, b in row["pairs"] if {a, b} <= set(row["responses"])]
    judged_flips = [flip for flip in flips if all(row["id"] in verdicts for row, _, _ in flip)]

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
        questions = [pair for flip in judged_flips for pair in flip]
        yield estimated([right(gap(pair)) for pair in questions], [pair[0]["group"] for pair in questions])
    for gap in gaps:
        both_right = [float(min(map(gap, flip)) > 0) for flip in judged_flips]
        yield estimated(both_right, [flip[0][0]["group"] for flip in judged_flips])
    taus = []
    for row in judged:
        human = {label: score for label, score in (row.get("human_scores") or {}).items() if label in row["responses"]}
        if len(human) > 1 and (tau := kendall_tau_b(verdicts[row["id"]].scores, human)) is not None:
            taus.append((tau, row["group"]))
    yield estimated([tau for tau, _ in taus], [group for _, group in taus], bounds=CORRELATION)


def formatted(estimate: Estimate) -> str:
    if estimate.value is None:
        return ""
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f}; {estimate.n})"


if __name__ == "__main__":
    main()
