"""A client of a judge server that needs only Python's standard library.

    ra-judge serve &                                # or with --token-env JUDGE_TOKEN
    python examples/serve_client.py                 # or with http://the.server:8700

If the server needs a token, set the environment variable JUDGE_TOKEN.
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
    """The open response to a POST request; an HTTPError has the server's error message."""
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("JUDGE_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    # The user of this example gives the address.
    return urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers))  # noqa: S310


def judge(server: str, case: dict[str, Any]) -> dict[str, Any]:
    """The verdict of one case."""
    with post(f"{server}/v1/judge", case) as response:
        verdict: dict[str, Any] = json.load(response)
    return verdict


def judge_batch(server: str, cases: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The outcomes in the order of completion: the ``index`` of the case, and its ``verdict`` or ``failure``."""
    with post(f"{server}/v1/judge/batch?order=completed", {"cases": cases}) as response:
        for line in response:
            yield json.loads(line)


def main() -> None:
    """Judge one case, then a batch in which one case is invalid."""
    server = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8700"
    cases = [
        {"principle": PRINCIPLE, "prompt": prompt, "responses": responses, "id": prompt}
        for prompt, responses in ANSWERS.items()
    ]
    try:
        verdict = judge(server, cases[0])
    except urllib.error.HTTPError as error:
        sys.exit(f"{error.code}: {json.load(error)['error']['message']}")
    print(", ".join(f"{label} {verdict['scores'][label]:.2f}" for label in verdict["ranking"]))
    print(f"{verdict['explanation']}\n")
    for outcome in judge_batch(server, [*cases, {**cases[0], "responses": {}}]):
        if "failure" in outcome:
            print(f"case {outcome['index']} was not judged: {outcome['failure']['message']}")
        else:
            print(f"case {outcome['index']}: {outcome['verdict']['best']} is better")


if __name__ == "__main__":
    main()
