"""The store's keys: what a verdict depends on besides the case, and the hash of both."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from typing import Any

from rewardanything_core.cases import Case
from rewardanything_core.principles import Rubric


class VerdictKeys:
    """The keys of a judge's verdicts.

    Args:
        settings: What a verdict on texts under one principle depends on, in a list that is not long; as plain JSON.
        under_rubrics: What differs under a rubric.
        with_turns: What differs for conversations with turns.
        max_list: Length above which lists are judged in sub-lists, which their verdicts depend on. None: there are no
            sub-lists.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        under_rubrics: Mapping[str, Any],
        with_turns: Mapping[str, Any],
        max_list: int | None,
    ) -> None:
        self._max_list = max_list
        self._settings = {
            (is_rubric, has_turns, is_long): {
                **settings,
                **(under_rubrics if is_rubric else {}),
                **(with_turns if has_turns else {}),
                **({"max_list": max_list} if is_long else {}),
            }
            for is_rubric, has_turns, is_long in itertools.product((False, True), repeat=3)
        }
        self._json = {kind: to_json(content) for kind, content in self._settings.items()}

    def settings(self, case: Case) -> Mapping[str, Any]:
        """What the verdict on a case depends on besides the case."""
        return self._settings[self._kind(case)]

    def key(self, case: Case) -> str:
        """SHA-256 of everything that the verdict depends on. Labels are not part of it."""
        return hashlib.sha256(f'["{case.digest}", {self._json[self._kind(case)]}]'.encode()).hexdigest()

    def _kind(self, case: Case) -> tuple[bool, bool, bool]:
        is_long = self._max_list is not None and len(case.responses) > self._max_list
        return isinstance(case.principle, Rubric), case.has_turns, is_long


def to_json(settings: Mapping[str, Any]) -> str:
    """Settings as canonical JSON."""
    return json.dumps(settings, sort_keys=True, ensure_ascii=False)
