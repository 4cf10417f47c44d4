"""Constructing judges: from weights, from an endpoint, from settings, or from another judge's spec."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardanything_core.backends.base import Backend
from rewardanything_core.backends.registry import backend_class, backend_kinds
from rewardanything_core.config import SETTINGS, read_settings
from rewardanything_core.errors import ConfigError, MissingExtraError, RewardAnythingError
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.judging.judge import Judge
from rewardanything_core.judging.jury import Jury, judge_from_spec
from rewardanything_core.options import JudgeOptions
from rewardanything_core.sampling import SamplingParams
from rewardanything_core.weights.catalog import DEFAULT_MODEL, KNOWN_MODELS
from rewardanything_core.weights.fetch import fetch

if TYPE_CHECKING:
    from rewardanything_core.weights.catalog import Progress

REWARDANYTHING_8B = "WisdomShell/RewardAnything-8B-v1"
"""The RewardAnything model on the Hugging Face hub; it needs a GPU."""

PROVIDERS = frozenset(
    """
    anthropic azure azure_ai bedrock cerebras cohere databricks deepinfra deepseek fireworks_ai gemini groq hosted_vllm
    litellm_proxy lm_studio mistral nvidia_nim ollama ollama_chat openai openrouter perplexity replicate sagemaker
    sambanova together_ai vertex_ai vllm watsonx xai xinference
    """.split()
)
"""Prefixes of a model string (``openai/gpt-4o-mini``) that mean a model over the network."""


def from_pretrained(
    model: str | Path = REWARDANYTHING_8B,
    *,
    quantization_config: Any = None,
    progress: Progress | None = None,
    **options: Any,
) -> Judge:
    """A judge that runs a chat model on this machine through transformers.

    Args:
        model: Hugging Face hub id, a folder, a ``.gguf`` file, or a name from ``ra-judge models``.
        quantization_config: Passed to transformers, in place of ``quantization``.
        progress: Called with ``(stage, done, total)`` in bytes while a known small model is downloaded.
        **options: Fields of `LocalConfig` (``device``, ``dtype``, ``max_batch_size`` ...) and of `JudgeOptions`
            (``passes``, ``readout`` ...).

    Raises:
        MissingExtraError: torch or transformers is not installed.
        ConfigError: there is no such model, device or option.
        ModelFetchError: a known small model could not be downloaded.
    """
    from rewardanything_core.backends.local.backend import LocalBackend
    from rewardanything_core.backends.local.config import LocalConfig
    from rewardanything_core.backends.local.model_loading import require

    backend_options, judge_options = _split(options, LocalConfig, owner="from_pretrained")
    name, path = str(model), Path(model)
    if name in KNOWN_MODELS:
        require()  # before a download that could not be used
        path = fetch(name, progress=progress)
    elif path.suffix == ".gguf" and path.is_file():
        path, backend_options["gguf_file"] = path.parent, path.name
    backend = LocalBackend(
        str(path) if path.exists() else name,
        quantization_config=quantization_config,
        **{"name": name, **backend_options},
    )
    return Judge(backend, judge_options)


def from_endpoint(
    model: str,
    api_base: str | Sequence[str] | None = None,
    api_key: str | None = None,
    **options: Any,
) -> Judge:
    """A judge that calls a model over the network through LiteLLM.

    Args:
        model: A LiteLLM model string: ``hosted_vllm/WisdomShell/RewardAnything-8B-v1``, ``openai/gpt-4o-mini``.
        api_base: URL of the server, up to and including ``/v1``; requests are balanced over several.
        api_key: The key. None: from ``api_key_env``, else from the provider's own variable. Never stored or shown.
        **options: Fields of `EndpointConfig` (``max_concurrency``, ``timeout``, ``extra_body`` ...) and of
            `JudgeOptions` (``passes``, ``readout`` ...).

    Raises:
        MissingExtraError: litellm is not installed.
        ConfigError: there is no such option, or the arguments contradict each other.
    """
    from rewardanything_core.backends.endpoint.backend import EndpointBackend
    from rewardanything_core.backends.endpoint.config import EndpointConfig

    backend_options, judge_options = _split(options, EndpointConfig, owner="from_endpoint")
    return Judge(EndpointBackend(model, api_base=api_base, api_key=api_key, **backend_options), judge_options)


def load_judge(
    spec: Mapping[str, Any] | None = None,
    *,
    config: str | Path | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Judge | Jury:
    """A judge from another judge's spec, or from settings.

    Settings come from the arguments, then from ``RA_JUDGE_*`` variables, then from ``ra-judge.toml``. Without any, the
    judge is the built-in small model on the CPU.

    Args:
        spec: What ``Judge.spec()`` or ``Jury.spec()`` returned; then settings are not read.
        config: The settings file. None: the nearest ``ra-judge.toml`` from the working folder upwards.
        progress: Called with ``(stage, done, total)`` in bytes while a known small model is downloaded.
        **settings: Any of `rewardanything_core.config.SETTINGS`: ``model``, ``api_base`` or ``passes``.

    Returns:
        A `Judge`; or a `Jury`, if the settings or the spec describe one.

    Raises:
        ConfigError: the spec or a setting is wrong; the message names it and its source.
    """
    if spec is not None:
        if config is not None or settings:
            raise ConfigError("Give load_judge either a spec or settings, not both.")
        return judge_from_spec(spec)
    merged = read_settings(config, settings)
    return _jury(merged, progress) if "jury" in merged else _judge(merged, progress)


def _split(options: dict[str, Any], config: type, *, owner: str) -> tuple[dict[str, Any], JudgeOptions]:
    """The fields of a backend's config among the options, and the rest as `JudgeOptions`."""
    of_config = {field.name for field in dataclasses.fields(config)}
    of_judge = {field.name for field in dataclasses.fields(JudgeOptions)}
    for name in options:
        if name not in of_config | of_judge:
            close = difflib.get_close_matches(name, of_config | of_judge, n=1)
            suggestion = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(
                f"{owner} has no option {name!r}.{suggestion} Options: {', '.join(sorted(of_config | of_judge))}."
            )
    backend_options = {name: value for name, value in options.items() if name in of_config}
    judge_options = {name: value for name, value in options.items() if name not in of_config}
    return backend_options, JudgeOptions(**judge_options)


def _jury(settings: Mapping[str, Any], progress: Progress | None) -> Jury:
    jurors: list[Judge] = []
    backends: dict[str, Backend] = {}
    for juror in settings["jury"]:
        of_backend = {name: juror[name] for name in juror if SETTINGS[name].belongs in {"any", "local", "endpoint"}}
        key = json.dumps(of_backend, sort_keys=True)
        if key in backends:  # two jurors of one model do not load it twice
            jurors.append(Judge(backends[key], **_judge_options(juror)))
        else:
            jurors.append(_judge(juror, progress))
            backends[key] = jurors[-1].backend
    weights = [juror.get("weight", 1.0) for juror in settings["jury"]]
    return Jury(jurors, weights=weights, min_jurors=settings.get("min_jurors"))


def _judge(settings: dict[str, Any], progress: Progress | None) -> Judge:
    kind, options = _kind(settings), _judge_options(settings)
    model = settings.get("model")
    _refuse_foreign_settings(settings, kind)
    if kind == "endpoint":
        if model is None:
            raise ConfigError(
                "An endpoint needs a model; set it in the arguments, in RA_JUDGE_MODEL or in ra-judge.toml."
            )
        if os.environ.get("RA_JUDGE_API_KEY"):
            settings.setdefault("api_key_env", "RA_JUDGE_API_KEY")
        return from_endpoint(model, **_pick(settings, "endpoint"), **options)
    if kind != "local":
        try:
            backend = backend_class(kind).from_settings(model, settings.get("backend_options", {}))
        except TypeError as error:
            raise ConfigError(f"The settings do not fit the backend {kind!r}: {error}.") from error
        return Judge(backend, **options)
    try:
        return from_pretrained(model or DEFAULT_MODEL, progress=progress, **_pick(settings, "local"), **options)
    except MissingExtraError as error:
        if model is None:  # the local model is only the default
            error.hint += (
                f". No judge is set, so it would be {DEFAULT_MODEL} on this machine; "
                "for another one set RA_JUDGE_MODEL, model in ra-judge.toml, or an argument."
            )
        raise


def _judge_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = _pick(settings, "judge")
    if sampling := _pick(settings, "sampling"):
        options["sampling"] = SamplingParams(**sampling)
    return options


_default: list[BaseJudge] = []
_default_lock = threading.Lock()
_default_error: list[RewardAnythingError] = []


def default_judge() -> BaseJudge:
    """The judge that ``judge=None`` means in every integration: one `load_judge()` for the process.

    It is made when first needed, by any thread, unless `set_default_judge` set one. Threads that wait while making it
    fails get the same error; the next call tries again.
    """
    previous = list(_default_error)
    with _default_lock:
        if _default:
            return _default[0]
        if _default_error != previous:  # another thread tried while this one waited
            raise _default_error[0]
        try:
            _default.append(load_judge())
        except RewardAnythingError as error:
            _default_error[:] = [error]
            raise
        return _default[0]


def set_default_judge(judge: BaseJudge | None) -> None:
    """Set the judge that ``judge=None`` means from now on.

    Args:
        judge: The judge. None: `load_judge()` again, when next needed.
    """
    with _default_lock:
        _default[:] = [] if judge is None else [judge]


def _kind(settings: Mapping[str, Any]) -> str:
    """The kind of backend that the settings describe."""
    kind, model = str(settings.get("backend", "auto")), str(settings.get("model", ""))
    if kind != "auto":
        if kind not in (kinds := backend_kinds()):
            raise ConfigError(f"backend must be auto or one of {', '.join(kinds)}, not {kind!r}.")
        return kind
    if model.startswith("scripted:"):
        return "scripted"
    if "api_base" in settings or (model.partition("/")[0] in PROVIDERS and not Path(model).exists()):
        return "endpoint"
    return "local"


def _pick(settings: Mapping[str, Any], belongs: str) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if SETTINGS[name].belongs == belongs}


def _refuse_foreign_settings(settings: Mapping[str, Any], kind: str) -> None:
    others = {"local", "endpoint", "plugin"} - {kind if kind in ("local", "endpoint") else "plugin"}
    foreign = [name for name in settings if SETTINGS[name].belongs in others]
    if foreign and settings.get("backend", "auto") != "auto":
        raise ConfigError(f"A judge with backend = {kind!r} has no use for: {', '.join(foreign)}.")
