"""Throughput of the local engine, compared with the paper's package and with other ways to call the engine.

    python benchmarks/throughput_local.py [--arms generate,logits,threads] [--cases 64] [--peer-cases 4] [--repeats 3]
    python benchmarks/throughput_local.py --device cuda --config qwen3_8b.json     a model of random weights, that shape

Arms:
    generate   replies of equal length, ours against `judge_batch` of `rewardanything` 1.0.1. That package judges one
               case after another, so it runs a few cases only, and the ratio is per judgement
    logits     scores of 4 responses from token probabilities, against that package with replies of 256 tokens
    threads    32 threads that call `judge()` with one case at a time, against one `judge_batch` of as many cases

Prints ratios and finally all figures as JSON. A ratio is the median over repeats; each repeat runs both sides one after
the other. There is one ratio of wall-clock time and one of processor time, which is more reliable on a busy machine.
Needs the other package and what it loads models with:
pip install accelerate; pip install --no-deps rewardanything==1.0.1
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rewardanything_core import Case, Judge, JudgeFailure, SamplingParams
from rewardanything_core.backends.local.backend import LocalBackend
from rewardanything_core.weights.fetch import fetch

WORDS = "the cat of a river when it goes under some old bridge and nobody knows why or how far it came since".split()
PRINCIPLES = (
    "Prefer the shortest answer.",
    "Never invent facts; say so when unsure.",
    "Be kind and patient with the reader.",
    "Structure matters: lists over prose.",
)
Measured = tuple[float, float]


def cases_of(count: int, responses: int, draw: int) -> list[Case]:
    """Cases of many lengths under a few principles.

    Draws have no case in common, since a run would otherwise reuse the KV cache that an earlier one left.
    """
    rng = random.Random(draw)

    def text(min_words: int, max_words: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(min_words, max_words)))

    return [
        Case(
            PRINCIPLES[i % len(PRINCIPLES)],
            f"Question {draw}.{i}: {text(5, 40)}?",
            {label: text(5, 60) for label in "abcdefgh"[:responses]},
            id=str(i),
        )
        for i in range(count)
    ]


def measured(run: Callable[[], object]) -> Measured:
    """Seconds of wall-clock time and of processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def ratio(ours: list[Measured], theirs: list[Measured], scale: float = 1.0) -> dict[str, float]:
    """The median over pairs of runs of their time divided by ours, times ``scale``."""
    return {
        name: round(statistics.median(b[k] * scale / a[k] for a, b in zip(ours, theirs, strict=True)), 2)
        for k, name in enumerate(("clock", "processor"))
    }


def judged(judge: Judge, cases: list[Case]) -> list[Any]:
    outcomes = judge.judge_batch(cases)
    if failed := [outcome for outcome in outcomes if isinstance(outcome, JudgeFailure)]:
        raise SystemExit(f"{len(failed)} cases failed: {failed[0].message}")
    return outcomes


class Peer:
    """`rewardanything` 1.0.1 on the same model."""

    def __init__(self, folder: Path, device: str, dtype: str) -> None:
        import rewardanything

        self._model = rewardanything.from_pretrained(str(folder), device=device, torch_dtype=dtype)

    def judge(self, cases: list[Case], tokens: int) -> None:
        """Generate replies of exactly this many tokens."""
        requests = [
            {"principle": str(case.principle), "prompt": case.prompt, "responses": dict(case.responses)}
            for case in cases
        ]
        for request in requests:
            try:
                self._model.judge_batch([request], max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
            except (ValueError, KeyError):
                continue  # a reply that it cannot parse took its time all the same


def against_peer(
    judge: Judge, peer: Peer, count: int, responses: int, peer_count: int, tokens: int | None, repeats: int
) -> dict[str, Any]:
    """Our engine on ``count`` cases and the peer on ``peer_count`` of them, per judgement.

    ``tokens`` is the length of the peer's replies; None: the mean of ours.
    """
    ours: list[Measured] = []
    theirs: list[Measured] = []
    mean_tokens = 0
    for draw in range(repeats):
        cases = cases_of(count, responses, draw)
        outcomes: list[Any] = []
        ours.append(measured(lambda cases=cases, into=outcomes: into.extend(judged(judge, cases))))
        mean_tokens = round(statistics.mean(outcome.usage.completion_tokens for outcome in outcomes))
        theirs.append(measured(lambda cases=cases, n=tokens or mean_tokens: peer.judge(cases[:peer_count], n)))
    return {
        "cases": count,
        "peer_cases": peer_count,
        "tokens_ours": mean_tokens,
        "tokens_peer": tokens or mean_tokens,
        "ours": ours,
        "peer": theirs,
        "times_as_many_judgements": ratio(ours, theirs, count / peer_count),
    }


def from_threads(judge: Judge, count: int, threads: int, repeats: int) -> dict[str, Any]:
    """Single cases from many threads against a batch of as many other cases; the two take turns in going first."""

    def one_by_one(cases: list[Case]) -> None:
        remaining = iter(cases)
        lock = threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    case = next(remaining, None)
                if case is None:
                    return
                judge.judge(case)

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    single, batch = [], []
    for repeat in range(repeats):
        for side in (0, 1) if repeat % 2 else (1, 0):
            cases = cases_of(count, 3, 100 + 2 * repeat + side)
            if side:
                single.append(measured(lambda cases=cases: one_by_one(cases)))
            else:
                batch.append(measured(lambda cases=cases: judged(judge, cases)))
    return {
        "cases": count,
        "threads": threads,
        "single": single,
        "batch": batch,
        "of_the_batch_rate": ratio(single, batch),
    }


@contextmanager
def model_folder(name: str, config: str | None) -> Iterator[Path]:
    """The small model, or a model of random weights with a given configuration and the small model's tokenizer."""
    if config is None:
        yield fetch(name)
        return
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        AutoTokenizer.from_pretrained(fetch(name)).save_pretrained(folder)
        shape = AutoConfig.from_pretrained(config)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = AutoModelForCausalLM.from_config(shape, dtype=torch.bfloat16)
        model.save_pretrained(folder)
        del model
        yield Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", default="generate,logits,threads")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--config", help="folder or file of a transformers configuration: random weights of that shape")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cases", type=int, default=64)
    parser.add_argument("--peer-cases", type=int, default=4)
    parser.add_argument("--thinking", type=int, default=64, help="tokens of reasoning in a reply of ours")
    parser.add_argument("--threads", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16, help="replies generated at once")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    arms = arguments.arms.split(",")
    count, peer_count = arguments.cases, arguments.peer_cases
    results: dict[str, Any] = {"arguments": vars(arguments)}
    with model_folder(arguments.model, arguments.config) as folder:
        dtype = "bfloat16" if arguments.config else "float32"
        backend = LocalBackend(folder, device=arguments.device, dtype=dtype, max_batch_size=arguments.batch)
        sampling = SamplingParams(thinking_budget=arguments.thinking)
        writer = Judge(backend, sampling=sampling, cache="off", readout="generate", retries=0)
        judged(writer, cases_of(2, 3, 999))
        peer = Peer(folder, arguments.device, dtype) if {"generate", "logits"} & set(arms) else None
        if "generate" in arms and peer:
            results["generate"] = against_peer(writer, peer, count, 3, peer_count, None, arguments.repeats)
            print("generate: times as many judgements", results["generate"]["times_as_many_judgements"], flush=True)
        if "logits" in arms and peer:
            scorer = Judge(backend, cache="off", readout="logits")
            results["logits"] = against_peer(scorer, peer, count, 4, peer_count, 256, arguments.repeats)
            print("logits: times as many judgements", results["logits"]["times_as_many_judgements"], flush=True)
        if "threads" in arms:
            results["threads"] = from_threads(writer, count, arguments.threads, arguments.repeats)
            print("threads: of the batch's rate", results["threads"]["of_the_batch_rate"], flush=True)
        backend.close()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
