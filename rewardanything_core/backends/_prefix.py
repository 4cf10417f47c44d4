"""What recent prompts begin with, run through the model once and kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

_WORTHWHILE = 64  # tokens; to share fewer saves nothing


class SharedPrefix:
    """Finds the common beginning of prompts (judging instructions, often the principle too) and holds its cache.

    The latest prompt of the batch before counts as well, so that cases judged one at a time share too.

    Args:
        run: Runs token ids through the model as a batch of one and returns the key-value cache.
    """

    def __init__(self, run: Callable[[list[int]], Any]) -> None:
        self._run = run
        self._ids: list[int] = []
        self._cache: Any = None
        self._latest: list[int] = []

    def of(self, prompts: Sequence[list[int]]) -> tuple[int, Any]:
        """How many tokens all prompts share, and a fresh cache that holds them for each; (0, None) if not worthwhile.

        At least one token of every prompt is left to be run.
        """
        known = [self._latest] if self._latest else []
        shared: list[int] = []
        if len(prompts) + len(known) > 1:
            shared = _common([*prompts, *known])[: min(map(len, prompts)) - 1]
        self._latest = prompts[-1]
        fits = self._ids and all(prompt[: len(self._ids)] == self._ids for prompt in prompts)
        room = all(len(prompt) > len(self._ids) for prompt in prompts)
        if not (fits and room) or len(shared) >= len(self._ids) + _WORTHWHILE:
            if len(shared) < _WORTHWHILE:
                return 0, None
            self._ids, self._cache = shared, self._run(shared)
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(len(prompts))
        return len(self._ids), cache


def _common(sequences: Sequence[list[int]]) -> list[int]:
    """The longest list that all sequences begin with."""
    low, high = min(sequences), max(sequences)  # every other one lies between these two
    size = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return low[:size]
