"""The requirements of a check: principles with their margins, from the command line or the settings file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardanything_core.cli._check.settings import Settings, Table
from rewardanything_core.cli._options import typed_principle
from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.gate.requirements import with_criteria
from rewardanything_core.gate.results import AUTO, Requirement
from rewardanything_core.principles import Principle

DEFAULT_MARGIN = 0.3

SUFFIXES = (".md", ".txt", ".toml", ".json")
"""How the names of principles' files in a folder end."""


@dataclass(frozen=True, kw_only=True)
class PrincipleArgs:
    """The principles given on the command line."""

    texts: Sequence[str] = ()
    """``--principle``."""

    files: Sequence[str] = ()
    """``--principle-file``."""

    names: Sequence[str] = ()
    """``--principle-name``."""

    def principles(self) -> list[Principle]:
        """All of them.

        Raises:
            ConfigError: a file cannot be read, or no principle has one of the names.
        """
        return [
            *(typed_principle(text) for text in self.texts),
            *(Principle.from_file(file) for given in self.files for file in files_of(given)),
            *(Principle.named(name) for name in self.names),
        ]


def files_of(given: str) -> list[Path]:
    """The files that ``--principle-file`` names: one, or those of a folder in the order of their names.

    Args:
        given: A file or a folder.

    Raises:
        ConfigError: the folder has no file of a principle.
    """
    path = Path(given)
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise ConfigError(f"The folder {given} has no principle: no file that ends in {', '.join(SUFFIXES)}.")
    return files


def read_principles(table: Table, arguments: PrincipleArgs) -> list[tuple[Principle, Settings]]:
    """The principles of the command line, or else those of the settings file with their own settings.

    Args:
        table: The table of the settings file.
        arguments: The principles of the command line.

    Raises:
        ConfigError: one of them is invalid.
    """
    try:
        if given := arguments.principles():
            return [(principle, {}) for principle in given]
        return [(_principle(item, number, table), item) for number, item in enumerate(table.principles, start=1)]
    except InvalidCaseError as error:
        raise ConfigError(error.message) from error


def read_requirements(
    table: Table, arguments: PrincipleArgs, settings: Mapping[str, Any], given: Mapping[str, Any]
) -> list[Requirement]:
    """The requirements of a check.

    Args:
        table: The table of the settings file.
        arguments: The principles of the command line.
        settings: All settings.
        given: The settings of the command line; margin, min_score and controls among them apply to every principle.

    Raises:
        ConfigError: there is no principle, one of them is invalid, or two have one name.
    """
    requirements = [
        Requirement(
            principle=principle,
            margin=float(_first("margin", given, own, settings) or DEFAULT_MARGIN),
            min_score=_first("min_score", given, own, settings),
            controls=_first("controls", given, own, settings) or AUTO,
            margins={} if given.get("margin") is not None else own.get("margins", {}),
            min_scores=own.get("min_scores", {}),
        )
        for principle, own in read_principles(table, arguments)
    ]
    if not requirements:
        raise ConfigError(
            "There is no principle to judge by.",
            hint="Give --principle, --principle-file or --principle-name, or [[check.principles]] in ra-judge.toml.",
        )
    with_criteria(requirements)  # checks them before outputs are produced
    return requirements


def _first(name: str, *places: Mapping[str, Any]) -> Any:
    """The first value of a setting that is not None, in order of precedence."""
    return next((place[name] for place in places if place.get(name) is not None), None)


def _principle(item: Settings, number: int, table: Table) -> Principle:
    where = f"[[check.principles]] number {number} in {table.path}"
    if "text" in item and "file" in item:
        raise ConfigError(f"{where} has a text and a file; keep one.")
    if "text" in item:
        return Principle(item["text"], name=item.get("name"))
    if "file" in item:
        principle = Principle.from_file(item["file"])
        return dataclasses.replace(principle, name=item.get("name", principle.name))
    if "name" in item:
        return Principle.named(item["name"])
    raise ConfigError(f"{where} needs a text, a file, or the name of a principle that ships with the package.")
