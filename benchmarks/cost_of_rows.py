"""The cost of judging a thousand rows, by LiteLLM's list of prices and the estimate that commands show.

    python benchmarks/cost_of_rows.py

A row has a question of 30 words and answers of 200 words. Replies are taken to have 300 tokens.
"""

import os

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

from rewardanything_core import Case, from_endpoint

MODELS = (
    "openai/gpt-4o-mini",
    "openai/gpt-4.1",
    "anthropic/claude-haiku-4-5",
    "anthropic/claude-sonnet-4-5",
    "gemini/gemini-2.5-flash",
)
SHAPES = {"one answer": (1, 1), "two answers, in both orders": (2, 2), "four answers, in four orders": (4, 4)}
PRINCIPLE = "Prefer the answer that is right and says no more than was asked."
WORDS = "The answer to what you asked is below and it has the parts that you need for the work at hand".split()


def text(words: int, start: int) -> str:
    return " ".join(WORDS[(start + i) % len(WORDS)] for i in range(words))


def main() -> None:
    print(f"| model | {' | '.join(SHAPES)} |\n|---|{'---|' * len(SHAPES)}")
    for model in MODELS:
        cells = []
        for answers, passes in SHAPES.values():
            judge = from_endpoint(model, api_key="none", passes=passes, cache="off")
            responses = {f"r{i}": text(200, i) for i in range(answers)}
            cases = [Case(PRINCIPLE, f"{i} {text(29, i)}?", responses) for i in range(1_000)]
            estimate = judge.estimate(cases)
            cells.append(f"${estimate.cost:.2f} (${estimate.max_cost:.2f})")
        print(f"| `{model}` | {' | '.join(cells)} |")
    print(f"\nOf the last shape: {estimate}")


if __name__ == "__main__":
    main()
