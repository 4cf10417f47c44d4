"""Tables in, the same tables with verdicts out: data frames for pandas, Ray and Spark, and Arrow's tables likewise."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypedDict, TypeVar, Unpack, cast

from rewardanything_core.cases import Case
from rewardanything_core.config import read_settings
from rewardanything_core.errors import ConfigError, InvalidCaseError, MissingExtraError
from rewardanything_core.judging.base import DEFAULT_WINDOW, BaseJudge
from rewardanything_core.loading import default_judge, load_judge
from rewardanything_core.principles import Principle
from rewardanything_core.tables import arrow_types
from rewardanything_core.tables.columns import RESULTS, Columns, Row, results
from rewardanything_core.types import JudgeFailure, Verdict

if TYPE_CHECKING:
    import pandas
    import pyarrow

Table = TypeVar("Table")
Outcome: TypeAlias = Verdict | JudgeFailure


class TableOptions(TypedDict, total=False):
    """What to judge in a table, and by what. One of ``principle`` and ``principle_column`` is needed."""

    principle: Principle | str | None
    """The principle for all rows."""

    principle_column: str | None
    """Instead, the column with one for each row."""

    judge: BaseJudge | Mapping[str, Any] | None
    """A judge; or what makes one in this process, where it is made once and kept: ``judge.spec()``, or settings such as
    ``{"model": ..., "api_base": ...}``. None: `default_judge`."""

    prompt_column: str
    """A text or a list of chat messages. Not given: ``prompt``."""

    responses_column: str | None
    """A mapping label -> text, a list of texts, or one text. A null in a mapping is a label that the row lacks.
    Not given: ``responses``."""

    response_columns: Sequence[str]
    """Instead, columns that hold one response each, labelled with the column's name."""

    reference_column: str | None
    """A good answer to compare with, or null. Not given: there are none."""

    context_column: str | None
    """Background that the judge should know, or null. Not given: there is none."""

    id_column: str | None
    """Ids for the log and for messages. Not given: there are none."""

    prefix: str
    """Put before the names of the columns that are added."""

    window: int
    """Most rows in flight, 1 or more."""


def judge_frames(frames: Iterable[pandas.DataFrame], **options: Unpack[TableOptions]) -> Iterator[pandas.DataFrame]:
    """Judge every row of some data frames, and yield each frame with the columns that ``ra-judge grade`` adds.

    For each frame one comes out, in order, with the same rows and index: no row is dropped, doubled or moved. A row
    that could not be judged, or makes no valid case, has the reason in ``error`` and nothing in the other added
    columns: ``scores``, ``ranking``, ``best``, ``agreement``, ``spread``, ``reasoning`` and ``record_id``.

    Frames are read only as far ahead as ``window`` rows reach, so there may be any number of them.

    Args:
        frames: Data frames. For a single one give ``[frame]``.
        **options: See `TableOptions`.

    Raises:
        ConfigError: the options contradict each other, a column is missing, or there is one already that would be
            added; or the judge cannot be had.
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Judging data frames", extra="ray") from error
    return _judged(frames, _Frames(), options)


def judge_tables(tables: Iterable[pyarrow.Table], **options: Unpack[TableOptions]) -> Iterator[pyarrow.Table]:
    """`judge_frames` for tables of Arrow, whose own columns stay exactly as they are.

    The types of the added columns are those of `spark_columns`, also where all their values are null.

    Raises:
        ConfigError: as there.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Judging tables of Arrow", extra="parquet") from error
    return _judged(tables, _Tables(), options)


def spark_columns(prefix: str = "") -> str:
    """The columns that are added, as Spark writes a schema: ``scores map<string,double>, ...``."""
    scores = "map<string,double>"
    kinds = {"scores": scores, "spread": scores, "ranking": "array<string>", "agreement": "double"}
    return ", ".join(f"`{prefix}{name}` {kinds.get(name, 'string')}" for name in RESULTS)


def portable_spec(judge: BaseJudge | Mapping[str, Any] | None = None, *, store: str | None = None) -> dict[str, Any]:
    """What another machine needs to make this judge, as plain JSON: for ``judge_frames(judge=...)`` there.

    Settings are read here, from variables and ``ra-judge.toml`` as `load_judge` does; no model is loaded. It holds no
    key: the variable that ``api_key_env`` names has to be set there too.

    Args:
        judge: A judge, a spec, or settings. None: the settings alone.
        store: Where verdicts are kept there: a file on a disk of that machine, never on one that several share over a
            network, where SQLite's locks do not hold. None: they are not kept; the frames hold them.

    Raises:
        ConfigError: a setting is wrong, or this judge cannot travel.
    """
    keeping = {"cache": "off"} if store is None else {"cache": "on", "store": store}
    if isinstance(judge, BaseJudge):
        judge = judge.spec()
    if judge is not None and _is_spec(judge):
        return _keeping(judge, keeping)
    settings = dict(judge or {}) | keeping
    settings = read_settings(settings.pop("config", None), settings)
    for juror in settings.get("jury", []):
        juror.update(keeping)
    return settings


def _keeping(spec: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    if "jurors" in spec:
        return {**spec, "jurors": [_keeping(juror, changes) for juror in spec["jurors"]]}
    return {**spec, "options": {**spec["options"], **changes}}


def _is_spec(judge: Mapping[str, Any]) -> bool:
    return "jurors" in judge or isinstance(judge.get("backend"), Mapping)


_lock = threading.Lock()
_latest: list[tuple[str, BaseJudge]] = []


def _here(judge: BaseJudge | Mapping[str, Any] | None) -> BaseJudge:
    """The judge meant, in this process.

    What a spec or settings make is kept until other ones come: Spark calls a function anew for each partition, and Ray
    for each batch, in processes that they keep.

    Args:
        judge: A judge, a spec, or settings. None: `default_judge`.

    Raises:
        ConfigError: it is none of these.
    """
    if judge is None or isinstance(judge, BaseJudge):
        return default_judge() if judge is None else judge
    if not isinstance(judge, Mapping):
        raise ConfigError(f"judge must be a judge, its spec() or a mapping of settings, not {type(judge).__name__}.")
    key = json.dumps(judge, sort_keys=True, default=str)
    with _lock:
        if not _latest or _latest[0][0] != key:
            _latest[:] = [(key, load_judge(judge) if _is_spec(judge) else load_judge(**judge))]
        return _latest[0][1]


class TableAdapter(ABC, Generic[Table]):
    """What is done alike with frames and tables, and is spelled otherwise."""

    @abstractmethod
    def names(self, table: Table) -> list[str]:
        """Of the columns."""

    @abstractmethod
    def rows(self, table: Table, wanted: Sequence[str]) -> Iterator[tuple[object, dict[str, Any]]]:
        """What to call each row, and its cells in some columns."""

    @abstractmethod
    def extended(self, table: Table, added: Mapping[str, list[Any]], prefix: str) -> Table:
        """The table with columns added."""


class _Frames(TableAdapter["pandas.DataFrame"]):
    def names(self, table: pandas.DataFrame) -> list[str]:
        return [str(name) for name in table.columns]

    def rows(self, table: pandas.DataFrame, wanted: Sequence[str]) -> Iterator[tuple[object, dict[str, Any]]]:
        cells = [table.iloc[:, self.names(table).index(name)] for name in wanted]
        for label, *row in zip(table.index, *cells, strict=True):
            yield label, dict(zip(wanted, map(_plain, row), strict=True))

    def extended(self, table: pandas.DataFrame, added: Mapping[str, list[Any]], prefix: str) -> pandas.DataFrame:
        import pandas

        kinds = {f"{prefix}agreement": "float64"}
        new = {
            name: pandas.Series(values, index=table.index, dtype=kinds.get(name, "object"))
            for name, values in added.items()
        }
        return table.assign(**new)


class _Tables(TableAdapter["pyarrow.Table"]):
    def names(self, table: pyarrow.Table) -> list[str]:
        return list(table.column_names)

    def rows(self, table: pyarrow.Table, wanted: Sequence[str]) -> Iterator[tuple[object, dict[str, Any]]]:
        place = 0
        for batch in table.select(list(dict.fromkeys(wanted))).to_batches(max_chunksize=64):
            for row in batch.to_pylist():
                yield place, {name: _plain(cell) for name, cell in row.items()}
                place += 1

    def extended(self, table: pyarrow.Table, added: Mapping[str, list[Any]], prefix: str) -> pyarrow.Table:
        for field, values in zip(arrow_types.result_fields(prefix), added.values(), strict=True):
            table = table.append_column(field, arrow_types.array(values, field.type))
        return table


class PendingTable(Generic[Table]):
    """A table whose rows are being judged."""

    def __init__(self, table: Table, rows: int) -> None:
        self.table, self.rows = table, rows
        self.refused: dict[int, JudgeFailure] = {}
        self.outcomes: list[Outcome] = []


def _judged(tables: Iterable[Table], face: TableAdapter[Table], options: TableOptions) -> Iterator[Table]:
    """Check the options and get the judge now; the rest when the first table is asked for."""
    if unknown := options.keys() - TableOptions.__annotations__:
        raise TypeError(f"There is no option {min(unknown)!r}; there are: {', '.join(TableOptions.__annotations__)}.")
    if hasattr(tables, "columns"):
        raise ConfigError("This takes an iterable of tables or data frames; for a single one give [table].")
    columns = _columns(options)
    told = options.get("principle")
    principle = None if told is None else Principle.of(told)
    judge, prefix = _here(options.get("judge")), options.get("prefix", "")
    unfinished: deque[PendingTable[Table]] = deque()

    def cases() -> Iterator[Case | Mapping[str, Any]]:
        for number, table in enumerate(tables, start=1):
            columns.check(face.names(table), prefix, f"Table {number}", option="{}_column")
            unfinished.append(opened := PendingTable(table, len(table)))  # type: ignore[arg-type]  # both kinds have a length
            for place, (label, cells) in enumerate(face.rows(table, columns.names)):
                try:
                    yield columns.case(Row(place=f"row {label}", columns=cells), principle, "parquet")
                except InvalidCaseError as error:
                    opened.refused[place] = JudgeFailure(
                        case_id=error.case_id, error_type="InvalidCaseError", message=str(error)
                    )
                    yield {}  # comes back as a failure in its place, which keeps the order

    def finished() -> Iterator[Table]:
        while unfinished and len(unfinished[0].outcomes) == unfinished[0].rows:
            done = unfinished.popleft()
            yield face.extended(done.table, _verdict_columns(done.outcomes, prefix), prefix)

    def judged() -> Iterator[Table]:
        outcomes = judge.judge_stream(cases(), window=options.get("window", DEFAULT_WINDOW), ordered=True)
        with closing(cast("Generator[tuple[int, Outcome], None, None]", outcomes)):
            for _, outcome in outcomes:
                yield from finished()  # tables without rows
                now = unfinished[0]
                now.outcomes.append(now.refused.pop(len(now.outcomes), outcome))
                yield from finished()
            yield from finished()

    return judged()


def _columns(options: TableOptions) -> Columns:
    responses, each = options.get("responses_column"), options.get("response_columns") or ()
    if responses is not None and each:
        raise ConfigError("Give responses_column or response_columns, not both.")
    if (options.get("principle") is None) == (options.get("principle_column") is None):
        raise ConfigError("Give either a principle for all rows or a principle_column.")
    return Columns(
        prompt=options.get("prompt_column", "prompt"),
        responses=None if each else responses or "responses",
        each_response=tuple(each),
        principle=options.get("principle_column"),
        reference=options.get("reference_column"),
        context=options.get("context_column"),
        id=options.get("id_column"),
    )


def _verdict_columns(outcomes: Sequence[Outcome], prefix: str) -> dict[str, list[Any]]:
    """The added columns. No text has half a surrogate pair, which neither Arrow nor Spark could carry."""
    rows = [results(outcome, "") for outcome in outcomes]
    told = {name: [row[name] for row in rows] for name in RESULTS}
    for name in ("reasoning", "error"):
        told[name] = [text and text.encode(errors="backslashreplace").decode() for text in told[name]]
    return {prefix + name: values for name, values in told.items()}


def _plain(cell: Any) -> Any:
    """A cell as JSON would have it, from what pandas, Arrow, Ray and Spark make of texts, lists and mappings."""
    import pandas

    if isinstance(cell, str) or cell is None:
        return cell
    if hasattr(cell, "asDict"):  # a row within a row, as Spark has them
        cell = cell.asDict()
    elif hasattr(cell, "tolist"):  # an array of numpy, or one of its numbers
        cell = cell.tolist()
    if isinstance(cell, Mapping):
        return {key: _plain(value) for key, value in cell.items()}
    if isinstance(cell, list | tuple):
        pairs = all(isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) for item in cell)
        if cell and pairs and len(dict(cell)) == len(cell):  # a map, as Arrow has them
            return _plain(dict(cell))
        return [_plain(item) for item in cell]
    return None if pandas.api.types.is_scalar(cell) and pandas.isna(cell) else cell
