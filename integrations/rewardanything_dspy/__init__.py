"""Principles as DSPy metrics, and best-of-n by one listwise verdict.

>>> from rewardanything_dspy import PrincipleMetric
>>> metric = PrincipleMetric("Answer in one short sentence.")
>>> dspy.Evaluate(devset=devset, metric=metric, num_threads=16)(program)
"""

from rewardanything_core import MissingExtraError
from rewardanything_core.errors import JudgeUnavailableError

try:
    import dspy  # noqa: F401
except ImportError as error:
    raise MissingExtraError("rewardanything_dspy", extra="dspy") from error

from rewardanything_dspy.best_of_n import BestOfN, Ranked
from rewardanything_dspy.metric import PrincipleMetric
from rewardanything_dspy.reward import reward_fn
from rewardanything_dspy.scores import NotJudged, PrincipleScore

__all__ = [
    "BestOfN",
    "JudgeUnavailableError",
    "NotJudged",
    "PrincipleMetric",
    "PrincipleScore",
    "Ranked",
    "reward_fn",
]
