"""Rubrics over HTTP: requests, responses with criteria, limits, and a faulty reply in a batch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from rubric_rows import BAD, GATED, GOOD, RUBRIC, one_criterion_missing
from servers import FakeOpenAI
from serving import serving

from rewardanything_core import Rubric, from_endpoint


@pytest.fixture
def running(server: FakeOpenAI) -> Iterator[Any]:
    server.reply = one_criterion_missing
    server.fault_rate = 0.1
    judge = from_endpoint("hosted_vllm/fake", api_base=server.url, api_key="x", cache="off")
    with serving(judge, criteria=3, text_chars=500) as made:
        yield made


def case(principle: Any, text: str = GOOD, **fields: Any) -> dict[str, Any]:
    return {"principle": principle, "prompt": "p", "responses": {"a": text}, **fields}


def test_a_response_has_the_criteria_as_documented(running: Any) -> None:
    response = running.post("/v1/judge", case(RUBRIC.to_json(), GATED))
    verdict = response.json()
    assert verdict["scores"] == {"a": 1} and verdict["missed"] == {"a": ["faithful"]}
    brief = verdict["criteria"]["brief"]
    assert brief["scores"] == {"a": 4} and brief["normalized"] == {"a": 0.75}
    assert brief["explanation"] == "By brief in the text of the response."
    document = running.client.get("/openapi.json").json()
    schema = {"$ref": "#/components/schemas/Verdict", "components": document["components"]}
    Draft202012Validator(schema).validate(verdict)
    for example in document["components"]["schemas"]["Rubric"]["examples"]:
        assert set(Rubric.of(example).criteria) == set(running.post("/v1/judge", case(example)).json()["criteria"])


def test_rubrics_of_the_library_have_names(running: Any) -> None:
    request = {"principle_name": "summary", "prompt": "p", "responses": ["x 3"]}
    assert set(running.post("/v1/judge", request).json()["criteria"]) == set(Rubric.named("summary").criteria)


def test_a_faulty_reply_harms_its_own_case_of_a_batch_only(running: Any) -> None:
    cases = [case(RUBRIC.to_json(), text, id=text) for text in (GOOD, BAD, GATED)]
    lines = [json.loads(line) for line in running.post("/v1/judge/batch", {"cases": cases}).content.splitlines()]
    assert [line.get("verdict", {}).get("scores") for line in lines] == [{"a": 4}, None, {"a": 1}]
    assert lines[1]["failure"]["error_type"] == "VerdictParseError"


@pytest.mark.parametrize(
    ("principle", "status", "message"),
    [
        ({"criteria": dict.fromkeys("abcd", "x")}, 413, "A rubric has 4 criteria and this server's limit is 3."),
        ({"criteria": {"a": "x" * 501}}, 413, "501 characters"),
        ({"criteria": {"a": {"text": "x", "anchors": {"1": "x" * 501}}}}, 413, "501 characters"),
        ({"criteria": {}}, 422, "one criterion or more"),
        ({"criteria": "x"}, 422, "must be a JSON object, not a string"),
        ({"text": "x"}, 422, "unknown field 'text'; the fields are: criteria, name"),
        ({"criteria": {"a": "x"}, "weights": {"a": 2}}, 422, "unknown field 'weights'"),
        ({"criteria": {"a": {"text": "x", "weight": -1}}}, 422, "criterion 'a' is invalid: weight"),
        ({"criteria": {"a": {"text": "x", "wieght": 1}}}, 422, "unknown 'wieght'"),
        ({"criteria": {"a": {"text": "x", "weight": 0}}}, 422, "weight 0"),
        ({"criteria": {"a\n": "x"}}, 422, "printable"),
        ({"criteria": {"a": None}}, 422, "must be a string"),
        ({}, 422, "must be a JSON object, not null"),
        (["a"], 422, "not list"),
    ],
)
def test_a_rubric_that_cannot_be_judged_is_refused_before_anything_is_sent(
    running: Any, server: FakeOpenAI, principle: Any, status: int, message: str
) -> None:
    response = running.post("/v1/judge", case(principle))
    assert response.status_code == status
    assert message in response.json()["error"]["message"]
    assert server.count == 0


def test_the_format_of_rewardanything_has_no_rubrics(running: Any, server: FakeOpenAI) -> None:
    response = running.post("/api/rewardanything", case(RUBRIC.to_json()))
    assert response.status_code == 422 and "principle must be a string" in response.json()["error"]["message"]
    assert server.count == 0
