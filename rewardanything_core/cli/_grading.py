"""The loop of ``ra-judge grade``: rows in, cases through a judge, rows out in the same order."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias, cast

from rewardanything_core import BaseJudge, Case, InvalidCaseError, JudgeFailure, Principle, Verdict, load_judge
from rewardanything_core.cli._options import fetch_progress
from rewardanything_core.cli._progress import progress_bar
from rewardanything_core.cli._rows import STANDARD, count_rows, format_of, read_rows, told_format
from rewardanything_core.cli._run import Run
from rewardanything_core.errors import ConfigError, error_from_failure
from rewardanything_core.tables.columns import Columns, Format, Row, added, results

_Outcomes: TypeAlias = Generator[tuple[int, Verdict | JudgeFailure], None, None]

_PEEK = 100
"""Rows that are looked at before judging begins, to tell a column that does not exist from one that a row lacks."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the command line asked for; see the options of the same names."""

    source: str
    """IN."""

    out: str
    """OUT."""

    told_format: str
    """--format."""

    columns: Columns
    """What to find where."""

    principle: Principle | None
    """None: each row has its own."""

    prefix: str
    """--prefix."""

    limit: int | None
    """None: all rows."""

    window: int | None
    """None: as the judge likes."""

    overwrite: bool
    """--overwrite."""

    retry_failed: bool
    """--retry-failed."""

    judge: Mapping[str, Any]
    """The arguments for `load_judge`; None where nothing was given."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A row on its way: to be judged, or with what is to be written instead."""

    row: Row
    """As it was read."""

    case: Case | None = None
    """What to judge. None: nothing."""

    failure: JudgeFailure | None = None
    """Why there is no case."""

    kept: Mapping[str, Any] | None = None
    """What an earlier run wrote for it, where that stays."""


def run(task: Task) -> dict[str, Any]:
    """Do it, and return the counts for the summary.

    Raises:
        ConfigError: the input, the output or the settings cannot be used; nothing was judged.
    """
    started = time.monotonic()
    kind, out_kind = _formats(task)
    rows = read_rows(task.source, kind)
    peeked = list(islice(rows, 1 if task.source == STANDARD else _PEEK))
    if readable := [row for row in peeked if row.problem is None]:
        task.columns.check(chain.from_iterable(row.columns for row in readable), task.prefix, task.source)
    with ExitStack() as stack:
        with fetch_progress() as progress:
            given = {name: value for name, value in task.judge.items() if value is not None}
            judge = stack.enter_context(load_judge(progress=progress, **given))
        header = _header(task, kind, peeked) if out_kind == "csv" else []
        output = Run(
            task.out,
            out_kind,
            [*header, *added(task.prefix)],
            prefix=task.prefix,
            settings=_settings(task, judge),
            overwrite=task.overwrite,
        )
        stack.callback(output.close)
        counts = dict.fromkeys(("rows", "judged", "from_store", "failed", "done_before"), 0)
        why: list[str] = []
        items = _items(task, output, chain(peeked, rows), counts, kind, why)
        show = stack.enter_context(progress_bar(_total(task, kind)))
        _judge(judge, items, output, task, counts, show, why)
        output.finish()
        output.convert(task.source if kind == "parquet" else None)
        usage = judge.usage
    return {
        **counts,
        "first_failure": why[0] if why else None,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cost": usage.cost,
        "seconds": round(time.monotonic() - started, 3),
    }


def _judge(
    judge: BaseJudge,
    items: Iterator[Item],
    output: Run,
    task: Task,
    counts: dict[str, int],
    show: Callable[[Mapping[str, Any]], None],
    why: list[str],
) -> None:
    in_flight: deque[Item] = deque()

    def cases() -> Iterator[Case | Mapping[str, Any]]:
        for item in items:
            in_flight.append(item)
            yield item.case or {}  # no case comes back as a failure in its place, which keeps the order

    window = {} if task.window is None else {"window": task.window}
    outcomes = cast("_Outcomes", judge.judge_stream(cases(), ordered=True, **window))
    with closing(outcomes):
        for _, outcome in outcomes:
            item = in_flight.popleft()
            if _hopeless(outcome) and not counts["judged"]:
                assert isinstance(outcome, JudgeFailure)
                raise error_from_failure(outcome)
            if item.kept is not None:
                output.add(item.kept)
                counts["done_before"] += 1
            else:
                made = item.failure or outcome
                output.add({**item.row.columns, **results(made, task.prefix)})
                counts[_sort(made)] += 1
                if isinstance(made, JudgeFailure) and not why:
                    why.append(f"{made.error_type}: {made.message}")
            counts["rows"] += 1
            show(counts)


def _hopeless(outcome: Verdict | JudgeFailure) -> bool:
    """Whether every row would fail alike: the endpoint does not accept the key."""
    return isinstance(outcome, JudgeFailure) and outcome.error_type == "AuthenticationError"


def _sort(outcome: Verdict | JudgeFailure) -> str:
    if isinstance(outcome, JudgeFailure):
        return "failed"
    return "from_store" if outcome.cached else "judged"


def _items(
    task: Task, output: Run, rows: Iterator[Row], counts: dict[str, int], kind: Format, why: list[str]
) -> Iterator[Item]:
    """What is left to do after an earlier run; with --retry-failed every row, since they are all written anew."""
    error = task.prefix + "error"
    again = task.retry_failed and any(written[error] for written in output.done())
    done = _paired(output, rows)
    if again:
        output.retry()
    so_far = 0
    for row, written in done:
        so_far += 1
        if again:
            yield _item(task, row, kind) if written[error] else Item(row=row, kept=written)
        else:
            counts["rows"] += 1
            counts["failed" if written[error] else "done_before"] += 1
            if written[error] and not why:
                why.append(str(written[error]))
    left = None if task.limit is None else max(0, task.limit - so_far)
    for row in islice(rows, left):
        yield _item(task, row, kind)


def _paired(output: Run, rows: Iterator[Row]) -> Iterator[tuple[Row, dict[str, Any]]]:
    done = output.done()  # here, so that it reads the old file even if a new one is begun

    def pairs() -> Iterator[tuple[Row, dict[str, Any]]]:
        for written in done:
            row = next(rows, None)
            if row is None:
                raise ConfigError(
                    f"{output.out} has more rows than the input, so it was made from other input.",
                    hint="Choose another -o, or give --overwrite to begin again.",
                )
            output.check(row, written)
            yield row, written

    return pairs()


def _item(task: Task, row: Row, kind: Format) -> Item:
    case_id = task.columns.case_id(row)
    if row.problem is not None:
        problem = f"In {row.place}: {row.problem}."
    elif clash := set(row.columns) & set(added(task.prefix)):
        problem = f"In {row.place}: the row has a column {min(clash)!r} of its own; give --prefix."
    else:
        try:
            return Item(row=row, case=task.columns.case(row, task.principle, kind))
        except InvalidCaseError as error:
            problem = str(error)
    return Item(row=row, failure=JudgeFailure(case_id=case_id, error_type="InvalidCaseError", message=problem))


def _formats(task: Task) -> tuple[Format, Format]:
    kind = told_format(task.told_format) or format_of(task.source)
    if kind is None and task.source == STANDARD:
        kind = "jsonl"
    if kind is None:
        raise ConfigError(f"The name of {task.source} does not say its format; give --format.")
    if task.out != STANDARD and task.source != STANDARD and Path(task.out).resolve() == Path(task.source).resolve():
        raise ConfigError("IN and OUT are the same file; give -o another name.")
    out_kind = format_of(task.out) or kind
    return kind, "jsonl" if task.out == STANDARD and out_kind == "parquet" else out_kind


def _header(task: Task, kind: Format, peeked: list[Row]) -> list[str]:
    """The names of all columns of the input: CSV output begins with them."""
    uneven = kind == "jsonl" and task.source != STANDARD
    rows = read_rows(task.source, kind) if uneven else peeked
    return list(dict.fromkeys(name for row in rows for name in row.columns))


def _total(task: Task, kind: Format) -> int | None:
    if not sys.stderr.isatty():
        return None
    total = count_rows(task.source, kind)
    return total if task.limit is None or total is None else min(total, task.limit)


def _settings(task: Task, judge: BaseJudge) -> dict[str, Any]:
    """All that must be the same for two runs to write into one file."""
    return {
        "principle": task.principle.text if task.principle else None,
        "columns": dataclasses.asdict(task.columns),
        "prefix": task.prefix,
        "model": judge.model,
        **judge.fingerprint(),
    }
