"""Language models behind one interface: a request in, a completion or answer probabilities out."""

from rewardanything_core.backends.base import (
    Backend,
    ChoiceProbabilities,
    ChoiceRequest,
    ChoiceResult,
    Completion,
    Request,
    TokenProbability,
)
from rewardanything_core.backends.registry import register_backend
from rewardanything_core.backends.scripted import ScriptedBackend, verdict_reply

__all__ = [
    "Backend",
    "ChoiceProbabilities",
    "ChoiceRequest",
    "ChoiceResult",
    "Completion",
    "Request",
    "ScriptedBackend",
    "TokenProbability",
    "register_backend",
    "verdict_reply",
]
