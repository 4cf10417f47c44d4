"""The local engine compared with what transformers has for many prompts: continuous batching, and padded `generate`.

    OMP_NUM_THREADS=1 python benchmarks/continuous_batching.py [--cases 16] [--thinking 24] [--device cpu]

The same prompts and replies of the same number of tokens, in float32 on a CPU. transformers gets the tokens
of our prompts and generates free text, which is neither constrained nor parsed. Prints seconds of wall-clock and of
processor time and the number of tokens; ours include the literals of a verdict, which are not decoded one by one.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from throughput_local import cases_of, judged, measured
from transformers import AutoModelForCausalLM, GenerationConfig

from rewardanything_core import Judge, SamplingParams
from rewardanything_core.backends.base import Completion, Request
from rewardanything_core.backends.local.backend import LocalBackend
from rewardanything_core.weights.fetch import fetch


class RecordingBackend(LocalBackend):
    """Records the token ids of its prompts."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prompts: list[list[int]] = []

    async def complete(self, request: Request) -> Completion:
        self.prompts.append(self._chat.encode(request.messages).ids)
        return await super().complete(request)


def padded(model: Any, prompts: list[list[int]], tokens: int, pad: int) -> int:
    """`generate` on one batch, padded on the left."""
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(ids)) + ids for ids in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=model.device)
    lengths = {"max_new_tokens": tokens, "min_new_tokens": tokens}
    with torch.inference_mode():
        output = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, pad_token_id=pad, **lengths)
    return int((output.shape[1] - width) * output.shape[0])


def continuous(model: Any, prompts: list[list[int]], tokens: int, pad: int) -> int:
    """`generate_batch`, which may end a reply early."""
    settings = GenerationConfig(max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=pad)
    settings.eos_token_id = pad
    return sum(
        len(one.generated_tokens) for one in model.generate_batch(inputs=prompts, generation_config=settings).values()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cases", type=int, default=16)
    parser.add_argument("--thinking", type=int, default=24, help="tokens of reasoning in a reply of ours")
    arguments = parser.parse_args()
    folder = fetch(arguments.model)
    backend = RecordingBackend(folder, device=arguments.device, dtype="float32")
    sampling = SamplingParams(thinking_budget=arguments.thinking)
    judge = Judge(backend, sampling=sampling, cache="off", readout="generate", retries=0)
    judged(judge, cases_of(1, 3, 999))
    backend.prompts.clear()
    outcomes: list[Any] = []
    ours = measured(lambda: outcomes.extend(judged(judge, cases_of(arguments.cases, 3, 7))))
    total_tokens = sum(outcome.usage.completion_tokens for outcome in outcomes)
    print(f"ours: {ours[0]:.1f} s, processor {ours[1]:.1f}, {total_tokens} tokens", flush=True)
    prompts, tokens = backend.prompts, round(total_tokens / arguments.cases)
    backend.close()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(arguments.device).eval()
    pad = int(model.generation_config.pad_token_id or model.config.eos_token_id)
    for name, generate in (("padded generate", padded), ("continuous batching", continuous)):
        counts: list[int] = []
        seconds = measured(
            lambda generate=generate, counts=counts: counts.append(generate(model, prompts, tokens, pad))
        )
        print(f"{name}: {seconds[0]:.1f} s, processor {seconds[1]:.1f}, {counts[0]} tokens", flush=True)


if __name__ == "__main__":
    main()
