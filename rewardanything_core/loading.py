"""Making judges: from weights, from an endpoint, from settings, or from another judge's spec."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast

from rewardanything_core.backends.base import Backend
from rewardanything_core.config import SETTINGS, read_settings
from rewardanything_core.errors import ConfigError, MissingExtraError, RewardAnythingError
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.judging.judge import Judge
from rewardanything_core.judging.jury import Jury
from rewardanything_core.options import JudgeOptions
from rewardanything_core.prompting.templates import Template
from rewardanything_core.sampling import SamplingParams
from rewardanything_core.weights.catalog import DEFAULT_MODEL, KNOWN_MODELS
from rewardanything_core.weights.fetch import fetch

if TYPE_CHECKING:
    from rewardanything_core.weights.catalog import Progress

REWARDANYTHING_8B = "WisdomShell/RewardAnything-8B-v1"
"""The RewardAnything model on the Hugging Face hub; it wants a GPU."""

PROVIDERS = frozenset(
    """
    anthropic azure azure_ai bedrock cerebras cohere databricks deepinfra deepseek fireworks_ai gemini groq hosted_vllm
    litellm_proxy lm_studio mistral nvidia_nim ollama ollama_chat openai openrouter perplexity replicate sagemaker
    sambanova together_ai vertex_ai vllm watsonx xai xinference
    """.split()
)
"""First parts of a model string (``openai/gpt-4o-mini``) that say it is to be asked over the network."""


def from_pretrained(
    model: str | Path = REWARDANYTHING_8B,
    *,
    device: str = "auto",
    dtype: str = "auto",
    device_map: str | Mapping[str, Any] | None = None,
    quantization: Literal["8bit", "4bit"] | None = None,
    quantization_config: Any = None,
    trust_remote_code: bool = False,
    revision: str | None = None,
    gguf_file: str | None = None,
    max_batch_size: int = 16,
    max_batch_tokens: int = 32_768,
    progress: Progress | None = None,
    **options: Unpack[JudgeOptions],
) -> Judge:
    """A judge that runs a chat model on this machine through transformers.

    Args:
        model: Hugging Face hub id, a folder, a ``.gguf`` file, or a name from ``ra-judge models``.
        device: ``auto``, ``cuda``, ``cuda:N``, ``mps`` or ``cpu``.
        dtype: ``auto`` or the name of a torch dtype; see `LocalBackend`.
        device_map: Passed to transformers, to spread a model over devices.
        quantization: ``8bit`` or ``4bit``, so that the model takes less memory; see `LocalBackend`.
        quantization_config: Passed to transformers, in place of ``quantization``.
        trust_remote_code: Run Python code that comes with the model.
        revision: Branch, tag or commit on the hub.
        gguf_file: Name of a GGUF file in the folder or repository.
        max_batch_size: Most replies written at once.
        max_batch_tokens: Most prompt tokens in a batch, padding included.
        progress: Told how the download of one of the small known models goes: ``(stage, done, total)`` in bytes.
        **options: See `JudgeOptions`.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        ConfigError: there is no such model or device.
        ModelFetchError: a known small model could not be fetched.
    """
    from rewardanything_core.backends.local.backend import LocalBackend
    from rewardanything_core.backends.local.model_loading import require

    name, path = str(model), Path(model)
    if name in KNOWN_MODELS:
        require()  # before a download that could not be used
        path = fetch(name, progress=progress)
    elif path.suffix == ".gguf" and path.is_file():
        path, gguf_file = path.parent, path.name
    backend = LocalBackend(
        str(path) if path.exists() else name,
        device=device,
        dtype=dtype,
        device_map=device_map,
        quantization=quantization,
        quantization_config=quantization_config,
        trust_remote_code=trust_remote_code,
        revision=revision,
        gguf_file=gguf_file,
        max_batch_size=max_batch_size,
        max_batch_tokens=max_batch_tokens,
        name=name,
    )
    return Judge(backend, **options)


def from_endpoint(
    model: str,
    api_base: str | Sequence[str] | None = None,
    api_key: str | None = None,
    max_concurrency: int = 64,
    *,
    api_key_env: str | None = None,
    timeout: float = 120.0,
    attempts: int = 5,
    patience: float = 120.0,
    hedge_after: float | None = None,
    response_format: Literal["auto", "json_schema", "off"] = "auto",
    context_window: int | None = None,
    cache_as: str | None = None,
    extra_body: Mapping[str, Any] | None = None,
    input_cost_per_token: float | None = None,
    output_cost_per_token: float | None = None,
    **options: Unpack[JudgeOptions],
) -> Judge:
    """A judge that asks a model over the network through LiteLLM.

    Args:
        model: A LiteLLM model string: ``hosted_vllm/WisdomShell/RewardAnything-8B-v1``, ``openai/gpt-4o-mini``.
        api_base: URL of the server, up to and with ``/v1``; several are balanced.
        api_key: The key. None: from ``api_key_env``, else from the provider's own variable. Never stored or shown.
        max_concurrency: Most requests in flight.
        api_key_env: Name of the environment variable that holds the key.
        timeout: Seconds that one attempt may take.
        attempts: How often a request is tried on rate limits, server errors, timeouts and lost connections.
        patience: Seconds to wait for a server that has answered before and is gone, as while it is started again.
        hedge_after: Seconds after which a request without a reply is sent once more, while there is room. None: never.
        response_format: Ask for the verdict by JSON schema: ``auto`` where it is honoured, ``json_schema`` always,
            ``off`` never.
        context_window: The model's window in tokens, where the server does not say.
        cache_as: A name for the model in the store's key, so that servers of the same model share verdicts. None: model
            and ``api_base`` together.
        extra_body: More fields for each request.
        input_cost_per_token: US dollars, for the usage's cost. None: what LiteLLM knows.
        output_cost_per_token: The same for tokens written.
        **options: See `JudgeOptions`.

    Raises:
        MissingExtraError: litellm is not installed.
        ConfigError: the arguments contradict each other.
    """
    from rewardanything_core.backends.endpoint.backend import EndpointBackend

    backend = EndpointBackend(
        model,
        api_base=api_base,
        api_key=api_key,
        api_key_env=api_key_env,
        max_concurrency=max_concurrency,
        timeout=timeout,
        attempts=attempts,
        patience=patience,
        hedge_after=hedge_after,
        response_format=response_format,
        context_window=context_window,
        cache_as=cache_as,
        extra_body=extra_body,
        input_cost_per_token=input_cost_per_token,
        output_cost_per_token=output_cost_per_token,
    )
    return Judge(backend, **options)


def load_judge(
    spec: Mapping[str, Any] | None = None,
    *,
    config: str | Path | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> BaseJudge:
    """A judge from another judge's spec, or from settings.

    Settings come from the arguments, then from ``RA_JUDGE_*`` variables, then from ``ra-judge.toml``; with none at all
    it is the small embedded model on the CPU.

    Args:
        spec: What ``Judge.spec()`` or ``Jury.spec()`` gave; then there are no settings.
        config: The settings file. None: the nearest ``ra-judge.toml`` from the working folder upwards.
        progress: Told how the download of one of the small known models goes.
        **settings: Any of `rewardanything_core.config.SETTINGS`: ``model``, ``api_base`` or ``passes``.

    Returns:
        A `Judge`; or a `Jury`, where the settings or the spec are those of one.

    Raises:
        ConfigError: the spec or a setting is wrong; the message says which and where.
    """
    if spec is not None:
        if config is not None or settings:
            raise ConfigError("Give load_judge either a spec or settings, not both.")
        return _from_spec(spec, {})
    given = read_settings(config, settings)
    return _jury(given, progress) if "jury" in given else _judge(given, progress)


def _jury(given: Mapping[str, Any], progress: Progress | None) -> Jury:
    jurors: list[Judge] = []
    backends: dict[str, Backend] = {}
    for settings in given["jury"]:
        told = {name: settings[name] for name in settings if SETTINGS[name].belongs in {"any", "local", "endpoint"}}
        key = json.dumps(told, sort_keys=True)
        if key in backends:  # two jurors of one model do not load it twice
            jurors.append(Judge(backends[key], **_options(settings)))
        else:
            jurors.append(_judge(settings, progress))
            backends[key] = jurors[-1].backend
    weights = [settings.get("weight", 1.0) for settings in given["jury"]]
    return Jury(jurors, weights=weights, min_jurors=given.get("min_jurors"))


def _judge(given: dict[str, Any], progress: Progress | None) -> Judge:
    kind, options = _kind(given), _options(given)
    model = given.get("model")
    _refuse_others(given, kind)
    if kind == "scripted":
        from rewardanything_core.backends.scripted import ScriptedBackend

        return Judge(ScriptedBackend.from_spec(str(model).removeprefix("scripted:")), **options)
    if kind == "endpoint":
        if model is None:
            raise ConfigError(
                "An endpoint needs a model; set it in the arguments, in RA_JUDGE_MODEL or in ra-judge.toml."
            )
        if os.environ.get("RA_JUDGE_API_KEY"):
            given.setdefault("api_key_env", "RA_JUDGE_API_KEY")
        return from_endpoint(model, **_pick(given, "endpoint"), **options)
    try:
        return from_pretrained(model or DEFAULT_MODEL, progress=progress, **_pick(given, "local"), **options)
    except MissingExtraError as error:
        if model is None:  # nobody asked for a model on this machine
            error.hint += (
                f". No judge is set, so that it would be {DEFAULT_MODEL} on this machine; "
                "for another one set RA_JUDGE_MODEL, model in ra-judge.toml, or an argument."
            )
        raise


def _options(given: Mapping[str, Any]) -> JudgeOptions:
    options: dict[str, Any] = _pick(given, "judge")
    if sampling := _pick(given, "sampling"):
        options["sampling"] = SamplingParams(**sampling)
    return cast("JudgeOptions", options)


_default: list[BaseJudge] = []
_default_lock = threading.Lock()
_default_error: list[RewardAnythingError] = []


def default_judge() -> BaseJudge:
    """The judge that ``judge=None`` means in every integration: one `load_judge()` for the process.

    It is made when it is first needed, from whichever thread, or is the one last given to `set_default_judge`. Threads
    that wait while it cannot be made get the same error; the next call tries again.
    """
    known = list(_default_error)
    with _default_lock:
        if _default:
            return _default[0]
        if _default_error != known:  # somebody tried while this thread waited
            raise _default_error[0]
        try:
            _default.append(load_judge())
        except RewardAnythingError as error:
            _default_error[:] = [error]
            raise
        return _default[0]


def set_default_judge(judge: BaseJudge | None) -> None:
    """Choose what ``judge=None`` means from now on. None: `load_judge()` again, when next needed."""
    with _default_lock:
        _default[:] = [] if judge is None else [judge]


def _kind(given: Mapping[str, Any]) -> str:
    """Which backend the settings speak of."""
    kind, model = given.get("backend", "auto"), str(given.get("model", ""))
    if kind not in ("auto", "local", "endpoint", "scripted"):
        raise ConfigError(f"backend must be auto, local, endpoint or scripted, not {kind!r}.")
    if kind != "auto":
        return str(kind)
    if model.startswith("scripted:"):
        return "scripted"
    if "api_base" in given or (model.partition("/")[0] in PROVIDERS and not Path(model).exists()):
        return "endpoint"
    return "local"


def _pick(given: Mapping[str, Any], belongs: str) -> dict[str, Any]:
    return {name: value for name, value in given.items() if SETTINGS[name].belongs == belongs}


def _refuse_others(given: Mapping[str, Any], kind: str) -> None:
    wrong = [name for name in given if SETTINGS[name].belongs in {"local", "endpoint"} - {kind}]
    if wrong and given.get("backend", "auto") != "auto":
        raise ConfigError(f"{', '.join(wrong)} mean nothing to a judge with backend = {kind!r}.")


def _from_spec(spec: Mapping[str, Any], backends: dict[str, Backend]) -> BaseJudge:
    """The judge or jury of a spec; ``backends`` are those made so far, by their own specs."""
    try:
        if "jurors" in spec:
            jurors = [_from_spec(juror, backends) for juror in spec["jurors"]]
            return Jury(jurors, weights=spec["weights"], min_jurors=spec["min_jurors"])
        key, options = json.dumps(spec["backend"], sort_keys=True), dict(spec["options"])
        options["sampling"] = SamplingParams(**options["sampling"])
        if options["template"] is not None:
            options["template"] = Template(**options["template"])
        if key not in backends:
            arguments = dict(spec["backend"])
            backends[key] = _backend(arguments.pop("kind"), arguments)
        return Judge(backends[key], **options)
    except (KeyError, TypeError) as error:
        raise ConfigError(f"This is not the spec of a judge: {error!r}.") from error


def _backend(kind: str, arguments: dict[str, Any]) -> Backend:
    if kind == "local":
        from rewardanything_core.backends.local.backend import LocalBackend

        if arguments.get("name") in KNOWN_MODELS:
            arguments["model"] = str(fetch(arguments["name"]))
        return LocalBackend(**arguments)
    if kind == "endpoint":
        from rewardanything_core.backends.endpoint.backend import EndpointBackend

        return EndpointBackend(**arguments)
    if kind == "scripted":
        from rewardanything_core.backends.scripted import ScriptedBackend

        return ScriptedBackend.from_spec(**arguments)
    raise ConfigError(f"There is no backend of the kind {kind!r}.")
