"""The loop of ``ra-judge grade``: read rows, judge their cases, write the rows in the same order."""

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

from rewardanything_core import BaseJudge, Case, InvalidCaseError, JudgeFailure, Verdict, load_judge
from rewardanything_core.cli._grade_counts import USAGE, Counts, CriterionScores, abstained, waits_for_budget
from rewardanything_core.cli._options import echo, fetch_progress
from rewardanything_core.cli._progress import progress_bar
from rewardanything_core.cli._resumable_output import SIDE_FILES, ResumableOutput
from rewardanything_core.cli._row_readers import STANDARD, count_rows, format_of, format_option, is_stream, read_rows
from rewardanything_core.cli._spending import Spending
from rewardanything_core.errors import ConfigError
from rewardanything_core.judging.unusable import UnusableJudgeDetector
from rewardanything_core.principles import Rubric
from rewardanything_core.tables.columns import CaseColumns, FileFormat, InputRow
from rewardanything_core.tables.results import ResultColumns

_Outcomes: TypeAlias = Generator[tuple[int, Verdict | JudgeFailure], None, None]

_PEEK = 100
"""Rows that are inspected before judging begins, to tell a column that does not exist from one that a row lacks."""


@dataclass(frozen=True, kw_only=True)
class GradeTask:
    """The options of the command."""

    source: str
    """The input file, or ``-``."""

    out: str
    """The output file, or ``-``."""

    format_option: str
    """``--format``."""

    columns: CaseColumns
    """The columns with the parts of a case."""

    default_columns: bool
    """Whether no column with responses was named, so that it is ``responses`` or else ``response``."""

    added: ResultColumns
    """The added columns, with ``--prefix``."""

    limit: int | None
    """``--limit``. None: all rows."""

    window: int | None
    """``--window``. None: the judge's default."""

    overwrite: bool
    """``--overwrite``."""

    retry_failed: bool
    """``--retry-failed``."""

    excel_safe: bool
    """``--excel-safe``."""

    judge: Mapping[str, Any]
    """The arguments for `load_judge`; None for an option that was not given."""

    spending: Spending
    """The options about spending."""


@dataclass(frozen=True, kw_only=True)
class PendingRow:
    """A row that is to be judged, or what is to be written for it instead."""

    row: InputRow
    """The row as it was read."""

    case: Case | None = None
    """What to judge. None: nothing."""

    failure: JudgeFailure | None = None
    """Why there is no case."""

    written: Mapping[str, Any] | None = None
    """The row of an earlier run that stays as it is."""


def run(task: GradeTask) -> dict[str, Any]:
    """Grade a file, and return the summary.

    Raises:
        ConfigError: the input, the output or the settings cannot be used.
        RewardAnythingError: the judge cannot judge any case; rows that failed for this reason are not written.
    """
    started = time.monotonic()
    file_format, out_format = _formats(task)
    rows = read_rows(task.source, file_format)
    once = is_stream(task.source)
    peeked = list(islice(rows, 1 if once else _PEEK))
    if not peeked:
        raise ConfigError(f"{'Standard input' if task.source == STANDARD else task.source} has no rows.")
    if readable := [row for row in peeked if row.problem is None]:
        names = dict.fromkeys(chain.from_iterable(row.columns for row in readable))
        if task.default_columns and "responses" not in names and "response" in names:
            columns = dataclasses.replace(task.columns, responses=None, each_response=("response",))
            task = dataclasses.replace(task, columns=columns)
        task.columns.check(names, task.added, task.source)
    elif not once:
        raise ConfigError(f"No row of {task.source} can be read. In {peeked[0].place}: {peeked[0].problem}.")
    with ExitStack() as stack:
        with fetch_progress() as progress:
            given = {**task.judge, **task.spending.limits}
            given = {name: value for name, value in given.items() if value is not None}
            judge = stack.enter_context(load_judge(progress=progress, **given))
        if once and task.spending.batch:
            raise ConfigError("--batch needs a file, which is read again when the batches have ended.")
        if once and judge.budget is not None:
            echo("No estimate is made of rows from a pipe; the limit holds.")
        elif not once:
            task.spending.confirm(judge, lambda: judge.estimate(_all_cases(task, file_format)))
            task.spending.through_batches(judge, lambda: _all_cases(task, file_format))
        header = _header(task, file_format, peeked) if out_format == "csv" else []
        output = ResumableOutput(
            task.out,
            out_format,
            [*header, *task.added.names],
            added=task.added,
            settings=_settings(task, judge),
            overwrite=task.overwrite,
            excel_safe=task.excel_safe,
        )
        stack.callback(output.close)
        counts, criteria = Counts(), CriterionScores(task.added)
        pending = _pending_rows(task, output, chain(peeked, rows), counts, criteria, file_format)
        show = stack.enter_context(progress_bar(_total(task, file_format)))
        _judge(judge, pending, output, task, counts, criteria, show)
        output.finish()
        if counts.stopped is None:
            output.convert(task.source if file_format == "parquet" else None)
        usage = judge.usage
    return {
        **dataclasses.asdict(counts),
        "criteria": criteria.summary(),
        **{name: getattr(usage, name) for name in USAGE},
        "seconds": round(time.monotonic() - started, 3),
    }


def _judge(
    judge: BaseJudge,
    pending: Iterator[PendingRow],
    output: ResumableOutput,
    task: GradeTask,
    counts: Counts,
    criteria: CriterionScores,
    show: Callable[[Mapping[str, Any]], None],
) -> None:
    in_flight: deque[PendingRow] = deque()
    detector: UnusableJudgeDetector[PendingRow] = UnusableJudgeDetector()

    def cases() -> Iterator[Case | Mapping[str, Any]]:
        for item in pending:
            in_flight.append(item)
            yield item.case or {}  # becomes a failure in the same position, which preserves the order

    def write(item: PendingRow, outcome: Verdict | JudgeFailure | None) -> None:
        if item.written is not None:
            output.add(item.written)
            criteria.add(item.written)
            counts.add_written(item.written[task.added.error])
        else:
            result = item.failure or outcome
            assert result is not None
            cells = task.added.cells(result)
            output.add({**item.row.columns, **cells})
            counts.add(result)
            criteria.add(cells)
        show(vars(counts))

    window = {} if task.window is None else {"window": task.window}
    outcomes = cast("_Outcomes", judge.judge_stream(cases(), ordered=True, **window))
    with closing(outcomes):
        for _, outcome in outcomes:
            item = in_flight.popleft()
            for ready in detector.add(item, None if item.case is None else outcome):
                write(*ready)
        for ready in detector.finish():
            write(*ready)


def _pending_rows(
    task: GradeTask,
    output: ResumableOutput,
    rows: Iterator[InputRow],
    counts: Counts,
    criteria: CriterionScores,
    file_format: FileFormat,
) -> Iterator[PendingRow]:
    """The rows that an earlier run left; all rows if some are judged again, since the file is then written again.

    Once the run has stopped at a limit, rows of the earlier run stay as they are, and no others follow.
    """

    def is_due(written: Mapping[str, Any]) -> bool:
        reason = written[error]
        return bool(reason) and ((task.retry_failed and not abstained(reason)) or waits_for_budget(reason))

    error = task.added.error
    rewrite = any(map(is_due, output.existing_rows()))
    pairs = _with_existing(output, rows)
    if rewrite:
        output.rewrite()
    number = 0
    for row, written in pairs:
        number += 1
        if rewrite:
            again = is_due(written) and counts.stopped is None
            yield _pending(task, row, file_format) if again else PendingRow(row=row, written=written)
        else:
            counts.add_written(written[error])
            criteria.add(written)
    remaining = None if task.limit is None else max(0, task.limit - number)
    for row in islice(rows, remaining):
        if counts.stopped is not None:
            return
        yield _pending(task, row, file_format)


def _all_cases(task: GradeTask, file_format: FileFormat) -> list[Case]:
    rows = islice(read_rows(task.source, file_format), task.limit)
    pending = (_pending(task, row, file_format) for row in rows)
    return [item.case for item in pending if item.case is not None]


def _with_existing(output: ResumableOutput, rows: Iterator[InputRow]) -> Iterator[tuple[InputRow, dict[str, Any]]]:
    existing = output.existing_rows()  # opened before a second file is begun

    def pairs() -> Iterator[tuple[InputRow, dict[str, Any]]]:
        for written in existing:
            row = next(rows, None)
            if row is None:
                raise ConfigError(
                    f"{output.out} has more rows than the input, so it was made from other input.",
                    hint="Choose another -o, or give --overwrite to begin again.",
                )
            output.check(row, written)
            yield row, written

    return pairs()


def _pending(task: GradeTask, row: InputRow, file_format: FileFormat) -> PendingRow:
    if clash := set(row.columns) & set(task.added.names):
        problem = f"In {row.place}: the row has a column {min(clash)!r} of its own; give --prefix."
    else:
        try:
            return PendingRow(row=row, case=task.columns.case(row, task.added.principle, file_format))
        except InvalidCaseError as error:
            problem = str(error)
    failure = JudgeFailure(case_id=task.columns.case_id(row), error_type="InvalidCaseError", message=problem)
    return PendingRow(row=row, failure=failure)


def _formats(task: GradeTask) -> tuple[FileFormat, FileFormat]:
    file_format = format_option(task.format_option) or format_of(task.source)
    if file_format is None and task.source == STANDARD:
        file_format = "jsonl"
    if file_format is None:
        raise ConfigError(f"The name of {task.source} does not imply a format; give --format.")
    if STANDARD not in (task.out, task.source):
        if Path(task.out).resolve() == Path(task.source).resolve():
            raise ConfigError("IN and OUT are the same file; give -o another name.")
        if Path(task.source).resolve() in [Path(f"{task.out}{suffix}").resolve() for suffix in SIDE_FILES]:
            raise ConfigError(f"{task.source} is a file that grade keeps next to OUT; give -o another name.")
    out_format = format_of(task.out) or file_format
    if task.out == STANDARD and out_format == "parquet":
        out_format = "jsonl"
    if task.excel_safe and out_format != "csv":
        raise ConfigError("--excel-safe applies to CSV output only.", hint="Give -o a name that ends in .csv.")
    return file_format, out_format


def _header(task: GradeTask, file_format: FileFormat, peeked: list[InputRow]) -> list[str]:
    """The names of all columns of the input, with which CSV output begins."""
    uneven = file_format == "jsonl" and not is_stream(task.source)
    rows = read_rows(task.source, file_format) if uneven else peeked
    return list(dict.fromkeys(name for row in rows for name in row.columns))


def _total(task: GradeTask, file_format: FileFormat) -> int | None:
    if not sys.stderr.isatty():
        return None
    total = count_rows(task.source, file_format)
    return total if task.limit is None or total is None else min(total, task.limit)


def _settings(task: GradeTask, judge: BaseJudge) -> dict[str, Any]:
    """The settings that must be the same for two runs to write to one file."""
    principle = task.added.principle
    settings = {
        # With the weights and requirements of a rubric, on which its scores depend.
        "principle": principle.to_json()["criteria"] if isinstance(principle, Rubric) else principle and principle.text,
        "columns": dataclasses.asdict(task.columns),
        "prefix": task.added.prefix,
        "model": judge.model,
        **judge.fingerprint(),
    }
    return settings | ({"excel_safe": True} if task.excel_safe else {})
