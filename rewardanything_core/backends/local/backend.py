"""A Hugging Face model on this machine, on a GPU or the CPU."""

from __future__ import annotations

import asyncio
import dataclasses
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

from rewardanything_core.backends.base import (
    Backend,
    ChoiceRequest,
    ChoiceResult,
    Completion,
    HiddenStates,
    Request,
)
from rewardanything_core.backends.local.adapters import adapter_folder, adapter_hash
from rewardanything_core.backends.local.chat_tokenizer import ChatTokenizer
from rewardanything_core.backends.local.compatibility import check_compatibility
from rewardanything_core.backends.local.config import LocalConfig
from rewardanything_core.backends.local.engine.constrained_decoder import ConstrainedDecoder
from rewardanything_core.backends.local.engine.engine import Engine
from rewardanything_core.backends.local.engine.option_scorer import OptionScorer
from rewardanything_core.backends.local.engine.state_reader import StateReader
from rewardanything_core.backends.local.model_loading import identity_of, load, window_of
from rewardanything_core.backends.local.preparation import RequestPreparer
from rewardanything_core.backends.local.worker import GenerateRequest, ScoreRequest, StateRequest, Worker
from rewardanything_core.backends.pricing import FREE, Prices
from rewardanything_core.errors import ConfigError
from rewardanything_core.fields import construct
from rewardanything_core.types import Message
from rewardanything_core.weights.catalog import KNOWN_MODELS
from rewardanything_core.weights.fetch import fetch

_MAX_NUM_BATCHED_TOKENS, _MAX_NUM_BATCHED_TOKENS_CPU = 4096, 512
"""Tokens that go through the model in one step. More use a GPU better, and delay the sequences that are decoding. Not
swept."""


class LocalBackend(Backend):
    """A chat model run through transformers by a continuous-batching engine, its replies constrained while decoding.

    Requests of all threads and event loops share the engine; a reply joins and leaves the batch between two steps of
    the others. The model is loaded at construction.

    In float32 the same seed gives the same reply whatever else is in the batch. In bfloat16 a reply can diverge from
    the one generated alone where the two likeliest tokens are within the rounding of each other.

    Args:
        model: Hugging Face hub id, or a folder.
        quantization_config: Passed to transformers, instead of the option ``quantization``. None: none.
        **options: The other fields of `LocalConfig`.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        ConfigError: there is no such model, device or option, it is not a chat model, or the engine cannot run it: it
            keeps a recurrent state instead of keys and values, or has a custom attention implementation.
    """

    supports_grammar: ClassVar[bool] = True
    escapes_special_tokens: ClassVar[bool] = True

    def __init__(self, model: str | Path, *, quantization_config: Any = None, **options: Any) -> None:
        config = construct(LocalConfig, {"model": str(model), **options}, owner="LocalBackend")
        if config.quantization is not None and quantization_config is not None:
            raise ConfigError(
                "quantization and quantization_config both decide how the weights are quantized; give only one."
            )
        if config.adapter is not None and quantization_config is not None:
            raise ConfigError("adapter and quantization_config cannot be combined; see the option quantization.")
        self._config, self._quantization_config = config, quantization_config
        self._name = config.name or config.model
        self._adapter_hash = None if config.adapter is None else adapter_hash(adapter_folder(config.adapter))
        if self._adapter_hash is not None:  # another judge: neither the base model's heads nor its verdicts are its own
            self._name += f"+{Path(str(config.adapter)).name}@{self._adapter_hash[:8]}"
        self._model, tokenizer = load(config, quantization_config)
        self._chat = ChatTokenizer(tokenizer, name=self._name)
        self._decoder = ConstrainedDecoder(self._model, tokenizer, self._chat)
        self._patterns = check_compatibility(self._model, self._name)
        self._scorer = OptionScorer(self._model, self._patterns)
        self._state_reader = StateReader(self._model, self._patterns)
        self._preparer = RequestPreparer(self._chat, window=window_of(self._model.config), name=self._name)
        self._is_reasoning_model = "<think>" in str(tokenizer.chat_template)
        is_cpu = self._model.device.type == "cpu"
        new_engine = partial(
            Engine,
            self._model,
            self._decoder,
            self._patterns,
            max_num_seqs=config.max_batch_size,
            max_total_tokens=config.max_batch_tokens,
            max_num_batched_tokens=_MAX_NUM_BATCHED_TOKENS_CPU if is_cpu else _MAX_NUM_BATCHED_TOKENS,
        )
        self._worker = Worker(self._name, new_engine, self._scorer, self._state_reader, self._preparer)
        # Also at interpreter exit, which must not take torch down while a thread is inside of it. The worker does not
        # refer to the backend, so that a backend that is dropped without `close` is collected.
        weakref.finalize(self, self._worker.close)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """The backend that `spec` described; a known small model is downloaded if this machine does not have it."""
        if spec.get("name") in KNOWN_MODELS:
            spec = {**spec, "model": str(fetch(spec["name"]))}
        return cls(**spec)

    @property
    def model(self) -> str:
        """The model's name."""
        return self._name

    def default_thinking_budget(self, *, trained: bool) -> int:
        """The base class's default for a model that was trained to reason; 160 tokens, a few sentences, for others."""
        return super().default_thinking_budget(trained=trained) if trained else 160

    @property
    def prices(self) -> Prices:
        """Nothing: the model runs on this machine."""
        return FREE

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """The number of tokens of a conversation, counted by the model's tokenizer."""
        return len(self._chat.encode(messages).ids)

    @property
    def supports_option_scores(self) -> bool:
        """True."""
        return True

    def prefers_option_scores(self) -> bool:
        """True unless the chat template contains think tags: a model that was trained to reason judges by reasoning."""
        return not self._is_reasoning_model

    async def complete(self, request: Request) -> Completion:
        """Generate one reply.

        Without a grammar the reply is free text, with up to ``thinking_budget + max_tokens`` tokens, and
        ``truncated`` is whether it was cut off there. With a grammar it always ends where the grammar ends.

        Raises:
            ContextLengthError: the prompt and the longest possible reply do not fit the model's window.
            BackendError: the model failed on this request, or the backend was closed.
        """
        pending = GenerateRequest(request)
        self._worker.submit(pending)
        return await asyncio.wrap_future(pending.future)

    async def score_options(self, questions: Sequence[ChoiceRequest]) -> ChoiceResult:
        """Score options, together with the questions of other callers.

        Raises:
            ContextLengthError: a question does not fit the model's window; then none was run.
            ConfigError: two options of a question begin with the same token.
            BackendError: the model failed on this request, or the backend was closed.
        """
        pending = ScoreRequest(tuple(questions))
        self._worker.submit(pending)
        return await asyncio.wrap_future(pending.future)

    async def hidden_states(self, prompts: Sequence[tuple[Message, ...]], layer: int) -> HiddenStates:
        """Compute hidden states, together with those of other callers; the layers above are not run.

        Args:
            prompts: The conversations.
            layer: The number of layers to run, from 1 to ``num_layers``.

        Raises:
            ContextLengthError: a prompt does not fit the model's window; then none was run.
            BackendError: the model failed on this request, or the backend was closed.
        """
        if not 1 <= layer <= self.num_layers:
            raise ConfigError(f"{self._name} has {self.num_layers} layers; there is no layer {layer}.")
        pending = StateRequest(tuple(prompts), layer)
        self._worker.submit(pending)
        return await asyncio.wrap_future(pending.future)

    @property
    def num_layers(self) -> int:
        """The number of decoder layers."""
        return self._state_reader.num_layers

    def fingerprint(self) -> dict[str, Any]:
        """The model, the identity of its weights, and the arithmetic that it runs in."""
        return {
            "kind": "local",
            "model": self._name,
            "weights": identity_of(Path(self._config.model), self._model.config),
            "gguf_file": self._config.gguf_file,
            "dtype": str(self._model.dtype),
            "quantization": self._config.quantization
            or (repr(self._quantization_config) if self._quantization_config is not None else None),
            **({} if self._adapter_hash is None else {"adapter": self._adapter_hash}),
        }

    def spec(self) -> dict[str, Any]:
        """All options, except for ``onednn`` and ``adapter`` at their defaults.

        Raises:
            ConfigError: it was made with a quantization config, which has no JSON form.
        """
        if self._quantization_config is not None:
            raise ConfigError("A judge with a quantization_config object cannot be sent to another process.")
        options = {field.name: getattr(self._config, field.name) for field in dataclasses.fields(self._config)}
        if self._config.onednn == "auto":  # the spec is as it was before this option existed
            del options["onednn"]
        if self._config.adapter is None:
            del options["adapter"]
        return {"kind": "local", **options}

    def close(self) -> None:
        """Stop the thread. Requests that are not done fail with a `BackendError`."""
        self._worker.close()
