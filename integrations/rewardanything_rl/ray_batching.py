"""A group batcher that all reward workers of a Ray job share, in a named actor."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import threading
from importlib.util import find_spec
from typing import Any

from rewardanything_core import (
    BaseJudge,
    ConfigError,
    JudgeFailure,
    MissingExtraError,
    RewardAnythingError,
    resolve_judge,
)
from rewardanything_core.errors import BackendConnectionError, JudgeUnavailableError, error_from_failure
from rewardanything_rl.availability import DEFAULT_MAX_FAILED_CALLS
from rewardanything_rl.batching import GroupBatcher, Reward
from rewardanything_rl.groups import Sample
from rewardanything_rl.scale import Scale

_MAX_CONCURRENCY = 100_000
"""Calls that may wait in the actor. Ray's default of 1,000 would hold back samples that complete a waiting group."""


class RayGroupBatcher:
    """A `GroupBatcher` for samples from all workers of a Ray job.

    The batcher lives in an actor, which the first caller creates and the others find by its name, a hash of the
    settings. The actor ends with the worker that created it; the next caller then creates another one.

    Args:
        size: As for `GroupBatcher`, like the other arguments.
        timeout: Seconds.
        judge: The judge, or a model string; sent to the actor as its spec. None: `default_judge()` in the actor.
        scale: How scores become rewards.
        max_failed_calls: Counted over all workers.
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
        if find_spec("ray") is None:
            raise MissingExtraError("gather='ray'", extra="ray")
        self._settings: dict[str, Any] = {
            "size": size,
            "timeout": timeout,
            "judge": (judge := resolve_judge(judge)),
            "scale": scale or Scale(),
            "max_failed_calls": max_failed_calls,
        }
        GroupBatcher(**self._settings)  # reports invalid settings here instead of in the actor
        plain = self._settings | {"judge": judge and judge.spec(), "scale": dataclasses.asdict(scale or Scale())}
        digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
        self.name = f"rewardanything-batcher-{digest[:16]}"
        """The actor's name."""
        self._actor: Any = None
        self._actor_lock = threading.Lock()

    async def reward(self, sample: Sample, *, size: int | None = None) -> Reward:
        """Wait until the sample's group is judged, and return the sample's reward.

        Args:
            sample: The sample.
            size: Expected samples of this group. None: the batcher's ``size``.

        Raises:
            RewardAnythingError: the group has no verdict, or the actor was lost twice.
            JudgeUnavailableError: as for `GroupBatcher.reward`.
        """
        outcome: Reward | JudgeFailure = await self._call("reward", sample, size)
        if isinstance(outcome, Reward):
            return outcome
        if outcome.error_type == JudgeUnavailableError.__name__:
            raise JudgeUnavailableError(outcome.message)
        raise error_from_failure(outcome)

    async def skip(self, sample: Sample, *, size: int | None = None) -> None:
        """Count a sample that will not be judged, so that its group does not wait for it.

        Args:
            sample: The sample.
            size: Expected samples of this group. None: the batcher's ``size``.
        """
        await self._call("skip", sample, size)

    async def _call(self, method: str, sample: Sample, size: int | None) -> Any:
        from ray.exceptions import RayActorError

        lost: Exception | None = None
        for _ in range(2):
            actor = self._actor or await asyncio.to_thread(self._find_or_create_actor)
            try:
                return await getattr(actor, method).remote(sample, size)
            except RayActorError as error:
                lost = error
                with self._actor_lock:
                    if self._actor is actor:  # otherwise another sample has replaced it already
                        self._actor = None
        raise BackendConnectionError(f"The actor {self.name!r}, which batches samples, was lost twice: {lost}")

    def _find_or_create_actor(self) -> Any:
        import ray

        if not ray.is_initialized():
            raise ConfigError("gather='ray' works only in a process of a Ray job, and Ray is not initialized here.")
        with self._actor_lock:
            if self._actor is None:
                remote: Any = ray.remote
                # No CPU: it waits most of the time, and its judge should be a client of an endpoint.
                actor = remote(num_cpus=0, max_concurrency=_MAX_CONCURRENCY)(_BatcherActor)
                self._actor = actor.options(name=self.name, get_if_exists=True).remote(self._settings)
            return self._actor


class _BatcherActor:
    """The named actor. It returns failures, since not every exception can be pickled."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._batcher = GroupBatcher(**settings)

    async def reward(self, sample: Sample, size: int | None) -> Reward | JudgeFailure:
        try:
            return await self._batcher.reward(sample, size=size)
        except (RewardAnythingError, JudgeUnavailableError) as error:
            failure = error.failure if isinstance(error, RewardAnythingError) else None
            return failure or JudgeFailure(case_id=None, error_type=type(error).__name__, message=str(error))

    async def skip(self, sample: Sample, size: int | None) -> None:
        await self._batcher.skip(sample, size=size)
