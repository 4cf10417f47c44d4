"""Scalar reward models: classifiers with one label, which give one number for a conversation and write nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from rewardanything_core.backends.base import Backend, Completion, Request, Rewards
from rewardanything_core.backends.local.config import LocalConfig
from rewardanything_core.backends.local.model_loading import identity_of, load, window_of
from rewardanything_core.backends.pricing import FREE, Prices
from rewardanything_core.errors import ConfigError, ContextLengthError
from rewardanything_core.fields import construct
from rewardanything_core.types import Message, Usage


class ScalarBackend(Backend):
    """A classifier with one label on this machine. Conversations run one after the other.

    Args:
        model: Hugging Face hub id, or a folder.
        **options: The other fields of `LocalConfig`.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        ConfigError: there is no such model, device or option, or the model is not a classifier with one label.
    """

    def __init__(self, model: str | Path, **options: Any) -> None:
        self._config = construct(LocalConfig, {"model": str(model), **options}, owner="ScalarBackend")
        if self._config.adapter is not None:
            raise ConfigError("adapter is for chat models; merge it into the scalar reward model and save that.")
        self._model, self._tokenizer = load(self._config, classifier=True)
        self._lock = threading.Lock()

    @property
    def model(self) -> str:
        """The model's name."""
        return self._config.name or self._config.model

    @property
    def prices(self) -> Prices:
        """Nothing: the model runs on this machine."""
        return FREE

    async def complete(self, request: Request) -> Completion:  # noqa: ARG002
        """Refused: the model writes nothing."""
        raise ConfigError(f"{self.model} is a scalar reward model and writes nothing; judge with template='skywork'.")

    async def rewards(self, conversations: Sequence[Sequence[Message]]) -> Rewards:
        """The reward of the last turn of each conversation.

        Raises:
            ContextLengthError: a conversation does not fit the model's window; then none was run.
        """
        return await asyncio.to_thread(self._rewards, conversations)

    def _rewards(self, conversations: Sequence[Sequence[Message]]) -> Rewards:
        import torch

        encoded = [
            self._tokenizer.apply_chat_template(list(turns), tokenize=True, return_dict=False, return_tensors="pt")
            for turns in conversations
        ]
        window = window_of(self._model.config)
        if (longest := max(ids.shape[1] for ids in encoded)) > window:
            raise ContextLengthError(tokens=longest, limit=window)
        device = self._model.device
        with self._lock, torch.inference_mode():
            values = tuple(float(self._model(input_ids=ids.to(device)).logits[0, 0]) for ids in encoded)
        tokens = sum(ids.shape[1] for ids in encoded)
        return Rewards(values=values, usage=Usage(calls=len(encoded), prompt_tokens=tokens))

    def fingerprint(self) -> dict[str, Any]:
        """The model, the identity of its weights, and the arithmetic that it runs in."""
        return {
            "kind": "scalar",
            "model": self.model,
            "weights": identity_of(Path(self._config.model), self._model.config),
            "dtype": str(self._model.dtype),
        }

    def spec(self) -> dict[str, Any]:
        """All options."""
        return {"kind": "scalar", **dataclasses.asdict(self._config)}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """The backend that `spec` described."""
        return cls(**spec)
