"""Judging with a real vLLM server; `make test-vllm` installs it in a separate environment."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from rewardanything_core import Case, SamplingParams, Verdict, from_endpoint

pytestmark = pytest.mark.vllm

CASES = [
    Case(
        "Prefer the shortest answer.",
        f"What is the capital of country {i}?",
        {"a": "Paris.", "b": "It is Paris, surely."},
    )
    for i in range(4)
]
QUICK = SamplingParams(thinking_budget=0, max_tokens=200)


@pytest.fixture(scope="module")
def vllm(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    python = os.environ["RA_JUDGE_VLLM_PYTHON"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("vllm") / "log"
    command = f"""{python} -m vllm.entrypoints.openai.api_server --model {model_folder} --served-model-name small
        --host 127.0.0.1 --port {port} --dtype bfloat16 --max-model-len 4096 --max-num-seqs 16 --enforce-eager"""
    settings = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "0-1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    with log.open("w") as out:
        process = subprocess.Popen(command.split(), env=os.environ | settings, stdout=out, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 280
        while time.monotonic() < deadline and process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        else:
            pytest.fail(f"vLLM did not start:\n{log.read_text()[-3000:]}")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.timeout(600)
def test_the_schema_is_followed_and_probabilities_are_returned(vllm: str) -> None:
    judge = from_endpoint("hosted_vllm/small", vllm, cache="off", sampling=QUICK, expected_scores=True, retries=4)
    verdicts = [outcome for outcome in judge.judge_batch(CASES) if isinstance(outcome, Verdict)]
    assert verdicts
    assert all(1 <= score <= 5 for verdict in verdicts for score in verdict.scores.values())
    assert any(score != round(score) for verdict in verdicts for score in verdict.scores.values())


def test_a_case_beyond_the_window_is_a_context_length_error(vllm: str) -> None:
    judge = from_endpoint("hosted_vllm/small", vllm, cache="off", sampling=QUICK)
    (outcome,) = judge.judge_batch([Case("p", "word " * 6000, ["a"])])
    assert not isinstance(outcome, Verdict)
    assert outcome.error_type == "ContextLengthError"
    assert "4,096" in outcome.message
