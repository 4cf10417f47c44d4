"""The settings of a check: from the command line, then from the ``[check]`` table of ``ra-judge.toml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from rewardanything_core.config import read_file
from rewardanything_core.errors import ConfigError

Settings: TypeAlias = dict[str, Any]
"""Name of a setting -> its value; settings that were not given are missing."""

Named: TypeAlias = tuple[str | None, str]
"""A candidate's name, or None, and its path or prompt."""

REGISTRY = "prompts:/"
"""The prefix of prompts in MLflow's registry."""

_OF_MLFLOW = (REGISTRY, "mlflow:")

Kind: TypeAlias = Literal[
    "text", "path", "prompt", "texts", "sources", "prompts", "number", "numbers", "count", "flag", "paths"
]

KINDS: dict[str, Kind] = {
    "dataset": "path",
    "baseline": "path",
    "candidate": "sources",
    "app": "text",
    "prompt": "prompt",
    "baseline_rev": "text",
    "candidate_rev": "text",
    "baseline_prompt": "prompt",
    "candidate_prompt": "prompts",
    "app_model": "text",
    "app_api_base": "texts",
    "app_api_key_env": "text",
    "app_device": "text",
    "app_temperature": "number",
    "app_max_tokens": "count",
    "app_concurrency": "count",
    "id_column": "text",
    "prompt_column": "text",
    "response_column": "text",
    "margin": "number",
    "min_score": "number",
    "alpha": "number",
    "power": "number",
    "max_failures": "number",
    "sequential": "flag",
    "confirm": "flag",
    "controls": "texts",
    "labels": "paths",
    "scale": "text",
    "common_only": "flag",
    "html": "path",
    "junit": "path",
    "markdown": "path",
}
"""All settings of ``[check]`` except ``principles``."""

RANGES = {
    "margin": (0.0, 4.0),
    "min_score": (1.0, 5.0),
    "alpha": (0.0, 0.5),
    "power": (0.5, 1.0),
    "max_failures": (0.0, 1.0),
    "app_temperature": (0.0, 5.0),
    "app_max_tokens": (1, None),
    "app_concurrency": (1, None),
}

_PRINCIPLE_KINDS: dict[str, Kind] = {
    "text": "text",
    "file": "path",
    "name": "text",
    "margin": "number",
    "min_score": "number",
    "controls": "texts",
    "margins": "numbers",
    "min_scores": "numbers",
}

_BASELINE = {"baseline", "baseline_prompt", "baseline_rev"}
_CANDIDATE = {"candidate", "app", "candidate_prompt", "candidate_rev"}

_DESCRIBED: dict[Kind, str] = {
    "text": "a string",
    "path": "a path",
    "paths": "a path or a list of paths",
    "prompt": "a path or prompts:/name@alias",
    "texts": "a string or a list of strings",
    "sources": "a path, a list of paths, or a table of names and paths",
    "prompts": "a path or prompts:/name@alias, a list of them, or a table of names and them",
    "number": "a number",
    "numbers": "a table of criteria and numbers",
    "count": "a whole number",
    "flag": "true or false",
}


@dataclass(frozen=True, kw_only=True)
class Table:
    """The ``[check]`` table of a settings file."""

    path: Path | None = None
    """The settings file. None: there is none."""

    settings: Settings = field(default_factory=dict)
    """Its settings; paths are resolved against the file's folder."""

    principles: tuple[Settings, ...] = ()
    """``[[check.principles]]``: ``text``, ``file``, ``name``, ``margin``, ``min_score``, ``controls``, and for a rubric
    ``margins`` and ``min_scores``, if given."""

    @property
    def folder(self) -> Path:
        """The file's folder; the working folder if there is no file."""
        return Path.cwd() if self.path is None else self.path.parent


def read_table(config: str | None) -> Table:
    """Read the ``[check]`` table.

    Args:
        config: The settings file. None: the file that ``RA_JUDGE_CONFIG`` names, or the nearest ra-judge.toml.

    Raises:
        ConfigError: the file cannot be read, or a setting is unknown or has a wrong type; the message names the place.
    """
    path, content = read_file(config)
    if path is None:
        return Table()
    table = content.get("check", {})
    if not isinstance(table, dict):
        raise ConfigError(f"[check] in {path} must be a table.")
    principles = table.pop("principles", [])
    if not isinstance(principles, list) or not all(isinstance(item, dict) for item in principles):
        raise ConfigError(f"Principles in {path} must be tables, each beginning with [[check.principles]].")
    return Table(
        path=path,
        settings=_typed_all(table, KINDS, f"[check] in {path}", path.parent, also=("principles",)),
        principles=tuple(
            _typed_all(item, _PRINCIPLE_KINDS, f"[[check.principles]] number {number} in {path}", path.parent)
            for number, item in enumerate(principles, start=1)
        ),
    )


def merged(table: Table, given: Mapping[str, Any]) -> Settings:
    """The settings of the file, overridden by those of the command line.

    If the command line names the source of a side's outputs, all settings of the file for that side are ignored.

    Args:
        table: The settings of the file.
        given: The settings of the command line; None and empty lists count as not given.

    Raises:
        ConfigError: a number is out of its range, or two settings in one place name a source for the same side.
    """
    typed = {name: value for name, value in given.items() if value is not None and value != []}
    _check_ranges(typed, "")
    _refuse_two_sources(typed, "the command line")
    _refuse_two_sources(table.settings, f"[check] in {table.path}")
    replaced: set[str] = set()
    if _BASELINE & set(typed):
        replaced |= _BASELINE
    if _CANDIDATE & set(typed):
        replaced |= _CANDIDATE
    if "prompt" in typed and not {"candidate", "app", "candidate_prompt"} & set(typed):
        replaced |= _CANDIDATE
    return {name: value for name, value in table.settings.items() if name not in replaced} | typed


def _refuse_two_sources(settings: Mapping[str, Any], where: str) -> None:
    for side, names in (("baseline", _BASELINE), ("candidate", _CANDIDATE)):
        if len(sources := [name for name in KINDS if name in names and name in settings]) > 1:
            raise ConfigError(
                f"{' and '.join(sources)} in {where} each name a source for the outputs of the {side}.",
                hint="Keep one of them.",
            )


def parse_named(given: list[str]) -> list[Named]:
    """Parse ``path`` or ``name=path``; an item that exists as a file under its whole name is a path."""
    parsed: list[Named] = []
    for item in given:
        name, equals, path = item.partition("=")
        is_path = not (equals and name and path) or Path(item).exists() or "/" in name
        parsed.append((None, item) if is_path else (name, path))
    return parsed


def _typed_all(
    table: Mapping[str, Any], kinds: Mapping[str, Kind], where: str, folder: Path, *, also: tuple[str, ...] = ()
) -> Settings:
    for name in table:
        if name not in kinds:
            raise ConfigError(f"{where} has an unknown setting {name!r}; there are: {', '.join([*kinds, *also])}.")
    typed = {name: _typed(name, value, kinds[name], where, folder) for name, value in table.items()}
    _check_ranges(typed, f" in {where}")
    return typed


def _typed(name: str, value: Any, kind: Kind, where: str, folder: Path) -> Any:
    converted = _convert(value, kind, folder)
    if converted is None:
        raise ConfigError(f"{name!r} in {where} must be {_DESCRIBED[kind]}, not {value!r}.")
    return converted


def _convert(value: Any, kind: Kind, folder: Path) -> Any:
    """The value, converted to its kind; None if it is not of that kind."""
    if kind in ("number", "count"):
        types = int if kind == "count" else int | float
        return value if isinstance(value, types) and not isinstance(value, bool) else None
    if kind == "numbers":
        numbers = isinstance(value, dict) and all(
            _convert(item, "number", folder) is not None for item in value.values()
        )
        return value if numbers else None
    if kind == "flag":
        return value if isinstance(value, bool) else None
    if kind == "texts":
        values = _listed(value)
        return values if all(isinstance(item, str) for item in values) else None
    if kind == "paths":
        several = _several(_listed(value), folder)
        return None if several is None else [path for _, path in several]
    if kind in ("sources", "prompts"):
        return _several(value, folder)
    if not isinstance(value, str) or not value:
        return None
    return value if kind == "text" else _resolved(value, folder)


def _several(value: Any, folder: Path) -> list[Named] | None:
    named = list(value.items()) if isinstance(value, dict) else [(None, item) for item in _listed(value)]
    if not named or not all(isinstance(item, str) and item for _, item in named):
        return None
    return [(name, _resolved(item, folder)) for name, item in named]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _resolved(path: str, folder: Path) -> str:
    if path.startswith(_OF_MLFLOW):
        return path
    full = folder / Path(path).expanduser()
    try:
        return str(full.relative_to(Path.cwd()))  # shorter in messages and reports
    except ValueError:
        return str(full)


def _check_ranges(settings: Mapping[str, Any], where: str) -> None:
    for name, (low, high) in RANGES.items():
        value = settings.get(name)
        if value is None:
            continue
        within = value >= low and (high is None or value <= high)
        if name in ("margin", "alpha"):
            within = within and value != low
        if name in ("alpha", "power"):
            within = within and value != high
        if not within:
            bounds = f"at least {low}" if high is None else f"within {low:g}..{high:g}"
            ends = {"margin": ", and above 0", "alpha": ", the ends excluded", "power": ", and below 1"}
            raise ConfigError(f"{name}{where} must be {bounds}{ends.get(name, '')}, not {value!r}.")
