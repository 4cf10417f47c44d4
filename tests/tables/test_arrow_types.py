"""Arrow cells as Python values, also where Python has no value for them."""

import json

import pyarrow as pa
import pytest

from rewardanything_core.tables.arrow_types import array, can_be_stored, python_rows

NOT_UTF8 = pa.array([b"\xff\xfe", b"ok"], pa.binary()).view(pa.string())
FAR = pa.array([2**62, 1], pa.int64()).cast(pa.timestamp("us"))
UNREADABLE = {
    "time beyond year 9999": FAR,
    "seconds": pa.array([2**50, 1], pa.int64()).cast(pa.timestamp("s")),
    "unknown zone": pa.array([0, 1], pa.int64()).cast(pa.timestamp("us", "Mars/Olympus")),
    "date32": pa.array([2**30, 0], pa.int32()).cast(pa.date32()),
    "date64": pa.array([2**30 * 86_400_000, 0], pa.int64()).cast(pa.date64()),
    "duration": pa.array([2**62, 0], pa.int64()).cast(pa.duration("s")),
    "time of day": pa.array([2**62, 0], pa.int64()).view(pa.time64("us")),
    "text": NOT_UTF8,
    "large text": pa.array([b"\xff\xfe", b"a"], pa.large_binary()).view(pa.large_string()),
    "dictionary": pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), NOT_UTF8),
    "struct": pa.StructArray.from_arrays([NOT_UTF8, FAR], names=["a", "b"]),
    "struct with one name twice": pa.StructArray.from_arrays([pa.array([1, 2])] * 2, names=["a", "a"]),
    "list": pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), NOT_UTF8),
    "map": pa.MapArray.from_arrays(pa.array([0, 1, 2], pa.int32()), pa.array(["x", "y"]), NOT_UTF8),
    "map with a key twice": pa.array([[("a", 1), ("a", 2)], []], pa.map_(pa.string(), pa.int64())),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_cell_without_a_python_value_becomes_text_and_has_a_reason(name):
    batch = pa.record_batch([UNREADABLE[name], pa.array(["a", None])], names=["odd", "plain"])
    (first, why), (second, _) = python_rows(batch)
    assert list(why) == ["odd"]
    assert first["odd"] is not None
    assert (first["plain"], second["plain"]) == ("a", None)
    json.dumps([first, second], default=str)


def test_parts_that_have_a_value_keep_it():
    struct = pa.StructArray.from_arrays([NOT_UTF8, pa.array([1, 2]), FAR], names=["a", "b", "c"])
    ((row, why), _) = python_rows(pa.record_batch([struct], names=["s"]))
    assert row["s"] == {"a": "\\xff\\xfe", "b": 1, "c": "<value out of range: 4611686018427387904>"}
    assert why == {"s": "holds text that is not UTF-8"}


def test_map_keys_can_be_written_in_json():
    batch = pa.record_batch(
        [
            pa.array([[(b"a", 1)]], pa.map_(pa.binary(), pa.int64())),
            pa.array([[(1, 1)]], pa.map_(pa.int64(), pa.int64())),
        ],
        names=["bytes", "integers"],
    )
    ((row, why),) = python_rows(batch)
    assert json.loads(json.dumps(row)) == {"bytes": {"b'a'": 1}, "integers": {"1": 1}}
    assert why == {}


def test_parquet_has_no_column_for_a_struct_without_fields():
    empty = pa.struct([])
    types = [pa.int8(), pa.list_(pa.string()), pa.struct([("a", pa.int8())]), pa.map_(pa.string(), pa.int8())]
    assert all(map(can_be_stored, types))
    assert not any(map(can_be_stored, [empty, pa.list_(empty), pa.struct([("a", empty)]), pa.map_(pa.string(), empty)]))


def test_values_of_a_text_type_are_written_in_json_and_surrogates_escaped():
    assert array([None, "a", {"b": [1]}, "\ud800"], pa.string()).to_pylist() == [None, "a", '{"b": [1]}', "\\ud800"]
