"""How good are the probabilities of the decision routes, and what does asking questions together save?

    python benchmarks/decision_server.py DATA --model smollm2-135m --sets hhh llmbar --pairs 40

DATA is a folder with pairs that people ordered, in the layout of `ra-judge bench`. For each pair: a predicate on each
response (does it follow the rule; true of the preferred one), and a choice between the two responses, which are in a
random order. Printed are the area under the ROC curve, the expected calibration error over 10 bins (Naeini et al. 2015)
before and after a calibration that is fitted to one half of the pairs and applied to the other, and the accuracy of
choices. Then: the seconds and tokens of 16 questions about one input, in one request, one by one, and concurrently.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np

from rewardanything_core import Judge, load_judge
from rewardanything_core.agreement.isotonic import fit_calibration
from rewardanything_core.decisions import ChoiceOption, ChoiceQuestion, DecisionRequest, PredicateQuestion, Question
from rewardanything_core.judging.typed_questions import answer_questions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--sets", nargs="+", default=["hhh", "llmbar"])
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--words", type=int, default=300, help="Length of the input that questions share.")
    options = parser.parse_args()
    judge = load_judge(model=options.model, readout="logits", cache="off")
    assert isinstance(judge, Judge)
    for name in options.sets:
        asyncio.run(measure_quality(judge, name, rows_of(options.data / f"{name}.jsonl", options.pairs)))
    asyncio.run(measure_sharing(judge, options.words))


def rows_of(path: Path, number: int) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return random.Random(0).sample([row for row in rows if row["pairs"]], number)


def request(state: Any, *questions: Question) -> DecisionRequest:
    return DecisionRequest(model="judge", state=state, questions=questions)


async def measure_quality(judge: Judge, name: str, rows: list[dict[str, Any]]) -> None:
    draw = random.Random(1)
    requests, truths = [], []
    for row in rows:
        better, worse = row["pairs"][0]
        first, second = draw.sample([better, worse], 2)
        truths.append(first == better)
        for label in (first, second):
            question = PredicateQuestion(instructions=f"Does the response follow this rule? {row['principle']}")
            requests.append(request({"prompt": row["prompt"], "response": row["responses"][label]}, question))
        question = ChoiceQuestion(
            instructions=f"Which response follows this rule better? {row['principle']}",
            options=(ChoiceOption(value="response_1"), ChoiceOption(value="response_2")),
        )
        both = {"response_1": row["responses"][first], "response_2": row["responses"][second]}
        requests.append(request({"prompt": row["prompt"], **both}, question))
    responses = await asyncio.gather(*(answer_questions(judge, each) for each in requests))
    answers = [response.answers[0] for response in responses]
    predicates = np.array([answer.probability for index, answer in enumerate(answers) if index % 3 < 2])
    truth = np.array([side for first in truths for side in (first, not first)])
    choices = np.array([answer.probabilities[0] for answer in answers[2::3]])
    right = (choices > 0.5) == np.array(truths)
    raw, mapped = calibration_error(predicates, truth), calibration_error(*held_out(predicates, truth))
    print(
        f"{judge.model}, {name}, {len(rows)} pairs: predicates AUC {auc(predicates, truth):.2f}, expected calibration "
        f"error {raw:.3f}, calibrated {mapped:.3f}; "
        f"choices right {right.mean():.2f}, mean probability of the first {choices.mean():.2f}"
    )


def auc(scores: np.ndarray, truth: np.ndarray) -> float:
    differences = np.subtract.outer(scores[truth], scores[~truth])
    return float(((differences > 0) + 0.5 * (differences == 0)).mean())


def calibration_error(probabilities: np.ndarray, truth: np.ndarray, bins: int = 10) -> float:
    places = np.minimum((probabilities * bins).astype(int), bins - 1)
    return sum(
        float((places == place).mean() * abs(probabilities[places == place].mean() - truth[places == place].mean()))
        for place in set(places.tolist())
    )


def held_out(probabilities: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each half of the pairs under the calibration that was fitted to the other half."""
    mapped = np.empty_like(probabilities)
    half = (np.arange(len(truth)) // 2) % 2 == 0
    for fitted, applied in ((half, ~half), (~half, half)):
        scores = 1 + 4 * probabilities
        calibration = fit_calibration(scores[fitted].tolist(), np.where(truth[fitted], 5.0, 1.0).tolist())
        mapped[applied] = [(calibration.apply(score) - 1) / 4 for score in scores[applied].tolist()]
    return mapped, truth


async def measure_sharing(judge: Judge, words: int) -> None:
    text = " ".join(
        random.Random(2).choices("the pump in hall three leaks oil and was shut down on Monday".split(), k=words)
    )
    questions = [PredicateQuestion(instructions=f"Does the report mention item {number}?") for number in range(16)]
    await answer_questions(judge, request("warm-up", questions[0]))
    started = time.perf_counter()
    together = await answer_questions(judge, request(text, *questions))
    report("in one request", started, together.usage.input_tokens)
    started = time.perf_counter()
    tokens = 0
    for question in questions:
        tokens += (await answer_questions(judge, request(text, question))).usage.input_tokens
    report("in 16 requests, one after the other", started, tokens)
    started = time.perf_counter()
    await asyncio.gather(*(answer_questions(judge, request(text, question)) for question in questions))
    report("in 16 concurrent requests", started, tokens)


def report(how: str, started: float, tokens: int) -> None:
    print(f"16 questions {how}: {time.perf_counter() - started:.2f} s, {tokens:,} input tokens reported")


if __name__ == "__main__":
    main()
