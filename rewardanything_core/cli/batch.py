"""``ra-judge batch``: batches of requests that providers process within a day."""

from __future__ import annotations

import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.cli.exit_codes import WAITING
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    from rewardanything_core.cases import Case
    from rewardanything_core.judging.base import BaseJudge
    from rewardanything_core.store.batches import Batch, BatchRecords

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID...]", help="Batches, by ids as `batch list` shows them; default: all."),
]
Every = Annotated[float, typer.Option("--every", min=0.1, help="Seconds between two looks at the provider.")]


def list_batches(store: options.Store = None, as_json: options.JsonFlag = False) -> None:
    """List the batches of the verdict store, the newest last."""
    records = _records(store)
    if as_json:
        options.print_json([_json(batch) for batch in records.all()])
        return
    rows = [
        [
            batch.id,
            f"{batch.created.astimezone():%Y-%m-%d %H:%M}",
            batch.model,
            f"{batch.requests:,}",
            batch.state,
            batch.remote_id or "",
            batch.detail,
        ]
        for batch in records.all()
    ]
    options.print_table(["BATCH", "CREATED", "MODEL", "REQUESTS", "STATE", "PROVIDER'S ID", "DETAIL"], rows)


def wait(ids: Ids = None, every: Every = 60.0, store: options.Store = None) -> None:
    """Wait until batches have ended, and fetch their replies.

    Then run the command that submitted them again: it judges with the replies. Exit code: 0 if all were fetched, 3 if a
    batch failed or was cancelled.
    """
    ended = _fetched(ids, store)
    while any(batch.state in ("prepared", "submitted") for batch in ended):
        time.sleep(every)
        ended = _fetched(ids, store)
    _finish(ended)


def fetch(ids: Ids = None, store: options.Store = None) -> None:
    """Fetch the replies of batches that have ended, without waiting for others.

    Exit code: 0 if all were fetched, 3 if a batch failed or was cancelled, 4 if some have not ended.
    """
    _finish(_fetched(ids, store))


def cancel(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Batches, by ids as `batch list` shows them.")],
    store: options.Store = None,
) -> None:
    """Cancel batches. Replies that a provider had before are fetched and used; they are paid for."""
    from rewardanything_core.judging import batch_jobs

    records = _records(store)
    for batch in _chosen(records, ids):
        if batch.state in ("prepared", "submitted"):
            now = _run(batch_jobs.cancel(batch_jobs.backend_of(batch), records, batch))
            options.echo(f"{now.id}: {now.state}, {now.detail or 'being cancelled'}.")
        else:
            options.echo(f"{batch.id} has ended already: {batch.state}.")


def _fetched(ids: Sequence[str] | None, store: str | None) -> list[Batch]:
    """The batches chosen, after fetching those that have ended."""
    from rewardanything_core.judging import batch_jobs

    records = _records(store)
    now = []
    for batch in _chosen(records, ids):
        if batch.state == "submitted":
            batch = _run(batch_jobs.fetch(batch_jobs.backend_of(batch), records, batch))
            options.echo(f"{batch.id}: {batch.detail}.")
        elif batch.state == "prepared":
            batch = _run(batch_jobs.send(batch_jobs.backend_of(batch), records, batch, is_new=False))
            options.echo(f"{batch.id}: {batch.detail}.")
        now.append(batch)
    return now


def _chosen(records: BatchRecords, ids: Sequence[str] | None) -> list[Batch]:
    batches = records.all()
    if not ids:
        return [batch for batch in batches if batch.state in ("prepared", "submitted")]
    known = {batch.id: batch for batch in batches}
    if unknown := [batch_id for batch_id in ids if batch_id not in known]:
        raise ConfigError(
            f"There is no batch {unknown[0]!r} in {records.path}.", hint="`ra-judge batch list` has them."
        )
    return [known[batch_id] for batch_id in dict.fromkeys(ids)]


def _finish(batches: Sequence[Batch]) -> None:
    from rewardanything_core.cli.exit_codes import JUDGE_FAILED

    if not batches:
        options.echo("No batch is under way.")
    if any(batch.state in ("failed", "cancelled") for batch in batches):
        raise typer.Exit(JUDGE_FAILED)
    if any(batch.state in ("prepared", "submitted") for batch in batches):
        raise typer.Exit(WAITING)


def _records(store: str | None) -> BatchRecords:
    from rewardanything_core.config import read_settings
    from rewardanything_core.store.verdict_store import VerdictStore

    return VerdictStore(read_settings(None, {"store": store}).get("store")).batches()


def _run(work: Coroutine[Any, Any, Batch]) -> Batch:
    from rewardanything_core.concurrency import background_loop

    return background_loop.wait(background_loop.submit(work))


def _json(batch: Batch) -> dict[str, Any]:
    return {
        "id": batch.id,
        "created": batch.created.isoformat(),
        "model": batch.model,
        "requests": batch.requests,
        "state": batch.state,
        "remote_id": batch.remote_id,
        "detail": batch.detail,
    }


def through_batches(judge: BaseJudge, cases: Iterable[Case | Mapping[str, Any]], *, wait: bool) -> None:
    """Judge cases through batches before a command reads their verdicts from the store.

    Args:
        judge: The judge.
        cases: The cases.
        wait: Whether to wait for the batches.

    Raises:
        Exit: there are batches to wait for.
    """
    from rewardanything_core.gate.reports.wording import counted
    from rewardanything_core.judging.batches import BatchRunner
    from rewardanything_core.judging.streaming import is_out_of_budget

    progress = BatchRunner(judge, report=options.echo).run(cases, wait=wait)
    stopped = list(filter(is_out_of_budget, progress.outcomes.values()))
    if progress.waiting:
        if stopped:
            options.echo(f"{len(stopped):,} cases were left out since the budget is used up.")
        requests = sum(batch.requests for batch in progress.waiting)
        options.echo(
            f"{counted(requests, 'request')} in {counted(len(progress.waiting), 'batch', 'batches')}. "
            "Come back within a day: `ra-judge batch wait`, then the same command."
        )
        raise typer.Exit(WAITING)
