"""Hidden states of the 135M model: the same in any company, and equal to the model's own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rewardanything_core import ConfigError
from rewardanything_core.backends import ChoiceRequest

if TYPE_CHECKING:
    from rewardanything_core.backends.local.backend import LocalBackend

PROMPTS = [({"role": "user", "content": text},) for text in ("Is water wet?", "Is water wet and cold?", "No?")]


def _states(model: LocalBackend, prompts: list[tuple[dict[str, str], ...]], layer: int) -> list[list[float]]:
    return [state.tolist() for state in asyncio.run(model.hidden_states(prompts, layer)).states]  # type: ignore[arg-type]


@pytest.mark.parametrize("layer", [1, 20, 30])
def test_states_are_those_of_the_model_itself(small_model: LocalBackend, layer: int) -> None:
    import torch

    outputs: list[torch.Tensor] = []
    hook = (
        small_model._model.get_decoder()
        .layers[layer - 1]
        .register_forward_hook(
            lambda _module, _inputs, output: outputs.append(output[0] if isinstance(output, tuple) else output)
        )
    )
    try:
        for prompt in PROMPTS:
            ids = small_model._chat.encode(prompt).ids  # type: ignore[arg-type]
            with torch.inference_mode():
                small_model._model(input_ids=torch.tensor([ids]))
    finally:
        hook.remove()
    for state, output in zip(_states(small_model, PROMPTS, layer), outputs, strict=True):
        assert state == pytest.approx(output[0, -1].float().tolist(), rel=1e-3, abs=1e-3)


def test_states_and_option_scores_can_be_requested_together(small_model: LocalBackend) -> None:
    question = ChoiceRequest(messages=PROMPTS[0], options=("Yes", "No"))  # type: ignore[arg-type]

    async def run() -> tuple[list[list[float]], list[list[float]], float]:
        first, second, scores = await asyncio.gather(
            small_model.hidden_states(PROMPTS[:2], 10),  # type: ignore[arg-type]
            small_model.hidden_states(PROMPTS[:2], 12),  # type: ignore[arg-type]
            small_model.score_options([question]),
        )
        states = [[state.tolist() for state in result.states] for result in (first, second)]
        return states[0], states[1], scores.answers[0].probabilities["Yes"]

    first, second, probability = asyncio.run(run())
    for states, layer in ((first, 10), (second, 12)):
        for state, alone in zip(states, _states(small_model, PROMPTS[:2], layer), strict=True):
            assert state == pytest.approx(alone, rel=1e-3, abs=1e-3)
    alone_scores = asyncio.run(small_model.score_options([question]))
    assert probability == pytest.approx(alone_scores.answers[0].probabilities["Yes"], abs=1e-4)


def test_usage_counts_a_shared_prefix_once(small_model: LocalBackend) -> None:
    twice = asyncio.run(small_model.hidden_states([PROMPTS[0], PROMPTS[0]], 1)).usage  # type: ignore[list-item]
    once = asyncio.run(small_model.hidden_states([PROMPTS[0]], 1)).usage  # type: ignore[list-item]
    assert twice.prompt_tokens == once.prompt_tokens > 0


@pytest.mark.parametrize("layer", [0, 31])
def test_a_layer_that_does_not_exist_is_refused(small_model: LocalBackend, layer: int) -> None:
    with pytest.raises(ConfigError, match="has 30 layers"):
        asyncio.run(small_model.hidden_states(PROMPTS, layer))  # type: ignore[arg-type]
