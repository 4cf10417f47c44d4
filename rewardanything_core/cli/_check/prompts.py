"""Prompts under test: read from a file, a git revision or MLflow's registry, and filled in for a case."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rewardanything_core.cases import ROLES
from rewardanything_core.cli._check.dataset import as_text
from rewardanything_core.cli._check.settings import REGISTRY
from rewardanything_core.errors import ConfigError, MissingExtraError
from rewardanything_core.types import Message

_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][\w.-]*)\s*\}\}")


@dataclass(frozen=True)
class Prompt:
    """The wording of an application's prompt.

    Messages with ``{{ name }}`` are filled in from a case's fields. A prompt without any is followed by the case's own
    ``prompt`` as the user's message.
    """

    source: str
    """Where it is from, for messages."""

    messages: tuple[Message, ...]
    """One system or user message for a text; several for a chat prompt."""

    @classmethod
    def of_text(cls, text: str, source: str) -> Prompt:
        """A prompt that is one text: the user's message if it has placeholders, else the system message.

        Raises:
            ConfigError: it is empty.
        """
        if not text.strip():
            raise ConfigError(f"The prompt {source} is empty.")
        role = "user" if _PLACEHOLDER.search(text) else "system"
        return cls(source, (Message(role=role, content=text.strip()),))

    @classmethod
    def of_chat(cls, messages: Any, source: str) -> Prompt:
        """A prompt that is a list of messages, each with ``role`` and ``content``.

        Raises:
            ConfigError: it is no such list.
        """
        if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
            raise ConfigError(f"The prompt {source} must be a list of messages with 'role' and 'content'.")
        for number, message in enumerate(messages, start=1):
            texts = isinstance(message, Mapping) and all(isinstance(message.get(k), str) for k in ("role", "content"))
            if not texts or message["role"] not in ROLES:
                raise ConfigError(
                    f"Message {number} of the prompt {source} must have a 'role' ({', '.join(ROLES)}) and a 'content', "
                    f"both text."
                )
        return cls(source, tuple(Message(role=m["role"], content=m["content"]) for m in messages))

    @cached_property
    def placeholders(self) -> tuple[str, ...]:
        """The names in ``{{ }}``, each once."""
        return tuple(dict.fromkeys(name for m in self.messages for name in _PLACEHOLDER.findall(m["content"])))

    def check(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """See whether the fields of the cases can fill it at all.

        Raises:
            ConfigError: it has a placeholder for which no case has a field, or needs a ``prompt`` that is nowhere.
        """
        fields = list(dict.fromkeys(name for row in rows for name, value in row.items() if value is not None))
        for name in self.placeholders or ("prompt",):
            if name in fields:
                continue
            if self.placeholders:
                problem = f"has a placeholder {{{{ {name} }}}}, but the cases have no field {name!r}"
            else:
                problem = "has no {{ placeholder }}, so it wants a field 'prompt' for the user's message"
            raise ConfigError(f"The prompt {self.source} {problem}; they have {', '.join(map(repr, fields))}.")

    def fill(self, row: Mapping[str, Any], case: str) -> tuple[Message, ...]:
        """The messages for a case.

        Args:
            row: The case's fields.
            case: What to call it in messages.

        Raises:
            ConfigError: the case lacks a field that a placeholder names.
        """
        for name in self.placeholders or ("prompt",):
            if row.get(name) is None:
                raise ConfigError(f"The prompt {self.source} needs {name!r}, which {case} does not have.")

        def value(found: re.Match[str]) -> str:
            return as_text(row[found[1]])

        filled = tuple(Message(role=m["role"], content=_PLACEHOLDER.sub(value, m["content"])) for m in self.messages)
        if self.placeholders:
            return filled
        asked = row["prompt"]
        if isinstance(asked, str):
            return (*filled, Message(role="user", content=asked))
        return (*filled, *Prompt.of_chat(asked, f"of {case}").messages)


def read_prompt(name: str, revision: str | None = None) -> Prompt:
    """The prompt in a file, in a file at a git revision, or in MLflow's registry (``prompts:/name@alias``).

    A file that ends in ``.json`` holds a list of messages; any other is one text.

    Raises:
        ConfigError: there is none; the message says what is missing.
        MissingExtraError: it is in MLflow's registry and MLflow is not installed.
    """
    if name.startswith(REGISTRY):
        if revision is not None:
            raise ConfigError(f"{name} is in MLflow's registry, which knows no git revision {revision!r}.")
        return _from_registry(name)
    if revision is not None:
        return _parsed(_at_revision(Path(name), revision), name, f"{name} at {revision}")
    try:
        text = Path(name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"Cannot read the prompt {name}: {reason}.") from error
    return _parsed(text, name, name)


def _parsed(text: str, name: str, source: str) -> Prompt:
    if Path(name).suffix.lower() != ".json":
        return Prompt.of_text(text, source)
    try:
        return Prompt.of_chat(json.loads(text), source)
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"The prompt {source} cannot be read as JSON: {error}.") from error


def _at_revision(path: Path, revision: str) -> str:
    if not revision or revision.startswith("-"):
        raise ConfigError(f"{revision!r} is no git revision.")
    folder = next((f for f in path.absolute().parents if f.is_dir()), Path.cwd())
    known = _git(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if known.returncode:
        inside = _git(folder, "rev-parse", "--git-dir")
        if inside.returncode:
            raise ConfigError(f"{path} is in no git repository that can be read: {_said(inside)}.")
        raise ConfigError(
            f"There is no git revision {revision!r} here.",
            hint="Fetch it first (git fetch origin main); a CI checkout often has the last commit only: with "
            "actions/checkout set fetch-depth: 0.",
        )
    commit = known.stdout.decode().strip()
    inner = path.absolute().relative_to(folder).as_posix()
    shown = _git(folder, "show", f"{commit}:./{inner}")
    if shown.returncode:
        raise ConfigError(f"Git revision {revision!r} has no readable {path}: {_said(shown)}.")
    try:
        return shown.stdout.decode("utf-8-sig").replace("\r\n", "\n")  # as reading the file would give it
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} at git revision {revision!r} is not UTF-8: {error}.") from error


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False)  # noqa: S603, S607
    except OSError as error:
        raise ConfigError(f"A prompt at a git revision needs the program git: {error.strerror or error}.") from error


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[0].removeprefix("fatal: ").rstrip(".") if lines else f"git failed with status {done.returncode}"


def _from_registry(uri: str) -> Prompt:
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.genai import load_prompt
    except ImportError as error:
        raise MissingExtraError("MLflow's prompt registry", extra="mlflow") from error
    try:
        template = load_prompt(uri).template
    except MlflowException as error:
        raise ConfigError(
            f"Cannot load {uri} from MLflow's prompt registry: {' '.join(str(error).split()).rstrip('.')}.",
            hint="Check its name, and that MLFLOW_TRACKING_URI or MLFLOW_REGISTRY_URI names the right server.",
        ) from error
    text = template if isinstance(template, str) else "".join(str(message.get("content")) for message in template)
    if re.search(r"\{%|\{#", text):
        raise ConfigError(f"{uri} is a Jinja template with blocks; only {{{{ name }}}} placeholders can be filled in.")
    return Prompt.of_text(template, uri) if isinstance(template, str) else Prompt.of_chat(template, uri)
