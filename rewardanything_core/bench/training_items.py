"""Labelled items that a reward head is fitted to or a principle is aligned to."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

from rewardanything_core.bench.items import BenchItem, pairs_of
from rewardanything_core.bench.labels import read_labels
from rewardanything_core.bench.reading import read_items, read_rows
from rewardanything_core.errors import ConfigError

GROUP = "rewardanything.labels"
"""Entry-point group of readers of labels from other applications. The entry point ``mlflow`` reads ``mlflow:NAME``; it
is a function from ``NAME`` and a principle, or None, to items."""


def read_training_items(sources: Sequence[str], *, principle: str | None = None) -> list[BenchItem]:
    """Read labels to fit a head or align a principle to.

    Args:
        sources: Benchmark files; files of a user's own rows as in `read_labels`; or ``mlflow:EXPERIMENT`` for people's
            assessments of an experiment's traces.
        principle: The principle of rows that have none. Labels by criterion of a rubric become an item per criterion.

    Raises:
        ConfigError: a source cannot be read, a row is incomplete, or two items have the same id.
        MissingExtraError: reading a source needs an optional package.
    """
    items: dict[str, BenchItem] = {}
    for source in sources:
        for item in _items(source, principle):
            if item.id in items:
                raise ConfigError(
                    f"{source} has the id {item.id!r}, which another row has too.", hint="Give each source once."
                )
            items[item.id] = item
    return list(items.values())


def report_left_out(problems: Sequence[str], items: Sequence[BenchItem], *, total: int, of: str) -> None:
    """Warn that some labelled texts cannot be judged; for readers of labels, whose callers the warning points to.

    Args:
        problems: What is wrong with each text that is left out.
        items: The items that were made from the others.
        total: The number of labelled texts.
        of: What they are, as in ``labelled traces``.

    Raises:
        ConfigError: none can be judged.
    """
    if not problems:
        return
    summary = f"{len(problems)} of {total} {of} cannot be judged and are left out. {problems[0]}"
    if not items:
        raise ConfigError(summary)
    warnings.warn(summary, stacklevel=3)


def combined_by_prompt(items: Iterable[BenchItem]) -> list[BenchItem]:
    """Items with one response each, combined by prompt and principle so that their scores can be compared."""
    combined: dict[tuple[str, ...], list[BenchItem]] = {}
    for item in items:
        alone = (item.id,) if len(item.responses) > 1 else ()
        key = (item.principle, str(item.prompt), str(item.context), str(item.reference), *alone)
        combined.setdefault(key, []).append(item)
    return [_combined(parts) for parts in combined.values()]


def grouped_by_prompt(items: Iterable[BenchItem]) -> list[BenchItem]:
    """The items, with one group for all that have the same prompt, so that no prompt is on both sides of a split."""
    groups: dict[str, str] = {}
    return [dataclasses.replace(item, group=groups.setdefault(str(item.prompt), item.group)) for item in items]


def _items(source: str, principle: str | None) -> list[BenchItem]:
    path = Path(source)
    if not path.is_file():
        return application_labels(source)(principle)
    _, first = next(read_rows(path), ("", {}))
    has_pairs = any(first.get(field) for field in ("pairs", "ranking", "chosen"))
    read = read_items if has_pairs else read_labels
    return [part for item in read([source], principle=principle) for part in item.parts]


def application_labels(source: str) -> Callable[[str | None], list[BenchItem]]:
    """The reader of labels of another application: from a principle, or None, to items.

    Args:
        source: The application and what to read, such as ``mlflow:EXPERIMENT``.

    Raises:
        ConfigError: there is no such application.
    """
    application, colon, name = source.partition(":")
    for point in entry_points(group=GROUP, name=application) if colon and name else ():
        reader = point.load()
        return lambda principle: reader(name, principle)
    raise ConfigError(
        f"There is no file {source}.",
        hint="Labels of MLflow traces are read from mlflow:EXPERIMENT, an experiment's name.",
    )


def _combined(parts: Sequence[BenchItem]) -> BenchItem:
    """One item with the responses of all parts; scores of different parts are compared too."""
    if len(parts) == 1:
        return parts[0]
    responses = {f"{part.id}/{label}": text for part in parts for label, text in part.responses.items()}
    human = {f"{part.id}/{label}": score for part in parts if part.rated for label, score in (part.human or {}).items()}
    pairs = [(f"{part.id}/{better}", f"{part.id}/{worse}") for part in parts for better, worse in part.pairs]
    return dataclasses.replace(
        parts[0], responses=responses, human=human or None, pairs=tuple(dict.fromkeys([*pairs, *pairs_of(human)]))
    )
