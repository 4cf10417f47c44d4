"""Responses that models write to the prompts. Each is kept in a file with its origin as soon as it is there."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rewardanything_core.backends.base import Backend, Request
from rewardanything_core.backends.budget import Budget
from rewardanything_core.backends.texts import write_texts
from rewardanything_core.benchmark_building.lists import PromptRow, content_hash
from rewardanything_core.errors import SETUP_ERRORS, BudgetExceededError, ConfigError, RewardAnythingError
from rewardanything_core.sampling import SamplingParams
from rewardanything_core.types import Message, Usage

Progress = Callable[[int, int], None]
"""Called with (responses available, responses needed)."""

_ORIGIN = ("model", "sample", "truncated", "sampling", "usage")  # of an entry: where its response is from


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """How models write responses.

    Raises:
        ConfigError: an option is out of its range, or several samples would all be the same.
    """

    samples: int = 1
    """How many responses each model writes to each prompt, 1 or more."""

    temperature: float = 0.7
    """Sampling temperature, 0..5."""

    max_tokens: int = 512
    """Maximum length of a response, in tokens."""

    seed: int = 0
    """Seed of the first sample; further ones have the seeds that follow."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ConfigError(f"samples must be 1 or more, not {self.samples!r}.")
        if self.samples > 1 and self.temperature == 0:
            raise ConfigError("Several samples at temperature 0 are all the same; raise the temperature.")
        self.sampling(0)

    def sampling(self, number: int) -> SamplingParams:
        """The sampling parameters of a sample.

        Args:
            number: Its number, from 0.
        """
        return SamplingParams(
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            thinking_budget=0,
            seed=self.seed + number,
        )


@dataclass(frozen=True)
class _Sample:
    """A response that is wanted."""

    row: PromptRow
    model: str
    number: int
    options: SampleOptions

    @property
    def label(self) -> str:
        return self.model if self.options.samples == 1 else f"{self.model}#{self.number + 1}"

    @property
    def messages(self) -> tuple[Message, ...]:
        prompt, context = self.row.prompt, self.row.context
        if not isinstance(prompt, str):
            return ({"role": "system", "content": context}, *prompt) if context else prompt
        return ({"role": "user", "content": f"{context}\n\n{prompt}" if context else prompt},)

    @cached_property
    def key(self) -> str:
        return content_hash([self.model, list(self.messages), dataclasses.asdict(self.options.sampling(self.number))])


class ResponseFile:
    """The responses so far, one on each line. An incomplete last line, of a killed run, is removed.

    Args:
        path: The file, which need not exist.

    Raises:
        ConfigError: it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._entries = dict(self._read())

    def get(self, key: str) -> dict[str, Any] | None:
        """The entry of a sample. None: there is none."""
        return self._entries.get(key)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append an entry, which has its ``key``.

        Raises:
            ConfigError: it cannot be written.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise ConfigError(f"Cannot write {self.path}: {error.strerror or error}.") from error
        self._entries[entry["key"]] = dict(entry)

    def _read(self) -> Iterator[tuple[str, dict[str, Any]]]:
        try:
            text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
            if text and not text.endswith("\n"):
                text = text[: text.rfind("\n") + 1]
                self.path.write_text(text, encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"Cannot read the responses in {self.path}: {reason}.", hint="Move it away to write all once more."
            ) from error
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield self._entry(number, line)

    def _entry(self, number: int, line: str) -> tuple[str, dict[str, Any]]:
        try:
            entry = json.loads(line)
            Usage(**entry["usage"])
            if not isinstance(entry["response"], str) or not set(_ORIGIN) <= set(entry):
                raise ValueError("it is not a response with its origin")
            return str(entry["key"]), entry
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"Cannot read line {number} of {self.path}: {error!r}.",
                hint="Delete this line; its response is then written, and paid for, once more.",
            ) from error


def count_missing(rows: Sequence[PromptRow], models: Sequence[str], options: SampleOptions, file: ResponseFile) -> int:
    """How many responses are not in the file yet.

    Args:
        rows: The prompts.
        models: The names of the models.
        options: How they write.
        file: The responses so far.
    """
    return sum(file.get(sample.key) is None for sample in _samples(rows, models, options))


def with_placeholders(
    rows: Sequence[PromptRow], models: Sequence[str], options: SampleOptions, file: ResponseFile
) -> list[PromptRow]:
    """The rows as they will be, for an estimate: texts of the maximum length are in place of missing responses.

    Args:
        rows: The prompts.
        models: The names of the models.
        options: How they write.
        file: The responses so far.
    """
    filled = []
    for row in rows:
        samples = list(_samples([row], models, options))
        missing = {s.label: f"{s.label} " + "word " * options.max_tokens for s in samples if file.get(s.key) is None}
        filled.append(_with_samples(row, samples, file).with_responses(missing, {}))
    return filled


def sample_responses(
    rows: Sequence[PromptRow],
    models: Mapping[str, Callable[[], Backend]],
    options: SampleOptions,
    *,
    file: ResponseFile,
    budget: Budget | None = None,
    progress: Progress | None = None,
) -> tuple[list[PromptRow], list[str]]:
    """Let models write responses to each prompt; those that are in the file are not written again.

    Args:
        rows: The prompts; responses that they have already are kept.
        models: Name -> what loads the model. One after the other is loaded, if it is needed, and closed again.
        options: How they write.
        file: Where responses are kept, with the model, its sampling parameters and what they took.
        budget: What they are paid from. None: nothing limits them.
        progress: Called after each response.

    Returns:
        The rows with the responses, and for each response that failed the reason.

    Raises:
        RewardAnythingError: a model cannot be used (one of `SETUP_ERRORS`), or could not answer any prompt.
        BudgetExceededError: the budget is used up; the responses so far are in the file.
    """
    wanted = list(_samples(rows, list(models), options))
    done = sum(file.get(sample.key) is not None for sample in wanted)
    failures: list[str] = []
    for model, load in models.items():
        missing = {s.key: s for s in wanted if s.model == model and file.get(s.key) is None}
        if not missing:
            continue
        backend = load()
        try:
            errors = []
            requests = {
                key: Request(messages=sample.messages, sampling=options.sampling(sample.number))
                for key, sample in missing.items()
            }
            for key, completion in write_texts(backend, requests, budget=budget):
                if isinstance(completion, SETUP_ERRORS):
                    raise completion
                if isinstance(completion, RewardAnythingError):
                    errors.append((missing[key], completion))
                elif not completion.answer:
                    errors.append((missing[key], ConfigError("The model wrote nothing.")))
                else:
                    file.add(_entry(missing[key], completion.answer, completion.truncated, completion.usage))
                    done += 1
                if progress is not None:
                    progress(done, len(wanted))
        finally:
            backend.close()
        stopped = next((error for _, error in errors if isinstance(error, BudgetExceededError)), None)
        if stopped is not None or len(errors) == len(missing):
            raise stopped or errors[0][1]
        failures += [f"{sample.label} on {sample.row.id}: {error.args[0]}" for sample, error in errors]
    of_row: dict[str, list[_Sample]] = defaultdict(list)
    for sample in wanted:
        of_row[sample.row.id].append(sample)
    return [_with_samples(row, of_row[row.id], file) for row in rows], failures


def _samples(rows: Sequence[PromptRow], models: Sequence[str], options: SampleOptions) -> Iterator[_Sample]:
    for model in models:
        for number in range(options.samples):
            for row in rows:
                yield _Sample(row, model, number, options)


def _entry(sample: _Sample, text: str, truncated: bool, usage: Any) -> dict[str, Any]:
    return {
        "key": sample.key,
        "prompt_id": sample.row.id,
        "model": sample.model,
        "sample": sample.number + 1,
        "response": text,
        "truncated": truncated,
        "sampling": dataclasses.asdict(sample.options.sampling(sample.number)),
        "usage": dataclasses.asdict(usage),
    }


def _with_samples(row: PromptRow, wanted: Sequence[_Sample], file: ResponseFile) -> PromptRow:
    entries = {sample.label: entry for sample in wanted if (entry := file.get(sample.key)) is not None}
    if taken := [label for label in entries if label in row.responses]:
        raise ConfigError(f"The prompt {row.id!r} has a response named {taken[0]!r}, as the model is; rename it.")
    return row.with_responses(
        {label: entry["response"] for label, entry in entries.items()},
        {label: {name: entry[name] for name in _ORIGIN} for label, entry in entries.items()},
    )
