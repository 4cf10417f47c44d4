"""Scalar rewards as verdicts: an order of the responses, on a scale that means nothing until labels calibrate it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from rewardanything_core.backends.base import Backend
from rewardanything_core.cases import Case
from rewardanything_core.errors import ConfigError
from rewardanything_core.prompting.response_templates import ResponseTemplate
from rewardanything_core.readouts.attempts import OnUsage, until_verdict
from rewardanything_core.readouts.results import PassResult
from rewardanything_core.types import Reply

_REWARD_UNIT = 10.0
"""Rewards that are this far apart around 0 are about one point of our scale apart. Any positive number gives the same
order; this one keeps rewards up to some hundreds apart in floating point. Not tuned."""


@dataclass(frozen=True, kw_only=True)
class ScalarReadout:
    """Ranks responses by the rewards of a model that does not see the principle."""

    backend: Backend
    """The model; it gives `rewards`."""

    template: ResponseTemplate
    """The format of the conversations."""

    calibrated: bool
    """Whether the judge has a calibration, which gives the scale a meaning."""

    async def run(self, case: Case, index: int, *, on_usage: OnUsage) -> PassResult:  # noqa: ARG002
        """Judge a case; every pass gives the same.

        Args:
            case: The case.
            index: Not used.
            on_usage: Called with the usage.

        Raises:
            ConfigError: a single response is to be scored without a calibration.
            RewardAnythingError: no rewards; ``failure`` has the reason.
        """
        labels = list(case.canonical_labels)
        if len(labels) == 1 and not self.calibrated:
            raise ConfigError(
                f"{self.backend.model} gives one number for a response, on a scale of its own and without seeing the "
                "principle: it can order responses, but a score of one response means nothing.",
                hint="Judge two or more responses together, or fit a calibration to people's labels: ra-judge bench "
                "LABELS --save-calibration FILE, then calibration='FILE'.",
            )

        async def attempt(number: int) -> PassResult:  # noqa: ARG001
            return await self._ranked(case, labels, on_usage)

        return await until_verdict(case, attempt, retries=0, on_usage=on_usage)

    async def _ranked(self, case: Case, labels: list[str], on_usage: OnUsage) -> PassResult:
        escape = not self.backend.escapes_special_tokens
        rendered = [self.template.render_response(case, label, escape_special_tokens=escape) for label in labels]
        result = await self.backend.rewards([one.messages for one in rendered])
        on_usage(result.usage)
        rewards = dict(zip(labels, result.values, strict=True))
        lines = [f"[{label}] reward {reward:.3f}" for label, reward in rewards.items()]
        reasoning = "\n".join([*lines, "The model does not see the principle."])
        return PassResult(
            order=labels,
            scores={label: 3 + 2 * math.tanh(reward / _REWARD_UNIT / 2) for label, reward in rewards.items()},
            ranking=sorted(labels, key=lambda label: -rewards[label]),
            replies=[Reply(reasoning=reasoning, raw_output=json.dumps(rewards))],
        )
