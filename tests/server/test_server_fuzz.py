"""The server against its own description: whatever schemathesis makes of it, no 500, and answers as described."""

from __future__ import annotations

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from serving import serving

from rewardanything_core.server.app import create_app
from rewardanything_core.server.limits import Limits

LIMITS = {"text_chars": 2000, "responses": 8, "messages": 8, "batch": 8}
DOCUMENT = create_app(None, limits=Limits(**LIMITS)).app.openapi()

# What is too large is refused with 413, which schemathesis does not take for a refusal by itself.
REFUSED = {"negative_data_rejection": {"expected-statuses": [405, 413, 415, 422]}}
CONFIG = schemathesis.Config.from_dict({"checks": REFUSED})

schema = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)


@pytest.fixture(scope="module")
def server():
    with serving(**LIMITS) as running:
        assert running.client.get("/openapi.json").json() == DOCUMENT
        yield running


@schema.parametrize()
@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_answers_are_as_described(case, server):
    answer = case.call_and_validate(base_url=server.url)
    assert answer.status_code not in (500, 502, 503, 504)
    if answer.status_code == 200 and case.operation.path == "/v1/judge/batch":
        _check_lines(case, answer)


def _check_lines(case, answer):
    """One line of the form described for each case, with its index; schemathesis reads no such streams."""
    form = Draft202012Validator({"$ref": "#/components/schemas/BatchLine", "components": DOCUMENT["components"]})
    got = [json.loads(line) for line in answer.content.splitlines()]
    for line in got:
        form.validate(line)
    assert sorted(line["index"] for line in got) == list(range(len(case.body["cases"])))
