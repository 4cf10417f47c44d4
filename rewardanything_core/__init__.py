"""Judge LLM responses under a principle written in plain language.

>>> from rewardanything_core import load_judge
>>> judge = load_judge()  # settings, or the small embedded model
>>> verdict = judge.judge(principle="Prefer the shorter answer.", prompt="2+2?", responses={"a": "4", "b": "It is 4."})
>>> verdict.scores, verdict.ranking, verdict.reasoning
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewardanything_core.agreement.calibration import Calibration
    from rewardanything_core.agreement.krippendorff import juror_ratings, krippendorff_alpha
    from rewardanything_core.backends.base import Backend, Completion, Request, TokenProbability
    from rewardanything_core.backends.scripted import ScriptedBackend, verdict_reply
    from rewardanything_core.bench.labels import Disagreement, LabelReport, compare_labels, read_labels
    from rewardanything_core.bench.reading import read_flips, read_items
    from rewardanything_core.bench.report import BenchReport
    from rewardanything_core.bench.running import run_bench
    from rewardanything_core.cases import Case
    from rewardanything_core.errors import (
        AuthenticationError,
        BackendConnectionError,
        BackendError,
        BackendTimeoutError,
        ConfigError,
        ContextLengthError,
        InvalidCaseError,
        MissingExtraError,
        ModelFetchError,
        RateLimitError,
        RewardAnythingError,
        StoreError,
        VerdictParseError,
    )
    from rewardanything_core.gate.checking import check
    from rewardanything_core.gate.results import CheckReport, Comparison, Control, JudgeNoise, Pair, Requirement
    from rewardanything_core.judging.base import BaseJudge
    from rewardanything_core.judging.judge import Judge
    from rewardanything_core.judging.jury import Jury
    from rewardanything_core.loading import (
        default_judge,
        from_endpoint,
        from_pretrained,
        load_judge,
        set_default_judge,
    )
    from rewardanything_core.options import JudgeOptions
    from rewardanything_core.principles import Principle
    from rewardanything_core.prompting.parsing import parse_verdict
    from rewardanything_core.prompting.templates import Rendered, Template, render
    from rewardanything_core.sampling import SamplingParams
    from rewardanything_core.store.verdict_store import VerdictStore
    from rewardanything_core.tables.frames import TableOptions, judge_frames, judge_tables, portable_spec, spark_columns
    from rewardanything_core.types import JudgeFailure, Message, Usage, Verdict

__version__ = "0.1.0"

__all__ = [
    "AuthenticationError",
    "Backend",
    "BackendConnectionError",
    "BackendError",
    "BackendTimeoutError",
    "BaseJudge",
    "BenchReport",
    "Calibration",
    "Case",
    "CheckReport",
    "Comparison",
    "Completion",
    "ConfigError",
    "ContextLengthError",
    "Control",
    "Disagreement",
    "InvalidCaseError",
    "Judge",
    "JudgeFailure",
    "JudgeNoise",
    "JudgeOptions",
    "Jury",
    "LabelReport",
    "Message",
    "MissingExtraError",
    "ModelFetchError",
    "Pair",
    "Principle",
    "RateLimitError",
    "Rendered",
    "Request",
    "Requirement",
    "RewardAnythingError",
    "SamplingParams",
    "ScriptedBackend",
    "StoreError",
    "TableOptions",
    "Template",
    "TokenProbability",
    "Usage",
    "Verdict",
    "VerdictParseError",
    "VerdictStore",
    "check",
    "compare_labels",
    "default_judge",
    "from_endpoint",
    "from_pretrained",
    "judge_frames",
    "judge_tables",
    "juror_ratings",
    "krippendorff_alpha",
    "load_judge",
    "parse_verdict",
    "portable_spec",
    "read_flips",
    "read_items",
    "read_labels",
    "render",
    "run_bench",
    "set_default_judge",
    "spark_columns",
    "verdict_reply",
]

# A name is fetched from its module when it is first used, so that importing the package costs next to nothing.
_HOMES = {
    "judging.base": "BaseJudge",
    "backends.base": "Backend Completion Request TokenProbability",
    "backends.scripted": "ScriptedBackend verdict_reply",
    "bench.labels": "Disagreement LabelReport compare_labels read_labels",
    "bench.reading": "read_flips read_items",
    "bench.report": "BenchReport",
    "bench.running": "run_bench",
    "agreement.calibration": "Calibration",
    "cases": "Case",
    "errors": "AuthenticationError BackendConnectionError BackendError BackendTimeoutError ConfigError "
    "ContextLengthError InvalidCaseError MissingExtraError ModelFetchError RateLimitError RewardAnythingError "
    "StoreError VerdictParseError",
    "tables.frames": "TableOptions judge_frames judge_tables spark_columns portable_spec",
    "gate.checking": "check",
    "gate.results": "CheckReport Comparison Control JudgeNoise Pair Requirement",
    "judging.judge": "Judge",
    "judging.jury": "Jury",
    "loading": "default_judge from_endpoint from_pretrained load_judge set_default_judge",
    "options": "JudgeOptions",
    "prompting.parsing": "parse_verdict",
    "principles": "Principle",
    "agreement.krippendorff": "juror_ratings krippendorff_alpha",
    "store.verdict_store": "VerdictStore",
    "prompting.templates": "Rendered Template render",
    "sampling": "SamplingParams",
    "types": "JudgeFailure Message Usage Verdict",
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
