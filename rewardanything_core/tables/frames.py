"""Verdicts for tables: pandas data frames, as Ray and Spark pass them too, and Arrow tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypedDict, TypeVar, Unpack, cast

from rewardanything_core.cases import Case
from rewardanything_core.errors import ConfigError, InvalidCaseError, MissingExtraError
from rewardanything_core.judging.base import DEFAULT_WINDOW, BaseJudge
from rewardanything_core.judging.unusable import UnusableJudgeDetector
from rewardanything_core.principles import Principle
from rewardanything_core.tables import arrow_types
from rewardanything_core.tables.columns import CaseColumns, InputRow
from rewardanything_core.tables.portable_judges import local_judge
from rewardanything_core.tables.results import Kind, ResultColumns
from rewardanything_core.types import JudgeFailure, Verdict

if TYPE_CHECKING:
    import pandas
    import pyarrow

Table = TypeVar("Table")
Outcome: TypeAlias = Verdict | JudgeFailure


class TableOptions(TypedDict, total=False):
    """What to judge in a table. One of ``principle`` and ``principle_column`` is required."""

    principle: Principle | str | None
    """The principle or rubric for all rows."""

    principle_column: str | None
    """Instead, the column with the principle of each row: a text, or a rubric as a mapping or in JSON."""

    judge: BaseJudge | Mapping[str, Any] | str | None
    """A judge; or what to make one from in this process, which happens once: ``judge.spec()``, settings such as
    ``{"model": ..., "api_base": ...}``, or a model string for `resolve_judge`. None: `default_judge`."""

    prompt_column: str
    """A text or a list of chat messages. Default: ``prompt``."""

    responses_column: str | None
    """A mapping label -> response, a list of responses, or one response: a text or a list of messages. A null in a
    mapping is a label, or a part of a message, that the row does not have. A text that spells a list or a mapping, as
    in a frame read from CSV, is refused. Default: ``responses``."""

    response_columns: Sequence[str]
    """Instead, columns that hold one response each, labelled with the column's name."""

    reference_column: str | None
    """A reference answer, or null. Default: ``reference``, in tables that have it. Empty: there are none."""

    context_column: str | None
    """Background for the judge, or null. Default: ``context``, in tables that have it. Empty: there is none."""

    id_column: str | None
    """Ids for the log and for messages. Default: there are none."""

    prefix: str
    """Put before the names of the added columns. Default: empty."""

    window: int
    """The most rows in flight, 1 or more."""


def judge_frames(frames: Iterable[pandas.DataFrame], **options: Unpack[TableOptions]) -> Iterator[pandas.DataFrame]:
    """Judge every row of some data frames, and yield each frame with the columns that ``ra-judge grade`` adds.

    Each frame yields one frame, in order, with the same rows and the same index. A row that makes no valid case or
    could not be judged has the reason in ``error`` and nothing in the other added columns: ``scores``, ``ranking``,
    ``best``, ``agreement``, ``spread``, ``reasoning`` and ``record_id``. Rubrics add further columns: see
    `ResultColumns`.

    Frames are read no further ahead than ``window`` rows, so there may be any number of them.

    Args:
        frames: The data frames. Pass a single one as ``[frame]``.
        **options: See `TableOptions`.

    Raises:
        ConfigError: the options contradict each other, a column is missing or appears twice, an added column exists
            already, or the judge cannot be made.
        MissingExtraError: pandas is not installed.
        RewardAnythingError: one of `SETUP_ERRORS`, such as a refused key, if no row can be judged because of it.
    """
    try:
        import pandas  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Judging data frames", extra="ray") from error
    return _judged(frames, PandasAdapter(), options)


def judge_tables(tables: Iterable[pyarrow.Table], **options: Unpack[TableOptions]) -> Iterator[pyarrow.Table]:
    """`judge_frames` for Arrow tables, whose own columns stay exactly as they are.

    The added columns have the types of `spark_columns`, also where all their values are null.

    Args:
        tables: The tables. Pass a single one as ``[table]``.
        **options: See `TableOptions`.

    Raises:
        ConfigError: as for `judge_frames`.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Judging Arrow tables", extra="parquet") from error
    return _judged(tables, ArrowAdapter(), options)


def spark_columns(prefix: str = "", *, principle: Principle | str = "", principle_column: str | None = None) -> str:
    """The added columns as a Spark schema: ``scores map<string,double>, ...``.

    Args:
        prefix: As for `judge_frames`, as are the others.
        principle: The principle for all rows; needed if it is a rubric, whose criteria have columns.
        principle_column: The column with the principle of each row.
    """
    rule = None if principle_column is not None else Principle.of(principle or "-")
    kinds = ResultColumns(rule, prefix).kinds
    return ", ".join(f"`{name.replace('`', '``')}` {_SPARK_TYPES[kind]}" for name, kind in kinds.items())


_SPARK_TYPES: dict[Kind, str] = {
    "text": "string",
    "number": "double",
    "texts": "array<string>",
    "scores": "map<string,double>",
    "missed": "map<string,array<string>>",
    "criteria": "map<string,struct<scores:map<string,double>,reasoning:string>>",
}


class TableAdapter(ABC, Generic[Table]):
    """The operations that differ between kinds of tables."""

    @abstractmethod
    def names(self, table: Table) -> list[str]:
        """The names of the columns."""

    @abstractmethod
    def rows(self, table: Table, names: Sequence[str]) -> Iterator[InputRow]:
        """The rows, with the cells of some columns.

        Args:
            table: The table.
            names: The columns to read; each name appears once in the table.
        """

    @abstractmethod
    def extended(self, table: Table, added: ResultColumns, rows: Sequence[Mapping[str, Any]]) -> Table:
        """The table with columns added.

        Args:
            table: The table.
            added: The columns.
            rows: Their cells, for each row.
        """


class PandasAdapter(TableAdapter["pandas.DataFrame"]):
    """Data frames. Rows are named by their index labels."""

    def names(self, table: pandas.DataFrame) -> list[str]:
        """The names of the columns."""
        return [str(name) for name in table.columns]

    def rows(self, table: pandas.DataFrame, names: Sequence[str]) -> Iterator[InputRow]:
        """See `TableAdapter.rows`."""
        columns = self.names(table)
        cells = [table.iloc[:, columns.index(name)] for name in names]
        for label, *row in zip(table.index, *cells, strict=True):
            yield InputRow(place=f"row {label}", columns=dict(zip(names, map(_plain, row), strict=True)))

    def extended(
        self, table: pandas.DataFrame, added: ResultColumns, rows: Sequence[Mapping[str, Any]]
    ) -> pandas.DataFrame:
        """See `TableAdapter.extended`."""
        import pandas

        new = {
            name: pandas.Series(
                [row[name] for row in rows], index=table.index, dtype="float64" if kind == "number" else "object"
            )
            for name, kind in added.kinds.items()
        }
        return pandas.concat([table, pandas.DataFrame(new, index=table.index)], axis=1)


class ArrowAdapter(TableAdapter["pyarrow.Table"]):
    """Arrow tables. Rows are named by their position, from 0."""

    def names(self, table: pyarrow.Table) -> list[str]:
        """The names of the columns."""
        return list(table.column_names)

    def rows(self, table: pyarrow.Table, names: Sequence[str]) -> Iterator[InputRow]:
        """See `TableAdapter.rows`."""
        number = 0
        for batch in table.select(names).to_batches(max_chunksize=64):
            for row, unreadable in arrow_types.python_rows(batch):
                cells = {name: _plain(cell) for name, cell in row.items()}
                yield InputRow(place=f"row {number}", columns=cells, unreadable=unreadable)
                number += 1

    def extended(self, table: pyarrow.Table, added: ResultColumns, rows: Sequence[Mapping[str, Any]]) -> pyarrow.Table:
        """See `TableAdapter.extended`."""
        for field in arrow_types.result_fields(added):
            table = table.append_column(field, arrow_types.array([row[field.name] for row in rows], field.type))
        return table


class PendingTable(Generic[Table]):
    """A table whose rows are being judged.

    Args:
        table: The table.
        rows: The number of its rows.
    """

    def __init__(self, table: Table, rows: int) -> None:
        self.table, self.rows = table, rows
        self.invalid: dict[int, JudgeFailure] = {}
        self.outcomes: list[Outcome] = []


def _judged(tables: Iterable[Table], adapter: TableAdapter[Table], options: TableOptions) -> Iterator[Table]:
    """Check the options and make the judge now; read tables when the first result is requested."""
    if unknown := options.keys() - TableOptions.__annotations__:
        raise TypeError(f"There is no option {min(unknown)!r}; there are: {', '.join(TableOptions.__annotations__)}.")
    if hasattr(tables, "columns"):
        raise ConfigError("This takes an iterable of tables or data frames; pass a single one as [table].")
    columns = _case_columns(options)
    rule = options.get("principle")
    principle = None if rule is None else Principle.of(rule)
    judge, added = local_judge(options.get("judge")), ResultColumns(principle, options.get("prefix", ""))
    unfinished: deque[PendingTable[Table]] = deque()

    def cases() -> Iterator[Case | Mapping[str, Any]]:
        for number, table in enumerate(tables, start=1):
            available = adapter.names(table)
            columns.check(available, added, f"Table {number}", option="{}_column")
            pending = PendingTable(table, len(table))  # type: ignore[arg-type]  # both kinds have a length
            unfinished.append(pending)
            for position, row in enumerate(adapter.rows(table, columns.present(available))):
                try:
                    yield columns.case(row, principle, "parquet")
                except InvalidCaseError as error:
                    pending.invalid[position] = JudgeFailure(
                        case_id=error.case_id, error_type="InvalidCaseError", message=str(error)
                    )
                    yield {}  # becomes a failure in the same position, which preserves the order

    def finished() -> Iterator[Table]:
        while unfinished and len(unfinished[0].outcomes) == unfinished[0].rows:
            done = unfinished.popleft()
            yield adapter.extended(done.table, added, [_cells(outcome, added) for outcome in done.outcomes])

    def judged() -> Iterator[Table]:
        detector: UnusableJudgeDetector[None] = UnusableJudgeDetector()
        outcomes = judge.judge_stream(cases(), window=options.get("window", DEFAULT_WINDOW), ordered=True)
        with closing(cast("Generator[tuple[int, Outcome], None, None]", outcomes)):
            certain = (outcome for _, each in outcomes for _, outcome in detector.add(None, each))
            for outcome in chain(certain, (outcome for _, outcome in detector.finish())):
                yield from finished()  # tables without rows
                current = unfinished[0]
                assert outcome is not None
                current.outcomes.append(current.invalid.pop(len(current.outcomes), outcome))
                yield from finished()
            yield from finished()

    return judged()


def _case_columns(options: TableOptions) -> CaseColumns:
    responses, each = options.get("responses_column"), options.get("response_columns") or ()
    if responses is not None and each:
        raise ConfigError("Give responses_column or response_columns, not both.")
    if (options.get("principle") is None) == (options.get("principle_column") is None):
        raise ConfigError("Give either a principle for all rows or a principle_column.")
    return CaseColumns(
        prompt=options.get("prompt_column", "prompt"),
        responses=None if each else responses or "responses",
        each_response=tuple(each),
        principle=options.get("principle_column"),
        reference=options.get("reference_column"),
        context=options.get("context_column"),
        id=options.get("id_column"),
    )


def _cells(outcome: Outcome, added: ResultColumns) -> dict[str, Any]:
    """The added cells. Lone surrogates are escaped, because neither Arrow nor Spark can hold them."""
    return {name: _encodable(cell) for name, cell in added.cells(outcome).items()}


def _encodable(cell: Any) -> Any:
    if isinstance(cell, dict):
        return {key: _encodable(value) for key, value in cell.items()}
    return arrow_types.as_text(cell) if isinstance(cell, str) else cell


def _plain(cell: Any) -> Any:
    """A cell as JSON would have it, from what pandas, Arrow, Ray and Spark make of texts, lists and mappings."""
    import pandas

    if isinstance(cell, str) or cell is None:
        return cell
    if hasattr(cell, "asDict"):  # a nested row of Spark
        cell = cell.asDict()
    elif hasattr(cell, "tolist"):  # a numpy array or scalar
        cell = cell.tolist()
    if isinstance(cell, Mapping):
        return {key: _plain(value) for key, value in cell.items()}
    if isinstance(cell, list | tuple):
        pairs = all(isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) for item in cell)
        if cell and pairs and len(dict(cell)) == len(cell):  # an Arrow map
            return _plain(dict(cell))
        return [_plain(item) for item in cell]
    return None if pandas.api.types.is_scalar(cell) and pandas.isna(cell) else cell
