"""Best of n by one listwise verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dspy

from rewardanything_core import BaseJudge, Case, ConfigError, InvalidCaseError, JudgeFailure, Principle, Verdict
from rewardanything_core.conversations import Response
from rewardanything_core.errors import error_from_failure
from rewardanything_dspy.fields import Selector, TextField
from rewardanything_dspy.judging import DEFAULT_MAX_FAILURES, JudgeRunner


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """The candidates of one call."""

    predictions: list[dspy.Prediction]
    """Every distinct candidate, best first."""

    verdict: Verdict | None
    """The verdict; its labels are the candidates' numbers in the order of sampling, from "0" on. None: all candidates
    were equal, so nothing was judged."""


class BestOfN(dspy.Module):  # type: ignore[misc]  # DSPy has no types
    """Samples n candidates from a module and returns the one that a judge ranks first, in a single judgement.

    Args:
        module: The module to sample from.
        n: Number of candidates, 1 or more.
        principle: The principle to rank by.
        judge: The judge, or a model string such as ``openai/gpt-5-mini``. None: `default_judge()`, loaded at the first
            judgement and shared by the process.
        prompt: The module's argument with the prompt, or a function of its arguments as a dict. None: all of them.
        response: The prediction's field to judge, or a function of the prediction. None: its only output field.
        temperature: The sampling temperature of the candidates, above 0, since they would be equal otherwise.
        num_threads: Number of candidates to sample at a time. None: DSPy's setting.
        max_failures: Failed judgements in a row after which the run stops, 1 or more. None: no limit.

    Raises:
        ConfigError: an argument has an invalid value.
    """

    def __init__(
        self,
        module: dspy.Module,
        n: int,
        principle: Principle | str,
        *,
        judge: BaseJudge | str | None = None,
        prompt: Selector = None,
        response: Selector = None,
        temperature: float = 1.0,
        num_threads: int | None = None,
        max_failures: int | None = DEFAULT_MAX_FAILURES,
    ) -> None:
        super().__init__()
        if not isinstance(n, int) or n < 1:
            raise ConfigError(f"n must be 1 or more, not {n!r}.")
        self.module = module
        self.n = n
        self.temperature = temperature
        self.num_threads = num_threads
        self._principle = Principle.of(principle)
        self._prompt = TextField("prompt", prompt)
        self._response = TextField("response", response)
        self._runner = JudgeRunner(judge, max_failures=max_failures)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """The best candidate. Raises what `rank` raises."""
        return self.rank(**inputs).predictions[0]

    def rank(self, **inputs: Any) -> Ranked:
        """Sample candidates, judge them, and return all of them, best first.

        Raises:
            RewardAnythingError: the judge failed, so the best candidate is unknown. DSPy counts a failed program.
            JudgeUnavailableError: a field is misspelt or ambiguous, the judge cannot be used, or it failed
                ``max_failures`` times in a row. DSPy does not catch it, so the run stops.
            Exception: every candidate failed. This is the first one's exception.
        """
        prompt = self._prompt.read(inputs)
        distinct: dict[Response, tuple[dspy.Prediction, list[Any]]] = {}
        predictions, errors = self._sample(inputs)
        for prediction, trace in predictions:
            try:
                response = self._response.read_response(prediction)
                Case(self._principle, prompt, [response])
            except InvalidCaseError as error:
                errors.append(error)
            else:
                distinct.setdefault(response, (prediction, trace))
        if not distinct:
            raise errors[0]
        candidates, verdict, order = list(distinct.values()), None, [0]
        if len(candidates) > 1:
            (outcome,) = self._runner.outcomes([Case(self._principle, prompt, list(distinct))])
            if isinstance(outcome, JudgeFailure):
                raise error_from_failure(outcome)
            verdict, order = outcome, [int(label) for label in outcome.ranking]
        if dspy.settings.trace is not None:
            dspy.settings.trace.extend(candidates[order[0]][1])
        return Ranked(predictions=[candidates[number][0] for number in order], verdict=verdict)

    def _sample(self, inputs: dict[str, Any]) -> tuple[list[tuple[dspy.Prediction, list[Any]]], list[Exception]]:
        """Up to n predictions with their traces, and the exceptions of the others.

        Each candidate comes from a copy of the module with its own rollout id, so that DSPy's cache repeats none.
        """
        lm = self.module.get_lm() or dspy.settings.lm
        start = lm.kwargs.get("rollout_id") or 0
        errors: list[Exception] = []

        def sample(rollout: int) -> tuple[dspy.Prediction, list[Any]] | None:
            module = self.module.deepcopy()
            module.set_lm(lm.copy(rollout_id=start + rollout, temperature=self.temperature))
            try:
                with dspy.context(trace=[]):
                    return module(**inputs), list(dspy.settings.trace)
            except Exception as error:  # noqa: BLE001 - the other candidates may succeed
                errors.append(error)
                return None

        run = dspy.Parallel(num_threads=self.num_threads, disable_progress_bar=True, access_examples=False)
        results = run([(sample, (rollout,)) for rollout in range(self.n)])
        return [result for result in results if result is not None], errors
