"""The Python, the commands and the error messages of docs/recipes.md."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import mlflow
import pytest
from paths import ROOT
from providers import providers, service_account
from servers import GARBAGE, HANG, RESET, FakeOpenAI, Fault

from rewardanything_core import Judge, ScriptedBackend, load_judge, resolve_judge
from rewardanything_core.errors import MissingExtraError

PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
COMMANDS = [block for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) if "ra-judge" in block]


def reply_of_the_model(body: dict[str, Any]) -> str | None:
    """The reply of the program's model, or of an optimizer's. None: the message has a case, so it is the judge's."""
    text = "\n".join(message["content"] for message in body["messages"])
    if '"responses"' in text:
        return None
    if "new_instruction" in text:
        return json.dumps({"new_instruction": "Answer in one sentence of five words."})
    wanted = text.rpartition("Respond with the corresponding output fields")[2]
    fields = re.findall(r"\[\[ ## (\w+) ## \]\]", wanted)
    number = 5 if "five words" in text else 2
    return (
        "".join(f"[[ ## {name} ## ]]\nIn five words, number {number}.\n\n" for name in fields) or "```\nfive words\n```"
    )


def test_the_python_runs(server: FakeOpenAI, tmp_path: Path) -> None:
    """In a separate process, because it configures DSPy; with a server in place of OpenAI's API."""
    server.reply = reply_of_the_model
    blocks = re.findall(r"```python[^\n]*\n(.*?)```", PAGE, re.DOTALL)
    script = "\n".join(block for block in blocks if not block.startswith("# needs a GPU"))
    environ = {
        "OPENAI_API_KEY": "sk-1",
        "OPENAI_BASE_URL": server.url,
        "PYTHONPATH": str(ROOT / "integrations"),
        "DSPY_CACHEDIR": str(tmp_path / "dspy"),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=os.environ | environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Answer in one sentence of five words." in done.stdout
    assert "preference changes with the order in 0 of 1 cases" in done.stdout
    assert re.search(r"1,000 rows: [\d,]+ prompt tokens, \$\d", done.stdout)


def model_of(block: str) -> str:
    return str(re.findall(r"--model (\S+)", block)[0])


@pytest.mark.parametrize("block", COMMANDS, ids=model_of)
def test_the_commands_run(block: str, tmp_path: Path) -> None:
    """With a server in place of the providers, which is where every address of the page leads."""
    with providers() as (url, received):
        environ = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OPENAI_API_KEY": "sk-1",
            "OPENAI_BASE_URL": f"{url}/v1",
            "AWS_BEDROCK_RUNTIME_ENDPOINT": url,
        }
        if "vertex" in block:
            service_account(tmp_path / "service-account.json", url)
            environ["RA_JUDGE_API_BASE"] = url
        script = re.sub(r"https?://(localhost:\d+|my-resource\.openai\.azure\.com)", url, block)
        done = subprocess.run(
            ["bash", "-ec", script], cwd=tmp_path, env=os.environ | environ, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        texts = ["Refunds take 5 days"] if "rag.jsonl" in block else ["Be brief.", "2+2?"]
        assert all(text in received[-1] for text in texts)
        judged = tmp_path / "judged.jsonl"
        assert "4.0" in (judged.read_text() if judged.exists() else done.stdout)


def message_of(fails: Callable[[], Any]) -> str:
    with pytest.raises(BaseException) as raised:
        fails()
    return str(raised.value)


def messages(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every error message that the page may quote, from what causes it."""

    def reply(answer: Any, *, logprobs: bool = True, **options: Any) -> str:
        server.reply, server.logprobs = answer, logprobs
        judge = load_judge(model="m", api_base=server.url, cache="off", attempts=1, retries=0, **options)
        return message_of(lambda: judge.score("p", "q", "r"))

    def keeps_failing() -> None:
        from rewardanything_dspy import PrincipleMetric

        failing = Judge(ScriptedBackend(lambda request: "no verdict"), cache="off", retries=0)
        metric = PrincipleMetric("p", judge=failing, max_failures=1)
        metric(dspy.Example(question="q").with_inputs("question"), dspy.Prediction(answer="a"))

    def missing() -> None:
        raise MissingExtraError("Serving a judge", extra="serve")

    def warned() -> str:
        from rewardanything_mlflow import StoreWarning, check_store

        monkeypatch.delenv("MLFLOW_GENAI_EVAL_MAX_WORKERS", raising=False)
        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri("sqlite:///another.db")
        try:
            with pytest.warns(StoreWarning) as warnings:
                check_store()
        finally:
            mlflow.set_tracking_uri(before)
        return str(warnings[0].message)

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("JUDGE_KEY", "wrong")
    quota = Fault.status(429, "You exceeded your current quota.", code="insufficient_quota")
    return [
        message_of(lambda: resolve_judge("openai/gpt-5-mini")),
        message_of(lambda: load_judge(model="gtp-5-mini")),
        message_of(lambda: load_judge(model="Qwen/Qwen3-8B", backend="endpoint")),
        message_of(lambda: load_judge(model="hosted_vllm/m")),
        message_of(lambda: load_judge(pases=2)),
        message_of(missing),
        message_of(lambda: load_judge(model="m", api_base="http://127.0.0.1:9/v1", attempts=1).score("p", "q", "r")),
        reply(Fault.status(401, "Incorrect API key provided."), api_key_env="JUDGE_KEY"),
        reply(Fault.status(404, "The model does not exist.")),
        reply(Fault.status(429)),
        reply(quota),
        reply(HANG, timeout=0.2),
        reply(GARBAGE),
        reply(RESET),
        reply(Fault.status(500)),
        reply("I think that both are fine."),
        reply(Fault.status(400, "This model's maximum context length is 4096 tokens. You requested 5000 tokens.")),
        reply({"content": None, "refusal": "I cannot help with that."}),
        reply(None, logprobs=False, expected_scores=True),
        reply({"content": "Perhaps"}, readout="logits"),
        reply({"content": "Yes"}, readout="logits"),
        message_of(keeps_failing),
        warned(),
    ]


def test_the_messages_are_those_of_the_code(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    table = PAGE.partition("## Troubleshooting")[2]
    quoted = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    raised = messages(server, monkeypatch)
    assert [fragment for fragment in quoted if not any(fragment in message for message in raised)] == []
    assert [message for message in raised if not any(fragment in message for fragment in quoted)] == []
