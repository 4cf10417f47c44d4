"""Settings: one flat namespace, from arguments, ``RA_JUDGE_*`` variables and ``ra-judge.toml``, in that order."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardanything_core.backends.budget import LIMITS
from rewardanything_core.backends.endpoint.config import EndpointConfig
from rewardanything_core.backends.local.config import LocalConfig
from rewardanything_core.errors import ConfigError
from rewardanything_core.fields import setting_types
from rewardanything_core.options import JudgeOptions
from rewardanything_core.sampling import SamplingParams

FILE_NAME = "ra-judge.toml"
PREFIX = "RA_JUDGE_"

_MEMBERS = {"jury": "juror", "cascade": "stage"}
"""Settings that list several judges -> what one of them is called."""

_SHARED_SETTINGS = {*_MEMBERS, "min_jurors", "thresholds", "confidence", "abstain", *LIMITS}
"""Settings of a whole jury or cascade, which its members do not have."""

_SYNONYMS = {"base_url": "api_base"}
"""Names that other libraries use -> the setting."""

_NOT_SETTINGS = {"RA_JUDGE_CONFIG", "RA_JUDGE_HOME", "RA_JUDGE_API_KEY"}


@dataclass(frozen=True)
class Setting:
    """Type and purpose of one setting."""

    kind: type
    """Type of its value; a list also accepts a string with items separated by commas."""

    belongs: str
    """``judge``, ``sampling``, ``jury``, ``cascade``, or a backend it configures: ``local``, ``endpoint``, ``plugin``,
    ``any``."""


def _settings_of(options: type, belongs: str, *, without: frozenset[str]) -> dict[str, Setting]:
    kinds = setting_types(options)
    return {name: Setting(kind, belongs) for name, kind in kinds.items() if name not in without}


_NOT_IN_FILES = frozenset({"model", "name", "sampling", "extra_body"})
"""Options that are settings of another kind, or that only a program can set."""

SETTINGS: dict[str, Setting] = {
    "model": Setting(str, "any"),
    "backend": Setting(str, "any"),
    "backend_options": Setting(dict, "plugin"),
    **_settings_of(JudgeOptions, "judge", without=_NOT_IN_FILES),
    "on_verdict": Setting(list, "judge"),
    **_settings_of(SamplingParams, "sampling", without=frozenset({"seed"})),
    **_settings_of(LocalConfig, "local", without=_NOT_IN_FILES),
    **_settings_of(EndpointConfig, "endpoint", without=_NOT_IN_FILES),
    "api_base": Setting(list, "endpoint"),
    "jury": Setting(list, "jury"),
    "min_jurors": Setting(int, "jury"),
    "weight": Setting(float, "jury"),
    "cascade": Setting(list, "cascade"),
    "threshold": Setting(float, "cascade"),
    "thresholds": Setting(str, "cascade"),
    "confidence": Setting(str, "cascade"),
    "abstain": Setting(bool, "cascade"),
}
"""All settings by name: the fields of all option classes that a file can hold, and those of juries and cascades."""


def read_settings(
    config: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Collect settings: ``overrides`` take precedence over the environment, and that over the file.

    ``jury`` is the list of each juror's settings, merged with those that all jurors share, and ``cascade`` that of each
    stage's. A ``model`` or ``backend`` from a source with precedence over theirs means that judge instead.

    Args:
        config: The file. None: what ``RA_JUDGE_CONFIG`` names, else the nearest ``ra-judge.toml`` from the working
            folder upwards, else none.
        overrides: Settings given by the caller; None means not given.
        environ: The environment. None: that of the process.

    Raises:
        ConfigError: a file cannot be read, or a setting is unknown or has a wrong type; the message names its source.
    """
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    settings: dict[str, Any] = {}
    for source in (
        _from_file(config, environ),
        _from_environment(environ),
        _checked(given, "the arguments"),
    ):
        new = {name: source.pop(name) for name in _MEMBERS if name in source}
        earlier = {name: settings.pop(name) for name in _MEMBERS if name in settings}
        if len(new) > 1:
            raise ConfigError("The settings have both a jury and a cascade; keep one of them.")
        settings |= source
        for name, members in new.items():
            if members:
                settings[name] = [_member_settings(settings) | member for member in members]
        if not new and not source.keys() & {"model", "backend"}:
            for name, members in earlier.items():
                settings[name] = [member | _member_settings(source) for member in members]
    return settings


def read_file(
    config: str | Path | None = None, environ: Mapping[str, str] | None = None
) -> tuple[Path | None, dict[str, Any]]:
    """Find and parse the settings file.

    Args:
        config: See `read_settings`.
        environ: The environment, where an empty ``RA_JUDGE_CONFIG`` counts as unset. None: that of the process.

    Returns:
        Its absolute path and its tables. None and no tables: there is no such file.

    Raises:
        ConfigError: it cannot be read.
    """
    if chosen := config or (os.environ if environ is None else environ).get("RA_JUDGE_CONFIG"):
        path = Path(chosen).expanduser().absolute()
    else:
        here = Path.cwd()
        found = next((f for d in (here, *here.parents) if (f := d / FILE_NAME).is_file()), None)
        if found is None:
            return None, {}
        path = found
    import tomllib

    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"Cannot read the settings file {path}: {reason}.") from error


def _from_file(config: str | Path | None, environ: Mapping[str, str]) -> dict[str, Any]:
    path, content = read_file(config, environ)
    judge = content.get("judge", {})
    if not isinstance(judge, dict):
        raise ConfigError(f"[judge] in {path} must be a table.")
    settings = _checked(judge, f"[judge] in {path}")
    for name in _MEMBERS:
        if name in content:
            settings[name] = _typed(name, content[name], str(path))
    return settings


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable in _NOT_SETTINGS or not value:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in SETTINGS and name not in _SYNONYMS:
            warnings.warn(f"The environment variable {variable} is not a setting of a judge.", stacklevel=4)
            continue
        given |= _checked({name: value}, f"the environment variable {variable}")
    return given


def _checked(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Settings with their own names and types."""
    return {_SYNONYMS.get(name, name): _typed(_SYNONYMS.get(name, name), value, where) for name, value in given.items()}


def _typed(name: str, value: Any, where: str) -> Any:
    if name not in SETTINGS:
        raise ConfigError(
            f"{where[0].upper()}{where[1:]} has an unknown setting {name!r}; there are: {', '.join(SETTINGS)}."
        )
    kind = SETTINGS[name].kind
    if isinstance(value, str) and kind is not str:
        value = _parsed(value, kind)
    elif kind is str and isinstance(value, Path):
        value = str(value)
    elif kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    elif kind is list and isinstance(value, tuple):
        value = list(value)
    if name in _MEMBERS and isinstance(value, list):
        return [_member(name, place, member, where) for place, member in enumerate(value, start=1)]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{name!r} in {where} must be {_describe(kind)}, not {value!r}.")
    return value


def _member_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that apply to a single juror or stage."""
    return {name: value for name, value in settings.items() if name not in _SHARED_SETTINGS}


def _member(name: str, place: int, member: Any, where: str) -> dict[str, Any]:
    """The settings of one juror or stage; a string is a model."""
    where = f"{_MEMBERS[name]} {place} of the {name} in {where}"
    if isinstance(member, str):
        member = {"model": member}
    if not isinstance(member, Mapping):
        raise ConfigError(f"{where[0].upper()}{where[1:]} must be a table of settings, not {member!r}.")
    if shared := member.keys() & _SHARED_SETTINGS:
        raise ConfigError(f"{where[0].upper()}{where[1:]} has {min(shared)!r}, which is a setting of a whole {name}.")
    return _checked(member, where)


def _parsed(text: str, kind: type) -> Any:
    if kind is dict:
        return _parsed_object(text)
    if kind is list:
        return [item.strip() for item in text.split(",") if item.strip()]
    if kind is bool:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower(), text)
    try:
        return kind(text)
    except ValueError:
        return text


def _parsed_object(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _describe(kind: type) -> str:
    return {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a string",
        list: "a list",
        dict: "a table",
    }[kind]
