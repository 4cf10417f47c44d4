"""Aligning a principle to people's labels: other wordings, accepted only if they agree more on held-out prompts."""

from rewardanything_core.alignment.labelled_items import align_principle
from rewardanything_core.alignment.result import Alignment, Proposal
from rewardanything_core.alignment.rewriting import Reflector
from rewardanything_core.alignment.search import align
from rewardanything_core.alignment.task import AlignmentTask, Evaluation

__all__ = [
    "Alignment",
    "AlignmentTask",
    "Evaluation",
    "Proposal",
    "Reflector",
    "align",
    "align_principle",
]
