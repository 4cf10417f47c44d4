"""From settings to the backend that runs the model: on this machine, over the network, or a registered one."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardanything_core.backends.base import Backend
from rewardanything_core.backends.endpoint.providers import normalized, provider_of
from rewardanything_core.backends.registry import backend_class, backend_kinds
from rewardanything_core.config import SETTINGS
from rewardanything_core.errors import ConfigError, MissingExtraError
from rewardanything_core.prompting.response_templates import is_scalar
from rewardanything_core.weights.catalog import DEFAULT_MODEL, KNOWN_MODELS
from rewardanything_core.weights.fetch import fetch

if TYPE_CHECKING:
    from rewardanything_core.weights.catalog import Progress


def local_backend(
    model: str | Path,
    *,
    quantization_config: Any = None,
    progress: Progress | None = None,
    scalar: bool = False,
    **options: Any,
) -> Backend:
    """The backend that runs a model on this machine.

    Args:
        model: Hugging Face hub id, a folder, a ``.gguf`` file, or a name from ``ra-judge models``.
        quantization_config: Passed to transformers, in place of ``quantization``.
        progress: Called with ``(stage, done, total)`` in bytes while a known small model is downloaded.
        scalar: Whether it is a scalar reward model instead of a chat model.
        **options: Fields of `LocalConfig`.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        ConfigError: there is no such model, device or option.
        ModelFetchError: a known small model could not be downloaded.
    """
    from rewardanything_core.backends.local.backend import LocalBackend
    from rewardanything_core.backends.local.model_loading import require

    name, path = str(model), Path(model)
    if name in KNOWN_MODELS:
        require()  # before a download that could not be used
        path = fetch(name, progress=progress)
    elif path.suffix == ".gguf" and path.is_file():
        path, options["gguf_file"] = path.parent, path.name
    where, options = str(path) if path.exists() else name, {"name": name, **options}
    if not scalar:
        return LocalBackend(where, quantization_config=quantization_config, **options)
    from rewardanything_core.backends.local.scalar import ScalarBackend

    if quantization_config is not None:
        raise ConfigError("A scalar reward model takes the option quantization, and no quantization_config.")
    return ScalarBackend(where, **options)


def backend_from_settings(
    settings: Mapping[str, Any], progress: Progress | None = None, *, has_own_key: bool = True
) -> Backend:
    """The backend that settings describe.

    Args:
        settings: Settings by name. Those of the judge are not used.
        progress: Called with ``(stage, done, total)`` in bytes while a known small model is downloaded.
        has_own_key: Whether ``RA_JUDGE_API_KEY`` is a key for this model.

    Raises:
        ConfigError: there is no such model or backend, or a setting does not apply to it.
        MissingExtraError: it needs a package that is not installed.
        ModelFetchError: a known small model could not be downloaded.
    """
    kind, model = kind_of(settings), settings.get("model")
    _refuse_foreign_settings(settings, kind)
    if kind == "endpoint":
        from rewardanything_core.backends.endpoint.backend import EndpointBackend

        if model is None:
            raise ConfigError(
                "An endpoint needs a model; set it in the arguments, in RA_JUDGE_MODEL or in ra-judge.toml."
            )
        key = {"api_key_env": "RA_JUDGE_API_KEY"} if has_own_key and os.environ.get("RA_JUDGE_API_KEY") else {}
        return EndpointBackend(model, **key | pick(settings, "endpoint"))
    if kind != "local":
        try:
            return backend_class(kind).from_settings(model, settings.get("backend_options", {}))
        except TypeError as error:
            raise ConfigError(f"The settings do not fit the backend {kind!r}: {error}.") from error
    if model is not None and settings.get("backend", "auto") == "auto":
        _refuse_unknown_name(model)
    try:
        return local_backend(
            model or DEFAULT_MODEL,
            progress=progress,
            scalar=is_scalar(settings.get("template")),
            **pick(settings, "local"),
        )
    except MissingExtraError as error:
        if model is None:  # the local model is only the default
            error.hint += (
                f". No judge is set, so it would be {DEFAULT_MODEL} on this machine; "
                "for another one set RA_JUDGE_MODEL, model in ra-judge.toml, or an argument."
            )
        raise


def kind_of(settings: Mapping[str, Any]) -> str:
    """The kind of backend that the settings describe: ``local``, ``endpoint``, ``scripted`` or a registered one.

    Raises:
        ConfigError: ``backend`` names none.
    """
    kind, model = str(settings.get("backend", "auto")), str(settings.get("model", ""))
    if kind != "auto":
        if kind not in (kinds := backend_kinds()):
            raise ConfigError(f"backend must be auto or one of {', '.join(kinds)}, not {kind!r}.")
        return kind
    if model.startswith("scripted:"):
        return "scripted"
    return "endpoint" if is_remote(model, settings.get("api_base")) else "local"


def pick(settings: Mapping[str, Any], belongs: str) -> dict[str, Any]:
    """Some of the settings.

    Args:
        settings: Settings by name.
        belongs: What they belong to; see `Setting.belongs`.
    """
    return {name: value for name, value in settings.items() if SETTINGS[name].belongs == belongs}


def is_remote(model: str, api_base: object = None) -> bool:
    """Whether a model string means a model over the network.

    Args:
        model: The model string.
        api_base: The address of the model's server, if one is given.
    """
    return bool(api_base) or (provider_of(normalized(model)) is not None and not Path(model).exists())


def check_model(model: str, api_base: str | Sequence[str] | None = None) -> None:
    """Check a model's name and address without loading or calling anything.

    Args:
        model: The model, as `load_judge` takes it.
        api_base: The address of its server. None: there is none.

    Raises:
        ConfigError: it names no model, or the address is none.
    """
    from rewardanything_core.backends.endpoint.config import EndpointConfig

    if is_remote(model, api_base):
        EndpointConfig(model=model, api_base=api_base)
    elif not model.startswith("scripted:"):
        _refuse_unknown_name(model)


def _refuse_foreign_settings(settings: Mapping[str, Any], kind: str) -> None:
    others = {"local", "endpoint", "plugin"} - {kind if kind in ("local", "endpoint") else "plugin"}
    foreign = [name for name in settings if SETTINGS[name].belongs in others]
    if foreign and settings.get("backend", "auto") != "auto":
        raise ConfigError(f"A judge with backend = {kind!r} has no use for: {', '.join(foreign)}.")


def _refuse_unknown_name(model: str) -> None:
    """Refuse a name that could only be a mistyped one, before it is looked up on the hub."""
    if "/" in model or model in KNOWN_MODELS or Path(model).exists():
        return
    close = difflib.get_close_matches(model, KNOWN_MODELS, n=1)
    suggestion = f" Did you mean {close[0]!r}?" if close else ""
    raise ConfigError(
        f"There is no model {model!r}.{suggestion}",
        hint="Write provider/model for a hosted model, such as 'openai/gpt-5-mini'; add api_base (--api-base), the "
        "server's URL, for a model on your own server; or name a folder, a Hugging Face id (owner/name), or a short "
        "name from `ra-judge models`.",
    )
