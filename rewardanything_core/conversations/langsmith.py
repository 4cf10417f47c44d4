"""LangSmith's runs: of a model, of a tool, and trees of them with ``child_runs``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rewardanything_core.conversations.opentelemetry import time_of
from rewardanything_core.conversations.place import Place
from rewardanything_core.conversations.reader import ReadValue
from rewardanything_core.conversations.spans import Span, read_trace
from rewardanything_core.conversations.turns import Turns

_KINDS = {"llm": "chat", "tool": "tool", "retriever": "tool"}


def recognises(value: Any) -> bool:
    """Whether a value is a run or a list of runs."""
    if isinstance(value, list):
        return bool(value) and all(map(recognises, value))
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("run_type"), str)
        and ("inputs" in value or "outputs" in value)
    )


def read(value: Any, turns: Turns, place: Place, read_value: ReadValue) -> None:
    """Read it; see `reader.Reader`."""
    runs = value if isinstance(value, list) else [value]
    spans = [span for number, run in enumerate(runs) for span in _spans(run, None, f"{number}", place)]
    read_trace(spans, turns, place, read_value)


def _spans(run: Any, parent: str | None, number: str, place: Place) -> Iterator[Span]:
    if not isinstance(run, Mapping):
        raise place.error("has a run that is not a mapping")
    run_id, kind = str(run.get("id") or number), str(run.get("run_type"))
    above = run.get("parent_run_id")
    yield Span(
        kind=_KINDS.get(kind, "other"),  # type: ignore[arg-type]
        id=run_id,
        parent=parent or (str(above) if above else None),
        start=time_of(run.get("start_time")),
        name=str(run.get("name") or ""),
        inputs=_unwrapped(run.get("inputs"), "input") if kind in ("tool", "retriever") else run.get("inputs"),
        outputs=_unwrapped(run.get("outputs"), "output"),
        error=str(run["error"]) if run.get("error") else None,
    )
    for index, child in enumerate(run.get("child_runs") or ()):
        yield from _spans(child, run_id, f"{number}.{index}", place)


def _unwrapped(value: Any, key: str) -> Any:
    """A value that LangSmith put under a key because it has to be a mapping."""
    return value[key] if isinstance(value, Mapping) and set(value) == {key} else value
