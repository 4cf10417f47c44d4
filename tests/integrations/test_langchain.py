"""rewardanything_langchain through LangChain's, LangSmith's, openevals' and agentevals' own entry points."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import math
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_classic.evaluation.schema import PairwiseStringEvaluator, StringEvaluator
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langsmith import Client
from langsmith.evaluation import EvaluationResult, aevaluate, evaluate, run_evaluator
from langsmith.evaluation.evaluator import comparison_evaluator
from langsmith.schemas import Example, Run
from paths import ROOT
from servers import QUICK_FAULTS, FakeOpenAI, Fault, score_text

from rewardanything_core import (
    ConfigError,
    InvalidCaseError,
    Judge,
    JudgeUnavailableError,
    Principle,
    ScriptedBackend,
    Verdict,
    VerdictParseError,
    from_endpoint,
)
from rewardanything_core.backends import verdict_reply
from rewardanything_core.errors import BackendTimeoutError
from rewardanything_langchain import (
    BestOfN,
    JudgeRunnable,
    PrincipleEvaluator,
    PrinciplePairwiseEvaluator,
    comparative_evaluator,
    principle_evaluator,
)
from rewardanything_langchain.texts import prompt_of, response_of, split_conversation, text_of

PRINCIPLE = "The higher the number in the answer, the better."


def scripted(
    score: Callable[[str], float] = score_text, *, fails: Callable[[str], bool] = lambda text: False, **options: Any
) -> Judge:
    """A judge that scores by a function of the response and gives no verdict where ``fails`` is true."""

    def reply(request: Any) -> Any:
        responses = json.loads(request.messages[1]["content"])["responses"]
        texts = {name: said_and_done(response) for name, response in responses.items()}
        if any(map(fails, texts.values())):
            return "I would rather not say."
        return verdict_reply({name: score(text) for name, text in texts.items()}, thoughts=f"I read {texts!r}.")

    return Judge(ScriptedBackend(reply), **{"cache": "off", "retries": 0, **options})


def said_and_done(response: str | list[dict[str, Any]]) -> str:
    """The texts and the arguments of calls, without the numbers of turns."""
    if isinstance(response, str):
        return response
    parts = [part for turn in response for part in (turn.get("text"), turn.get("result"), *turn.get("calls", ()))]
    return " ".join(str(part["arguments"]) if isinstance(part, dict) else part for part in parts if part)


def row(number: int | str, **more: Any) -> dict[str, Any]:
    return {"prompt": "Which?", "responses": {"x": f"number {number}"}, **more}


def run_of(text: str, **more: Any) -> Run:
    now = datetime.now(UTC)
    return Run(
        id=uuid.uuid4(), name="r", run_type="chain", start_time=now, trace_id=uuid.uuid4(), inputs={"question": "?"},
        outputs={"answer": text} if text else None, session_id=uuid.uuid4(), **more,
    )  # fmt: skip


# --- JudgeRunnable


def test_a_dict_becomes_a_verdict() -> None:
    judge = JudgeRunnable(principle=PRINCIPLE, judge=scripted())
    verdict = judge.invoke({"prompt": "Which?", "responses": {"a": "2", "b": "4"}, "id": "q1"})
    assert isinstance(verdict, Verdict) and verdict.best == "b" and verdict.case_id == "q1"
    assert asyncio.run(judge.ainvoke(row(3))).scores == {"x": 3.0}
    assert judge.invoke({"prompt": "?", "responses": ["1", "5"]}).ranking == ["1", "0"]


def test_messages_and_prompt_values_are_accepted() -> None:
    backend = scripted()
    prompt = ChatPromptTemplate.from_messages([("system", "Be kind."), ("human", "{question}")])
    chain = (
        RunnablePassthrough.assign(prompt=prompt, responses=lambda _: {"a": AIMessage("number 4")})
        | RunnableLambda(lambda value: {"prompt": value["prompt"], "responses": value["responses"]})
        | JudgeRunnable(principle=PRINCIPLE, judge=backend)
        | (lambda verdict: verdict.scores["a"])
    )
    assert chain.invoke({"question": "Why?"}) == 4.0
    seen = backend.backend.requests[-1].messages[1]["content"]
    assert "Be kind." in seen and "Why?" in seen
    assert prompt_of([HumanMessage("a"), {"role": "assistant", "content": "b"}]) == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]


def test_a_dict_may_have_its_own_principle_and_several_principles_give_several_verdicts() -> None:
    judge = JudgeRunnable(judge=scripted())
    assert judge.invoke(row(2, principle="Be kind.")).scores == {"x": 2.0}
    with pytest.raises(InvalidCaseError, match="There is no principle"):
        judge.invoke(row(2))
    several = JudgeRunnable(principle=[PRINCIPLE, Principle("Be kind.")], judge=scripted())
    assert [v.scores["x"] for v in several.invoke(row(3))] == [3.0, 3.0]
    assert [[v.scores["x"] for v in vs] for vs in several.batch([row(1), row(2)])] == [[1.0, 1.0], [2.0, 2.0]]


@pytest.mark.parametrize("value", ["text", {"prompt": "?"}, {"prompt": "?", "responses": {"a": "1"}, "extra": 1}])
def test_an_invalid_input_is_an_error_that_names_the_field(value: Any) -> None:
    with pytest.raises(InvalidCaseError, match=r"prompt|responses|extra"):
        JudgeRunnable(principle=PRINCIPLE, judge=scripted()).invoke(value)


def test_settings_are_checked_when_the_runnable_is_created() -> None:
    for wrong in ({"principle": "  "}, {"principle": []}, {"principle": PRINCIPLE, "judge": "gpt"}):
        with pytest.raises(ValueError, match=r"principle|judge"):
            JudgeRunnable(**wrong)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("limit", [None, 2])
def test_a_batch_keeps_its_order_and_its_failures_apart(asynchronous: bool, limit: int | None) -> None:
    judge = JudgeRunnable(principle=PRINCIPLE, judge=scripted(fails=lambda text: "4" in text))
    rows = [row(1), row(4), {"prompt": "no responses"}, row(5)]
    config: Any = {"max_concurrency": limit} if limit else None

    def batch(**options: Any) -> Any:
        return (
            asyncio.run(judge.abatch(rows, config, **options)) if asynchronous else judge.batch(rows, config, **options)
        )

    one, failed, invalid, five = batch(return_exceptions=True)
    assert one.scores == {"x": 1.0} and five.scores == {"x": 5.0}
    assert isinstance(failed, VerdictParseError) and failed.raw == "I would rather not say." and failed.failure
    assert isinstance(invalid, InvalidCaseError)
    with pytest.raises(VerdictParseError):
        batch()
    assert judge.batch([]) == []


@pytest.mark.parametrize("asynchronous", [False, True])
def test_batches_are_coalesced_and_respect_max_concurrency(asynchronous: bool, tmp_path: Path) -> None:
    rows = [row(f"5 of row {i}") for i in range(24)]
    with FakeOpenAI(latency=0.05) as server:
        endpoint = from_endpoint("hosted_vllm/fake", api_base=server.url, store=tmp_path / "s.sqlite", cache="off")
        judge = JudgeRunnable(principle=PRINCIPLE, judge=endpoint)

        def batch(config: Any = None) -> Any:
            return asyncio.run(judge.abatch(rows, config)) if asynchronous else judge.batch(rows, config)

        assert len(batch()) == 24 and server.max_in_flight > 12
        server.max_in_flight = 0
        assert len(batch({"max_concurrency": 3})) == 24 and server.max_in_flight <= 3
        endpoint.close()


class Recorder(BaseCallbackHandler):
    def __init__(self) -> None:
        self.events: list[str] = []

    def on_chain_start(self, *_: Any, **kwargs: Any) -> None:
        self.events.append(f"start {kwargs.get('name')}")

    def on_chain_end(self, *_: Any, **kwargs: Any) -> None:
        self.events.append("end")

    def on_chain_error(self, *_: Any, **kwargs: Any) -> None:
        self.events.append("error")


def test_callbacks_and_events() -> None:
    judge = JudgeRunnable(principle=PRINCIPLE, judge=scripted(fails=lambda text: "4" in text))
    recorder = Recorder()
    judge.invoke(row(1), {"callbacks": [recorder], "run_name": "named"})
    judge.batch([row(1), row(4)], {"callbacks": [recorder]}, return_exceptions=True)
    assert recorder.events[:2] == ["start named", "end"]
    assert sorted(recorder.events[2:]) == ["end", "error", "start JudgeRunnable", "start JudgeRunnable"]

    async def events() -> list[str]:
        return [event["event"] async for event in judge.astream_events(row(2), version="v2")]

    assert asyncio.run(events()) == ["on_chain_start", "on_chain_stream", "on_chain_end"]
    assert [verdict.scores for verdict in judge.stream(row(2))] == [{"x": 2.0}]
    streamed = RunnablePassthrough.assign(responses=lambda _: ["number 3"]) | judge
    assert [verdict.scores for verdict in streamed.stream({"prompt": "?"})] == [{"0": 3.0}]


def test_schemas_name_what_goes_in_and_out() -> None:
    judge = JudgeRunnable(principle=PRINCIPLE)
    assert {"prompt", "responses", "principle"} <= set(judge.get_input_jsonschema()["properties"])
    assert "reasoning" in json.dumps(judge.get_output_jsonschema())
    assert judge.get_name() == "JudgeRunnable" and len(judge.get_graph().nodes) == 3


def test_retry_and_fallbacks() -> None:
    replies = ["nonsense", verdict_reply({"model-1": 4})]
    flaky = JudgeRunnable(principle=PRINCIPLE, judge=Judge(ScriptedBackend(replies), cache="off", retries=0))
    retrying = flaky.with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    assert retrying.invoke(row(1)).scores == {"x": 4.0}
    replies = ["nonsense", "nonsense", verdict_reply({"model-1": 5}), verdict_reply({"model-1": 5})]
    flaky = JudgeRunnable(principle=PRINCIPLE, judge=Judge(ScriptedBackend(replies), cache="off", retries=0))
    retrying = flaky.with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    assert [v.scores["x"] for v in retrying.batch([row(1), row(2)])] == [5.0, 5.0]
    broken = JudgeRunnable(principle=PRINCIPLE, judge=scripted(fails=lambda text: True))
    safe = broken.with_fallbacks([JudgeRunnable(principle=PRINCIPLE, judge=scripted())])
    assert safe.invoke(row(3)).scores == {"x": 3.0} and [v.best for v in safe.batch([row(1), row(2)])] == ["x", "x"]
    assert asyncio.run(safe.abatch([row(2)]))[0].scores == {"x": 2.0}


def test_errors_have_their_own_class_in_a_batch(server: FakeOpenAI, tmp_path: Path) -> None:
    server.latency = 5
    endpoint = from_endpoint("hosted_vllm/fake", api_base=server.url, timeout=0.2, attempts=1, store=tmp_path / "s")
    judge = JudgeRunnable(principle=PRINCIPLE, judge=endpoint)
    (error,) = judge.batch([row(1)], return_exceptions=True)
    assert isinstance(error, BackendTimeoutError) and error.retryable and error.failure is not None
    with pytest.raises(BackendTimeoutError):
        judge.invoke(row(1))
    endpoint.close()


def test_the_default_judge_is_loaded_once_and_when_first_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Judge] = []
    monkeypatch.setattr(
        "rewardanything_core.loading.shared.load_judge", lambda: loaded.append(scripted()) or loaded[-1]
    )
    judge, function = JudgeRunnable(principle=PRINCIPLE), principle_evaluator(PRINCIPLE)
    evaluator = PrincipleEvaluator(principle=PRINCIPLE)
    assert not loaded
    threads = [threading.Thread(target=judge.invoke, args=(row(1),)) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    function(inputs="?", outputs="1")
    evaluator.evaluate_strings(input="?", prediction="1")
    assert len(loaded) == 1


ODD_CONVERSATIONS: dict[str, Any] = {
    "a tool call without an id": [
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    ],
    "a tool message without tool_call_id": [{"role": "tool", "content": "sunny"}],
    "malformed arguments": [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{a"}}],
        }
    ],
    "an unknown role": [{"role": "critic", "content": "hm"}],
    "a call that is not a dict": [{"role": "assistant", "content": "", "tool_calls": ["f"]}],
    "a text block without text": [{"role": "assistant", "content": [{"type": "text"}]}],
    "an image": [HumanMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}])],
    "no content": [{"role": "assistant", "tool_calls": []}],
    "invalid calls of a model": [
        AIMessage("", invalid_tool_calls=[{"name": "f", "args": "{a", "id": None, "error": None}])
    ],
    "a circle": (circle := {"a": 1, "b": 2}),
    "an object": SimpleNamespace(model_dump=lambda **_: 1 / 0),
}
circle["a"] = circle  # type: ignore[assignment]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_odd_conversation_never_takes_other_rows_of_a_batch_with_it(asynchronous: bool) -> None:
    judge = JudgeRunnable(principle=PRINCIPLE, judge=scripted())
    rows = [{"prompt": "?", "responses": {"x": odd}} for odd in ODD_CONVERSATIONS.values()]
    rows += [{"prompt": odd, "responses": {"x": "number 2"}} for odd in ODD_CONVERSATIONS.values()]
    rows.append(row(5))
    results = (
        asyncio.run(judge.abatch(rows, return_exceptions=True))
        if asynchronous
        else judge.batch(rows, return_exceptions=True)
    )
    assert results[-1].scores == {"x": 5.0}
    errors = [result for result in results if not isinstance(result, Verdict)]
    assert all(isinstance(error, InvalidCaseError | ZeroDivisionError) for error in errors)
    judged = [name for name, result in zip(ODD_CONVERSATIONS, results, strict=False) if isinstance(result, Verdict)]
    refused = (
        "a tool message without tool_call_id|an unknown role|a call that is not a dict|a text block without text|"
        "an image|no content|a circle|an object"
    )
    assert set(ODD_CONVERSATIONS) - set(judged) == set(refused.split("|"))


def test_odd_conversations_are_read_in_full() -> None:
    names = ("a tool call without an id", "malformed arguments", "invalid calls of a model")
    assert {name: calls_of(ODD_CONVERSATIONS[name]) for name in names} == {
        "a tool call without an id": [{"id": None, "name": "f", "arguments": {}}],
        "malformed arguments": [{"id": "1", "name": "f", "arguments": "{a"}],
        "invalid calls of a model": [{"id": None, "name": "f", "arguments": "{a"}],
    }


def calls_of(value: Any) -> Any:
    (message,) = response_of(value).messages  # type: ignore[union-attr]
    return message["tool_calls"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (AIMessage("", tool_calls=[{"name": "f", "args": {"x": 1}, "id": "1"}]), '[1] assistant calls f {"x": 1}'),
        (
            AIMessage("hi", tool_calls=[{"name": "f", "args": {}, "id": None}]),
            "[1] assistant: hi\n[1] assistant calls f {}",
        ),
        (AIMessage("", additional_kwargs={"refusal": "no"}), "no"),
        (AIMessage([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "ab"),
        (AIMessage([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}]), "a"),
        (
            AIMessage(
                [{"type": "text", "text": "a"}, {"type": "tool_use", "id": "1", "name": "f", "input": {}}],
                tool_calls=[{"name": "f", "args": {}, "id": "1"}],
            ),
            "[1] assistant: a\n[1] assistant calls f {}",
        ),
        ({"role": "assistant", "content": "4"}, "4"),
        ({"messages": [AIMessage("4")]}, "4"),
        ([AIMessageChunk("a", id="1"), AIMessageChunk("b", id="1")], "ab"),
        ({"messages": [HumanMessage("?"), AIMessage("4")]}, "4"),
        ({"answer": AIMessage("4"), "n": 1}, '{"answer": {"role": "assistant", "content": "4"}, "n": 1}'),
    ],
)
def test_a_message_is_its_text_and_its_tool_calls(value: Any, text: str) -> None:
    assert text_of(value) == text


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from("role content type text tool_calls messages function name args arguments input id".split()),
            inner | st.sampled_from(["assistant", "user", "tool", "text", "tool_use", "tool_result"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("output", [None, pandas.NaT, pandas.NA, b"4", {"a": b"4", "b": 1}, [b"4"], object()])
def test_what_is_no_text_is_not_judged(output: Any) -> None:
    judge = scripted()
    row = principle_evaluator(PRINCIPLE, judge=judge)(inputs={"question": "Which?"}, outputs={"answer": output})
    assert row["score"] is None
    assert "Not judged" in row["comment"]
    assert judge.usage.calls == 0


@pytest.mark.parametrize("output", [numpy.array(["4"]), pandas.Series(["4"]), {"answer": numpy.array(["4"])}])
def test_arrays_are_judged_as_structures(output: Any) -> None:
    row = principle_evaluator(PRINCIPLE, judge=scripted())(inputs={"question": "Which?"}, outputs=output)
    assert row["score"] == 0.75


@given(JSON_VALUES)
def test_any_json_is_a_text_or_an_invalid_case_and_nothing_else(value: Any) -> None:
    for convert in (response_of, text_of, prompt_of, split_conversation):
        with contextlib.suppress(InvalidCaseError):
            convert(value)


# --- best of n


def numbered(answers: str) -> Any:
    replies = iter(answers)
    lock = threading.Lock()

    def answer(_: Any) -> AIMessage:
        with lock:
            number = next(replies)
        if number == "x":
            raise ValueError("no idea")
        return AIMessage(f"number {number}")

    return RunnableLambda(answer)


def test_best_of_n_is_judged_in_one_call() -> None:
    judge = scripted()
    chain = ChatPromptTemplate.from_template("{question}") | BestOfN(
        candidates=numbered("2x4341"), n=6, principle=PRINCIPLE, judge=judge
    )
    assert chain.invoke({"question": "Which?"}).content == "number 4"
    assert (
        judge.usage.calls == 1 and len(json.loads(judge.backend.requests[0].messages[1]["content"])["responses"]) == 4
    )
    assert "Which?" in judge.backend.requests[0].messages[1]["content"]


def test_best_of_n_asynchronously_with_callbacks_and_a_model() -> None:
    recorder = Recorder()
    model = GenericFakeChatModel(messages=iter([AIMessage("1"), AIMessage("5"), AIMessage("3")]))
    best = BestOfN(candidates=model, n=3, principle=PRINCIPLE, judge=scripted())
    assert asyncio.run(best.ainvoke("Which?", {"callbacks": [recorder]})).content == "5"
    assert recorder.events == ["start BestOfN", "start JudgeRunnable", "end", "end"]


def test_best_of_n_judges_candidates_that_differ_in_their_tool_calls() -> None:
    calls = [{"name": "order", "args": {"pizzas": number}, "id": "1"} for number in (1, 4, 1)]
    replies = iter([AIMessage("", tool_calls=[call]) for call in calls])
    judge = scripted()
    best = BestOfN(candidates=RunnableLambda(lambda _: next(replies)), n=3, principle=PRINCIPLE, judge=judge)
    assert best.invoke("Which?").tool_calls[0]["args"] == {"pizzas": 4}
    (request,) = judge.backend.requests
    assert len(json.loads(request.messages[1]["content"])["responses"]) == 2


def test_best_of_n_of_equal_and_of_failed_candidates() -> None:
    judge = scripted(fails=lambda text: True)
    assert BestOfN(candidates=numbered("33"), n=2, principle=PRINCIPLE, judge=judge).invoke("?").content == "number 3"
    with pytest.raises(ValueError, match="no idea"):
        BestOfN(candidates=numbered("xx"), n=2, principle=PRINCIPLE, judge=judge).invoke("?")
    with pytest.raises(VerdictParseError):
        BestOfN(candidates=numbered("12"), n=2, principle=PRINCIPLE, judge=judge).invoke("?")


# --- LangChain's evaluators, with the cases of its own tests


def test_evaluators_have_langchains_interfaces() -> None:
    assert issubclass(PrincipleEvaluator, StringEvaluator) and issubclass(
        PrinciplePairwiseEvaluator, PairwiseStringEvaluator
    )
    assert PrincipleEvaluator(principle=Principle("Be kind.", name="kind")).evaluation_name == "kind"
    assert PrincipleEvaluator(principle="Be kind.").evaluation_name == "PrincipleEvaluator"


@pytest.mark.parametrize(("number", "score"), [(1, 0.0), (3, 0.5), (5, 1.0)])
def test_a_prediction_is_scored(number: int, score: float) -> None:
    evaluator = PrincipleEvaluator(principle=PRINCIPLE, judge=scripted())
    for result in (
        evaluator.evaluate_strings(input="Which?", prediction=f"number {number}"),
        asyncio.run(evaluator.aevaluate_strings(input="Which?", prediction=f"number {number}")),
    ):
        assert result["score"] == score and result["value"] == float(number) and "I read" in result["reasoning"]


@pytest.mark.parametrize(("a", "b", "value", "score"), [(4, 2, "A", 1), (2, 4, "B", 0), (3, 3, None, 0.5)])
def test_the_better_of_two_predictions_and_ties(a: int, b: int, value: str | None, score: float) -> None:
    evaluator = PrinciplePairwiseEvaluator(principle=PRINCIPLE, judge=scripted())
    pair = {"input": "Which?", "prediction": f"first {a}", "prediction_b": f"second {b}"}
    for result in (evaluator.evaluate_string_pairs(**pair), asyncio.run(evaluator.aevaluate_string_pairs(**pair))):
        assert (result["value"], result["score"]) == (value, score) and result["reasoning"]
        assert result["scores"] == {"A": a, "B": b}


@pytest.mark.parametrize("kind", [PrincipleEvaluator, PrinciplePairwiseEvaluator])
def test_inputs_are_required_and_references_ignored_or_required(kind: Any) -> None:
    judge = scripted()
    pairwise = kind is PrinciplePairwiseEvaluator
    more = {"prediction_b": "2"} if pairwise else {}

    def call(evaluator: Any, **given: Any) -> Any:
        return (evaluator.evaluate_string_pairs if pairwise else evaluator.evaluate_strings)(
            prediction="1", **more, **given
        )

    def acall(evaluator: Any, **given: Any) -> Any:
        method = evaluator.aevaluate_string_pairs if pairwise else evaluator.aevaluate_strings
        return asyncio.run(method(prediction="1", **more, **given))

    plain, labelled = kind(principle=PRINCIPLE, judge=judge), kind(principle=PRINCIPLE, judge=judge, use_reference=True)
    for evaluate_with in (call, acall):
        with pytest.raises(ValueError, match="requires an input"):
            evaluate_with(plain)
        with pytest.raises(ValueError, match="requires a reference"):
            evaluate_with(labelled, input="?")
        with pytest.warns(UserWarning, match=re.escape(plain._skip_reference_warning)):
            evaluate_with(plain, input="?", reference="the gold answer")
        assert "the gold answer" not in judge.backend.requests[-1].messages[1]["content"]
        evaluate_with(labelled, input="?", reference="the gold answer")
        assert "the gold answer" in judge.backend.requests[-1].messages[1]["content"]


def test_several_principles_give_their_mean() -> None:
    judge = Judge(
        ScriptedBackend(lambda r: verdict_reply({"model-1": 5 if "short" in r.messages[1]["content"] else 2})),
        cache="off",
    )
    result = PrincipleEvaluator(principle=["Be short.", "Be kind."], judge=judge).evaluate_strings(
        input="?", prediction="x"
    )
    assert result["value"] == 3.5 and result["score"] == 0.625 and "[Be short.]" in result["reasoning"]


def test_a_failed_judgement_has_no_score() -> None:
    judge = scripted(fails=lambda text: True)
    result = PrincipleEvaluator(principle=PRINCIPLE, judge=judge).evaluate_strings(input="?", prediction="1")
    assert result["score"] is None and result["value"] is None and "VerdictParseError" in result["reasoning"]
    pair = PrinciplePairwiseEvaluator(principle=PRINCIPLE, judge=judge)
    result = pair.evaluate_string_pairs(input="?", prediction="1", prediction_b="2")
    assert result["score"] is None and result["value"] is None and result["errors"][0]["attempts"] == 1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_evaluators_accept_messages_and_structures(asynchronous: bool) -> None:
    judge = scripted()
    evaluator = PrincipleEvaluator(principle=PRINCIPLE, judge=judge, use_reference=True)
    pairwise = PrinciplePairwiseEvaluator(principle=PRINCIPLE, judge=judge)
    question = {"messages": [HumanMessage("Which?")]}
    answer, gold = [AIMessage("number 4")], {"answer": "gold", "n": 1}
    if asynchronous:
        result = asyncio.run(evaluator.aevaluate_strings(input=question, prediction=answer, reference=gold))
        pair = asyncio.run(
            pairwise.aevaluate_string_pairs(input=question, prediction={"n": 2, "m": 0}, prediction_b={"n": 3, "m": 0})
        )
    else:
        result = evaluator.evaluate_strings(input=question, prediction=answer, reference=gold)
        pair = pairwise.evaluate_string_pairs(
            input=question, prediction={"n": 2, "m": 0}, prediction_b={"n": 3, "m": 0}
        )
    assert result["score"] == 0.75 and pair["value"] == "B"
    case = json.loads(judge.backend.requests[0].messages[1]["content"])
    assert "Which?" in str(case) and '"answer": "gold"' in str(case)
    image = AIMessage([{"type": "image_url", "image_url": {"url": "x"}}])
    unclear = evaluator.evaluate_strings(input=question, prediction=image, reference=gold)
    assert unclear["score"] is None and "has an image" in unclear["reasoning"] and len(unclear["errors"]) == 1


@pytest.mark.parametrize("code", [401, 404])
def test_evaluators_stop_for_a_judge_that_cannot_be_used(code: int, server: FakeOpenAI, tmp_path: Path) -> None:
    server.reply = Fault.status(code)
    with from_endpoint("hosted_vllm/x", api_base=server.url, api_key="x", attempts=1, store=tmp_path / "s") as judge:
        evaluator = PrincipleEvaluator(principle=PRINCIPLE, judge=judge)
        with pytest.raises(JudgeUnavailableError, match="cannot be used"):
            evaluator.evaluate_strings(input="?", prediction="1")
        with pytest.raises(JudgeUnavailableError, match="cannot be used"):
            asyncio.run(evaluator.aevaluate_strings(input="?", prediction="1"))


# --- LangSmith, openevals, agentevals


def offline() -> Client:
    return Client(api_key="none", api_url="http://127.0.0.1:9", auto_batch_tracing=False)


def dataset(texts: list[str]) -> list[Example]:
    return [
        Example(id=uuid.uuid4(), inputs={"question": text}, outputs={"answer": "gold"}, dataset_id=uuid.uuid4())
        for text in texts
    ]


def test_two_hundred_rows_of_langsmith_over_http_with_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10% of requests fail in every way that shows at once, and ten rows never get a verdict."""
    monkeypatch.setenv("LANGSMITH_TRACING", "false")

    def reply(body: Any) -> Any:
        number = int(re.search(r"row (\d+) of", body["messages"][-1]["content"])[1])  # type: ignore[index]
        return Fault.status(400, "I never do this row") if number % 20 == 7 else None

    texts = [f"{'xyzuv'[i % 5] * (i % 5)} row {i + 1000} of two hundred" for i in range(200)]
    with FakeOpenAI(reply, fault_rate=0.1, fault_kinds=QUICK_FAULTS, seed=3) as server:
        endpoint = from_endpoint("hosted_vllm/fake", api_base=server.url, timeout=10, store=tmp_path / "store.sqlite")
        results = evaluate(
            lambda inputs: {"answer": inputs["question"]},
            data=dataset(texts),
            evaluators=[principle_evaluator(PRINCIPLE, judge=endpoint, key="high")],
            client=offline(),
            upload_results=False,
            max_concurrency=16,
        )
        frame = results.to_pandas()
        endpoint.close()
    scores = frame["feedback.high"]
    assert len(frame) == 200 and scores.isna().sum() == 10
    comments = [r["evaluation_results"]["results"][0].comment for r in results]
    assert sum(c.startswith("Not judged.") for c in comments) == 10
    expected = {t: (score_text(t) - 1) / 4 for t in texts}
    judged = {t: s for t, s in zip(frame["inputs.question"], scores, strict=True) if s == s}
    assert len(judged) == 190 and all(expected[t] == s for t, s in judged.items())
    assert scores.mean() == pytest.approx(sum(judged.values()) / 190)


def test_the_function_is_an_evaluator_to_langsmith() -> None:
    example = Example(id=uuid.uuid4(), inputs={"question": "?"}, outputs={"answer": "gold"}, dataset_id=uuid.uuid4())
    judge = scripted()
    result = run_evaluator(principle_evaluator(PRINCIPLE, judge=judge)).evaluate_run(run_of("number 4"), example)
    assert isinstance(result, EvaluationResult) and result.key == "principle" and result.score == 0.75
    assert "I read" in (result.comment or "") and (result.metadata or {})["model"] == "scripted"
    several = principle_evaluator(
        [Principle("A.", name="first one"), "B."], judge=judge, scale="raw", use_reference=True
    )
    results: Any = run_evaluator(several).evaluate_run(run_of("number 4"), example)
    assert [(r.key, r.score) for r in results["results"]] == [("first_one", 4.0), ("principle_2", 4.0)]
    assert "gold" in judge.backend.requests[-1].messages[1]["content"]


def evaluated(evaluators: list[Any], data: list[Example], target: Any) -> Any:
    """The results of LangSmith's ``evaluate``, offline."""
    return evaluate(target, data=data, evaluators=evaluators, client=offline(), upload_results=False)


@pytest.fixture
def no_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGSMITH_TRACING", "false")


@pytest.mark.usefixtures("no_tracing")
def test_langsmith_rows_that_cannot_be_judged_keep_their_key_and_have_no_score() -> None:
    def target(inputs: dict[str, Any]) -> Any:
        if inputs["question"] == "raises":
            raise ValueError("no idea")
        answers = {
            "empty": None,
            "image": {"answer": AIMessage([{"type": "image_url", "image_url": {"url": "x"}}])},
            "lacks": {"draft": "number 3", "n": 1},
        }
        return answers.get(inputs["question"], {"answer": "number 4"})

    judge = scripted()
    questions = ["fine", "raises", "empty", "image", "lacks"]
    evaluators = [
        principle_evaluator(PRINCIPLE, judge=judge, key="high", response=lambda outputs: outputs["answer"]),
        principle_evaluator([Principle("A.", name="a"), Principle("B.", name="b")], judge=judge, response="answer"),
    ]
    results = evaluated(evaluators, dataset(questions), target)
    for result in results:
        question = result["example"].inputs["question"]
        feedback = {one.key: one for one in result["evaluation_results"]["results"]}
        assert set(feedback) == {"high", "a", "b"}
        for one in feedback.values():
            assert one.score == (0.75 if question == "fine" else None), question
            assert (one.comment or "").startswith("Not judged. ") == (question != "fine")
    assert results.to_pandas()["feedback.high"].mean() == 0.75


@pytest.mark.usefixtures("no_tracing")
def test_an_example_without_outputs_has_no_reference() -> None:
    judge = scripted()
    nothing = [{}, {"answer": None, "source": None}, {"answer": math.nan}]
    data = [
        *(Example(id=uuid.uuid4(), inputs={"question": "?"}, outputs=one, dataset_id=uuid.uuid4()) for one in nothing),
        *dataset(["!"]),
    ]
    evaluator = principle_evaluator(PRINCIPLE, judge=judge, use_reference=True)
    scores = evaluated([evaluator], data, lambda inputs: {"answer": "number 4"}).to_pandas()["feedback.principle"]
    assert scores.tolist() == [0.75] * 4
    cases = [json.loads(request.messages[1]["content"]) for request in judge.backend.requests]
    assert sorted("gold" in str(case) for case in cases) == [False, False, False, True]
    assert not any("{}" in str(case) or "null" in str(case) or "NaN" in str(case) for case in cases)


@pytest.mark.usefixtures("no_tracing")
@pytest.mark.parametrize("mistake", [401, 404, "response", "no judge"])
def test_a_set_up_mistake_stops_langsmiths_run(
    mistake: Any, server: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(mistake, int):
        server.reply = Fault.status(mistake)
    monkeypatch.setenv("RA_JUDGE_MODEL", "scripted:no_such_module:reply")
    options: dict[str, Any] = {"response": "anser"} if mistake == "response" else {}
    with from_endpoint("hosted_vllm/x", api_base=server.url, api_key="x", attempts=1, store=tmp_path / "s") as judge:
        evaluator = principle_evaluator(PRINCIPLE, judge=None if mistake == "no judge" else judge, **options)
        results = evaluated([evaluator], dataset([str(i) for i in range(20)]), lambda inputs: {"answer": "3"})
        with pytest.raises(JudgeUnavailableError, match=r"cannot be used|no judge|'anser'"):
            results.wait()
    assert len(results) == 0 and server.count <= 4


def test_a_judge_of_the_wrong_type_is_refused_at_once() -> None:
    wrong: Any = object()
    for make in (principle_evaluator, comparative_evaluator):
        with pytest.raises(ConfigError, match="judge must be"):
            make(PRINCIPLE, judge=wrong)
    with pytest.raises(ConfigError, match="judge must be"):
        PrincipleEvaluator(principle=PRINCIPLE, judge=wrong)


@pytest.mark.usefixtures("no_tracing")
def test_a_simulated_conversation_of_openevals_is_judged_from_its_outputs_alone() -> None:
    from openevals.simulators import run_multiturn_simulation

    judge = scripted()
    result = run_multiturn_simulation(
        app=lambda message, **_: {
            "role": "assistant",
            "content": f"number 4 to {message['content']}",
            "id": message["id"] + "a",
        },
        user=["Which one?", "Sure?"],
        max_turns=2,
        trajectory_evaluators=[principle_evaluator(PRINCIPLE, judge=judge, key="high")],
    )
    (feedback,) = result["evaluator_results"]
    assert feedback["key"] == "high" and feedback["score"] == 0.75
    case = json.loads(judge.backend.requests[0].messages[1]["content"])
    assert "Which one?" in str(case["prompt"]) and "Sure?" not in str(case["prompt"])
    (response,) = case["responses"].values()
    assert [(turn["role"], turn["text"]) for turn in response] == [
        ("assistant", "number 4 to Which one?"),
        ("user", "Sure?"),
        ("assistant", "number 4 to Sure?"),
    ]


@pytest.mark.usefixtures("no_tracing")
def test_an_asynchronous_simulation_of_openevals_gets_its_results() -> None:
    from openevals.simulators import run_multiturn_simulation_async

    async def app(message: Any, **_: Any) -> dict[str, str]:
        return {"role": "assistant", "content": f"number 4 to {message['content']}"}

    failing = scripted(fails=lambda text: True)
    evaluators = [
        principle_evaluator(PRINCIPLE, judge=judge, key=key, asynchronous=True)
        for key, judge in (("high", scripted()), ("failing", failing))
    ]
    result = asyncio.run(
        run_multiturn_simulation_async(app=app, user=["Which?"], max_turns=1, trajectory_evaluators=evaluators)
    )
    assert [(one["key"], one["score"]) for one in result["evaluator_results"]] == [("high", 0.75), ("failing", None)]


@pytest.mark.usefixtures("no_tracing")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_langsmiths_aevaluate_judges_and_stops_for_a_set_up_mistake(asynchronous: bool) -> None:
    async def target(inputs: dict[str, Any]) -> Any:
        return {"answer": "number 4"} if inputs["question"] == "a" else {}

    async def scores(**options: Any) -> list[Any]:
        evaluator = principle_evaluator(PRINCIPLE, judge=scripted(), asynchronous=asynchronous, **options)
        data = dataset(["a", "b"])
        rows = await aevaluate(target, data=data, evaluators=[evaluator], client=offline(), upload_results=False)
        results = [row["evaluation_results"]["results"][0] async for row in rows]
        assert {result.key for result in results} == {"principle"}
        return [result.score for result in results]

    assert sorted(map(str, asyncio.run(scores()))) == ["0.75", "None"]
    with pytest.raises(JudgeUnavailableError, match="'anser'"):
        asyncio.run(scores(response="anser"))


def test_a_run_and_its_example_are_a_row() -> None:
    judge = scripted()
    function = principle_evaluator(PRINCIPLE, judge=judge, use_reference=True)
    run, (example,) = run_of("number 4"), dataset(["Which?"])
    for row_of_two in ((run, example), (run.model_dump(), example.model_dump())):
        assert function(*row_of_two)["score"] == 0.75
        case = json.loads(judge.backend.requests[-1].messages[1]["content"])
        assert (case["prompt"], case["reference"]) == ("Which?", "gold")
    assert function(run)["score"] == 0.75 and function(run_of(""), example)["score"] is None


@pytest.mark.parametrize(
    "outputs",
    [
        "number 4",
        {"a": 1, "b": 2},
        [AIMessage("number 4")],
        [HumanMessage("Which?")],
        {"messages": []},
        {},
        None,
        [],
        {"a": None, "b": None},
    ],
)
def test_outputs_alone_that_are_not_a_conversation_are_not_judged(outputs: Any) -> None:
    judge = scripted()
    result = principle_evaluator(PRINCIPLE, judge=judge)(outputs=outputs)
    assert result["score"] is None and judge.usage.calls == 0
    assert "There is no input" in result["comment"] or "There is no output" in result["comment"]


def test_the_function_as_openevals_and_agentevals_call_theirs() -> None:
    judge = scripted()
    function = principle_evaluator(PRINCIPLE, judge=judge, key="high")
    assert function(inputs="Which?", outputs="number 3")["score"] == 0.5
    trajectory = [
        HumanMessage("What is the weather?"),
        AIMessage("", tool_calls=[{"name": "get_weather", "args": {"city": "Ulm"}, "id": "1"}]),
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
        {"role": "assistant", "content": "number 5, sunny"},
    ]
    result = function(inputs={"question": "What is the weather?"}, outputs=trajectory, reference_outputs=None)
    seen = judge.backend.requests[-1].messages[1]["content"]
    assert result["score"] is not None
    assert "get_weather" in seen and "Ulm" in seen and "sunny" in seen
    assert function(inputs={"messages": [HumanMessage("Hi")]}, outputs={"messages": [AIMessage("2")]})["key"] == "high"


def test_results_have_the_keys_of_openevals() -> None:
    from openevals.exact import exact_match as exact

    theirs = exact(inputs="?", outputs={"answer": "4"}, reference_outputs={"answer": "4"})
    ours = principle_evaluator(PRINCIPLE, judge=scripted())(
        inputs="?", outputs={"answer": "4"}, reference_outputs={"answer": "4"}
    )
    assert set(theirs) <= set(ours)


def test_selectors_pick_a_field() -> None:
    judge = scripted()
    outputs = {"draft": "number 1", "final": "number 5"}
    assert principle_evaluator(PRINCIPLE, judge=judge, response="final")(inputs="?", outputs=outputs)["score"] == 1.0
    picked = principle_evaluator(PRINCIPLE, judge=judge, response=lambda o: o["draft"], prompt="q")
    assert picked(inputs={"q": "?", "k": 1}, outputs=outputs)["score"] == 0.0
    with pytest.raises(JudgeUnavailableError, match="'end'; there is draft, final"):
        principle_evaluator(PRINCIPLE, judge=judge, response="end")(inputs="?", outputs=outputs)
    with pytest.raises(InvalidCaseError, match="must differ"):
        principle_evaluator([Principle("A.", name="a"), Principle("B.", name="A")])
    assert text_of({"a": 1, "b": "ü"}) == '{"a": 1, "b": "ü"}'


def test_runs_are_compared_with_one_verdict() -> None:
    judge = scripted()
    comparator = comparison_evaluator(comparative_evaluator(PRINCIPLE, judge=judge, key="best"))
    runs = [run_of("number 2"), run_of("number 5"), run_of("")]
    example = Example(id=uuid.uuid4(), inputs={"question": "Which?"}, dataset_id=uuid.uuid4())
    result = comparator.compare_runs(runs, example)
    assert result.key == "best" and judge.usage.calls == 1 and "I read" in str(result.comment)
    assert result.scores == {runs[0].id: 0.25, runs[1].id: 1.0}
    failing = comparison_evaluator(comparative_evaluator(PRINCIPLE, judge=scripted(fails=lambda text: True)))
    result = failing.compare_runs(runs, example)
    unknown = {run.id: None for run in runs}  # LangSmith stores a comment with the score of a run
    assert result.scores == unknown and str(result.comment).startswith("Not judged. VerdictParseError")
    picky = comparison_evaluator(comparative_evaluator(PRINCIPLE, judge=judge, response=lambda o: int(o["answer"])))
    picky.compare_runs([run_of("4"), run_of("5")], example)
    result = picky.compare_runs(runs, example)
    assert result.scores == unknown and "Not judged. SelectorError: The selector of the outputs" in str(result.comment)


# --- the package


def test_only_langchain_core_is_needed_until_an_evaluator_class_is_used() -> None:
    folder = str(ROOT / "integrations")
    code = f"""
import sys
sys.path.insert(0, {folder!r})
sys.modules["langchain_classic"] = None
import rewardanything_langchain as r
assert not {{"torch", "transformers", "mlflow", "dspy", "litellm", "langsmith.evaluation"}} & set(sys.modules)
r.JudgeRunnable(principle="x"), r.principle_evaluator("x"), r.comparative_evaluator("x")
from rewardanything_core.loading import shared
assert not shared._default
try:
    r.PrincipleEvaluator
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install langchain-classic" in done.stdout, done.stderr


def verdict_by_brevity(body: Any) -> str:
    responses = json.loads(str(body["messages"][-1]["content"]).rpartition("\n\n")[2])["responses"]
    return verdict_reply({name: max(1, 5 - len(text) // 10) for name, text in responses.items()}, thoughts="ok")


def test_the_page_runs_as_written(monkeypatch: pytest.MonkeyPatch, server: FakeOpenAI) -> None:
    """All blocks except those that need a LangSmith server; the tests above cover their functions."""
    page = (ROOT / "docs" / "integrations" / "langchain.md").read_text()
    blocks = [b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "from langsmith" not in b]
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    server.reply = verdict_by_brevity
    names: dict[str, Any] = {
        "rows": [row(1), row(2)],
        "prompt": ChatPromptTemplate.from_template("{question}"),
        "model": numbered("1234"),
    }

    async def run() -> None:
        for block in blocks:
            code = eval(compile(block, "page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
            if code is not None:
                await code

    asyncio.run(run())
    assert len(blocks) == 4 and names["verdict"].best == "a" and len(names["verdicts"]) == 2 and names["answer"]
