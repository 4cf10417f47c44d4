"""``ra-judge check`` on prompts in MLflow's registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checks import PRINCIPLE, errors_of, ra_judge, write_jsonl, written


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A tracking store with two versions of a text prompt, a chat prompt and a Jinja prompt."""
    import mlflow

    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        for alias, text in (
            ("production", "Answer carefully: {{ question }}"),
            ("candidate", "Answer: {{ question }}"),
        ):
            version = mlflow.genai.register_prompt("answer", text).version
            mlflow.genai.set_prompt_alias("answer", alias, version)
        chat = [{"role": "system", "content": "Be {{ tone }}, carefully."}, {"role": "user", "content": "{{question}}"}]
        mlflow.genai.register_prompt("chat", chat)
        mlflow.genai.register_prompt("jinja", "{% if question %}{{ question }}{% endif %}")
    finally:
        mlflow.set_tracking_uri(before)
    return uri


@pytest.fixture
def here(here):
    write_jsonl(
        "cases.jsonl", [{"id": i, "question": f"letter {c}", "tone": "kind"} for i, c in enumerate("abcdefghijkl")]
    )
    return here


def check(baseline, candidate, registry, **how):
    return ra_judge(
        "check", "--dataset", "cases.jsonl", "--principle", PRINCIPLE, "--json",
        "--app-model", "scripted:checks:application", "--baseline-prompt", baseline, "--candidate-prompt", candidate,
        **{"MLFLOW_TRACKING_URI": registry, **how},
    )  # fmt: skip


def test_two_versions_of_a_text_prompt_and_a_chat_prompt(here, registry):
    done = check("prompts:/answer@production", "prompts:/answer@candidate", registry, code=1)
    report = json.loads(done.stdout)
    assert report["pairs"][0]["prompt"] == "question: letter a\n\ntone: kind"
    assert {m[0]["content"] for m in written()} >= {"Answer carefully: letter a", "Answer: letter a"}
    check("prompts:/answer/1", "prompts:/chat/1", registry)
    assert written()[-1][0] == {"role": "system", "content": "Be kind, carefully."}


def test_prompts_that_cannot_be_loaded(here, registry):
    message = errors_of(check("prompts:/answer@nope", "prompts:/answer/1", registry, code=2))
    assert "Cannot load prompts:/answer@nope from MLflow's prompt registry: Prompt alias nope not found" in message
    assert "MLFLOW_TRACKING_URI" in message
    assert "Jinja template" in errors_of(check("prompts:/jinja/1", "prompts:/answer/1", registry, code=2))
    Path("mlflow.py").write_text("raise ImportError")
    message = errors_of(check("prompts:/answer/1", "prompts:/answer/2", registry, code=2, PYTHONPATH="."))
    assert "pip install 'rewardanything-core[mlflow]'" in message
    assert written() == []
