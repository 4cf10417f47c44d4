import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rewardanything_core import (
    ConfigError,
    ScriptedBackend,
    default_judge,
    from_endpoint,
    load_judge,
    resolve_judge,
)
from rewardanything_core.cli._check.settings import read_table
from rewardanything_core.config import SETTINGS, read_settings
from rewardanything_core.errors import AuthenticationError
from rewardanything_core.loading.backends import kind_of

SCRIPT = "scripted:scripts:by_length"


def test_arguments_come_before_the_environment_before_the_file(tmp_path, monkeypatch):
    (tmp_path / "ra-judge.toml").write_text('[judge]\nmodel = "file"\npasses = 2\nseed = 5\napi_base = ["http://a/v1"]')
    monkeypatch.chdir(tmp_path)
    settings = read_settings(None, {"seed": 9}, {"RA_JUDGE_PASSES": "3", "RA_JUDGE_SEED": "7", "OTHER": "x"})
    assert settings == {"model": "file", "passes": 3, "seed": 9, "api_base": ["http://a/v1"]}


def test_the_nearest_file_upwards_is_found(tmp_path, monkeypatch):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "ra-judge.toml").write_text(f'[judge]\nmodel = "{SCRIPT}"\npasses = 4\n')
    monkeypatch.chdir(inner)
    assert load_judge().passes == 4
    assert load_judge(passes=1).passes == 1


def test_other_tables_of_the_file_belong_to_others(tmp_path):
    path = tmp_path / "ra-judge.toml"
    path.write_text('[check]\nmargin = 0.3\n[judge]\nmodel = "m"\n')
    assert read_settings(path, None, {}) == {"model": "m"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[judge]\nmodle = "x"', "unknown setting 'modle'"),
        ('[judge]\npasses = "two"', "'passes'.*whole number.*'two'"),
        ("[judge]\npasses = true", "whole number"),
        ("[judge]\nmodel = 3", "'model'.*a string"),
        ("judge = 3", "must be a table"),
        ("[judge", "Cannot read"),
    ],
)
def test_a_wrong_file_says_what_is_wrong_and_where(tmp_path, content, words):
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=words) as caught:
        read_settings(path, None, {})
    assert "mine.toml" in str(caught.value)


def test_a_file_that_is_not_there_is_an_error_when_it_was_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        read_settings(tmp_path / "nowhere.toml", None, {})
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        read_settings(None, None, {"RA_JUDGE_CONFIG": str(tmp_path / "nowhere.toml")})


def test_an_empty_variable_for_the_file_counts_as_unset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_settings(None, None, {"RA_JUDGE_CONFIG": ""}) == {}
    (tmp_path / "ra-judge.toml").write_text("[judge]\npasses = 3\n[check]\nmargin = 0.2\n")
    assert read_settings(None, None, {"RA_JUDGE_CONFIG": ""}) == {"passes": 3}
    monkeypatch.setenv("RA_JUDGE_CONFIG", "")
    assert read_table(None).settings == {"margin": 0.2}


def test_a_misspelt_variable_warns_and_a_wrong_one_fails():
    with pytest.warns(UserWarning, match="RA_JUDGE_MODLE"):
        assert read_settings(None, None, {"RA_JUDGE_MODLE": "x"}) == {}
    with pytest.raises(ConfigError, match="RA_JUDGE_PASSES"):
        read_settings(None, None, {"RA_JUDGE_PASSES": "many"})


def test_every_setting_can_come_from_the_environment():
    values = {str: "text", int: "3", float: "0.5", bool: "true", list: "http://a/v1, http://b/v1", dict: '{"a": 1}'}
    environ = {f"RA_JUDGE_{name.upper()}": values[setting.kind] for name, setting in SETTINGS.items()}
    with pytest.raises(ConfigError, match="both a jury and a cascade"):
        read_settings(None, None, environ)
    for left_out in ("jury", "cascade"):
        one = {name: value for name, value in environ.items() if name != f"RA_JUDGE_{left_out.upper()}"}
        settings = read_settings(None, None, one)
        assert set(settings) == set(SETTINGS) - {left_out}
    assert settings["api_base"] == ["http://a/v1", "http://b/v1"]


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "local"),
        ({"model": "smollm2-135m"}, "local"),
        ({"model": "Qwen/Qwen3-8B"}, "local"),
        ({"model": "WisdomShell/RewardAnything-8B-v1"}, "local"),
        ({"model": "hosted_vllm/WisdomShell/RewardAnything-8B-v1"}, "endpoint"),
        ({"model": "openai/gpt-4o-mini"}, "endpoint"),
        ({"model": "Qwen/Qwen3-8B", "api_base": ["http://localhost:8000/v1"]}, "endpoint"),
        ({"model": "gpt-4o-mini"}, "endpoint"),
        ({"model": "openai:/gpt-5-mini"}, "endpoint"),
        ({"model": "openai-community/gpt2"}, "local"),
        ({"model": "openai/gpt-oss-20b", "backend": "local"}, "local"),
        ({"model": SCRIPT}, "scripted"),
    ],
)
def test_which_backend_settings_speak_of(settings, kind):
    assert kind_of(settings) == kind


def test_a_mistyped_model_is_explained_before_anything_is_looked_up():
    for model, message in (("smollm2-135", "Did you mean 'smollm2-135m'"), ("gtp-4o-mini", "provider/model")):
        with pytest.raises(ConfigError, match=f"There is no model '{model}'.*{message}"):
            load_judge(model=model)


def test_base_url_means_api_base(monkeypatch):
    url = "http://localhost:8000/v1"
    assert read_settings(None, {"base_url": url}, {}) == {"api_base": [url]}
    assert read_settings(None, None, {"RA_JUDGE_BASE_URL": url}) == {"api_base": [url]}
    assert from_endpoint("m", base_url=url).spec() == from_endpoint("m", url).spec()
    with pytest.raises(ConfigError, match="base_url"):
        from_endpoint("m", url, base_url=url)


def test_a_model_string_becomes_a_judge(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    judges = [resolve_judge(f"openai{separator}fake") for separator in ("/", ":/", ":")]
    for judge in judges:
        assert judge.judge("p", "q", ["is 4"]).scores == {"0": 4.0}
        assert judge.model == "openai/fake"
    assert server.count == 1  # the other verdicts came from the store
    assert resolve_judge("openai/fake") is judges[0]
    assert resolve_judge(judges[1]) is judges[1]
    assert resolve_judge(None) is None
    assert resolve_judge(SCRIPT).model == "scripted"


def test_settings_of_another_model_do_not_apply_to_a_model_string(server, monkeypatch):
    for name, value in {"MODEL": "mine", "API_BASE": server.url, "API_KEY": "my-secret-key", "PASSES": "2"}.items():
        monkeypatch.setenv(f"RA_JUDGE_{name}", value)
    monkeypatch.setenv("OLLAMA_API_BASE", server.url)
    other = resolve_judge("ollama/fake")
    assert (other.backend.config.api_base, other.passes) == ((), 2)
    other.judge("p", "q", ["is 4"])
    assert "authorization" not in server.requests[-1].headers
    resolve_judge("mine").judge("p", "q", ["is 3"])
    assert server.requests[-1].headers["authorization"] == "Bearer my-secret-key"


@pytest.mark.parametrize("wrong", [3, "", object(), "no-such-model", {"model": "x"}])
def test_what_is_neither_a_judge_nor_a_model_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"judge must be a Judge or Jury|There is no model"):
        resolve_judge(wrong)


def test_a_missing_key_is_noticed_when_the_judge_is_given(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(AuthenticationError, match=r"no key for openai/gpt-5-mini.*OPENAI_API_KEY"):
        resolve_judge("gpt-5-mini")
    monkeypatch.setenv("RA_JUDGE_CACHE", "read")  # verdicts in the store need no key
    assert resolve_judge("gpt-5-mini").model == "openai/gpt-5-mini"


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ConfigError, match="backend must be"):
        load_judge(model="x", backend="cloud")
    with pytest.raises(ConfigError, match="no use for: api_base"):
        load_judge(model="x", backend="local", api_base="http://localhost/v1")
    with pytest.raises(ConfigError, match="needs a model"):
        load_judge(backend="endpoint")
    with pytest.raises(ConfigError, match="unknown setting 'passse'"):
        load_judge(passse=2)
    with pytest.raises(ConfigError, match="either a spec or settings"):
        load_judge({"backend": {}}, passes=2)
    with pytest.raises(ConfigError, match="passes must be"):
        load_judge(model=SCRIPT, passes=0)
    with pytest.raises(ConfigError, match="temperature"):
        load_judge(model=SCRIPT, temperature=-1.0)


def test_sampling_settings_reach_the_judge():
    judge = load_judge(model=SCRIPT, temperature=0.6, thinking_budget=7, max_tokens=99, top_p=0.9)
    assert (judge.sampling.temperature, judge.sampling.thinking_budget) == (0.6, 7)
    assert (judge.sampling.max_tokens, judge.sampling.top_p) == (99, 0.9)
    assert isinstance(judge.backend, ScriptedBackend)


def test_a_scripted_model_that_is_not_there_says_so():
    with pytest.raises(ConfigError, match="no_such_function"):
        load_judge(model="scripted:scripts:no_such_function")


def test_an_endpoint_judge_travels_without_its_key(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    judge = from_endpoint("openai/m", "http://localhost:1/v1", api_key_env="MY_KEY", max_concurrency=3)
    assert "sk-very-secret" not in repr(judge) + str(judge.spec())
    assert load_judge(judge.spec()).spec() == judge.spec()
    assert judge.spec()["backend"]["api_key_env"] == "MY_KEY"


class CountingLock:
    """A lock that says when so many have come to it."""

    def __init__(self, many: int) -> None:
        self._lock, self._many, self._came = threading.Lock(), many, threading.Semaphore(0)

    def __enter__(self) -> None:
        self._came.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait_for_all(self) -> None:
        for _ in range(self._many):
            assert self._came.acquire(timeout=30)


def test_who_waits_for_a_judge_that_cannot_be_made_is_told_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that cannot be fetched is not tried again by each of a host's threads in turn; the next call tries."""
    lock, tried = CountingLock(6), []

    def load() -> None:
        tried.append(1)
        if len(tried) == 1:
            lock.wait_for_all()
        raise ConfigError("There is none.")

    monkeypatch.setattr("rewardanything_core.loading.shared._default", [])
    monkeypatch.setattr("rewardanything_core.loading.shared._default_error", [])
    monkeypatch.setattr("rewardanything_core.loading.shared._default_lock", lock)
    monkeypatch.setattr("rewardanything_core.loading.shared.load_judge", load)
    with ThreadPoolExecutor(6) as threads:
        errors = [one.exception() for one in [threads.submit(default_judge) for _ in range(6)]]
    assert len(tried) == 1
    assert all(error is errors[0] for error in errors)
    with pytest.raises(ConfigError):
        default_judge()
    assert len(tried) == 2


def test_load_judge_takes_the_model_first(server):
    judge = load_judge("hosted_vllm/fake", api_base=server.url, passes=2)
    assert (judge.model, judge.passes) == (load_judge(model="hosted_vllm/fake", api_base=server.url).model, 2)
    assert load_judge(judge.spec()).fingerprint() == judge.fingerprint()
