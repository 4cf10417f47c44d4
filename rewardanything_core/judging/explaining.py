"""Reasons for verdicts of readouts that write none, by a model that is given the scores and cannot change them."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from rewardanything_core.backends.base import Backend, Request
from rewardanything_core.backends.metered import MeteredBackend
from rewardanything_core.cases import Case
from rewardanything_core.errors import BackendError, ConfigError, InvalidCaseError, RewardAnythingError
from rewardanything_core.prompting.explanation_request import explanation_hash, explanation_messages
from rewardanything_core.prompting.masking import draw_order
from rewardanything_core.sampling import SamplingParams
from rewardanything_core.types import Reasons, Usage, Verdict

_log = logging.getLogger("rewardanything_core")

_TOKENS = 300
_TOKENS_PER_RESPONSE = 200


class Explainer:
    """Writes the reasons of verdicts.

    Args:
        backend: The model that writes them.

    Raises:
        ConfigError: it writes nothing.
    """

    def __init__(self, backend: Backend) -> None:
        if backend.prefers_decisions():
            raise ConfigError(
                f"{backend.model} writes nothing, so it cannot give reasons; name one that does as explainer=, such "
                "as 'openai/gpt-5-mini'."
            )
        self._backend = backend if backend.reserves_requests else MeteredBackend(backend)

    def fingerprint(self) -> dict[str, Any]:
        """Everything besides the case and the scores that affects the reasons, as plain JSON."""
        return {"backend": self._backend.fingerprint(), "template": explanation_hash()}

    async def explained(self, verdict: Verdict, case: Case) -> tuple[Verdict, bool]:
        """A verdict with its reasons, or with the error that prevented them: the verdict itself is never lost.

        Args:
            verdict: The verdict, with the labels of ``case``.
            case: Its case.

        Returns:
            The verdict, and whether it has reasons.
        """
        order = draw_order(case, seed=0)
        try:
            text, usage = await self._write(verdict, case, order)
        except RewardAnythingError as error:
            named = "" if case.id is None else f" on case {case.id!r}"
            _log.warning("%s gave no reasons for the verdict%s: %s", self._backend.model, named, error)
            reasons = Reasons(model=self._backend.model, error=f"{type(error).__name__}: {error}")
            return dataclasses.replace(verdict, reasons=reasons, usage=verdict.usage + (error.usage or Usage())), False
        reasons = Reasons(model=self._backend.model, text=text, order=order)
        return dataclasses.replace(verdict, reasons=reasons, usage=verdict.usage + usage), True

    async def _write(self, verdict: Verdict, case: Case, order: list[str]) -> tuple[str, Usage]:
        if case.has_images and not self._backend.supports_images:
            raise InvalidCaseError(
                f"{case} has an image, and {self._backend.model} reads text only.", field="responses"
            )
        messages = explanation_messages(
            case, verdict, order, escape_special_tokens=not self._backend.escapes_special_tokens
        )
        most = _TOKENS + _TOKENS_PER_RESPONSE * len(order)
        sampling = SamplingParams(max_tokens=most, thinking_budget=0)
        completion = await self._backend.complete(Request(messages=messages, sampling=sampling))
        text = completion.answer.rpartition("</think>")[2].strip()
        if not text or completion.truncated:
            problem = f"reached the limit of {most} tokens" if completion.truncated else "wrote nothing"
            error = BackendError(f"{self._backend.model} {problem} in place of reasons.")
            error.usage = completion.usage
            raise error
        return text, completion.usage
