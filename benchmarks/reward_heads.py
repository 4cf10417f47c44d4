"""Fit the reward head that ships for a model, and measure it on families of principles and data sets it never saw.

    python benchmarks/reward_heads.py DATA_FOLDER --states FOLDER [--layers 18,21,24] [--write HEAD.safetensors]

Reads hidden states of the families of PrincipleFlips and of short prompts of the data sets, and keeps them in FOLDER.
For each layer and strength of the penalty it prints the accuracy on the training and validation families, cross-
validated by family (questions; both right), and on every data set, none of which the head is fitted to. With --write it
fits the ensemble of the last layer and the given strength, writes it, and prints its accuracy on the test families.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from readouts import lines, sampled

from rewardanything_core import Case
from rewardanything_core.agreement.intervals import Estimate, mean
from rewardanything_core.agreement.pairs import credit
from rewardanything_core.backends.local.backend import LocalBackend
from rewardanything_core.readouts.pointwise.head_training import (
    STRENGTHS,
    PairData,
    fit_ensemble,
    fit_linear,
    out_of_fold_margins,
    slope,
)
from rewardanything_core.readouts.pointwise.questions import question_set
from rewardanything_core.readouts.pointwise.reward_head import RewardHead
from rewardanything_core.types import Message
from rewardanything_core.weights.fetch import fetch

FLIPS = Path(__file__).parent / "principleflips"
SETS = {
    "llmbar": (198, 8, 2200),
    "hhh": (221, 8, 2500),
    "topicalchat": (16, 6, 5000),
    "summeval": (6, 8, 5000),
    "rm-bench": (14, 6, 5000),
}
"""Data set -> number of prompts, of responses to each, and of characters of the longest."""

Row = dict[str, Any]
Prompt = tuple[Message, ...]


class StateCache:
    """Hidden states of one layer, in a file.

    Args:
        model: Name of an embedded model.
        folder: Where the files are.
        layer: The number of layers to run.
    """

    def __init__(self, model: str, folder: Path, layer: int) -> None:
        self.model, self._layer, self._path = model, layer, folder / f"{model}-{layer}.npz"
        self.states: dict[str, np.ndarray] = {}
        if self._path.exists():
            content = np.load(self._path)
            self.states = dict(zip(content["keys"].tolist(), content["states"], strict=True))

    def read(self, rows: Sequence[Row], backend: LocalBackend) -> None:
        """Compute the missing states of the question that heads are fitted to.

        Args:
            rows: Rows of data sets.
            backend: The model.
        """
        self.add({key(row, label): fit_prompt(row, label) for row in rows for label in row["responses"]}, backend)

    def add(self, prompts: Mapping[str, Prompt], backend: LocalBackend) -> None:
        """Compute the missing states of any prompts.

        Args:
            prompts: Key -> prompt.
            backend: The model.
        """
        missing = [each for each in prompts if each not in self.states]
        for start in range(0, len(missing), 128):
            part = missing[start : start + 128]
            result = asyncio.run(backend.hidden_states([prompts[each] for each in part], self._layer))
            self.states.update(zip(part, result.states, strict=True))
            keys, states = list(self.states), np.stack(list(self.states.values())).astype(np.float16)
            np.savez(self._path, keys=np.array(keys), states=states)
            print(f"layer {self._layer}: {start + len(part)} of {len(missing)} prompts", flush=True)

    def pairs(self, rows: Sequence[Row]) -> PairData:
        """The pairs of some rows as differences."""
        numbers = {group: number for number, group in enumerate(dict.fromkeys(row["group"] for row in rows))}
        pairs = [(row, better, worse) for row in rows for better, worse in row["pairs"]]
        better = np.stack([self.states[key(row, label)] for row, label, _ in pairs]).astype(np.float64)
        worse = np.stack([self.states[key(row, label)] for row, _, label in pairs]).astype(np.float64)
        return PairData.of(better, worse, np.array([numbers[row["group"]] for row, _, _ in pairs]))


def key(row: Row, label: str) -> str:
    return f"{row['id']}|{label}"


def fit_prompt(row: Row, label: str, principle: str | None = None) -> Prompt:
    """The question that heads are fitted to.

    Args:
        row: A row of a data set.
        label: The response.
        principle: Another principle than the row's.
    """
    case = Case(principle or row["principle"], row["prompt"], row["responses"])
    return question_set().fit_messages(case, label, 0, escape_special_tokens=False)


def flips_rows(*splits: str) -> list[Row]:
    return [row for split in splits for row in lines(FLIPS / f"{split}.jsonl")]


def data_set(folder: Path, name: str) -> list[Row]:
    groups, responses, characters = SETS[name]
    rows, _ = sampled(folder, name, groups, max_responses=responses, max_characters=characters)
    return [row | {"pairs": [pair for pair in row["pairs"] if set(pair) <= set(row["responses"])]} for row in rows]


def both_right(margins: Iterable[float]) -> list[float]:
    """Rows of PrincipleFlips come in twos: a pair of responses under one principle and under the other."""
    values = list(margins)
    return [float(min(pair) > 0) for pair in zip(values[::2], values[1::2], strict=True)]


def shown(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def report(name: str, rows: Sequence[Row], margins: np.ndarray) -> None:
    groups = [row["group"] for row in rows for _ in row["pairs"]]
    text = shown(mean([credit(margin, 0) for margin in margins], groups))
    if rows[0]["source"] == "principleflips":
        text += f"; both right {shown(mean(both_right(margins), groups[::2]))}"
        longer = [len(row["responses"][a]) > len(row["responses"][b]) for row in rows for a, b in row["pairs"]]
        for side, wanted in (("longer", True), ("shorter", False)):
            kept = [(m > 0, g) for m, g, is_longer in zip(margins, groups, longer, strict=True) if is_longer is wanted]
            text += f"; right one {side} {np.mean([right for right, _ in kept]):.3f}"
    print(f"  {name}: {len(margins)} pairs, {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--states", type=Path, required=True, help="folder for hidden states")
    parser.add_argument("--layers", default="24", help="numbers of layers to run, separated by commas")
    parser.add_argument("--strength", type=float, default=1e-3)
    parser.add_argument("--write", type=Path, help="fit the head to training and validation families and write it")
    arguments = parser.parse_args()
    arguments.states.mkdir(parents=True, exist_ok=True)
    backend = LocalBackend(fetch(arguments.model), name=arguments.model)
    fitted, tested = flips_rows("train", "validation"), flips_rows("test")
    sets = {name: data_set(arguments.data, name) for name in SETS}
    for layer in map(int, arguments.layers.split(",")):
        cache = StateCache(arguments.model, arguments.states, layer)
        cache.read([*fitted, *tested, *(row for rows in sets.values() for row in rows)], backend)
        data = cache.pairs(fitted)
        for strength in STRENGTHS:
            print(f"layer {layer}, strength {strength}")
            report("PrincipleFlips, cross-validated", fitted, out_of_fold_margins(data, strength))
            weights = fit_linear(data, strength)
            for name, rows in sets.items():
                report(name, rows, cache.pairs(rows).differences @ weights)
    backend.close()
    if arguments.write is None:
        return
    weights = fit_ensemble(data, arguments.strength) * slope(out_of_fold_margins(data, arguments.strength))
    states = np.stack([cache.states[key(row, label)] for row in fitted for label in row["responses"]])
    head = RewardHead.from_weights(
        weights,
        states,
        model=arguments.model,
        layer=layer,
        questions_hash=question_set().fit_hash,
        feature_weight=2.0,  # see the ablation in README.md
        card={
            "fitted to": f"PrincipleFlips, {data.num_groups} families of principles, {len(fitted)} pairs",
            "command": "benchmarks/reward_heads.py",
            "strength": arguments.strength,
        },
    )
    head.save(arguments.write)
    print(f"wrote {arguments.write}: {json.dumps(head.card)}, hash {head.hash}")
    report("PrincipleFlips, test families", tested, cache.pairs(tested).differences @ head.weights.mean(axis=0))


if __name__ == "__main__":
    main()
