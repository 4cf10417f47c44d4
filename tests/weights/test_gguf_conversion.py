"""Conversion of GGUF files: the real 135M model against transformers, and a made file with odd content."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

from rewardanything_core.errors import ModelFetchError
from rewardanything_core.weights import fetch, sources

PEAK_MEMORY = """
import resource, sys
from pathlib import Path
import torch, transformers
from rewardanything_core.weights import gguf_conversion

written = gguf_conversion.write_safetensors
def measured(*arguments):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    written(*arguments)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

gguf_conversion.write_safetensors = measured
gguf_conversion.write_folder(Path(sys.argv[1]), Path(sys.argv[2]), "float32")
"""


def llama(path: Path, architecture: str = "llama", *, output_rows: int = 0) -> Path:
    """A GGUF file of one layer without its MLP."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(1)
    rows = np.random.default_rng(0).normal(size=(32, 64)).astype(np.float32)
    writer.add_tensor("token_embd.weight", rows)
    if output_rows:
        writer.add_tensor("output.weight", rows[:output_rows] * -1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.model
@pytest.mark.timeout(300)
def test_the_weights_are_those_that_transformers_reads_and_take_no_memory(tmp_path: Path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    file = fetch.fetch_gguf("smollm2-135m")
    done = subprocess.run(
        [sys.executable, "-c", PEAK_MEMORY, str(file), str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 250_000  # kilobytes, of which the mapped file has 98,000; the weights have 538,000
    expected = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    converted = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
    weights = converted.state_dict()
    assert weights.keys() == expected.state_dict().keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.state_dict().items())
    assert converted.dtype == torch.float32
    assert converted.generation_config.eos_token_id == expected.generation_config.eos_token_id
    original = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    text = "Grüße 世界 <|im_start|>user\n\n  x"
    assert AutoTokenizer.from_pretrained(tmp_path)(text).input_ids == original(text).input_ids


@pytest.mark.parametrize(("output_rows", "is_tied"), [(0, True), (32, False), (16, False)])
def test_embeddings_are_tied_if_the_output_is_absent_or_the_same(tmp_path: Path, output_rows: int, is_tied: bool):
    from transformers import LlamaConfig

    from rewardanything_core.weights.gguf_conversion import GGUFWeights

    reader = gguf.GGUFReader(llama(tmp_path / "made.gguf", output_rows=output_rows))
    assert GGUFWeights(reader, LlamaConfig(num_hidden_layers=1)).has_tied_embeddings is is_tied


def test_a_tensor_that_is_missing_or_has_another_shape_is_named(tmp_path: Path):
    import torch
    from transformers import LlamaConfig

    from rewardanything_core.weights.gguf_conversion import GGUFWeights, write_safetensors

    weights = GGUFWeights(gguf.GGUFReader(llama(tmp_path / "made.gguf")), LlamaConfig(num_hidden_layers=1))
    for name, shape in (("model.layers.0.mlp.up_proj.weight", (2, 2)), ("model.embed_tokens.weight", (8, 64))):
        with pytest.raises(ValueError, match=name):
            write_safetensors({name: torch.empty(shape)}, weights, tmp_path / "model.safetensors")


def test_a_file_that_cannot_be_converted_is_an_error_of_the_fetch(tmp_path: Path):
    (tmp_path / "no.gguf").write_bytes(b"GGUF but no more")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelFetchError):
        sources.convert(tmp_path / "no.gguf", tmp_path / "folder", "float32", lambda done: None)
