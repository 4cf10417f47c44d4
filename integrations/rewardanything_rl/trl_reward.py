"""A principle as a reward function for TRL's trainers.

TRL is not imported: it calls the reward, with keywords that have been the same since 1.0.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from statistics import fmean
from typing import Any, Literal

from rewardanything_core import (
    BaseJudge,
    Case,
    ConfigError,
    InvalidCaseError,
    JudgeFailure,
    Principle,
    Verdict,
    default_judge,
)
from rewardanything_core.errors import JudgeUnavailableError, error_from_failure
from rewardanything_rl.appeals import Guard, guard_of
from rewardanything_rl.groups import Group, Row, grouped
from rewardanything_rl.scale import Scale
from rewardanything_rl.texts import Thinking, check_thinking, text_of, untagged

_log = logging.getLogger(__name__)

Rewards = list[float | None]
Reference = str | Callable[[dict[str, Any]], str] | None
"""The column with a response to compare with, a function of the row as a dict (``prompt`` and all columns), or None."""


class PrincipleReward:
    """How well completions follow a principle, for ``reward_funcs``.

    Completions of one prompt under one principle are judged in one listwise call, wherever they stand in the batch.

    Args:
        principle: What to prefer, where a row has no principle of its own. None: every row has.
        judge: Who judges; pickled as its spec. None: `default_judge()`, made at the first call.
        normalize: Rewards are (score - 1) / 4, within 0..1; otherwise 1..5.
        reference: Where a response stands that is judged among the completions and whose score becomes the zero point:
            a column's name, or a function of the row. None: there is none.
        reference_text: The same response for every row.
        tie_break: How far equal scores are set apart by the ranking, in units of the reward; see `Scale`.
        principle_column: The column with a row's own principle; a row may have None. There may be no such column.
        thinking: ``strip`` removes a leading ``<think>`` block, ``opened`` likewise where the prompt's template has
            opened it, ``keep`` leaves all in. A block that is not closed leaves an empty answer.
        on_failure: ``none`` gives None, which GRPO and RLOO leave out; ``raise`` stops the training. Online DPO takes
            None for 0.0, so it needs ``raise``.
        max_failed_calls: After how many calls in a row in which nothing could be judged to stop. None: never.
        guard: Whether to refuse texts that speak to the judge: True asks `speaks_to_judge`, and a function of the text
            says what is wrong with it, or None. What is refused is not shown to the judge, so that it cannot move the
            scores of others either.
        refused_reward: Of what is refused. None: none, as for a failure.
        name: The reward's name in the trainer's metrics. None: the principle's name, else ``principle``.
    """

    def __init__(
        self,
        principle: Principle | str | None = None,
        *,
        judge: BaseJudge | None = None,
        normalize: bool = True,
        reference: Reference = None,
        reference_text: str | None = None,
        tie_break: float = 0.02,
        principle_column: str = "principle",
        thinking: Thinking = "strip",
        on_failure: Literal["none", "raise"] = "none",
        max_failed_calls: int | None = 10,
        guard: bool | Guard = False,
        refused_reward: float | None = None,
        name: str | None = None,
    ) -> None:
        check_thinking(thinking)
        if on_failure not in ("none", "raise"):
            raise ConfigError(f"on_failure must be 'none' or 'raise', not {on_failure!r}.")
        if reference is not None and reference_text is not None:
            raise ConfigError("Give either reference or reference_text, not both.")
        self.principle = None if principle is None else Principle.of(principle)
        self.scale = Scale(normalize=normalize, tie_break=tie_break)
        self.failures: deque[JudgeFailure] = deque(maxlen=1000)
        """The latest judgements that failed, oldest first."""
        self.__name__ = name or (self.principle and self.principle.name) or "principle"  # TRL asks for it
        self._judge = judge
        self._reference = reference
        self._reference_text = reference_text
        self._column = principle_column
        self._thinking: Thinking = thinking
        self._on_failure = on_failure
        self._max_failed_calls = max_failed_calls
        self._failed_calls = 0
        self._guard = guard_of(guard)
        self._refused_reward = refused_reward

    @property
    def judge(self) -> BaseJudge:
        """Who judges; made now if it was not yet."""
        return self._judge if self._judge is not None else default_judge()

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **given: Any) -> Rewards:
        """A reward for each completion, in order; None where there is no verdict.

        Args:
            prompts: Texts or chat messages, one for each completion.
            completions: Texts or chat messages.
            **given: Whatever else the trainer passes: the data set's columns, ``log_metric`` and ``log_extra``.

        Raises:
            ConfigError: there is no principle or no such column.
            JudgeUnavailableError: this was the last of ``max_failed_calls`` calls without any verdict.
            RewardAnythingError: a judgement failed, and ``on_failure`` is ``raise``.
        """
        batch = self._batch(prompts, completions, given)
        return self._settled(batch, self.judge.judge_batch(batch.cases), given)

    async def acall(self, prompts: Sequence[Any], completions: Sequence[Any], **given: Any) -> Rewards:
        """The same, awaited."""
        batch = self._batch(prompts, completions, given)
        judge = self._judge if self._judge is not None else await asyncio.to_thread(default_judge)
        return self._settled(batch, await judge.ajudge_batch(batch.cases), given)

    def as_async(self) -> Callable[..., Coroutine[Any, Any, Rewards]]:
        """The reward as a coroutine function, which GRPO and RLOO run beside other such rewards."""

        async def reward(prompts: Sequence[Any], completions: Sequence[Any], **given: Any) -> Rewards:
            return await self.acall(prompts, completions, **given)

        reward.__name__ = self.__name__
        return reward

    def __repr__(self) -> str:
        return f"PrincipleReward({self.principle.text if self.principle else None!r}, name={self.__name__!r})"

    # --- from rows to cases

    def _batch(self, prompts: Sequence[Any], completions: Sequence[Any], given: dict[str, Any]) -> _Batch:
        if len(prompts) != len(completions):
            raise ConfigError(f"There are {len(prompts)} prompts for {len(completions)} completions.")
        columns = {name: value for name, value in given.items() if isinstance(value, list | tuple)}
        for name, values in columns.items():
            if name in (self._column, self._reference) and len(values) != len(completions):
                raise ConfigError(f"Column {name!r} has {len(values)} values for {len(completions)} completions.")
        if isinstance(self._reference, str) and self._reference not in columns:
            raise ConfigError(
                f"There is no column {self._reference!r} to take references from; there are: "
                f"{', '.join(columns) or 'none'}. For one text for all rows say reference_text=."
            )
        if self.principle is None and self._column not in columns:
            raise ConfigError(
                f"There is no principle: give one to PrincipleReward, or a column {self._column!r} to the data set; "
                f"there are: {', '.join(columns) or 'none'}."
            )
        batch = _Batch(len(completions))
        rows = []
        for place, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            about = {name: values[place] for name, values in columns.items() if len(values) == len(completions)}
            try:
                row = self._row(prompt, completion, about)
            except InvalidCaseError as error:
                batch.fail([place], JudgeFailure(case_id=None, error_type="InvalidCaseError", message=str(error)))
                continue
            if self._guard is not None and (found := self._guard(untagged(row.text, self._thinking))) is not None:
                batch.refuse(place, found, self._refused_reward)
            else:
                rows.append((place, row))
        for group in grouped(rows):
            batch.add(group)
        return batch

    def _row(self, prompt: Any, completion: Any, about: dict[str, Any]) -> Row:
        principle = about.get(self._column)
        principle = self.principle if principle is None else principle
        if principle is None:
            raise InvalidCaseError(f"This row's {self._column!r} is None.", field="principle")
        reference: Any = self._reference_text
        if isinstance(self._reference, str):
            reference = about[self._reference]
        elif self._reference is not None:
            reference = self._reference({"prompt": prompt, **about})
        if not isinstance(reference, str) and (self._reference, self._reference_text) != (None, None):
            raise InvalidCaseError(f"This row's reference is no text but {reference!r:.80}.", field="reference")
        return Row(principle=principle, prompt=prompt, text=text_of(completion, self._thinking), reference=reference)

    # --- from outcomes to rewards

    def _settled(self, batch: _Batch, outcomes: Sequence[Verdict | JudgeFailure], given: dict[str, Any]) -> Rewards:
        verdicts: list[Verdict] = []
        for group, outcome in zip(batch.groups, outcomes, strict=True):
            if isinstance(outcome, JudgeFailure):
                batch.fail(group.members, outcome)
                continue
            verdicts.append(outcome)
            rewards, why = self.scale.rewards(outcome, group.zero), outcome.explanation
            for place, label in group.members.items():
                batch.rewards[place] = rewards[label]
                batch.scores[place] = outcome.scores[label]
                batch.rationales[place] = f"[{label}] {why}"
        self.failures.extend(batch.failures)
        for failure in batch.failures:
            _log.warning("Not judged, hence no reward: %s: %s", failure.error_type, failure.message)
        if batch.failures and self._on_failure == "raise":
            raise error_from_failure(batch.failures[0])
        self._failed_calls = 0 if verdicts or not batch.failures else self._failed_calls + 1
        if self._failed_calls == self._max_failed_calls:
            last = batch.failures[-1]
            raise JudgeUnavailableError(
                f"In {self._failed_calls} calls in a row nothing could be judged; the last failure is "
                f"{last.error_type}: {last.message}",
                hint="Set max_failed_calls=None to go on regardless.",
            )
        self._tell(batch, verdicts, given)
        return batch.rewards

    def _tell(self, batch: _Batch, verdicts: Sequence[Verdict], given: dict[str, Any]) -> None:
        """Metrics and columns of this batch, for trainers that take them."""
        if (log_extra := given.get("log_extra")) is not None:
            log_extra(f"{self.__name__}/score", batch.scores)
            log_extra(f"{self.__name__}/rationale", batch.rationales)
        if (log_metric := given.get("log_metric")) is None or not batch.rewards:
            return
        scores = [score for score in batch.scores if score is not None]
        told = {
            "not_judged": 1 - (len(scores) + batch.refused) / len(batch.scores),
            "refused": None if self._guard is None else batch.refused / len(batch.scores),
            "score": fmean(scores) if scores else None,
            "tied": fmean(len(set(v.scores.values())) < len(v.scores) for v in verdicts) if verdicts else None,
            "agreement": _mean([v.agreement for v in verdicts]),
        }
        for name, value in told.items():
            if value is not None:
                log_metric(f"{self.__name__}/{name}", float(value))


class _Batch:
    """The rows of one call, as groups, and what came of them."""

    def __init__(self, size: int) -> None:
        self.groups: list[Group] = []
        self.cases: list[Case] = []
        self.failures: list[JudgeFailure] = []
        self.rewards: Rewards = [None] * size
        self.scores: Rewards = [None] * size
        self.rationales = [""] * size
        self.refused = 0

    def add(self, group: Group) -> None:
        try:
            self.cases.append(group.case())
        except InvalidCaseError as error:
            self.fail(group.members, JudgeFailure(case_id=None, error_type=type(error).__name__, message=str(error)))
        else:
            self.groups.append(group)

    def refuse(self, place: int, found: str, reward: float | None) -> None:
        self.refused += 1
        self.rewards[place] = reward
        self.rationales[place] = f"Refused. {found}"

    def fail(self, places: Sequence[int] | dict[int, str], failure: JudgeFailure) -> None:
        self.failures.append(failure)
        for place in places:
            self.rationales[place] = f"Not judged. {failure.error_type}: {failure.message}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
