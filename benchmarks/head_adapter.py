"""Low-rank adapters below a reward head: are they more accurate on unseen families of principles than the head alone?

    python benchmarks/head_adapter.py [--first 14] [--rank 4] [--epochs 2] [--pairs 2]

Trains adapters (LoRA; Hu et al., ICLR 2022) on the layers from ``--first`` to the head's, together with the head, on
training families of PrincipleFlips, and prints the accuracy on held-out training families before and after each epoch.

Only the tokens from the principle on are adapted. What stands before them, and the layers below, are computed once: an
epoch runs a third of the layers on half of the tokens. Weights are frozen in bfloat16, adapters are in float32.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from reward_heads import Row, flips_rows
from torch import nn
from torch.nn import functional

from rewardanything_core import Case
from rewardanything_core.backends.local.chat_tokenizer import ChatTokenizer
from rewardanything_core.backends.local.config import LocalConfig
from rewardanything_core.backends.local.engine.kv_cache import common_prefix_length
from rewardanything_core.backends.local.model_loading import load
from rewardanything_core.readouts.pointwise.head_training import PairData, fit_linear, out_of_fold_margins, slope
from rewardanything_core.readouts.pointwise.questions import question_set
from rewardanything_core.weights.fetch import fetch

MODEL, LAYER = "qwen2.5-coder-1.5b", 21
ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj")
HELD_OUT = 32
"""Number of training families to measure on."""

LEVEL_PENALTY, CONTRAST, ABSOLUTE = 0.05, 0.5, 0.5
"""Weights, against the order of two responses under one principle, of the squared level of a pair, of the order of two
principles for one response, and of whether a single response is the better or the other one."""


@dataclass(frozen=True)
class Tree:
    """The prompts of one pair of responses under two principles, their common beginnings merged."""

    ids: list[int]
    """Tokens: system message and prompt, then each response and after it the two principles."""

    positions: list[int]
    """The position of each in its prompt."""

    visible: torch.Tensor
    """(tokens, tokens) which others each token attends to."""

    is_adapted: torch.Tensor
    """(tokens,) whether a token stands at or after the beginning of the principle."""

    last: list[int]
    """Index of the last token of each prompt."""

    @classmethod
    def of(cls, prompts: Sequence[list[int]], starts: Sequence[int]) -> Tree:
        """Merge prompts.

        Args:
            prompts: Token ids of each prompt.
            starts: For each, the position at which the principle begins.
        """
        order = sorted(range(len(prompts)), key=lambda index: prompts[index])
        ids: list[int] = []
        positions: list[int] = []
        paths: list[list[int]] = []
        adapted: set[int] = set()
        last = [0] * len(prompts)
        path: list[int] = []
        previous: list[int] = []
        for index in order:
            prompt = prompts[index]
            shared = common_prefix_length(previous, prompt)
            path = path[:shared]
            for position in range(shared, len(prompt)):
                path.append(len(ids))
                ids.append(prompt[position])
                positions.append(position)
                paths.append(list(path))
            adapted.update(path[starts[index] :])
            last[index], previous = path[-1], prompt
        visible = torch.zeros(len(ids), len(ids), dtype=torch.bool)
        for row, columns in enumerate(paths):
            visible[row, columns] = True
        return cls(ids, positions, visible, torch.tensor([i in adapted for i in range(len(ids))]), last)


@dataclass
class Prepared:
    """A tree after the frozen part of the computation."""

    group: str
    hidden: torch.Tensor
    """(adapted tokens, hidden size) input of the first adapted layer."""
    prefix: list[tuple[torch.Tensor, torch.Tensor]]
    """Per adapted layer, keys and values of the tokens that are not adapted."""
    rotation: tuple[torch.Tensor, torch.Tensor]
    mask: torch.Tensor
    last: torch.Tensor
    """(4,) indices of the last tokens: better and other response under one principle, the same under the other."""
    states: np.ndarray
    """(4, hidden size) states at the head's layer without adapters."""


class Adapter(nn.Module):
    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, linear.in_features) / linear.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        dropped = functional.dropout(hidden.float(), 0.05, self.training)
        return 2 * functional.linear(functional.linear(dropped, self.down), self.up)


class AdaptedLayers(nn.Module):
    """The layers of a Qwen2 model up to the head's, with adapters on some.

    Args:
        decoder: The model's decoder.
        first: The number of layers before the first that has adapters.
        rank: Rank of the adapters.
    """

    def __init__(self, decoder: Any, first: int, rank: int) -> None:
        super().__init__()
        self._decoder, self.first, self._is_on = [decoder], first, True  # in a list: no submodule
        self.adapters = nn.ModuleDict()
        for index in range(first, LAYER):
            for name in ADAPTED:
                part = decoder.layers[index].self_attn if name[0] in "qkvo" else decoder.layers[index].mlp
                self.adapters[f"{index} {name}"] = Adapter(getattr(part, name), rank)

    def forward(self, tree: Prepared) -> torch.Tensor:
        """(4, hidden size) states at the head's layer."""
        hidden = tree.hidden
        for index, prefix in enumerate(tree.prefix, self.first):
            hidden, _ = self._layer(index, hidden, tree.rotation, tree.mask, prefix)
        return hidden[tree.last].float()

    @torch.no_grad()
    def prepare(self, tree: Tree, group: str) -> Prepared:
        """Compute what adapters do not change."""
        decoder, self._is_on = self._decoder[0], False
        hidden = decoder.embed_tokens(torch.tensor(tree.ids))
        cos, sin = (part[0] for part in decoder.rotary_emb(hidden[None], torch.tensor([tree.positions])))
        mask = torch.zeros(tree.visible.shape, dtype=hidden.dtype).masked_fill_(~tree.visible, float("-inf"))
        before, after = (side.nonzero()[:, 0] for side in (~tree.is_adapted, tree.is_adapted))
        prefix: list[tuple[torch.Tensor, torch.Tensor]] = []
        inputs = hidden
        for index in range(LAYER):
            if index == self.first:
                inputs = hidden
            hidden, (keys, values) = self._layer(index, hidden, (cos, sin), mask)
            if index >= self.first:
                prefix.append((keys[:, before].clone(), values[:, before].clone()))
        self._is_on = True
        return Prepared(
            group=group,
            hidden=inputs[after].clone(),
            prefix=prefix,
            rotation=(cos[after], sin[after]),
            mask=mask[after][:, torch.cat([before, after])],
            last=torch.searchsorted(after, torch.tensor(tree.last)),
            states=hidden[tree.last].float().numpy().astype(np.float64),
        )

    def _linear(self, index: int, linear: nn.Linear, name: str, hidden: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = linear(hidden)
        full_name = f"{index} {name}"
        if self._is_on and full_name in self.adapters:
            output = output + self.adapters[full_name](hidden).to(output.dtype)
        return output

    def _layer(
        self,
        index: int,
        hidden: torch.Tensor,
        rotation: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor,
        prefix: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        layer = self._decoder[0].layers[index]
        attention, mlp = layer.self_attn, layer.mlp
        normed = layer.input_layernorm(hidden)
        query, keys, values = (
            self._linear(index, getattr(attention, name), name, normed)
            .view(len(hidden), -1, attention.head_dim)
            .transpose(0, 1)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        query, keys = _rotated(query, rotation), _rotated(keys, rotation)
        own = (keys, values)
        if prefix is not None:
            keys, values = torch.cat([prefix[0], keys], 1), torch.cat([prefix[1], values], 1)
        attended = functional.scaled_dot_product_attention(
            query[None], keys[None], values[None], attn_mask=mask, enable_gqa=True
        )
        attended = attended[0].transpose(0, 1).reshape(len(hidden), -1)
        hidden = hidden + self._linear(index, attention.o_proj, "o_proj", attended)
        normed = layer.post_attention_layernorm(hidden)
        gated = functional.silu(mlp.gate_proj(normed)) * self._linear(index, mlp.up_proj, "up_proj", normed)
        return hidden + self._linear(index, mlp.down_proj, "down_proj", gated), own


def _rotated(heads: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    half = heads.shape[-1] // 2
    cos, sin = rotation
    return heads * cos + torch.cat([-heads[..., half:], heads[..., :half]], -1) * sin


def prompts_of(chat: ChatTokenizer, row: Row, principle: str) -> Iterator[list[int]]:
    """Token ids of the question about the better and about the other response."""
    for label in row["pairs"][0]:
        case = Case(principle, row["prompt"], row["responses"])
        yield list(chat.encode(question_set().fit_messages(case, label, 0, escape_special_tokens=False)).ids)


def tree_of(chat: ChatTokenizer, rows: Sequence[Row]) -> Tree:
    prompts = [ids for row in rows for ids in prompts_of(chat, row, row["principle"])]
    others = [ids for row in rows for ids in prompts_of(chat, row, "\N{CURRENCY SIGN}")]
    return Tree.of(prompts, [common_prefix_length(a, b) for a, b in zip(prompts, others, strict=True)])


def loss_of(scores: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """The loss of one pair of responses under two principles; see `LEVEL_PENALTY`.

    Args:
        scores: (4,) scores, in the order of `Prepared.last`.
        offset: () what is added to them.
    """
    better_a, other_a, better_b, other_b = scores + offset
    order = functional.softplus(other_a - better_a) + functional.softplus(other_b - better_b)
    contrast = functional.softplus(other_b - better_a) + functional.softplus(
        other_a - better_b
    )  # better_a and other_b: one response
    absolute = (
        functional.softplus(-better_a)
        + functional.softplus(-better_b)
        + functional.softplus(other_a)
        + functional.softplus(other_b)
    )
    levels = ((better_a + other_a) / 2) ** 2 + ((better_b + other_b) / 2) ** 2
    return order + CONTRAST * contrast + ABSOLUTE / 2 * absolute + LEVEL_PENALTY / 2 * levels


def report(name: str, scores: np.ndarray) -> None:
    """Print accuracies.

    Args:
        name: What was measured.
        scores: (pairs, 4) in the order of `Prepared.last`.
    """
    margins = scores[:, ::2] - scores[:, 1::2]
    above = scores[:, ::2].reshape(-1, 1) > scores[:, 1::2].reshape(1, -1)
    print(
        f"{name}: {margins.size} questions {np.mean(margins > 0):.3f}, both right {np.mean((margins > 0).all(1)):.3f}, "
        f"better above other response of any pair and principle {above.mean():.3f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=14, help="number of layers before the first that has adapters")
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rate", type=float, default=2e-4, help="learning rate of the adapters")
    parser.add_argument("--pairs", type=int, default=2, help="number of pairs of each family, at most 3")
    parser.add_argument("--families", type=int, help="number of families, for a quick look")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    rng = np.random.default_rng(1)
    model, tokenizer = load(LocalConfig(model=str(fetch(MODEL)), dtype="bfloat16", onednn="off"))
    model.requires_grad_(requires_grad=False)
    chat = ChatTokenizer(tokenizer, name=MODEL)
    layers = AdaptedLayers(model.get_decoder(), arguments.first, arguments.rank)
    rows = [row for row in flips_rows("train") if int(row["meta"]["criterion"][0]) <= arguments.pairs]
    families = rng.permutation(list(dict.fromkeys(row["group"] for row in rows)))[: arguments.families].tolist()
    trees = []
    for two in zip(rows[::2], rows[1::2], strict=True):  # a pair under one principle, and under the other
        if two[0]["group"] in families:
            trees.append(layers.prepare(tree_of(chat, two), two[0]["group"]))
            print(f"prepared {len(trees)} pairs", end="\r", flush=True)
    held_out = set(families[: min(HELD_OUT, len(families) // 4)])
    fitted, tested = ([tree for tree in trees if (tree.group in held_out) is side] for side in (False, True))

    states = np.stack([tree.states for tree in fitted])
    _, groups = np.unique([tree.group for tree in fitted for _ in range(2)], return_inverse=True)
    data = PairData.of(*(states[:, side::2].reshape(-1, states.shape[2]) for side in (0, 1)), groups)
    linear = fit_linear(data, 1e-3) * slope(out_of_fold_margins(data, 1e-3))
    report("linear head", np.stack([tree.states @ linear for tree in tested]))

    weights = nn.Parameter(torch.tensor(linear, dtype=torch.float32))
    offset = nn.Parameter(torch.tensor(-(states @ linear).mean(), dtype=torch.float32))
    optimizer = torch.optim.AdamW(
        [
            {"params": layers.adapters.parameters(), "lr": arguments.rate, "weight_decay": 0.01},
            {"params": [weights], "lr": 0.01 * weights.detach().std().item(), "weight_decay": 0.0},
            {"params": [offset], "lr": 0.01, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
    )
    steps = arguments.epochs * len(fitted) // 2
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 15) * max(0.05, 1 - step / steps)
    )
    start = time.monotonic()
    for epoch in range(arguments.epochs):
        layers.train()
        losses, order = [], rng.permutation(len(fitted))
        for first in range(0, len(order) - 1, 2):
            loss = sum(loss_of(layers(fitted[index]) @ weights, offset) for index in order[first : first + 2]) / 2
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(layers.adapters.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        layers.eval()
        with torch.no_grad():
            scores = np.stack([(layers(tree) @ weights).numpy() for tree in tested])
        report(f"epoch {epoch + 1}, {time.monotonic() - start:.0f} s, loss {np.mean(losses):.2f}", scores)


if __name__ == "__main__":
    main()
