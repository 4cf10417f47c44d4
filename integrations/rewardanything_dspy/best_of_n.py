"""Best of n by one listwise verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dspy

from rewardanything_core import BaseJudge, Case, ConfigError, Principle, Verdict
from rewardanything_dspy.fields import Selector, prompt_of, response_of
from rewardanything_dspy.judging import Bench


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """The candidates of one call."""

    predictions: list[dspy.Prediction]
    """Every distinct candidate, best first."""

    verdict: Verdict | None
    """Labels are the candidates' places in the order of sampling. None: all were equal, so none was judged."""


class BestOfN(dspy.Module):  # type: ignore[misc]  # DSPy has no types
    """Samples n candidates from a module and returns the one that a judge ranks first, in a single judgement.

    Args:
        module: What to sample from.
        n: How many candidates, 1 or more.
        principle: What to prefer.
        judge: Who judges. None: `load_judge()`, made at the first judgement and shared by the process.
        prompt: The argument that was asked, or a function of the arguments as a dict. None: all of them.
        response: The prediction's field to judge, or a function of the prediction. None: its only output field.
        temperature: Of the candidates; at 0 they would be equal.
        num_threads: How many candidates to sample at a time. None: DSPy's setting.
    """

    def __init__(
        self,
        module: dspy.Module,
        n: int,
        principle: Principle | str,
        *,
        judge: BaseJudge | None = None,
        prompt: Selector = None,
        response: Selector = None,
        temperature: float = 1.0,
        num_threads: int | None = None,
    ) -> None:
        super().__init__()
        if n < 1:
            raise ConfigError(f"n must be 1 or more, not {n!r}.")
        self.module = module
        self.n = n
        self.temperature = temperature
        self.num_threads = num_threads
        self._principle = Principle.of(principle)
        self._select = (prompt, response)
        self._bench = Bench(judge)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """The best candidate. Raises what `rank` raises."""
        return self.rank(**inputs).predictions[0]

    def rank(self, **inputs: Any) -> Ranked:
        """Sample, judge, and return every candidate, best first.

        Raises:
            RewardAnythingError: the judge failed; there is no telling which candidate is best.
            Exception: what the module raised, if it did so for every candidate.
        """
        select_prompt, select_response = self._select
        distinct: dict[str, tuple[dspy.Prediction, list[Any]]] = {}
        for prediction, trace in self._candidates(inputs):
            distinct.setdefault(response_of(prediction, select_response), (prediction, trace))
        candidates, verdict, order = list(distinct.values()), None, [0]
        if len(candidates) > 1:
            verdict = self._bench.judge.judge(Case(self._principle, prompt_of(inputs, select_prompt), list(distinct)))
            order = [int(label) for label in verdict.ranking]
        if dspy.settings.trace is not None:
            dspy.settings.trace.extend(candidates[order[0]][1])
        return Ranked(predictions=[candidates[place][0] for place in order], verdict=verdict)

    def _candidates(self, inputs: dict[str, Any]) -> list[tuple[dspy.Prediction, list[Any]]]:
        """Up to n predictions with their traces: the same module, each with a rollout of its own past DSPy's cache."""
        lm = self.module.get_lm() or dspy.settings.lm
        start = lm.kwargs.get("rollout_id") or 0
        errors: list[Exception] = []

        def sample(rollout: int) -> tuple[dspy.Prediction, list[Any]] | None:
            module = self.module.deepcopy()
            module.set_lm(lm.copy(rollout_id=start + rollout, temperature=self.temperature))
            try:
                with dspy.context(trace=[]):
                    return module(**inputs), list(dspy.settings.trace)
            except Exception as error:  # noqa: BLE001 - whatever it is, the other candidates may do
                errors.append(error)
                return None

        run = dspy.Parallel(num_threads=self.num_threads, disable_progress_bar=True, access_examples=False)
        found = [pair for pair in run([(sample, (rollout,)) for rollout in range(self.n)]) if pair is not None]
        if not found:
            raise errors[0]
        return found
