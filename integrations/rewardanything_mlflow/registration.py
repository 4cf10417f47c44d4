"""What MLflow's registry stores of a scorer: a function that recreates it (`rewardanything_mlflow.restoring`)."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, Literal

import mlflow
from mlflow.genai.judges import make_judge
from mlflow.genai.judges.base import Judge
from mlflow.genai.scorers.base import SerializedScorer

from rewardanything_core import ConfigError

if TYPE_CHECKING:
    from rewardanything_mlflow.scorer import PrincipleScorer

_BODY = """\
spec = {spec!r}
from rewardanything_mlflow.restoring import scorer_of
return scorer_of(spec)({arguments})"""

_AGGREGATIONS = ("min", "max", "mean", "median", "variance", "p90")

_INSTRUCTIONS = """\
Rate how well {what} follows the principle below, on a scale from 1 (not at all) to 5 (as well as possible). Judge by \
the principle alone.

Principle:
{principle}"""

_ON = {
    "row": "the response {{ outputs }} to the request {{ inputs }}",
    "trace": "the agent's run {{ trace }}",
    "session": "the assistant's part of the conversation {{ conversation }}",
}


def scorer_spec(scorer: PrincipleScorer) -> dict[str, Any]:
    """A scorer as plain JSON. It never holds a key, nor the file of a verdict store.

    Raises:
        ConfigError: a selector or an aggregation is a function, or the judge has no spec.
    """
    chosen = {name: getattr(scorer, name) for name in sorted(scorer.model_fields_set - {"principle", "judge", "name"})}
    functions = [name for name in ("prompt", "response") if callable(chosen.get(name))]
    if any(not isinstance(one, str) for one in chosen.get("aggregations") or ()):
        functions.append("aggregations")
    if functions:
        raise ConfigError(
            f"The scorer {scorer.name!r} cannot be registered: a function in {', '.join(functions)} cannot be stored.",
            hint='Use a key or a dotted path, such as response="choices.0.message.content", and the names of MLflow\'s '
            f"aggregations: {', '.join(_AGGREGATIONS)}.",
        )
    judge = None if scorer.judge is None else _portable(scorer.judge.spec())
    return {"principle": scorer.principle.to_json(), "name": scorer.name, **chosen, "judge": judge}


def _portable(spec: Any) -> Any:
    """A judge's spec without the file of its verdict store, which another machine does not have."""
    if isinstance(spec, list):
        return [_portable(one) for one in spec]
    if isinstance(spec, dict):
        return {key: _portable(value) for key, value in spec.items() if key != "store"}
    return spec


def serialized(scorer: PrincipleScorer) -> dict[str, Any]:
    """A scorer as MLflow stores a function with ``@scorer``, whose source makes the scorer and calls it."""
    parameters = (
        ("session", "expectations") if scorer.on == "session" else ("inputs", "outputs", "expectations", "trace")
    )
    arguments = ", ".join(f"{name}={name}" for name in parameters)
    fields = {field.name for field in dataclasses.fields(SerializedScorer)}
    stored: dict[str, Any] = {
        "name": scorer.name,
        "aggregations": [one for one in scorer.aggregations or () if one in _AGGREGATIONS] or None,
        "description": scorer.description,
        "is_session_level_scorer": scorer.is_session_level_scorer,
        "timeout": scorer.timeout,
        "mlflow_version": mlflow.__version__,
        "call_source": _BODY.format(spec=json.dumps(scorer_spec(scorer), ensure_ascii=False), arguments=arguments),
        "call_signature": f"({', '.join(f'{name}=None' for name in parameters)})",
        "original_func_name": "principle_scorer",
    }
    return dataclasses.asdict(SerializedScorer(**{key: value for key, value in stored.items() if key in fields}))


def mlflow_judge(scorer: PrincipleScorer, model: str, **options: Any) -> Judge:
    """MLflow's own judge for the principle of a scorer; see `PrincipleScorer.as_mlflow_judge`."""
    if scorer.candidates or scorer.scale != "raw":
        option = "candidates=True" if scorer.candidates else f"scale={scorer.scale!r}"
        raise ConfigError(f"MLflow's judges give one score from 1 to 5, which {option} does not fit.")
    # A brace of the principle's own would be a variable of MLflow's template.
    principle = scorer.principle.text.replace("{{", "{ {").replace("}}", "} }")
    options = {"feedback_value_type": Literal[1, 2, 3, 4, 5], "description": scorer.description, **options}
    judge: Judge = make_judge(
        name=scorer.name,
        instructions=_INSTRUCTIONS.format(what=_ON[scorer.on], principle=principle),
        model=model,
        **options,
    )
    return judge
