"""Matrix products by oneDNN: the same results, only where they pay, and off where they are turned off."""

import pytest
import torch
from tiny_models import tiny

from rewardanything_core import ConfigError
from rewardanything_core.backends.local import onednn
from rewardanything_core.backends.local.config import LocalConfig
from rewardanything_core.backends.local.model_loading import load

IDS = [(i * 7) % 300 + 3 for i in range(30)]


def is_patched(model):
    return any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize(
    "architecture", ["qwen2", "gpt2"]
)  # with and without a bias; gpt2's layers are of another class
def test_results_are_the_same_and_gradients_still_work(architecture, monkeypatch):
    options = {"n_layer": 2, "n_head": 4, "n_embd": 32} if architecture == "gpt2" else {}
    model = tiny(architecture, **options)
    ids = torch.tensor([IDS])
    with torch.inference_mode():
        before = model(input_ids=ids).logits
    monkeypatch.setattr(onednn, "_is_amd", lambda: True)
    onednn.enable_onednn_matmul(model)
    with torch.inference_mode():
        after = model(input_ids=ids).logits
    assert torch.allclose(before, after, atol=1e-5)
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    assert next(model.parameters()).grad is not None


def test_it_is_used_for_many_tokens_or_large_layers_in_inference_mode_only():
    calls = []

    def multiply(hidden, weight, bias, *_):
        calls.append(hidden.shape[0])
        return torch.nn.functional.linear(hidden, weight, bias)

    small, large = torch.nn.Linear(8, 4), torch.nn.Linear(4, 2_000_001)
    with torch.inference_mode():
        for tokens in (1, 7, 8, 30):
            onednn._forward(small, multiply)(torch.ones(tokens, 8))
        onednn._forward(large, multiply)(torch.ones(1, 4))
    assert calls == [8, 30, 1]
    onednn._forward(small, multiply)(torch.ones(30, 8))
    assert len(calls) == 3


def changed_signature(hidden, weight):
    raise TypeError("unexpected arguments")


@pytest.mark.parametrize("operator", [None, changed_signature, lambda hidden, *_: hidden])
def test_nothing_changes_where_the_private_operator_is_missing_or_different(monkeypatch, operator):
    monkeypatch.setattr(onednn, "_is_amd", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", operator)
    model = tiny("llama")
    onednn.enable_onednn_matmul(model)
    assert not is_patched(model)


@pytest.mark.model
def test_the_setting_turns_it_off(tiny_folder, monkeypatch):
    monkeypatch.setattr(onednn, "_is_amd", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    automatic, _ = load(LocalConfig(model=str(tiny_folder), device="cpu"))
    off, _ = load(LocalConfig(model=str(tiny_folder), device="cpu", onednn="off"))
    assert (is_patched(automatic), is_patched(off)) == (onednn._onednn_linear() is not None, False)
    with pytest.raises(ConfigError, match="onednn must be 'auto' or 'off', not 'on'"):
        LocalConfig(model="m", onednn="on")
