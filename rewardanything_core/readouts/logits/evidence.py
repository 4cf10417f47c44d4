"""The evidence behind the scores of a ``logits`` pass, as a reply: sentences for readers and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rewardanything_core.backends.base import ChoiceProbabilities
from rewardanything_core.cases import Case
from rewardanything_core.prompting.masking import mask
from rewardanything_core.readouts.logits.principle_profile import PrincipleProfile
from rewardanything_core.readouts.logits.text_features import FEATURES, count
from rewardanything_core.types import Reply

MIN_REPORTED_WEIGHT = 0.1
"""Preferences and weights nearer to 0 count, but the sentences do not mention them."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the scores of one pass follow from. All mappings are by label."""

    case: Case
    """The case."""

    labels: Sequence[str]
    """Its labels in the order of ``model-1`` .. ``model-n``."""

    profile: PrincipleProfile
    """The principle's profile."""

    fit: Mapping[str, ChoiceProbabilities]
    """The answers to whether the response fits the principle."""

    quality: Mapping[str, float]
    """The mean probability, 0..1, that the response is good by ordinary standards."""

    quality_weight: float
    """How much ``quality`` counts."""

    groundedness: Mapping[str, float]
    """The share of word bigrams that occur in the source text, 0..1. Empty where it does not count."""

    units: Mapping[str, float]
    """The position on the scale before the logistic function maps it to 1..5."""

    def reply(self) -> Reply:
        """The evidence under masked names, in place of a reply that the model would have written."""
        return Reply(reasoning="\n".join(self._sentences()), raw_output=json.dumps(self._json()))

    def _json(self) -> dict[str, object]:
        preferences = {name: round(value, 3) for name, value in self.profile.feature_preferences.items() if value}
        responses = {
            name: {
                **{option: round(share, 6) for option, share in self.fit[label].probabilities.items()},
                "mass": round(self.fit[label].mass, 6),
                "good": round(self.quality[label], 4),
                "counts": {feature: count(feature, self.case.responses[label]) for feature in preferences},
                **({"backed": round(self.groundedness[label], 4)} if self.groundedness else {}),
                "steps": round(self.units[label], 4),
            }
            for name, label in mask(self.labels).items()
        }
        return {
            "readout": "logits",
            "demands": preferences,
            "liking": round(self.quality_weight, 3),
            "keeping": round(self.profile.groundedness_weight, 3),
            "responses": responses,
        }

    def _sentences(self) -> list[str]:
        probabilities = self._by_name(lambda label: f"{next(iter(self.fit[label].probabilities.values())):.2f}")
        sentences = [
            f"No text was generated. Probability that the response fits the principle: {probabilities}.",
        ]
        for feature, preference in self.profile.feature_preferences.items():
            if abs(preference) >= MIN_REPORTED_WEIGHT:
                wanted = f"{'more' if preference > 0 else 'fewer'} {FEATURES[feature].unit}"
                sentences.append(f"The principle favours {wanted}: {self._counts(feature)}.")
        weight = self.profile.quality_weight
        if abs(weight) >= MIN_REPORTED_WEIGHT:
            quality = self._by_name(lambda label: f"{self.quality[label]:.2f}")
            direction = "for" if weight > 0 else "against"
            sentences.append(
                f"Quality by ordinary standards (true and well written) counts {direction} a response: {quality}."
            )
        weight = self.profile.groundedness_weight
        if abs(weight) > MIN_REPORTED_WEIGHT:
            shares = self._by_name(lambda label: f"{self.groundedness[label]:.2f}")
            direction = "for" if weight > 0 else "against"
            sentences.append(f"The share of word pairs found in the prompt counts {direction} a response: {shares}.")
        return sentences

    def _counts(self, feature: str) -> str:
        return self._by_name(lambda label: count(feature, self.case.responses[label]))

    def _by_name(self, value: Callable[[str], object]) -> str:
        return ", ".join(f"{name} {value(label)}" for name, label in mask(self.labels).items())
