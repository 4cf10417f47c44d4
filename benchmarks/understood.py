"""Does a model understand what a principle wants, when it is asked about the principle alone?

    python benchmarks/understood.py [--model qwen2.5-coder-1.5b] [--data DATA_FOLDER] [--odds FILE]

`readout="logits"` counts common quality for a response, or against it, and measures its form, by what the model says of
the principle. Asked here about the principles of understood.toml, those that the package names, and those of benchmark
files with their contraries. Prints

- whether it knows which principles want the contrary of what is good, "prefer the least helpful reply": the area under
  the ROC curve (1: all contrary ones below all ordinary ones; .5: chance), with a 95% interval from resampling
  principles, for each question and for all together; what `quality` follows; and what is taken for the other kind;
- which demands on form it finds, misses and makes up, where our own principles are labelled.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, quantiles, stdev
from typing import Any

from constants import REVERSED
from kept_odds import KeptOdds
from readouts import lines

from rewardanything_core import Usage
from rewardanything_core.principles import library
from rewardanything_core.readouts.logits import text_features
from rewardanything_core.readouts.logits.principle_profile import Understanding
from rewardanything_core.readouts.logits.questions import question_set

HERE = Path(__file__).parent
DRAWS = 1000


def area(ordinary: Sequence[float], contrary: Sequence[float]) -> float:
    """How often an ordinary principle is above a contrary one; a tie counts half."""
    return fmean((high > low) + (high == low) / 2 for high in ordinary for low in contrary)


def interval(ordinary: Sequence[float], contrary: Sequence[float]) -> tuple[float, float]:
    draw = random.Random(0)
    areas = [
        area(draw.choices(ordinary, k=len(ordinary)), draw.choices(contrary, k=len(contrary))) for _ in range(DRAWS)
    ]
    cuts = quantiles(areas, n=40)
    return cuts[0], cuts[-1]


def of_data(folder: Path) -> list[str]:
    """The principles of benchmark files, each once."""
    return list(dict.fromkeys(row["principle"] for path in sorted(folder.glob("*.jsonl")) for row in lines(path)))


def named() -> list[str]:
    """The principles that ship with the package."""
    return [principle.text for principle in library().values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--principles", type=Path, default=HERE / "understood.toml")
    parser.add_argument("--own", action="store_true", help="only the principles of that file, none of the package")
    parser.add_argument("--data", type=Path, help="folder of benchmark files, for their principles too")
    parser.add_argument("--odds", type=Path, help="keep the model's answers in this file, so that a second run goes on")
    arguments = parser.parse_args()
    own = tomllib.loads(arguments.principles.read_text(encoding="utf-8"))
    kinds = {
        "ordinary": [
            *own["ordinary"],
            *([] if arguments.own else named()),
            *(of_data(arguments.data) if arguments.data else ()),
        ],
        "contrary": [*own["contrary"], *(REVERSED.values() if arguments.data else ())],
        "neither": own["neither"],
    }
    backend = KeptOdds(arguments.model, arguments.odds or Path(tempfile.mkdtemp()) / "odds.jsonl")
    understanding = Understanding(backend, question_set())
    asyncio.run(contrary(understanding, kinds))
    asyncio.run(form(understanding, own["form"], own["ordinary"]))
    backend.close()


async def contrary(understanding: Understanding, kinds: dict[str, list[str]]) -> None:
    spent: list[Usage] = []
    wants = {
        text: await understanding.of(text, source=False, spend=spent.append)
        for texts in kinds.values()
        for text in texts
    }
    answers = {text: (await understanding.about_itself(text))[0] for text in wants}
    wording = question_set()
    names = [one.name for one in (*wording.quality_traits, *wording.quality_views)]
    print("| asked | area under the curve | 95% interval | ordinary, mean and sd | contrary |\n|---|---|---|---|---|")
    for name in [*names, "all"]:
        found = {
            kind: [fmean(answers[text][one] for one in (names if name == "all" else [name])) for text in texts]
            for kind, texts in kinds.items()
        }
        ordinary, contrary = found["ordinary"], found["contrary"]
        low, high = interval(ordinary, contrary)
        cells = [f"{fmean(values):.2f} ± {stdev(values):.2f}" for values in (ordinary, contrary)]
        print(f"| {name} | {area(ordinary, contrary):.3f} | {low:.3f} to {high:.3f} | {cells[0]} | {cells[1]} |")
    for kind, texts in kinds.items():
        values = sorted((wants[text].quality, text) for text in texts)
        told = {"ordinary": [v for v in values if v[0] < 0], "contrary": [v for v in values if v[0] > 0][::-1]}
        wrong = told.get(kind, values)
        if not values:
            continue
        print(f"\n{kind}: {len(texts)} principles, mean {fmean(v for v, _ in values):+.2f}; {len(wrong)} shown:")
        for value, text in wrong[:20]:
            print(f"  {value:+.2f} (form {wants[text].formality:.1f}) {text[:100]}")
    total = sum(spent, Usage())
    print(f"\n{total.prompt_tokens} tokens, {math.ceil(total.seconds)} s of the model")


async def form(understanding: Understanding, labelled: list[dict[str, Any]], others: list[str]) -> None:
    """What is wanted of form: a fact without a label is one that the principle is silent on."""
    silent = [{"principle": text} for text in others if text not in {row["principle"] for row in labelled}]
    print("\n| fact | wanted | found | missed or turned round | made up, beyond .1 |\n|---|---|---|---|---|")
    found = [
        (row, (await understanding.of(row["principle"], source=False, spend=lambda usage: None)).demands)
        for row in [*labelled, *silent]
    ]
    told = []
    for fact in text_features.MEASURES:
        wanted = [(row, demands[fact]) for row, demands in found if row.get(fact)]
        made_up = [(row, demands[fact]) for row, demands in found if fact not in row and abs(demands[fact]) > 0.1]
        missed = [(row, demand) for row, demand in wanted if row[fact] * demand <= 0]
        print(f"| {fact} | {len(wanted)} | {len(wanted) - len(missed)} | {len(missed)} | {len(made_up)} |")
        told += [
            (f"{fact} {what}", demand, row)
            for what, rows in (("missed", missed), ("made up", made_up))
            for row, demand in rows
        ]
    print(f"\n{len(found)} principles")
    for what, demand, row in told:
        print(f"  {what} {demand:+.2f} {row['principle'][:90]}")


if __name__ == "__main__":
    main()
