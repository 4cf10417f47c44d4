"""Two sets of answers in MLflow: score each under a principle, then compare them side by side.

    pip install '.[local,mlflow]'
    python examples/mlflow_evaluate.py
    mlflow ui --backend-store-uri sqlite:///mlflow.db

The judge is the small built-in model on the CPU (a few minutes), unless RA_JUDGE_* or ra-judge.toml name another.
"""

import os

# With its default of 40 threads, MLflow may hang on SQLite; see docs/integrations/mlflow.md.
os.environ.setdefault("MLFLOW_GENAI_EVAL_MAX_WORKERS", "10")

import mlflow

from rewardanything_core import Principle
from rewardanything_mlflow import PrincipleScorer, compare_runs

CONCISE = Principle(
    "Prefer the response that answers the question directly in one short sentence. Greetings, praise of the question "
    "and repetition make a response worse.",
    name="concise",
)

QUESTIONS = ["How far away is the moon?", "What is the capital of Kenya?", "At what temperature does water boil?"]
TERSE = [
    "About 384,400 km on average.",
    "Nairobi.",
    "At 100 °C at sea level.",
]
CHATTY = [
    "What a wonderful question! People have always looked up at the moon. I would say it is really very far away.",
    "Hello there! Kenya is a beautiful country, and I am so glad you asked about Kenya. Its capital is Nairobi.",
    "Great question! Water is all around us, and water boils when it gets hot, which is at about 100 °C, usually.",
]


def main() -> None:
    """Evaluate both, compare them, and print where to look."""
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment("principles")
    scorer = PrincipleScorer(principle=CONCISE, threshold=3)
    results = []
    for name, answers in (("terse", TERSE), ("chatty", CHATTY)):
        data = [{"inputs": {"question": q}, "outputs": a} for q, a in zip(QUESTIONS, answers, strict=True)]
        with mlflow.start_run(run_name=name):
            results.append(mlflow.genai.evaluate(data=data, scorers=[scorer]))
    comparison = compare_runs(results, principle=CONCISE)
    for label, won in comparison.win_rates.items():
        score = comparison.scores[label]
        print(
            f"{label}: first in {won.value:.0%} of rows ({won.low:.0%} to {won.high:.0%}), "
            f"mean score {score.value:.1f} ({score.low:.1f} to {score.high:.1f})"
        )
    print(f"{comparison.failures} rows could not be judged. See the reasoning in: mlflow ui")


if __name__ == "__main__":
    main()
