"""Ask a judge server, with nothing but Python's standard library.

    ra-judge serve &                                # or with --token-env JUDGE_TOKEN
    python examples/serve_client.py                 # or with http://the.server:8700

The token, if the server wants one, is taken from the environment variable JUDGE_TOKEN.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

PRINCIPLE = "Prefer the response that answers the question directly in one short sentence."
ANSWERS = {
    "How far away is the moon?": {
        "terse": "About 384,400 km on average.",
        "chatty": "What a wonderful question! People have always looked up at the moon. It is really very far away.",
    },
    "What is the capital of Kenya?": {
        "terse": "Nairobi.",
        "chatty": "Hello there! Kenya is beautiful, and I am so glad you asked. Its capital is Nairobi.",
    },
}


def post(url: str, body: Any) -> Any:
    """An open answer; an HTTPError holds what the server says of a request it refuses."""
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("JUDGE_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    # The address is the one that the user of this example gave.
    return urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers))  # noqa: S310


def judge(server: str, case: dict[str, Any]) -> dict[str, Any]:
    """The verdict of one case."""
    with post(f"{server}/v1/judge", case) as answer:
        verdict: dict[str, Any] = json.load(answer)
    return verdict


def judge_batch(server: str, cases: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each outcome as it is done: its ``index``, and its ``verdict`` or ``failure``."""
    with post(f"{server}/v1/judge/batch?order=completed", {"cases": cases}) as answer:
        for line in answer:
            yield json.loads(line)


def main() -> None:
    """One case, then all of them, one of which cannot be judged."""
    server = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8700"
    cases = [
        {"principle": PRINCIPLE, "prompt": prompt, "responses": responses, "id": prompt}
        for prompt, responses in ANSWERS.items()
    ]
    try:
        verdict = judge(server, cases[0])
    except urllib.error.HTTPError as refused:
        sys.exit(f"{refused.code}: {json.load(refused)['error']['message']}")
    print(", ".join(f"{label} {verdict['scores'][label]:.2f}" for label in verdict["ranking"]))
    print(f"{verdict['explanation']}\n")
    for outcome in judge_batch(server, [*cases, {**cases[0], "responses": {}}]):
        if "failure" in outcome:
            print(f"case {outcome['index']} was not judged: {outcome['failure']['message']}")
        else:
            print(f"case {outcome['index']}: {outcome['verdict']['best']} is better")


if __name__ == "__main__":
    main()
