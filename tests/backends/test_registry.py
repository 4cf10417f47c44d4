"""Backends of other distributions: the one on the page about adding a backend, built, installed and used."""

import asyncio
import os
import pickle
import re
import subprocess
import sys
import textwrap

import pytest
from paths import ROOT

from rewardanything_core import Backend, ConfigError, Judge, ScriptedBackend
from rewardanything_core.backends import register_backend
from rewardanything_core.backends.registry import backend_class, backend_from_spec, backend_kinds


@pytest.fixture(scope="session")
def wordy(tmp_path_factory):
    """The folder into which the distribution of the page is installed."""
    source, target = tmp_path_factory.mktemp("wordy"), tmp_path_factory.mktemp("site")
    page = (ROOT / "docs" / "adding-a-backend.md").read_text(encoding="utf-8")
    files = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', page, re.MULTILINE | re.DOTALL))
    assert set(files) == {"pyproject.toml", "wordy.py", "ra-judge.toml"}
    for name, content in files.items():
        (source / name).write_text(content, encoding="utf-8")
    (target / "ra-judge.toml").write_text(files["ra-judge.toml"], encoding="utf-8")
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", *install, str(source)], check=True, timeout=120)
    return target


def run_with(wordy, code, **environ):
    environ = os.environ | {"PYTHONPATH": str(wordy), **environ}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    result = subprocess.run(command, cwd=wordy, env=environ, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_an_installed_backend_works_in_settings_a_jury_a_pickle_and_other_processes(wordy, own_store):
    code = """
        import multiprocessing, pickle
        from rewardanything_core import Judge, Jury, load_judge
        from rewardanything_core.backends.registry import backend_kinds

        def score(judge):
            return judge.judge("Prefer detail.", "q", {"a": "one", "b": "one two three"}, id="x").scores

        if __name__ == "__main__":
            assert "wordy" in backend_kinds()
            judge = load_judge()
            assert judge.backend.model == "wordy-1" and judge.backend._max_concurrency == 2
            assert score(judge) == {"a": 2.0, "b": 4.0}, score(judge)
            assert score(pickle.loads(pickle.dumps(judge))) == {"a": 2.0, "b": 4.0}
            jury = Jury([judge, judge.with_options(seed=1)])
            again = load_judge(jury.spec())
            assert again.jurors[0].backend is again.jurors[1].backend
            assert score(again) == {"a": 2.0, "b": 4.0}
            by_words = judge.with_options(readout="logits")
            assert score(by_words)["b"] > score(by_words)["a"]
            from wordy import WordyBackend
            with_generate = Judge(WordyBackend(), readout="generate")
            assert with_generate.fingerprint() == judge.fingerprint()
    """
    run_with(wordy, code)
    (wordy / "spawned.py").write_text(
        "import pickle, sys\nfrom rewardanything_core import load_judge\n"
        "judge = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "print(judge.judge('p', 'q', ['one', 'one two']).scores)\n"
    )
    pickled = run_with(
        wordy, "import pickle; from rewardanything_core import load_judge; print(pickle.dumps(load_judge()).hex())"
    )
    environ = os.environ | {"PYTHONPATH": str(wordy)}
    command = [sys.executable, str(wordy / "spawned.py"), pickled.strip()]
    assert subprocess.check_output(command, env=environ, text=True, timeout=120) == "{'0': 2.0, '1': 3.0}\n"


def test_a_wrong_option_of_an_installed_backend_is_named(wordy):
    code = """
        from rewardanything_core import ConfigError, load_judge
        try:
            load_judge(backend="wordy", backend_options={"speed": 3})
        except ConfigError as error:
            print(error)
    """
    assert "do not fit the backend 'wordy'" in (printed := run_with(wordy, code))
    assert "speed" in printed


def test_kinds_that_are_unknown_broken_or_no_backend_are_refused(monkeypatch):
    with pytest.raises(ConfigError, match=r"no backend of the kind 'cloud'; installed are: endpoint, local, "):
        backend_class("cloud")
    with pytest.raises(ConfigError, match="not the spec of a backend"):
        backend_from_spec({"model": "x"})
    with pytest.raises(ConfigError, match="not the spec of a backend of the kind 'endpoint'"):
        backend_from_spec({"kind": "endpoint", "models": "x"})
    with pytest.raises(ConfigError, match="There already is a backend of the kind 'local'"):
        register_backend("local", ScriptedBackend)


class Constant(Backend):
    def __init__(self, model="constant"):
        self._model = model

    @property
    def model(self):
        return self._model

    async def complete(self, request):
        await asyncio.sleep(0)
        raise AssertionError

    def fingerprint(self):
        return {"kind": "constant"}

    def spec(self):
        return {"kind": "constant", "model": self._model}


def test_a_backend_can_be_registered_for_this_process(monkeypatch):
    monkeypatch.setattr("rewardanything_core.backends.registry._registered", {})
    judge = Judge(Constant("mine"), cache="off")
    with pytest.raises(ConfigError, match="no backend of the kind 'constant'"):
        pickle.loads(pickle.dumps(judge))
    register_backend("constant", Constant)
    register_backend("constant", Constant)
    assert "constant" in backend_kinds()
    assert pickle.loads(pickle.dumps(judge)).model == "mine"
    with pytest.raises(ConfigError, match="already is a backend"):
        register_backend("constant", ScriptedBackend)


def test_the_smallest_backend_of_the_page_judges(capsys):
    page = (ROOT / "docs" / "adding-a-backend.md").read_text(encoding="utf-8")
    (smallest,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "wordy" not in block]
    exec(smallest, {})
    assert capsys.readouterr().out == "4.0\n"
