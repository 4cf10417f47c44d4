"""The options of a judge, defined once for all ways to make one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from rewardanything_core.agreement.calibration import Calibration
from rewardanything_core.backends.base import Backend
from rewardanything_core.backends.budget import LIMITS, Budget
from rewardanything_core.backends.registry import backend_from_spec
from rewardanything_core.conversations.shortening import check_limit
from rewardanything_core.errors import ConfigError
from rewardanything_core.fields import construct
from rewardanything_core.judging.observers import Observer, as_observer
from rewardanything_core.prompting.response_templates import named_template
from rewardanything_core.prompting.templates import Template
from rewardanything_core.readouts.pointwise.reward_head import RewardHead
from rewardanything_core.sampling import SamplingParams
from rewardanything_core.store.verdict_store import VerdictStore

CacheMode = Literal["off", "read", "on"]
Readout = Literal["auto", "generate", "logits", "head", "decisions"]
Screening = Literal["auto", "on", "off"]
Criteria = Literal["auto", "together", "separate"]

UNWRITTEN_READOUTS = frozenset({"logits", "head", "decisions"})
"""Readouts in which the model writes nothing, so that nothing is sampled."""

LIST_READOUTS = frozenset({"generate", "decisions"})
"""Readouts that show the model a list of responses, in an order of their own for each pass."""


@dataclass(frozen=True, kw_only=True)
class JudgeOptions:
    """Options of a `Judge`. Every function that makes a judge takes them as keyword arguments.

    Raises:
        ConfigError: a value is out of its range.
    """

    passes: int = 1
    """Number of orders of the responses to judge, 1 or more; scores are their mean. With ``readout="logits"``, where
    responses have no order, the number of wordings of the question, up to four. ``readout="head"`` makes one pass."""

    readout: Readout = "auto"
    """``generate``: the model writes a verdict. ``logits``: scores come from the probabilities of its answers, and
    nothing is generated. ``head``: scores come from a reward head on its hidden states. ``decisions``: scores come from
    the answers of a decision model (``/v1/decisions``, ``/v1/systemone``). ``auto``: ``decisions`` for a model that
    writes nothing, ``head`` if one is given or ships for the model, ``logits`` for other models on this machine that
    were not trained to reason, unless an option for written replies is set (``sampling``, ``expected_scores``,
    ``template``); ``generate`` otherwise."""

    head: str | Path | RewardHead | None = None
    """The reward head of ``readout="head"``, or its file, as ``ra-judge fit`` writes it. None: the one that ships with
    the package for the model, if there is one."""

    screen: Screening = "auto"
    """Whether appeals are removed from responses before they are judged: sentences that speak to the evaluator or vouch
    for the response (`Verdict.removed`). ``on`` needs a model that provides probabilities of answers. ``auto``: ``on``
    with ``readout="logits"`` and a model that is known to recognise them."""

    criteria: Criteria = "auto"
    """How the criteria of a `Rubric` are judged: ``together``, in one request per pass, or each in a ``separate`` one.
    ``auto``: ``together`` for written verdicts of a model behind an endpoint, in this package's wording. ``separate``
    for models on this machine, since small ones let one criterion colour the others (benchmarks/README.md, Rubrics);
    for models with a template of their own, which know single principles; and for ``logits`` and ``head``. Decision
    models get all criteria in one request unless ``separate`` is set."""

    shorten: int | None = None
    """Maximum length of a tool's result in a conversation, in characters, 100 or more; longer ones are shortened in the
    middle with a visible mark, and `Verdict.shortened` says so. None: nothing is shortened."""

    explain: bool = False
    """Whether the reasons of each verdict are written after its scores are given, for readouts that write none. They do
    not affect the scores and are marked as such (`Verdict.reasons`). The judge's own model writes them, or
    ``explainer``."""

    explainer: str | Backend | Mapping[str, Any] | None = None
    """The model that writes the reasons, which sets ``explain``: a model string for `load_judge` and the functions that
    make judges, or a backend. None: the judge's own."""

    seed: int = 0
    """Seed of the orders and of the sampler."""

    sampling: SamplingParams | None = None
    """Sampling of written replies. None: greedy, with the model's default thinking budget."""

    expected_scores: bool = False
    """Whether a score is the expectation over its token probabilities instead of the digit written."""

    retries: int = 2
    """How often to request another reply, in a new order, when one is not a verdict; 0 or more."""

    max_list: int = 16
    """Maximum number of responses judged as one list, 2 or more; longer lists are judged as overlapping sub-lists."""

    template: str | Template | None = None
    """The prompt's wording, or its name: ``think`` and ``json`` (our own), ``trained`` (RewardAnything's), or the
    published format of another trained judge: ``prometheus``, ``selene``, ``nemotron-principle`` and ``skywork``. None:
    the trained one for RewardAnything models, our own for all others."""

    store: str | Path | VerdictStore | None = None
    """The verdict store or its file. None: the user's default store."""

    cache: CacheMode = "on"
    """``on``: read stored verdicts and store new ones. ``read``: only read. ``off``: neither."""

    max_cost: float | None = None
    """Maximum cost of all model calls in this process, in US dollars, 0 or more; the model's prices must be known.
    None: no limit."""

    max_calls: int | None = None
    """Maximum number of requests to the model in this process, retries included, 0 or more. None: no limit."""

    max_total_tokens: int | None = None
    """Maximum number of tokens in this process, read and generated together, 0 or more. None: no limit."""

    budget: Budget | None = None
    """A budget that several judges share, in place of the three limits. None: one of its own, if there is a limit."""

    calibration: str | Path | Calibration | Mapping[str, Any] | None = None
    """Maps scores to those that people give: a `Calibration`, or the file that ``ra-judge bench --save-calibration``
    wrote. None: scores stay as judged."""

    on_verdict: Sequence[Observer | str] = ()
    """Observers, called with each outcome (`rewardanything_core.judging.observers`). They stay in this process.
    ``otel`` and ``otel-spans`` name those that emit OpenTelemetry events or spans; a settings file takes only names."""

    def __post_init__(self) -> None:
        if self.passes < 1 or self.retries < 0:
            raise ConfigError(
                f"passes must be 1 or more and retries 0 or more, not {self.passes!r} and {self.retries!r}."
            )
        if self.max_list < 2:
            raise ConfigError(f"max_list must be 2 or more, not {self.max_list!r}.")
        if self.cache not in ("off", "read", "on"):
            raise ConfigError(f"cache must be 'off', 'read' or 'on', not {self.cache!r}.")
        if self.readout not in get_args(Readout):
            raise ConfigError(
                f"readout must be 'auto', 'generate', 'logits', 'head' or 'decisions', not {self.readout!r}."
            )
        if self.screen not in ("auto", "on", "off"):
            raise ConfigError(f"screen must be 'auto', 'on' or 'off', not {self.screen!r}.")
        if self.shorten is not None:
            check_limit(self.shorten, name="shorten")
        if self.criteria not in get_args(Criteria):
            raise ConfigError(f"criteria must be 'auto', 'together' or 'separate', not {self.criteria!r}.")
        if isinstance(self.on_verdict, str) or not isinstance(self.on_verdict, Sequence):
            raise ConfigError(f"on_verdict must be a list of observers, not {self.on_verdict!r}.")
        object.__setattr__(self, "on_verdict", tuple(map(as_observer, self.on_verdict)))
        if isinstance(self.template, str):
            object.__setattr__(self, "template", named_template(self.template))
        self._set_budget()
        if self.explainer is not None:
            object.__setattr__(self, "explain", True)

    def _set_budget(self) -> None:
        """Make the limits and the budget say the same."""
        limits = {name: getattr(self, name) for name in LIMITS}
        given = {name: value for name, value in limits.items() if value is not None}
        if self.budget is None:
            if given:
                object.__setattr__(self, "budget", Budget(**given))
            return
        if given and limits != self.budget.limits:
            raise ConfigError(f"Give either budget= or {', '.join(given)}, not both.")
        for name, value in self.budget.limits.items():
            object.__setattr__(self, name, value)

    def replace(self, **changes: Any) -> JudgeOptions:
        """A copy with some options changed. It shares the budget, unless that or a limit is changed.

        Raises:
            ConfigError: there is no such option, or a value is out of its range.
        """
        current = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if "budget" in changes:
            current |= dict.fromkeys(LIMITS)
        elif changes.keys() & set(LIMITS):
            current["budget"] = None
        return construct(JudgeOptions, current | changes, owner="A judge")

    def to_json(self) -> dict[str, Any]:
        """The options as plain JSON, without observers."""
        store = self.store.path if isinstance(self.store, VerdictStore) else self.store
        return {
            "passes": self.passes,
            "readout": self.readout,
            "head": self.head.to_json() if isinstance(self.head, RewardHead) else self.head and str(self.head),
            "screen": self.screen,
            "criteria": self.criteria,
            "shorten": self.shorten,
            **({"explain": True} if self.explain else {}),
            **({"explainer": _spec_of(self.explainer)} if self.explainer is not None else {}),
            "seed": self.seed,
            "sampling": self.sampling and dataclasses.asdict(self.sampling),
            "expected_scores": self.expected_scores,
            "retries": self.retries,
            "max_list": self.max_list,
            "template": self.template.to_json() if isinstance(self.template, Template) else None,
            "store": None if store is None else str(store),
            "cache": self.cache,
            "calibration": None if self.calibration is None else Calibration.of(self.calibration).to_dict(),
            **{name: value for name in LIMITS if (value := getattr(self, name)) is not None},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> JudgeOptions:
        """The options that `to_json` describes.

        Raises:
            ConfigError: one of them is unknown or out of its range.
        """
        options = dict(content)
        if options.get("sampling") is not None:
            options["sampling"] = SamplingParams(**options["sampling"])
        if isinstance(options.get("template"), Mapping):
            options["template"] = Template(**options["template"])
        if isinstance(options.get("explainer"), Mapping):
            options["explainer"] = backend_from_spec(options["explainer"])
        if isinstance(options.get("head"), Mapping):
            options["head"] = RewardHead.from_json(options["head"])
        return construct(cls, options, owner="A judge")


def _spec_of(explainer: str | Backend | Mapping[str, Any]) -> Any:
    return explainer.spec() if isinstance(explainer, Backend) else explainer
