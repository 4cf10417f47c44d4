"""Judged rows, some of which have labels by people, as arrays."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rewardanything_core.agreement.intervals import group_indices
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class LabelledSample:
    """Judged rows with the labels that some of them have.

    Raises:
        ConfigError: the fields do not have the same length, a number is missing, not finite or out of range, some
            labels have a sampling probability and others none, or there are fewer than two labels in a stratum.
    """

    judged: Sequence[float] | NDArray[np.float64]
    """The judge's figure for each row, such as a score or a difference of scores; all finite."""

    labels: Sequence[float | None] | NDArray[np.float64]
    """People's figure for each row, within ``bounds``. None or NaN: the row has no label."""

    bounds: tuple[float, float]
    """Least and greatest possible label: ``(1, 5)`` for scores, ``(-4, 4)`` for differences, ``(0, 1)`` for wins."""

    clusters: Sequence[Hashable] | None = None
    """The cluster of each row, such as its prompt; rows of one cluster may be alike. None: rows are independent."""

    probabilities: Sequence[float | None] | NDArray[np.float64] | None = None
    """With which probability each row was drawn for labelling, in (0, 1]; only those of labelled rows are used. None:
    labelled rows were drawn uniformly."""

    strata: Sequence[Hashable] | None = None
    """The stratum of each row, such as its category. Labels were drawn uniformly within each stratum, and each counts
    by its share of the rows. None: there is one."""

    def __post_init__(self) -> None:
        import numpy as np

        for name in ("labels", "clusters", "probabilities", "strata"):
            given = getattr(self, name)
            _require(
                given is None or len(given) == len(self.judged),
                f"There are {len(self.judged)} judged rows, but another number of {name}.",
            )
        _require(np.isfinite(self.scores).all(), "Every judged figure must be a finite number.")
        low, high = self.bounds
        _require(low < high, f"bounds must be the least and the greatest possible label, not {self.bounds!r}.")
        labels = self.values[self.is_labelled]
        outside = labels[(labels < low - 1e-9) | (labels > high + 1e-9)]
        _require(not len(outside), f"The label {_first(outside)} lies outside {low:g} to {high:g}.")
        if self.probabilities is not None:
            drawn = np.asarray(self.probabilities, dtype=float)[self.is_labelled]
            _require(
                not np.isnan(drawn).any(),
                "Some labels have a sampling probability and others have none; give all of them one, or none.",
            )
            wrong = drawn[(drawn <= 0) | (drawn > 1)]
            _require(not len(wrong), f"The sampling probability {_first(wrong)} must be above 0 and at most 1.")
        strata, number = self.stratum_indices
        counts = np.bincount(strata[self.is_labelled], minlength=max(1, number))
        if counts.min() < 2:
            named = self.strata is not None and len(self.strata)
            stratum = list(dict.fromkeys(self.strata or ()))[int(counts.argmin())] if named else None
            raise ConfigError(
                f"There are {counts.min()} labels{f' in the stratum {stratum!r}' if named else ''}, and an interval "
                f"needs two or more.",
                hint="Label more rows there, or leave out the strata." if named else "Label more rows.",
            )

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """The judge's figures, ``(row,)``."""
        import numpy as np

        return np.asarray(self.judged, dtype=float)

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """The labels, ``(row,)``; 0.0 where there is none."""
        import numpy as np

        given: NDArray[np.float64] = np.nan_to_num(np.asarray(self.labels, dtype=float))
        return given

    @cached_property
    def is_labelled(self) -> NDArray[np.bool_]:
        """Which rows have a label, ``(row,)``."""
        import numpy as np

        given: NDArray[np.bool_] = ~np.isnan(np.asarray(self.labels, dtype=float))
        return given

    @cached_property
    def cluster_indices(self) -> tuple[NDArray[np.int64], int]:
        """The index of each row's cluster, and the number of clusters."""
        return group_indices(self.clusters if self.clusters is not None else range(len(self.judged)))

    @cached_property
    def stratum_indices(self) -> tuple[NDArray[np.int64], int]:
        """The index of each row's stratum, and the number of strata."""
        return group_indices(self.strata if self.strata is not None else [0] * len(self.judged))

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """How much each label counts, ``(row,)``: together 1, and in each stratum its share of the rows."""
        import numpy as np

        drawn = self.is_labelled.astype(float)
        if self.probabilities is not None:
            chance = np.asarray(self.probabilities, dtype=float)
            drawn = np.divide(drawn, chance, out=np.zeros_like(drawn), where=self.is_labelled)
        strata, number = self.stratum_indices
        shares = np.bincount(strata, minlength=number) / len(strata)
        counted: NDArray[np.float64] = drawn * (shares / np.bincount(strata, drawn, number))[strata]
        return counted


def _first(numbers: NDArray[np.float64]) -> str:
    return f"{numbers[0]:g}" if len(numbers) else ""


def _require(holds: Any, message: str) -> None:
    if not holds:
        raise ConfigError(message)
