"""Values that every layer shares: messages, usage, verdicts and failures."""

from rewardanything_core.types.messages import ContentPart, Message, ToolCall
from rewardanything_core.types.outcomes import (
    ABSTAINED,
    MAX_SCORE,
    MIN_SCORE,
    Abstention,
    JudgeFailure,
    StageResult,
    Verdict,
    stages_summary,
)
from rewardanything_core.types.replies import Reasons, Reply
from rewardanything_core.types.usage import Usage

__all__ = [
    "ABSTAINED",
    "MAX_SCORE",
    "MIN_SCORE",
    "Abstention",
    "ContentPart",
    "JudgeFailure",
    "Message",
    "Reasons",
    "Reply",
    "StageResult",
    "ToolCall",
    "Usage",
    "Verdict",
    "stages_summary",
]
