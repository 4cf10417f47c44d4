"""A model whose answers are kept in a file: what was once read off is not run again.

Scores are worked out from these odds by arithmetic, so another constant, or another way to put them together, is tried
on a few hundred cases in seconds. The model is loaded when the first question comes that the file does not answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewardanything_core import Usage
from rewardanything_core.backends.base import (
    Backend,
    ChoiceProbabilities,
    ChoiceRequest,
    ChoiceResult,
    Completion,
    Request,
)
from rewardanything_core.backends.local.backend import LocalBackend
from rewardanything_core.weights.fetch import fetch


class KeptOdds(Backend):
    """An embedded model behind a file of the odds it gave.

    Args:
        model: Name of an embedded model.
        file: JSON lines; made if it is not there.
        live: Whether to ask the model what the file does not know. False: that is a KeyError.
    """

    escapes_special_tokens = LocalBackend.escapes_special_tokens

    def __init__(self, model: str, file: Path, *, live: bool = True) -> None:
        self._name, self._file, self._live = model, file, live
        self._local: LocalBackend | None = None
        self._found: dict[str, tuple[list[float], float]] = {}
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            row = json.loads(line)
            self._found[row["k"]] = (row["p"], row["m"])

    @property
    def model(self) -> str:
        """The model's name."""
        return self._name

    @property
    def local(self) -> LocalBackend:
        """The model itself, loaded now if it was not."""
        if self._local is None:
            self._local = LocalBackend(str(fetch(self._name)), name=self._name)
        return self._local

    def knows(self, question: ChoiceRequest) -> bool:
        """Whether the file answers it."""
        return self._key(question) in self._found

    def _key(self, question: ChoiceRequest) -> str:
        messages = [[message["role"], message["content"]] for message in question.messages]
        content = json.dumps([self._name, messages, list(question.options)])
        return hashlib.sha256(content.encode()).hexdigest()[:24]

    async def score_options(self, questions: Sequence[ChoiceRequest]) -> ChoiceResult:
        """The odds from the file, and from the model where it has none; these are written down."""
        keys = [self._key(question) for question in questions]
        unknown = {k: q for k, q in zip(keys, questions, strict=True) if k not in self._found}
        usage = Usage()
        if unknown:
            if not self._live:
                raise KeyError(f"{len(unknown)} questions are not in {self._file}")
            reading = await self.local.score_options(list(unknown.values()))
            usage = reading.usage
            with self._file.open("a", encoding="utf-8") as file:
                for key, odds in zip(unknown, reading.odds, strict=True):
                    self._found[key] = (list(odds.probabilities.values()), odds.mass)
                    file.write(json.dumps({"k": key, "p": self._found[key][0], "m": odds.mass}) + "\n")
        odds = []
        for key, question in zip(keys, questions, strict=True):
            shares, mass = self._found[key]
            odds.append(ChoiceProbabilities(probabilities=dict(zip(question.options, shares, strict=True)), mass=mass))
        return ChoiceResult(odds=tuple(odds), usage=usage)

    async def complete(self, request: Request) -> Completion:
        """What the model writes; that is not kept."""
        return await self.local.complete(request)

    @property
    def supports_option_scores(self) -> bool:
        """Yes."""
        return True

    def fingerprint(self) -> dict[str, Any]:
        """The model's name."""
        return {"kind": "kept", "model": self._name}

    def spec(self) -> dict[str, Any]:
        """There is none: it is for this process."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the model."""
        if self._local is not None:
            self._local.close()
