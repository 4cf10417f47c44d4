"""GEPA improves a small program under a principle, on this machine. Prints the score before and after.

    pip install ".[dspy]" && pip install --no-deps xllamacpp
    python examples/dspy_gepa.py                    # one or two minutes on two cores; downloads 1.1 GB once

The program's model is the known small model Qwen2.5-Coder-1.5B, served by llama.cpp on localhost; GEPA reflects with it
too. A model of that size is not a reliable judge, so a script that counts words judges here. For a real judge use
`judge=from_endpoint(...)`, or omit `judge`, and change nothing else.
"""

from __future__ import annotations

import argparse
import json
import socket
import time
from typing import Any

import dspy
import xllamacpp

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.backends import Completion, Request, verdict_reply
from rewardanything_core.weights.fetch import fetch_gguf
from rewardanything_dspy import PrincipleMetric

PRINCIPLE = "Answer in one plain sentence of at most twelve words."

QUESTIONS = [
    "Why is the sky blue?",
    "What does a compiler do?",
    "Why do leaves change colour in autumn?",
    "What is a hash table?",
    "How do vaccines work?",
    "Why does ice float on water?",
    "How does a refrigerator cool food?",
    "What causes tides?",
    "What is recursion?",
    "How do plants make food?",
    "Why is the sea salty?",
    "How does a microwave oven heat food?",
]


def count_words(request: Request) -> Completion:
    """Judge by the principle: 5 for up to twelve words, one less for every further ten; with advice."""
    (text,) = json.loads(request.messages[1]["content"])["responses"].values()
    words = len(text.split())
    score = max(1, 5 - max(0, -(-(words - 12) // 10)))
    advice = "Good." if score == 5 else "Too long. The instructions must say: one plain sentence, at most twelve words."
    return Completion(answer=verdict_reply({"model-1": score}), reasoning=f"The answer has {words} words. {advice}")


def propose(
    candidate: dict[str, str],  # noqa: ARG001 - GEPA passes it by name
    reflective_dataset: Any,
    components_to_update: list[str],
) -> dict[str, str]:
    """An instruction proposer with a short prompt: a model of this size cannot follow GEPA's own.

    Args:
        candidate: Name of each predictor -> its present instruction.
        reflective_dataset: Name of each predictor -> records with feedback.
        components_to_update: Names of the predictors that need a new instruction.
    """
    proposed = {}
    for name in components_to_update:
        feedback = "\n".join(f"- {record['Feedback']}" for record in reflective_dataset[name])
        signature = dspy.Signature("feedback_on_answers -> instruction").with_instructions(
            "Write the instruction, in one sentence, that tells an assistant to answer as the feedback demands."
        )
        proposed[name] = dspy.Predict(signature)(feedback_on_answers=feedback).instruction
    return proposed


def serve(model: str) -> tuple[xllamacpp.Server, str]:
    """A llama.cpp server on a free port and its URL. The server stops when it is garbage-collected."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    params = xllamacpp.CommonParams()
    params.model.path = str(fetch_gguf(model))
    # One thread: on shared cores, several threads mostly wait for each other.
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads, params.port = 16384, 3, 1, port
    return xllamacpp.Server(params), f"http://127.0.0.1:{port}/v1"


def main() -> None:
    """Start the server, evaluate, optimise, and evaluate again."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="qwen2.5-coder-1.5b")
    options.add_argument("--metric-calls", type=int, default=24)
    arguments = options.parse_args()

    _server, url = serve(arguments.model)
    name = f"hosted_vllm/{arguments.model}"
    lm = dspy.LM(name, api_base=url, api_key="none", max_tokens=60, temperature=0.0, timeout=600)
    reflection = lm.copy(max_tokens=150, temperature=0.7)
    dspy.configure(lm=lm)

    examples = [dspy.Example(question=question).with_inputs("question") for question in QUESTIONS]
    train, validation, held_out = examples[:3], examples[3:6], examples[6:]
    metric = PrincipleMetric(PRINCIPLE, judge=Judge(ScriptedBackend(count_words), cache="off"))
    evaluate = dspy.Evaluate(devset=held_out, metric=metric, num_threads=3)
    program = dspy.Predict("question -> answer")

    start = time.monotonic()
    before = evaluate(program).score
    optimizer = dspy.GEPA(
        metric=metric,
        max_metric_calls=arguments.metric_calls,
        reflection_lm=reflection,
        reflection_minibatch_size=3,
        instruction_proposer=propose,
        num_threads=3,
        seed=0,
    )
    improved = optimizer.compile(program, trainset=train, valset=validation)
    after = evaluate(improved).score

    print(f"\nThe instruction that GEPA found:\n{improved.signature.instructions}\n")
    print(f"Principle score on {len(held_out)} unseen questions: {before:.1f} before, {after:.1f} after (of 100).")
    print(f"{len(metric.failures)} not judged; {time.monotonic() - start:.0f} s.")


if __name__ == "__main__":
    main()
