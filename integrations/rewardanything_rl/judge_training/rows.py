"""Rows of a data set for training a judge, from items of the benchmark format.

A row is one prompt: a case in one order of its responses, in the wording that judges are prompted with. Rows whose
rewards depend on each other stay next to each other: the same responses under a principle and under its contrary, and
every case in each of its orders.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

from rewardanything_core import Case, ConfigError, Template, render
from rewardanything_core.bench import BenchItem
from rewardanything_rl.judge_training.rewards import OrderedPair

_POINTS = 4.0
"""Length of the scale 1..5."""


class PairFields(TypedDict):
    """An `OrderedPair` as a data set holds it."""

    better: str
    worse: str
    gap: float


class TrainingRow(TypedDict):
    """One prompt, with what its completions are rewarded by."""

    prompt: list[dict[str, str]]
    """A system and a user message."""

    labels: list[str]
    """Labels of the responses in the order shown."""

    pairs: list[PairFields]
    """People's order."""

    case: str
    """The item's id: equal for all orders of a case."""

    block: str
    """Equal for all cases with the same prompt and responses, whatever the principle."""


def training_rows(
    items: Iterable[BenchItem],
    *,
    orders: int = 2,
    batch: int | None = None,
    seed: int = 0,
    template: Template | None = None,
) -> list[TrainingRow]:
    """Rows to train a judge on, in the order in which a trainer has to take them (``shuffle_dataset=False``).

    Args:
        items: Labelled items, such as those of `read_items`; each criterion of a rubric is an item of its own.
        orders: In how many orders a case is shown, 1 or more; never more than it has responses. They are cyclic shifts
            of a random order, so that with as many orders as responses each response takes each place once.
        batch: Prompts in a batch. Blocks are then packed so that none is split over two batches; what does not fill a
            batch is left out with a warning. None: blocks follow each other, in random order.
        seed: Seed of the orders and of the order of the blocks.
        template: The wording. None: `Template.built_in` with the style ``think``.

    Raises:
        ConfigError: an argument is out of its range, no item has labels that order two responses, two items have one
            id, an item has images, or a block does not fit into a batch.
    """
    if orders < 1:
        raise ConfigError(f"orders must be 1 or more, not {orders!r}.")
    template = template or Template.built_in("think")
    blocks: dict[str, list[BenchItem]] = {}
    unlabelled = 0
    ids: set[str] = set()
    for item in (part for whole in items for part in whole.parts):
        if item.id in ids:
            raise ConfigError(
                f"Two items have the id {item.id!r}, so their rewards would be mixed.",
                hint="Read all files with one read_items([...]), which checks this.",
            )
        ids.add(item.id)
        if item.pairs:
            blocks.setdefault(_material(item), []).append(item)
        else:
            unlabelled += 1
    if not blocks:
        raise ConfigError(f"None of the {unlabelled} items has labels that order two responses.")
    if unlabelled:
        warnings.warn(f"{unlabelled} items have no labels that order two responses; they are left out.", stacklevel=2)
    shuffled = list(blocks.values())
    random.Random(seed).shuffle(shuffled)
    by_block = [_block_rows(block, number, orders, seed, template) for number, block in enumerate(shuffled)]
    return [row for block in (by_block if batch is None else _packed(by_block, batch)) for row in block]


def split_by_group(
    items: Sequence[BenchItem], *, share: float = 0.2, seed: int = 0
) -> tuple[list[BenchItem], list[BenchItem]]:
    """Items to train on and items to measure on, with no group (family, prompt) on both sides.

    Args:
        items: The items.
        share: Share of the groups to measure on, above 0 and below 1.
        seed: Seed of the draw.

    Raises:
        ConfigError: there are fewer than two groups, or the share is out of its range.
    """
    groups = sorted({item.group for item in items})
    if len(groups) < 2 or not 0 < share < 1:
        raise ConfigError(f"{len(groups)} groups cannot be split with share={share!r}; give two or more, and 0 to 1.")
    number = min(len(groups) - 1, max(1, round(share * len(groups))))
    held_out = set(random.Random(seed).sample(groups, number))
    return [i for i in items if i.group not in held_out], [i for i in items if i.group in held_out]


def pairs_of_item(item: BenchItem) -> list[OrderedPair]:
    """People's order of an item's responses.

    The gap of a pair is the difference of its scores on our scale, where people gave scores on a known scale; where
    only an order or single pairs are known, any gap counts as one point.

    Args:
        item: The item.
    """
    low, high = item.scale or (0.0, 0.0)
    human = item.human if item.rated and high > low else None

    def gap(better: str, worse: str) -> float:
        if human is None or better not in human or worse not in human:
            return 1.0
        return (human[better] - human[worse]) * _POINTS / (high - low)

    return [OrderedPair(better, worse, gap(better, worse)) for better, worse in item.pairs]


def verl_rows(rows: Iterable[TrainingRow], *, data_source: str = "judge") -> list[dict[str, Any]]:
    """Rows as veRL reads them from Parquet; `judge_training.compute_score` is their reward.

    Args:
        rows: What `training_rows` returned.
        data_source: The value of that column.
    """
    return [
        {
            "data_source": data_source,
            "prompt": row["prompt"],
            "reward_model": {"style": "rule", "ground_truth": json.dumps(row["pairs"], ensure_ascii=False)},
            "extra_info": {"labels": row["labels"], "case": row["case"], "block": row["block"]},
        }
        for row in rows
    ]


def _material(item: BenchItem) -> str:
    return json.dumps([item.prompt, item.context, item.reference, sorted(item.texts.values())], sort_keys=True)


def _block_rows(
    items: Sequence[BenchItem], number: int, orders: int, seed: int, template: Template
) -> list[TrainingRow]:
    """All orders of all cases with the same material."""
    rows: list[TrainingRow] = []
    for item in items:
        case = Case.of(item.case_fields())
        first = list(render(case, seed, template=template).labels.values())
        for shift in range(min(orders, len(first))):
            order = first[shift:] + first[:shift]
            messages = template.render(case, order).messages
            if not all(isinstance(message["content"], str) for message in messages):
                raise ConfigError(f"The item {item.id!r} has images; judges are trained on texts here.")
            rows.append(
                TrainingRow(
                    prompt=[{"role": one["role"], "content": str(one["content"])} for one in messages],
                    labels=order,
                    pairs=[PairFields(better=p.better, worse=p.worse, gap=p.gap) for p in pairs_of_item(item)],
                    case=item.id,
                    block=str(number),
                )
            )
    return rows


def _packed(blocks: Sequence[list[TrainingRow]], size: int) -> list[list[TrainingRow]]:
    """Blocks in an order in which none crosses a multiple of ``size`` rows; first fit, full batches only."""
    largest = max(map(len, blocks))
    if size < largest:
        raise ConfigError(
            f"A batch of {size!r} prompts is too small: a block has {largest}, all principles on the same responses in "
            "all their orders.",
            hint="Take larger batches (more accumulation steps) or fewer orders.",
        )
    batches: list[list[list[TrainingRow]]] = []
    for block in blocks:
        fits = (batch for batch in batches if sum(map(len, batch)) + len(block) <= size)
        batch = next(fits, None)
        if batch is None:
            batches.append(batch := [])
        batch.append(block)
    full = [batch for batch in batches if sum(map(len, batch)) == size]
    if left_out := sum(map(len, blocks)) - size * len(full):
        warnings.warn(f"{left_out} rows do not fill a batch of {size} prompts; they are left out.", stacklevel=3)
    if not full:
        raise ConfigError(
            f"The items do not fill one batch of {size} prompts; their blocks have {_sizes(blocks)}.",
            hint="Take a batch that such blocks add up to.",
        )
    return [block for batch in full for block in batch]


def _sizes(blocks: Sequence[list[TrainingRow]]) -> str:
    return ", ".join(map(str, sorted({len(block) for block in blocks}))) + " rows"
