"""Aligning a principle to labels, against a judge behind HTTP whose scores depend on the principle's wording."""

from __future__ import annotations

import dataclasses
import re
import sys

import pytest
from alignment_data import REWRITTEN, RULE, VAGUE, case_in, literal_judge, pair_items, rewriting_requests, score_rows
from checks import write_jsonl
from servers import FakeOpenAI, Fault

from rewardanything_core import Jury, Principle, from_endpoint
from rewardanything_core.alignment import Reflector, align_principle
from rewardanything_core.bench import read_training_items
from rewardanything_core.errors import AuthenticationError, ConfigError, MissingExtraError


def judge_of(server: FakeOpenAI, **options):
    return from_endpoint("hosted_vllm/fake", api_base=server.url, **options)


class Replies(dict):
    def add(self, key, response):
        self[key] = {"response": response}


def test_a_rewritten_principle_that_agrees_more_on_held_out_prompts_is_accepted(server):
    server.reply = literal_judge
    lines = []
    result = align_principle(judge_of(server), pair_items(), VAGUE, progress=lambda *step: lines.append(step))
    assert result.is_better
    assert result.text == REWRITTEN
    assert (result.agreement_before.value, result.agreement.value, result.gain.value) == (0.0, 1.0, 1.0)
    assert result.prompts == (10, 10, 20)
    assert f"+{REWRITTEN}" in result.diff()
    assert result.calls == server.count
    assert lines[-1][:2] == (result.calls, 1_000)


def test_the_reflection_model_sees_the_judges_reasoning_and_people_labels_and_nothing_held_out(server):
    server.reply = literal_judge
    items = [dataclasses.replace(item, comment=f"Calm, says {item.id}.") for item in pair_items()]
    align_principle(judge_of(server), items, VAGUE, method="rewrite")
    (prompt,) = rewriting_requests(server)
    assert VAGUE in prompt
    assert "Judged by the energy of the answer." in prompt
    assert "calm is better than excited. Calm, says q" in prompt
    shown = [item.prompt for item in items if item.prompt in prompt]
    first_rejudged = server.count - 20
    held_out = {case_in(body)["prompt"] for body in server.bodies[first_rejudged:]}
    assert len(shown) == 6
    assert len(held_out) == 20
    assert held_out.isdisjoint(shown)


def test_nothing_is_accepted_if_no_wording_helps(server):
    server.reply = lambda body: literal_judge(body, rewriting="```\nPrefer the livelier answer.\n```")
    result = align_principle(judge_of(server), pair_items(), VAGUE)
    assert not result.is_better
    assert result.best is None
    assert result.text == VAGUE
    assert result.agreement.value is None


def test_a_wording_that_only_helps_on_the_prompts_it_was_selected_on_is_not_accepted(server):
    def overfitted(body):
        rejudged = {case["prompt"] for case in map(case_in, server.bodies) if case and case["principle"] != VAGUE}
        if len(rejudged) <= 6 + 10:  # those of the rewriting and for selection; the held-out ones come last
            return literal_judge(body)
        request = body["messages"][-1]
        forgotten = request | {"content": request["content"].replace("exclamation", "question")}
        return literal_judge(body | {"messages": [forgotten]})

    server.reply = overfitted
    result = align_principle(judge_of(server, max_concurrency=1), pair_items(), VAGUE, method="rewrite")
    assert result.best is not None
    assert result.best.agreement == 1.0
    assert not result.is_better
    assert result.text == VAGUE


def test_corrections_are_appended_as_worked_examples(server):
    server.reply = lambda body: literal_judge(body, rewriting="")
    items = [dataclasses.replace(item, comment="Too much exclamation.") for item in pair_items()]
    result = align_principle(judge_of(server), items, VAGUE, method="examples")
    assert result.is_better
    assert result.text.startswith(f"{VAGUE}\n\nWorked examples of other cases")
    examples = re.findall(
        r"Response 1: (.+)\nResponse 2: (.+)\nPeople's judgement: Response (\d) is better than Response \d. Too much",
        result.text,
    )
    assert len(examples) == 4
    assert all("!" not in (first, second)[int(better) - 1] for first, second, better in examples)
    assert {better for _, _, better in examples} == {"1", "2"}
    assert not rewriting_requests(server)


def test_single_scored_responses_are_compared_by_the_side_of_the_middle(server, tmp_path):
    server.reply = literal_judge
    write_jsonl(tmp_path / "labels.jsonl", score_rows())
    items = read_training_items([str(tmp_path / "labels.jsonl")], principle=VAGUE)
    result = align_principle(judge_of(server), items, VAGUE, method="rewrite")
    assert result.is_better
    assert "same side" in result.measure
    (prompt,) = rewriting_requests(server)
    assert "response is bad." in prompt


def test_other_scores_are_compared_by_their_distance(server, tmp_path):
    server.reply = literal_judge
    rows = [row | {"score": 8 if row["score"] == 5 else 2} for row in score_rows()]
    write_jsonl(tmp_path / "labels.jsonl", rows)
    items = read_training_items([str(tmp_path / "labels.jsonl")], principle=VAGUE)
    result = align_principle(judge_of(server), items, VAGUE, scale=(0, 10), method="rewrite")
    assert result.agreement_before.value == pytest.approx(1 - 2.2 / 4)  # 2 and 4 instead of 4.2 and 1.8
    assert result.agreement.value == pytest.approx(0.8)


def test_the_calls_are_bounded(server):
    server.reply = lambda body: literal_judge(body, rewriting=f"```\n{VAGUE} Be kind.\n```")
    result = align_principle(judge_of(server), pair_items(), VAGUE, max_calls=100)
    assert result.calls == server.count <= 100
    assert result.rewrites >= 1


def test_the_cost_of_a_case_is_measured_where_replies_are_requested_again(server):
    """The first reply to each case is not a verdict, so that a judgement takes two calls."""
    seen = set()

    def second_time(body):
        prompt = case_in(body)["prompt"]
        if prompt in seen:
            return literal_judge(body)
        seen.add(prompt)
        return "no verdict"

    server.reply = second_time
    with pytest.raises(ConfigError, match="90 calls are too few: 80 were made, and testing a proposal takes 60"):
        align_principle(judge_of(server, max_concurrency=1), pair_items(), VAGUE, max_calls=90)


def test_a_search_that_is_repeated_pays_for_nothing_again(server):
    server.reply = literal_judge
    replies = Replies()
    judge = judge_of(server)
    first = align_principle(judge, pair_items(), VAGUE, reflector=Reflector(judge.backend, replies=replies))
    paid = server.count
    again = align_principle(judge, pair_items(), VAGUE, reflector=Reflector(judge.backend, replies=replies))
    assert server.count == paid
    assert (again.text, again.gain, again.calls) == (first.text, first.gain, 0)


def test_an_interrupted_search_continues_where_it_stopped(server):
    server.reply = literal_judge

    def interrupt(calls, max_calls, line):
        if line.startswith("Testing"):
            raise KeyboardInterrupt

    judge = judge_of(server)
    with pytest.raises(KeyboardInterrupt):
        align_principle(judge, pair_items(), VAGUE, progress=interrupt)
    paid = server.count
    result = align_principle(judge, pair_items(), VAGUE)
    assert result.is_better
    assert server.count == paid + 20 + 1  # the held-out cases, and the rewriting, which this call did not cache


def test_a_reply_that_was_cut_off_is_not_a_principle(server):
    def cut_off(body):
        reply = literal_judge(body, rewriting=f"```\n{RULE}")
        return {"content": reply, "finish_reason": "length"} if case_in(body) is None else reply

    server.reply = cut_off
    result = align_principle(judge_of(server), pair_items(), VAGUE, method="rewrite", max_calls=120)
    assert not result.is_better
    assert result.rewrites_truncated == result.rewrites > 0


def test_a_principle_that_the_judge_fails_under_is_not_accepted(server):
    server.reply = lambda body: (
        "no verdict" if REWRITTEN in str(body["messages"][-1]["content"]) and case_in(body) else literal_judge(body)
    )
    result = align_principle(judge_of(server, retries=0), pair_items(), VAGUE, method="rewrite", max_calls=150)
    assert not result.is_better


def test_a_dead_reflection_model_ends_the_search_with_its_own_error(server):
    server.reply = literal_judge
    with FakeOpenAI(require_key="secret") as other:
        reflection = from_endpoint("openai/writer", api_base=other.url, api_key="wrong").backend
        with pytest.raises(AuthenticationError):
            align_principle(judge_of(server), pair_items(), VAGUE, reflection=reflection, method="rewrite")
        assert other.count == 1
    assert server.count == 40


def test_a_dead_judge_ends_the_search_with_its_own_error(server):
    server.reply = Fault.status(401, "Incorrect API key")
    with pytest.raises(AuthenticationError):
        align_principle(judge_of(server), pair_items(), VAGUE)


def test_a_few_failed_cases_are_excluded(server):
    def fails_once(body):
        case = case_in(body)
        return "no verdict" if case and "old castle" in case["prompt"] else literal_judge(body)

    server.reply = fails_once
    result = align_principle(judge_of(server, retries=0), pair_items(), VAGUE)
    assert result.is_better
    assert (result.failed, result.cases) == (1, 39)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda items: items[:19], "20 prompts or more; these have pairs of responses for 19 and scores for 0"),
        (lambda items: [dataclasses.replace(items[0], id=str(n)) for n in range(40)], "pairs of responses for 1"),
        (
            lambda items: [*items, dataclasses.replace(items[0], id="x", principle="Other.")],
            "'x' has a principle of its",
        ),
        (
            lambda items: [dataclasses.replace(i, human={"calm": 3}, rated=True, pairs=()) for i in items],
            "the same score",
        ),
        (
            lambda items: [dataclasses.replace(i, human={"calm": 9}, rated=True, scale=(1, 5)) for i in items],
            "lies outside the scale",
        ),
    ],
)
def test_unsuitable_labels_are_refused_before_anything_is_paid_for(server, change, message):
    with pytest.raises(ConfigError, match=message):
        align_principle(judge_of(server), change(pair_items()), VAGUE)
    assert server.count == 0


def test_what_cannot_work_is_refused_before_anything_is_paid_for(server, monkeypatch):
    judge = judge_of(server)
    with pytest.raises(ConfigError, match="50 calls are too few: judging the labelled cases takes 40, and making"):
        align_principle(judge, pair_items(), VAGUE, max_calls=50)
    with pytest.raises(ConfigError, match="no single model that could rewrite"):
        align_principle(Jury([judge, judge.with_options(seed=1)]), pair_items(), VAGUE)
    with pytest.raises(ConfigError, match="method must be one of"):
        align_principle(judge, pair_items(), Principle(VAGUE), method="magic")
    monkeypatch.setitem(sys.modules, "gepa", None)
    with pytest.raises(MissingExtraError, match=r"rewardanything-core\[align\]"):
        align_principle(judge, pair_items(), VAGUE)
    assert server.count == 0
