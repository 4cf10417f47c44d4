"""Constructing judges: from weights, from an endpoint, from settings, or from another judge's spec."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardanything_core.backends.base import Backend
from rewardanything_core.backends.budget import LIMITS
from rewardanything_core.backends.endpoint.providers import normalized, provider_of
from rewardanything_core.backends.registry import backend_class, backend_kinds
from rewardanything_core.config import SETTINGS, read_settings
from rewardanything_core.errors import ConfigError, MissingExtraError, RewardAnythingError
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.judging.cascade import Cascade
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
    """A judge that calls a model over the network: any OpenAI-compatible server, or a provider's API.

    Args:
        model: The name of a model on the server ``api_base``, such as ``Qwen/Qwen3-8B``; or ``provider/model``, such as
            ``openai/gpt-5-mini``. ``openai/``, ``hosted_vllm/`` and ``ollama/`` are called over plain HTTP; other
            providers need LiteLLM.
        api_base: URL of the server, up to and including ``/v1``; requests are balanced over several. ``base_url`` means
            the same.
        api_key: The key. None: from ``api_key_env``, else from the provider's own variable. Never stored or shown.
        **options: Fields of `EndpointConfig` (``max_concurrency``, ``timeout``, ``extra_body`` ...) and of
            `JudgeOptions` (``passes``, ``readout`` ...).

    Raises:
        MissingExtraError: the provider needs LiteLLM, which is not installed.
        ConfigError: there is no such option, the arguments contradict each other, or the model names no provider and
            there is no ``api_base``.
    """
    from rewardanything_core.backends.endpoint.backend import EndpointBackend
    from rewardanything_core.backends.endpoint.config import EndpointConfig

    if "base_url" in options:
        if api_base is not None:
            raise ConfigError("api_base and base_url mean the same; give one of them.")
        api_base = options.pop("base_url")

    backend_options, judge_options = _split(options, EndpointConfig, owner="from_endpoint")
    return Judge(EndpointBackend(model, api_base=api_base, api_key=api_key, **backend_options), judge_options)


def load_judge(
    model: Mapping[str, Any] | str | None = None,
    *,
    config: str | Path | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Judge | Jury | Cascade:
    """A judge from settings, or from another judge's spec.

    Settings come from the arguments, then from ``RA_JUDGE_*`` variables, then from ``ra-judge.toml``. Without any, the
    judge is the built-in small model on the CPU.

    Args:
        model: The model: a short name, a Hugging Face hub id or a folder for a model on this machine;
            ``provider/model`` for one over the network; or, with ``api_base``, any name that the server knows. Or what
            ``spec()`` of a judge, jury or cascade returned; then settings are not read. None: that of the settings.
        config: The settings file. None: the nearest ``ra-judge.toml`` from the working folder upwards.
        progress: Called with ``(stage, done, total)`` in bytes while a known small model is downloaded.
        **settings: Any other of `rewardanything_core.config.SETTINGS`, such as ``api_base`` or ``passes``.

    Returns:
        A `Judge`; or a `Jury` or a `Cascade`, if the settings or the spec describe one.

    Raises:
        ConfigError: the spec or a setting is wrong; the message names it and its source.
    """
    if isinstance(model, str):
        settings["model"] = model
    elif model is not None:
        if config is not None or settings:
            raise ConfigError("Give load_judge either a spec or settings, not both.")
        return judge_from_spec(model)
    merged = read_settings(config, settings)
    if "cascade" in merged:
        return _cascade(merged, progress)
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
    return backend_options, JudgeOptions(**_with_explainer(judge_options))


def _with_explainer(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a judge with the explainer's backend in place of its model string."""
    model = options.get("explainer")
    if not isinstance(model, str):
        return options
    settings, applies = settings_for(model)
    settings = {name: value for name, value in settings.items() if SETTINGS[name].belongs not in ("judge", "sampling")}
    explainer = _judge(settings | {"readout": "generate", "cache": "off"}, None, has_own_key=applies)
    return options | {"explainer": explainer.backend}


def _members(members: Sequence[dict[str, Any]], progress: Progress | None) -> list[Judge]:
    """The judges of a jury or cascade; those of one model do not load it twice."""
    judges: list[Judge] = []
    backends: dict[str, Backend] = {}
    for member in members:
        of_backend = {name: member[name] for name in member if SETTINGS[name].belongs in {"any", "local", "endpoint"}}
        key = json.dumps(of_backend, sort_keys=True)
        if key in backends:
            judges.append(Judge(backends[key], **_judge_options(member)))
        else:
            judges.append(_judge(member, progress))
            backends[key] = judges[-1].backend
    return judges


def _cascade(settings: Mapping[str, Any], progress: Progress | None) -> Cascade:
    options = {name: settings[name] for name in ("confidence", "abstain") if name in settings}
    thresholds = settings.get("thresholds")
    members = settings["cascade"]
    if thresholds == "":  # those of the settings are to be replaced
        thresholds = None
    elif any("threshold" in member for member in members):
        if thresholds is not None:
            raise ConfigError("Give either thresholds, a file for the whole cascade, or a threshold for each stage.")
        deciding = members if options.get("abstain") else members[:-1]
        missing = [place for place, member in enumerate(deciding, start=1) if "threshold" not in member]
        if missing or len(deciding) < sum("threshold" in member for member in members):
            where = f"stage {missing[0]} has none" if missing else "the last stage may not have one"
            raise ConfigError(
                f"Of a cascade, every stage that may escalate needs a threshold, and {where}.",
                hint="The last stage escalates only with abstain = true; with threshold = inf a stage never decides.",
            )
        thresholds = [member["threshold"] for member in deciding]
    observers = settings.get("on_verdict", ())
    cascade = Cascade(_members(members, progress), thresholds=thresholds, on_verdict=observers, **options)
    limits = {name: settings[name] for name in LIMITS if name in settings}
    return cascade.with_options(**limits) if limits else cascade


def _jury(settings: Mapping[str, Any], progress: Progress | None) -> Jury:
    jurors = _members(settings["jury"], progress)
    weights = [juror.get("weight", 1.0) for juror in settings["jury"]]
    observers = settings.get("on_verdict", ())
    jury = Jury(jurors, weights=weights, min_jurors=settings.get("min_jurors"), on_verdict=observers)
    limits = {name: settings[name] for name in LIMITS if name in settings}
    return jury.with_options(**limits) if limits else jury


def _judge(settings: dict[str, Any], progress: Progress | None, *, has_own_key: bool = True) -> Judge:
    """The judge that settings describe; ``has_own_key``: whether RA_JUDGE_API_KEY is a key for its model."""
    kind, options = _kind(settings), _judge_options(settings)
    model = settings.get("model")
    _refuse_foreign_settings(settings, kind)
    if kind == "endpoint":
        if model is None:
            raise ConfigError(
                "An endpoint needs a model; set it in the arguments, in RA_JUDGE_MODEL or in ra-judge.toml."
            )
        if has_own_key and os.environ.get("RA_JUDGE_API_KEY"):
            settings.setdefault("api_key_env", "RA_JUDGE_API_KEY")
        return from_endpoint(model, **_pick(settings, "endpoint"), **options)
    if kind != "local":
        try:
            backend = backend_class(kind).from_settings(model, settings.get("backend_options", {}))
        except TypeError as error:
            raise ConfigError(f"The settings do not fit the backend {kind!r}: {error}.") from error
        return Judge(backend, **options)
    if model is not None and settings.get("backend", "auto") == "auto":
        _refuse_unknown_name(model)
    try:
        return from_pretrained(model or DEFAULT_MODEL, progress=progress, **_pick(settings, "local"), **options)
    except MissingExtraError as error:
        if model is None:  # the local model is only the default
            error.hint += (
                f". No judge is set, so it would be {DEFAULT_MODEL} on this machine; "
                "for another one set RA_JUDGE_MODEL, model in ra-judge.toml, or an argument."
            )
        raise


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


def _judge_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = _pick(settings, "judge")
    if sampling := _pick(settings, "sampling"):
        options["sampling"] = SamplingParams(**sampling)
    return _with_explainer(options)


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


def resolve_judge(judge: BaseJudge | str | None) -> BaseJudge | None:
    """The judge that an argument ``judge=`` means; all integrations call this.

    A string names a model as `load_judge` takes it: ``openai/gpt-5-mini``, ``openai:/gpt-5-mini`` as MLflow writes it,
    ``openai:gpt-5-mini`` as LangChain does, a short name, or a hub id. The other settings come from ``RA_JUDGE_*`` and
    ``ra-judge.toml``, except those of the model there, if it is a different one. The same string gives the same judge
    while that judge is in use.

    Args:
        judge: A judge, which is returned; a model string; or None for `default_judge`, which is not loaded yet.

    Raises:
        ConfigError: it is none of these, the string names no model, or a setting is wrong.
        AuthenticationError: the provider's key is missing.
        MissingExtraError: the model needs a package that is not installed.
    """
    if judge is None or isinstance(judge, BaseJudge):
        return judge
    if not isinstance(judge, str) or not judge.strip():
        raise ConfigError(
            "judge must be a Judge or Jury, such as load_judge(model=...), or a model string such as "
            f"'openai/gpt-5-mini', not {type(judge).__name__} {judge!r:.80}."
        )
    settings, is_configured = settings_for(judge.strip())
    addresses_and_keys = (
        item for item in os.environ.items() if item[0].endswith(("_API_BASE", "_BASE_URL", "_API_KEY"))
    )
    key = json.dumps([settings, hash(frozenset(addresses_and_keys))], sort_keys=True)
    with _resolve_lock:
        if (resolved := _resolved.get(key)) is None:
            resolved = _judge(settings, None, has_own_key=is_configured)
            check_key = getattr(resolved.backend, "require_key", None)
            if check_key is not None and settings.get("cache") != "read":
                check_key()
            _resolved[key] = resolved
        return resolved


def settings_for(model: str) -> tuple[dict[str, Any], bool]:
    """The settings of a model string.

    Args:
        model: The model string.

    Returns:
        The settings, and whether all of those in ``RA_JUDGE_*`` and ``ra-judge.toml`` apply to this model. If they
        describe another model, only those of every judge apply.
    """
    settings = read_settings()
    is_single = not settings.keys() & {"jury", "cascade"}
    applies = is_single and normalized(settings.get("model", model)) == normalized(model)
    if not applies:
        settings = {name: value for name, value in settings.items() if SETTINGS[name].belongs in ("judge", "sampling")}
    return settings | {"model": model}, applies


_resolve_lock = threading.Lock()
_resolved: weakref.WeakValueDictionary[str, Judge] = weakref.WeakValueDictionary()
"""Settings -> the judge made of them, so that scorers of one model share its connections or weights."""

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
    return "endpoint" if is_remote(model, settings.get("api_base")) else "local"


def _pick(settings: Mapping[str, Any], belongs: str) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if SETTINGS[name].belongs == belongs}


def _refuse_foreign_settings(settings: Mapping[str, Any], kind: str) -> None:
    others = {"local", "endpoint", "plugin"} - {kind if kind in ("local", "endpoint") else "plugin"}
    foreign = [name for name in settings if SETTINGS[name].belongs in others]
    if foreign and settings.get("backend", "auto") != "auto":
        raise ConfigError(f"A judge with backend = {kind!r} has no use for: {', '.join(foreign)}.")
