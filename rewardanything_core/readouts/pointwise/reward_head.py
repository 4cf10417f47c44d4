"""Reward heads: linear functions of a model's hidden state that score how well a response fits a principle.

The state is taken after a layer of the model, at the position where the answer to the question about the response would
begin. A head is an ensemble of linear functions fitted to resampled data; their mean is the score and their standard
deviation its error. It is a safetensors file of a few kilobytes with a card in its metadata.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardanything_core.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    import numpy as np

_FORMAT = "rewardanything-head-1"
_SHIPPED = Path(__file__).parent / "heads"


@dataclass(frozen=True, kw_only=True, eq=False)
class RewardHead:
    """A reward head for one model."""

    model: str
    """The name of the model whose hidden states it takes."""

    layer: int
    """The number of layers to run, 1 or more."""

    questions_hash: str
    """Hash of the wording of the question; see `QuestionSet.fit_hash`."""

    weights: np.ndarray
    """(members, hidden size) float32."""

    offsets: np.ndarray
    """(members,) float32. A member's score is its weights times the state plus its offset, in log-odds: 0 is a response
    as good as the average one, and the difference of two is the log-odds that the first is the better one."""

    step: float
    """Log-odds per unit of the scale from 1 to 5, above 0."""

    feature_weight: float = 0.0
    """Weight of text features and groundedness, relative to the head's score; 0: they do not count."""

    card: Mapping[str, Any] = field(default_factory=dict)
    """How it was made and how well it judges, as plain JSON."""

    @classmethod
    def from_weights(
        cls, weights: np.ndarray, states: np.ndarray, *, model: str, layer: int, questions_hash: str, **options: Any
    ) -> RewardHead:
        """A head on the scale of some responses: the average one scores 3, one a standard deviation above it 4.

        Args:
            weights: (members, hidden size), in log-odds.
            states: (responses, hidden size) the states of these responses.
            model: See `RewardHead.model`.
            layer: See `RewardHead.layer`.
            questions_hash: See `RewardHead.questions_hash`.
            **options: Other fields.
        """
        import numpy as np

        weights = weights.astype(np.float32)
        scores = states.astype(np.float32) @ weights.T
        step = float(scores.mean(axis=1).std()) / math.log(3) or 1.0
        return cls(
            model=model,
            layer=layer,
            questions_hash=questions_hash,
            weights=weights,
            offsets=-scores.mean(axis=0),
            step=step,
            **options,
        )

    def scores(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the members' scores.

        Args:
            states: (responses, hidden size).

        Returns:
            Two arrays of shape (responses,), in log-odds.
        """
        members = states @ self.weights.T + self.offsets
        if len(states) == 1:
            return members.mean(axis=1), members.std(axis=1)
        # What members disagree on for all responses of a case alike does not make their order less certain.
        shifts = members.mean(axis=0) - members.mean()
        return members.mean(axis=1), (members - shifts).std(axis=1)

    @cached_property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of everything that affects scores."""
        digest = hashlib.sha256(
            json.dumps([self.model, self.layer, self.questions_hash, self.step, self.feature_weight]).encode()
        )
        digest.update(self.weights.tobytes())
        digest.update(self.offsets.tobytes())
        return digest.hexdigest()[:16]

    def check(self, model: str, num_layers: int) -> None:
        """Check that it belongs to a model.

        Args:
            model: The model's name.
            num_layers: The number of layers whose hidden states are available.

        Raises:
            ConfigError: it does not.
        """
        if num_layers < self.layer:
            raise ConfigError(
                f"readout='head' needs the hidden states of a model on this machine, or of a server of its backbone "
                f"(states_base), and {model} provides none."
                if num_layers == 0
                else f"The reward head needs layer {self.layer} of a model, and {model} has {num_layers} layers."
            )
        if model != self.model and not model.endswith(f"/{self.model}"):  # an endpoint's has a provider
            raise ConfigError(
                f"The reward head was fitted for {self.model}, not for {model}; fit one with: ra-judge fit LABELS "
                f"--model {model}"
            )

    def save(self, path: str | Path) -> None:
        """Write it to a safetensors file.

        Args:
            path: The file.
        """
        from safetensors.numpy import save_file

        metadata = {
            "format": _FORMAT,
            "model": self.model,
            "layer": str(self.layer),
            "questions_hash": self.questions_hash,
            "step": repr(self.step),
            "feature_weight": repr(self.feature_weight),
            "card": json.dumps(self.card),
        }
        save_file({"weights": self.weights, "offsets": self.offsets}, str(path), metadata)

    @classmethod
    def load(cls, path: str | Path) -> RewardHead:
        """Read a head from a file.

        Args:
            path: The file.

        Raises:
            ConfigError: there is no such file, or it is not a reward head.
            MissingExtraError: safetensors is not installed.
        """
        try:
            from safetensors import safe_open
        except ImportError as error:
            raise MissingExtraError("Reading a reward head", extra="local") from error
        if not Path(path).is_file():
            raise ConfigError(f"There is no reward head at {path}.")
        try:
            with safe_open(str(path), framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != _FORMAT:
                    raise ConfigError(f"{path} is not a reward head; `ra-judge fit` makes one.")
                return cls(
                    model=metadata["model"],
                    layer=int(metadata["layer"]),
                    questions_hash=metadata["questions_hash"],
                    weights=file.get_tensor("weights"),
                    offsets=file.get_tensor("offsets"),
                    step=float(metadata["step"]),
                    feature_weight=float(metadata["feature_weight"]),
                    card=json.loads(metadata["card"]),
                )
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"{path} is not a reward head: {type(error).__name__}: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """The head as plain JSON, for another process."""
        fields = {name: getattr(self, name) for name in ("model", "layer", "questions_hash", "step", "feature_weight")}
        numbers = {"weights": self.weights.tolist(), "offsets": self.offsets.tolist()}
        return {**fields, **numbers, "card": dict(self.card)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RewardHead:
        """The head that `to_json` describes.

        Args:
            content: What `to_json` returned.
        """
        import numpy as np

        numbers = {name: np.array(content[name], dtype=np.float32) for name in ("weights", "offsets")}
        return cls(**{**content, **numbers})

    @classmethod
    def of(cls, head: str | Path | RewardHead | None, model: str) -> RewardHead:
        """The head that an option refers to.

        Args:
            head: A head, its file, or None for the one that ships for the model.
            model: The model's name.

        Raises:
            ConfigError: there is no such head.
        """
        if isinstance(head, RewardHead):
            return head
        if head is not None:
            return cls.load(head)
        if (shipped := cls.shipped(model)) is not None:
            return shipped
        raise ConfigError(
            f"No reward head ships for {model}; fit one with ra-judge fit LABELS --model {model}, and name its file as "
            "head=..., or use readout='logits'."
        )

    @staticmethod
    @cache
    def shipped(model: str) -> RewardHead | None:
        """The head for a model that ships with the package, read once. None: there is none.

        Args:
            model: The model's name.
        """
        path = _SHIPPED / f"{model}.safetensors"
        return RewardHead.load(path) if "/" not in model and path.is_file() else None
