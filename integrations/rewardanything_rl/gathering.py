"""Samples that arrive one at a time, judged as the groups they belong to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from rewardanything_core import BaseJudge, ConfigError, Verdict, default_judge
from rewardanything_rl.groups import Group, Row, of_one
from rewardanything_rl.scale import Scale


@dataclass(frozen=True, kw_only=True)
class Rated:
    """What came of one sample."""

    reward: float
    """On the scale of the gatherer."""

    score: float
    """As judged, 1..5."""

    label: str
    """What the sample is called in the verdict."""

    verdict: Verdict
    """Of the whole group."""

    size: int
    """How many samples were judged together."""


@dataclass(eq=False)
class _Waiting:
    rows: list[Row] = field(default_factory=list)
    left_out: int = 0
    done: list[asyncio.Future[Rated]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None


class Gatherer:
    """Collects samples of one (prompt, principle) and judges them in one call.

    It waits until ``size`` of them are there, or ``timeout`` seconds since the first, and then judges what has arrived;
    a sample that stayed alone is judged alone. Samples meet within one process and one event loop.

    Args:
        size: How many samples of a prompt to expect, 1 or more.
        timeout: Seconds to wait for the rest, from the first on.
        judge: Who judges. None: `default_judge()`.
        scale: How scores become rewards.
    """

    def __init__(
        self, size: int, *, timeout: float = 120.0, judge: BaseJudge | None = None, scale: Scale | None = None
    ) -> None:
        if size < 1 or timeout < 0:
            raise ConfigError(f"size must be 1 or more and timeout 0 or more, not {size!r} and {timeout!r}.")
        self.size, self.timeout, self.scale = size, timeout, scale or Scale()
        self._judge = judge
        self._waiting: dict[tuple[asyncio.AbstractEventLoop, str], _Waiting] = {}
        self._judging: set[asyncio.Task[None]] = set()

    async def rate(self, row: Row, *, size: int | None = None) -> Rated:
        """The reward of one sample, once its group is judged.

        Args:
            row: The sample.
            size: How many to expect, where it is not the gatherer's ``size``.

        Raises:
            RewardAnythingError: the group has no verdict; each of its samples raises this.
        """
        key, waiting = self._group(row)
        waiting.rows.append(row)
        waiting.done.append(key[0].create_future())
        mine = waiting.done[-1]
        self._close_if_full(key, size)
        return await mine

    async def leave_out(self, row: Row, *, size: int | None = None) -> None:
        """Say that a sample will not be judged, so that the others of its group do not wait for it."""
        key, waiting = self._group(row)
        waiting.left_out += 1
        self._close_if_full(key, size)

    def _group(self, row: Row) -> tuple[tuple[asyncio.AbstractEventLoop, str], _Waiting]:
        key = (asyncio.get_running_loop(), row.key)
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = _Waiting()
            waiting.timer = key[0].call_later(self.timeout, self._close, key)
        return key, waiting

    def _close_if_full(self, key: tuple[asyncio.AbstractEventLoop, str], size: int | None) -> None:
        waiting = self._waiting[key]
        if len(waiting.rows) + waiting.left_out >= (size or self.size):
            self._close(key)

    def _close(self, key: tuple[asyncio.AbstractEventLoop, str]) -> None:
        waiting = self._waiting.pop(key)
        assert waiting.timer is not None
        waiting.timer.cancel()
        if not waiting.rows:
            return
        # A task of its own: a caller that goes away must not take the others' verdict with it.
        task = key[0].create_task(self._judged(waiting))
        self._judging.add(task)
        task.add_done_callback(self._judging.discard)

    async def _judged(self, waiting: _Waiting) -> None:
        try:
            group = of_one(waiting.rows)
            judge = self._judge if self._judge is not None else await asyncio.to_thread(default_judge)
            verdict = await judge.ajudge(group.case())
            for future, result in zip(waiting.done, self._rated(group, verdict), strict=True):
                if not future.done():
                    future.set_result(result)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            for future in waiting.done:
                if not future.done():
                    future.set_exception(error)
        finally:
            for future in waiting.done:
                future.cancel()  # only where this was cancelled itself: the loop is closing

    def _rated(self, group: Group, verdict: Verdict) -> list[Rated]:
        rewards = self.scale.rewards(verdict, group.zero)
        return [
            Rated(
                reward=rewards[label],
                score=verdict.scores[label],
                label=label,
                verdict=verdict,
                size=len(group.members),
            )
            for label in group.members.values()
        ]
