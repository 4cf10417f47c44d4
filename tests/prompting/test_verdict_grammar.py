import itertools
import json
import random

from hypothesis import given
from hypothesis import strategies as st

from rewardanything_core import parse_verdict
from rewardanything_core.backends.grammar import Choice, Text
from rewardanything_core.prompting.verdict_grammar import thinking_grammar, verdict_grammar, verdict_schema


def fill(grammar, choose):
    """Run a grammar, filling in each field with ``choose(field)``."""
    written, answer = "", None
    while True:
        try:
            item = grammar.send(answer)
        except StopIteration:
            return written
        answer = None
        if isinstance(item, str):
            written += item
        else:
            answer = choose(item)
            written += answer


@given(st.integers(1, 40), st.randoms())
def test_every_run_gives_a_complete_consistent_verdict(n, rng):
    names = [f"model-{i}" for i in range(1, n + 1)]
    reply = fill(verdict_grammar(names), lambda field: rng.choice(field.options))
    verdict = parse_verdict(reply, names)
    assert set(verdict.ranking) == set(names)


def test_every_verdict_over_three_responses_is_admitted():
    names = ["model-1", "model-2", "model-3"]
    rng, seen = random.Random(0), set()
    for _ in range(20_000):
        reply = json.loads(fill(verdict_grammar(names), lambda field: rng.choice(field.options)))
        seen.add((tuple(reply["scores"].values()), tuple(reply["best-to-worst"])))
    possible = {
        (scores, ranking)
        for scores in itertools.product(range(1, 6), repeat=3)
        for ranking in itertools.permutations(names)
        if list(ranking) == sorted(ranking, key=lambda name: -scores[int(name[-1]) - 1])
    }
    assert seen == possible


@given(st.integers(1, 40))
def test_no_option_is_a_prefix_of_another(n):
    names = [f"model-{i}" for i in range(1, n + 1)]

    def choose(field):
        assert not any(a != b and b.startswith(a) for a in field.options for b in field.options)
        return field.options[0]

    fill(verdict_grammar(names), choose)


def test_reasoning_comes_first_and_is_optional():
    answer = lambda: verdict_grammar(["model-1"])  # noqa: E731
    values = {Text: "b is short", Choice: "3"}
    reply = fill(thinking_grammar(answer, budget=9), lambda field: values[type(field)])
    assert reply.startswith("<think>\nb is short\n</think>\n\n{")
    assert parse_verdict(reply, ["a"]).reasoning == "b is short"
    assert parse_verdict(fill(thinking_grammar(answer, budget=0), lambda _: "3"), ["a"]).reasoning == ""


def test_the_schema_requires_every_name():
    schema = verdict_schema(["model-1", "model-2"], reasoning=True)
    assert list(schema["properties"]) == ["reasoning", "scores", "best-to-worst"]
    assert schema["properties"]["scores"]["required"] == ["model-1", "model-2"]
    assert schema["properties"]["best-to-worst"]["maxItems"] == 2
    assert "reasoning" not in verdict_schema(["model-1"], reasoning=False)["properties"]
