"""Fitting a reward head to people's labels, and testing by cross-validation whether it judges better than before."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewardanything_core.agreement.intervals import Estimate, mean
from rewardanything_core.agreement.pairs import credit, pair_credits
from rewardanything_core.bench.fitted_labels import PROMPTS, prompt_hashes
from rewardanything_core.bench.items import BenchItem
from rewardanything_core.bench.running import judge_items
from rewardanything_core.bench.training_items import combined_by_prompt, grouped_by_prompt
from rewardanything_core.cases import Case
from rewardanything_core.concurrency import background_loop
from rewardanything_core.errors import ConfigError, error_from_failure
from rewardanything_core.judging.judge import Judge
from rewardanything_core.readouts.pointwise.head_training import (
    PairData,
    choose_strength,
    fit_ensemble,
    out_of_fold_margins,
    slope,
)
from rewardanything_core.readouts.pointwise.questions import question_set
from rewardanything_core.readouts.pointwise.reward_head import RewardHead
from rewardanything_core.types import JudgeFailure

if TYPE_CHECKING:
    import numpy as np

MIN_PAIRS = 25
"""Fewer pairs than this do not distinguish a better head from a worse one."""

MIN_GROUPS = 10
"""Fewer prompts than this cannot be divided into folds of two."""

LAYER_SHARE = 0.65
"""Where the state is taken, as a share of the model's layers (benchmarks/README.md, reward heads)."""

_CURVE_STEPS = 4
_ITEMS_AT_ONCE = 32

_BOUNDS = (-1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class HeadFit:
    """A fitted head and how well it judges prompts that it was not fitted to."""

    head: RewardHead
    """The head, fitted to all pairs."""

    accuracy: Estimate
    """Share of pairs that heads order as people do, cross-validated by prompt; a tie counts half."""

    accuracy_before: Estimate
    """The same for the judge that was given."""

    gain: Estimate
    """The difference of both, paired by prompt."""

    curve: tuple[tuple[int, float], ...]
    """Number of labelled prompts, and the cross-validated accuracy of heads fitted to that many."""

    pairs: int
    """Number of pairs."""

    groups: int
    """Number of prompts."""

    failed: int
    """Number of items that the judge failed on; they are excluded everywhere."""

    @property
    def is_better(self) -> bool:
        """Whether the head is better than the judge was, beyond chance."""
        return self.gain.low is not None and self.gain.low > 0

    @property
    def expected_gain(self) -> float | None:
        """The accuracy that as many labels again would add, by the end of the learning curve. None: no curve."""
        if len(self.curve) < 2:
            return None
        (few, low), (many, high) = self.curve[-2:]
        return max(0.0, (high - low) * math.log(2) / math.log(many / few))


def fit_head(
    judge: Judge,
    items: Sequence[BenchItem],
    *,
    layer: int | None = None,
    seed: int = 0,
) -> HeadFit:
    """Fit a reward head to labelled items.

    Args:
        judge: A judge whose backend provides hidden states; a model on this machine.
        items: Items with pairs, scores or rankings by people; see `read_training_items`. Single responses to the same
            prompt are compared with each other.
        layer: The number of layers to run. None: `LAYER_SHARE` of the model's.
        seed: Seed of the bootstrap samples.

    Raises:
        ConfigError: there are fewer than `MIN_PAIRS` pairs or `MIN_GROUPS` prompts, or the model provides no hidden
            states.
    """
    import numpy as np

    items = grouped_by_prompt([item for item in combined_by_prompt(items) if item.pairs])
    num_pairs, num_groups = sum(len(item.pairs) for item in items), len({item.group for item in items})
    if num_pairs < MIN_PAIRS or num_groups < MIN_GROUPS:
        raise ConfigError(
            f"A reward head needs {MIN_PAIRS} pairs of responses from {MIN_GROUPS} prompts or more; these labels have "
            f"{num_pairs} pairs from {num_groups} prompts.",
            hint="A pair is two responses to a prompt of which people found one better.",
        )
    num_layers = judge.backend.num_layers
    if not num_layers:
        raise ConfigError(
            f"{judge.model} provides no hidden states; fit a head to a model on this machine.",
            hint="The states of a model behind an API are not available.",
        )
    layer = layer or max(1, round(LAYER_SHARE * num_layers))
    outcomes = judge_items(judge, items)
    judged = [one.item for one in outcomes if one.verdict is not None]
    if not judged:
        raise error_from_failure(next(one.outcome for one in outcomes if isinstance(one.outcome, JudgeFailure)))
    states = background_loop.wait(background_loop.submit(_states(judge, judged, layer)))
    data = _pair_data(judged, states)
    strength = choose_strength(data)
    margins = out_of_fold_margins(data, strength)
    after = [credit(margin, 0) for margin in margins]
    before = [
        right
        for one in outcomes
        if one.verdict is not None
        for right in pair_credits(one.verdict.scores, one.item.pairs)
    ]
    groups = data.groups.tolist()
    weights = fit_ensemble(data, strength, seed=seed) * slope(margins)
    return HeadFit(
        head=RewardHead.from_weights(
            weights,
            np.stack(list(states.values())),
            model=judge.model,
            layer=layer,
            questions_hash=question_set().fit_hash,
            card={PROMPTS: prompt_hashes(judged)},
        ),
        accuracy=mean(after, groups),
        accuracy_before=mean(before, groups),
        gain=mean([a - b for a, b in zip(after, before, strict=True)], groups, bounds=_BOUNDS),
        curve=_learning_curve(data, strength, seed),
        pairs=len(groups),
        groups=data.num_groups,
        failed=len(items) - len(judged),
    )


async def _states(judge: Judge, items: Sequence[BenchItem], layer: int) -> dict[tuple[str, str], np.ndarray]:
    """(item's id, label) -> the hidden state at the answer position."""
    escape = not judge.backend.escapes_special_tokens
    states: dict[tuple[str, str], np.ndarray] = {}

    async def read(item: BenchItem) -> None:
        prompts = [
            question_set().fit_messages(Case(**item.case_fields()), label, 0, escape_special_tokens=escape)
            for label in item.responses
        ]
        result = await judge.backend.hidden_states(prompts, layer)
        states.update({(item.id, label): state for label, state in zip(item.responses, result.states, strict=True)})

    for start in range(0, len(items), _ITEMS_AT_ONCE):
        await asyncio.gather(*(read(item) for item in items[start : start + _ITEMS_AT_ONCE]))
    return states


def _pair_data(items: Sequence[BenchItem], states: dict[tuple[str, str], np.ndarray]) -> PairData:
    import numpy as np

    numbers = {group: number for number, group in enumerate(dict.fromkeys(item.group for item in items))}
    named = [(item, better, worse) for item in items for better, worse in item.pairs]
    better = np.stack([states[item.id, label] for item, label, _ in named]).astype(np.float64)
    worse = np.stack([states[item.id, label] for item, _, label in named]).astype(np.float64)
    return PairData.of(better, worse, np.array([numbers[item.group] for item, _, _ in named]))


def _learning_curve(data: PairData, strength: float, seed: int) -> tuple[tuple[int, float], ...]:
    """Cross-validated accuracy of heads fitted to a quarter, half and all of the prompts."""
    import numpy as np

    order = np.random.default_rng(seed).permutation(data.num_groups)
    sizes = [data.num_groups >> shift for shift in reversed(range(_CURVE_STEPS))]
    curve = []
    for size in (size for size in sizes if size >= MIN_GROUPS):
        parts = [data.select(order[start : start + size]) for start in range(0, data.num_groups - size + 1, size)]
        margins = np.concatenate([out_of_fold_margins(part, strength) for part in parts])
        curve.append((size, float(np.mean([credit(margin, 0) for margin in margins]))))
    return tuple(curve)
