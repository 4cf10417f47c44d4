"""A dataset over a pool of workers, each of which has the judge once."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

import ray
from ray.data import ActorPoolStrategy

from rewardanything_core import ConfigError, Judge, ScriptedBackend
from rewardanything_core.tables import TableOptions, judge_tables, portable_spec
from rewardanything_ray.resuming import Done, without

if TYPE_CHECKING:
    import pyarrow
    from ray.data import Dataset

_OVERLAP = 2
"""Batches that a worker has in hand at a time: while the last rows of one are waited for, the next one is under way."""


def grade_dataset(
    ds: Dataset,
    *,
    concurrency: int | tuple[int, int] = 1,
    batch_size: int = 128,
    num_cpus: float = 1,
    num_gpus: float = 0,
    store: str | None = None,
    done: Done | None = None,
    retry_failed: bool = False,
    ray_options: Mapping[str, Any] | None = None,
    **options: Unpack[TableOptions],
) -> Dataset:
    """Judge every row of a dataset: the same rows, in any order, with the columns that ``ra-judge grade`` adds.

    Nothing is judged before the result is consumed, as by ``write_parquet``. A row that could not be judged has the
    reason in ``error`` and null in the other added columns; see `judge_frames`. What a worker or a machine had in hand
    when it was lost is given to another one.

    Args:
        ds: Rows with the columns that ``options`` name.
        concurrency: How many workers, or the least and the most; each has a judge, loaded once.
        batch_size: Most rows that a worker takes at a time, and that are judged again if it is lost.
        num_cpus: For each worker; what Ray counts by, not a limit. For clients of an endpoint 0.1 will do. There must
            be a CPU left over for the tasks that read and write the data.
        num_gpus: For each worker: 1 for a local model on a GPU of its own, 0 for clients of an endpoint.
        store: A file on a disk of each machine in which its workers keep verdicts; never a disk that machines share
            over a network, where SQLite's locks do not hold. None: verdicts are kept in the result alone.
        done: What an earlier run has written, so that its rows are left out: a folder or file of Parquet, which need
            not be there yet, several of them, or a dataset. Needs ``id_column``, and ids that are there once.
        retry_failed: Leave out only what was judged, so that rows with an ``error`` are judged again.
        ray_options: More for Ray's ``map_batches``: ``runtime_env``, ``resources``, ``accelerator_type``.
        **options: See `TableOptions`. A ``judge`` goes to the workers as its spec, without any key; as settings it is
            not loaded here.

    Raises:
        ConfigError: the options contradict each other or the judge cannot travel.
    """
    judge = portable_spec(options.get("judge"), store=store)
    options["judge"] = Judge(ScriptedBackend([]), cache="off")
    list(judge_tables([], **options))  # checks the options here, and not first on the workers
    options["judge"] = judge
    if done is not None:
        id_column = options.get("id_column")
        if id_column is None:
            raise ConfigError("done needs an id_column, to tell which rows are done.")
        ds = without(ds, done, id_column, f"{options.get('prefix', '')}error" if retry_failed else None)
    least, most = concurrency if isinstance(concurrency, tuple) else (concurrency, concurrency)
    _check_room(least, num_cpus)
    return ds.repartition(target_num_rows_per_block=batch_size).map_batches(
        Worker,
        fn_constructor_kwargs={"options": options},
        batch_size=batch_size,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(
            min_size=least,
            max_size=most,
            max_concurrent_calls_per_actor=_OVERLAP,
            enable_true_multi_threading=True,
        ),
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        **(ray_options or {}),
    )


def _check_room(workers: int, num_cpus: float) -> None:
    """Warn where Ray would wait for ever, which it does without a word."""
    if not ray.is_initialized():
        return
    resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    there = resources.get("CPU", 0.0)
    if workers * num_cpus > there - 1:
        warnings.warn(
            f"{workers} workers of {num_cpus:g} CPUs each leave none of the cluster's {there:g} for reading and "
            "writing the data: unless the cluster grows, nothing will happen. Take fewer workers, or a smaller "
            "num_cpus, such as 0.1 for clients of an endpoint.",
            stacklevel=3,
        )


class Worker:
    """What runs in each process of the pool.

    Args:
        options: With the judge as its spec.
    """

    def __init__(self, options: TableOptions) -> None:
        self._judged = partial(judge_tables, **options)
        list(self._judged([]))  # loads the judge now, not with the first batch

    def __call__(self, table: pyarrow.Table) -> Iterable[pyarrow.Table]:
        """A batch, judged."""
        return self._judged([table])
