"""Aligning a principle to people's labels: other wordings, accepted only if they agree more on held-out prompts."""

from rewardanything_core.alignment.labelled_items import align_principle
from rewardanything_core.alignment.result import Alignment, Proposal
from rewardanything_core.alignment.rewriting import Reflector
from rewardanything_core.alignment.search import METHODS, Method, align
from rewardanything_core.alignment.task import MIN_PROMPTS, AlignmentTask, Evaluation

__all__ = [
    "METHODS",
    "MIN_PROMPTS",
    "Alignment",
    "AlignmentTask",
    "Evaluation",
    "Method",
    "Proposal",
    "Reflector",
    "align",
    "align_principle",
]
