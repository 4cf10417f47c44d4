"""Is a reward head more accurate with the other response, or with other principles, in view?

    python benchmarks/head_contexts.py --states FOLDER [--families 60] [--layer 21] [--arms pairwise,reference,bank]

Fits heads to one pair of each of some families of PrincipleFlips, and prints their accuracy, cross-validated by family:

- pointwise: the state after the question about one response, as in the head that ships. Always run.
- pairwise: one prompt with both responses, asking which fits better; the state of one order minus that of the other. In
  the same prompt, whether the second response fits. Also the log-odds of both answers.
- reference: the pointwise question after "Another response was: ...".
- bank: the pointwise state minus the mean state of the same response under fixed principles; the same of the scores;
  and both states with weights of their own.

States are kept in FOLDER, so that a second run computes only what is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from answer_cache import AnswerCache
from reward_heads import Prompt, Row, StateCache, fit_prompt, flips_rows, key, report

from rewardanything_core.backends.base import ChoiceRequest, log_odds
from rewardanything_core.readouts.pointwise.head_training import PairData, fit_linear, folds, out_of_fold_margins
from rewardanything_core.types import Message

STRENGTH = 1e-3
PAIR_SYSTEM = "You judge two responses to a prompt by one principle. Only the principle counts."
PAIR_QUESTIONS = {
    "which": ("Which response fits the principle better? A or B.", ("A", "B")),
    "second": ("Does Response B fit the principle? Yes or No.", ("Yes", "No")),
}
BANK = (
    "Any response will do.",
    "The response should be warm and kind to the reader.",
    "The response should be sober, brief and factual.",
    "The response should be careful and warn of risks.",
    "The response should be playful and entertaining.",
)


def pairwise(row: Row, first: str, second: str, question: str) -> Prompt:
    parts = {"Prompt": row["prompt"], "Response A": row["responses"][first], "Response B": row["responses"][second]}
    text = "\n\n".join(f"{name}: {part}" for name, part in parts.items())
    user = f"{text}\n\n---\nPrinciple: {row['principle']}\n{PAIR_QUESTIONS[question][0]}"
    return (Message(role="system", content=PAIR_SYSTEM), Message(role="user", content=user))


def with_reference(row: Row, other: str, label: str) -> Prompt:
    system, user = fit_prompt(row, label)
    reference = f"Another response was: {row['responses'][other]}\n\nResponse: "
    content = str(user["content"]).replace("Response: ", reference, 1)
    return (system, Message(role="user", content=content))


def bank_key(index: int, row: Row, label: str) -> str:
    """Both rows of a pair, which end in a and b, share these states."""
    return f"{row['id'][:-1]}|{label}|bank {index}"


class Arms:
    """States of some rows of PrincipleFlips, and heads that are fitted to them.

    Args:
        rows: The rows.
        cache: The states.
        answers: The answers.
    """

    def __init__(self, rows: Sequence[Row], cache: StateCache, answers: AnswerCache) -> None:
        self._rows, self._cache, self._answers = rows, cache, answers
        families = list(dict.fromkeys(row["group"] for row in rows))
        self._groups = np.array([families.index(row["group"]) for row in rows])

    def run(self, name: str) -> None:
        """Read the states of an arm, and print its accuracies."""
        getattr(self, f"_{name}")()

    def _pointwise(self) -> None:
        self._add({key(row, label): fit_prompt(row, label) for row, *pair in self._pairs() for label in pair})
        self._fit("pointwise", self._better_and_other(key))

    def _pairwise(self) -> None:
        for question, (_, options) in PAIR_QUESTIONS.items():

            def name(row: Row, first: str, second: str, question: str = question) -> str:
                return f"{row['id']}|{question}|{first}{second}"

            orders = [(row, *order) for row, a, b in self._pairs() for order in ((a, b), (b, a))]
            prompts = [pairwise(*order, question) for order in orders]
            requests = [ChoiceRequest(messages=prompt, options=options) for prompt in prompts]
            result = asyncio.run(self._answers.score_options(requests))
            odds = np.array([log_odds(answer) for answer in result.answers])
            sign = 1 if question == "which" else -1  # the better response is first in the first order
            report(f"log-odds, {question}", self._rows, sign * (odds[::2] - odds[1::2]))
            self._add({name(*order): prompt for order, prompt in zip(orders, prompts, strict=True)})
            sides = (
                self._states(name(row, a, b) for row, a, b in self._pairs()),
                self._states(name(row, b, a) for row, a, b in self._pairs()),
            )
            self._fit(f"pairwise, {question}", sides[::sign], has_levels=question == "second")

    def _reference(self) -> None:
        def name(row: Row, label: str) -> str:
            return f"{key(row, label)}|reference"

        orders = [(row, *order) for row, a, b in self._pairs() for order in ((a, b), (b, a))]
        self._add({name(row, label): with_reference(row, other, label) for row, label, other in orders})
        self._fit("after the other response", self._better_and_other(name))

    def _bank(self) -> None:
        self._add(
            {
                bank_key(index, row, label): fit_prompt(row, label, principle)
                for row, *pair in self._pairs()
                for label in pair
                for index, principle in enumerate(BANK)
            }
        )
        plain = self._better_and_other(key)
        for title, indices in (("any response", [0]), ("four principles", [*range(1, len(BANK))])):
            banks = [self._better_and_other(partial(bank_key, index)) for index in indices]
            means = [np.mean([bank[side] for bank in banks], axis=0) for side in (0, 1)]
            self._fit(f"state minus mean state, {title}", [p - m for p, m in zip(plain, means, strict=True)])
            both = [np.hstack([p, m]) for p, m in zip(plain, means, strict=True)]
            self._fit(f"weights for the state and for the mean state, {title}", both)
            for share in (0.25, 0.5, 1.0):
                margins = self._scores_minus_share(plain, means, share)
                report(f"score minus {share} of the mean score, {title}", self._rows, margins)

    def _scores_minus_share(self, plain: Sequence[np.ndarray], means: Sequence[np.ndarray], share: float) -> np.ndarray:
        """Cross-validated margins of a pointwise head, less a share of its margins on mean states."""
        data = PairData.of(plain[0], plain[1], self._groups)
        fold_of, margins = folds(data.num_groups), np.empty(len(self._groups))
        for fold in np.unique(fold_of):
            held_out = fold_of[self._groups] == fold
            weights = fit_linear(data.select(np.flatnonzero(fold_of != fold)), STRENGTH)
            margins[held_out] = (data.differences - share * (means[0] - means[1]))[held_out] @ weights
        return margins

    def _pairs(self) -> Iterator[tuple[Row, str, str]]:
        for row in self._rows:
            better, other = row["pairs"][0]
            yield row, better, other

    def _add(self, prompts: dict[str, Prompt]) -> None:
        if missing := {name: prompt for name, prompt in prompts.items() if name not in self._cache.states}:
            self._cache.add(missing, self._answers.local)  # loads the model

    def _states(self, keys: Iterator[str]) -> np.ndarray:
        return np.stack([self._cache.states[each] for each in keys]).astype(np.float64)

    def _better_and_other(self, name: Callable[[Row, str], str]) -> list[np.ndarray]:
        pairs = list(self._pairs())
        return [
            self._states(name(row, better) for row, better, _ in pairs),
            self._states(name(row, other) for row, _, other in pairs),
        ]

    def _fit(self, name: str, sides: Sequence[np.ndarray], *, has_levels: bool = True) -> None:
        data = PairData.of(sides[0], sides[1], self._groups)
        if not has_levels:  # the mean of both orders says nothing about either response
            data = PairData(differences=data.differences, levels=0 * data.levels, groups=data.groups)
        report(name, self._rows, out_of_fold_margins(data, STRENGTH))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--states", type=Path, required=True, help="folder for hidden states and answers")
    parser.add_argument("--layer", type=int, default=21)
    parser.add_argument("--families", type=int, default=60)
    parser.add_argument("--arms", default="pairwise,reference,bank")
    arguments = parser.parse_args()
    arguments.states.mkdir(parents=True, exist_ok=True)
    rows = [row for row in flips_rows("train", "validation") if row["meta"]["criterion"].startswith("1")]
    families = list(dict.fromkeys(row["group"] for row in rows))
    random.Random(1).shuffle(families)
    chosen = set(families[: arguments.families])
    answers = AnswerCache(arguments.model, arguments.states / f"{arguments.model}-answers.jsonl")
    cache = StateCache(arguments.model, arguments.states, arguments.layer)
    arms = Arms([row for row in rows if row["group"] in chosen], cache, answers)
    for name in ("pointwise", *arguments.arms.split(",")):
        arms.run(name)
    answers.close()


if __name__ == "__main__":
    main()
