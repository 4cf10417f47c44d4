"""What the two formats have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from rewardanything_core.decisions import openai_format, systemone_format
from rewardanything_core.decisions.types import DecisionRequest, DecisionResponse, Question
from rewardanything_core.errors import DecisionFormatError

DecisionFormatName: TypeAlias = Literal["decisions", "systemone"]
"""The last part of the path of a route."""


class DecisionFormat(Protocol):
    """A format on the wire, in both directions; a module with these functions."""

    PATH: str
    """The path of its route, such as ``/v1/decisions``."""

    def write_request(self, request: DecisionRequest) -> dict[str, Any]:
        """The body of a request.

        Raises:
            DecisionFormatError: the request exceeds a limit of the format, or has what the format has no place for.
        """

    def read_request(self, body: Any) -> DecisionRequest:
        """The request that a decoded JSON body holds.

        Raises:
            DecisionFormatError: it is not one; the message names the path and says what is wrong.
        """

    def write_response(self, response: DecisionResponse, questions: Sequence[Question]) -> dict[str, Any]:
        """The body of a response to these questions.

        Args:
            response: The answers, in the order of the questions.
            questions: The questions of the request.

        Raises:
            DecisionFormatError: an answer has no place in the format, such as a refusal in System One's.
        """

    def read_response(self, body: Any, questions: Sequence[Question]) -> DecisionResponse:
        """The answers in a decoded JSON body, in the order of the questions.

        Args:
            body: The decoded JSON body.
            questions: The questions of the request.

        Raises:
            DecisionFormatError: an answer is missing or does not fit its question, or its probabilities are not a
                distribution.
        """


FORMATS: Mapping[DecisionFormatName, DecisionFormat] = {
    "decisions": openai_format,
    "systemone": systemone_format,
}


def parse_json(text: str | bytes) -> Any:
    """Decode a body.

    Raises:
        DecisionFormatError: it is not JSON. ``NaN`` and ``Infinity``, which Python would accept, are not.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise DecisionFormatError(f"The body is not JSON: {error}.", path="") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")
