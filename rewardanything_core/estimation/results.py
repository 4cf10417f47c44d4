"""Estimates from few labels by people and many scores of a judge, as plain values."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

Method = Literal["t", "bounded"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure with its interval."""

    value: float
    """The figure."""

    low: float
    """Lower end of the interval."""

    high: float
    """Upper end of the interval."""

    @property
    def half_width(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, kw_only=True)
class CorrectedMean:
    """A mean over judged rows, corrected for the judge's bias with labels by people."""

    value: float
    """The corrected mean, an estimate of the mean label that people would give to all rows."""

    low: float
    """Lower end of its interval."""

    high: float
    """Upper end of its interval."""

    confidence: float
    """Confidence level of all intervals, in (0, 1)."""

    judge_mean: float
    """The judge's mean over all rows, uncorrected."""

    labels_only: Interval
    """The mean of the labels alone."""

    bias: Interval
    """Mean of judge minus people on the labelled rows."""

    weight: float
    """Weight of the judge's scores, 0 or more (lambda in PPI++). 0: the judge says nothing about the labels, and they
    count alone."""

    n: int
    """Number of labelled rows."""

    rows: int
    """Number of judged rows, the labelled ones included."""

    labelled_clusters: int
    """Number of clusters, such as prompts, with a labelled row."""

    clusters: int
    """Number of clusters."""

    effective_n: float
    """How many labels alone, drawn at random, would give the same variance."""

    label_worth: float | None
    """How many labels alone one label is worth where many more rows are judged than labelled. None: the judge's scores
    determine the labels."""

    method: Method
    """``t``: interval from the variance and Student's t. ``bounded``: nearly all labels, or nearly all errors of the
    judge, are equal, so the interval also covers what the labels may have missed; it covers the mean at least as often
    as promised."""

    variance_of_labelling: float
    """The part of the variance that falls with more labels."""

    variance_of_rows: float
    """The part of the variance that falls only with more judged rows."""

    degrees: float
    """Degrees of freedom of the t quantile."""

    bounds: tuple[float, float]
    """Least and greatest possible mean."""

    warnings: tuple[str, ...] = ()
    """Why the interval may not hold, in sentences."""

    @property
    def half_width(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2

    def predicted_half_width(self, n: int, *, residual_factor: float = 1.0) -> float:
        """Half of the interval's width with another number of labels, if the judge stays as good as it is.

        Args:
            n: Number of labels, 2 or more.
            residual_factor: Factor on the variance that falls with labels, for labels that are not drawn uniformly.
        """
        from scipy.stats import norm, t

        ratio = self.n / n * residual_factor
        if self.method == "bounded":  # the interval is wider than the variance says
            of_rows = float(norm.ppf((1 + self.confidence) / 2)) ** 2 * self.variance_of_rows
            half = math.sqrt(max(0.0, self.half_width**2 - of_rows) * ratio + of_rows)
        else:
            quantile = float(t.ppf((1 + self.confidence) / 2, max(1.0, self.degrees * n / self.n)))
            half = quantile * math.sqrt(self.variance_of_labelling * ratio + self.variance_of_rows)
        return min(half, (self.bounds[1] - self.bounds[0]) / 2)

    def to_dict(self) -> dict[str, Any]:
        """The estimate as plain JSON types."""
        return dataclasses.asdict(self)
