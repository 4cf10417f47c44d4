"""A principle as a reward function for TRL's trainers.

TRL is not imported: it calls the reward, with keywords that have been the same since 1.0.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import cached_property
from statistics import fmean
from typing import Any, Literal

from rewardanything_core import (
    Abstention,
    BaseJudge,
    Case,
    ConfigError,
    InvalidCaseError,
    JudgeFailure,
    Principle,
    Rubric,
    Verdict,
    resolve_judge,
)
from rewardanything_core.errors import error_from_failure
from rewardanything_rl.availability import (
    DEFAULT_MAX_FAILED_CALLS,
    FailureStreak,
    ajudge_or_default,
    judge_or_default,
    stop_if_unusable,
)
from rewardanything_rl.groups import Group, Sample, group_samples, plain_principle, weighted_principle
from rewardanything_rl.injection_guard import Guard, arefusals, refusals, resolve_guard
from rewardanything_rl.scale import Scale, check_reward
from rewardanything_rl.texts import Thinking, check_thinking, guarded_text, response_of

_log = logging.getLogger(__name__)

Rewards = list[float | None]
Reference = str | Callable[[dict[str, Any]], str] | None
"""A column's name, or a function of the row as a dict (``prompt`` and all columns). None: there is no reference."""


class PrincipleReward:
    """How well completions follow a principle, for ``reward_funcs``.

    Completions of one prompt under one principle are judged in one listwise call, in whatever order they come.

    Args:
        principle: The principle or `Rubric` of rows without one of their own. None: every row has one. Under a rubric
            the reward is the weighted mean of the criteria's scores, and that of a score of 1 for a completion that
            misses a required criterion; each criterion has metrics of its own.
        weights: Criterion -> weight, in place of the rubric's own.
        judge: The judge, or a model string such as ``openai/gpt-5-mini``; pickled as its spec. None: `default_judge()`,
            loaded at the first call.
        normalize: Rewards are (score - 1) / 4, within 0..1; otherwise 1..5.
        reference: The column, or a function of the row, with a response that is judged along with the completions and
            whose reward is subtracted from theirs. None: nothing is subtracted.
        reference_text: The same response for every row.
        tie_break: Largest distance between the rewards of equal scores, 0..1 in units of the reward; see `Scale`.
        principle_column: The column with a row's own principle, rubric as plain JSON, or None in it. The column may be
            missing.
        thinking: ``strip`` removes a leading ``<think>`` block; ``opened`` does so where the chat template has opened
            the block already; ``keep`` removes nothing. A block without its closing tag leaves an empty answer.
        on_failure: ``none`` gives None, which GRPO and RLOO leave out; ``raise`` stops the training. Online DPO,
            SDPO, and GRPO and RLOO with further rewards, take None for 0.0 and need ``raise``.
        max_failed_calls: How many calls in a row may have no verdict at all before the training stops, 1 or more.
            None: no limit.
        guard: Whether to refuse completions that address the judge: True asks the judge's model about every sentence
            where that is known to work, as with the built-in judge, and uses `speaks_to_judge` elsewhere; a function
            takes the text and returns what is wrong with it, or None. The judge does not see refused completions, so
            they cannot affect the scores of others.
        refused_reward: The reward of a refused completion. None: it has none, as after a failure.
        name: The reward's name in the trainer's metrics. None: the principle's name, else ``principle``.
    """

    def __init__(
        self,
        principle: Principle | str | Mapping[str, Any] | None = None,
        *,
        weights: Mapping[str, float] | None = None,
        judge: BaseJudge | str | None = None,
        normalize: bool = True,
        reference: Reference = None,
        reference_text: str | None = None,
        tie_break: float = 0.02,
        principle_column: str = "principle",
        thinking: Thinking = "strip",
        on_failure: Literal["none", "raise"] = "none",
        max_failed_calls: int | None = DEFAULT_MAX_FAILED_CALLS,
        guard: bool | Guard = False,
        refused_reward: float | None = None,
        name: str | None = None,
    ) -> None:
        check_thinking(thinking)
        if on_failure not in ("none", "raise"):
            raise ConfigError(f"on_failure must be 'none' or 'raise', not {on_failure!r}.")
        if reference is not None and reference_text is not None:
            raise ConfigError("Give either reference or reference_text, not both.")
        check_reward("refused_reward", refused_reward)
        self.principle = weighted_principle(principle, weights)
        self.scale = Scale(normalize=normalize, tie_break=tie_break)
        self.failures: deque[JudgeFailure] = deque(maxlen=1000)
        """The most recent failures, oldest first."""
        self.__name__ = name or (self.principle and self.principle.name) or "principle"  # TRL names metrics by it
        self._judge = resolve_judge(judge)
        self._reference = reference
        self._reference_text = reference_text
        self._column = principle_column
        self._thinking: Thinking = thinking
        self._on_failure = on_failure
        self._streak = FailureStreak(max_failed_calls)
        self._guard = resolve_guard(guard)
        self._refused_reward = refused_reward

    @property
    def judge(self) -> BaseJudge:
        """The judge; the default judge is loaded if it is needed and not loaded yet."""
        return judge_or_default(self._judge)

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Rewards:
        """The reward of each completion.

        Args:
            prompts: Texts or chat messages, one for each completion.
            completions: Texts or chat messages.
            **columns: Everything else that the trainer passes: the data set's columns, ``log_metric``, ``log_extra``.

        Returns:
            A reward for each completion, in order; None where there is no verdict.

        Raises:
            ConfigError: there is no principle, or no such column.
            JudgeUnavailableError: the judge cannot be used, or ``max_failed_calls`` calls in a row had no verdict.
            RewardAnythingError: a judgement failed, and ``on_failure`` is ``raise``.
        """
        batch = self._batch(prompts, completions, columns)
        batch.refuse(refusals(self._guard, self.judge, self._guarded_texts(batch)), self._refused_reward)
        return self._finish(batch, self.judge.judge_batch(batch.cases), columns)

    async def acall(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Rewards:
        """The same as calling the reward, awaited.

        Args:
            prompts: Texts or chat messages, one for each completion.
            completions: Texts or chat messages.
            **columns: Everything else that the trainer passes.
        """
        batch = self._batch(prompts, completions, columns)
        judge = await ajudge_or_default(self._judge)
        batch.refuse(await arefusals(self._guard, judge, self._guarded_texts(batch)), self._refused_reward)
        return self._finish(batch, await judge.ajudge_batch(batch.cases), columns)

    def as_async(self) -> Callable[..., Coroutine[Any, Any, Rewards]]:
        """The reward as a coroutine function, which GRPO and RLOO run concurrently with other such rewards."""

        async def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Rewards:
            return await self.acall(prompts, completions, **columns)

        reward.__name__ = self.__name__
        return reward

    def __repr__(self) -> str:
        return f"PrincipleReward({self.principle.text if self.principle else None!r}, name={self.__name__!r})"

    # --- from rows to cases

    def _batch(self, prompts: Sequence[Any], completions: Sequence[Any], arguments: dict[str, Any]) -> _Batch:
        columns = self._checked_columns(prompts, completions, arguments)
        batch = _Batch(len(completions))
        for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            row = {name: values[index] for name, values in columns.items() if len(values) == len(completions)}
            try:
                sample = self._sample(prompt, completion, row)
            except InvalidCaseError as error:
                batch.fail([index], JudgeFailure(case_id=None, error_type="InvalidCaseError", message=str(error)))
                continue
            batch.samples.append((index, sample))
        return batch

    def _guarded_texts(self, batch: _Batch) -> list[str]:
        return [guarded_text(sample.response, self._thinking) for _, sample in batch.samples] if self._guard else []

    def _checked_columns(
        self, prompts: Sequence[Any], completions: Sequence[Any], arguments: Mapping[str, Any]
    ) -> dict[str, Sequence[Any]]:
        for name, values in (("prompts", prompts), ("completions", completions)):
            if isinstance(values, str | Mapping):
                raise ConfigError(f"{name} must be a list with one item for each completion, not {values!r:.80}.")
        if len(prompts) != len(completions):
            raise ConfigError(f"There are {len(prompts)} prompts for {len(completions)} completions.")
        columns: dict[str, Sequence[Any]] = {
            name: value for name, value in arguments.items() if isinstance(value, list | tuple)
        }
        available = f"The columns are: {', '.join(columns) or 'none'}."
        for name, values in columns.items():
            if name in (self._column, self._reference) and len(values) != len(completions):
                raise ConfigError(f"Column {name!r} has {len(values)} values for {len(completions)} completions.")
        if isinstance(self._reference, str) and self._reference not in columns:
            raise ConfigError(
                f"There is no column {self._reference!r} to take references from. {available} "
                "For one text for all rows use reference_text=."
            )
        if self.principle is None and self._column not in columns:
            raise ConfigError(
                f"There is no principle: give one to PrincipleReward, or add a column {self._column!r} to the data "
                f"set. {available}"
            )
        return columns

    def _sample(self, prompt: Any, completion: Any, row: Mapping[str, Any]) -> Sample:
        principle = plain_principle(row.get(self._column))
        principle = self.principle if principle is None else principle
        if principle is None:
            raise InvalidCaseError(f"This row's {self._column!r} is None.", field="principle")
        reference: Any = self._reference_text
        if isinstance(self._reference, str):
            reference = row[self._reference]
        elif self._reference is not None:
            reference = self._reference({"prompt": prompt, **row})
        if not isinstance(reference, str) and (self._reference, self._reference_text) != (None, None):
            raise InvalidCaseError(f"This row's reference must be a text, not {reference!r:.80}.", field="reference")
        response = response_of(completion, self._thinking)
        return Sample(principle=principle, prompt=prompt, response=response, reference=reference)

    # --- from outcomes to rewards

    def _finish(
        self, batch: _Batch, outcomes: Sequence[Verdict | JudgeFailure], arguments: Mapping[str, Any]
    ) -> Rewards:
        verdicts: list[Verdict] = []
        for group, outcome in zip(batch.groups, outcomes, strict=True):
            if isinstance(outcome, JudgeFailure):
                batch.fail(group.members, outcome)
                stop_if_unusable(error_from_failure(outcome))
                continue
            verdicts.append(outcome)
            batch.labels.append((outcome, group.members))
            rewards, explanation = self.scale.rewards(outcome, group.baseline), outcome.explanation
            for index, label in group.members.items():
                batch.rewards[index] = rewards[label]
                batch.scores[index] = outcome.scores[label]
                batch.rationales[index] = f"[{label}] {explanation}"
        self.failures.extend(batch.failures)
        failed = [failure for failure in batch.failures if not isinstance(failure, Abstention)]
        for failure in failed:
            _log.warning("Not judged, so there is no reward: %s", failure.summary)
        if failed and self._on_failure == "raise":
            raise error_from_failure(failed[0])
        self._streak.record(error_from_failure(failed[-1]) if failed and not verdicts else None)
        self._log_batch(batch, verdicts, arguments)
        return batch.rewards

    def _log_batch(self, batch: _Batch, verdicts: Sequence[Verdict], arguments: Mapping[str, Any]) -> None:
        """Log metrics and columns of this batch with the trainer's functions, where it has them."""
        if (log_extra := arguments.get("log_extra")) is not None:
            log_extra(f"{self.__name__}/score", batch.scores)
            log_extra(f"{self.__name__}/rationale", batch.rationales)
            for criterion in self.principle.criteria if isinstance(self.principle, Rubric) else ():
                log_extra(f"{self.__name__}/score/{criterion}", batch.scores_of(criterion))
        if (log_metric := arguments.get("log_metric")) is None or not batch.rewards:
            return
        scores = [score for score in batch.scores if score is not None]
        metrics = {
            "not_judged": 1 - (len(scores) + batch.refused) / len(batch.scores),
            "refused": None if not self._guard else batch.refused / len(batch.scores),
            "score": _mean(scores),
            "tied": _mean([len(set(v.scores.values())) < len(v.scores) for v in verdicts]),
            "agreement": _mean([v.agreement for v in verdicts]),
        }
        metrics |= _criterion_metrics(batch, self.principle)
        for name, value in metrics.items():
            if value is not None:
                log_metric(f"{self.__name__}/{name}", float(value))


class _Batch:
    """The rows of one call: their groups, and their rewards once these are known."""

    def __init__(self, size: int) -> None:
        self.samples: list[tuple[int, Sample]] = []
        self.failures: list[JudgeFailure] = []
        self.rewards: Rewards = [None] * size
        self.scores: Rewards = [None] * size
        self.rationales = [""] * size
        self.labels: list[tuple[Verdict, dict[int, str]]] = []
        self.refused = 0

    @cached_property
    def groups(self) -> list[Group]:
        return group_samples(self.samples)

    @property
    def cases(self) -> list[Case]:
        return [group.case() for group in self.groups]

    def scores_of(self, criterion: str) -> Rewards:
        """The score of each row under a criterion; None where there is no verdict on it."""
        scores: Rewards = [None] * len(self.scores)
        for verdict, members in self.labels:
            if criterion in verdict.criteria:
                for index, label in members.items():
                    scores[index] = verdict.criteria[criterion].scores[label]
        return scores

    def refuse(self, reasons: Sequence[str | None], reward: float | None) -> None:
        """Take out the samples for which there is a reason; no reasons at all mean that nothing is refused."""
        refused = {
            index: reason
            for (index, _), reason in zip(self.samples, reasons, strict=bool(reasons))
            if reason is not None
        }
        self.samples = [(index, sample) for index, sample in self.samples if index not in refused]
        self.refused = len(refused)
        for index, reason in refused.items():
            self.rewards[index] = reward
            self.rationales[index] = f"Refused. {reason}"

    def fail(self, indices: Iterable[int], failure: JudgeFailure) -> None:
        self.failures.append(failure)
        for index in indices:
            self.rationales[index] = f"Not judged. {failure.summary}"


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if present else None


def _criterion_metrics(batch: _Batch, principle: Principle | None) -> dict[str, float | None]:
    """The mean score under each criterion, and the share of completions that miss any and each required criterion."""
    names = dict.fromkeys(name for verdict, _ in batch.labels for name in verdict.criteria)
    required = [n for n, one in principle.criteria.items() if one.required] if isinstance(principle, Rubric) else []
    missed = [
        verdict.missed.get(label, [])
        for verdict, members in batch.labels
        for label in members.values()
        if verdict.criteria
    ]
    return {
        **{f"score/{name}": _mean(batch.scores_of(name)) for name in names},
        "missed": _mean([bool(names) for names in missed]) if required or any(missed) else None,
        **{f"missed/{name}": _mean([name in names for names in missed]) for name in required},
    }
