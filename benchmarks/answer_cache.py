"""A backend that caches the answer probabilities of an embedded model in a file.

The logits readout computes scores from these probabilities by arithmetic, so another constant or formula can be tried
on a few hundred cases in seconds. The model is loaded on the first question whose answer is not in the file.
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


class AnswerCache(Backend):
    """An embedded model with a file of its answers.

    Args:
        model: Name of an embedded model.
        file: JSON lines; created if it does not exist.
        live: Whether to run the model for questions that are not in the file. False: they raise KeyError.
    """

    escapes_special_tokens = LocalBackend.escapes_special_tokens

    def __init__(self, model: str, file: Path, *, live: bool = True) -> None:
        self._name, self._file, self._live = model, file, live
        self._local: LocalBackend | None = None
        self._answers: dict[str, tuple[list[float], float]] = {}
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            row = json.loads(line)
            self._answers[row["k"]] = (row["p"], row["m"])

    @property
    def model(self) -> str:
        """The model's name."""
        return self._name

    @property
    def local(self) -> LocalBackend:
        """The model itself, loaded on first use."""
        if self._local is None:
            self._local = LocalBackend(str(fetch(self._name)), name=self._name)
        return self._local

    def _key(self, question: ChoiceRequest) -> str:
        messages = [[message["role"], message["content"]] for message in question.messages]
        content = json.dumps([self._name, messages, list(question.options)])
        return hashlib.sha256(content.encode()).hexdigest()[:24]

    async def score_options(self, questions: Sequence[ChoiceRequest]) -> ChoiceResult:
        """The answers from the file; those that are missing come from the model and are added to the file."""
        keys = [self._key(question) for question in questions]
        missing = {key: q for key, q in zip(keys, questions, strict=True) if key not in self._answers}
        usage = Usage()
        if missing:
            if not self._live:
                raise KeyError(f"{len(missing)} questions are not in {self._file}")
            result = await self.local.score_options(list(missing.values()))
            usage = result.usage
            with self._file.open("a", encoding="utf-8") as file:
                for key, answer in zip(missing, result.answers, strict=True):
                    self._answers[key] = (list(answer.probabilities.values()), answer.mass)
                    file.write(json.dumps({"k": key, "p": self._answers[key][0], "m": answer.mass}) + "\n")
        answers = []
        for key, question in zip(keys, questions, strict=True):
            probabilities, mass = self._answers[key]
            by_option = dict(zip(question.options, probabilities, strict=True))
            answers.append(ChoiceProbabilities(probabilities=by_option, mass=mass))
        return ChoiceResult(answers=tuple(answers), usage=usage)

    async def complete(self, request: Request) -> Completion:
        """Generate with the model; replies are not cached."""
        return await self.local.complete(request)

    @property
    def supports_option_scores(self) -> bool:
        """Always."""
        return True

    def fingerprint(self) -> dict[str, Any]:
        """The model's name."""
        return {"kind": "kept", "model": self._name}

    def spec(self) -> dict[str, Any]:
        """Not supported: the backend is for one process."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the model if it was loaded."""
        if self._local is not None:
            self._local.close()
