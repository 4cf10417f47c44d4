"""The files of principles and rubrics, as fields for `Principle.of`."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.principles.criterion import invalid
from rewardanything_core.principles.texts import printable

_SETTING = re.compile(r"[-*] (weight|required|kind|[1-5]): (.+)")


def read_fields(path: Path) -> Mapping[str, Any]:
    """The fields of the principle or rubric in a file; the latter have ``criteria``.

    Args:
        path: A Markdown, text, TOML or JSON file.

    Raises:
        ConfigError: the file cannot be read, or is not valid; the message names it.
        InvalidCaseError: the principle's text is empty.
    """
    content, suffix = _content(path), path.suffix.lower()
    if _is_rubric(content, suffix):
        return read_rubric_fields(path)
    if suffix == ".toml":
        fields = _principle_from_toml(content, path)
    else:
        name, text = _split_heading(content)
        fields = {"text": text, "name": name}
    if isinstance(fields["text"], str) and not fields["text"].strip():
        raise invalid(f"The principle file {path} has no text; describe in a sentence what makes a response good.")
    return _with_origin(fields, path)


def read_rubric_fields(path: Path) -> Mapping[str, Any]:
    """The fields of the rubric in a file.

    Args:
        path: A TOML, JSON or Markdown file.

    Raises:
        ConfigError: the file cannot be read, or is not valid; the message names it.
    """
    content, suffix = _content(path), path.suffix.lower()
    try:
        if suffix == ".toml":
            fields = tomllib.loads(content)
        elif suffix == ".json":
            fields = json.loads(content)
        else:
            fields = _rubric_from_markdown(content)
    except (ValueError, InvalidCaseError) as error:
        raise ConfigError(f"The rubric file {path} is invalid: {error}") from error
    if not isinstance(fields, dict):
        raise ConfigError(f"The rubric file {path} is invalid: it must hold a mapping with 'criteria'.")
    return _with_origin(fields if "criteria" in fields else {"criteria": fields}, path)


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read the principle file {path}: {error}.") from error


def _with_origin(fields: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The fields with the file as source, and its name as name where they have none."""
    fields = {**fields, "name": fields.get("name") or printable(path.stem), "source": printable(path)}
    if isinstance(fields.get("text"), str):
        fields["text"] = fields["text"].strip()
    return fields


def _is_rubric(content: str, suffix: str) -> bool:
    """Whether a file holds a rubric: JSON, TOML with ``criteria``, or Markdown headed ``# Rubric``."""
    if suffix == ".toml":
        return re.search(r"(?m)^\s*(\[\s*criteria\b|criteria\b)", content) is not None
    return suffix == ".json" or re.match(r"\s*# rubric\b", content, re.IGNORECASE) is not None


def _principle_from_toml(content: str, path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The principle file {path} is not valid TOML: {error}.") from error
    unknown = sorted(set(table) - {"text", "name", "family"})
    if "text" not in table or unknown:
        problem = f"has unknown keys {unknown}" if unknown else "has no key 'text'"
        raise ConfigError(f"The principle file {path} {problem}; the keys are text, name and family.")
    return table


def _split_heading(content: str) -> tuple[str | None, str]:
    """The heading on the first line of a Markdown file, if any, and the rest of the file."""
    first_line, line_break, rest = content.lstrip().partition("\n")
    title = first_line[1:].strip()
    if not line_break or not title or first_line[0] != "#" or not first_line[1].isspace():
        return None, content
    return title.rstrip("#").rstrip() or title, rest


def _rubric_from_markdown(content: str) -> dict[str, Any]:
    head, *sections = re.split(r"(?m)^## +", content)
    title = re.match(r"\s*# +(?:rubric\b:?)?(.*)", head, re.IGNORECASE)
    criteria: dict[str, dict[str, Any]] = {}
    for section in sections:
        name, _, body = section.partition("\n")
        if name.strip() in criteria:
            raise invalid(f"The criterion {name.strip()!r} occurs twice.")
        criteria[name.strip()] = _section(body)
    return {"criteria": criteria, "name": (title[1].strip() or None) if title else None}


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
                raise invalid(f"The line {line.strip()!r} sets {key} a second time.")
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
