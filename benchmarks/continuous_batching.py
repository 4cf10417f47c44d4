"""Our resident batch beside what transformers has for many prompts at once: its continuous batching, and padding.

    OMP_NUM_THREADS=1 python benchmarks/continuous_batching.py [--cases 16] [--thinking 24] [--device cpu]

The prompts of the same cases and replies of the same number of tokens, in float32 on a CPU. The peers write free text:
they are given the tokens of our prompts, and neither parse nor check anything. Prints seconds by the clock and of the
processor, and the number of tokens, which for ours counts the certain text of a verdict as well.
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


class Noting(LocalBackend):
    """Keeps the tokens of what it was asked."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.prompts: list[list[int]] = []

    async def complete(self, request: Request) -> Completion:
        self.prompts.append(self._chat.encode(request.messages).ids)
        return await super().complete(request)


def padded(model: Any, prompts: list[list[int]], tokens: int, pad: int) -> int:
    """`generate` on one rectangle, filled up on the left."""
    wide = max(map(len, prompts))
    ids = torch.tensor([[pad] * (wide - len(ids)) + ids for ids in prompts], device=model.device)
    seen = torch.tensor([[0] * (wide - len(ids)) + [1] * len(ids) for ids in prompts], device=model.device)
    lengths = {"max_new_tokens": tokens, "min_new_tokens": tokens}
    with torch.inference_mode():
        found = model.generate(input_ids=ids, attention_mask=seen, do_sample=False, pad_token_id=pad, **lengths)
    return int((found.shape[1] - wide) * found.shape[0])


def continuous(model: Any, prompts: list[list[int]], tokens: int, pad: int) -> int:
    """`generate_batch`. It may stop a reply early."""
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
    given = parser.parse_args()
    folder = fetch(given.model)
    backend = Noting(folder, device=given.device, dtype="float32")
    sampling = SamplingParams(thinking_budget=given.thinking)
    judge = Judge(backend, sampling=sampling, cache="off", readout="generate", retries=0)
    judged(judge, cases_of(1, 3, 999))
    backend.prompts.clear()
    outcomes: list[Any] = []
    ours = measured(lambda: outcomes.extend(judged(judge, cases_of(given.cases, 3, 7))))
    written = sum(outcome.usage.completion_tokens for outcome in outcomes)
    print(f"ours: {ours[0]:.1f} s, processor {ours[1]:.1f}, {written} tokens", flush=True)
    prompts, tokens = backend.prompts, round(written / given.cases)
    backend.close()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(given.device).eval()
    pad = int(model.generation_config.pad_token_id or model.config.eos_token_id)
    for name, write in (("padded generate", padded), ("continuous batching", continuous)):
        counts: list[int] = []
        spent = measured(lambda write=write, into=counts: into.append(write(model, prompts, tokens, pad)))
        print(f"{name}: {spent[0]:.1f} s, processor {spent[1]:.1f}, {counts[0]} tokens", flush=True)


if __name__ == "__main__":
    main()
