"""Conversion of a GGUF file to a folder in Hugging Face layout, a block of rows at a time.

transformers can do it too, and would hold all weights in memory twice. Here the weights of a model go from the GGUF
file to the safetensors file in blocks of a few megabytes, so that a laptop can convert a model that it can run. The
files are the same, byte for byte.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gguf
    import torch

_BLOCK = 1 << 20
"""Weights to dequantize at once: as fast as any other size, since their float32 values stay in the cache."""

_SAMPLING_STEP = 997
"""Distance of the rows that decide whether two embeddings are the same."""


def write_folder(file: Path, folder: Path, dtype: str) -> None:
    """Convert a GGUF file to safetensors, tokenizer and configuration, which load a hundred times faster.

    Args:
        file: The GGUF file, of a model with the architecture of Llama or Qwen2.
        folder: An existing folder for the model.
        dtype: Name of a torch dtype.

    Raises:
        ValueError: the file has another architecture, or not the tensors of its architecture.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    reader = _read(file)
    with _parsed_once(reader):
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
        config = AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name)
    weights = GGUFWeights(reader, config)
    config.tie_word_embeddings = weights.has_tied_embeddings
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    tokenizer.save_pretrained(folder)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    write_safetensors(dict(model.named_parameters()), weights, folder / "model.safetensors")


class GGUFWeights:
    """The weights in a GGUF file, by the names that they have in transformers.

    Args:
        reader: The file.
        config: Configuration of the model in transformers.

    Raises:
        ValueError: the file's architecture is not supported.
    """

    def __init__(self, reader: gguf.GGUFReader, config: Any) -> None:
        import gguf

        architecture = str(reader.fields["general.architecture"].contents())
        if architecture not in ("llama", "qwen2"):
            raise ValueError(f"Models with the architecture {architecture!r} cannot be converted.")
        self._is_llama = architecture == "llama"
        self._config = config
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        by_name = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
        self._names = gguf.get_tensor_name_map(by_name[architecture], config.num_hidden_layers)

    @property
    def has_tied_embeddings(self) -> bool:
        """Whether the output embeddings are the input embeddings.

        Quantizers write tied embeddings a second time, with higher precision, as the output. A sample of rows shows it:
        quantizations of one matrix differ by a few percent, different matrices by over 100%.
        """
        import numpy as np

        if "output.weight" not in self._tensors:
            return True
        inputs, outputs = (
            _dequantized(self._tensors[name], slice(None, None, _SAMPLING_STEP))
            for name in ("token_embd.weight", "output.weight")
        )
        return inputs.shape == outputs.shape and bool(np.linalg.norm(inputs - outputs) < 0.2 * np.linalg.norm(outputs))

    def blocks(self, name: str, parameter: torch.Tensor) -> Iterator[torch.Tensor]:
        """The rows of a parameter, in order, some at a time.

        Args:
            name: Its name in transformers.
            parameter: A tensor with its shape and dtype.

        Raises:
            ValueError: the file does not have it, or has another shape of it.
        """
        import torch

        tensor = self._tensor(name)
        shape = tuple(reversed([int(size) for size in tensor.shape]))
        if shape != tuple(parameter.shape):
            raise ValueError(f"{name} has the shape {shape} in the GGUF file, not {tuple(parameter.shape)}.")
        heads = self._interleaved_heads(name)
        rows = max(1, _BLOCK // shape[-1]) if len(shape) > 1 and not heads else shape[0]
        for start in range(0, shape[0], rows):
            values = _dequantized(tensor, slice(start, start + rows))
            if heads:  # the two halves of each head's rows alternate
                pairs = values.reshape(heads, shape[0] // heads // 2, 2, *shape[1:])
                values = pairs.swapaxes(1, 2).reshape(shape)
            yield torch.from_numpy(values).to(parameter.dtype)

    def _tensor(self, name: str) -> gguf.ReaderTensor:
        found = self._names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found == "token_embd.weight" and "output.weight" in self._tensors and self._config.tie_word_embeddings:
            found = "output.weight"  # the more precise one, and it saves the space of the other
        if found not in self._tensors:
            raise ValueError(f"The GGUF file has no tensor for {name}.")
        return self._tensors[found]

    def _interleaved_heads(self, name: str) -> int:
        """The number of heads of a Llama model's query or key projection, whose rows GGUF keeps in another order."""
        if self._is_llama and ".q_proj." in name:
            return int(self._config.num_attention_heads)
        return int(self._config.num_key_value_heads) if self._is_llama and ".k_proj." in name else 0


def write_safetensors(parameters: dict[str, torch.Tensor], weights: GGUFWeights, path: Path) -> None:
    """Write a safetensors file without holding it in memory.

    Args:
        parameters: Name -> a tensor with the parameter's shape and dtype; its values do not matter. All have one dtype.
        weights: The values.
        path: The file, which is on disk when this returns.

    Raises:
        ValueError: as for `GGUFWeights.blocks`.
    """
    import torch

    names = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, parameter in sorted(parameters.items()):
        start, end = end, end + parameter.numel() * parameter.element_size()
        header[name] = {
            "dtype": names[parameter.dtype],
            "shape": list(parameter.shape),
            "data_offsets": [start, end],
        }
    content = json.dumps(header, separators=(",", ":")).encode()
    content += b" " * (-len(content) % 8)
    with path.open("wb") as out:
        out.write(len(content).to_bytes(8, "little") + content)
        for name, parameter in sorted(parameters.items()):
            for block in weights.blocks(name, parameter):
                out.write(block.contiguous().view(torch.uint8).numpy())
        out.flush()
        os.fsync(out.fileno())


def _dequantized(tensor: gguf.ReaderTensor, rows: slice) -> Any:
    """Rows of a tensor as a new float32 array."""
    import gguf
    import numpy as np

    values = gguf.dequantize(tensor.data[rows], tensor.tensor_type)
    return values if values.flags.writeable else np.copy(values)  # float32 tensors are views of the file


def _read(file: Path) -> gguf.GGUFReader:
    import gguf
    import numpy as np

    class Reader(gguf.GGUFReader):  # type: ignore[misc]  # the package has no types
        def __setattr__(self, name: str, value: Any) -> None:
            # Of a memmap, every slice is one again, which takes more than half of the time to parse a vocabulary.
            super().__setattr__(name, value.view(np.ndarray) if isinstance(value, np.memmap) else value)

    return Reader(file)


@contextmanager
def _parsed_once(reader: gguf.GGUFReader) -> Iterator[None]:
    """Let transformers use this reader: it would parse the file again for the tokenizer, and for the configuration."""
    import gguf

    original = gguf.GGUFReader
    gguf.GGUFReader = lambda *_: reader  # transformers looks it up at each call
    try:
        yield
    finally:
        gguf.GGUFReader = original
