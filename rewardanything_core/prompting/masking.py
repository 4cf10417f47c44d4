"""Masking: the order in which a judge sees the responses, and their neutral names."""

from __future__ import annotations

import random
from collections.abc import Sequence

from rewardanything_core.cases import Case
from rewardanything_core.principles import Rubric


def mask(labels: Sequence[str]) -> dict[str, str]:
    """Name responses ``model-1`` .. ``model-n`` in the given order: masked name -> label."""
    return {f"model-{number}": label for number, label in enumerate(labels, start=1)}


def draw_order(case: Case, *, seed: int, index: int = 0, attempt: int = 0) -> list[str]:
    """Draw the order in which a judge sees the responses of a case.

    The first order is random and orders ``1 .. n-1`` are its cyclic shifts, a Latin square: over ``n`` passes each
    response takes each position once, which cancels position bias in the mean. Then the next random order follows, with
    its shifts. Retries of a pass draw a new order.

    The order depends only on the arguments and the case's texts, not on labels, on the order in which the responses
    were given, or on global random state. Under a rubric it does not depend on the rubric either.

    Args:
        case: The case.
        seed: Any integer.
        index: Number of the pass, from 0.
        attempt: Number of the attempt at that pass, from 0.

    Returns:
        Every label once.
    """
    texts = case.material_digest if isinstance(case.principle, Rubric) else case.digest
    return _latin_square_row(case.canonical_labels, f"{seed}/%d/{attempt}/{texts}", index)


def draw_criteria_order(rubric: Rubric, case: Case, *, seed: int, index: int = 0, attempt: int = 0) -> list[str]:
    """Draw the order in which a judge sees the criteria of a rubric, in the same way as `draw_order`.

    Args:
        rubric: The rubric.
        case: The case.
        seed: Any integer.
        index: Number of the pass, from 0.
        attempt: Number of the attempt at that pass, from 0.

    Returns:
        Every criterion's name once.
    """
    return _latin_square_row(sorted(rubric.criteria), f"criteria/{seed}/%d/{attempt}/{case.digest}", index)


def _latin_square_row(items: Sequence[str], seed: str, index: int) -> list[str]:
    """Row ``index`` of a series of cyclic Latin squares; ``%d`` in the seed is the number of the square."""
    square, shift = divmod(index, len(items))
    shuffled = list(items)
    random.Random(seed % square).shuffle(shuffled)
    return shuffled[shift:] + shuffled[:shift]
