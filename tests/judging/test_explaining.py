"""Reasons for verdicts that a decision model has given."""

from __future__ import annotations

import json

import pytest
from servers import FakeOpenAI, Fault

from rewardanything_core import Case, ConfigError, Judge, Rubric, from_endpoint, load_judge
from rewardanything_core.backends import Completion, Request, ScriptedBackend
from rewardanything_core.errors import BackendError
from rewardanything_core.types import Usage

TWO = {"a": "3", "b": "5"}


def write(request: Request) -> Completion:
    """Reasons that repeat the scores that were given."""
    given = json.loads(request.messages[1]["content"])["verdict"]["scores"]
    text = " ".join(f"{name} has {score}." for name, score in given.items())
    return Completion(answer=text, usage=Usage(calls=1, completion_tokens=9))


@pytest.fixture
def server():
    with FakeOpenAI(decision_routes=["decisions"], chat=False) as running:
        yield running


def judge_of(server: FakeOpenAI, **options) -> Judge:
    return from_endpoint("m", server.url, **{"readout": "decisions", "cache": "off", **options})


def test_reasons_are_written_for_the_given_scores_and_marked(server):
    plain = judge_of(server).judge("Prefer high numbers.", "Which?", TWO)
    judge = judge_of(server, explainer=ScriptedBackend(write, name="writer"))
    verdict = judge.judge("Prefer high numbers.", "Which?", TWO)
    assert (verdict.scores, verdict.spread, verdict.ranking) == (plain.scores, plain.spread, plain.ranking)
    heading, reasons = verdict.explanation.rsplit("\n", 2)[-2:]
    assert heading == "[reasons for the given scores, by writer]"
    assert "a has 3.0." in reasons and "b has 4.0." in reasons
    assert verdict.explanation.startswith("No text was generated") and "has 3.0" not in verdict.reasoning
    assert verdict.usage.calls == judge.usage.calls == 2 and verdict.usage.completion_tokens == 2 + 9
    assert verdict.to_dict()["reasons"]["model"] == "writer"


def test_the_verdict_and_its_reasons_are_stored_apart(server, tmp_path):
    options = {"cache": "on", "store": tmp_path / "v.sqlite3"}
    writer = ScriptedBackend(write, name="writer")
    plain = judge_of(server, **options).judge("Prefer high numbers.", "Which?", TWO)
    judge = judge_of(server, explainer=writer, **options)
    verdict = judge.judge("Prefer high numbers.", "Which?", TWO)
    assert server.count == 1 and not verdict.cached and verdict.record_id != plain.record_id
    again = judge.with_options(passes=1).judge("Prefer high numbers.", "Which?", {"x": "5", "y": "3"})
    assert again.cached and writer.calls == 1 and "x has 4.0." in again.explanation
    with_another = judge_of(server, explainer=ScriptedBackend(write, name="other"), **options)
    assert not with_another.judge("Prefer high numbers.", "Which?", TWO).cached and server.count == 1


@pytest.mark.parametrize("reply", [BackendError("down"), "", Completion(answer="half of", truncated=True)])
def test_an_explainer_that_fails_loses_no_verdict_and_is_asked_again(server, tmp_path, reply):
    script = ScriptedBackend([reply, "model-1 is fine."], name="writer")
    judge = judge_of(server, explainer=script, cache="on", store=tmp_path / "v.sqlite3")
    verdict = judge.judge("Prefer high numbers.", "Which?", TWO)
    assert verdict.best == "b" and "[no reasons: writer failed with BackendError: " in verdict.explanation
    later = judge.judge("Prefer high numbers.", "Which?", TWO)
    assert "is fine." in later.explanation and later.scores == verdict.scores and server.count == 1


def test_a_case_without_a_verdict_gets_no_reasons(server):
    script = ScriptedBackend(write)
    server.reply = Fault.status(400, "no")
    with pytest.raises(BackendError):
        judge_of(server, explainer=script).judge("Prefer high numbers.", "Which?", TWO)
    assert script.calls == 0


def test_rubrics_are_explained_by_criterion(server):
    script = ScriptedBackend(write)
    rubric = Rubric({"kind": "Is kind.", "short": "Is short."})
    verdict = judge_of(server, explainer=script).judge(rubric, "Which?", TWO)
    shown = json.loads(script.requests[0].messages[1]["content"])
    assert shown["rubric"] == {"kind": "Is kind.", "short": "Is short."}
    assert set(shown["verdict"]["criteria"]) == {"kind", "short"} and verdict.reasons.text


def test_the_explainer_can_be_a_setting_and_travels_in_the_spec(server, tmp_path, monkeypatch):
    file = tmp_path / "ra-judge.toml"
    file.write_text('[judge]\nreadout = "decisions"\nexplainer = "hosted_vllm/w"\ncache = "off"\n')
    with FakeOpenAI("model-1 and model-2 differ.") as writer:
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", writer.url)
        judge = load_judge("m", config=file, api_base=server.url)
        for one in (judge, load_judge(json.loads(json.dumps(judge.spec())))):
            (verdict,) = one.judge_batch([Case("Prefer high numbers.", "Which?", TWO)])
            assert "differ." in verdict.explanation and verdict.reasons.model == "hosted_vllm/w"


def test_a_local_style_judge_explains_itself():
    backend = ScriptedBackend(write, name="small", probabilities=lambda question: dict.fromkeys(question.options, 1.0))
    verdict = Judge(backend, readout="logits", explain=True, cache="off").judge("Prefer a.", "Which?", TWO)
    assert verdict.reasons.model == "small" and verdict.reasons.text


def test_explainers_that_cannot_explain_are_refused(server):
    with pytest.raises(ConfigError, match="writes its reasons with the scores"):
        Judge(ScriptedBackend([]), explain=True)
    with pytest.raises(ConfigError, match="writes nothing"):
        judge_of(server, explain=True)
    with pytest.raises(ConfigError, match="is a model's name"):
        Judge(ScriptedBackend([], probabilities=lambda question: {}), readout="logits", explainer="openai/gpt-5-mini")
    with pytest.raises(ConfigError, match="name of a model or a backend, not int"):
        judge_of(server, explainer=5)
