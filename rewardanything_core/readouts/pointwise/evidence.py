"""The evidence behind the scores of a pointwise pass, as a reply: sentences for readers and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rewardanything_core.cases import Case
from rewardanything_core.prompting.masking import mask
from rewardanything_core.readouts.pointwise.estimators import FitEstimate
from rewardanything_core.readouts.pointwise.principle_profile import PrincipleProfile
from rewardanything_core.readouts.pointwise.text_features import FEATURES, count
from rewardanything_core.types import Reply

MIN_REPORTED_WEIGHT = 0.1
"""Preferences and weights nearer to 0 count, but the sentences do not mention them."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the scores of one pass follow from. All mappings are by label."""

    readout: str
    """``logits`` or ``head``."""

    case: Case
    """The case."""

    labels: Sequence[str]
    """Its labels in the order of ``model-1`` .. ``model-n``."""

    profile: PrincipleProfile
    """The principle's profile."""

    estimates: Mapping[str, FitEstimate]
    """How well the responses fit the principle."""

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
                **self._source(self.estimates[label]),
                "counts": {feature: count(feature, self.case.final_texts[label]) for feature in preferences},
                **({"grounded": round(self.groundedness[label], 4)} if self.groundedness else {}),
                "units": round(self.units[label], 4),
            }
            for name, label in mask(self.labels).items()
        }
        return {
            "readout": self.readout,
            "feature_preferences": preferences,
            "groundedness_weight": round(self.profile.groundedness_weight, 3),
            "responses": responses,
        }

    @staticmethod
    def _source(estimate: FitEstimate) -> dict[str, float]:
        """The numbers that an estimate comes from."""
        if estimate.answer is None:
            return {"fit": round(estimate.units, 4), "deviation": round(estimate.deviation, 4)}
        shares = {option: round(share, 6) for option, share in estimate.answer.probabilities.items()}
        return shares | {"mass": round(estimate.answer.mass, 6)}

    def _sentences(self) -> list[str]:
        sentences = ["No text was generated. " + self._fit_sentence()]
        for feature, preference in self.profile.feature_preferences.items():
            if abs(preference) >= MIN_REPORTED_WEIGHT and self._distinguishes(feature):
                wanted = f"{'more' if preference > 0 else 'fewer'} {FEATURES[feature].unit}"
                sentences.append(f"The principle favours {wanted}: {self._counts(feature)}.")
        weight = self.profile.groundedness_weight
        if abs(weight) > MIN_REPORTED_WEIGHT:
            shares = self._by_name(lambda label: f"{self.groundedness[label]:.2f}")
            direction = "for" if weight > 0 else "against"
            sentences.append(f"The share of word pairs found in the prompt counts {direction} a response: {shares}.")
        return sentences

    def _fit_sentence(self) -> str:
        if self.readout == "head":
            values = self._by_name(lambda label: f"{self.estimates[label].units:+.2f}")
            return f"How well each response fits the principle, by the reward head (0 is average): {values}."

        def probability(label: str) -> str:
            answer = self.estimates[label].answer
            return "" if answer is None else f"{next(iter(answer.probabilities.values())):.2f}"

        return f"Probability that the response fits the principle: {self._by_name(probability)}."

    def _distinguishes(self, feature: str) -> bool:
        """Whether responses differ in a feature; a single response is compared with the typical count."""
        counts = {count(feature, self.case.final_texts[label]) for label in self.labels}
        return len(counts) > 1 or len(self.labels) == 1

    def _counts(self, feature: str) -> str:
        return self._by_name(lambda label: count(feature, self.case.final_texts[label]))

    def _by_name(self, value: Callable[[str], object]) -> str:
        return ", ".join(f"{name} {value(label)}" for name, label in mask(self.labels).items())
