"""`dspy.Evaluate` and best-of-n under a principle, with the embedded judge on this machine's CPU.

    pip install "rewardanything-core[local,dspy]"
    python examples/dspy_evaluate.py                # a minute or so; the judge is downloaded once

The program returns written answers, so no other model is needed. Set RA_JUDGE_MODEL, or write a ra-judge.toml, for
another judge: the embedded one is small, and good for a first look only.
"""

from __future__ import annotations

from textwrap import fill
from typing import Any

import dspy

from rewardanything_dspy import NotJudged, PrincipleMetric

PRINCIPLE = "Polite, and never blames the customer."

ANSWERS = {
    "Where is my refund?": "You typed your account number wrong. Again.",
    "Do you ship to Norway?": "Thank you for asking! Yes, we ship to Norway, and it takes about five days.",
    "Can I change my order?": "Of course! Write to us within an hour, and we will gladly change it for you.",
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
    for example, prediction, score in result.results:
        print(f"\n{example.question}  {prediction.answer}")
        told = f"not judged: {score.error}" if isinstance(score, NotJudged) else f"{score:.2f}  {score.feedback}"
        for line in told.splitlines():
            print(fill(line, 98, initial_indent="  ", subsequent_indent="  "))
    print(f"\nMean over what was judged: {result.score} of 100. {len(metric.failures)} judgements failed.")


if __name__ == "__main__":
    main()
