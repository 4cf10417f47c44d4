"""Typed questions over ``/v1/decisions`` and ``/v1/systemone``, asked with OpenAI's SDK, LiteLLM and plain requests."""

from __future__ import annotations

import json
import math

import litellm
import openai
import pytest
from servers import FakeOpenAI
from serving import running, serving

from rewardanything_core import Calibration, Judge, Jury, ScriptedBackend, from_endpoint
from rewardanything_core.server.app import create_app

NOTE = "I was charged twice."
PREDICATE = {"type": "predicate", "instructions": "Is it a complaint?"}
NOUL = {"type": "noul", "instructions": "Is it a complaint?"}


def first_is_likelier(question):
    """A model that prefers what stands first: 0.6 against 0.3 in all."""
    rest = len(question.options) - 1
    return {option: 0.6 if place == 0 else 0.3 / rest for place, option in enumerate(question.options)}


def scripted(probabilities=first_is_likelier, name="scripted"):
    return Judge(ScriptedBackend([], probabilities=probabilities, name=name), cache="off")


@pytest.fixture(scope="module")
def server():
    with serving(scripted()) as started:
        yield started


def client(server, **options):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0, **options)


def test_openais_sdk_gets_an_answer_for_each_question_in_order(server):
    decision = client(server).decisions.create(
        model="any-name",
        input=NOTE,
        questions=[
            {**PREDICATE, "name": "complaint"},
            {"type": "choice", "instructions": "About?", "choices": [{"value": "bill"}, {"value": True}]},
            {"type": "score", "instructions": "How bad?", "levels": [{"label": each} for each in "abc"]},
        ],
    )
    predicate, choice, score = decision.answers
    assert (predicate.name, choice.name) == ("complaint", None)
    assert predicate.probability == pytest.approx(2 / 3)
    assert [each.probability for each in choice.probabilities] == pytest.approx([0.5, 0.5])  # the place cancels
    assert score.score == pytest.approx(1.0)
    assert sum(each.probability for each in score.probabilities) == pytest.approx(1)
    assert decision.model == "scripted"
    assert [model.id for model in client(server).models.list()] == ["scripted"]


def test_the_input_comes_first_and_is_the_same_for_all_questions():
    backend = ScriptedBackend([], probabilities=first_is_likelier)
    call = {"type": "function_call", "call_id": "1", "name": "refund", "arguments": '{"euro": 5}'}
    with serving(Judge(backend, cache="off")) as server:
        client(server).decisions.create(
            model="m",
            input=[{"role": "user", "content": NOTE}, call],
            questions=[PREDICATE, {**PREDICATE, "instructions": "Was money refunded?"}],
        )
    first, second = (request.messages[1]["content"] for request in backend.choice_requests)
    shared = first[: first.index("---")]
    assert second.startswith(shared)
    assert NOTE in shared
    assert 'refund {"euro": 5}' in shared
    assert "Was money refunded?\nAnswer Yes or No." in second


def test_a_choice_with_more_options_than_letters_asks_about_each_alone():
    def knows(question):
        return (
            {"Yes": 0.9, "No": 0.1} if "answer: city 37" in question.messages[1]["content"] else {"Yes": 0.2, "No": 0.8}
        )

    options = {f"city {number}": None for number in range(60)}
    with serving(scripted(knows)) as server:
        body = {"model": "m", "state": {"a": 1}, "questions": {"q": {"type": "choice", "criteria": options}}}
        answer = server.post("/v1/systemone", body).json()["answers"]["q"]
    assert answer["choice"] == "city 37"
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert answer["probabilities"]["city 37"] == pytest.approx(9 / (9 + 59 / 4))


def test_litellm_asks_both_routes(server):
    for model, base in (("openai/any", f"{server.url}/v1"), ("typesafe/any", server.url)):
        decision = litellm.decisions(
            model=model, api_base=base, api_key="any", input=NOTE, questions=[{**PREDICATE, "name": "complaint"}]
        )
        assert decision.answers[0].probability == pytest.approx(2 / 3)


def test_a_jury_gives_the_weighted_mean_of_its_jurors():
    jurors = [scripted(lambda _, p=p: {"Yes": p, "No": 1 - p}, name=f"juror-{p}") for p in (0.9, 0.5)]
    with serving(Jury(jurors, weights=[3, 1])) as server:
        answer = server.post("/v1/systemone", {"model": "m", "state": NOTE, "questions": {"q": NOUL}}).json()
    assert answer["answers"]["q"]["noul"] == pytest.approx(0.8)


def test_a_calibration_maps_the_probabilities_of_predicates(server):
    calibration = Calibration(judge=(1, 3, 5), human=(1, 2, 5))  # at most half is a quarter
    body = {"model": "m", "state": NOTE, "questions": {"q": NOUL, "s": {"type": "score", "criteria": ["a", "b"]}}}
    with running(create_app(scripted(), predicate_calibration=calibration)) as calibrated:
        mapped = calibrated.post("/v1/systemone", body).json()["answers"]
    plain = server.post("/v1/systemone", body).json()["answers"]
    assert plain["q"]["noul"] == pytest.approx(2 / 3)
    assert mapped["q"]["noul"] == pytest.approx(1 / 4 + (2 / 3 - 1 / 2) / (1 / 2) * 3 / 4)
    assert mapped["s"] == plain["s"]


def test_a_question_that_the_model_would_not_answer_is_refused_alone():
    def reluctant(question):
        weight = 1e-6 if "secret" in question.messages[1]["content"] else 0.4
        return dict.fromkeys(question.options, weight)

    with serving(scripted(reluctant)) as server:
        questions = [PREDICATE, {**PREDICATE, "instructions": "Is it secret?"}]
        answers = client(server).decisions.create(model="m", input=NOTE, questions=questions).answers
        assert [answer.type for answer in answers] == ["predicate", "refusal"]
        with pytest.raises(openai.NotFoundError, match="does not begin its reply with an answer"):
            client(server).decisions.create(model="m", input=NOTE, questions=questions[1:])


def test_a_judge_without_probabilities_says_what_is_missing():
    with serving() as server, pytest.raises(openai.NotFoundError, match="gives no probabilities") as caught:
        client(server).decisions.create(model="m", input=NOTE, questions=[PREDICATE])
    assert caught.value.code == "no_probabilities"
    with FakeOpenAI("Yes", logprobs=False) as endpoint:
        judge = from_endpoint("openai/m", endpoint.url, api_key="k", cache="off")
        with serving(judge) as server:
            response = server.post("/v1/systemone", {"model": "m", "state": NOTE, "questions": {"q": NOUL}})
    assert response.status_code == 404
    assert "log-probabilities" in response.json()["detail"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/decisions", {"model": "m", "input": NOTE, "questions": []}, 400, "questions has 0 questions"),
        (
            "/v1/decisions",
            {
                "model": "m",
                "input": [
                    {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,aa"}]}
                ],
                "questions": [PREDICATE],
            },
            400,
            "input has an image",
        ),
        ("/v1/decisions", {"model": "m", "input": NOTE, "questions": [PREDICATE], "audio": ["x"]}, 400, "audio cannot"),
        ("/v1/systemone", {"model": "m", "state": 3, "questions": {"q": NOUL}}, 422, "state is 3"),
        ("/v1/systemone", {"model": "m", "state": None, "questions": {"q": NOUL}}, 422, "state is null, not a text"),
        ("/v1/systemone", {"model": "m", "state": ["\ud83d"], "questions": {"q": NOUL}}, 422, "a lone surrogate"),
        ("/v1/decisions", {"model": "\ud83d", "input": NOTE, "questions": [PREDICATE]}, 400, "a lone surrogate"),
        ("/v1/systemone", {"model": "m", "state": "x" * 2001, "questions": {"q": NOUL}}, 413, "2,001 characters"),
        (
            "/v1/systemone",
            {"model": "m", "state": "x", "questions": {str(n): NOUL for n in range(9)}},
            413,
            "9 questions",
        ),
        (
            "/v1/systemone",
            {"model": "m", "state": "x", "questions": {"q": {"type": "choice", "criteria": dict.fromkeys("abcdefg")}}},
            413,
            "7 options and levels",
        ),
    ],
)
def test_errors_have_the_shape_of_the_route(path, body, status, message):
    with serving(scripted(), text_chars=2000, questions=8, answers=6) as server:
        response = server.client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert response.status_code == status
    error = response.json()["error" if path == "/v1/decisions" else "detail"]
    assert message in error["message"]
    assert error["type" if path == "/v1/decisions" else "error_type"] in (
        "invalid_request_error",
        "invalid_request",
        "too_large",
    )
    assert error["request_id"] == response.headers["x-request-id"]


def test_a_wrong_token_and_too_many_questions_at_once():
    with serving(scripted(), tokens=("a-token-of-some-length",), pending=2, batch=2) as server:
        with pytest.raises(openai.AuthenticationError) as caught:
            client(server).decisions.create(model="m", input=NOTE, questions=[PREDICATE])
        assert caught.value.type == "authentication_error"
        headers = {"Authorization": "Bearer a-token-of-some-length"}
        body = {"model": "m", "state": NOTE, "questions": {str(number): NOUL for number in range(3)}}
        response = server.post("/v1/systemone", body, headers=headers)
        assert (response.status_code, response.json()["detail"]["error_type"]) == (429, "overloaded")
        body["questions"].popitem()
        assert server.post("/v1/systemone", body, headers=headers).status_code == 200
        metrics = server.client.get("/metrics", headers=headers).text
    assert 'ra_judge_questions_total{outcome="answered"} 2.0' in metrics
    assert "ra_judge_pending_cases 0.0" in metrics


def test_a_real_model_answers_many_questions_for_about_one_reading_of_the_input(small_model):
    with serving(Judge(small_model, cache="off")) as server:
        state = {"report": "The pump in hall 3 leaks oil. " * 15}
        ask = lambda *names: server.post(  # noqa: E731
            "/v1/systemone", {"model": "m", "state": state, "questions": dict.fromkeys(names, NOUL)}
        ).json()
        one, many = ask("a"), ask(*"abcdefgh")
    (alone,) = one["answers"].values()
    assert all(math.isclose(each["noul"], alone["noul"], abs_tol=1e-4) for each in many["answers"].values())
    assert many["usage"]["input_tokens"] == one["usage"]["input_tokens"]  # equal questions, computed once
