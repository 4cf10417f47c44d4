"""Pair measures: whether the better response is above the worse one; flip pairs and RM-Bench's matrix.

``scores`` are a judge's scores, or its ranking as numbers (`rank_scores`), which have no ties. A tie counts one half by
default, the expectation of breaking it at random. Some benchmarks count a tie as wrong.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal, TypeVar

Ties = Literal["half", "wrong"]

Ranked = TypeVar("Ranked", bound=Hashable)


def rank_scores(ranking: Sequence[Ranked]) -> dict[Ranked, float]:
    """A ranking, best first, as numbers without ties: n for the best of n, 1 for the last."""
    return {label: float(len(ranking) - position) for position, label in enumerate(ranking)}


def credit(better: float, worse: float, *, ties: Ties = "half") -> float:
    """The credit for one pair: 1 where the better response has the higher score, 0 where it has the lower one.

    Args:
        better: Score of the response that people prefer.
        worse: Score of the other response.
        ties: Credit for equal scores: ``half`` is 0.5, ``wrong`` is 0.
    """
    if better == worse:
        return 0.5 if ties == "half" else 0.0
    return 1.0 if better > worse else 0.0


def pair_credits(scores: Mapping[str, float], pairs: Sequence[tuple[str, str]], *, ties: Ties = "half") -> list[float]:
    """The `credit` for each pair. Its mean is pairwise accuracy, 0..1; 0.5 by chance.

    Args:
        scores: label -> score.
        pairs: Labels of (better, worse).
        ties: See `credit`.
    """
    return [credit(scores[better], scores[worse], ties=ties) for better, worse in pairs]


def both_right(questions: tuple[float, float]) -> float:
    """1 if both questions of a flip pair are answered correctly, else 0; a tie is not correct.

    People order the two responses of a flip pair one way under one principle and the other way under another. A judge
    that ignores the principle is right on one question and wrong on the other: 0.5 of all questions, and never both.
    Guessing gets both with probability 0.25.

    Args:
        questions: The `credit` under the first principle and under the second.
    """
    return 1.0 if questions == (1.0, 1.0) else 0.0


def best_found(scores: Mapping[str, float], good: Sequence[str]) -> float:
    """Whether the response with the highest score is a good one, 0..1: RewardBench 2's rule for best of four.

    Args:
        scores: label -> score.
        good: Labels of the good responses.

    Returns:
        0 or 1. Where several responses share the highest score, the share of good ones among them: the expectation of
        picking one at random.
    """
    highest = max(scores.values())
    top = [label for label, score in scores.items() if score == highest]
    return sum(label in good for label in top) / len(top)


STYLES = ("concise", "plain", "markdown")
"""RM-Bench's styles, from the plainest to the most elaborate; its responses come in this order."""


def rm_bench_matrix(chosen: Sequence[float], rejected: Sequence[float]) -> list[list[float]]:
    """RM-Bench's matrix for one prompt (Liu et al. 2024, arXiv 2410.16184). Ties are wrong, as in the benchmark's code.

    Args:
        chosen: Scores of the three chosen responses, in the order of `STYLES`.
        rejected: Scores of the three rejected responses, in the same order.

    Returns:
        Shape (chosen style, rejected style): 1 where the chosen response has the higher score, else 0.
    """
    if len(chosen) != len(STYLES) or len(rejected) != len(STYLES):
        raise ValueError("RM-Bench compares three chosen with three rejected responses.")
    return [[credit(better, worse, ties="wrong") for worse in rejected] for better in chosen]


def rm_bench_levels(matrix: Sequence[Sequence[float]]) -> dict[str, float]:
    """RM-Bench's accuracies, 0..1, of the matrix of one prompt or the mean matrix of a domain.

    ``hard`` is the mean of the upper right triangle, where the rejected response has the more elaborate style;
    ``normal`` of the diagonal, where both have the same style; ``easy`` of the lower left triangle. ``average`` is the
    mean of the three. A domain's accuracy is the mean over its prompts, and the overall accuracy the mean over domains.
    """
    size = range(len(matrix))
    hard = [matrix[row][column] for row in size for column in size if column > row]
    normal = [matrix[row][row] for row in size]
    easy = [matrix[row][column] for row in size for column in size if column < row]
    levels = {"hard": _mean(hard), "normal": _mean(normal), "easy": _mean(easy)}
    return levels | {"average": _mean(list(levels.values()))}


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
