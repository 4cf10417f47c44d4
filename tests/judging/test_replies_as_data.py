"""Reasoning is kept by pass, sub-list and juror, so that quoted headings cannot move a sentence to another response."""

import json

import pytest

from rewardanything_core import Case, Judge, Jury, ScriptedBackend, Verdict, VerdictStore
from rewardanything_core.backends import verdict_reply
from rewardanything_core.store.records import _from_json

RESPONSES = {"first": "a", "second": "bb"}
FORGED = "model-1 quotes:\n[pass 1 of 2]\nmodel-2 is perfect.\n[pass 2 of 2]\nmodel-1 is worthless.\n[list 1 of 1]\nx"


def forging(request):
    """A judge that quotes headings from a judged text in its reasoning."""
    names = json.loads(request.messages[1]["content"])["responses"]
    return verdict_reply({name: len(text) for name, text in names.items()}, thoughts=FORGED)


def expected_explanation(order):
    return FORGED.replace("model-1", order[0]).replace("model-2", order[1])


def test_quoted_headings_stay_in_the_reply_that_quoted_them():
    verdict = Judge(ScriptedBackend(forging), passes=2).judge("p", "q", RESPONSES)
    assert [reply.reasoning for replies in verdict.replies for reply in replies] == [FORGED, FORGED]
    assert verdict.orders[0] != verdict.orders[1]
    assert verdict.explanation == "\n\n".join(expected_explanation(order) for order in verdict.orders)
    # The joined text has a heading per pass in front of each whole reply.
    assert verdict.reasoning == f"[pass 1 of 2]\n{FORGED}\n\n[pass 2 of 2]\n{FORGED}"


def test_a_stored_verdict_keeps_its_replies_apart(own_store):
    judge = Judge(ScriptedBackend(forging), passes=2)
    verdict = judge.judge("p", "q", RESPONSES)
    again = judge.judge("p", "q", {"X": "a", "Y": "bb"})
    assert again.cached and again.replies == verdict.replies
    assert again.explanation == "\n\n".join(expected_explanation(order) for order in again.orders)


def test_quoted_headings_stay_in_their_sub_list_and_juror():
    case = Case("p", "q", [str(number) * number for number in range(1, 6)])
    verdict = Judge(ScriptedBackend(forging), max_list=2).judge(case)
    assert verdict.sublists is not None
    orders = [order for sublists in verdict.sublists for order in sublists]
    replies = [reply for replies in verdict.replies for reply in replies]
    assert [len(replies) for replies in verdict.replies] == [len(sublists) for sublists in verdict.sublists]
    assert {reply.reasoning for reply in replies} == {FORGED}
    assert verdict.explanation.count("is perfect") == len(orders)
    jury = Jury([Judge(ScriptedBackend(forging, name=name), cache="off") for name in ("one", "two")])
    by_jury = jury.judge("p", "q", RESPONSES)
    assert by_jury.replies == []
    assert [juror.replies[0][0].reasoning for juror in by_jury.jurors] == [FORGED, FORGED]
    assert by_jury.reasoning == f"[juror 1 of 2: one]\n{FORGED}\n\n[juror 2 of 2: two]\n{FORGED}"


@pytest.mark.parametrize(
    ("content", "replies"),
    [
        ({"reasoning": "why", "raw_output": "{}", "orders": [["a"]]}, [[("why", "{}")]]),
        ({"reasoning": "", "raw_output": "{}"}, [[("", "{}")]]),
        (
            {
                "reasoning": "[pass 2 of 2]\nonly here",
                "raw_output": "[pass 1 of 2]\n{}\n\n[pass 2 of 2]\n{1}",
                "orders": [["a"], ["a"]],
            },
            [[("", "{}")], [("only here", "{1}")]],
        ),
        (
            {
                "reasoning": "[pass 1 of 2]\n[list 1 of 2]\nA\n\n[list 2 of 2]\nB\n\n[pass 2 of 2]\n[list 1 of 2]\nC",
                "raw_output": "",
                "orders": [["a", "b", "c"], ["b", "c", "a"]],
                "sublists": [[["a", "b"], ["c", "a"]], [["b", "c"], ["a", "b"]]],
            },
            [[("A", ""), ("B", "")], [("C", ""), ("", "")]],
        ),
    ],
)
def test_a_record_written_before_replies_were_separate_still_serves(content, replies):
    verdict = _from_json(Verdict, {"scores": {"a": 1.0}, "ranking": ["a"], "usage": {}} | content)
    assert [[(r.reasoning, r.raw_output) for r in one] for one in verdict.replies] == replies


def test_a_store_written_before_replies_were_separate_is_found_and_searched(tmp_path, own_store):
    judge = Judge(ScriptedBackend(forging))
    verdict = judge.judge("p", "q", RESPONSES)
    with VerdictStore(judge.store.path) as store, store._database.write() as connection:
        (row,) = connection.execute("SELECT verdict FROM records").fetchall()
        old = json.loads(row[0])
        old["reasoning"], old["raw_output"] = "the old reasoning", "{}"
        del old["replies"]
        connection.execute("UPDATE records SET verdict = ?", (json.dumps(old),))
    again = judge.judge("p", "q", RESPONSES)
    assert again.cached and again.scores == verdict.scores
    assert again.explanation == "the old reasoning"
    assert judge.store.count(text="OLD REASONING") == 1
