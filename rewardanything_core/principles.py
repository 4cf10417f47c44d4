"""Principles: descriptions, in plain language, of what makes a response good."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rewardanything_core.errors import ConfigError, InvalidCaseError

FAMILIES = ("content", "logic", "style", "tone", "structure", "agents")
"""The five families of principles of RewardAnything (arXiv 2506.03637, section on RABench), and one for agents."""

_FIELDS = ("text", "name", "source", "family")


@dataclass(frozen=True)
class Principle:
    """A rule to judge by, written the way one would explain it to a colleague.

    Raises:
        InvalidCaseError: the text is empty, or a part is not a string that UTF-8 can encode.
    """

    text: str
    """The rule itself; the only part that the judge sees."""

    name: str | None = None
    """A short name for tables and metrics. None: unnamed."""

    source: str | None = None
    """The file it comes from, or ``library``. None: given as a string."""

    family: str | None = None
    """One of `FAMILIES`. None: unknown."""

    def __post_init__(self) -> None:
        check_text(self.text, field="principle", what="The principle")
        if not self.text.strip():
            raise InvalidCaseError(
                "The principle is empty; describe in a sentence what makes a response good.", field="principle"
            )
        for field in ("name", "source", "family"):
            if getattr(self, field) is not None:
                check_text(getattr(self, field), field="principle", what=f"The principle's {field}")

    def __str__(self) -> str:
        return self.text

    @classmethod
    def of(cls, value: Principle | str | Mapping[str, Any]) -> Principle:
        """Convert a string to a principle; a principle is returned unchanged.

        A mapping as `to_json` gives it becomes a principle, or with ``criteria`` a `Rubric`.
        """
        if isinstance(value, Principle):
            return value
        if isinstance(value, str):
            return Principle(value)
        if isinstance(value, Mapping) and "criteria" in value:
            from rewardanything_core.rubrics import Rubric

            return Rubric.of(value)
        if isinstance(value, Mapping) and "text" in value:
            if unknown := [key for key in value if key not in _FIELDS]:
                raise InvalidCaseError(
                    f"The principle has an unknown {unknown[0]!r}; its keys are {', '.join(_FIELDS)}.",
                    field="principle",
                )
            return Principle(**value)
        raise InvalidCaseError(
            f"The principle must be a string, a Principle or a Rubric, not {type(value).__name__}"
            f"{' without text or criteria' if isinstance(value, Mapping) else ''}.",
            field="principle",
        )

    def to_json(self) -> dict[str, Any]:
        """The principle as plain JSON, for `of`; fields that are None are left out."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}

    @classmethod
    def several(cls, value: Principle | str | Sequence[Principle | str]) -> tuple[Principle, ...]:
        """Convert one principle or a list of them to a tuple.

        Raises:
            InvalidCaseError: the list is empty, or an item is not a principle.
        """
        if isinstance(value, Mapping) and "criteria" not in value:
            raise InvalidCaseError(
                "A mapping is not a list of principles; give Principle(text, name=...) for each, or a Rubric.",
                field="principle",
            )
        items = [value] if isinstance(value, Principle | str | Mapping) else list(value)
        if not items:
            raise InvalidCaseError("Give at least one principle.", field="principle")
        return tuple(cls.of(item) for item in items)

    @classmethod
    def named(cls, name: str) -> Principle:
        """A principle or rubric of the library that ships with the package.

        Raises:
            ConfigError: the library has none of that name; the message lists its names.
        """
        from rewardanything_core.rubrics import rubric_library

        named = {**library(), **rubric_library()}
        if name not in named:
            raise ConfigError(f"There is no principle or rubric named {name!r}; the library has: {', '.join(named)}.")
        return named[name]

    @classmethod
    def from_file(cls, path: str | Path) -> Principle:
        """Read a principle from a Markdown, text or TOML file.

        A TOML file has ``text``, and optionally ``name`` and ``family``. In Markdown a ``# heading`` on the first line
        is the name and the rest is the text. Otherwise the name is that of the file. The file of a rubric gives a
        `Rubric`; see `Rubric.from_file`.

        Raises:
            ConfigError: the file cannot be read, or a TOML file has no ``text``.
            InvalidCaseError: the text is empty.
        """
        from rewardanything_core.rubrics import Rubric, is_rubric_file

        path = Path(path)
        content = read_principle_file(path)
        if is_rubric_file(content, path.suffix.lower()):
            return Rubric.from_file(path)
        if path.suffix == ".toml":
            return _from_toml(content, path)
        heading, text = _split_heading(content)
        _check_not_empty(text, path)
        return cls(text.strip(), name=heading or _printable(path.stem), source=_printable(path))


def read_principle_file(path: str | Path) -> str:
    """The text of a principle or rubric file.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read the principle file {path}: {error}.") from error


def _split_heading(content: str) -> tuple[str | None, str]:
    """The heading on the first line of a Markdown file, if any, and the rest of the file."""
    first_line, line_break, rest = content.lstrip().partition("\n")
    title = first_line[1:].strip()
    if not line_break or not title or first_line[0] != "#" or not first_line[1].isspace():
        return None, content
    return title.rstrip("#").rstrip() or title, rest


def _from_toml(content: str, path: Path) -> Principle:
    import tomllib

    try:
        table = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The principle file {path} is not valid TOML: {error}.") from error
    unknown = sorted(set(table) - {"text", "name", "family"})
    if "text" not in table or unknown:
        problem = f"has unknown keys {unknown}" if unknown else "has no key 'text'"
        raise ConfigError(f"The principle file {path} {problem}; the keys are text, name and family.")
    _check_not_empty(table["text"], path)
    return Principle(
        table["text"].strip() if isinstance(table["text"], str) else table["text"],
        name=table.get("name", _printable(path.stem)),
        source=_printable(path),
        family=table.get("family"),
    )


def _check_not_empty(text: object, path: Path) -> None:
    if isinstance(text, str) and not text.strip():
        raise InvalidCaseError(
            f"The principle file {path} has no text; describe in a sentence what makes a response good.",
            field="principle",
        )


def _printable(path: str | Path) -> str:
    """A path as text that UTF-8 can encode; file names need not be valid UTF-8."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


@cache
def library() -> dict[str, Principle]:
    """The principles that ship with the package: name -> principle, family by family."""
    import tomllib

    path = Path(__file__).parent / "prompting" / "prompts" / "principles.toml"
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return {
        name: Principle(text, name=name, source="library", family=family)
        for family in FAMILIES
        for name, text in table[family].items()
    }


def check_text(value: object, *, field: str, what: str, case_id: str | None = None) -> str:
    """Return ``value`` if it is a string that UTF-8 can encode, as requests and the store require.

    Args:
        value: The value to check.
        field: The field of `Case` that it belongs to.
        what: Describes the value at the beginning of the error message.
        case_id: The case's own id. None: it has none.

    Raises:
        InvalidCaseError: the value is not such a string.
    """
    if not isinstance(value, str):
        raise InvalidCaseError(f"{what} must be a string, not {type(value).__name__}.", field=field, case_id=case_id)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidCaseError(
            f"{what} contains a lone surrogate ({value[error.start]!a}) at character {error.start}, which UTF-8 cannot "
            "encode.",
            field=field,
            case_id=case_id,
        ) from error
    return value
