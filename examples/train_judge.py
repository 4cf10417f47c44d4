"""Train a judge that reasons: GRPO with LoRA on labelled lists, measured on held-out families before and after.

    pip install ".[local,rl,adapter]"
    python examples/train_judge.py --steps 24                  # SmolLM2-135M on a CPU; add --short
    python examples/train_judge.py --model Qwen/Qwen3-8B --data build/train.jsonl --held-out build/test.jsonl \\
        --steps 300 --warmup 0 --cases 8 --generations 8 --micro 4 --length 1024 --rank 32 --rate 1e-5 --vllm

The second is for one GPU of 80 GB. The data are files that `ra-judge bench` reads: PrincipleFlips (the default), what
`ra-judge build` wrote, public sets. Without `--held-out`, a fifth of the families is held out. The policy writes freely
and is rewarded by `rewardanything_rl.judge_training`; a model that does not know the form yet learns it first
(`--warmup`) from verdicts with random scores, which say nothing about who is right.

Writes the adapter, which `from_pretrained(MODEL, adapter=FOLDER)` and vLLM load, and the log of each step to
`--folder`.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from rewardanything_core import SamplingParams, Template, from_pretrained
from rewardanything_core.backends import verdict_reply
from rewardanything_core.bench import BenchItem, read_flips, read_items, run_bench
from rewardanything_core.weights.catalog import KNOWN_MODELS
from rewardanything_core.weights.fetch import fetch
from rewardanything_rl.judge_training import JudgeReward, TrainingRow, split_by_group, training_rows

SHORT = """You judge responses to a prompt under one principle, and only the principle decides. The user's message is \
JSON.
Score each response: 5 follows the principle fully, 1 not at all. Reply in this form, with every response in both parts:
<think>
what the principle asks for
</think>

{"scores": {"model-1": <1-5>, ...}, "best-to-worst": ["model-<best>", ...]}"""
"""A third of the tokens of the package's own wording, for training on a CPU (``--short``)."""

FLIPS = Path(__file__).parents[1] / "benchmarks" / "principleflips"


def form_rows(rows: list[TrainingRow], seed: int) -> list[dict[str, Any]]:
    """Rows whose completions have the form of a verdict and random scores.

    Args:
        rows: The rows to complete.
        seed: Seed of the scores.
    """
    rng = random.Random(seed)

    def completion(row: TrainingRow) -> str:
        principle = json.loads(row["prompt"][1]["content"])["principle"]
        scores = {f"model-{place}": rng.randint(1, 5) for place, _ in enumerate(row["labels"], start=1)}
        return f"<think>\nThe principle: {principle}\n</think>\n\n{verdict_reply(scores)}"

    return [
        {"prompt": row["prompt"], "completion": [{"role": "assistant", "content": completion(row)}]} for row in rows
    ]


def free_replies(model: Any, tokenizer: Any, rows: list[TrainingRow], length: int) -> list[str]:
    """Greedy completions without a grammar.

    Args:
        model: The policy.
        tokenizer: Its tokenizer.
        rows: The rows to complete.
        length: The most tokens of a completion.
    """
    model.eval()
    replies: list[str] = []
    for start in range(0, len(rows), 8):
        prompts = [row["prompt"] for row in rows[start : start + 8]]
        texts = tokenizer.apply_chat_template(prompts, tokenize=False, add_generation_prompt=True)
        batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
        with torch.no_grad():
            outputs = model.generate(**batch.to(model.device), max_new_tokens=length, do_sample=False)
        replies += tokenizer.batch_decode(outputs[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return replies


def measured(
    arguments: argparse.Namespace, items: list[BenchItem], model: Any, tokenizer: Any, adapter: Path | None
) -> dict[str, float]:
    """Figures on held-out items: of free replies, and of the judge under the grammar of verdicts as `bench` has them.

    Args:
        arguments: Those of the command line.
        items: The held-out items.
        model: The policy, for the free replies.
        tokenizer: Its tokenizer.
        adapter: The trained adapter. None: the judge is the model as it was.
    """
    rows = training_rows(items, seed=1, orders=1, template=arguments.template)
    replies, free = free_replies(model, tokenizer, rows, arguments.length), {}
    columns = {name: [row[name] for row in rows] for name in ("labels", "pairs", "case")}  # type: ignore[literal-required]
    free["reward"] = fmean(
        JudgeReward()(
            [row["prompt"] for row in rows],
            replies,
            log_metric=lambda name, value: free.update({name.removeprefix("judge/"): value}),
            **columns,
        )
    )
    flips = [flip for flip in read_flips(arguments.flips) if flip.group in {item.group for item in items}]
    sampling = SamplingParams(thinking_budget=arguments.thinking)
    with from_pretrained(
        arguments.path,
        adapter=None if adapter is None else str(adapter),
        readout="generate",
        template=arguments.template,
        sampling=sampling,
        passes=2,
        cache="off",
    ) as judge:
        report = run_bench(judge, items, flips)
    figures = {name: report.figures[name].value for name in ("pairwise_accuracy", "both_right", "ties")}
    return {"free parsed": free["parsed"], "free reward": free["reward"]} | {
        f"bench {name}": value for name, value in figures.items() if value is not None
    }


def arguments_of(given: list[str] | None) -> argparse.Namespace:
    """The arguments of the command line, or those given."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="smollm2-135m", help="known small model, folder or hub id")
    options.add_argument("--data", nargs="+", default=[str(FLIPS / "train.jsonl")])
    options.add_argument("--held-out", nargs="+", help="files to measure on; default: a fifth of the families")
    options.add_argument("--flips", nargs="*", default=[str(FLIPS / "train-flips.jsonl")])
    options.add_argument("--families", type=int, help="at most so many held-out families, for a quick look")
    options.add_argument("--steps", type=int, default=24)
    options.add_argument("--warmup", type=int, default=8, help="steps on the form alone before")
    options.add_argument("--orders", type=int, default=2, help="orders of the responses in which a case is shown")
    options.add_argument(
        "--cases", type=int, default=4, help="prompts in a batch; whole blocks of a principle and its contrary"
    )
    options.add_argument("--generations", type=int, default=4, help="completions of a prompt")
    options.add_argument("--micro", type=int, default=4, help="completions that go through the model at once")
    options.add_argument("--length", type=int, default=96, help="most tokens of a completion")
    options.add_argument("--thinking", type=int, default=48, help="tokens of reasoning when measuring")
    options.add_argument("--rank", type=int, default=16)
    options.add_argument("--rate", type=float, default=1e-4, help="learning rate")
    options.add_argument("--short", action="store_true", help="a shorter wording; give the judge the same template")
    options.add_argument("--vllm", action="store_true", help="sample with vLLM in the trainer's process; needs a GPU")
    options.add_argument("--folder", type=Path, default=Path("outputs/judge"))
    arguments = options.parse_args(given)
    if (size := arguments.cases * arguments.generations) % arguments.micro:
        options.error(f"--micro {arguments.micro} must divide --cases times --generations, which is {size}.")
    arguments.path = str(fetch(arguments.model)) if arguments.model in KNOWN_MODELS else arguments.model
    own = Template.built_in("think")
    arguments.template = Template("short", SHORT, "think") if arguments.short else own
    return arguments


def main(given: list[str] | None = None) -> dict[str, Any]:
    """Measure, train and measure again.

    Args:
        given: Arguments. None: those of the command line.
    """
    arguments = arguments_of(given)
    items = read_items(arguments.data)
    train, held_out = (items, read_items(arguments.held_out)) if arguments.held_out else split_by_group(items)
    if arguments.families:
        kept = sorted({item.group for item in held_out})[: arguments.families]
        held_out = [item for item in held_out if item.group in kept]
    rows = training_rows(train, orders=arguments.orders, batch=arguments.cases, template=arguments.template)
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        torch.set_num_threads(1)  # on shared cores, two threads mostly wait for each other
    tokenizer = AutoTokenizer.from_pretrained(arguments.path)
    model = AutoModelForCausalLM.from_pretrained(arguments.path, dtype="bfloat16" if on_gpu else "float32")
    lora = LoraConfig(
        r=arguments.rank, lora_alpha=2 * arguments.rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    policy = get_peft_model(model.to("cuda" if on_gpu else "cpu"), lora)
    size = arguments.cases * arguments.generations
    shared: dict[str, Any] = {
        "per_device_train_batch_size": arguments.micro,
        "learning_rate": arguments.rate,
        "lr_scheduler_type": "constant",
        "bf16": on_gpu,  # on a CPU, autocast took half as long again as float32
        "use_cpu": not on_gpu,
        "gradient_checkpointing": on_gpu,
        "logging_steps": 1,
        "disable_tqdm": True,
        "save_strategy": "no",
        "report_to": "none",
        "seed": 0,
    }
    print(f"{len(rows)} rows of {len({row['block'] for row in rows})} blocks; {len(held_out)} held-out items")
    before = measured(arguments, held_out, policy, tokenizer, None)
    print("before:", before, flush=True)
    start = time.monotonic()
    if arguments.warmup:
        SFTTrainer(
            model=policy,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(
                form_rows(rows[-arguments.warmup * shared["per_device_train_batch_size"] :], seed=0)
            ),
            args=SFTConfig(
                output_dir=str(arguments.folder / "form"),
                max_steps=arguments.warmup,
                max_length=None,
                **shared | {"learning_rate": 5 * arguments.rate},
            ),
        ).train()
    warmed = time.monotonic()
    trainer = GRPOTrainer(
        model=policy,
        processing_class=tokenizer,
        reward_funcs=JudgeReward(),
        train_dataset=Dataset.from_list(list(map(dict, rows))),
        args=GRPOConfig(
            output_dir=str(arguments.folder / "grpo"),
            max_steps=arguments.steps,
            num_generations=arguments.generations,
            max_completion_length=arguments.length,
            gradient_accumulation_steps=size // arguments.micro,  # sampled and rewarded together
            shuffle_dataset=False,  # the rows are ordered so that a principle and its contrary share a batch
            scale_rewards="batch",  # otherwise the share of consistency cancels out within a group of one pair
            temperature=1.0,
            use_vllm=arguments.vllm,
            **({"vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.3} if arguments.vllm else {}),
            **shared,
        ),
    )
    trainer.train()
    seconds = time.monotonic() - warmed
    adapter = arguments.folder / "adapter"
    policy.save_pretrained(adapter)
    after = measured(arguments, held_out, policy, tokenizer, adapter)

    steps = [entry for entry in trainer.state.log_history if "reward" in entry]
    parsed = [entry["judge/parsed"] for entry in steps]
    print(f"\n{arguments.model}: form {warmed - start:.0f} s, GRPO {len(steps)} steps in {seconds:.0f} s.")
    print("reward by step:", " ".join(f"{entry['reward']:.2f}" for entry in steps))
    print("parsed by step:", " ".join(f"{value:.2f}" for value in parsed))
    print(f"\n{len(held_out)} held-out items of {len({item.group for item in held_out})} families: before, after")
    for name in before:
        print(f"  {name:22} {before[name]:.3f}  {after.get(name, float('nan')):.3f}")
    log = {"before": before, "after": after, "seconds": seconds, "form_seconds": warmed - start, "steps": steps}
    (arguments.folder / "log.json").write_text(json.dumps(log, indent=1))
    print(f"\nThe adapter is in {adapter}: from_pretrained({arguments.model!r}, adapter={str(adapter)!r})")
    return log


if __name__ == "__main__":
    main()
