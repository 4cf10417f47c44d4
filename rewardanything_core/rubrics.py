"""Rubrics: several named criteria that responses are judged by together."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.principles import Principle, check_text, read_principle_file
from rewardanything_core.types import MAX_SCORE, MIN_SCORE

Kind = Literal["score", "yes/no"]

DEFAULT_REQUIREMENT = 3.0
"""Minimum score of a criterion that is required without a number."""

_KEYS = ("text", "weight", "anchors", "required", "kind")
_RUBRIC_KEYS = ("criteria", "weights", "required", "name")
_MAX_NAME = 64
_SETTING = re.compile(r"[-*] (weight|required|kind|[1-5]): (.+)")


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One criterion of a rubric.

    Raises:
        InvalidCaseError: a field is out of its range.
    """

    text: str
    """The rule, written like a principle; for ``yes/no``, a question or a statement that is true or false."""

    weight: float = 1.0
    """Weight in the score of the whole rubric, 0 or more; 0 for a criterion that is only reported or required."""

    anchors: Mapping[int, str] = field(default_factory=dict)
    """Score (1..5) -> what a response with this score is like, for some or all scores."""

    required: float | bool | None = None
    """Minimum score, above 1 and up to 5. A response that scores less fails the whole rubric. None: not required;
    True is `DEFAULT_REQUIREMENT`."""

    kind: Kind = "score"
    """``score``: 1..5. ``yes/no``: 5 for yes and 1 for no."""

    def __post_init__(self) -> None:
        if not check_text(self.text, field="principle", what="The criterion").strip():
            raise _invalid("The criterion is empty; describe in a sentence what makes a response good.")
        if self.kind not in get_args(Kind):
            raise _invalid(f"kind must be 'score' or 'yes/no', not {self.kind!r}.")
        if not _is_number(self.weight) or not 0 <= self.weight < math.inf:
            raise _invalid(f"weight must be a number of 0 or more, not {self.weight!r}.")
        if isinstance(self.required, bool):
            object.__setattr__(self, "required", DEFAULT_REQUIREMENT if self.required else None)
        if self.required is not None and not (_is_number(self.required) and MIN_SCORE < self.required <= MAX_SCORE):
            raise _invalid(f"required must be true or a score above 1 and up to 5, not {self.required!r}.")
        object.__setattr__(self, "anchors", self._checked_anchors())

    def _checked_anchors(self) -> dict[int, str]:
        if not isinstance(self.anchors, Mapping):
            raise _invalid(f"anchors must be a mapping from scores to descriptions, not {self.anchors!r:.80}.")
        anchors = {}
        for key, description in self.anchors.items():
            if str(key) not in ("1", "2", "3", "4", "5"):
                raise _invalid(f"anchors are for the scores 1 to 5, not for {key!r}.")
            if self.kind == "yes/no" and str(key) not in ("1", "5"):
                raise _invalid(f"a yes/no criterion has anchors for 1 (no) and 5 (yes) only, not for {key}.")
            anchors[int(key)] = check_text(description, field="principle", what=f"The description of score {key}")
        return dict(sorted(anchors.items()))

    @property
    def scores(self) -> tuple[str, ...]:
        """The scores that a judge may write."""
        return ("1", "5") if self.kind == "yes/no" else ("1", "2", "3", "4", "5")

    @cached_property
    def principle(self) -> Principle:
        """The criterion as a principle of its own, with its anchors and kind in words."""
        lines = [self.text]
        if self.kind == "yes/no":
            lines.append("This is a matter of yes or no: a response scores 5 for yes and 1 for no.")
        if self.anchors:
            scale = "\n".join(f"{score}: {description}" for score, description in self.anchors.items())
            lines.append(f"What the scores mean:\n{scale}")
        return Principle("\n\n".join(lines))

    def to_json(self) -> dict[str, Any]:
        """The criterion as plain JSON; fields with their default are left out."""
        content: dict[str, Any] = {"text": self.text}
        if self.weight != 1:
            content["weight"] = self.weight
        if self.anchors:
            content["anchors"] = {str(score): description for score, description in self.anchors.items()}
        if self.required is not None:
            content["required"] = self.required
        if self.kind != "score":
            content["kind"] = self.kind
        return content


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
            raise _invalid("A rubric needs a mapping with one criterion or more: name -> text.")
        changes: dict[str, dict[str, Any]] = {criterion: {} for criterion in criteria}
        if required is not None and not isinstance(required, Mapping):
            required = dict.fromkeys([required] if isinstance(required, str) else required, True)
        for key, values in (("weight", weights), ("required", required)):
            for criterion, value in (values or {}).items():
                if criterion not in changes:
                    raise _invalid(f"There is no criterion {criterion!r}; the rubric has: {', '.join(changes)}.")
                changes[criterion][key] = value
        checked = {key: _criterion(key, value, changes[key]) for key, value in criteria.items()}
        if not any(criterion.weight for criterion in checked.values()):
            raise _invalid("All criteria of the rubric have weight 0; at least one must count.")
        object.__setattr__(self, "criteria", checked)
        text = "\n\n".join(f"{name}: {criterion.principle.text}" for name, criterion in checked.items())
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
    def judged_content(self) -> list[Any]:
        """What a judge is shown, as plain JSON: everything except weights and requirements, in order of names."""
        return [[name, c.text, c.kind, list(c.anchors.items())] for name, c in sorted(self.criteria.items())]

    def weighted_mean(self, scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """The weighted mean over criteria.

        Args:
            scores: Criterion -> response label -> value.
        """
        total = math.fsum(criterion.weight for criterion in self.criteria.values())
        labels = scores[next(iter(self.criteria))]
        return {
            label: math.fsum(each.weight * scores[name][label] for name, each in self.criteria.items()) / total
            for label in labels
        }

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
            raise _invalid(f"A rubric must be a Rubric or a mapping, not {type(value).__name__}.")
        if not isinstance(value.get("criteria"), Mapping):
            return cls(value)
        if unknown := [key for key in value if key not in _RUBRIC_KEYS]:
            raise _invalid(f"The rubric has an unknown {unknown[0]!r}; its keys are {', '.join(_RUBRIC_KEYS)}.")
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
        content = read_principle_file(path)
        try:
            rubric = _parse(content, Path(path).suffix.lower())
        except (ValueError, InvalidCaseError) as error:
            raise ConfigError(f"The rubric file {path} is invalid: {error}") from error
        name, source = rubric.name or Path(path).stem, str(path)
        return cls(rubric.criteria, name=_printable(name), source=_printable(source))


def is_rubric_file(content: str, suffix: str) -> bool:
    """Whether a principle file holds a rubric: JSON, TOML with ``criteria``, or Markdown headed ``# Rubric``.

    Args:
        content: Its text.
        suffix: The suffix of its name, in lower case.
    """
    if suffix == ".toml":
        return re.search(r"(?m)^\s*(\[\s*criteria\b|criteria\b)", content) is not None
    return suffix == ".json" or re.match(r"\s*# rubric\b", content, re.IGNORECASE) is not None


@cache
def rubric_library() -> dict[str, Rubric]:
    """The rubrics that ship with the package: name -> rubric."""
    import tomllib

    path = Path(__file__).parent / "prompting" / "prompts" / "rubrics.toml"
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: Rubric(table["criteria"], name=name, source="library") for name, table in tables.items()}


def _criterion(name: object, value: object, changes: Mapping[str, Any]) -> Criterion:
    check_text(name, field="principle", what=f"The name of the criterion {name!r}")
    assert isinstance(name, str)
    if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        raise _invalid(f"A criterion's name must have 1 to {_MAX_NAME} printable characters, not be {name!r:.80}.")
    try:
        return Criterion(**{**_fields(value), **changes})
    except InvalidCaseError as error:
        raise _invalid(f"The criterion {name!r} is invalid: {error.message}") from error


def _fields(value: object) -> dict[str, Any]:
    if isinstance(value, Criterion):
        return {key: getattr(value, key) for key in _KEYS}
    if isinstance(value, Rubric):
        raise _invalid("it is a rubric; a criterion is a single principle.")
    if isinstance(value, Principle):
        return {"text": value.text}
    if isinstance(value, Mapping):
        if unknown := [key for key in value if key not in _KEYS]:
            raise _invalid(f"it has an unknown {unknown[0]!r}; its keys are {', '.join(_KEYS)}.")
        if "text" not in value:
            raise _invalid("it has no 'text'.")
        return dict(value)
    return {"text": value}


def _parse(content: str, suffix: str) -> Rubric:
    import tomllib

    if suffix == ".toml":
        return Rubric.of(tomllib.loads(content))
    if suffix == ".json":
        return Rubric.of(json.loads(content))
    return _from_markdown(content)


def _from_markdown(content: str) -> Rubric:
    head, *sections = re.split(r"(?m)^## +", content)
    title = re.match(r"\s*# +(?:rubric\b:?)?(.*)", head, re.IGNORECASE)
    criteria: dict[str, dict[str, Any]] = {}
    for section in sections:
        name, _, body = section.partition("\n")
        if name.strip() in criteria:
            raise InvalidCaseError(f"The criterion {name.strip()!r} occurs twice.", field="principle")
        criteria[name.strip()] = _section(body)
    return Rubric(criteria, name=(title[1].strip() or None) if title else None)


def _section(body: str) -> dict[str, Any]:
    """The fields of a criterion: its text, and settings and anchors from list items such as ``- weight: 2``."""
    fields: dict[str, Any] = {}
    anchors: dict[str, str] = {}
    lines = []
    for line in body.strip().splitlines():
        if match := _SETTING.fullmatch(line.strip()):
            key, value = match.groups()
            target: dict[str, Any] = anchors if key.isdigit() else fields
            if key in target:
                raise _invalid(f"The line {line.strip()!r} sets {key} a second time.")
            target[key] = value if key.isdigit() or key == "kind" else _setting(value)
        else:
            lines.append(line)
    return {"text": "\n".join(lines).strip(), "anchors": anchors, **fields}


def _setting(value: str) -> float | bool | str:
    """A number or a truth value; other text as it is, for the error message of the field."""
    if value.lower() in ("true", "yes"):
        return True
    try:
        return float(value)
    except ValueError:
        return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _invalid(problem: str) -> InvalidCaseError:
    return InvalidCaseError(problem, field="principle")
