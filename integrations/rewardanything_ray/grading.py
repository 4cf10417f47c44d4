"""Judging a dataset with a pool of workers, each of which loads the judge once."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

import ray
from ray.data import ActorPoolStrategy

from rewardanything_core import ConfigError, Judge, ScriptedBackend
from rewardanything_core.tables import TableOptions, judge_tables, portable_spec
from rewardanything_ray.completed import CompletedRows, exclude_completed

if TYPE_CHECKING:
    import pyarrow
    from ray.data import Dataset

_BATCHES_PER_WORKER = 2
"""Batches that a worker judges at a time, so that it has requests in flight while it waits for the last rows of one."""


def grade_dataset(
    ds: Dataset,
    *,
    concurrency: int | tuple[int, int] = 1,
    batch_size: int = 128,
    num_cpus: float = 1,
    num_gpus: float = 0,
    store: str | None = None,
    done: CompletedRows | None = None,
    retry_failed: bool = False,
    ray_options: Mapping[str, Any] | None = None,
    **options: Unpack[TableOptions],
) -> Dataset:
    """Judge every row of a dataset: the same rows, in any order, with the columns that ``ra-judge grade`` adds.

    Nothing is judged before the result is consumed, as by ``write_parquet``. A row that could not be judged has the
    reason in ``error`` and null in the other added columns; see `judge_frames`. The rows of a worker or machine that
    is lost are judged by another one.

    Args:
        ds: Rows with the columns that ``options`` name.
        concurrency: Number of workers, or the least and the greatest number; each loads the judge once.
        batch_size: The most rows that a worker takes at a time, and that are judged again if it is lost.
        num_cpus: Ray's CPUs for each worker; a quantity for scheduling, not a limit. 0.1 is enough for clients of an
            endpoint. A CPU must be left for the tasks that read and write the data.
        num_gpus: GPUs for each worker: 1 for a local model on a GPU of its own, 0 for clients of an endpoint.
        store: A file on a local disk of each machine where its workers keep verdicts. Never a network file system,
            where SQLite's locks do not work. None: verdicts are in the result only.
        done: What an earlier run has written, so that its rows are excluded: a folder or file of Parquet, which need
            not exist yet, several of them, or a dataset. Needs ``id_column`` with unique ids.
        retry_failed: Judge rows with an ``error`` in ``done`` again.
        ray_options: Further arguments of Ray's ``map_batches``: ``runtime_env``, ``resources``, ``accelerator_type``.
        **options: See `TableOptions`. A ``judge`` is sent to the workers as its spec, without any key; given as
            settings, it is not loaded in this process.

    Returns:
        The judged rows, computed when they are consumed.

    Raises:
        ConfigError: the options contradict each other, or the judge cannot be sent to another process.
    """
    judge = portable_spec(options.get("judge"), store=store)
    options["judge"] = Judge(ScriptedBackend([]), cache="off")
    list(judge_tables([], **options))  # checks the options before any worker starts
    options["judge"] = judge
    if done is not None:
        id_column = options.get("id_column")
        if id_column is None:
            raise ConfigError("done needs an id_column that identifies the completed rows.")
        ds = exclude_completed(ds, done, id_column, f"{options.get('prefix', '')}error" if retry_failed else None)
    least, most = concurrency if isinstance(concurrency, tuple) else (concurrency, concurrency)
    _warn_without_spare_cpu(least, num_cpus)
    return ds.repartition(target_num_rows_per_block=batch_size).map_batches(
        Worker,
        fn_constructor_kwargs={"options": options},
        batch_size=batch_size,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(
            min_size=least,
            max_size=most,
            max_concurrent_calls_per_actor=_BATCHES_PER_WORKER,
            enable_true_multi_threading=True,
        ),
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        **(ray_options or {}),
    )


def _warn_without_spare_cpu(workers: int, num_cpus: float) -> None:
    """Warn where Ray would wait forever, which it does silently."""
    if not ray.is_initialized():
        return
    resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    available = resources.get("CPU", 0.0)
    if workers * num_cpus > available - 1:
        warnings.warn(
            f"{workers} workers of {num_cpus:g} CPUs each leave none of the cluster's {available:g} for reading and "
            "writing the data. Unless the cluster grows, nothing will happen: use fewer workers, or a smaller "
            "num_cpus, such as 0.1 for clients of an endpoint.",
            stacklevel=3,
        )


class Worker:
    """An actor of the pool.

    Args:
        options: The options of `grade_dataset`, with the judge as its spec.
    """

    def __init__(self, options: TableOptions) -> None:
        self._judged = partial(judge_tables, **options)
        list(self._judged([]))  # loads the judge now, not with the first batch

    def __call__(self, table: pyarrow.Table) -> Iterable[pyarrow.Table]:
        """Judge a batch."""
        return self._judged([table])
