"""LoRA adapters: merged at load, part of the judge's identity, and refused where they do not fit."""

import json
import pickle
import sys

import pytest

from rewardanything_core import ConfigError, MissingExtraError, from_pretrained, load_judge
from rewardanything_core.backends.local.backend import LocalBackend

pytestmark = pytest.mark.model
ASKED = (
    "Prefer the shorter answer.",
    "The capital of France?",
    {"short": "Paris.", "long": "It is Paris, a city."},
)


@pytest.fixture(scope="module")
def adapter_folder(tiny_folder, tmp_path_factory):
    """An adapter of the tiny model with weights that change what it says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    folder = tmp_path_factory.mktemp("adapters") / "polite"
    adapted.save_pretrained(folder)
    return folder


def test_an_adapter_is_merged_and_makes_another_judge_that_survives_its_spec_and_settings(
    tiny_folder, adapter_folder, backend, tmp_path
):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    settings = tmp_path / "ra-judge.toml"
    settings.write_text(
        f'[judge]\nmodel = "{tiny_folder}"\nadapter = "{adapter_folder}"\ndevice = "cpu"\ncache = "off"\n'
        'readout = "generate"\nthinking_budget = 0\n'
    )
    with load_judge(config=settings) as judge:
        ours = judge.backend
        assert judge.model.startswith(f"{tiny_folder}+polite@") and ours.fingerprint()["adapter"]
        assert "adapter" not in backend.fingerprint() and "adapter" not in backend.spec()
        theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_folder), adapter_folder)
        ids = torch.tensor([[5, 6, 7, 8]])
        with torch.inference_mode():
            logits = [model(input_ids=ids).logits[0, -1] for model in (ours._model, theirs, backend._model)]
        assert torch.allclose(logits[0], logits[1], atol=1e-3)
        assert not torch.allclose(logits[0], logits[2], atol=1e-1)
        scores = judge.judge(*ASKED).scores
        for same in (load_judge(json.loads(json.dumps(judge.spec()))), pickle.loads(pickle.dumps(judge))):
            with same:
                assert (same.fingerprint(), same.judge(*ASKED).scores) == (judge.fingerprint(), scores)


def test_the_hash_of_an_adapter_is_that_of_its_content(tiny_folder, adapter_folder, tmp_path):
    from rewardanything_core.backends.local.adapters import adapter_hash

    moved = tmp_path / "polite"
    moved.mkdir()
    content = json.loads((adapter_folder / "adapter_config.json").read_text())
    (moved / "adapter_config.json").write_text(json.dumps(content | {"base_model_name_or_path": "/else"}, indent=1))
    weights = (adapter_folder / "adapter_model.safetensors").read_bytes()
    (moved / "adapter_model.safetensors").write_bytes(weights)
    assert adapter_hash(moved) == adapter_hash(adapter_folder)
    (moved / "adapter_model.safetensors").write_bytes(weights[:-1] + b"\1")
    assert adapter_hash(moved) != adapter_hash(adapter_folder)


def test_an_adapter_of_another_base_model_is_refused(tiny_folder, adapter_folder, tmp_path, monkeypatch):
    from tiny_models import tiny
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    others = {"fewer layers": ("llama", {"num_hidden_layers": 2}), "wider": ("llama", {"hidden_size": 64})}
    for name, (architecture, sizes) in others.items():
        folder = tmp_path / name
        tokenizer.save_pretrained(folder)
        tiny(architecture, vocab_size=len(tokenizer), **sizes).save_pretrained(folder)
        with pytest.raises(ConfigError, match=r"'.*polite' does not fit the model '.*' \(the adapter's config.*names"):
            LocalBackend(folder, device="cpu", adapter=str(adapter_folder))
    with pytest.raises(ConfigError, match=r"has no adapter_config\.json and no adapter_model\.safetensors"):
        from_pretrained(tiny_folder, adapter=str(tiny_folder))
    with pytest.raises(ConfigError, match="There is no folder"):
        from_pretrained(tiny_folder, adapter="/no/such/adapter")
    with pytest.raises(ConfigError, match="adapter and quantization cannot be combined"):
        from_pretrained(tiny_folder, adapter=str(adapter_folder), quantization="4bit")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"\[adapter\]"):
        from_pretrained(tiny_folder, device="cpu", adapter=str(adapter_folder))
