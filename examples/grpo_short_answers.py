"""GRPO or RLOO trains a 135M model to answer in at most two short sentences, on this machine's CPU.

    pip install ".[local,rl]" matplotlib
    python examples/grpo_short_answers.py                     # GRPO, 32 steps
    python examples/grpo_short_answers.py --trainer rloo      # the same with TRL's RLOO trainer
    python examples/grpo_short_answers.py --judge qwen2.5-coder-1.5b --steps 4

Without `--judge` a script judges: it counts words and sentences, which is what this principle asks for, while a model
that is small enough to judge here at training speed is not reliable. With `--judge` the known small model of that name
judges; with `--judge settings` the judge of `load_judge()`. Nothing else changes.

Prints the score of greedy answers to held-out questions, before and after, and writes the log of each step to
FOLDER/TRAINER.json. `--figure` draws all such files of the folder.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from rewardanything_core import BaseJudge, Case, Judge, ScriptedBackend, from_pretrained, load_judge
from rewardanything_core.backends import Request, verdict_reply
from rewardanything_core.weights.fetch import fetch
from rewardanything_rl import PrincipleReward

PRINCIPLE = "Answer in at most two short sentences."

QUESTIONS = [
    "Why is the sky blue?",
    "What does a compiler do?",
    "Why do leaves change colour in autumn?",
    "How do vaccines work?",
    "Why does ice float on water?",
    "How does a refrigerator cool food?",
    "What causes tides?",
    "How do plants make food?",
    "Why is the sea salty?",
    "What is a hash table?",
    "How does a microwave oven heat food?",
    "Why do cats purr?",
    "What is inflation?",
    "How do airplanes fly?",
    "What is a black hole?",
    "Why do we dream?",
]
HELD_OUT = [
    "What is rain?",
    "How does soap clean?",
    "Why do we have seasons?",
    "What is a database?",
    "How do bees make honey?",
    "Why is the grass green?",
    "What is electricity?",
    "How do magnets work?",
]


def short(text: str, question: str) -> float:
    """5 for one or two complete sentences of up to 15 words in total, less for every further word and sentence.

    Args:
        text: The answer.
        question: The question; repeating its words is not an answer.
    """
    words, sentences = len(text.split()), len(re.findall(r"[.!?](?=\s|$)", text))
    own = set(re.findall(r"\w+", text.lower())) - set(re.findall(r"\w+", question.lower()))
    if len(own) < 4:
        return 1.0  # not an answer; without this line the policy learned within 30 steps to repeat the question
    unfinished = not text.rstrip().endswith((".", "!"))
    return min(5.0, max(1.0, 5 - max(0, words - 15) / 10 - max(0, sentences - 2) / 2 - unfinished))


def by_rule(request: Request) -> str:
    """The verdict of the script."""
    case = json.loads(request.messages[1]["content"])
    return verdict_reply({name: short(text, str(case["prompt"])) for name, text in case["responses"].items()})


def judge_named(name: str) -> BaseJudge:
    """The judge that the command line selects."""
    if name == "rule":
        return Judge(ScriptedBackend(by_rule, name="a script that counts words and sentences"), cache="off")
    return load_judge() if name == "settings" else from_pretrained(name)


def answers(model: Any, tokenizer: Any, questions: list[str], length: int) -> list[str]:
    """Greedy answers.

    Args:
        model: The policy.
        tokenizer: Its tokenizer.
        questions: The questions, one for each answer.
        length: The most tokens of an answer.
    """
    texts = [
        tokenizer.apply_chat_template([{"role": "user", "content": q}], tokenize=False, add_generation_prompt=True)
        for q in questions
    ]
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    with torch.no_grad():
        outputs = model.generate(**batch, max_new_tokens=length, do_sample=False)
    return tokenizer.batch_decode(outputs[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def draw(folder: Path, figure: Path) -> None:
    """Draw the reward of each step and its running mean, one line for each file.

    Args:
        folder: The folder with the logs.
        figure: The file to write.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    axes: Any
    fig, axes = plt.subplots(1, 2, figsize=(8, 3), dpi=100, layout="constrained")
    for color, path in zip(("tab:blue", "tab:orange", "tab:green"), sorted(folder.glob("*.json")), strict=False):
        steps = json.loads(path.read_text())["steps"]
        for ax, key in zip(axes, ("reward", "completions/mean_length"), strict=True):
            values = [step[key] for step in steps]
            means = [fmean(values[max(0, i - 4) : i + 1]) for i in range(len(values))]
            ax.plot(range(1, len(values) + 1), values, ".", color=color, alpha=0.35)
            ax.plot(range(1, len(values) + 1), means, color=color, label=path.stem.upper())
    axes[0].set(xlabel="step", ylabel="reward, 0..1", ylim=(0, 1), title="PrincipleReward")
    axes[1].set(xlabel="step", ylabel="tokens", ylim=(0, None), title="mean length of completions")
    axes[0].legend(frameon=False, loc="lower right")
    figure.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(figure)


def main() -> None:
    """Answer, train, and answer again."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trainer", choices=["grpo", "rloo"], default="grpo")
    options.add_argument("--judge", default="rule")
    options.add_argument("--steps", type=int, default=32)
    options.add_argument("--completions", type=int, default=16, help="in a step, half for each of two questions")
    options.add_argument("--length", type=int, default=48, help="most tokens of a completion")
    options.add_argument("--folder", type=Path, default=Path("outputs/short-answers"))
    options.add_argument("--figure", type=Path)
    arguments = options.parse_args()

    torch.set_num_threads(1)  # on shared cores, two threads mostly wait for each other
    folder = fetch("smollm2-135m")
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder, dtype="float32"),
        AutoTokenizer.from_pretrained(folder),
    )
    judge = judge_named(arguments.judge)
    reward = PrincipleReward(PRINCIPLE, judge=judge)

    kinds: dict[str, Any] = {"grpo": (GRPOConfig, GRPOTrainer), "rloo": (RLOOConfig, RLOOTrainer)}
    config, trainer = kinds[arguments.trainer]
    running = trainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=reward,
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": q}]} for q in QUESTIONS]),
        args=config(
            output_dir=str(arguments.folder / "trainer"),
            max_steps=arguments.steps,
            per_device_train_batch_size=arguments.completions,
            num_generations=arguments.completions // 2,
            max_completion_length=arguments.length,
            learning_rate=2e-5,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=2,
            beta=0.05,  # without a penalty for leaving the initial policy, it forgets how to write
            logging_steps=1,
            seed=0,
            use_cpu=True,
            bf16=True,  # False is faster on a CPU without bfloat16 instructions
            gradient_checkpointing=False,
            save_strategy="no",
            report_to="none",
        ),
    )

    before = answers(model, tokenizer, HELD_OUT, arguments.length)
    start = time.monotonic()
    running.train()
    seconds = time.monotonic() - start
    after = answers(model, tokenizer, HELD_OUT, arguments.length)

    # Both answers to a question are judged in one list, on one scale.
    cases = [Case(PRINCIPLE, q, {"before": b, "after": a}) for q, b, a in zip(HELD_OUT, before, after, strict=True)]
    verdicts = [judge.judge(case) for case in cases]
    means = {when: fmean(verdict.scores[when] for verdict in verdicts) for when in ("before", "after")}
    for question, old, new in list(zip(HELD_OUT, before, after, strict=True))[:3]:
        print(f"\n{question}\n  before: {old!r}\n  after:  {new!r}")
    steps = [entry for entry in running.state.log_history if "reward" in entry]
    tenth = max(1, len(steps) // 10)
    first, last = (fmean(step["reward"] for step in part) for part in (steps[:tenth], steps[-tenth:]))
    print(f"\n{arguments.trainer.upper()}, {len(steps)} steps, {seconds:.0f} s; judge: {judge.model}.")
    print(
        f"Reward {first:.2f} in the first {tenth} steps, {last:.2f} in the last {tenth}; "
        f"{len(reward.failures)} not judged."
    )
    print(f"Held-out questions, greedy answers: {means['before']:.2f} before, {means['after']:.2f} after (1..5).")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    log = {"judge": judge.model, "seconds": seconds, "held_out": means, "steps": steps}
    (arguments.folder / f"{arguments.trainer}.json").write_text(json.dumps(log, indent=1))
    if arguments.figure:
        draw(arguments.folder, arguments.figure)


if __name__ == "__main__":
    main()
