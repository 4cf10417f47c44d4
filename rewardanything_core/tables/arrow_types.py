"""Arrow: the types of the columns that a verdict adds, and values put into them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rewardanything_core.tables.columns import RESULTS

if TYPE_CHECKING:
    import pyarrow


def result_fields(prefix: str) -> list[pyarrow.Field]:
    """The columns of `RESULTS`. Scores are a map, since each row may have labels of its own."""
    import pyarrow

    scores = pyarrow.map_(pyarrow.string(), pyarrow.float64())
    kinds = {"scores": scores, "spread": scores, "agreement": pyarrow.float64()}
    kinds["ranking"] = pyarrow.list_(pyarrow.string())
    return [pyarrow.field(prefix + name, kinds.get(name, pyarrow.string())) for name in RESULTS]


def array(values: list[Any], kind: pyarrow.DataType) -> pyarrow.Array:
    """Values as an array of a type; where that is text, what is no text in JSON, and half a surrogate pair escaped."""
    import pyarrow

    if pyarrow.types.is_map(kind):
        values = [None if value is None else list(value.items()) for value in values]
    elif pyarrow.types.is_string(kind):
        values = [_text(value) for value in values]
    return pyarrow.array(values, type=kind)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode(errors="backslashreplace").decode()
