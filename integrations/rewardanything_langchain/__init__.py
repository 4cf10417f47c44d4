"""Principles as LangChain evaluators and Runnables, and as evaluators for LangSmith, openevals and agentevals.

It needs only langchain-core. `PrincipleEvaluator` and `PrinciplePairwiseEvaluator` also need langchain-classic, which
has LangChain's evaluator interfaces and is imported when one of them is first used.
"""

from typing import TYPE_CHECKING, Any

from rewardanything_core import MissingExtraError

try:
    import langchain_core  # noqa: F401 - a missing package is reported here, with the extra's name
except ImportError as error:
    raise MissingExtraError("rewardanything_langchain", extra="langchain") from error

from rewardanything_langchain.best_of_n import BestOfN
from rewardanything_langchain.feedback import labels_from_langsmith
from rewardanything_langchain.functions import comparative_evaluator, principle_evaluator
from rewardanything_langchain.runnable import JudgeInput, JudgeRunnable

if TYPE_CHECKING:
    from rewardanything_langchain.evaluators import PrincipleEvaluator, PrinciplePairwiseEvaluator

__all__ = [
    "BestOfN",
    "JudgeInput",
    "JudgeRunnable",
    "PrincipleEvaluator",
    "PrinciplePairwiseEvaluator",
    "comparative_evaluator",
    "labels_from_langsmith",
    "principle_evaluator",
]


def __getattr__(name: str) -> Any:
    if name in ("PrincipleEvaluator", "PrinciplePairwiseEvaluator"):
        from rewardanything_langchain import evaluators

        return getattr(evaluators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
