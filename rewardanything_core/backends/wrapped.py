"""A backend around another one, which has that one's name, abilities and settings."""

from __future__ import annotations

from typing import Any

from rewardanything_core.backends.base import Backend
from rewardanything_core.backends.pricing import Prices


class WrappedBackend(Backend):
    """Base of backends that change what requests to another backend do.

    Args:
        backend: The other backend.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.supports_grammar = backend.supports_grammar  # type: ignore[misc]  # as the backend says
        self.escapes_special_tokens = backend.escapes_special_tokens  # type: ignore[misc]

    @property
    def model(self) -> str:
        """The backend's model."""
        return self._backend.model

    @property
    def prices(self) -> Prices | None:
        """The backend's prices."""
        return self._backend.prices

    @property
    def supports_images(self) -> bool:
        """Whether the backend does."""
        return self._backend.supports_images

    @property
    def supports_option_scores(self) -> bool:
        """Whether the backend does."""
        return self._backend.supports_option_scores

    @property
    def supports_decisions(self) -> bool:
        """Whether the backend does."""
        return self._backend.supports_decisions

    @property
    def max_questions(self) -> int:
        """The backend's largest number of questions."""
        return self._backend.max_questions

    @property
    def num_layers(self) -> int:
        """The backend's layers."""
        return self._backend.num_layers

    def fingerprint(self) -> dict[str, Any]:
        """The backend's fingerprint."""
        return self._backend.fingerprint()

    def spec(self) -> dict[str, Any]:
        """The backend's spec."""
        return self._backend.spec()
