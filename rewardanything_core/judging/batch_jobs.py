"""Sending, fetching and cancelling recorded batches; a process killed at any moment loses and doubles nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path

from rewardanything_core.backends.endpoint.backend import EndpointBackend
from rewardanything_core.backends.endpoint.batch_api import BatchAPI, UncertainError
from rewardanything_core.backends.registry import backend_from_spec
from rewardanything_core.errors import BackendError, ConfigError
from rewardanything_core.store.batches import Batch, BatchRecords, Result, State

_ENDED: Mapping[str, State] = {"done": "fetched", "failed": "failed", "cancelled": "cancelled"}
_NOT_FOUND = 404
_MAX_UNCERTAIN = 3
_UNCERTAIN_SECONDS = 2.0
_LOCK_SECONDS = 0.1


async def send(backend: EndpointBackend, records: BatchRecords, batch: Batch, *, is_new: bool) -> Batch:
    """Send a prepared batch, unless the provider has it already.

    Args:
        backend: The endpoint.
        records: Where it is recorded.
        batch: The batch.
        is_new: Whether this process has just recorded it, so that it cannot have been sent.

    Raises:
        BackendError: the provider refused it. Its requests are free for another batch.
    """
    async with _locked(records.path):
        batch = records.get(batch.id)
        if batch.state != "prepared":
            return batch
        with closing(backend.batch_api()) as api:
            try:
                remote_id = await _sent(api, records, batch, is_new=is_new)
            except UncertainError as error:  # it stays prepared, and is looked for the next time
                raise error.__cause__ or error from None
            except BackendError as error:
                records.finish(batch, "cancelled", (), str(error))
                raise
        records.set_submitted(batch, remote_id)
        return records.get(batch.id)


async def _sent(api: BatchAPI, records: BatchRecords, batch: Batch, *, is_new: bool) -> str:
    bodies = records.bodies(batch)
    failed = 0
    while True:
        if not is_new:
            try:
                found = await api.find(batch.id, batch.created, bodies, records.known_remote_ids())
            except BackendError as error:
                raise UncertainError from error
            if found is not None:
                return found
        try:
            return await api.create(bodies, batch.id)
        except UncertainError:
            failed += 1
            if failed == _MAX_UNCERTAIN:
                raise
            is_new = False
            await asyncio.sleep(_UNCERTAIN_SECONDS)


async def fetch(backend: EndpointBackend, records: BatchRecords, batch: Batch) -> Batch:
    """Record the results of a batch if it has ended, otherwise how far it is.

    Args:
        backend: The endpoint.
        records: Where it is recorded.
        batch: The batch, which the provider has.

    Raises:
        BackendError: the provider does not know it, or could not be reached.
    """
    assert batch.remote_id is not None
    with closing(backend.batch_api()) as api:
        try:
            remote = await api.status(batch.remote_id)
        except BackendError as error:
            if error.status_code == _NOT_FOUND:
                error.advise(f"`ra-judge batch cancel {batch.id}` forgets it, so that its requests are sent again.")
            raise
        if remote.state == "running":
            records.set_detail(batch, remote.detail)
            return records.get(batch.id)
        bodies = await asyncio.to_thread(records.bodies, batch)
        found = await api.results(remote, bodies)
        if not api.finds_by_tag and found and not any(request_id in bodies for request_id, _, _ in found):
            # It was found by its time and size after a process was killed, and is somebody else's.
            records.set_prepared(batch)
            return await send(backend, records, batch, is_new=False)
    results = [Result(request_id=request_id, reply=reply, error=error) for request_id, reply, error in found]
    detail = f"{remote.detail}: {remote.problem}" if remote.problem else remote.detail
    replies, _ = await asyncio.to_thread(records.finish, batch, _ENDED[remote.state], results, detail)
    records.set_detail(records.get(batch.id), f"{detail}; {replies} of {batch.requests} requests have a reply")
    return records.get(batch.id)


async def cancel(backend: EndpointBackend, records: BatchRecords, batch: Batch) -> Batch:
    """Cancel a batch. What it has done so far is fetched once the provider has stopped it.

    Args:
        backend: The endpoint.
        records: Where it is recorded.
        batch: The batch.

    Raises:
        BackendError: the provider could not be reached or refused.
    """
    if batch.state == "prepared":
        batch = await _found(backend, records, batch)
    if batch.remote_id is None:
        records.finish(batch, "cancelled", (), "cancelled before it was sent")
        return records.get(batch.id)
    with closing(backend.batch_api()) as api:
        try:
            await api.cancel(batch.remote_id)
        except BackendError as error:
            if error.status_code != _NOT_FOUND:
                raise
            records.finish(batch, "cancelled", (), "the provider does not know it")
            return records.get(batch.id)
    return await fetch(backend, records, batch)


async def _found(backend: EndpointBackend, records: BatchRecords, batch: Batch) -> Batch:
    """A prepared batch with the provider's id, if it was sent before its process was killed."""
    async with _locked(records.path):
        batch = records.get(batch.id)
        if batch.state == "prepared":
            bodies = records.bodies(batch)
            with closing(backend.batch_api()) as api:
                remote_id = await api.find(batch.id, batch.created, bodies, records.known_remote_ids())
            if remote_id is not None and not api.finds_by_tag:
                raise BackendError(
                    f"{batch.model} may have the batch {batch.id} as {remote_id}, but its batches have no names, so "
                    "that one is not cancelled: it may be somebody else's.",
                    hint="Cancel it in the provider's console, or fetch it with `ra-judge batch wait`.",
                )
            if remote_id is not None:
                records.set_submitted(batch, remote_id)
        return records.get(batch.id)


def backend_of(batch: Batch) -> EndpointBackend:
    """The endpoint that a batch was recorded for, with its key from the environment.

    Raises:
        ConfigError: the key's variable is not set, or this version does not know the endpoint.
    """
    backend = backend_from_spec(batch.backend)
    if not isinstance(backend, EndpointBackend):
        raise ConfigError(f"The batch {batch.id} does not belong to an endpoint.")
    return backend


@asynccontextmanager
async def _locked(store: Path) -> AsyncIterator[None]:
    """Let only one process send batches of a store at a time; the lock ends with the process."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with store.with_name(f"{store.name}.batches.lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                await asyncio.sleep(_LOCK_SECONDS)
        yield
