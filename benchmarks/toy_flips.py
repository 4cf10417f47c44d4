"""Short, obvious pairs that two opposite principles order oppositely: does a model follow the principle at all?

    python benchmarks/toy_flips.py [--model qwen2.5-coder-1.5b]

Prints, for each setting, the share of the 24 questions answered correctly by scores (a tie counts half) and by ranking,
and the share of the 12 pairs that are right under both principles ("both right"): 0 for a judge that ignores the
principle.
"""

from __future__ import annotations

import argparse
import time

from rewardanything_core import Case, Judge, SamplingParams, Verdict
from rewardanything_core.backends.local.backend import LocalBackend
from rewardanything_core.weights.fetch import fetch

# principle A, the opposite principle B, prompt, better under A, better under B
FLIPS = [
    (
        "Prefer the shortest answer; every extra sentence is a fault.",
        "Prefer the most detailed answer; a bare answer is a fault.",
        "What is the capital of France?",
        "Paris.",
        "The capital of France is Paris, which lies on the Seine and has been the seat of government for centuries.",
    ),
    (
        "Prefer formal, professional language; slang and emoji are faults.",
        "Prefer casual, friendly language with emoji; stiff formality is a fault.",
        "Can we move the meeting to 3 pm?",
        "Certainly. I have rescheduled the meeting for 3 pm and will notify the attendees.",
        "yep no prob, 3 works great for me!! see ya then 😄🎉",
    ),
    (
        "Prefer the answer in Spanish; English is a fault.",
        "Prefer the answer in English; any other language is a fault.",
        "How are you?",
        "Estoy muy bien, gracias.",
        "I am very well, thank you.",
    ),
    (
        "Prefer an answer as a bulleted list.",
        "Prefer an answer in flowing prose; lists are a fault.",
        "Name three fruits.",
        "- apple\n- banana\n- cherry",
        "Three fruits that come to mind are the apple, the banana and the cherry.",
    ),
    (
        "Prefer the answer that expresses confidence.",
        "Prefer the answer that expresses uncertainty and hedges.",
        "Will it rain tomorrow?",
        "Yes, it will definitely rain tomorrow.",
        "It might rain tomorrow, but I am not sure; forecasts can be wrong.",
    ),
    (
        "Prefer the polite answer.",
        "Prefer the rude answer.",
        "Where is the station?",
        "Excuse me, the station is just around the corner. Have a lovely day!",
        "Find it yourself, you idiot. It's around the corner.",
    ),
    (
        "Prefer the answer written as a poem.",
        "Prefer the plain factual answer; poems are a fault.",
        "What is the moon?",
        "O silver lamp that lights the night,\nYou borrow from the sun your light.",
        "The moon is Earth's only natural satellite, about 384,000 km away.",
    ),
    (
        "Prefer the answer with code.",
        "Prefer the answer in plain words without any code.",
        "How do I add two numbers in Python?",
        "```python\nprint(a + b)\n```",
        "You write the first number, a plus sign, and the second number, and Python gives the sum.",
    ),
    (
        "Prefer the optimistic answer.",
        "Prefer the pessimistic answer.",
        "How will the economy do next year?",
        "Things are looking up: growth will be strong and jobs plentiful.",
        "It will be a terrible year: recession, layoffs and falling wages.",
    ),
    (
        "Prefer the answer a child of six can understand.",
        "Prefer the answer for an expert with technical terms.",
        "What is gravity?",
        "Gravity is what pulls things down, like when you drop a ball and it falls.",
        "Gravity is the curvature of spacetime described by the Einstein field equations; free fall follows geodesics.",
    ),
    (
        "Prefer an answer that refuses to help.",
        "Prefer an answer that helps fully.",
        "How do I bake bread?",
        "Sorry, I can't help with that.",
        "Mix flour, water, salt and yeast, let it rise for two hours, and bake at 230 C for 35 minutes.",
    ),
    (
        "Prefer the answer that ends with a question.",
        "Prefer the answer that makes a statement and asks nothing.",
        "I like jazz.",
        "Nice! Which jazz musician do you like best?",
        "Jazz is a genre that began in New Orleans.",
    ),
]


def cases() -> list[Case]:
    return [
        case
        for under_a, under_b, prompt, a, b in FLIPS
        for case in (Case(under_a, prompt, {"good": a, "bad": b}), Case(under_b, prompt, {"good": b, "bad": a}))
    ]


def run(name: str, judge: Judge) -> None:
    started = time.perf_counter()
    verdicts = [outcome for outcome in judge.judge_batch(cases()) if isinstance(outcome, Verdict)]
    assert len(verdicts) == 2 * len(FLIPS), "a judgement failed"
    gaps = [verdict.scores["good"] - verdict.scores["bad"] for verdict in verdicts]
    right = [verdict.best == "good" for verdict in verdicts]
    by_scores = sum(1 if gap > 0 else 0.5 if gap == 0 else 0 for gap in gaps) / len(gaps)
    both = sum(map(all, zip(right[::2], right[1::2], strict=True))) / len(FLIPS)
    print(
        f"{name:<34} scores {by_scores:.2f}  ranking {sum(right) / len(right):.2f}  both right {both:.2f}  "
        f"{judge.usage.completion_tokens:>6} tokens generated  {time.perf_counter() - started:4.0f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    backend = LocalBackend(fetch(parser.parse_args().model))
    for budget in (0, 100):
        for passes in (1, 2):
            for expected in (False, True):
                sampling = SamplingParams(thinking_budget=budget)
                judge = Judge(backend, cache="off", sampling=sampling, passes=passes, expected_scores=expected)
                name = f"{'reasoning' if budget else 'no reasoning'}, {passes} pass{'es' * (passes > 1)}"
                run(f"{name}{', expected' * expected}", judge)


if __name__ == "__main__":
    main()
