"""Judge LLM responses under a principle written in plain language.

>>> from rewardanything_core import load_judge
>>> judge = load_judge()  # settings, or the built-in small model
>>> verdict = judge.judge(principle="Prefer the shorter answer.", prompt="2+2?", responses={"a": "4", "b": "It is 4."})
>>> verdict.scores, verdict.ranking, verdict.reasoning
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewardanything_core.agreement.calibration import Calibration
    from rewardanything_core.backends.base import Backend
    from rewardanything_core.backends.budget import Budget
    from rewardanything_core.backends.scripted import ScriptedBackend
    from rewardanything_core.cases import Case
    from rewardanything_core.errors import (
        BackendError,
        ConfigError,
        InvalidCaseError,
        JudgeUnavailableError,
        MissingExtraError,
        RewardAnythingError,
        VerdictParseError,
    )
    from rewardanything_core.judging.base import BaseJudge
    from rewardanything_core.judging.cascade import Cascade
    from rewardanything_core.judging.judge import Judge
    from rewardanything_core.judging.jury import Jury
    from rewardanything_core.judging.opentelemetry import EvaluationEvents
    from rewardanything_core.loading import (
        default_judge,
        from_endpoint,
        from_pretrained,
        load_judge,
        resolve_judge,
        set_default_judge,
    )
    from rewardanything_core.options import JudgeOptions
    from rewardanything_core.principles import Criterion, Principle, Rubric
    from rewardanything_core.prompting.parsing import parse_verdict
    from rewardanything_core.prompting.templates import Template, render
    from rewardanything_core.sampling import SamplingParams
    from rewardanything_core.store.verdict_store import VerdictStore
    from rewardanything_core.types import Abstention, JudgeFailure, Message, Usage, Verdict

__version__ = "0.1.0"

__all__ = [
    "Abstention",
    "Backend",
    "BackendError",
    "BaseJudge",
    "Budget",
    "Calibration",
    "Cascade",
    "Case",
    "ConfigError",
    "Criterion",
    "EvaluationEvents",
    "InvalidCaseError",
    "Judge",
    "JudgeFailure",
    "JudgeOptions",
    "JudgeUnavailableError",
    "Jury",
    "Message",
    "MissingExtraError",
    "Principle",
    "RewardAnythingError",
    "Rubric",
    "SamplingParams",
    "ScriptedBackend",
    "Template",
    "Usage",
    "Verdict",
    "VerdictParseError",
    "VerdictStore",
    "default_judge",
    "from_endpoint",
    "from_pretrained",
    "load_judge",
    "parse_verdict",
    "render",
    "resolve_judge",
    "set_default_judge",
]

# A name is fetched from its module when it is first used, so that importing the package costs next to nothing.
_HOMES = {
    "agreement.calibration": "Calibration",
    "backends.base": "Backend",
    "backends.budget": "Budget",
    "backends.scripted": "ScriptedBackend",
    "cases": "Case",
    "errors": "BackendError ConfigError InvalidCaseError JudgeUnavailableError MissingExtraError RewardAnythingError "
    "VerdictParseError",
    "judging.base": "BaseJudge",
    "judging.cascade": "Cascade",
    "judging.judge": "Judge",
    "judging.jury": "Jury",
    "judging.opentelemetry": "EvaluationEvents",
    "loading": "default_judge from_endpoint from_pretrained load_judge resolve_judge set_default_judge",
    "options": "JudgeOptions",
    "principles": "Criterion Principle Rubric",
    "prompting.parsing": "parse_verdict",
    "prompting.templates": "Template render",
    "sampling": "SamplingParams",
    "store.verdict_store": "VerdictStore",
    "types": "Abstention JudgeFailure Message Usage Verdict",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
