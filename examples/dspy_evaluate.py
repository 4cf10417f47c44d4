"""`dspy.Evaluate` and best-of-n under a principle, with the embedded judge on this machine's CPU.

    pip install "rewardanything-core[local,dspy]"
    python examples/dspy_evaluate.py                # a minute or so; the judge is downloaded once

The program returns written answers, so no other model is needed. Set RA_JUDGE_MODEL, or write a ra-judge.toml, for
another judge: the embedded one is small, and good for a first look only.
"""

from __future__ import annotations

from textwrap import indent
from typing import Any

import dspy

from rewardanything_dspy import NotJudged, PrincipleMetric

PRINCIPLE = "Answer the question in one short sentence. Longer answers are worse; answers that invent facts are worst."

ANSWERS = {
    "How many legs does a spider have?": "Eight.",
    "What is the capital of France?": (
        "What a wonderful question! France has many beautiful cities, and much could be said about each of them. "
        "After weighing everything carefully I would say that its capital is probably Paris."
    ),
    "What is water made of?": "Water is made of hydrogen and oxygen.",
}


class Written(dspy.Module):  # type: ignore[misc]
    """A program whose answers are known beforehand."""

    def forward(self, question: str) -> Any:
        """Look the answer up."""
        return dspy.Prediction(answer=ANSWERS[question])


def main() -> None:
    """Evaluate, and print each score with what the judge thought."""
    devset = [dspy.Example(question=question).with_inputs("question") for question in ANSWERS]
    metric = PrincipleMetric(PRINCIPLE)
    result = dspy.Evaluate(devset=devset, metric=metric, num_threads=3)(Written())
    for example, _, score in result.results:
        print(f"\n{example.question}")
        told = f"not judged: {score.error}" if isinstance(score, NotJudged) else f"{score:.2f}  {score.feedback}"
        print(indent(told, "  "))
    print(f"\nMean over what was judged: {result.score} of 100. {len(metric.failures)} judgements failed.")


if __name__ == "__main__":
    main()
