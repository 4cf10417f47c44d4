"""An optimizer for ``judge.align(traces, optimizer)`` that rewrites a judge's principle or instructions."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

from mlflow.entities import Trace
from mlflow.exceptions import MlflowException
from mlflow.genai.judges.base import AlignmentOptimizer, Judge
from mlflow.genai.judges.instructions_judge import InstructionsJudge

from rewardanything_core import ConfigError, JudgeFailure, Principle, from_endpoint, resolve_judge
from rewardanything_core import Judge as PrincipleJudge
from rewardanything_core.alignment import Alignment, AlignmentTask, Evaluation, Reflector, align, align_principle
from rewardanything_core.alignment.search import Method
from rewardanything_core.alignment.task import MIN_PROMPTS
from rewardanything_core.backends import Backend
from rewardanything_mlflow.judging import judge_or_default
from rewardanything_mlflow.labels import (
    WORDS,
    HumanLabel,
    Label,
    expectations_of,
    feedback_value,
    human_labels,
    labels_from_mlflow,
)
from rewardanything_mlflow.optimizers import check_alignable
from rewardanything_mlflow.spans import without_own_traces
from rewardanything_mlflow.traces import inputs_and_outputs

if TYPE_CHECKING:
    from rewardanything_mlflow.scorer import PrincipleScorer

_log = logging.getLogger("rewardanything_mlflow")

_JUDGEMENTS_AT_ONCE = 10
_FIELDS = ("inputs", "outputs", "expectations")


class PrincipleOptimizer(AlignmentOptimizer):
    """Rewrites what a judge goes by so that it agrees more with people's feedback on traces.

    It aligns judges of `mlflow.genai.judges.make_judge` and `PrincipleScorer`. Feedback counts if its source is HUMAN
    and its name the judge's. The new text is accepted only if it agrees more on held-out traces, beyond chance;
    otherwise the judge is returned as it was, with a warning in the log. ``result`` has the figures.

    >>> aligned = judge.align(traces, PrincipleOptimizer(reflection_model="openai:/gpt-5"))

    Args:
        reflection_model: The model that rewrites, as a model string. None: the judge's own.
        method: ``examples``, ``rewrite``, or ``all`` for both; see `rewardanything_core.alignment.align`.
        max_calls: Maximum number of model calls.
        scale: Lowest and highest possible number that people gave. None: it is inferred.
        seed: Seed of the division of the traces and of the search.
    """

    def __init__(
        self,
        reflection_model: str | None = None,
        *,
        method: Method = "all",
        max_calls: int = 1_000,
        scale: tuple[float, float] | None = None,
        seed: int = 0,
    ) -> None:
        self.reflection_model = reflection_model
        self.method: Method = method
        self.max_calls = max_calls
        self.scale = scale
        self.seed = seed
        self.result: Alignment | None = None
        """The result of the last alignment. None: there was none."""

    def align(self, judge: Judge, traces: list[Trace]) -> Judge:
        """Align a judge; MLflow calls this.

        Args:
            judge: A judge of ``make_judge`` with inputs or outputs in its instructions, or a `PrincipleScorer`.
            traces: Traces with human feedback of the judge's name, on 20 different inputs or more.

        Returns:
            A new judge, which differs in its instructions or principle only; the same judge if no text was better.

        Raises:
            ConfigError: the judge cannot be aligned, or the feedback does not suffice.
            MissingExtraError: GEPA is not installed.
        """
        if isinstance(getattr(judge, "principle", None), Principle):  # the scorer's module imports this one
            return self.align_scorer(cast("PrincipleScorer", judge), traces)
        task = _InstructionsTask(judge, traces)
        reflector = None if self.method == "examples" else Reflector(self._reflection(task.judge))
        result = align(task, reflector, method=self.method, max_calls=self.max_calls, seed=self.seed)
        return task.judge_with(result.text) if self._accepted(result, judge.name) else judge

    def align_scorer(self, scorer: PrincipleScorer, traces: Sequence[Trace]) -> PrincipleScorer:
        """Align a `PrincipleScorer`; its ``align`` method calls this.

        Args:
            scorer: The scorer.
            traces: Traces with human feedback of the scorer's name.

        Returns:
            A new scorer, which differs in its principle only; the same scorer if no principle was better.

        Raises:
            ConfigError: the scorer cannot be aligned, or the feedback does not suffice.
            JudgeUnavailableError: there is no judge.
        """
        check_alignable(scorer)
        items = labels_from_mlflow(
            traces,
            scorer.name,
            principle=scorer.principle,
            on="trace" if scorer.on == "trace" else "row",
            scale=self.scale or ((1.0, 5.0) if scorer.scale == "raw" else (0.0, 1.0)),
            prompt=scorer.prompt,
            response=scorer.response,
            reference=scorer.reference,
        )
        with without_own_traces():
            result = align_principle(
                judge_or_default(scorer.judge),
                items,
                scorer.principle,
                reflection=None if self.reflection_model is None else _backend(self.reflection_model),
                method=self.method,
                max_calls=self.max_calls,
                seed=self.seed,
            )
        if not self._accepted(result, scorer.name):
            return scorer
        return scorer.with_principle(dataclasses.replace(scorer.principle, text=result.text))

    def _reflection(self, judge: InstructionsJudge) -> Backend:
        if self.reflection_model is not None:
            return _backend(self.reflection_model)
        if getattr(judge, "_extra_headers", None):
            raise ConfigError("The judge needs extra_headers, which only MLflow sends; give a reflection_model.")
        if base_url := getattr(judge, "_base_url", None):
            # For most providers MLflow takes the URL of the route, and for others that of the server.
            server = base_url.rstrip("/").removesuffix("/chat/completions")
            return from_endpoint(judge.model.replace(":/", "/", 1), api_base=server, cache="off").backend
        return _backend(judge.model)

    def _accepted(self, result: Alignment, name: str) -> bool:
        self.result = result
        if result.is_better:
            _log.info("%s is aligned: held-out agreement %s -> %s.", name, result.agreement_before, result.agreement)
        else:
            _log.warning(
                "%s is returned as it was: no other text agrees more with people on held-out traces, beyond chance. "
                "The best one: %s -> %s, gain %s.",
                name, result.agreement_before, result.agreement, result.gain,
            )  # fmt: skip
        return result.is_better


def _backend(model: str) -> Backend:
    judge = resolve_judge(model)
    assert isinstance(judge, PrincipleJudge)
    return judge.backend


class _InstructionsTask(AlignmentTask):
    """Traces with human feedback, and a judge of ``make_judge``."""

    measure = "agreement with people's feedback (equal values, or closeness of numbers)"

    def __init__(self, judge: Judge, traces: Sequence[Trace]) -> None:
        fields = [field.name for field in judge.get_input_fields()]
        if not isinstance(judge, InstructionsJudge) or not fields or set(fields) - set(_FIELDS):
            raise ConfigError(
                f"The judge {judge.name!r} cannot be aligned by PrincipleOptimizer.",
                hint="It takes judges of make_judge with {{ inputs }}, {{ outputs }} or {{ expectations }} in their "
                "instructions. One that reads {{ trace }} would see people's feedback, and a built-in one has no "
                "instructions of its own.",
            )
        self.text = judge.instructions
        self.judge = judge
        self._fields, self._calls = fields, 0
        self._judges: dict[str, InstructionsJudge] = {self.text: judge}
        labelled = [(self._arguments(trace), label) for trace, label in human_labels(traces, judge.name)]
        complete = [(arguments, label) for arguments, label in labelled if None not in arguments.values()]
        if len(complete) < len(labelled):
            _log.warning("%d traces without %s are left out.", len(labelled) - len(complete), ", ".join(fields))
        self._cases = complete
        self.groups = [str(arguments.get("inputs", arguments)) for arguments, _ in complete]
        values = {_comparable(label.value) for _, label in complete}
        if len(set(self.groups)) >= MIN_PROMPTS and len(values) == 1:
            raise ConfigError("People gave all traces the same feedback, which cannot show which judge is better.")
        numbers = [value for value in values if isinstance(value, float)]
        self._range = max(numbers) - min(numbers) if numbers else 0.0

    @property
    def calls(self) -> int:
        """Number of judgements so far."""
        return self._calls

    def num_cached(self, text: str) -> int:
        """0: MLflow's judges have no store."""
        del text
        return 0

    def prepared(self, text: str) -> str | None:
        """The instructions with every field that the judge needs. None: MLflow does not accept them."""
        missing = [name for name in self._fields if not re.search(rf"{{{{\s*{name}\s*}}}}", text)]
        if missing:
            text = text.rstrip() + "\n\n" + "\n".join(f"{name}: {{{{ {name} }}}}" for name in missing)
        prepared = super().prepared(text)
        if prepared is not None:
            try:
                self.judge_with(prepared)
            except MlflowException:  # it has variables that are not fields
                return None
        return prepared

    def judge_with(self, text: str) -> InstructionsJudge:
        """The judge with other instructions; everything else stays."""
        if text not in self._judges:
            own = self.judge
            private = ("generate_rationale_first", "include_tool_calls_in_conversation", "base_url", "extra_headers",
                       "include_timing_in_conversation", "model_api")  # fmt: skip
            found = {name: getattr(own, f"_{name}") for name in private if hasattr(own, f"_{name}")}
            self._judges[text] = InstructionsJudge(
                name=own.name,
                instructions=text,
                model=own.model,
                description=own.description,
                feedback_value_type=own.feedback_value_type,
                inference_params=own.inference_params,
                aggregations=own.aggregations,
                **found,
            )
        return self._judges[text]

    def evaluate(self, text: str, cases: Sequence[int]) -> list[Evaluation]:
        """Judge traces with other instructions."""
        judge = self.judge_with(text)
        with ThreadPoolExecutor(_JUDGEMENTS_AT_ONCE) as threads:
            made = list(threads.map(lambda case: self._evaluation(judge, *self._cases[case]), cases))
        self._calls += len(made)
        self.on_judged()
        return made

    def worked_example(self, case: int) -> str | None:
        """The trace's fields and people's feedback, unless they look like a template."""
        arguments, label = self._cases[case]
        lines = [f"{name}: {value}" for name, value in arguments.items()]
        example = "\n".join([*lines, f"Correct judgement: {_judgement(label)}"])
        return None if "{{" in example or len(example) > 3_000 else example

    def _evaluation(self, judge: InstructionsJudge, arguments: dict[str, Any], label: HumanLabel) -> Evaluation:
        record = {name: str(value) for name, value in arguments.items()}
        failure, agreement = None, None
        try:
            feedback = judge(**arguments)
            error = feedback.error and feedback.error.error_message
        except (MlflowException, OSError, ValueError) as raised:
            error = str(raised)
        if error is not None or feedback.value is None:
            failure = JudgeFailure(case_id=None, error_type="BackendError", message=str(error or "no value"))
            record["The judge's reply"] = f"No judgement: {failure.message}"
        else:
            agreement = self._agreement(feedback_value(feedback), label.value)
            record["The judge's reply"] = f"{feedback.value}. {feedback.rationale or ''}"
        record["People's judgement"] = _judgement(label)
        return Evaluation(agreement=agreement, record=record, failure=failure)

    def _agreement(self, judged: Label, human: Label) -> float:
        judged, human = _comparable(judged), _comparable(human)
        if isinstance(judged, float) and isinstance(human, float) and self._range:
            return max(0.0, 1 - abs(judged - human) / self._range)
        return float(judged == human)

    def _arguments(self, trace: Trace) -> dict[str, Any]:
        inputs, outputs = inputs_and_outputs(trace)
        found = {"inputs": inputs, "outputs": outputs, "expectations": expectations_of(trace) or None}
        return {name: found[name] for name in self._fields}


def _comparable(value: Label) -> Label:
    """A category as a number, if it has one, so that True and "yes" are equal."""
    return WORDS.get(value, value) if isinstance(value, str) else value


def _judgement(label: HumanLabel) -> str:
    value = label.value
    if label.is_binary:
        value = "yes" if _comparable(value) == 1.0 else "no"
    return f"{value}. {label.comment}" if label.comment else f"{value}."
