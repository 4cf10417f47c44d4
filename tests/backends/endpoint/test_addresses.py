"""Requests go to the servers that the settings name, through the proxy that the environment names, and nowhere else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from endpoints import MODELS, a_case, backend_for, complete, judge_for, request_for, run, scores
from servers import FakeOpenAI, Fault

from rewardanything_core import ConfigError, JudgeFailure, from_endpoint, load_judge
from rewardanything_core.backends.endpoint import litellm_adapter
from rewardanything_core.backends.endpoint.attempt_errors import redact
from rewardanything_core.backends.endpoint.backend import EndpointBackend
from rewardanything_core.backends.endpoint.proxies import environment_proxy
from rewardanything_core.errors import AuthenticationError, BackendError

THROUGH_LITELLM = ("azure/m", "anthropic/m", "gemini/m", "groq/m", "mistral/m", "bedrock/converse/m", "openrouter/m")

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

RECORD_HOSTS = """
import json, os, socket, sys
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
hosts = set()

def record(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto"):
        host = arguments[0] if isinstance(arguments[0], str) else arguments[1]
        host = host[0] if isinstance(host, tuple) else host
        hosts.add(host if isinstance(host, str) else repr(host))
        if host != "127.0.0.1":
            raise OSError(f"{host} is blocked by the test")

sys.addaudithook(record)
from rewardanything_core import Case, from_endpoint

failed = []
for model, options in json.loads(sys.argv[1]):
    try:
        judge = from_endpoint(model, cache="off", attempts=1, timeout=30, **options)
        outcomes = judge.judge_batch([Case("p", "q", ["is 4"]), Case("p", "q", ["is 3"])])
        failed.append([getattr(outcome, "error_type", None) for outcome in outcomes])
    except Exception as error:
        failed.append(type(error).__name__)
print(json.dumps([sorted(hosts), failed]))
"""


def contacted(*judges: tuple[str, dict[str, Any]]) -> tuple[list[str], list[Any]]:
    """The hosts that judging with each of these contacts, in a new process that blocks all but 127.0.0.1."""
    done = subprocess.run(
        [sys.executable, "-c", RECORD_HOSTS, json.dumps(judges)],
        capture_output=True,
        text=True,
        timeout=200,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    hosts, failed = json.loads(done.stdout.splitlines()[-1])
    return hosts, failed


def test_only_the_hosts_of_the_settings_are_contacted(server: FakeOpenAI) -> None:
    server.plan = [None, None, Fault.status(500), Fault.status(429)]
    own = {"api_base": server.url, "api_key": "none"}
    hosts, failed = contacted(
        ("hosted_vllm/fake", {"api_base": server.url}),
        ("hosted_vllm/fake", {"api_base": [server.url, server.url.replace("/v1", "/v1/chat/completions")]}),
        ("openai/fake", own),
        ("openai/meta-llama/Llama-3-8B", own),
        ("openai/gpt-4o", own | {"client": "litellm"}),
        ("gpt-4o", own),
        ("Qwen/Qwen3-8B", own),
        ("litellm_proxy/fake", own),
        ("lm_studio/fake", own),
        *((model, own) for model in THROUGH_LITELLM),
    )
    assert hosts == ["127.0.0.1"]
    assert failed[:9] == [[None, None], ["BackendError", "RateLimitError"], *[[None, None]] * 7]


def test_a_provider_without_a_public_address_is_not_sent_to_openai() -> None:
    models = ["hosted_vllm/x", "litellm_proxy/x", "lm_studio/x", "xinference/x", "custom_openai/x"]
    hosts, failed = contacted(*((model, {}) for model in models))
    assert hosts == []
    assert failed == ["ConfigError"] * len(models)


def test_a_provider_is_contacted_at_its_own_address() -> None:
    for client in ("auto", "litellm"):
        hosts, failed = contacted(("openai/gpt-4o", {"api_key": "none", "client": client}))
        assert hosts == ["api.openai.com"]
        assert failed == [["BackendConnectionError"] * 2]


def test_a_model_without_an_address_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOSTED_VLLM_API_BASE", raising=False)
    with pytest.raises(ConfigError, match=r"hosted_vllm/m needs api_base="):
        from_endpoint("hosted_vllm/m")
    with pytest.raises(ConfigError, match=r"api_base="):
        load_judge(model="hosted_vllm/m")
    with pytest.raises(ConfigError, match=r"api_base="):
        EndpointBackend("lm_studio/m", api_base=[])


@pytest.mark.parametrize("model", ["replicate/meta/llama", "sagemaker/judge"])
def test_an_address_that_litellm_would_ignore_is_a_config_error(model: str) -> None:
    with pytest.raises(ConfigError, match="cannot be sent to api_base="):
        from_endpoint(model, api_base="http://judge:8000/v1")


@pytest.mark.parametrize(
    ("api_base", "message"),
    [
        ("http://[::1", "must be a URL"),
        ("http://judge:port/v1", "must be a URL"),
        ("http://judge:99999/v1", "must be a URL"),
        ("http://one,http://two", "must be a URL"),
        ("http://judge/v1\r\nHost: other", "must be a URL"),
        ("unix:///run/judge.sock", "must be a URL"),
        ("http://judge/v1#part", "must not contain"),
        ("http://judge/v1?key=hidden", "must not contain"),
        ("http://me:hidden@judge/v1", "must not contain"),
        ("me:hidden@judge:8000/v1", "must not contain"),
        (b"http://judge/v1", "must be a text, not bytes"),
        (["http://judge/v1", None], "must be a text, not NoneType"),
    ],
)
def test_an_address_that_cannot_be_used_is_a_config_error(api_base: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        from_endpoint("hosted_vllm/m", api_base=api_base)
    assert "hidden" not in str(caught.value)


def test_space_around_an_address_is_not_part_of_it(server: FakeOpenAI) -> None:
    assert scores(complete(backend_for(server, api_base=f" {server.url}/\n")))["model-1"] == 4


def test_the_address_can_be_in_the_providers_variable(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", server.url)
    backend = EndpointBackend("hosted_vllm/fake")
    assert scores(complete(backend))["model-1"] == 4
    assert backend.spec()["api_base"] is None


# --- redirects


@contextmanager
def redirecting(target: str, codes: list[int]) -> Iterator[str]:
    """The address of a server that redirects each request, whatever its path, with the next of the statuses."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(codes.pop(0))
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


@pytest.mark.parametrize("model", (*MODELS, *THROUGH_LITELLM))
def test_a_redirect_is_not_followed_and_names_its_target(model: str) -> None:
    codes = [301, 302, 303, 307, 308]
    with FakeOpenAI() as other, redirecting(f"{other.url}/chat?token=hidden-secret", codes) as url:
        while codes:
            with pytest.raises(BackendError) as caught:
                complete(EndpointBackend(model, api_base=url, api_key="key", attempts=1))
            assert f"redirects to {other.url}/chat, which is not followed" in str(caught.value)
            assert "hidden-secret" not in str(caught.value)
        assert other.requests == []


def test_a_redirect_names_the_address_to_use_instead(server: FakeOpenAI) -> None:
    server.reply = Fault.redirect("http://other:8000/v1/chat/completions")
    with pytest.raises(BackendError, match=r"Set api_base='http://other:8000/v1'"):
        complete(backend_for(server))
    server.reply = Fault.redirect("/elsewhere")
    (outcome,) = judge_for(server).judge_batch([a_case()])
    assert isinstance(outcome, JudgeFailure)
    assert f"{server.url.removesuffix('/v1')}/elsewhere" in outcome.message


def test_other_calls_of_the_process_follow_redirects_as_before(server: FakeOpenAI) -> None:
    httpx = pytest.importorskip("httpx")
    litellm_adapter.load()
    with FakeOpenAI() as other, httpx.Client(follow_redirects=True) as client:
        server.reply = Fault.redirect(f"{other.url}/chat/completions")
        reply = client.post(f"{server.url}/chat/completions", json={"model": "m", "messages": []})
        assert (reply.url, other.count) == (f"{other.url}/chat/completions", 1)


# --- proxies


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, "http://judge:8000/v1", None),
        ({"http_proxy": "http://proxy:3128"}, "http://judge:8000/v1", "http://proxy:3128"),
        ({"http_proxy": "proxy:3128"}, "http://judge:8000/v1", "http://proxy:3128"),
        ({"http_proxy": "proxy:3128"}, "https://judge/v1", None),
        ({"https_proxy": "proxy:3128"}, "https://judge/v1", "http://proxy:3128"),
        ({"all_proxy": "proxy:3128"}, "https://judge/v1", "http://proxy:3128"),
        ({"http_proxy": "proxy:3128", "no_proxy": "judge"}, "http://judge:8000/v1", None),
        ({"http_proxy": "proxy:3128", "no_proxy": "judge:8000"}, "http://judge:8000/v1", None),
        ({"http_proxy": "proxy:3128", "no_proxy": ".lan"}, "http://judge.lan:8000/v1", None),
        ({"http_proxy": "proxy:3128", "no_proxy": "*"}, "http://judge:8000/v1", None),
        ({"http_proxy": "proxy:3128", "no_proxy": "localhost, 10.0.0.0/8"}, "http://10.1.2.3:8000/v1", None),
        ({"http_proxy": "proxy:3128", "no_proxy": "10.0.0.0/8"}, "http://11.1.2.3:8000/v1", "http://proxy:3128"),
        ({"http_proxy": "proxy:3128", "no_proxy": "10.1.2.3"}, "http://10.1.2.3:8000/v1", None),
        ({"http_proxy": "proxy:3128", "no_proxy": "fd00::/8"}, "http://[fd00::1]:8000/v1", None),
        ({"http_proxy": "proxy:3128", "no_proxy": "[fd00::1]"}, "http://[fd00::1]:8000/v1", None),
        ({"http_proxy": "proxy:3128", "no_proxy": "[fd00::1]:8000"}, "http://[fd00::1]:8000/v1", None),
        ({"http_proxy": "proxy:3128", "no_proxy": "[fd00::1]:9"}, "http://[fd00::1]:8000/v1", "http://proxy:3128"),
        ({"http_proxy": "proxy:3128", "no_proxy": "judge:9"}, "http://judge:8000/v1", "http://proxy:3128"),
        ({"https_proxy": "proxy:3128", "no_proxy": "judge:443"}, "https://judge/v1", None),
        ({"http_proxy": "proxy:3128", "no_proxy": "a, *"}, "http://judge:8000/v1", None),
        ({"http_proxy": "proxy:3128", "no_proxy": "*.lan"}, "http://judge.lan/v1", None),
        ({"http_proxy": "proxy:3128", "no_proxy": "lan"}, "http://plan/v1", "http://proxy:3128"),
        ({"http_proxy": "proxy:3128", "no_proxy": "http://judge:8000"}, "http://JUDGE.:8000/v1", None),
        ({"http_proxy": " http://me:hidden@proxy:3128 "}, "http://judge/v1", "http://me:hidden@proxy:3128"),
    ],
)
def test_the_proxy_is_the_environments(
    proxies: pytest.MonkeyPatch, variables: dict[str, str], url: str, proxy: str | None
) -> None:
    for name, value in variables.items():
        proxies.setenv(name, value)
    assert environment_proxy(url) == proxy


def test_requests_go_through_a_proxy_without_a_scheme(server: FakeOpenAI, proxies: pytest.MonkeyPatch) -> None:
    # A proxy gets a request line with the whole URL, whose path is the server's.
    proxies.setenv("http_proxy", server.url.removeprefix("http://").removesuffix("/v1"))
    backend = backend_for(server, api_base="http://judge.invalid:8000/v1")
    assert scores(complete(backend))["model-1"] == 4
    proxies.setenv("no_proxy", "127.0.0.0/8")
    assert scores(complete(backend_for(server)))["model-1"] == 4
    proxies.setenv("http_proxy", "127.0.0.1:9")
    assert scores(complete(backend_for(server)))["model-1"] == 4


def test_the_credentials_of_a_proxy_are_not_shown(server: FakeOpenAI, proxies: pytest.MonkeyPatch) -> None:
    for proxy in ("http://me:hidden@127.0.0.1:9", "socks5://me:hidden@127.0.0.1:9"):
        proxies.setenv("http_proxy", proxy)
        with pytest.raises(BackendError) as caught:
            complete(backend_for(server, attempts=1))
        assert "hidden" not in str(caught.value)


# --- keys


@pytest.mark.parametrize("key", ["key-1\nkey-2", "key\r\nHost: other", "kéy", "\u201ckey-1\u201d", "key\x7f"])
def test_a_key_that_no_header_can_have_is_refused(
    server: FakeOpenAI, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in MODELS:
        with pytest.raises(AuthenticationError, match="character that no key has") as caught:
            backend_for(server, model, api_key=key)
        assert "key-1" not in str(caught.value)
    monkeypatch.setenv("HOSTED_VLLM_API_KEY", key)
    judge = from_endpoint("hosted_vllm/fake", api_base=server.url, cache="off")
    (outcome,) = judge.judge_batch([a_case()])
    assert isinstance(outcome, JudgeFailure)
    assert (outcome.error_type, server.count) == ("AuthenticationError", 0)


def test_space_around_a_key_is_not_part_of_it(server: FakeOpenAI) -> None:
    complete(backend_for(server, api_key=" key-1\n"))
    assert server.requests[0].headers["authorization"] == "Bearer key-1"


def test_a_short_key_is_removed_only_as_a_whole_word() -> None:
    assert redact("no model at none of these: none", "no") == "*** model at none of these: none"
    assert redact("key none, nonexistent", "none") == "key ***, nonexistent"
    assert redact("key=correct-horse-1 xcorrect-horse-1x", "correct-horse-1") == "key=*** x***x"


@pytest.mark.parametrize("model", MODELS)
def test_a_message_stays_readable_with_a_short_key(server: FakeOpenAI, model: str) -> None:
    server.reply = Fault.status(400, "no such model: nothing is known as fake")
    with pytest.raises(BackendError, match="such model: nothing is known as fake"):
        run(backend_for(server, model, api_key="no").complete(request_for()))
