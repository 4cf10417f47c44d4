"""What is asked of the answers: principles with their margins, from the command line or the settings file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewardanything_core.cli._check.settings import Settings, Table
from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.gate.results import AUTO, Requirement
from rewardanything_core.principles import Principle

DEFAULT_MARGIN = 0.3


@dataclass(frozen=True, kw_only=True)
class PrinciplesTyped:
    """Principles as the command line gives them."""

    texts: Sequence[str] = ()
    """``--principle``."""

    files: Sequence[str] = ()
    """``--principle-file``."""

    names: Sequence[str] = ()
    """``--principle-name``."""

    def principles(self) -> list[Principle]:
        """All of them.

        Raises:
            ConfigError: a file cannot be read, or there is none of a name.
        """
        return [
            *(Principle(text) for text in self.texts),
            *(Principle.from_file(file) for file in self.files),
            *(Principle.named(name) for name in self.names),
        ]


def principles_of(table: Table, typed: PrinciplesTyped) -> list[tuple[Principle, Settings]]:
    """The principles of the command line, else those of the file with what the file says about each.

    Raises:
        ConfigError: one of them is none.
    """
    try:
        if given := typed.principles():
            return [(principle, {}) for principle in given]
        return [(_principle(item, number, table), item) for number, item in enumerate(table.principles, start=1)]
    except InvalidCaseError as error:
        raise ConfigError(error.message) from error


def requirements(
    table: Table, typed: PrinciplesTyped, settings: Mapping[str, Any], given: Mapping[str, Any]
) -> list[Requirement]:
    """What a check asks for.

    Args:
        table: The settings file's table.
        typed: The principles of the command line.
        settings: All settings.
        given: Those of the command line, whose margin, min_score and controls hold for every principle.

    Raises:
        ConfigError: there is no principle, one of them is none, or two have one name.
    """
    found = [
        Requirement(
            principle=principle,
            margin=float(_chosen("margin", given, about, settings) or DEFAULT_MARGIN),
            min_score=_chosen("min_score", given, about, settings),
            controls=_chosen("controls", given, about, settings) or AUTO,
        )
        for principle, about in principles_of(table, typed)
    ]
    if not found:
        raise ConfigError(
            "There is no principle to judge by.",
            hint="Give --principle, --principle-file or --principle-name, or [[check.principles]] in ra-judge.toml.",
        )
    names = [requirement.name for requirement in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"Two principles go by the name {twice!r}.", hint="Give each a name of its own.")
    return found


def _chosen(name: str, *places: Mapping[str, Any]) -> Any:
    return next((place[name] for place in places if place.get(name) is not None), None)


def _principle(item: Settings, number: int, table: Table) -> Principle:
    where = f"[[check.principles]] number {number} in {table.path}"
    if "text" in item and "file" in item:
        raise ConfigError(f"{where} has a text and a file; keep one.")
    if "text" in item:
        return Principle(item["text"], name=item.get("name"))
    if "file" in item:
        found = Principle.from_file(item["file"])
        return dataclasses.replace(found, name=item.get("name", found.name))
    if "name" in item:
        return Principle.named(item["name"])
    raise ConfigError(f"{where} needs a text, a file, or the name of a principle that ships with the package.")
