"""One gatherer for all reward workers of a Ray job, in a named actor."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import threading
from importlib.util import find_spec
from typing import Any

from rewardanything_core import BaseJudge, ConfigError, JudgeFailure, MissingExtraError, RewardAnythingError
from rewardanything_core.errors import BackendConnectionError, error_from_failure
from rewardanything_rl.gathering import Gatherer, Rated
from rewardanything_rl.groups import Row
from rewardanything_rl.scale import Scale

_MOST = 100_000
"""Samples that may wait in the actor at a time; Ray's own 1,000 would hold back the rest of their groups."""


class RayGatherer:
    """Rates as a `Gatherer` does, but samples from all workers of a Ray job meet.

    The gatherer lives in an actor, made by whoever asks first and found by its name, which is drawn from the settings.
    It ends with the worker that made it; the others then make another one.

    Args:
        size: See `Gatherer`, as for the rest.
        timeout: See there.
        judge: Travels to the actor as its spec. None: `default_judge()` there.
        scale: See there.
    """

    def __init__(
        self, size: int, *, timeout: float = 120.0, judge: BaseJudge | None = None, scale: Scale | None = None
    ) -> None:
        if find_spec("ray") is None:
            raise MissingExtraError("gather='ray'", extra="ray")
        self._settings = {"size": size, "timeout": timeout, "judge": judge, "scale": scale or Scale()}
        Gatherer(size, timeout=timeout)  # says here what is wrong with them
        told = {**self._settings, "judge": judge and judge.spec(), "scale": dataclasses.asdict(scale or Scale())}
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        self.name = f"rewardanything-gatherer-{digest[:16]}"
        """What the actor is called."""
        self._actor: Any = None
        self._finding = threading.Lock()

    async def rate(self, row: Row, *, size: int | None = None) -> Rated:
        """The reward of one sample, once its group is judged.

        Raises:
            RewardAnythingError: the group has no verdict, or the actor was lost twice.
        """
        outcome: Rated | JudgeFailure = await self._asked("rate", row, size)
        if isinstance(outcome, JudgeFailure):
            raise error_from_failure(outcome)
        return outcome

    async def leave_out(self, row: Row, *, size: int | None = None) -> None:
        """Say that a sample will not be judged, so that the others of its group do not wait for it."""
        await self._asked("leave_out", row, size)

    async def _asked(self, method: str, row: Row, size: int | None) -> Any:
        from ray.exceptions import RayActorError

        lost: Exception | None = None
        for _ in range(2):
            actor = self._actor or await asyncio.to_thread(self._found)
            try:
                return await getattr(actor, method).remote(row, size)
            except RayActorError as error:
                lost = error
                with self._finding:
                    self._actor = None if self._actor is actor else self._actor  # another sample may have found it anew
        raise BackendConnectionError(f"The actor {self.name!r}, which gathers samples, was lost twice: {lost}")

    def _found(self) -> Any:
        import ray

        if not ray.is_initialized():
            raise ConfigError("gather='ray' works within a Ray job, and this process is in none.")
        with self._finding:
            if self._actor is None:
                remote: Any = ray.remote
                # Nothing to count: it waits, and its judge is to be a client.
                actor = remote(num_cpus=0, max_concurrency=_MOST)(_Actor)
                self._actor = actor.options(name=self.name, get_if_exists=True).remote(self._settings)
            return self._actor


class _Actor:
    """What runs in the named actor."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._gatherer = Gatherer(**settings)

    async def rate(self, row: Row, size: int | None) -> Rated | JudgeFailure:
        """A failure is returned, since not every error can be pickled."""
        try:
            return await self._gatherer.rate(row, size=size)
        except RewardAnythingError as error:
            return error.failure or JudgeFailure(case_id=None, error_type=type(error).__name__, message=str(error))

    async def leave_out(self, row: Row, size: int | None) -> None:
        await self._gatherer.leave_out(row, size=size)
