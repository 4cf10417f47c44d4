"""Which provider a model string means, and what is sent to it without LiteLLM."""

from __future__ import annotations

import subprocess
import sys

import pytest
from endpoints import backend_for, complete, request_for, scores
from servers import FakeOpenAI, Fault

from rewardanything_core import ConfigError
from rewardanything_core.backends.endpoint import litellm_adapter
from rewardanything_core.backends.endpoint.backend import EndpointBackend
from rewardanything_core.backends.endpoint.config import EndpointConfig
from rewardanything_core.backends.endpoint.providers import normalized
from rewardanything_core.errors import BackendError


@pytest.mark.parametrize(
    ("given", "model"),
    [
        ("openai:/gpt-5-mini", "openai/gpt-5-mini"),
        ("openai:gpt-5-mini", "openai/gpt-5-mini"),
        ("google_genai:gemini-2.5-flash", "gemini/gemini-2.5-flash"),
        ("gpt-4o-mini", "openai/gpt-4o-mini"),
        ("o3", "openai/o3"),
        ("claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("gpt-oss-20b", "gpt-oss-20b"),
        ("gpt2", "gpt2"),
        ("llama3:8b", "llama3:8b"),
        ("ollama/llama3:8b", "ollama/llama3:8b"),
        ("scripted:scripts:reply", "scripted:scripts:reply"),
        ("C:\\models\\judge", "C:\\models\\judge"),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
    ],
)
def test_a_model_string_is_brought_into_one_form(given: str, model: str) -> None:
    assert normalized(given) == model


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("zhuohaoyu/RewardAnything-8B-v1", "zhuohaoyu/RewardAnything-8B-v1"),
        ("judge", "judge"),
        ("claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("openai/meta-llama/Llama-3-8B", "meta-llama/Llama-3-8B"),
        ("hosted_vllm/Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("ollama/qwen3:8b", "qwen3:8b"),
        ("lm_studio/judge", "judge"),
        ("litellm_proxy/judge", "judge"),
    ],
)
def test_any_model_of_a_server_is_called_without_litellm(server: FakeOpenAI, model: str, sent: str) -> None:
    backend = backend_for(server, model, client="auto")
    assert backend.config.direct is not None
    assert scores(complete(backend))["model-1"] == 4
    assert server.bodies[0]["model"] == sent


@pytest.mark.parametrize("model", ["Qwen/Qwen3-8B", "openai/fake"])
def test_a_servers_model_can_be_called_through_litellm(server: FakeOpenAI, model: str) -> None:
    assert scores(complete(backend_for(server, model, client="litellm")))["model-1"] == 4
    assert server.bodies[0]["model"] == model.removeprefix("openai/")


def test_openai_may_be_a_part_of_the_models_name(server: FakeOpenAI) -> None:
    unknown = Fault.status(404, "The model does not exist.")
    server.reply = lambda body: None if body["model"] == "openai/gpt-oss-20b" else unknown
    backend = backend_for(server, "openai/gpt-oss-20b", client="auto", attempts=1)
    for _ in range(2):
        assert scores(complete(backend))["model-1"] == 4
    assert [body["model"] for body in server.bodies] == ["gpt-oss-20b", *["openai/gpt-oss-20b"] * 2]
    with pytest.raises(BackendError, match="not found"):
        complete(backend_for(server, "openai/other", client="auto"))


@pytest.mark.parametrize(
    ("given", "url"), [("http://gpu:11434", "http://gpu:11434/v1"), (None, "http://localhost:11434/v1")]
)
def test_ollama_is_called_by_its_openai_route(monkeypatch: pytest.MonkeyPatch, given: str | None, url: str) -> None:
    monkeypatch.delenv("OLLAMA_API_BASE", raising=False)
    assert EndpointConfig(model="ollama/qwen3", api_base=given).base_urls == (url,)


@pytest.mark.parametrize("model", ["judge", "Qwen/Qwen3-8B", "opnai/gpt-4o"])
def test_a_model_without_provider_or_server_is_refused_at_once(model: str) -> None:
    with pytest.raises(ConfigError, match=r"names no provider.*api_base=") as caught:
        EndpointBackend(model)
    assert ("Did you mean 'openai/gpt-4o'?" in str(caught.value)) == model.startswith("opnai")


def test_the_organization_and_key_of_openai_are_sent_only_with_its_models(
    server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    complete(backend_for(server, "openai/fake", client="auto"))
    complete(backend_for(server, "Qwen/Qwen3-8B"))
    first, second = (received.headers for received in server.requests)
    assert (first["authorization"], first["openai-organization"]) == ("Bearer sk-0123456789", "org-1")
    assert not {"authorization", "openai-organization"} & set(second)


def test_the_cost_of_an_openai_model_is_known_if_litellm_is_installed(server: FakeOpenAI) -> None:
    usage = complete(backend_for(server, "openai/gpt-4o-mini", client="auto")).usage
    price = litellm_adapter.prices("gpt-4o-mini")
    assert price is not None and usage.cost is not None
    assert usage.cost == pytest.approx(usage.prompt_tokens * price.prompt + usage.completion_tokens * price.completion)
    assert complete(backend_for(server, "openai/fake", client="auto")).usage.cost is None
    through_litellm = complete(backend_for(server, "openai/gpt-4o-mini")).usage
    assert through_litellm.cost == pytest.approx(usage.cost)


def test_thinking_is_switched_off_on_the_users_own_server(server: FakeOpenAI) -> None:
    complete(backend_for(server, "Qwen/Qwen3-8B"), request_for(is_reasoning_model=True, budget=0))
    assert server.bodies[0]["chat_template_kwargs"] == {"enable_thinking": False}


def test_openai_is_called_where_litellm_is_not_installed(server: FakeOpenAI) -> None:
    code = f"""
import sys
sys.modules["litellm"] = sys.modules["openai"] = sys.modules["httpx"] = None
from rewardanything_core import from_endpoint
for model in ("openai/fake", "Qwen/Qwen3-8B", "ollama/fake"):
    assert from_endpoint(model, {server.url!r}, cache="off").judge("p", "q", ["is 4"]).scores == {{"0": 4.0}}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
