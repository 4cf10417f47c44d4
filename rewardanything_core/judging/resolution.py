"""What the options of a judge mean for its backend, where they leave something to defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from rewardanything_core.backends.base import Backend
from rewardanything_core.backends.budget import Budget
from rewardanything_core.errors import ConfigError
from rewardanything_core.judging.explaining import Explainer
from rewardanything_core.options import Criteria, JudgeOptions, Readout
from rewardanything_core.prompting.appeals import MEASURED_MODELS
from rewardanything_core.prompting.templates import Template, is_rewardanything
from rewardanything_core.readouts.pointwise.reward_head import RewardHead
from rewardanything_core.sampling import SamplingParams


def resolve_readout(options: JudgeOptions, backend: Backend) -> Readout:
    """The readout that ``auto`` means for this backend, or the requested one if the backend supports it.

    Args:
        options: The options as requested.
        backend: The judge's backend.

    Raises:
        ConfigError: the backend does not support the readout, or another option contradicts it.
    """
    readout = _automatic_readout(options, backend) if options.readout == "auto" else options.readout
    if readout == "generate":
        if options.head is not None:
            raise ConfigError("A reward head is for readout='head', not for readout='generate'; omit one of the two.")
        return readout
    if readout == "decisions" and not backend.supports_decisions:
        raise ConfigError(
            f"readout='decisions' needs a model behind a server with the route /v1/decisions or /v1/systemone, and "
            f"{backend.model} is none; use another readout."
        )
    if readout != "decisions" and not backend.supports_option_scores:
        raise ConfigError(
            f"readout={readout!r} needs the probabilities of answers, and {backend.model} does not provide them; use "
            "readout='generate', or a model on this machine or behind a server that returns log-probabilities."
        )
    if options.expected_scores or options.template is not None:
        option = "expected_scores=True" if options.expected_scores else "template"
        raise ConfigError(
            f"{option} applies to written verdicts, and readout={readout!r} writes none; omit one of the two."
        )
    if readout != "head" and options.head is not None:
        raise ConfigError(f"A reward head is for readout='head', not for readout={readout!r}; omit one of the two.")
    return readout


def _automatic_readout(options: JudgeOptions, backend: Backend) -> Readout:
    if options.head is not None:
        return "head"
    for_written_replies = options.sampling or options.template or options.expected_scores
    if not for_written_replies and not is_rewardanything(backend.model) and backend.prefers_decisions():
        return "decisions"
    prefers_option_scores = backend.supports_option_scores and backend.prefers_option_scores()
    if not prefers_option_scores or for_written_replies or is_rewardanything(backend.model):
        return "generate"
    return "head" if backend.num_layers and RewardHead.shipped(backend.model) else "logits"


def resolve_screening(options: JudgeOptions, backend: Backend, readout: Readout) -> bool:
    """Whether appeals are removed.

    Args:
        options: The options as requested.
        backend: The judge's backend.
        readout: The resolved readout.

    Raises:
        ConfigError: screening is requested and the backend does not support it.
    """
    if options.screen == "on" and not backend.supports_option_scores:
        raise ConfigError(
            f"screen='on' needs the probabilities of answers, and {backend.model} does not provide them; use "
            "screen='off', or a model on this machine or behind a server that returns log-probabilities."
        )
    return options.screen == "on" or (
        options.screen == "auto" and readout == "logits" and backend.model in MEASURED_MODELS
    )


def resolve_explainer(options: JudgeOptions, backend: Backend, readout: Readout) -> Explainer | None:
    """What writes the reasons of given verdicts. None: nothing does.

    Args:
        options: The options as requested.
        backend: The judge's backend.
        readout: The resolved readout.

    Raises:
        ConfigError: the readout writes its own reasons, or the model writes nothing.
    """
    if not options.explain:
        return None
    if readout == "generate":
        raise ConfigError(
            "readout='generate' writes its reasons with the scores; explain and explainer are for the other readouts."
        )
    if isinstance(options.explainer, str | Mapping):
        raise ConfigError(
            f"explainer={options.explainer!r} is a model's name; give it to from_endpoint, from_pretrained or "
            "load_judge, or give Judge a backend."
        )
    explainer = backend if options.explainer is None else options.explainer
    if not isinstance(explainer, Backend):
        raise ConfigError(f"explainer must be the name of a model or a backend, not {type(explainer).__name__}.")
    return Explainer(explainer)


def resolve_criteria(options: JudgeOptions, backend: Backend, readout: Readout, template: Template) -> Criteria:
    """How the criteria of a rubric are judged: ``together`` or ``separate``.

    Args:
        options: The options as requested.
        backend: The judge's backend.
        readout: The resolved readout.
        template: The template of written verdicts.

    Raises:
        ConfigError: they cannot be judged together as requested.
    """
    if readout == "generate" and template.is_built_in:
        automatic: Criteria = "separate" if backend.supports_grammar else "together"
        return automatic if options.criteria == "auto" else options.criteria
    if readout == "decisions":
        return "together" if options.criteria == "auto" else options.criteria
    if options.criteria == "together":
        reason = (
            f"readout={readout!r} writes none" if readout != "generate" else "the template has a wording of its own"
        )
        raise ConfigError(
            f"criteria='together' is for written verdicts in this package's wording, and {reason}; omit it."
        )
    return "separate"


def resolve_sampling(sampling: SamplingParams | None, backend: Backend, template: Template) -> SamplingParams:
    """The sampling parameters with a thinking budget.

    Args:
        sampling: The parameters as requested. None: the defaults.
        backend: The judge's backend.
        template: The template of written verdicts.
    """
    sampling = sampling or SamplingParams()
    if sampling.thinking_budget is not None:
        return sampling
    budget = backend.default_thinking_budget(trained=template.name == "trained")
    return dataclasses.replace(sampling, thinking_budget=budget)


def check_prices(backend: Backend, budget: Budget | None) -> None:
    """Check that a limit on cost can be kept.

    Args:
        backend: The judge's backend.
        budget: Its budget. None: there is none.

    Raises:
        ConfigError: there is a limit on cost, and the model's prices are not known.
    """
    if budget is not None and budget.max_cost is not None and backend.prices is None:
        raise ConfigError(
            f"max_cost needs prices, and none are known for {backend.model}.",
            hint="Give input_cost_per_token and output_cost_per_token, in US dollars (0 for a server of your own), or "
            "limit max_calls or max_total_tokens. Prices of providers come with LiteLLM: pip install "
            "'rewardanything-core[endpoint]'.",
        )
