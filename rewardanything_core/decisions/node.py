"""Reading JSON strictly: every value is taken with its path, so that an error says where and what is wrong."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rewardanything_core.decisions.limits import SUM_TOLERANCE
from rewardanything_core.errors import DecisionFormatError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Node:
    """A JSON value and its path.

    Every accessor raises `DecisionFormatError` if the value is not what the accessor is for.
    """

    value: Any
    """The value."""

    path: str = ""
    """Where it is, such as ``questions[0].levels[2].label``. Empty: the whole body."""

    def error(self, problem: str) -> DecisionFormatError:
        """The error about this value; ``problem`` continues a sentence that begins with its path."""
        return DecisionFormatError(f"{self.path or 'The body'} {problem}.", path=self.path)

    def expected(self, what: str) -> DecisionFormatError:
        """The error that this value is not ``what``."""
        return self.error(f"is {shown(self.value)}, not {what}")

    def object(self) -> dict[str, Any]:
        """The value as an object."""
        if not isinstance(self.value, dict):
            raise self.expected("an object")
        return self.value

    def list(self) -> list[Node]:
        """The elements of the value, which is a list."""
        if not isinstance(self.value, list):
            raise self.expected("a list")
        return [Node(item, f"{self.path}[{index}]") for index, item in enumerate(self.value)]

    def fields(self) -> dict[str, Node]:
        """The fields of the value, which is an object."""
        return {key: self.child(key) for key in self.object()}

    def child(self, key: str) -> Node:
        """A field's node; its value is None if there is no such field."""
        path = f"{self.path}.{key}" if self.path else key
        return Node(self.object().get(key), path)

    def required(self, key: str) -> Node:
        """A field that must be there."""
        if key not in self.object():
            raise self.child(key).error("is missing")
        return self.child(key)

    def optional(self, key: str, read: Callable[[Node], T]) -> T | None:
        """A field by a reader; None if it is missing or null.

        Args:
            key: The field's name.
            read: Reads the field's node, such as `Node.text`.
        """
        node = self.child(key)
        return None if node.value is None else read(node)

    def only(self, *keys: str) -> None:
        """Check that an object has no fields but these: one that is ignored could change what is asked."""
        for key in self.object():
            if key not in keys:
                raise self.child(key).error(f"is not a known field; known are {', '.join(keys)}")

    def text(self) -> str:
        """The value as a text that is not empty."""
        if not isinstance(self.value, str):
            raise self.expected("a text")
        if not self.value.strip():
            raise self.error("is empty")
        return self.value

    def one_of(self, allowed: Sequence[Any]) -> Any:
        """The value, which is one of these texts or booleans."""
        if not any(_same(self.value, value) for value in allowed):
            raise self.expected(f"one of {', '.join(map(repr, allowed)):.200}")
        return self.value

    def tokens(self, *keys: str) -> int:
        """A number of tokens in nested fields; 0 if there is none, since no answer depends on it.

        Args:
            *keys: The names of the fields, from the outermost one on.
        """
        value = self.value
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value if type(value) is int and value >= 0 else 0

    def number(self) -> float:
        """The value as a finite number."""
        # JSON has integers beyond the range of a float.
        if type(self.value) not in (int, float) or not abs(self.value) <= sys.float_info.max:
            raise self.expected("a finite number")
        return float(self.value)

    def probability(self) -> float:
        """The value as a number from 0 to 1."""
        number = self.number()
        if not 0 <= number <= 1:
            raise self.expected("a probability from 0 to 1")
        return number

    def distribution(self, nodes: Sequence[Node]) -> tuple[float, ...]:
        """Probabilities that sum to 1 within `SUM_TOLERANCE`, divided by their sum."""
        values = [node.probability() for node in nodes]
        total = math.fsum(values)
        if abs(total - 1) > SUM_TOLERANCE:
            raise self.error(f"sum to {total:.6g}, not to 1")
        return tuple(value / total for value in values)

    def size(self, allowed: range, what: str) -> None:
        """Check the number of elements of a list or object.

        Args:
            allowed: The numbers of elements that are allowed.
            what: What the elements are, a plural noun for the error message.
        """
        if len(self.value) not in allowed:
            raise self.error(f"has {len(self.value)} {what}; allowed are {allowed.start} to {allowed.stop - 1}")

    def description(self) -> str | None:
        """`as_text`; None for null and for an empty text, which describe nothing."""
        return None if self.value in (None, "") else self.as_text()

    def as_text(self) -> str:
        """A text as it is, and another JSON object or list as compact JSON."""
        if isinstance(self.value, dict | list) and self.value:
            return compact(self.value)
        return self.text()


def compact(value: Any) -> str:
    """A JSON value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def check_distinct(names: Sequence[Node]) -> None:
    """Check that values (texts or booleans, which differ from each other) occur once each."""
    seen: dict[tuple[type, Any], str] = {}
    for node in names:
        key = (type(node.value), node.value)
        if key in seen:
            raise node.error(f"is {shown(node.value)}, as {seen[key]} is")
        seen[key] = node.path


def shown(value: Any) -> str:
    """A value in an error message: shortened, or its type if it is large; null and booleans as in JSON."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of length {len(value)}"
    return f"{value!r:.80}"


def matched(found: Sequence[Node], expected: Sequence[Any], owner: Node) -> list[int]:
    """For each expected value (distinct texts or booleans), the index of the node that has it.

    Args:
        found: The nodes.
        expected: The values.
        owner: Where the nodes are from, for the error that one is missing.

    Raises:
        DecisionFormatError: the nodes' values are not the expected ones, each once.
    """
    for node in found:
        node.one_of(expected)
    check_distinct(found)
    indices = {(type(node.value), node.value): index for index, node in enumerate(found)}
    for value in expected:
        if (type(value), value) not in indices:
            raise owner.error(f"has nothing for {value!r}")
    return [indices[type(value), value] for value in expected]


def check_depth(node: Node, limit: int) -> None:
    """Check how deeply a JSON value is nested, without recursion.

    Args:
        node: The value.
        limit: Maximum number of levels, 0 or more.
    """
    depth, level = 0, [node.value]
    while level:
        level = [item for value in level if isinstance(value, dict | list) for item in _members(value)]
        depth += 1
        if depth > limit + 1:
            raise node.error(f"is nested more than {limit} levels deep")


def _same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and left == right


def _members(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value
