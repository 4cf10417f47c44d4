"""Labels that people gave for calm answers, and a judge behind HTTP that follows its principle to the letter."""

from __future__ import annotations

import json
from typing import Any

from servers import FakeOpenAI

from rewardanything_core.backends import verdict_reply
from rewardanything_core.bench import BenchItem
from rewardanything_core.bench.items import pairs_of

VAGUE = "Prefer the better answer."
RULE = "Answers without exclamation marks are better."
REWRITTEN = f"Prefer the better answer. {RULE}"

PLACES = "lighthouse harbour museum station castle bakery library market theatre garden".split()
ITEMS = [f"{size} {place}" for size in ("old", "new", "small", "large") for place in PLACES]


def pair_rows(number: int = 40) -> list[dict[str, Any]]:
    """A row per prompt with a calm and an excited answer; people prefer the calm one."""
    return [
        {
            "id": f"q{index}",
            "prompt": f"Where is the {name}?",
            "responses": {
                "excited": f"Oh, the {name} is right here!",
                "calm": f"The {name} is right here, to the left.",
            },
            "winner": "calm",
        }
        for index, name in enumerate(ITEMS[:number])
    ]


def score_rows(number: int = 40) -> list[dict[str, Any]]:
    """A row per prompt with one answer and people's score: calm ones get 5, excited ones 1."""
    return [
        {
            "id": f"s{index}",
            "prompt": f"Where is the {name}?",
            "response": f"The {name} is {'right here!' if index % 2 else 'to the left.'}",
            "score": 1 if index % 2 else 5,
        }
        for index, name in enumerate(ITEMS[:number])
    ]


def pair_items(number: int = 40) -> list[BenchItem]:
    """`pair_rows` as items."""
    human = {"excited": 1.0, "calm": 2.0}
    return [
        BenchItem(
            id=row["id"], source="test", group=row["id"], principle=VAGUE, prompt=row["prompt"],
            responses=row["responses"], human=human, pairs=pairs_of(human),
        )
        for row in pair_rows(number)
    ]  # fmt: skip


def case_in(body: dict[str, Any]) -> dict[str, Any] | None:
    """The case that a request asks to judge. None: it asks for something else."""
    for message in body["messages"]:
        for part in str(message["content"]).split("\n\n"):
            try:
                case = json.loads(part)
            except ValueError:
                continue
            if isinstance(case, dict) and "responses" in case:
                return case
    return None


def literal_judge(body: dict[str, Any], *, rewriting: str = f"```\n{REWRITTEN}\n```") -> str:
    """A judge that scores by exclamation marks if its principle has a word about them, and prefers excitement if not.

    Args:
        body: The request.
        rewriting: The reply to any other request.
    """
    case = case_in(body)
    if case is None:
        return rewriting
    calm, excited = (5, 1) if "exclamation" in str(case["principle"]) else (2, 4)
    scores = {name: excited if "!" in text else calm for name, text in case["responses"].items()}
    return verdict_reply(scores, thoughts="Judged by the energy of the answer.")


def rewriting_requests(server: FakeOpenAI) -> list[str]:
    """The prompts of the requests that asked to rewrite the principle."""
    return [body["messages"][-1]["content"] for body in server.bodies if case_in(body) is None]
