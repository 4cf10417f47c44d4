"""Prompts under test: read from a file, a git revision or MLflow's registry, and filled in for each case."""

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
from rewardanything_core.cli._check.dataset import field_text
from rewardanything_core.cli._check.settings import REGISTRY
from rewardanything_core.errors import ConfigError, MissingExtraError
from rewardanything_core.types import Message

_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][\w.-]*)\s*\}\}")


@dataclass(frozen=True)
class Prompt:
    """An application's prompt.

    ``{{ name }}`` in a message is replaced by a field of the case. A prompt without placeholders is followed by the
    case's own ``prompt`` as the user message.
    """

    source: str
    """Its origin, for messages."""

    messages: tuple[Message, ...]
    """One system or user message for a text; any number for a chat prompt."""

    @classmethod
    def of_text(cls, text: str, source: str) -> Prompt:
        """A prompt of one text: the user message if it has placeholders, otherwise the system message.

        Args:
            text: The text.
            source: Its origin, for messages.

        Raises:
            ConfigError: it is empty.
        """
        if not text.strip():
            raise ConfigError(f"The prompt {source} is empty.")
        role = "user" if _PLACEHOLDER.search(text) else "system"
        return cls(source, (Message(role=role, content=text.strip()),))

    @classmethod
    def of_chat(cls, messages: Any, source: str) -> Prompt:
        """A prompt of chat messages.

        Args:
            messages: A list of mappings with ``role`` and ``content``.
            source: Its origin, for messages.

        Raises:
            ConfigError: it is not such a list.
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
        """Check that the cases have the fields that the prompt uses.

        Raises:
            ConfigError: no case has a field for one of the placeholders, or the ``prompt`` that is needed without them.
        """
        fields = list(dict.fromkeys(name for row in rows for name, value in row.items() if value is not None))
        for name in self.placeholders or ("prompt",):
            if name in fields:
                continue
            if self.placeholders:
                problem = f"has a placeholder {{{{ {name} }}}}, but the cases have no field {name!r}"
            else:
                problem = "has no {{ placeholder }}, so it needs a field 'prompt' for the user message"
            raise ConfigError(f"The prompt {self.source} {problem}; they have {', '.join(map(repr, fields))}.")

    def fill(self, row: Mapping[str, Any], case: str) -> tuple[Message, ...]:
        """The messages for a case.

        Args:
            row: The case's fields.
            case: The name of the case, for messages.

        Raises:
            ConfigError: the case lacks a field that a placeholder names.
        """
        for name in self.placeholders or ("prompt",):
            if row.get(name) is None:
                raise ConfigError(f"The prompt {self.source} needs {name!r}, which {case} does not have.")

        def value(match: re.Match[str]) -> str:
            return field_text(row[match[1]])

        filled = tuple(Message(role=m["role"], content=_PLACEHOLDER.sub(value, m["content"])) for m in self.messages)
        if self.placeholders:
            return filled
        question = row["prompt"]
        if isinstance(question, str):
            return (*filled, Message(role="user", content=question))
        return (*filled, *Prompt.of_chat(question, f"of {case}").messages)


def read_prompt(name: str, revision: str | None = None) -> Prompt:
    """Read a prompt.

    Args:
        name: A file, or ``prompts:/name@alias`` in MLflow's registry. A file that ends in ``.json`` has a list of
            messages; any other is one text.
        revision: The git revision of the file. None: the file as it is now.

    Raises:
        ConfigError: it cannot be read; the message says why.
        MissingExtraError: it is in MLflow's registry and MLflow is not installed.
    """
    if name.startswith(REGISTRY):
        if revision is not None:
            raise ConfigError(f"{name} is in MLflow's registry, which has no git revision {revision!r}.")
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
        raise ConfigError(f"{revision!r} is not a git revision.")
    folder = next((f for f in path.absolute().parents if f.is_dir()), Path.cwd())
    resolved = _git(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if resolved.returncode:
        repository = _git(folder, "rev-parse", "--git-dir")
        if repository.returncode:
            raise ConfigError(f"{path} is not in a readable git repository: {_git_error(repository)}.")
        raise ConfigError(
            f"There is no git revision {revision!r} here.",
            hint="Fetch it first (git fetch origin main). A CI checkout often has only the last commit: with "
            "actions/checkout set fetch-depth: 0.",
        )
    commit = resolved.stdout.decode().strip()
    inner = path.absolute().relative_to(folder).as_posix()
    shown = _git(folder, "show", f"{commit}:./{inner}")
    if shown.returncode:
        raise ConfigError(f"Git revision {revision!r} has no readable {path}: {_git_error(shown)}.")
    try:
        return shown.stdout.decode("utf-8-sig").replace("\r\n", "\n")  # as `read_text` returns it
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} at git revision {revision!r} is not UTF-8: {error}.") from error


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False)  # noqa: S603, S607
    except OSError as error:
        raise ConfigError(f"A prompt at a git revision needs the program git: {error.strerror or error}.") from error


def _git_error(done: subprocess.CompletedProcess[bytes]) -> str:
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
        raise ConfigError(f"{uri} is a Jinja template with blocks; only {{{{ name }}}} placeholders are supported.")
    return Prompt.of_text(template, uri) if isinstance(template, str) else Prompt.of_chat(template, uri)
