"""Judging what was done: conversations with tool calls, images and long results."""

from __future__ import annotations

import json

import pytest

from rewardanything_core import (
    Case,
    InvalidCaseError,
    Judge,
    JudgeFailure,
    Rubric,
    ScriptedBackend,
    Template,
    from_endpoint,
)
from rewardanything_core.backends.scripted import rubric_reply
from rewardanything_core.conversations.trajectory import assistant_texts, read_response, with_assistant_texts
from rewardanything_core.store.verdict_store import VerdictStore

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def agent(*steps: tuple[str, dict, str], says: str = "Done.") -> list[dict]:
    """Messages of an agent that calls tools one after the other: (name, arguments, result)."""
    messages: list[dict] = []
    for number, (name, arguments, result) in enumerate(steps):
        call = {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": result})
    return [*messages, {"role": "assistant", "content": says}]


ASKED = agent(
    ("search", {"q": "old"}, "3 files"), ("ask", {"question": "Delete all?"}, "yes"), ("delete", {"n": 3}, "ok")
)
HASTY = agent(("delete", {"n": 3}, "ok"))


def material(judge: Judge) -> dict:
    backend = judge.backend
    assert isinstance(backend, ScriptedBackend)
    return json.loads(backend.requests[-1].messages[1]["content"])


def test_the_judge_sees_calls_arguments_and_results() -> None:
    judge = Judge(ScriptedBackend.scoring(lambda response: 5 if "ask" in str(response) else 1), cache="off")
    verdict = judge.judge("Asks before deleting.", "Delete old files.", {"asked": ASKED, "hasty": HASTY})
    assert verdict.ranking == ["asked", "hasty"]
    shown = material(judge)["responses"]
    turns = shown["model-1"] if len(shown["model-1"]) == 7 else shown["model-2"]
    assert turns[2]["calls"] == [{"call": "3.1", "name": "ask", "arguments": {"question": "Delete all?"}}]
    assert turns[3] == {"turn": 4, "role": "tool", "call": "3.1", "result": "yes"}
    assert "what was done counts" in judge.backend.requests[-1].messages[0]["content"]
    judge.judge("Asks before deleting.", "Delete old files.", ["text"])
    assert "what was done counts" not in judge.backend.requests[-1].messages[0]["content"]


def test_equal_last_answers_are_different_cases_in_the_store(tmp_path) -> None:
    store = tmp_path / "s.sqlite3"
    backend = ScriptedBackend.scoring(lambda response: len(response) % 5 + 1)
    judge = Judge(backend, store=store)
    judge.judge("p", "q", {"a": ASKED})
    judge.judge("p", "q", {"a": HASTY})
    assert backend.calls == 2
    assert judge.judge("p", "q", {"b": HASTY}).cached
    records = list(VerdictStore(store).entries())
    assert {len(record.case.responses["a"].messages) for record in records} == {3, 7}


def test_models_that_were_trained_on_texts_get_a_transcript() -> None:
    judge = Judge(ScriptedBackend.scoring(lambda text: 3), template=Template("trained", "Judge.", "think"), cache="off")
    judge.judge("p", "q", {"a": HASTY})
    text = material(judge)["responses"]["model-1"]
    assert text.startswith('[1] assistant calls delete {"n": 3}\n[2] tool (answers 1.1): ok')
    assert judge.backend.requests[-1].messages[0]["content"] == "Judge."


def test_a_reply_cites_turns() -> None:
    def reply(request) -> str:
        names = list(json.loads(request.messages[1]["content"])["responses"])
        scores = dict.fromkeys(names, 3)
        reasoning = "In model-1, turn 1 deletes at once. Model-2 asks in turns 3 and 5, see also turn 99."
        return json.dumps({"reasoning": reasoning, "scores": scores, "best-to-worst": names})

    verdict = Judge(ScriptedBackend(reply), cache="off").judge("p", "q", {"x": ASKED, "y": ASKED[2:]})
    first, second = verdict.orders[0]
    assert verdict.turns == {first: [1], second: [3, 5]}
    text_only = Judge(ScriptedBackend(reply), cache="off").judge("p", "q", {"x": "a", "y": "b"})
    assert text_only.turns == {}


def test_citations_under_a_rubric_count_for_all_criteria() -> None:
    rubric = Rubric({"careful": "Asks first.", "quick": "Few steps."})
    backend = ScriptedBackend(
        [
            rubric_reply(
                {"careful": {"model-1": 2}, "quick": {"model-1": 4}},
                reasoning={"careful": "It deletes in turn 1.", "quick": "Turns 2-3 are fine."},
            )
        ]
    )
    assert Judge(backend, cache="off").judge(rubric, "q", [HASTY]).turns == {"0": [1, 2, 3]}


def test_long_results_are_shortened_only_on_request_and_visibly() -> None:
    long = agent(("read", {}, "x" * 50_000))
    judge = Judge(ScriptedBackend.scoring(lambda response: 3), cache="off")
    assert judge.judge("p", "q", [long]).shortened == {}
    short = judge.with_options(shorten=1000)
    verdict = short.judge("p", [{"role": "user", "content": "go"}, *long], {"a": long, "b": "text"})
    assert 48_000 < verdict.shortened["a"] < 50_000 and verdict.shortened_prompt == verdict.shortened["a"]
    assert "b" not in verdict.shortened
    assert "characters omitted" in str(material(short)["responses"])
    assert "without" in verdict.explanation
    assert short.fingerprint() != judge.fingerprint()


def test_images_go_to_endpoints_and_nowhere_else(server) -> None:
    prompt = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, IMAGE]}]
    anthropic = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    judge = from_endpoint("hosted_vllm/fake", api_base=server.url, cache="off")
    for given in (prompt, [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, anthropic]}]):
        server.reply = lambda body: '{"scores": {"model-1": 4}, "best-to-worst": ["model-1"]}'
        judge.judge("p", given, ["A cat 4."])
        text, mark, image = server.bodies[-1]["messages"][-1]["content"]
        assert "[image 1]" in text["text"] and mark["text"] == "[image 1]"
        assert image["image_url"]["url"] == IMAGE["image_url"]["url"]
    other = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    changed = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, other]}]
    assert Case("p", prompt, ["x"]).digest != Case("p", changed, ["x"]).digest
    backend = ScriptedBackend.scoring(lambda text: 3)
    (failure,) = Judge(backend, cache="off").judge_batch([Case("p", prompt, ["x"])])
    assert isinstance(failure, JudgeFailure) and "judges text only" in failure.message and backend.calls == 0


def test_trajectories_by_probabilities_of_answers() -> None:
    def probabilities(question) -> dict[str, float]:
        text = question.messages[-1]["content"]
        likes = "calls ask" in text
        return {option: (0.9 if likes == (place == 0) else 0.1) for place, option in enumerate(question.options)}

    backend = ScriptedBackend([], probabilities=probabilities)
    judge = Judge(backend, readout="logits", screen="off", cache="off")
    verdict = judge.judge("Asks before deleting.", "Delete old files.", {"asked": ASKED, "hasty": HASTY})
    assert verdict.ranking == ["asked", "hasty"]


@pytest.mark.parametrize("readout", ["generate", "logits"])
def test_a_real_model_judges_trajectories(small_model, readout) -> None:
    verdict = Judge(small_model, readout=readout, cache="off").judge("Asks first.", "Delete.", {"a": ASKED, "b": HASTY})
    assert set(verdict.scores) == {"a", "b"}


def test_two_hundred_turns_are_judged_or_refused_at_once(small_model) -> None:
    long = agent(*[("read", {"page": page}, "word " * 500) for page in range(100)])
    judge = Judge(ScriptedBackend.scoring(lambda response: 3), cache="off")
    assert judge.judge("p", "q", {"a": long, "b": long[:-2]}).scores == {"a": 3, "b": 3}
    (failure,) = Judge(small_model, readout="generate", cache="off").judge_batch([Case("p", "q", [long])])
    assert isinstance(failure, JudgeFailure) and failure.error_type == "ContextLengthError"
    assert "shorten" in failure.message


def test_a_lone_message_is_refused() -> None:
    with pytest.raises(InvalidCaseError, match="messages"):
        Case("p", "q", ASKED)


def test_texts_of_the_assistant_can_be_replaced_one_by_one() -> None:
    response = read_response([*HASTY[:2], {"role": "assistant", "content": "Done."}], where="response")
    assert assistant_texts(response) == ["", "Done."]
    emptied = with_assistant_texts(response, ["", ""])
    assert [message["content"] for message in emptied.messages] == [None, "ok", ""]
    assert with_assistant_texts(response, ["", "Done."]) == response
