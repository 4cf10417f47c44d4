"""Masking: the order in which a judge sees the responses, and their neutral names."""

from __future__ import annotations

import random
from collections.abc import Sequence

from rewardanything_core.cases import Case


def mask(labels: Sequence[str]) -> dict[str, str]:
    """Name responses ``model-1`` .. ``model-n`` in the given order: masked name -> label."""
    return {f"model-{number}": label for number, label in enumerate(labels, start=1)}


def draw_order(case: Case, *, seed: int, index: int = 0, attempt: int = 0) -> list[str]:
    """Draw the order in which a judge sees the responses of a case.

    The first order is random and orders ``1 .. n-1`` are its cyclic shifts, a Latin square: over ``n`` passes each
    response takes each position once, which cancels position bias in the mean. Then the next random order follows, with
    its shifts. Retries of a pass draw a new order.

    The order depends only on the arguments and the case's texts, not on labels, on the order in which the responses
    were given, or on global random state.

    Args:
        case: The case.
        seed: Any integer.
        index: Number of the pass, from 0.
        attempt: Number of the attempt at that pass, from 0.

    Returns:
        Every label once.
    """
    square, shift = divmod(index, len(case.responses))
    labels = list(case.canonical_labels)
    random.Random(f"{seed}/{square}/{attempt}/{case.digest}").shuffle(labels)
    return labels[shift:] + labels[:shift]
