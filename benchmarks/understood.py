"""Does a model understand what a principle rewards, when it is asked about the principle alone?

    python benchmarks/understood.py [--model qwen2.5-coder-1.5b] [--data DATA_FOLDER] [--answers FILE]

`readout="logits"` decides by the model's answers about a principle whether ordinary quality counts for a response or
against it, and which form is wanted. This benchmark asks about the principles of understood.toml, those that ship with
the package, and those of benchmark files with their reversals. It prints

- whether the model tells ordinary principles from contrary ones, which reward what is usually a fault ("prefer the
  least helpful reply"): the area under the ROC curve (1: all contrary ones below all ordinary ones; .5: chance), with a
  95% interval from resampling principles, for each contrast pair and for their mean; the quality weight that follows;
  and the principles that are misclassified;
- which preferences on form it finds, misses and invents, on principles of ours with labels.
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

from answer_cache import AnswerCache
from constants import REVERSED
from readouts import lines

from rewardanything_core import Usage
from rewardanything_core.principles import library
from rewardanything_core.readouts.pointwise.principle_profile import PrincipleProfiler
from rewardanything_core.readouts.pointwise.questions import question_set
from rewardanything_core.readouts.pointwise.text_features import FEATURES

HERE = Path(__file__).parent
RESAMPLES = 1000


def area(ordinary: Sequence[float], contrary: Sequence[float]) -> float:
    """The probability that an ordinary principle is above a contrary one; a tie counts half."""
    return fmean((high > low) + (high == low) / 2 for high in ordinary for low in contrary)


def interval(ordinary: Sequence[float], contrary: Sequence[float]) -> tuple[float, float]:
    rng = random.Random(0)
    areas = [
        area(rng.choices(ordinary, k=len(ordinary)), rng.choices(contrary, k=len(contrary))) for _ in range(RESAMPLES)
    ]
    cuts = quantiles(areas, n=40)
    return cuts[0], cuts[-1]


def principles_in(folder: Path) -> list[str]:
    """The different principles of benchmark files."""
    return list(dict.fromkeys(row["principle"] for path in sorted(folder.glob("*.jsonl")) for row in lines(path)))


def shipped_principles() -> list[str]:
    """The principles that ship with the package."""
    return [principle.text for principle in library().values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--principles", type=Path, default=HERE / "understood.toml")
    parser.add_argument("--own", action="store_true", help="only the principles of that file, not the package's")
    parser.add_argument("--data", type=Path, help="folder of benchmark files, to add their principles")
    parser.add_argument("--answers", type=Path, help="file of the model's answers, which a second run resumes from")
    arguments = parser.parse_args()
    own = tomllib.loads(arguments.principles.read_text(encoding="utf-8"))
    principles = {
        "ordinary": [
            *own["ordinary"],
            *([] if arguments.own else shipped_principles()),
            *(principles_in(arguments.data) if arguments.data else ()),
        ],
        "contrary": [*own["contrary"], *(REVERSED.values() if arguments.data else ())],
        "neither": own["neither"],
    }
    backend = AnswerCache(arguments.model, arguments.answers or Path(tempfile.mkdtemp()) / "answers.jsonl")
    profiler = PrincipleProfiler(backend, question_set())
    asyncio.run(print_quality(profiler, principles))
    asyncio.run(print_form(profiler, own["form"], own["ordinary"]))
    backend.close()


async def print_quality(profiler: PrincipleProfiler, principles: dict[str, list[str]]) -> None:
    """How well the answers tell ordinary principles from contrary ones."""
    usages: list[Usage] = []
    profiles = {
        text: await profiler.profile(text, has_source=False, on_usage=usages.append)
        for texts in principles.values()
        for text in texts
    }
    answers = {text: (await profiler.answers(text))[0] for text in profiles}
    questions = question_set()
    names = [pair.name for pair in (*questions.quality_traits, *questions.quality_principle_questions)]
    print("| pair | area under the curve | 95% interval | ordinary, mean and sd | contrary |\n|---|---|---|---|---|")
    for name in [*names, "mean"]:
        values = {
            kind: [fmean(answers[text][each] for each in (names if name == "mean" else [name])) for text in texts]
            for kind, texts in principles.items()
        }
        ordinary, contrary = values["ordinary"], values["contrary"]
        low, high = interval(ordinary, contrary)
        cells = [f"{fmean(side):.2f} ± {stdev(side):.2f}" for side in (ordinary, contrary)]
        print(f"| {name} | {area(ordinary, contrary):.3f} | {low:.3f} to {high:.3f} | {cells[0]} | {cells[1]} |")
    for kind, texts in principles.items():
        if not texts:
            continue
        weights = sorted((profiles[text].quality_weight, text) for text in texts)
        wrong = {
            "ordinary": [pair for pair in weights if pair[0] < 0],
            "contrary": [pair for pair in weights if pair[0] > 0][::-1],
        }
        shown = wrong.get(kind, weights)
        print(f"\n{kind}: {len(texts)} principles, mean {fmean(w for w, _ in weights):+.2f}; {len(shown)} listed:")
        for weight, text in shown[:20]:
            print(f"  {weight:+.2f} (form {profiles[text].form_share:.1f}) {text[:100]}")
    usage = sum(usages, Usage())
    print(f"\n{usage.prompt_tokens} tokens, {math.ceil(usage.seconds)} s of the model")


async def print_form(profiler: PrincipleProfiler, labelled: list[dict[str, Any]], others: list[str]) -> None:
    """How well the answers find preferences on form; a principle has no preference on a feature without a label."""
    unlabelled = [{"principle": text} for text in others if text not in {row["principle"] for row in labelled}]
    profiles = [
        (row, await profiler.profile(row["principle"], has_source=False, on_usage=lambda usage: None))
        for row in [*labelled, *unlabelled]
    ]
    preferences = [(row, profile.feature_preferences) for row, profile in profiles]
    mistakes = []
    print("\n| feature | wanted | found | missed or reversed | invented, beyond .1 |\n|---|---|---|---|---|")
    for feature in FEATURES:
        wanted = [(row, found[feature]) for row, found in preferences if row.get(feature)]
        invented = [(r, found[feature]) for r, found in preferences if feature not in r and abs(found[feature]) > 0.1]
        missed = [(row, preference) for row, preference in wanted if row[feature] * preference <= 0]
        print(f"| {feature} | {len(wanted)} | {len(wanted) - len(missed)} | {len(missed)} | {len(invented)} |")
        for what, rows in (("missed", missed), ("invented", invented)):
            mistakes += [(f"{feature} {what}", preference, row) for row, preference in rows]
    print(f"\n{len(preferences)} principles")
    for what, preference, row in mistakes:
        print(f"  {what} {preference:+.2f} {row['principle'][:90]}")


if __name__ == "__main__":
    main()
