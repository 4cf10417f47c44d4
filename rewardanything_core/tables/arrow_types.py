"""Arrow: the types of the columns that a verdict adds, and cells converted to and from Python values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rewardanything_core.tables.results import ResultColumns

if TYPE_CHECKING:
    import pyarrow


def result_fields(added: ResultColumns) -> list[pyarrow.Field]:
    """The fields of the added columns. Scores are a map, since each row may have labels of its own."""
    import pyarrow

    text, number = pyarrow.string(), pyarrow.float64()
    texts, scores = pyarrow.list_(text), pyarrow.map_(text, number)
    criterion = pyarrow.struct({"scores": scores, "reasoning": text})
    types = {"text": text, "number": number, "texts": texts, "scores": scores}
    types |= {"missed": pyarrow.map_(text, texts), "criteria": pyarrow.map_(text, criterion)}
    return [pyarrow.field(name, types[kind]) for name, kind in added.kinds.items()]


def array(values: list[Any], kind: pyarrow.DataType) -> pyarrow.Array:
    """Convert Python values to an array.

    Args:
        values: The values. For a text type, a value that is not text is written in JSON, and a lone surrogate is
            escaped.
        kind: The array's type.

    Raises:
        pyarrow.ArrowException: a value does not fit the type.
        OverflowError: a number does not fit the type.
    """
    import pyarrow

    if pyarrow.types.is_map(kind) or pyarrow.types.is_string(kind):
        values = [_for_arrow(value, kind) for value in values]
    return pyarrow.array(values, type=kind)


def _for_arrow(value: Any, kind: pyarrow.DataType) -> Any:
    """The value with a list of pairs for each map, and text that Arrow can hold, at any depth."""
    import pyarrow

    if value is None:
        return None
    if pyarrow.types.is_map(kind):
        return [(key, _for_arrow(item, kind.item_type)) for key, item in value.items()]
    if pyarrow.types.is_struct(kind):
        return {field.name: _for_arrow(value[field.name], field.type) for field in kind}
    return as_text(value) if pyarrow.types.is_string(kind) else value


def as_text(value: Any) -> str:
    """A text as it is, a value that JSON has in JSON, and any other, such as a date, as Python writes it.

    Lone surrogates, which UTF-8 cannot hold, are escaped.

    Args:
        value: A Python value.
    """
    is_json = value is None or isinstance(value, bool | int | float | list | dict)
    text = json.dumps(value, ensure_ascii=False, default=str) if is_json else str(value)
    return text.encode(errors="backslashreplace").decode()


def can_be_stored(kind: pyarrow.DataType) -> bool:
    """Whether Parquet has a column for this type, which it has not for a struct without fields at any depth."""
    import pyarrow

    if pyarrow.types.is_struct(kind) and kind.num_fields == 0:
        return False
    return all(can_be_stored(kind.field(i).type) for i in range(kind.num_fields))


def python_rows(batch: pyarrow.RecordBatch) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """The rows of a batch as Python values.

    Python has no value for some cells: times beyond the year 9999, times of unknown zones, text that is not UTF-8,
    structs with two fields of one name, maps with a key twice. Each of those becomes text, or a list of pairs.

    Yields:
        Column -> value for each row; and column -> reason for the cells that have no Python value.
    """
    rows = _all_rows(batch) if all(map(_has_json_keys, batch.schema.types)) else None
    if rows is not None:
        yield from ((row, {}) for row in rows)
        return
    for number in range(batch.num_rows):
        row: dict[str, Any] = {}
        unreadable: dict[str, str] = {}
        for name in batch.schema.names:
            cell = batch.select([name]).slice(number, 1)
            try:
                row[name] = _with_json_keys(cell.to_pylist(maps_as_pydicts="strict")[0][name])
            except Exception as error:  # noqa: BLE001 (as below)
                row[name] = _readable(cell.column(0)[0])
                unreadable[name] = _reason(error, cell.schema.types[0])
        yield row, unreadable


def _all_rows(batch: pyarrow.RecordBatch) -> list[dict[str, Any]] | None:
    """The rows of a batch; None if a cell has no Python value."""
    try:
        rows: list[dict[str, Any]] = batch.to_pylist(maps_as_pydicts="strict")
    except Exception:  # noqa: BLE001 (Arrow passes on the errors of pytz, zoneinfo, pandas, datetime and codecs)
        return None
    return rows


def _has_json_keys(kind: pyarrow.DataType) -> bool:
    import pyarrow

    if pyarrow.types.is_map(kind):
        key = kind.key_type
        numeric = pyarrow.types.is_integer(key) or pyarrow.types.is_floating(key) or pyarrow.types.is_boolean(key)
        if not (numeric or pyarrow.types.is_string(key) or pyarrow.types.is_large_string(key)):
            return False
    return all(_has_json_keys(kind.field(i).type) for i in range(kind.num_fields))


def _with_json_keys(value: Any) -> Any:
    """The value with keys that JSON can write; mappings whose keys would clash become lists of pairs."""
    if isinstance(value, list):
        return [_with_json_keys(item) for item in value]
    if not isinstance(value, dict):
        return value
    pairs = [
        (key if isinstance(key, str | int | float | None) else str(key), _with_json_keys(item))
        for key, item in value.items()
    ]
    return dict(pairs) if len(dict(pairs)) == len(pairs) else [list(pair) for pair in pairs]


def _readable(scalar: pyarrow.Scalar) -> Any:
    """The value, with text in place of the parts for which Python has none."""
    import pyarrow

    if not scalar.is_valid:
        return None
    kind = scalar.type
    if pyarrow.types.is_map(kind):
        return [[_readable(pair[0]), _readable(pair[1])] for pair in _items(scalar.values)]
    if pyarrow.types.is_struct(kind):
        names = [kind.field(i).name for i in range(kind.num_fields)]
        values = [_readable(scalar[i]) for i in range(kind.num_fields)]
        pairs = zip(names, values, strict=True)
        return dict(pairs) if len(set(names)) == len(names) else [list(pair) for pair in pairs]
    if pyarrow.types.is_nested(kind) and hasattr(scalar, "values"):
        return [_readable(item) for item in _items(scalar.values)]
    if pyarrow.types.is_dictionary(kind):
        return _readable(scalar.dictionary[scalar.index.as_py()])
    try:
        return scalar.as_py()
    except Exception:  # noqa: BLE001 (as above)
        if hasattr(scalar, "as_buffer"):
            return scalar.as_buffer().to_pybytes().decode(errors="backslashreplace")
        return pyarrow.array([scalar], type=kind).to_string().strip("[]\n ")


def _items(values: pyarrow.Array) -> Iterator[pyarrow.Scalar]:
    return (values[i] for i in range(len(values)))


def _reason(error: Exception, kind: pyarrow.DataType) -> str:
    import pyarrow

    if isinstance(error, UnicodeDecodeError):
        return "holds text that is not UTF-8"
    if isinstance(error, KeyError) and pyarrow.types.is_map(kind):
        return "holds a map with a key that appears twice"
    return f"holds a value of type {kind} that Python cannot represent"
