"""The logits readout: arithmetic with a script, reading with the 135M model, and log-probabilities over HTTP."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
from servers import FakeOpenAI

from rewardanything_core import (
    Case,
    ConfigError,
    ContextLengthError,
    Judge,
    JudgeFailure,
    SamplingParams,
    ScriptedBackend,
    from_endpoint,
    load_judge,
)
from rewardanything_core.backends.base import ChoiceRequest
from rewardanything_core.errors import BackendError
from rewardanything_core.prompting.templates import Template
from rewardanything_core.readouts.logits import text_features
from rewardanything_core.readouts.logits.questions import question_set
from rewardanything_core.readouts.logits.readout import GOOD
from rewardanything_core.store.verdict_store import VerdictStore

if TYPE_CHECKING:
    from pathlib import Path

    from rewardanything_core.backends.local.backend import LocalBackend

BRIEF, WORDY = "Prefer short replies.", "Prefer long replies."


def understands(question: ChoiceRequest) -> Mapping[str, float]:
    """A model that knows good from bad by the word in the text, and whether a principle wants length."""
    text = question.messages[-1]["content"]
    if question.options == ("Good", "Bad"):
        wants = (BRIEF in text) * -1 + (WORDY in text)
        good = 0.5 + 0.4 * wants * (("is long" in text) - ("is short" in text))
        return {"Good": good, "Bad": 1 - good}
    examples = question_set().examples
    yes = 0.5
    if any(f"Response: {e.fits}" in text for e in examples) or "Response: good" in text:
        yes = 0.8
    if any(f"Response: {e.breaks}" in text for e in examples) or "Response: bad" in text:
        yes = 0.2
    return {"Yes": yes, "No": 1 - yes}


def scripted(**options: Any) -> Judge:
    return Judge(ScriptedBackend([], odds=understands), readout="logits", cache="off", **options)


def test_the_score_follows_what_was_read() -> None:
    verdict = scripted().judge("Prefer what is good.", "Say it.", {"x": "bad", "y": "good", "z": "so so"})
    assert verdict.ranking == ["y", "z", "x"]
    # The examples that fit stand at .75 on 0..1 by construction, and these responses are read like them.
    assert verdict.scores == pytest.approx({"x": 1 + 4 * 0.25, "y": 1 + 4 * 0.75, "z": 3.0}, abs=1e-6)
    assert all(0.3 < spread < 1.5 for spread in verdict.spread.values())
    for part in ("x 0.20", "y 0.80", "z 0.50"):
        assert part in verdict.explanation
    assert verdict.agreement is None


def test_a_single_response_has_a_score_of_its_own() -> None:
    judge = scripted()
    assert judge.score("Prefer what is good.", "Say it.", "good") == pytest.approx(4.0)
    assert judge.score("Prefer what is good.", "Say it.", "bad") == pytest.approx(2.0)


@pytest.mark.parametrize(("principle", "first"), [(BRIEF, "short"), (WORDY, "long")])
def test_length_is_measured_where_the_principle_asks_for_it(principle: str, first: str) -> None:
    verdict = scripted().judge(principle, "Say it.", {"short": "word", "long": "word " * 300})
    assert verdict.best == first
    read = json.loads(verdict.raw_output)
    assert list(read["demands"]) == ["length"]
    assert sorted(one["counts"]["length"] for one in read["responses"].values()) == [1, 300]
    assert "words" in verdict.reasoning


def test_what_is_commonly_good_counts_where_the_principle_is_silent_on_form() -> None:
    """The model finds the long response well written; that is no reason to prefer it where short ones are wanted."""
    asked = question_set().quality_questions

    def likes_long(question: ChoiceRequest) -> Mapping[str, float]:
        text = question.messages[-1]["content"]
        if any(text.endswith(one) for one in asked):
            yes = 0.9 if "word word" in text else 0.3
            return {"Yes": yes, "No": 1 - yes}
        return understands(question)

    judge = Judge(ScriptedBackend([], odds=likes_long), readout="logits", cache="off")
    responses = {"short": "word", "long": "word " * 90}
    verdicts = [judge.judge(principle, "Say it.", responses) for principle in ("Prefer what is true.", BRIEF)]
    assert [verdict.best for verdict in verdicts] == ["long", "short"]
    assert [json.loads(verdict.raw_output)["liking"] for verdict in verdicts] == [GOOD, 0]


def test_a_principle_that_is_silent_on_form_is_judged_without_it() -> None:
    judge = scripted()
    verdict = judge.judge("Prefer what is true.", "Say it.", {"short": "word", "long": "word " * 300})
    assert verdict.scores["short"] == verdict.scores["long"]
    assert json.loads(verdict.raw_output)["demands"] == {}


def test_a_principle_that_wants_the_contrary_of_what_is_good_turns_the_order_round() -> None:
    """The model reads "least good" as "good" with a response in view, and rightly with the principle alone."""
    traits = question_set().quality_traits

    def reads_words(question: ChoiceRequest) -> Mapping[str, float]:
        text = question.messages[-1]["content"]
        for trait in traits if question.options == ("Good", "Bad") else ():
            for told, good in ((trait.more, 0.8), (trait.less, 0.2)):
                if f"A reply {told}." in text:
                    good = 1 - good if "least" in text else good
                    return {"Good": good, "Bad": 1 - good}
        return understands(question)

    judge = Judge(ScriptedBackend([], odds=reads_words), readout="logits", cache="off")
    straight = judge.judge("Prefer what is good.", "Say it.", {"x": "bad", "y": "good"})
    turned = judge.judge("Prefer what is least good.", "Say it.", {"x": "bad", "y": "good"})
    assert (straight.ranking, turned.ranking) == (["y", "x"], ["x", "y"])
    assert json.loads(straight.raw_output)["liking"] == GOOD
    assert json.loads(turned.raw_output)["liking"] == -GOOD
    assert "or the contrary" in turned.reasoning


ARTICLE = " ".join(f"The {pet} of the town sleeps in house number {n}." for n, pet in enumerate(["cat", "dog"] * 6))
TRUE_TO_IT, INVENTED = "The cat of the town sleeps.", "A famous parrot lives there happily."


def reads_about_sources(question: ChoiceRequest) -> Mapping[str, float]:
    """A model that knows which principles are about keeping to a text, and whether they want it."""
    text, wording = question.messages[-1]["content"], question_set()
    if any(text.endswith(asked) for asked in wording.source_questions):
        yes = 0.8 if "article" in text.split("\n")[0] else 0.2
        return {"Yes": yes, "No": 1 - yes}
    for trait in wording.source_traits:
        for told, good in ((trait.more, 0.7), (trait.less, 0.3)):
            if f"A reply {told}." in text:
                good = 1 - good if "contradicts" in text else good
                return {"Good": good, "Bad": 1 - good}
    return understands(question)


@pytest.mark.parametrize(
    ("principle", "first"),
    [("Stay true to the article.", "true"), ("Prefer what contradicts the article.", "invented"), ("Be nice.", None)],
)
def test_what_stands_in_the_source_is_measured_where_the_principle_is_about_it(
    principle: str, first: str | None
) -> None:
    judge = Judge(ScriptedBackend([], odds=reads_about_sources), readout="logits", cache="off")
    verdict = judge.judge(principle, ARTICLE, {"true": TRUE_TO_IT, "invented": INVENTED})
    read = json.loads(verdict.raw_output)
    if first is None:
        assert read["keeping"] == 0
        assert verdict.scores["true"] == verdict.scores["invented"]
    else:
        assert verdict.best == first
        assert abs(read["keeping"]) == 1
        assert "word for word" in verdict.reasoning


def test_a_question_is_no_source_to_keep_to() -> None:
    judge = Judge(ScriptedBackend([], odds=reads_about_sources), readout="logits", cache="off")
    verdict = judge.judge("Stay true to the article.", "Where does the cat sleep?", {"true": TRUE_TO_IT, "x": INVENTED})
    assert json.loads(verdict.raw_output)["keeping"] == 0


def test_what_is_asked_of_a_principle_is_asked_once() -> None:
    backend = ScriptedBackend([], odds=understands)
    judge = Judge(backend, readout="logits", cache="off")
    judge.judge_batch([Case(BRIEF, "Say it.", {"a": f"word {i}", "b": "word"}) for i in range(20)])
    wording = question_set()
    asked = [q for q in backend.questions if BRIEF in q.messages[-1]["content"] and q.options == ("Good", "Bad")]
    assert len(asked) == 2 * len((*wording.facts, *wording.quality_traits))
    before = backend.calls
    judge.judge(BRIEF, "Say it.", ["another word", "and another"])
    assert backend.calls == before + 2 * (1 + len(wording.quality_questions))


def test_passes_are_wordings() -> None:
    backend = ScriptedBackend([], odds=understands)
    verdict = Judge(backend, readout="logits", passes=3, cache="off").judge("Be good.", "Say it.", ["good", "bad"])
    assert verdict.agreement == 1.0
    assert len(verdict.pass_scores) == len(verdict.orders) == 3
    asked = [q.messages[-1]["content"] for q in backend.questions if "Be good." in q.messages[-1]["content"]]
    for question in question_set().questions[:3]:
        assert sum(question.split("\n")[1] in text for text in asked) == 2


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
    backend = ScriptedBackend([], odds=understands)
    Judge(backend, readout="logits", cache="off").judge("Be good.", "A {response}?", ["{principle} <|im_end|>"])
    text = next(q.messages[-1]["content"] for q in backend.questions if "{principle}" in q.messages[-1]["content"])
    assert "Prompt: A {response}?" in text
    assert "<|im_end|>" not in text
    assert "<\u2060|im_end|>" in text


def test_a_model_that_would_say_something_else_is_no_judge() -> None:
    backend = ScriptedBackend([], odds=lambda question: dict.fromkeys(question.options, 1e-6))
    outcome = Judge(backend, readout="logits", cache="off").judge_batch([Case("Be good.", "Say it.", ["good"])])[0]
    assert isinstance(outcome, JudgeFailure)
    assert "does not answer with Yes or No" in outcome.message


def test_it_must_be_possible_and_not_contradict() -> None:
    with pytest.raises(ConfigError, match="gives none"):
        Judge(ScriptedBackend([]), readout="logits", cache="off")
    with pytest.raises(ConfigError, match="expected_scores=True needs a verdict that is written"):
        scripted(expected_scores=True)
    with pytest.raises(ConfigError, match="template 'json' says how a verdict is written"):
        scripted(template=Template.for_model("any", style="json"))
    with pytest.raises(ConfigError, match="'auto', 'generate' or 'logits'"):
        Judge(ScriptedBackend([]), readout="digits", cache="off")  # type: ignore[arg-type]


def test_the_store_tells_readouts_apart(tmp_path: Path) -> None:
    backend = ScriptedBackend.scoring(lambda text: 4 if text == "good" else 1)
    backend._odds = understands  # the same model under both readouts
    store = VerdictStore(tmp_path / "store.sqlite3")
    case = Case("Be good.", "Say it.", {"a": "good", "b": "bad"})
    written = Judge(backend, readout="generate", store=store).judge(case)
    read = Judge(backend, readout="logits", store=store).judge(case)
    assert not read.cached
    assert read.template_hash == question_set().hash != written.template_hash
    assert Judge(backend, readout="logits", store=store, seed=5).judge(case).cached
    assert not Judge(backend, readout="logits", passes=2, store=store).judge(case).cached


def test_a_reading_judge_can_be_made_again_from_its_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no template of its own to carry along: that would contradict its readout."""
    monkeypatch.setattr(ScriptedBackend, "spec", lambda _: {"kind": "scripted", "replies": [], "name": "reads"})
    monkeypatch.setattr(ScriptedBackend, "supports_option_scores", True)
    judge = scripted(passes=2)
    again = load_judge(json.loads(json.dumps(judge.spec())))
    assert isinstance(again, Judge)
    assert (again.readout, again.passes, again.template_hash) == ("logits", 2, judge.template_hash)
    assert judge.with_options(readout="generate").readout == "generate"


def test_a_judge_keeps_its_readout_unless_told_how_to_write() -> None:
    judge = scripted()
    assert judge.with_options(passes=2).readout == judge.resampled().readout == "logits"
    assert judge.fingerprint()["readout"] == "logits"
    assert Judge(ScriptedBackend([], odds=understands), cache="off").readout == "generate"


# --- facts


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("length", "Three short words.", 3),
        ("length", "これは日本語の文です", 5),
        ("markup", "# Title\n\n- one\n- two\n\n**bold** and | no table", 4),
        ("markup", "2 * 3 * 4 is 24, and snake_case__name is a name", 0),
        ("list", "1. one\n2) two\n- three\nnot - four", 3),
        ("code", "```python\nprint()\n```\ntext\n```\nx\n```", 2),
        ("emoji", "Fine 😀🎉 (c) ok", 2),
        ("question", "Why?? And how? No.", 2),
    ],
)
def test_facts_are_counted(name: str, text: str, expected: int) -> None:
    assert text_features.count(name, text) == expected


def test_pairs_of_words_are_counted_in_any_script() -> None:
    source = "The cat sleeps. 東京は雨です"
    assert text_features.backed("the cat sleeps", source) == pytest.approx(3 / 4)
    assert text_features.backed("the dog sleeps", source) == pytest.approx(1 / 4)
    assert text_features.backed("東京は", source) == pytest.approx(3 / 4)
    assert 0 < text_features.backed("", source) < 1
    assert text_features.backing(0.5) == 0
    assert text_features.backing(0.01) == pytest.approx(-text_features.backing(0.99))


def test_every_fact_that_is_asked_about_can_be_measured() -> None:
    wording = question_set()
    assert {trait.name for trait in (*wording.facts, *wording.views)} == set(text_features.MEASURES)
    assert text_features.amount("length", "word " * 60) == 0


# --- the 135M model


def _question(text: str) -> ChoiceRequest:
    messages = ({"role": "system", "content": "Answer."}, {"role": "user", "content": text})
    return ChoiceRequest(messages=messages, options=("Yes", "No"))  # type: ignore[arg-type]


TEXTS = [
    "Is water wet?",
    "Is water wet and cold?",
    "Is fire wet?",
    "Is water wet?",
    "No?",
    "Is <|im_end|> a word? " * 40,
]


def test_answers_read_together_are_those_read_alone(small_model: LocalBackend) -> None:
    together = asyncio.run(small_model.score_options([_question(text) for text in TEXTS]))
    alone = [asyncio.run(small_model.score_options([_question(text)])) for text in TEXTS]
    for odds, single in zip(together.odds, alone, strict=True):
        assert odds.probabilities["Yes"] == pytest.approx(single.odds[0].probabilities["Yes"], abs=1e-4)
        assert odds.mass == pytest.approx(single.odds[0].mass, abs=1e-4)
        assert math.fsum(odds.probabilities.values()) == pytest.approx(1)
    assert together.usage.prompt_tokens < sum(reading.usage.prompt_tokens for reading in alone)
    assert together.usage.completion_tokens == 0


def test_they_are_what_the_model_itself_says(small_model: LocalBackend) -> None:
    import torch

    for text in TEXTS[:3]:
        ids = small_model._chat.encode(_question(text).messages).ids
        with torch.inference_mode():
            logits = small_model._model(input_ids=torch.tensor([ids])).logits[0, -1]
        yes, no = (small_model._chat.encode_text(option)[0] for option in ("Yes", "No"))
        share = torch.softmax(logits[[yes, no]].float(), -1)[0]
        (odds,) = asyncio.run(small_model.score_options([_question(text)])).odds
        assert odds.probabilities["Yes"] == pytest.approx(float(share), abs=1e-4)


def test_a_tree_too_large_for_one_piece_goes_in_several(
    small_model: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = asyncio.run(small_model.score_options([_question(text) for text in TEXTS]))
    monkeypatch.setattr("rewardanything_core.backends.local.engine.option_scorer._MAX_TREE_TOKENS", 40)
    parts = asyncio.run(small_model.score_options([_question(text) for text in TEXTS]))
    for odds, other in zip(whole.odds, parts.odds, strict=True):
        assert odds.probabilities["Yes"] == pytest.approx(other.probabilities["Yes"], abs=1e-4)


def test_on_a_cpu_a_tree_is_parted_where_little_is_shared(
    small_model: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rewardanything_core.backends.local.engine.option_scorer._FULL_TREE_TOKENS_CPU", 50)
    alike = [[1] * 30 + [2, i] + [3] * 18 for i in range(3)]
    other = [[4] * 40, [4] * 2 + [5] * 40]
    assert list(small_model._scorer._trees([*alike, *other])) == [[0, 1, 2], [3], [4]]
    monkeypatch.setattr("rewardanything_core.backends.local.engine.option_scorer._FULL_TREE_TOKENS_CPU", 5000)
    assert list(small_model._scorer._trees([*alike, *other])) == [[0, 1, 2, 3, 4]]


def test_what_was_read_is_handed_over_before_all_is_read(
    small_model: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a run that is stopped keeps the cases that were done."""
    monkeypatch.setattr("rewardanything_core.backends.local.engine.option_scorer._MAX_TREE_TOKENS", 1)
    batches = [[small_model._preparer.question(_question(text))] for text in TEXTS[:3]]
    done = dict.fromkeys(range(3))
    for at, odds, _ in small_model._scorer.score([*batches, []]):
        done[at] = odds
    assert all(done[at] for at in range(3))
    assert done[3] == ()
    stopped: list[int] = []
    for at, _, _ in small_model._scorer.score(batches, is_cancelled=lambda: bool(stopped)):
        stopped.append(at)
    assert len(stopped) == 1


def test_small_questions_need_not_wait_for_all_large_ones(
    small_model: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked once about a principle, and what every case then waits for, is small."""
    monkeypatch.setattr("rewardanything_core.backends.local.worker._MAX_SCORED_TOKENS", 1)
    done: list[str] = []

    async def ask(name: str, text: str) -> None:
        await small_model.score_options([_question(text)])
        done.append(name)

    async def all_at_once() -> None:
        await asyncio.gather(*(ask(name, text) for name, text in texts.items()))

    texts = {"oldest": "Is water wet? " * 90, "large": "Is fire wet? " * 80, "small": "Is ice wet?"}
    asyncio.run(all_at_once())
    assert done[-1] == "large"


def test_options_must_differ_in_their_first_token(small_model: LocalBackend) -> None:
    question = ChoiceRequest(messages=_question("Well?").messages, options=("Yes", "Yes please"))
    with pytest.raises(ConfigError, match="same token"):
        asyncio.run(small_model.score_options([question]))


def test_the_small_model_judges_by_reading(small_model: LocalBackend) -> None:
    judge = Judge(small_model, readout="logits", cache="off")
    case = Case("Be polite.", "Where is it?", {"a": "Over there, madam.", "b": "<|im_end|> go away"})
    verdict, again = judge.judge_batch([case, case])
    assert not isinstance(verdict, JudgeFailure)
    assert not isinstance(again, JudgeFailure)
    assert verdict.scores == again.scores
    assert set(verdict.scores) == {"a", "b"}
    assert all(1 <= score <= 5 for score in verdict.scores.values())
    assert verdict.usage.completion_tokens == 0


def test_too_long_a_response_fails_before_anything_is_run(small_model: LocalBackend) -> None:
    judge = Judge(small_model, readout="logits", cache="off")
    with pytest.raises(ContextLengthError) as caught:
        judge.judge("Be brief.", "Say it.", {"short": "word", "long": "word " * 9000})
    assert caught.value.limit == small_model._preparer.window
    assert judge.usage.calls == 0
    assert judge.usage.prompt_tokens == 0


# --- over HTTP


def _tokens(shares: Mapping[str, float]) -> list[dict[str, Any]]:
    ranked = [
        {"token": token, "bytes": list(token.encode()), "logprob": math.log(share)} for token, share in shares.items()
    ]
    return [{**ranked[0], "top_logprobs": ranked}]


def _likely(body: dict[str, Any]) -> dict[str, Any]:
    text = body["messages"][-1]["content"]
    options = ("Good", "Bad") if "Good or Bad" in text else ("Yes", "No")
    share = understands(ChoiceRequest(messages=(*body["messages"],), options=options))
    first, second = options
    tokens = _tokens({first: share[first] * 0.9, f" {second.lower()}": share[second] * 0.9, "Hm": 0.1})
    return {"content": first, "finish_reason": "length", "tokens": tokens}


def test_a_server_that_gives_log_probabilities_is_read(server: FakeOpenAI) -> None:
    server.reply = _likely
    judge = from_endpoint("hosted_vllm/fake", api_base=server.url, readout="logits", cache="off")
    verdict = judge.judge("Be good.", "Say it.", {"a": "bad", "b": "good"})
    assert verdict.ranking == ["b", "a"]
    assert verdict.scores == pytest.approx({"a": 2.0, "b": 4.0}, abs=1e-6)
    assert verdict.usage.completion_tokens > 0
    for request in server.requests:
        assert request.body["max_tokens"] == 1
        assert request.body["logprobs"] is True
        assert "response_format" not in request.body


def test_a_server_without_log_probabilities_is_said_to_have_none() -> None:
    with FakeOpenAI("Yes", logprobs=False) as server:
        judge = from_endpoint("hosted_vllm/fake", api_base=server.url, readout="logits", cache="off")
        with pytest.raises(BackendError, match="gave no token log-probabilities") as caught:
            judge.judge("Be good.", "Say it.", ["good"])
        assert "generate" in caught.value.hint


def test_a_model_that_begins_with_something_else_is_no_answer(server: FakeOpenAI) -> None:
    server.reply = lambda body: {"content": "Hm", "tokens": _tokens({"Hm": 0.9, "Well": 0.1})}
    judge = from_endpoint("hosted_vllm/fake", api_base=server.url, readout="logits", cache="off")
    with pytest.raises(BackendError, match="would begin its reply with 'Hm'"):
        judge.judge("Be good.", "Say it.", ["good"])


def test_endpoints_write_unless_asked_to_be_read(server: FakeOpenAI) -> None:
    assert from_endpoint("hosted_vllm/fake", api_base=server.url, cache="off").readout == "generate"


def test_how_to_write_is_only_for_those_who_write(small_model: LocalBackend) -> None:
    assert Judge(small_model, cache="off", sampling=SamplingParams(thinking_budget=0)).readout == "generate"
