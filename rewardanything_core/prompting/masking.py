"""Masking: which response stands where, under which neutral name, without touching global random state."""

from __future__ import annotations

import random
from collections.abc import Sequence

from rewardanything_core.cases import Case


def mask(labels: Sequence[str]) -> dict[str, str]:
    """Name the responses ``model-1`` .. ``model-n`` in the order given: masked name -> label."""
    return {f"model-{place}": label for place, label in enumerate(labels, start=1)}


def draw_order(case: Case, *, seed: int, index: int = 0, attempt: int = 0) -> list[str]:
    """Draw the order in which a judge sees the responses of a case.

    The first order is random; orders ``1 .. n-1`` are its cyclic shifts, so that over ``n`` passes each response
    visits each place once; then a new random order follows, with its shifts. An attempt after the first draws afresh.

    The draw depends on the seed and on the case's texts alone: not on labels, on the order in which the responses were
    given, or on any global state.

    Args:
        case: The case.
        seed: Any integer.
        index: Which pass this is, from 0.
        attempt: Which try of that pass this is, from 0.

    Returns:
        Every label once.
    """
    lap, shift = divmod(index, len(case.responses))
    labels = list(case.canonical_labels)
    random.Random(f"{seed}/{lap}/{attempt}/{case.digest}").shuffle(labels)
    return labels[shift:] + labels[:shift]
