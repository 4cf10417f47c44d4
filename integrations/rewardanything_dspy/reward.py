"""A reward for DSPy's own `BestOfN` and `Refine`."""

from __future__ import annotations

import itertools
import linecache
from collections.abc import Callable
from typing import Any

import dspy

from rewardanything_core import BaseJudge, Principle
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
"""What `Refine` shows its model: a reward is given advice on by its source, and the principle is what matters in it."""

_numbers = itertools.count()


def reward_fn(
    principle: Principles,
    *,
    judge: BaseJudge | None = None,
    prompt: Selector = None,
    response: Selector = None,
) -> RewardFn:
    """A function ``(args, pred) -> float``, 0.0..1.0, for ``dspy.BestOfN(reward_fn=)`` and ``dspy.Refine(reward_fn=)``.

    The arguments are those of `PrincipleMetric`; ``prompt`` selects from the module's arguments. The function raises if
    the judge failed, which DSPy counts as a failed attempt.
    """
    metric = PrincipleMetric(principle, judge=judge, prompt=prompt, response=response, on_failure="raise")
    text = "; ".join(one.text for one in Principle.several(principle))
    source, filename = SOURCE.format(principle=text), f"<reward {next(_numbers)} of rewardanything_dspy>"

    def scored(_: str, args: dict[str, Any], pred: dspy.Prediction) -> float:
        return float(metric(dspy.Example(**args).with_inputs(*args), pred))

    # The way attrs and dataclasses-like generators give their functions a source that inspect.getsource finds.
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {"judge": scored, "__name__": __name__}
    exec(compile(source, filename, "exec"), namespace)  # noqa: S102 - our own constant, the principle a repr() in it
    reward: RewardFn = namespace["follows_principle"]
    return reward
