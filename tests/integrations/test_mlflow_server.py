"""Scorers in the registry of an MLflow tracking server, which scores new traces with them on a schedule.

It takes a minute or two on a free machine, most of it waiting for MLflow's scheduler, so it is left out of `make test`.
`make test-newest ONLY=mlflow` runs it, and `pytest -m mlflow_server`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import GatewayEndpointModelConfig, GatewayModelLinkageType
from mlflow.genai.scorers import ScorerSamplingConfig, get_scorer, list_scorers
from mlflow.tracking._tracking_service.utils import _get_store
from servers import FakeOpenAI, RawReply

from rewardanything_core import ConfigError, Principle, from_endpoint
from rewardanything_mlflow import PrincipleScorer, load_scorer

pytestmark = [pytest.mark.mlflow_server, pytest.mark.timeout(1200)]

BRIEF = Principle("Prefer the shorter answer.", name="brief")


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    """A tracking server with SQLite and jobs; this process is its client."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS": "true",
        "MLFLOW_GATEWAY_API_BASE_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_GATEWAY_API_BASE_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_ONLINE_SCORING_DEFAULT_TRACE_COMPLETION_BUFFER_SECONDS": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    command = [str(Path(sys.executable).with_name("mlflow")), "server", "--backend-store-uri", "sqlite:///mlflow.db"]
    command += ["--artifacts-destination", "artifacts", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=os.environ | settings, stdout=log, stderr=log, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: urllib.request.urlopen(f"{url}/health", timeout=2).read() == b"OK", (folder / "log").read_text)
        mlflow.set_tracking_uri(url)
        os.environ["MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS"] = "true"
        yield url
    finally:
        os.environ.pop("MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS", None)
        os.killpg(server.pid, signal.SIGKILL)  # with its workers and the consumers of its jobs
        server.wait()


def wait_for(condition, describe, seconds=600):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except OSError:
            pass
        time.sleep(1)
    raise AssertionError(describe()[-3000:])


def test_a_scorer_is_registered_listed_and_loaded(tracking):
    mlflow.set_experiment("registry")
    with FakeOpenAI() as server, from_endpoint("hosted_vllm/fake", api_base=server.url) as judge:
        scorer = PrincipleScorer(principle=BRIEF, judge=judge, threshold=3).register()
        assert [(one.name, one.description) for one in list_scorers()] == [("brief", BRIEF.text)]
        assert get_scorer(name="brief")(inputs={"q": "Where?"}, outputs="say 4").value == 4
        loaded = load_scorer("brief")
        assert (loaded.principle, loaded.threshold, loaded.judge.model) == (BRIEF, 3, judge.model)
        with pytest.raises(ConfigError, match="cannot schedule 'brief'"):
            scorer.start(sampling_config=ScorerSamplingConfig(sample_rate=1.0))


def system_one(body):
    """A System One reply: 4, with a probability of 0.6."""
    shares = {label: 0.6 if label == "4" else 0.1 for label in body["questions"]["evaluation"]["criteria"]}
    answer = {"type": "choice", "choice": "4", "confidence": 0.6, "probabilities": shares}
    usage = {"input_tokens": 1, "output_tokens": 1}
    return RawReply({"model": body["model"], "answers": {"evaluation": answer}, "usage": usage})


def test_the_server_scores_new_traces_on_a_schedule(tracking):
    mlflow.set_experiment("schedule")
    with FakeOpenAI(reply=system_one, decision_routes=("systemone",)) as decisions:
        store = _get_store()
        auth = {"api_base": decisions.url}
        secret = store.create_gateway_secret("key", {"api_key": "x"}, provider="typesafe", auth_config=auth)
        model = store.create_gateway_model_definition("judge", secret.secret_id, "typesafe", "judge")
        primary = GatewayEndpointModelConfig(model.model_definition_id, GatewayModelLinkageType.PRIMARY, 1.0)
        store.create_gateway_endpoint("principles", [primary])
        scheduled = PrincipleScorer(principle=BRIEF).as_mlflow_judge("gateway:/principles").register()
        assert scheduled.start(sampling_config=ScorerSamplingConfig(sample_rate=1.0)).sample_rate == 1.0
        with mlflow.start_span("answer") as span:
            span.set_inputs({"question": "Where?"})
            span.set_outputs("Here.")
        mlflow.flush_trace_async_logging()
        (assessment,) = wait_for(
            lambda: mlflow.get_trace(span.trace_id).info.assessments, lambda: f"{decisions.count} requests"
        )
        assert (assessment.name, assessment.value) == ("brief", 4)
        asked = decisions.bodies[0]
        assert asked["state"] == {"inputs": {"question": "Where?"}, "outputs": "Here."}
        assert BRIEF.text in asked["questions"]["evaluation"]["instructions"]
