"""Principles: what a judge is told to prefer, in plain language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rewardanything_core.errors import ConfigError, InvalidCaseError

FAMILIES = ("content", "logic", "style", "tone", "structure")
"""The five families of principles of RewardAnything (arXiv 2506.03637, section on RABench)."""


@dataclass(frozen=True)
class Principle:
    """A rule to judge by, written the way one would explain it to a colleague.

    Raises:
        InvalidCaseError: the text is empty or not text.
    """

    text: str
    """The rule itself; the only part that the judge reads."""

    name: str | None = None
    """A short name for tables and metrics. None: unnamed."""

    source: str | None = None
    """The file it was read from, or ``library``. None: given as a string."""

    family: str | None = None
    """One of `FAMILIES`. None: not said."""

    def __post_init__(self) -> None:
        check_text(self.text, field="principle", what="The principle")
        if not self.text.strip():
            raise InvalidCaseError(
                "The principle is empty; say in a sentence what makes a response good.", field="principle"
            )

    def __str__(self) -> str:
        return self.text

    @classmethod
    def of(cls, value: Principle | str) -> Principle:
        """Take a principle as it is, or make one of a string."""
        if isinstance(value, Principle):
            return value
        if isinstance(value, str):
            return cls(value)
        raise InvalidCaseError(
            f"The principle must be a string or a Principle, not {type(value).__name__}.", field="principle"
        )

    @classmethod
    def several(cls, value: Principle | str | Sequence[Principle | str]) -> tuple[Principle, ...]:
        """One principle or a list of them, as a tuple.

        Raises:
            InvalidCaseError: there is none, or one of them is none.
        """
        items = [value] if isinstance(value, Principle | str) else list(value)
        if not items:
            raise InvalidCaseError("Give at least one principle.", field="principle")
        return tuple(cls.of(item) for item in items)

    @classmethod
    def named(cls, name: str) -> Principle:
        """Look a principle up in the small library that ships with the package.

        Raises:
            ConfigError: there is none of that name; the message lists those there are.
        """
        found = library().get(name)
        if found is None:
            raise ConfigError(f"There is no principle named {name!r}; there are: {', '.join(library())}.")
        return found

    @classmethod
    def from_file(cls, path: str | Path) -> Principle:
        """Read a principle from a Markdown, text or TOML file.

        A TOML file has ``text`` and may have ``name`` and ``family``. In Markdown a leading ``# heading`` becomes
        the name and the rest is the text. Without a name of its own, the file's name is used.

        Raises:
            ConfigError: the file cannot be read, or a TOML file has no ``text``.
        """
        path = Path(path)
        try:
            content = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"Cannot read the principle file {path}: {error}.") from error
        if path.suffix == ".toml":
            return _from_toml(content, path)
        heading = re.match(r"\s*#\s+(.+?)\s*#*\n", content)
        text = content[heading.end() :] if heading else content
        return cls(text.strip(), name=heading[1] if heading else path.stem, source=str(path))


def _from_toml(content: str, path: Path) -> Principle:
    import tomllib

    try:
        table = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The principle file {path} is not valid TOML: {error}.") from error
    unknown = sorted(set(table) - {"text", "name", "family"})
    if "text" not in table or unknown:
        problem = f"has unknown keys {unknown}" if unknown else "has no key 'text'"
        raise ConfigError(f"The principle file {path} {problem}; it takes text, name and family.")
    return Principle(
        table["text"].strip() if isinstance(table["text"], str) else table["text"],
        name=table.get("name", path.stem),
        source=str(path),
        family=table.get("family"),
    )


@cache
def library() -> dict[str, Principle]:
    """Name -> principle, for every principle that ships with the package, family by family."""
    import tomllib

    table = tomllib.loads(
        (Path(__file__).parent / "prompting" / "prompts" / "principles.toml").read_text(encoding="utf-8")
    )
    return {
        name: Principle(text, name=name, source="library", family=family)
        for family in FAMILIES
        for name, text in table[family].items()
    }


def check_text(value: object, *, field: str, what: str, case_id: str | None = None) -> str:
    """Return ``value`` if it is a string that can be written as UTF-8.

    Raises:
        InvalidCaseError: it is not.
    """
    if not isinstance(value, str):
        raise InvalidCaseError(f"{what} must be a string, not {type(value).__name__}.", field=field, case_id=case_id)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidCaseError(
            f"{what} holds half of a surrogate pair at character {error.start}, which no encoding can carry.",
            field=field,
            case_id=case_id,
        ) from error
    return value
