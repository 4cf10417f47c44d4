"""Decision APIs: typed questions about an input that are answered with probabilities, and the two formats on the wire.

`openai_format` is ``POST /v1/decisions`` (OpenAI's Decisions API), `systemone_format` is ``POST /v1/systemone``
(TypeSafe's System One). Both modules have the same four functions (`DecisionFormat`), so that clients and servers are
written once. `FORMATS` has them by name.
"""

from rewardanything_core.decisions.formats import FORMATS, DecisionFormat, DecisionFormatName, parse_json
from rewardanything_core.decisions.types import (
    Answer,
    ChoiceAnswer,
    ChoiceOption,
    ChoiceQuestion,
    DecisionRequest,
    DecisionResponse,
    DecisionUsage,
    PredicateAnswer,
    PredicateQuestion,
    Question,
    RefusalAnswer,
    ScoreAnswer,
    ScoreLevel,
    ScoreQuestion,
)

__all__ = [
    "FORMATS",
    "Answer",
    "ChoiceAnswer",
    "ChoiceOption",
    "ChoiceQuestion",
    "DecisionFormat",
    "DecisionFormatName",
    "DecisionRequest",
    "DecisionResponse",
    "DecisionUsage",
    "PredicateAnswer",
    "PredicateQuestion",
    "Question",
    "RefusalAnswer",
    "ScoreAnswer",
    "ScoreLevel",
    "ScoreQuestion",
    "parse_json",
]
