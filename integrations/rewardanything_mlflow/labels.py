"""People's assessments of MLflow traces as labelled items, to fit a head or to align a principle to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import mlflow
from mlflow.entities import AssessmentSourceType, Feedback, Trace

from rewardanything_core import Case, ConfigError, InvalidCaseError, Principle
from rewardanything_core.bench import BenchItem
from rewardanything_core.bench.training_items import report_left_out
from rewardanything_mlflow.fields import Selector, prompt_from, reference_from, response_from
from rewardanything_mlflow.traces import conversation_from, inputs_and_outputs

Label: TypeAlias = float | str
"""A number, or a category in lower case; True and False are 1 and 0."""

WORDS = {"yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0, "pass": 1.0, "fail": 0.0, "good": 1.0, "bad": 0.0}
"""Categories that are also numbers, on the scale of 0..1."""


@dataclass(frozen=True, kw_only=True)
class HumanLabel:
    """What people say about a trace under one name."""

    value: Label
    """The mean of numbers, or the category that most people chose."""

    is_binary: bool
    """Whether everybody chose one of two: a boolean or a word of `WORDS`."""

    comment: str | None
    """Their rationales. None: they gave none."""


def labels_from_mlflow(
    traces: Iterable[Trace],
    name: str | None = None,
    *,
    principle: Principle | str,
    on: Literal["row", "trace"] = "row",
    scale: tuple[float, float] | None = None,
    prompt: Selector | None = None,
    response: Selector | None = None,
    reference: str | None = "expected_response",
) -> list[BenchItem]:
    """Labelled items from traces with human feedback, one for each trace.

    Feedback counts if its source is HUMAN and it was not overridden. Of several by one person, the latest counts;
    several people's numbers are averaged, and of categories the most frequent one counts. Booleans and words such as
    "yes" and "no" are on the scale of 0..1. Traces without such feedback are skipped; those that cannot be judged are
    left out with a warning.

    Args:
        traces: The traces, such as ``mlflow.search_traces(return_type="list")``.
        name: Name of the feedback. None: the only one that people used.
        principle: What people judged by.
        on: What they judged: the traces' outputs, or all that the traces record, as for `PrincipleScorer`.
        scale: Lowest and highest possible number. None: it is inferred from the numbers.
        prompt: Where the prompt is in the inputs, as for `PrincipleScorer`.
        response: Where the response is in the outputs.
        reference: The expectation with a reference answer. None: none is used.

    Raises:
        ConfigError: there is no human feedback, it has several names and none is given, or a value is neither a number
            nor a word with a known meaning.
    """
    text = Principle.of(principle).text
    labelled = human_labels(traces, name)
    items: list[BenchItem] = []
    problems: list[str] = []
    for trace, label in labelled:
        value = WORDS.get(label.value) if isinstance(label.value, str) else label.value
        if value is None:
            raise ConfigError(
                f"The feedback on trace {trace.info.trace_id} is {label.value!r}, which is not a number.",
                hint=f"Use numbers, booleans, or one of {', '.join(WORDS)}.",
            )
        inputs, outputs = inputs_and_outputs(trace)
        try:
            asked, answered = (
                conversation_from([trace])
                if on == "trace"
                else (prompt_from(inputs, prompt), response_from(outputs, response))
            )
            case = Case(text, asked, {"response": answered}, reference_from(expectations_of(trace), reference))
        except InvalidCaseError as error:
            problems.append(f"{trace.info.trace_id}: {error}")
            continue
        items.append(
            BenchItem.of_case(
                case,
                id=trace.info.trace_id,
                source="mlflow",
                human={"response": value},
                rated=True,
                scale=(0.0, 1.0) if label.is_binary else scale,
                comment=label.comment,
            )
        )
    report_left_out(problems, items, total=len(labelled), of="labelled traces")
    return items


def human_labels(traces: Iterable[Trace], name: str | None = None) -> list[tuple[Trace, HumanLabel]]:
    """The traces with human feedback of a name, and what people say.

    Args:
        traces: The traces.
        name: Name of the feedback; capitals and spaces around it do not count. None: the only one that people used.

    Raises:
        ConfigError: there is none, or people used several names and none is given.
    """
    by_trace = [(trace, human_feedback(trace)) for trace in traces]
    names = Counter(_plain(one.name) for _, feedback in by_trace for one in feedback)
    wanted = _plain(name) if name is not None else next(iter(names), "")
    if wanted not in names or (name is None and len(names) > 1):
        found = ", ".join(f"{one} ({count})" for one, count in names.most_common()) or "none"
        asked = f" named {name!r}" if name is not None else ""
        problem = "several names of human feedback" if names and name is None else f"no human feedback{asked}"
        raise ConfigError(
            f"There is {problem} on these {len(by_trace)} traces; people's feedback is: {found}.",
            hint="Feedback counts if its source type is HUMAN. Give the name of the feedback to use.",
        )
    labelled = []
    for trace, feedback in by_trace:
        label = _label([one for one in feedback if _plain(one.name) == wanted])
        if label is not None:
            labelled.append((trace, label))
    return labelled


def items_of_experiment(source: str, principle: str | None) -> list[BenchItem]:
    """The labelled items of an experiment; the reader of ``mlflow:EXPERIMENT`` and ``mlflow:EXPERIMENT#FEEDBACK``.

    Args:
        source: The experiment's name or id, and optionally the feedback's name.
        principle: What people judged by.

    Raises:
        ConfigError: there is no such experiment or feedback, or no principle.
    """
    experiment_name, _, name = source.partition("#")
    if principle is None:
        raise ConfigError(f"Labels of mlflow:{source} have no principle; give --principle.")
    experiment = mlflow.get_experiment_by_name(experiment_name)
    if experiment is None and experiment_name.isdecimal():
        experiment = mlflow.get_experiment(experiment_name)
    if experiment is None:
        raise ConfigError(
            f"There is no experiment {experiment_name!r} at {mlflow.get_tracking_uri()}.",
            hint="Set MLFLOW_TRACKING_URI to your tracking server or database.",
        )
    traces: Any = mlflow.search_traces(locations=[experiment.experiment_id], return_type="list")
    return labels_from_mlflow(traces, name or None, principle=principle)


def human_feedback(trace: Trace, name: str | None = None) -> list[Feedback]:
    """People's valid feedback on a trace.

    Args:
        trace: The trace.
        name: Name of the feedback; capitals and spaces around it do not count. None: any.
    """
    return [
        one
        for one in trace.info.assessments
        if isinstance(one, Feedback)
        and one.source.source_type == AssessmentSourceType.HUMAN
        and one.valid is not False
        and one.value is not None
        and (name is None or _plain(one.name) == _plain(name))
    ]


def _label(feedback: Sequence[Feedback]) -> HumanLabel | None:
    """What people agree on. None: they said nothing, or as many chose one category as another."""
    latest = {one.source.source_id: one for one in sorted(feedback, key=lambda one: one.create_time_ms or 0)}
    if not latest:
        return None
    values = [feedback_value(one) for one in latest.values()]
    comment = " ".join(one.rationale for one in latest.values() if one.rationale) or None
    is_binary = all(
        isinstance(one.value, bool) or value in WORDS for one, value in zip(latest.values(), values, strict=True)
    )
    numbers = [value for value in values if isinstance(value, float)]
    if len(numbers) == len(values) and not is_binary:
        return HumanLabel(value=sum(numbers) / len(numbers), is_binary=False, comment=comment)
    ((value, count), *others) = Counter(values).most_common()
    if others and others[0][1] == count:
        return None
    return HumanLabel(value=value, is_binary=is_binary, comment=comment)


def feedback_value(feedback: Feedback) -> Label:
    """The value of feedback as a label; categories are in lower case."""
    if isinstance(feedback.value, bool | int | float):
        return float(feedback.value)
    return _plain(str(feedback.value))


def _plain(text: str) -> str:
    return text.strip().lower()


def expectations_of(trace: Trace) -> dict[str, Any]:
    """Name -> value of the expectations of a trace."""
    return {one.name: one.expectation.value for one in trace.info.assessments if one.expectation is not None}
