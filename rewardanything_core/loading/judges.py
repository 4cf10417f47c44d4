"""Judges from weights, from an endpoint, from settings, or from another judge's spec."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardanything_core.backends.base import Backend
from rewardanything_core.backends.budget import LIMITS
from rewardanything_core.backends.endpoint.providers import normalized
from rewardanything_core.config import SETTINGS, read_settings
from rewardanything_core.errors import ConfigError
from rewardanything_core.judging.cascade import Cascade
from rewardanything_core.judging.judge import Judge
from rewardanything_core.judging.jury import Jury, judge_from_spec
from rewardanything_core.loading.backends import backend_from_settings, local_backend, pick
from rewardanything_core.options import JudgeOptions
from rewardanything_core.prompting.response_templates import is_scalar
from rewardanything_core.sampling import SamplingParams

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
    from rewardanything_core.backends.local.config import LocalConfig

    backend_options, judge_options = _split(options, LocalConfig, owner="from_pretrained")
    backend = local_backend(
        model,
        quantization_config=quantization_config,
        progress=progress,
        scalar=is_scalar(judge_options.template),
        **backend_options,
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
    return _jury(merged, progress) if "jury" in merged else judge_from_settings(merged, progress)


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
    return options | {"explainer": backend_from_settings(settings, has_own_key=applies)}


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
            judges.append(judge_from_settings(member, progress))
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


def judge_from_settings(settings: dict[str, Any], progress: Progress | None, *, has_own_key: bool = True) -> Judge:
    """The judge that the settings of a single judge describe.

    Args:
        settings: Settings by name.
        progress: Called with ``(stage, done, total)`` in bytes while a known small model is downloaded.
        has_own_key: Whether ``RA_JUDGE_API_KEY`` is a key for its model.

    Raises:
        ConfigError: a setting is wrong.
        RewardAnythingError: whatever making its backend raises.
    """
    options = JudgeOptions(**_judge_options(settings))  # before a model is loaded
    return Judge(backend_from_settings(settings, progress, has_own_key=has_own_key), options)


def _judge_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = pick(settings, "judge")
    if sampling := pick(settings, "sampling"):
        options["sampling"] = SamplingParams(**sampling)
    return _with_explainer(options)


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
