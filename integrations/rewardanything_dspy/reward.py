"""A reward for DSPy's own `BestOfN` and `Refine`."""

from __future__ import annotations

import itertools
import linecache
from collections.abc import Callable
from typing import Any

import dspy

from rewardanything_core import BaseJudge
from rewardanything_dspy.fields import Selector
from rewardanything_dspy.judging import Principles
from rewardanything_dspy.metric import PrincipleMetric

RewardFn = Callable[[dict[str, Any], dspy.Prediction], float]

SOURCE = '''\
def follows_principle(args, pred):
    """How well the outputs follow the principle, from 0.0 to 1.0, as a strict judge sees it."""
    principle = {principle!r}
    return judge(principle, args, pred)
'''
"""The source that `Refine` shows its model, which gives advice based on the reward's source: it has the principle."""

_numbers = itertools.count()


def reward_fn(
    principle: Principles,
    *,
    judge: BaseJudge | str | None = None,
    prompt: Selector = None,
    response: Selector = None,
) -> RewardFn:
    """A function ``(args, pred) -> float``, 0.0..1.0, for ``dspy.BestOfN(reward_fn=)`` and ``dspy.Refine(reward_fn=)``.

    The function raises if an attempt was not judged, which DSPy counts as a failed attempt.

    Args:
        principle: As for `PrincipleMetric`.
        judge: As for `PrincipleMetric`.
        prompt: The module's argument with the prompt, or a function of its arguments. None: all of them.
        response: As for `PrincipleMetric`.
    """
    metric = PrincipleMetric(principle, judge=judge, prompt=prompt, response=response, on_failure="raise")
    text = "; ".join(one.text for one in metric.principles)
    source, filename = SOURCE.format(principle=text), f"<reward {next(_numbers)} of rewardanything_dspy>"

    def score(_: str, args: dict[str, Any], pred: dspy.Prediction) -> float:
        return float(metric(dspy.Example(**args).with_inputs(*args), pred))

    # Generated functions get a source that inspect.getsource finds in the same way in attrs and in dataclasses.
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {"judge": score, "__name__": __name__}
    exec(compile(source, filename, "exec"), namespace)  # noqa: S102 - our own constant with the principle's repr()
    reward: RewardFn = namespace["follows_principle"]
    return reward
