"""Pairs, flips and RM-Bench's matrix: whether the better response is put above the worse one.

A judge speaks through scores and through a ranking, and scores tie. ``scores`` below may be either: `places` turns a
ranking into numbers. Where scores tie, a question counts half by default, which is what breaking ties by a coin gives
on average; benchmarks with a rule of their own count a tie as wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

Ties = Literal["half", "wrong"]


def places(ranking: Sequence[str]) -> dict[str, float]:
    """A ranking, best first, as numbers that never tie: the best of n gets n, the last 1."""
    return {label: float(len(ranking) - place) for place, label in enumerate(ranking)}


def credit(better: float, worse: float, *, ties: Ties = "half") -> float:
    """1 where the better one has the higher number, 0 where it has the lower; a tie is 0.5 or 0."""
    if better == worse:
        return 0.5 if ties == "half" else 0.0
    return 1.0 if better > worse else 0.0


def pair_credits(scores: Mapping[str, float], pairs: Sequence[tuple[str, str]], *, ties: Ties = "half") -> list[float]:
    """The credit of each pair ``(better, worse)``; their mean is pairwise accuracy, 0..1, by chance 0.5."""
    return [credit(scores[better], scores[worse], ties=ties) for better, worse in pairs]


def both_right(questions: tuple[float, float]) -> float:
    """Whether a flip pair is understood: 1 if both its questions are right outright, else 0; a tie is not right.

    People order the two responses of a flip pair one way under one principle and the other way under the other. Which
    is better under the first, and which under the second, are two questions with a `credit` each. Whoever does not read
    the principle is right on one and wrong on the other: 0.5 of all questions, and never both. Coins get 0.25.
    """
    return 1.0 if questions == (1.0, 1.0) else 0.0


def best_found(scores: Mapping[str, float], good: Sequence[str]) -> float:
    """Whether the response with the highest score is a good one, 0..1: RewardBench 2's rule for best of four.

    Where several share the highest score, the share of the good ones among them: what picking one by lot would give.
    """
    highest = max(scores.values())
    top = [label for label, score in scores.items() if score == highest]
    return sum(label in good for label in top) / len(top)


STYLES = ("concise", "plain", "markdown")
"""RM-Bench's styles, from the plainest to the fanciest; chosen and rejected responses come in this order."""


def rm_bench_matrix(chosen: Sequence[float], rejected: Sequence[float]) -> list[list[float]]:
    """RM-Bench's matrix for one prompt: rows are chosen styles, columns rejected styles; 1 where chosen is above.

    Ties are wrong, as in the benchmark's own code (Liu et al., RM-Bench, arXiv 2410.16184).

    Args:
        chosen: Scores of the three chosen responses in the order of `STYLES`.
        rejected: Scores of the three rejected ones.
    """
    if len(chosen) != len(STYLES) or len(rejected) != len(STYLES):
        raise ValueError("RM-Bench compares three chosen with three rejected responses.")
    return [[credit(better, worse, ties="wrong") for worse in rejected] for better in chosen]


def rm_bench_levels(matrix: Sequence[Sequence[float]]) -> dict[str, float]:
    """Hard, normal and easy accuracy, 0..1, of a matrix of one prompt or of the mean matrix of a domain.

    ``hard``: mean of the upper right triangle, where the rejected response has the fancier style; ``normal``: of the
    diagonal, where both have the same; ``easy``: of the lower left triangle. ``average`` is the mean of the three. A
    domain's figure is the mean over its prompts; the overall figure is the mean over domains, each weighing the same.
    """
    size = range(len(matrix))
    hard = [matrix[row][column] for row in size for column in size if column > row]
    normal = [matrix[row][row] for row in size]
    easy = [matrix[row][column] for row in size for column in size if column < row]
    levels = {"hard": _mean(hard), "normal": _mean(normal), "easy": _mean(easy)}
    return levels | {"average": _mean(list(levels.values()))}


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
