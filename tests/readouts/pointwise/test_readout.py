"""The pointwise readouts: their arithmetic with a scripted model, the 135M model, and log-probabilities over HTTP."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy
import pytest
from pointwise_model import BRIEF, WORDY, answers
from servers import FakeOpenAI

from rewardanything_core import (
    Case,
    ConfigError,
    Judge,
    JudgeFailure,
    SamplingParams,
    ScriptedBackend,
    Usage,
    from_endpoint,
    load_judge,
)
from rewardanything_core.backends.base import ChoiceRequest, HiddenStates, TokenProbability
from rewardanything_core.errors import BackendError, ContextLengthError, VerdictParseError
from rewardanything_core.prompting.templates import Template
from rewardanything_core.readouts.expected_scores import expected_scores
from rewardanything_core.readouts.pointwise.questions import question_set
from rewardanything_core.store.verdict_store import VerdictStore

if TYPE_CHECKING:
    from pathlib import Path

    from rewardanything_core.backends.local.backend import LocalBackend


def scripted(**options: Any) -> Judge:
    return Judge(ScriptedBackend([], probabilities=answers), readout="logits", cache="off", **options)


def test_scores_follow_the_answers() -> None:
    verdict = scripted().judge("Prefer what is good.", "Say it.", {"x": "bad", "y": "good", "z": "so so"})
    assert verdict.ranking == ["y", "z", "x"]
    # The examples that fit are at .75 on 0..1 by construction, and these responses get the same answers.
    assert verdict.scores == pytest.approx({"x": 1 + 4 * 0.25, "y": 1 + 4 * 0.75, "z": 3.0}, abs=1e-6)
    assert all(0.3 < spread < 1.5 for spread in verdict.spread.values())
    for part in ("x 0.20", "y 0.80", "z 0.50"):
        assert part in verdict.explanation
    assert verdict.agreement is None


def test_a_single_response_gets_a_score() -> None:
    judge = scripted()
    assert judge.score("Prefer what is good.", "Say it.", "good") == pytest.approx(4.0)
    assert judge.score("Prefer what is good.", "Say it.", "bad") == pytest.approx(2.0)


@pytest.mark.parametrize(("principle", "first"), [(BRIEF, "short"), (WORDY, "long")])
def test_length_counts_where_the_principle_asks_for_it(principle: str, first: str) -> None:
    verdict = scripted().judge(principle, "Say it.", {"short": "word", "long": "word " * 300})
    assert verdict.best == first
    evidence = json.loads(verdict.raw_output)
    assert list(evidence["feature_preferences"]) == ["length"]
    assert sorted(one["counts"]["length"] for one in evidence["responses"].values()) == [1, 300]
    assert "words" in verdict.reasoning


def test_form_does_not_count_where_the_principle_does_not_mention_it() -> None:
    judge = scripted()
    verdict = judge.judge("Prefer what is true.", "Say it.", {"short": "word", "long": "word " * 300})
    assert verdict.scores["short"] == verdict.scores["long"]
    assert json.loads(verdict.raw_output)["feature_preferences"] == {}


ARTICLE = " ".join(f"The {pet} of the town sleeps in house number {n}." for n, pet in enumerate(["cat", "dog"] * 6))
GROUNDED, INVENTED = "The cat of the town sleeps.", "A famous parrot lives there happily."


def answers_about_sources(question: ChoiceRequest) -> Mapping[str, float]:
    """Knows which principles are about the source text, and whether they reward groundedness."""
    text, questions = question.messages[-1]["content"], question_set()
    if any(text.endswith(wording) for wording in questions.grounding_questions):
        yes = 0.8 if "article" in text.split("\n")[0] else 0.2
        return {"Yes": yes, "No": 1 - yes}
    for trait in questions.grounding_traits:
        for description, good in ((trait.more, 0.7), (trait.less, 0.3)):
            if f"A reply {description}." in text:
                good = 1 - good if "contradicts" in text else good
                return {"Good": good, "Bad": 1 - good}
    return answers(question)


@pytest.mark.parametrize(
    ("principle", "first"),
    [("Stay true to the article.", "true"), ("Prefer what contradicts the article.", "invented"), ("Be nice.", None)],
)
def test_groundedness_counts_where_the_principle_is_about_the_source(principle: str, first: str | None) -> None:
    judge = Judge(ScriptedBackend([], probabilities=answers_about_sources), readout="logits", cache="off")
    verdict = judge.judge(principle, ARTICLE, {"true": GROUNDED, "invented": INVENTED})
    evidence = json.loads(verdict.raw_output)
    if first is None:
        assert evidence["groundedness_weight"] == 0
        assert verdict.scores["true"] == verdict.scores["invented"]
    else:
        assert verdict.best == first
        assert abs(evidence["groundedness_weight"]) == 1
        assert "word pairs found in the prompt" in verdict.reasoning


def test_a_short_prompt_is_not_a_source() -> None:
    judge = Judge(ScriptedBackend([], probabilities=answers_about_sources), readout="logits", cache="off")
    verdict = judge.judge("Stay true to the article.", "Where does the cat sleep?", {"true": GROUNDED, "x": INVENTED})
    assert json.loads(verdict.raw_output)["groundedness_weight"] == 0


def test_questions_about_a_principle_are_asked_once() -> None:
    backend = ScriptedBackend([], probabilities=answers)
    judge = Judge(backend, readout="logits", cache="off")
    judge.judge_batch([Case(BRIEF, "Say it.", {"a": f"word {i}", "b": "word"}) for i in range(20)])
    questions = question_set()
    requests = [
        q for q in backend.choice_requests if BRIEF in q.messages[-1]["content"] and q.options == ("Good", "Bad")
    ]
    assert len(requests) == 2 * len(questions.feature_traits)
    before = backend.calls
    judge.judge(BRIEF, "Say it.", ["another word", "and another"])
    assert backend.calls == before + 2


def test_each_pass_uses_another_wording() -> None:
    backend = ScriptedBackend([], probabilities=answers)
    verdict = Judge(backend, readout="logits", passes=3, cache="off").judge("Be good.", "Say it.", ["good", "bad"])
    assert verdict.agreement == 1.0
    assert len(verdict.pass_scores) == len(verdict.orders) == 3
    texts = [q.messages[-1]["content"] for q in backend.choice_requests if "Be good." in q.messages[-1]["content"]]
    for question in question_set().fit_questions[:3]:
        assert sum(question.split("\n")[1] in text for text in texts) == 2


def test_a_long_list_needs_no_sublists() -> None:
    responses = {f"r{i}": "good" if i == 17 else "bad" for i in range(40)}
    verdict = scripted(max_list=4).judge("Be good.", "Say it.", responses)
    assert verdict.best == "r17"
    assert len(verdict.orders) == 1


def test_the_same_texts_under_other_labels_get_the_same_scores() -> None:
    judge = scripted()
    one = judge.judge("Be good.", "Say it.", {"a": "good", "b": "bad"})
    other = judge.judge("Be good.", "Say it.", {"b": "good", "a": "bad"})
    assert (one.scores["a"], one.scores["b"]) == (other.scores["b"], other.scores["a"])


def test_braces_and_markup_in_a_response_stay_text() -> None:
    backend = ScriptedBackend([], probabilities=answers)
    Judge(backend, readout="logits", cache="off").judge("Be good.", "A {response}?", ["{principle} <|im_end|>"])
    text = next(
        q.messages[-1]["content"] for q in backend.choice_requests if "{principle}" in q.messages[-1]["content"]
    )
    assert "Prompt: A {response}?" in text
    assert "<|im_end|>" not in text
    assert "<\u2060|im_end|>" in text


def test_a_model_that_would_not_answer_with_an_option_fails_the_case() -> None:
    backend = ScriptedBackend([], probabilities=lambda question: dict.fromkeys(question.options, 1e-6))
    outcome = Judge(backend, readout="logits", cache="off").judge_batch([Case("Be good.", "Say it.", ["good"])])[0]
    assert isinstance(outcome, JudgeFailure)
    assert "does not answer with Yes or No" in outcome.message


def test_impossible_and_contradictory_options_are_errors() -> None:
    with pytest.raises(ConfigError, match="does not provide"):
        Judge(ScriptedBackend([]), readout="logits", cache="off")
    with pytest.raises(ConfigError, match="expected_scores=True applies to written verdicts"):
        scripted(expected_scores=True)
    with pytest.raises(ConfigError, match="template applies to written verdicts"):
        scripted(template=Template.for_model("any", style="json"))
    with pytest.raises(ConfigError, match="'auto', 'generate', 'logits', 'head' or 'decisions'"):
        Judge(ScriptedBackend([]), readout="digits", cache="off")  # type: ignore[arg-type]


def test_readouts_have_different_store_keys(tmp_path: Path) -> None:
    backend = ScriptedBackend.scoring(lambda text: 4 if text == "good" else 1)
    backend._probabilities = answers  # the same model under both readouts
    store = VerdictStore(tmp_path / "store.sqlite3")
    case = Case("Be good.", "Say it.", {"a": "good", "b": "bad"})
    written = Judge(backend, readout="generate", store=store).judge(case)
    read = Judge(backend, readout="logits", store=store).judge(case)
    assert not read.cached
    assert read.template_hash == question_set().hash != written.template_hash
    assert Judge(backend, readout="logits", store=store, seed=5).judge(case).cached
    assert not Judge(backend, readout="logits", passes=2, store=store).judge(case).cached


def test_a_logits_judge_is_made_again_from_its_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its spec has no template, which would contradict the readout."""
    monkeypatch.setattr(ScriptedBackend, "spec", lambda _: {"kind": "scripted", "replies": [], "name": "reads"})
    monkeypatch.setattr(ScriptedBackend, "supports_option_scores", True)
    judge = scripted(passes=2)
    again = load_judge(json.loads(json.dumps(judge.spec())))
    assert isinstance(again, Judge)
    assert (again.readout, again.passes, again.template_hash) == ("logits", 2, judge.template_hash)
    assert judge.with_options(readout="generate").readout == "generate"


def test_a_changed_judge_keeps_its_readout() -> None:
    judge = scripted()
    assert judge.with_options(passes=2).readout == judge.resampled().readout == "logits"
    assert judge.fingerprint()["readout"] == "logits"
    assert Judge(ScriptedBackend([], probabilities=answers), cache="off").readout == "generate"


def test_the_small_model_judges(small_model: LocalBackend) -> None:
    judge = Judge(small_model, readout="logits", cache="off")
    case = Case("Be polite.", "Where is it?", {"a": "Over there, madam.", "b": "<|im_end|> go away"})
    verdict, again = judge.judge_batch([case, case])
    assert not isinstance(verdict, JudgeFailure)
    assert not isinstance(again, JudgeFailure)
    assert verdict.scores == again.scores
    assert set(verdict.scores) == {"a", "b"}
    assert all(1 <= score <= 5 for score in verdict.scores.values())
    assert verdict.usage.completion_tokens == 0


def test_a_response_that_exceeds_the_window_fails_before_anything_is_run(small_model: LocalBackend) -> None:
    judge = Judge(small_model, readout="logits", cache="off")
    with pytest.raises(ContextLengthError) as caught:
        judge.judge("Be brief.", "Say it.", {"short": "word", "long": "word " * 9000})
    assert caught.value.limit == small_model._preparer.window
    assert judge.usage.calls == 0
    assert judge.usage.prompt_tokens == 0


def _tokens(shares: Mapping[str, float]) -> list[dict[str, Any]]:
    ranked = [
        {"token": token, "bytes": list(token.encode()), "logprob": math.log(share)} for token, share in shares.items()
    ]
    return [{**ranked[0], "top_logprobs": ranked}]


def _chat_reply(body: dict[str, Any]) -> dict[str, Any]:
    text = body["messages"][-1]["content"]
    options = ("Good", "Bad") if "Good or Bad" in text else ("Yes", "No")
    share = answers(ChoiceRequest(messages=(*body["messages"],), options=options))
    first, second = options
    tokens = _tokens({first: share[first] * 0.9, f" {second.lower()}": share[second] * 0.9, "Hm": 0.1})
    return {"content": first, "finish_reason": "length", "tokens": tokens}


def test_a_server_with_log_probabilities_gives_scores(server: FakeOpenAI) -> None:
    server.reply = _chat_reply
    judge = from_endpoint("hosted_vllm/fake", api_base=server.url, readout="logits", cache="off")
    verdict = judge.judge("Be good.", "Say it.", {"a": "bad", "b": "good"})
    assert verdict.ranking == ["b", "a"]
    assert verdict.scores == pytest.approx({"a": 2.0, "b": 4.0}, abs=1e-6)
    assert verdict.usage.completion_tokens > 0
    for request in server.requests:
        assert request.body["max_tokens"] == 1
        assert request.body["logprobs"] is True
        assert "response_format" not in request.body


def test_a_server_without_log_probabilities_is_an_error_that_says_so() -> None:
    with FakeOpenAI("Yes", logprobs=False) as server:
        judge = from_endpoint("hosted_vllm/fake", api_base=server.url, readout="logits", cache="off")
        with pytest.raises(BackendError, match="returned no token log-probabilities") as caught:
            judge.judge("Be good.", "Say it.", ["good"])
        assert "generate" in caught.value.hint


def test_a_reply_that_begins_with_no_option_is_an_error(server: FakeOpenAI) -> None:
    server.reply = lambda body: {"content": "Hm", "tokens": _tokens({"Hm": 0.9, "Well": 0.1})}
    judge = from_endpoint("hosted_vllm/fake", api_base=server.url, readout="logits", cache="off")
    with pytest.raises(BackendError, match="would begin its reply with 'Hm'"):
        judge.judge("Be good.", "Say it.", ["good"])


def test_endpoints_generate_by_default(server: FakeOpenAI) -> None:
    assert from_endpoint("hosted_vllm/fake", api_base=server.url, cache="off").readout == "generate"


def test_sampling_options_select_the_generate_readout(small_model: LocalBackend) -> None:
    assert Judge(small_model, cache="off", sampling=SamplingParams(thinking_budget=0)).readout == "generate"


@pytest.mark.parametrize("first", [math.nan, 1.5, math.inf])
def test_probabilities_that_are_none_fail_their_case_alone(first: float) -> None:
    def odd(question: ChoiceRequest) -> Mapping[str, float]:
        usual = answers(question)
        is_odd = "Response: good" in question.messages[-1]["content"]
        return dict(zip(usual, [first, 1 - first], strict=True)) if is_odd else usual

    judge = Judge(ScriptedBackend([], probabilities=odd), readout="logits", cache="off")
    failed, verdict = judge.judge_batch([Case("p", "q", {"x": "good"}), Case("p", "q", {"x": "bad"})])
    assert isinstance(failed, JudgeFailure) and "probabilities of answers, which are from 0 to 1" in failed.message
    assert not isinstance(verdict, JudgeFailure)


def test_hidden_states_that_overflowed_are_an_error() -> None:
    with pytest.raises(BackendError, match="not finite"):
        HiddenStates(states=(numpy.ones(3), numpy.array([1.0, math.nan])), usage=Usage())


def test_an_expected_score_needs_the_alternatives() -> None:
    certain, unsure = (TokenProbability(text="4", alternatives={"4": p}) for p in (0.97, 0.6))
    assert expected_scores("4", {"model-1": (0, 1)}, [certain]) == {"model-1": 4.0}
    with pytest.raises(VerdictParseError, match="do not give an expected score"):
        expected_scores("4", {"model-1": (0, 1)}, [unsure])
