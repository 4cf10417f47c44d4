"""A local backend whose model is quick: random weights, with the tokenizer of the small model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rewardanything_core.backends.local.backend import LocalBackend


@pytest.fixture(scope="session")
def tiny_folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with that model."""
    from tiny_models import tiny
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    tokenizer.save_pretrained(folder)
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 8192, "initializer_range": 0.3}
    tiny("llama", eos_token_id=tokenizer.eos_token_id, **sizes).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def backend(tiny_folder: Path) -> Iterator[LocalBackend]:
    """A backend with that model, loaded once."""
    from rewardanything_core.backends.local.backend import LocalBackend

    loaded = LocalBackend(tiny_folder, device="cpu")
    yield loaded
    loaded.close()
