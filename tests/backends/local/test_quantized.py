"""Weights in 8 and 4 bits: the 135M model on the CPU."""

import sys
from pathlib import Path

import pytest

from rewardanything_core import ConfigError, MissingExtraError, from_pretrained, load_judge
from rewardanything_core.backends.local.backend import LocalBackend

RESPONSES = {"short": "Paris.", "long": "The capital of France is Paris, a city on the Seine."}


@pytest.mark.parametrize(("quantization", "share"), [("8bit", 0.7), ("4bit", 0.5)])
def test_a_quantized_model_takes_less_memory(model_folder: Path, quantization: str, share: float) -> None:
    backend = LocalBackend(model_folder, device="cpu", quantization=quantization)  # type: ignore[arg-type]
    parameters = sum(p.numel() for p in LocalBackend(model_folder, device="cpu", dtype="bfloat16")._model.parameters())
    assert backend._model.get_memory_footprint() < share * 2 * parameters  # bfloat16 takes two bytes each
    assert backend.fingerprint()["quantization"] == quantization


def test_a_judge_with_quantized_weights_gives_verdicts_in_both_readouts_and_survives_its_spec(
    model_folder: Path,
) -> None:
    with from_pretrained(model_folder, device="cpu", quantization="4bit", cache="off", readout="logits") as judge:
        scored = judge.judge("Prefer the shorter answer.", "The capital of France?", RESPONSES)
        written = judge.with_options(readout="generate")
        generated = written.judge("Prefer the shorter answer.", "The capital of France?", RESPONSES)
        spec = judge.spec()
    with load_judge(spec) as same:
        assert same.judge("Prefer the shorter answer.", "The capital of France?", RESPONSES).scores == scored.scores
    for verdict in (scored, generated):
        assert set(verdict.scores) == set(RESPONSES) and all(1 <= score <= 5 for score in verdict.scores.values())


def test_contradictory_quantization_options_are_refused(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="quantization must be '8bit' or '4bit', not '2bit'"):
        LocalBackend(model_folder, device="cpu", quantization="2bit")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="quantization and quantization_config both decide"):
        LocalBackend(model_folder, device="cpu", quantization="4bit", quantization_config=object())
    with pytest.raises(ConfigError, match="quantization and gguf_file both decide"):
        LocalBackend(model_folder, device="cpu", quantization="4bit", gguf_file="model.gguf")
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingExtraError, match="quantized"):
        LocalBackend(model_folder, device="cpu", quantization="4bit")
