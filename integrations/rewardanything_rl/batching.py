"""Batching of samples that arrive one at a time into the groups that they belong to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from rewardanything_core import BaseJudge, ConfigError, RewardAnythingError, Verdict, resolve_judge
from rewardanything_core.errors import JudgeUnavailableError
from rewardanything_rl.availability import (
    DEFAULT_MAX_FAILED_CALLS,
    FailureStreak,
    ajudge_or_default,
    stop_if_unusable,
)
from rewardanything_rl.groups import Group, Sample, single_group
from rewardanything_rl.scale import Scale


@dataclass(frozen=True, kw_only=True)
class Reward:
    """The reward of one sample."""

    reward: float
    """On the scale of the batcher."""

    score: float
    """The judge's score, 1..5."""

    label: str
    """The sample's label in the verdict."""

    verdict: Verdict
    """The verdict of the whole group."""

    size: int
    """How many samples were judged together."""

    criteria: Mapping[str, float] = field(default_factory=dict)
    """Under a rubric, criterion -> reward; see `Scale.criterion_rewards`."""


@dataclass(eq=False)
class _PendingGroup:
    samples: list[Sample] = field(default_factory=list)
    futures: list[asyncio.Future[Reward]] = field(default_factory=list)
    skipped: int = 0
    timer: asyncio.TimerHandle | None = None


_Key = tuple[asyncio.AbstractEventLoop, str]


class GroupBatcher:
    """Collects samples with equal prompt and principle and judges them in one call.

    A group is judged when ``size`` samples have arrived, or ``timeout`` seconds after the first one with what has
    arrived by then. Samples are collected within one process and one event loop.

    Args:
        size: Expected samples of a prompt, 1 or more.
        timeout: Seconds to wait for the other samples of a group, from the first one on; 0 or more.
        judge: The judge, or a model string such as ``openai/gpt-5-mini``. None: `default_judge()`.
        scale: How scores become rewards. None: `Scale()`.
        max_failed_calls: How many groups in a row may have no verdict before `JudgeUnavailableError` takes the place
            of the failure, for each further group too, until one has a verdict again. None: no limit.
    """

    def __init__(
        self,
        size: int,
        *,
        timeout: float = 120.0,
        judge: BaseJudge | str | None = None,
        scale: Scale | None = None,
        max_failed_calls: int | None = DEFAULT_MAX_FAILED_CALLS,
    ) -> None:
        if not (isinstance(size, int) and isinstance(timeout, int | float) and size >= 1 and timeout >= 0):
            raise ConfigError(f"size must be 1 or more and timeout 0 or more, not {size!r} and {timeout!r}.")
        self.size, self.timeout, self.scale = size, timeout, scale or Scale()
        self._judge = resolve_judge(judge)
        self._streak = FailureStreak(max_failed_calls)
        self._pending: dict[_Key, _PendingGroup] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def reward(self, sample: Sample, *, size: int | None = None) -> Reward:
        """Wait until the sample's group is judged, and return the sample's reward.

        Args:
            sample: The sample.
            size: Expected samples of this group. None: the batcher's ``size``.

        Raises:
            RewardAnythingError: the group has no verdict. All of its samples raise this.
            JudgeUnavailableError: ``max_failed_calls`` groups in a row had none, or the judge cannot be used.
        """
        key, group = self._pending_group(sample)
        future: asyncio.Future[Reward] = key[0].create_future()
        group.samples.append(sample)
        group.futures.append(future)
        self._close_if_full(key, size)
        return await future

    async def skip(self, sample: Sample, *, size: int | None = None) -> None:
        """Count a sample that will not be judged, so that its group does not wait for it.

        Args:
            sample: The sample.
            size: Expected samples of this group. None: the batcher's ``size``.
        """
        key, group = self._pending_group(sample)
        group.skipped += 1
        self._close_if_full(key, size)

    def _pending_group(self, sample: Sample) -> tuple[_Key, _PendingGroup]:
        key = (asyncio.get_running_loop(), sample.key)
        group = self._pending.get(key)
        if group is None:
            group = self._pending[key] = _PendingGroup()
            group.timer = key[0].call_later(self.timeout, self._close, key)
        return key, group

    def _close_if_full(self, key: _Key, size: int | None) -> None:
        group = self._pending[key]
        if len(group.samples) + group.skipped >= (size or self.size):
            self._close(key)

    def _close(self, key: _Key) -> None:
        group = self._pending.pop(key)
        assert group.timer is not None
        group.timer.cancel()
        if not group.samples:
            return
        # A task of its own, so that a caller that is cancelled does not cancel the verdict of the others.
        task = key[0].create_task(self._judge_group(group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _judge_group(self, pending: _PendingGroup) -> None:
        try:
            group = single_group(pending.samples)
            verdict = await self._verdict(group)
            for future, reward in zip(pending.futures, self._rewards(group, verdict), strict=True):
                if not future.done():
                    future.set_result(reward)
        except (Exception, JudgeUnavailableError) as error:  # noqa: BLE001 - it belongs to the callers that wait
            for future in pending.futures:
                if not future.done():
                    future.set_exception(error)
        finally:
            for future in pending.futures:
                future.cancel()  # without effect unless this task was cancelled

    async def _verdict(self, group: Group) -> Verdict:
        judge = await ajudge_or_default(self._judge)
        try:
            verdict = await judge.ajudge(group.case())
        except RewardAnythingError as error:
            stop_if_unusable(error)
            self._streak.record(error)
            raise
        self._streak.record(None)
        return verdict

    def _rewards(self, group: Group, verdict: Verdict) -> list[Reward]:
        rewards = self.scale.rewards(verdict, group.baseline)
        return [
            Reward(
                reward=rewards[label],
                score=verdict.scores[label],
                label=label,
                verdict=verdict,
                size=len(group.members),
                criteria=self.scale.criterion_rewards(verdict, label, group.baseline),
            )
            for label in group.members.values()
        ]
