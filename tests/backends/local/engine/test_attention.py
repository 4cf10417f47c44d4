"""What models of many makes say of many sequences at once: written side by side, or read as one tree.

And the products of matrices on AMD processors.
"""

from __future__ import annotations

import pytest
import torch
from tiny_models import MAKES, tiny

from rewardanything_core.backends.local import onednn
from rewardanything_core.backends.local.compatibility import side_by_side
from rewardanything_core.backends.local.engine import attention, model_runner, packed_batch, prefix_tree
from rewardanything_core.backends.local.engine.kv_cache import Shelves

HEAD = [(i * 7) % 300 + 3 for i in range(30)]
SEQUENCES = sorted(
    [
        [*HEAD, 5, 6],
        [*HEAD, 5, 6, 7, *range(40, 60), 9],
        [*HEAD, 5, 6, 7, *range(40, 60), 9],
        [*HEAD[:20], *range(100, 150), 4],
        [200, 201, 202],
    ]
)


# --- side by side


def written(model, reaches, texts, steps, *, gpu=True):
    """What the model says after the last token of each text, so many of whose tokens are added in each step."""
    shelves = Shelves()
    seats = [shelves.enter(ids, len(ids), None, 0) for ids in texts]
    done = [0] * len(texts)
    with torch.inference_mode():
        for sizes in steps:
            parts = [
                packed_batch.Part(seat, start, ids[start : start + size], ids)
                for seat, ids, start, size in zip(seats, texts, done, sizes, strict=True)
            ]
            for part in parts:
                part.seat.shelf.make_room(part.start + len(part.ids))
            layout = packed_batch.Layout(parts, reaches, gpu=gpu)
            logits = model_runner.run(model, layout, layout.ends)
            done = [min(start + size, len(ids)) for start, size, ids in zip(done, sizes, texts, strict=True)]
    assert done == [len(ids) for ids in texts]
    return logits


def assert_as_alone(model, texts, found):
    with torch.inference_mode():
        for ids, logits in zip(texts, found, strict=True):
            alone = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            assert torch.allclose(logits, alone, atol=1e-4), (logits - alone).abs().max()


@pytest.mark.parametrize(("kind", "details"), MAKES)
def test_rows_of_any_kind_say_side_by_side_what_they_say_alone(kind, details):
    model = tiny(kind, **details)
    texts = [[(i * j * 7 + i) % 300 + 3 for j in range(1, 30 + 9 * i)] for i in range(1, 4)]
    steps = [(20, 1, 3), (1, 30, 1), (1, 1, 40), (40, 40, 40)]
    for gpu in (False, True):
        assert_as_alone(model, texts, written(model, side_by_side(model, kind), texts, steps, gpu=gpu))


@pytest.mark.parametrize(("kind", "details"), MAKES)
def test_rows_that_begin_alike_look_at_their_beginning_together(kind, details, monkeypatch):
    alike = []
    attend = attention.How.attend_alike

    def spied(how, asked, keys, values, mask, shared):
        alike.append((shared, tuple(mask.shape)))
        return attend(how, asked, keys, values, mask, shared)

    monkeypatch.setattr(attention.How, "attend_alike", spied)
    model = tiny(kind, **details)
    head = [(j * 11) % 300 + 3 for j in range(90)]
    texts = [head + tail for tail in ([4, 5, 6, 7], [4, 5, 9, 10, 11, 12], [8, *range(50, 65)])]
    found = written(model, side_by_side(model, kind), texts, [(91, 92, 90), (1, 1, 2), (2, 3, 14)])
    assert {size for size, _ in alike} == {90}
    assert len(alike) == 2 * model.config.num_hidden_layers
    assert_as_alone(model, texts, found)


def test_rows_that_begin_otherwise_or_are_alone_look_by_themselves(monkeypatch):
    monkeypatch.setattr(attention.How, "attend_alike", None)
    model = tiny("llama")
    reaches = side_by_side(model, "llama")
    head = [(j * 11) % 300 + 3 for j in range(90)]
    for texts in ([[*head, 1, 2]], [[*head, 1, 2], [3, *head, 2]]):
        found = written(model, reaches, texts, [[91] * len(texts), [5] * len(texts)])
        assert_as_alone(model, texts, found)


def test_a_row_that_adds_more_makes_the_others_no_wider():
    seats = Shelves()
    parts = []
    for size in [1] * 6 + [16, 200]:
        seat = seats.enter([], 300, None, 0)
        parts.append(packed_batch.Part(seat, 60, [5] * size))
    sizes = [[len(part.ids) for part in group] for group in packed_batch._grouped(parts, 100)]
    assert sizes == [[1] * 6, [16], [200]]
    together = packed_batch._grouped(parts, 10**9)  # where one more operation costs more than anything
    assert [len(part.ids) for part in together[0]] == [1] * 6 + [16, 200]


# --- trees


def said(model, reaches, sequences, **settings):
    tree = prefix_tree.Tree(sequences, reaches, **{"gpu": False} | settings)
    with torch.inference_mode():
        return tree, model_runner.run(model, tree, tree.ends)


@pytest.mark.parametrize(("kind", "details"), MAKES)
@pytest.mark.parametrize("wide", [7, 256])
def test_each_sequence_says_in_the_tree_what_it_says_alone(kind, details, wide, monkeypatch):
    monkeypatch.setattr(prefix_tree, "_WIDE", wide)
    monkeypatch.setattr(prefix_tree, "one_more", lambda gpu: 100)
    model = tiny(kind, **details)
    reaches = attention.reaches_of(model.config)
    tree, found = said(model, reaches, SEQUENCES)
    assert len(tree.ids) == len({tuple(ids[: at + 1]) for ids in SEQUENCES for at in range(len(ids))})
    assert_as_alone(model, SEQUENCES, found)


def test_branches_do_not_pay_for_each_other():
    branches = [[1, 2, 3, at, *range(1000)] for at in range(10, 14)]
    tree = prefix_tree.Tree(branches, [attention.Reach("full_attention")], gpu=False)
    pairs = sum(stretch.pairs for stretch in tree._stretches)
    assert pairs < len(tree.ids) ** 2 / 5
    assert [stretch.span.stop for stretch in tree._stretches] == [
        *(stretch.span.start for stretch in tree._stretches[1:]),
        len(tree.ids),
    ]
    assert len(prefix_tree.Tree(branches[:1], [attention.Reach("full_attention")], gpu=True)._stretches) == 1


def test_small_branches_look_together():
    branches = [[1, 2, 3, at, *range(8)] for at in range(10, 14)]
    assert len(prefix_tree.Tree(branches, [attention.Reach("full_attention")], gpu=False)._stretches) == 1


# --- products


@pytest.mark.parametrize("kind", ["qwen2", "gpt2"])  # with and without a bias; gpt2's layers are of another class
def test_products_by_another_library_are_the_same(kind, monkeypatch):
    details = {"n_layer": 2, "n_head": 4, "n_embd": 32} if kind == "gpt2" else {}
    model = tiny(kind, **details)
    ids = torch.tensor([SEQUENCES[1]])
    with torch.inference_mode():
        before = model(input_ids=ids).logits
    monkeypatch.setattr(onednn, "_amd", lambda: True)
    onednn.quicken(model)
    with torch.inference_mode():
        after = model(input_ids=ids).logits
    assert torch.allclose(before, after, atol=1e-5)
    loss = model(input_ids=ids, labels=ids).loss  # with gradients all is as it was
    loss.backward()
    assert next(model.parameters()).grad is not None


def test_only_many_rows_or_large_layers_go_the_other_way():
    calls = []

    def multiply(hidden, weight, bias, *_):
        calls.append(hidden.shape[0])
        return torch.nn.functional.linear(hidden, weight, bias)

    small, large = torch.nn.Linear(8, 4), torch.nn.Linear(4, 2_000_001)
    with torch.inference_mode():
        for rows in (1, 7, 8, 30):
            onednn._forward(small, multiply)(torch.ones(rows, 8))
        onednn._forward(large, multiply)(torch.ones(1, 4))
    assert calls == [8, 30, 1]
    onednn._forward(small, multiply)(torch.ones(30, 8))
    assert len(calls) == 3


def test_where_the_other_library_is_missing_nothing_changes(monkeypatch):
    monkeypatch.setattr(onednn, "_amd", lambda: True)
    monkeypatch.setattr(onednn, "_onednn", lambda: None)
    model = tiny("llama")
    onednn.quicken(model)
    assert not any("forward" in vars(module) for module in model.modules())
