"""`dspy.Evaluate` under a principle, with the built-in small model on this machine's CPU.

    pip install ".[local,dspy]"
    python examples/dspy_evaluate.py                # about a minute; downloads the model once

The program returns fixed answers, so it needs no model of its own. Set RA_JUDGE_MODEL, or write a ra-judge.toml, for
another judge: the built-in model is small and only shows how things work.
"""

from __future__ import annotations

from textwrap import indent
from typing import Any

import dspy

from rewardanything_dspy import NotJudged, PrincipleMetric

PRINCIPLE = "Polite, and never blames the customer."

ANSWERS = {
    "Where is my refund?": "You typed your account number wrong. Again.",
    "Do you ship to Norway?": "Thank you for asking! Yes, we ship to Norway, and it takes about five days.",
    "Can I change my order?": "Of course! Write to us within an hour, and we will gladly change it for you.",
}


class FixedAnswers(dspy.Module):  # type: ignore[misc]
    """A program with a fixed answer to each question."""

    def forward(self, question: str) -> Any:
        """Return the answer to the question."""
        return dspy.Prediction(answer=ANSWERS[question])


def main() -> None:
    """Evaluate, and print each score with the judge's feedback."""
    devset = [dspy.Example(question=question).with_inputs("question") for question in ANSWERS]
    metric = PrincipleMetric(PRINCIPLE)
    result = dspy.Evaluate(devset=devset, metric=metric, num_threads=3)(FixedAnswers())
    for example, prediction, score in result.results:
        print(f"\n{example.question}  {prediction.answer}")
        result_text = f"not judged: {score.error}" if isinstance(score, NotJudged) else f"{score:.2f}  {score.feedback}"
        print(indent(result_text, "  "))
    print(f"\nMean of the judged answers: {result.score} of 100. {len(metric.failures)} judgements failed.")


if __name__ == "__main__":
    main()
