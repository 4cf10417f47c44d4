"""The server against its OpenAPI document: schemathesis generates requests, and responses must match the document."""

from __future__ import annotations

import json
import re

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from scripts import by_length
from serving import serving

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.server.app import create_app
from rewardanything_core.server.limits import Limits

LIMITS = {"text_chars": 2000, "responses": 8, "messages": 8, "batch": 8}
DOCUMENT = create_app(None, limits=Limits(**LIMITS)).app.openapi()

# Requests beyond a limit are refused with 413, which schemathesis does not count as a rejection by default.
CHECKS = {"negative_data_rejection": {"expected-statuses": [400, 405, 413, 415, 422]}}
# JSON schema cannot say that names, choices and labels differ, nor what messages are in all their forms.
NOT_DISTINCT = {"positive_data_acceptance": {"expected-statuses": ["2xx", 400]}}
CONFIG = schemathesis.Config.from_dict(
    {"checks": CHECKS, "operations": [{"include-path": "/v1/decisions", "checks": CHECKS | NOT_DISTINCT}]}
)

schema = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)


@pytest.fixture(scope="module")
def server():
    backend = ScriptedBackend(by_length, probabilities=lambda question: dict.fromkeys(question.options, 0.1))
    with serving(Judge(backend, cache="off"), **LIMITS) as running:
        assert running.client.get("/openapi.json").json() == DOCUMENT
        yield running


@schema.parametrize()
@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_responses_match_the_openapi_document(case, server):
    response = case.call_and_validate(base_url=server.url)
    assert response.status_code not in (500, 502, 503, 504)
    if response.status_code == 200 and case.operation.path == "/v1/judge/batch":
        _check_lines(case, response)
    if response.status_code == 400 and case.meta.generation.mode.is_positive:
        error = response.json()["error"]
        is_repeated = re.search(r"^questions\[\d+\]\S* is .*, as questions\[", error["message"])
        assert is_repeated or error["param"].startswith("input"), error


def _check_lines(case, response):
    """One valid line for each case, with its index; schemathesis does not validate NDJSON."""
    validator = Draft202012Validator({"$ref": "#/components/schemas/BatchLine", "components": DOCUMENT["components"]})
    lines = [json.loads(line) for line in response.content.splitlines()]
    for line in lines:
        validator.validate(line)
    assert sorted(line["index"] for line in lines) == list(range(len(case.body["cases"])))
