"""Principles: descriptions, in plain language, of what makes a response good; and rubrics of several."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.principles.criterion import Criterion, invalid
from rewardanything_core.principles.files import read_fields, read_rubric_fields
from rewardanything_core.principles.texts import check_text

FAMILIES = ("content", "logic", "style", "tone", "structure", "agents")
"""The five families of principles of RewardAnything (arXiv 2506.03637, section on RABench), and one for agents."""

MAX_NAME = 64
"""Maximum length of a criterion's name, in characters."""

_FIELDS = ("text", "name", "source", "family")
_KEYS = ("text", "weight", "anchors", "required", "kind")
_RUBRIC_KEYS = ("criteria", "weights", "required", "name")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


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
        for name in ("name", "source", "family"):
            if getattr(self, name) is not None:
                check_text(getattr(self, name), field="principle", what=f"The principle's {name}")

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
        fields = read_fields(Path(path))
        return Rubric._from_fields(fields) if "criteria" in fields else Principle(**fields)


@dataclass(frozen=True, init=False)
class Rubric(Principle):
    """Named criteria that are judged together, each with a score and reasoning of its own (`Verdict.criteria`).

    It can be used wherever a principle can. The score of the whole is the weighted mean of the criteria's scores, or 1
    where a required criterion is missed; weights and requirements apply after judging, so changing them costs nothing.

    Args:
        criteria: Name -> criterion: a text, a `Principle`, a `Criterion` or a mapping with the fields of one.
        weights: Name -> weight, for those that differ from 1.
        required: Name -> minimum score, or the names of criteria that need `DEFAULT_REQUIREMENT`.
        name: A short name for tables and metrics. None: unnamed.
        source: The file it comes from, or ``library``. None: made in Python.
        family: One of `FAMILIES`. None: unknown.

    Raises:
        InvalidCaseError: there is no criterion; a criterion is invalid, which the message names; or ``weights`` or
            ``required`` name one that does not exist.
    """

    text: str = field(init=False)
    """All criteria as one text, for readers; the judge gets them separately."""

    criteria: Mapping[str, Criterion] = field(default_factory=dict)
    """Name -> criterion."""

    def __init__(
        self,
        criteria: Mapping[str, str | Principle | Criterion | Mapping[str, Any]],
        *,
        weights: Mapping[str, float] | None = None,
        required: Mapping[str, float | bool] | Iterable[str] | None = None,
        name: str | None = None,
        source: str | None = None,
        family: str | None = None,
    ) -> None:
        if not isinstance(criteria, Mapping) or not criteria:
            raise invalid("A rubric needs a mapping with one criterion or more: name -> text.")
        changes: dict[str, dict[str, Any]] = {criterion: {} for criterion in criteria}
        if required is not None and not isinstance(required, Mapping):
            required = dict.fromkeys([required] if isinstance(required, str) else required, True)
        for key, values in (("weight", weights), ("required", required)):
            for criterion, value in (values or {}).items():
                if criterion not in changes:
                    raise invalid(f"There is no criterion {criterion!r}; the rubric has: {', '.join(changes)}.")
                changes[criterion][key] = value
        checked = {key: _criterion(key, value, changes[key]) for key, value in criteria.items()}
        if not any(criterion.weight for criterion in checked.values()):
            raise invalid("All criteria of the rubric have weight 0; at least one must count.")
        object.__setattr__(self, "criteria", checked)
        text = "\n\n".join(f"{name}: {criterion.full_text}" for name, criterion in checked.items())
        for attribute, value in {"text": text, "name": name, "source": source, "family": family}.items():
            object.__setattr__(self, attribute, value)
        self.__post_init__()

    def __hash__(self) -> int:
        return hash((self.name, self.text))

    @cached_property
    def keys(self) -> dict[str, str]:
        """Criterion -> its key in requests and replies, of ASCII letters, digits, ``_`` and ``-``."""
        keys: dict[str, str] = {}
        for number, name in enumerate(sorted(self.criteria), start=1):
            key = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")
            taken = {other.lower() for other in keys.values()}
            keys[name] = key if key and key.lower() not in taken else f"{key or 'criterion'}_{number}"
        return keys

    @property
    def principles(self) -> list[Principle]:
        """Each criterion as a principle of its own, in order."""
        return [Principle(criterion.full_text) for criterion in self.criteria.values()]

    @property
    def judged_content(self) -> list[Any]:
        """What a judge is shown, as plain JSON: everything except weights and requirements, in order of names."""
        return [[name, c.text, c.kind, list(c.anchors.items())] for name, c in sorted(self.criteria.items())]

    @property
    def relative_weights(self) -> dict[str, float]:
        """Criterion -> its weight as a share of the largest one, 0..1, so that sums stay within the range of floats."""
        largest = max(criterion.weight for criterion in self.criteria.values())
        return {name: criterion.weight / largest for name, criterion in self.criteria.items()}

    def weighted_mean(self, scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """The weighted mean over criteria.

        Args:
            scores: Criterion -> response label -> value.
        """
        weights = self.relative_weights
        total = math.fsum(weights.values())
        means = {}
        for label in scores[next(iter(self.criteria))]:
            values = {name: scores[name][label] for name in weights}
            mean = math.fsum(weights[name] * values[name] for name in weights) / total
            means[label] = min(max(mean, min(values.values())), max(values.values()))  # rounding may exceed them
        return means

    def subset(self, names: Iterable[str]) -> Rubric:
        """A rubric of some of the criteria."""
        return Rubric({name: self.criteria[name] for name in names}, name=self.name, source=self.source)

    def to_json(self) -> dict[str, Any]:
        """The rubric as plain JSON, for `of` and for requests to ``ra-judge serve``."""
        content: dict[str, Any] = {"criteria": {name: each.to_json() for name, each in self.criteria.items()}}
        return content if self.name is None else {"name": self.name, **content}

    @classmethod
    def of(cls, value: Principle | str | Mapping[str, Any]) -> Rubric:
        """Convert a mapping to a rubric: ``{"criteria": {...}}`` as `to_json` gives it, or the criteria themselves.

        Raises:
            InvalidCaseError: it is not a valid rubric.
        """
        if isinstance(value, Rubric):
            return value
        if not isinstance(value, Mapping):
            raise invalid(f"A rubric must be a Rubric or a mapping, not {type(value).__name__}.")
        if not isinstance(value.get("criteria"), Mapping):
            return cls(value)
        if unknown := [key for key in value if key not in _RUBRIC_KEYS]:
            raise invalid(f"The rubric has an unknown {unknown[0]!r}; its keys are {', '.join(_RUBRIC_KEYS)}.")
        return cls(**value)

    @classmethod
    def named(cls, name: str) -> Rubric:
        """A rubric of the library that ships with the package: ``rag``, ``support``, ``summary`` or ``agent``.

        Raises:
            ConfigError: the library has no rubric of that name; the message lists its names.
        """
        rubric = rubric_library().get(name)
        if rubric is None:
            raise ConfigError(f"There is no rubric named {name!r}; the library has: {', '.join(rubric_library())}.")
        return rubric

    @classmethod
    def from_file(cls, path: str | Path) -> Rubric:
        """Read a rubric from a TOML, JSON or Markdown file.

        TOML and JSON files have ``criteria``, and optionally ``weights``, ``required`` and ``name``. In Markdown the
        first line is ``# Rubric: NAME``, and each criterion is a section ``## name`` with its text; lines such as
        ``- weight: 2``, ``- required: 4``, ``- kind: yes/no`` and ``- 5: every claim is supported`` are its settings
        and anchors.

        Raises:
            ConfigError: the file cannot be read, or is not a rubric; the message names the file.
        """
        return cls._from_fields(read_rubric_fields(Path(path)))

    @classmethod
    def _from_fields(cls, fields: Mapping[str, Any]) -> Rubric:
        source = fields["source"]
        try:
            rubric = cls.of({key: value for key, value in fields.items() if key != "source"})
        except InvalidCaseError as error:
            raise ConfigError(f"The rubric file {source} is invalid: {error.message}") from error
        return replace(rubric, source=source)


@cache
def library() -> dict[str, Principle]:
    """The principles that ship with the package: name -> principle, family by family."""
    path = Path(__file__).parents[1] / "prompting" / "prompts" / "principles.toml"
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return {
        name: Principle(text, name=name, source="library", family=family)
        for family in FAMILIES
        for name, text in table[family].items()
    }


@cache
def rubric_library() -> dict[str, Rubric]:
    """The rubrics that ship with the package: name -> rubric."""
    path = Path(__file__).parents[1] / "prompting" / "prompts" / "rubrics.toml"
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: Rubric(table["criteria"], name=name, source="library") for name, table in tables.items()}


def _criterion(name: object, value: object, changes: Mapping[str, Any]) -> Criterion:
    check_text(name, field="principle", what=f"The name of the criterion {name!r}")
    assert isinstance(name, str)
    if not name.strip() or len(name) > MAX_NAME or _CONTROL.search(name):
        raise invalid(f"A criterion's name must have 1 to {MAX_NAME} printable characters, not be {name!r:.80}.")
    try:
        return Criterion(**{**_fields(value), **changes})
    except InvalidCaseError as error:
        raise invalid(f"The criterion {name!r} is invalid: {error.message}") from error


def _fields(value: object) -> dict[str, Any]:
    if isinstance(value, Criterion):
        return {key: getattr(value, key) for key in _KEYS}
    if isinstance(value, Rubric):
        raise invalid("it is a rubric; a criterion is a single principle.")
    if isinstance(value, Principle):
        return {"text": value.text}
    if isinstance(value, Mapping):
        if unknown := [key for key in value if key not in _KEYS]:
            raise invalid(f"it has an unknown {unknown[0]!r}; its keys are {', '.join(_KEYS)}.")
        if "text" not in value:
            raise invalid("it has no 'text'.")
        return dict(value)
    return {"text": value}
