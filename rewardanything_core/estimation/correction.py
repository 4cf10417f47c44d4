"""The mean of people's labels, estimated from few labels and many scores of a judge: prediction-powered inference.

The judge's mean over all rows is corrected by the mean error that it makes on the labelled rows (Angelopoulos et al.,
Science 382, 2023), with the judge's scores weighted so that the variance is least (PPI++, Angelopoulos, Duchi & Zrnic,
arXiv 2311.01453). With labelled rows that are a part of the judged ones this is the regression estimator of survey
sampling (Särndal, Swensson & Wretman, Model Assisted Survey Sampling, 1992, chapters 6 and 7), from which the rest is
taken: weights of one over the sampling probability, weights that account for the estimated slope in the variance,
strata, and clusters. It is unbiased, up to a term of order 1/n, whatever the judge; a better judge makes it narrower.

``ppi-python`` has the same estimate and interval for independent rows. It has no clusters, no strata and no t
quantiles, and requires numba, pandas, statsmodels, scikit-learn and gdown. ``benchmarks/estimation.py`` measures the
coverage of the intervals here and compares them with that package where it is installed.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewardanything_core.agreement import intervals
from rewardanything_core.estimation.results import CorrectedMean, Interval, Method
from rewardanything_core.estimation.sample import LabelledSample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEW_CLUSTERS = 15
"""Below this number of labelled clusters there is a warning. Measured in ``benchmarks/estimation.py``."""

FEW_OTHER_LABELS = 10
"""If fewer labelled clusters than this, and fewer than a third of them, have another label or another error of the
judge than the most frequent one, the interval is ``bounded``."""

_LEAST_VARIANCE = 1e-9  # of the judge's scores, as a share of the squared range of labels
_LEAST_LEVEL = 1e-6
_BISECTIONS = 20


@dataclass(frozen=True, kw_only=True)
class _Moments:
    """The estimate and its variance."""

    value: float
    weight: float
    predictions: NDArray[np.float64]
    """What each labelled row says about the mean, ``(row,)``; their weighted mean is ``value``."""
    of_labelling: float
    """Variance from labelling a part of the rows."""
    of_rows: float
    """Variance from judging a part of all possible rows, with the covariance of both."""
    effective_clusters: float
    degrees: float

    @property
    def variance(self) -> float:
        return self.of_labelling + self.of_rows


def corrected_mean(sample: LabelledSample, *, confidence: float = 0.95) -> CorrectedMean:
    """The mean label that people would give, from the labels there are and the judge's scores of all rows.

    Labelled rows must have been drawn at random from the judged ones: uniformly, uniformly within strata, or with the
    sampling probabilities that the sample states. Rows that somebody picked because they looked wrong give a wrong
    answer, whatever the interval says.

    Args:
        sample: The judged rows and their labels.
        confidence: Confidence level of the intervals, in (0, 1).
    """
    import numpy as np

    judge = _moments(sample, weight=None)
    alone = _moments(sample, weight=0.0)
    method = _method(sample)
    low, high = _ends(sample, judge, method, confidence)
    alone_low, alone_high = _ends(sample, alone, method, confidence)
    errors = np.where(sample.is_labelled, _errors(sample), np.nan)
    bias = _moments(dataclasses.replace(sample, labels=errors, bounds=(-math.inf, math.inf)), weight=0.0)
    half = _t_half_width(bias, confidence)
    indices, clusters = sample.cluster_indices
    n, labelled_clusters = int(sample.is_labelled.sum()), len(set(indices[sample.is_labelled].tolist()))
    return CorrectedMean(
        value=min(max(judge.value, sample.bounds[0]), sample.bounds[1]),
        low=low,
        high=high,
        confidence=confidence,
        judge_mean=float(sample.scores.mean()),
        labels_only=Interval(value=alone.value, low=alone_low, high=alone_high),
        bias=Interval(value=bias.value, low=bias.value - half, high=bias.value + half),
        weight=judge.weight,
        n=n,
        rows=len(sample.judged),
        labelled_clusters=labelled_clusters,
        clusters=clusters,
        effective_n=n * alone.variance / judge.variance if judge.variance > 0 else float(n),
        label_worth=alone.of_labelling / judge.of_labelling if judge.of_labelling > 0 else None,
        method=method,
        variance_of_labelling=judge.of_labelling,
        variance_of_rows=judge.of_rows,
        degrees=judge.degrees,
        bounds=sample.bounds,
        warnings=_warnings(sample, judge, method, labelled_clusters),
    )


def p_below(sample: LabelledSample, null: float) -> float:
    """One-sided p-value of "the mean is ``null`` or more": the smallest level at which the interval lies below it.

    Args:
        sample: The judged rows and their labels.
        null: The hypothetical mean.
    """
    return _smallest_level(sample, null, side=-1)


def p_above(sample: LabelledSample, null: float) -> float:
    """One-sided p-value of "the mean is ``null`` or less": the smallest level at which the interval lies above it.

    Args:
        sample: The judged rows and their labels.
        null: The hypothetical mean.
    """
    return _smallest_level(sample, null, side=1)


def _smallest_level(sample: LabelledSample, null: float, *, side: int) -> float:
    """The smallest one-sided level whose interval lies above a value (side 1) or below it (side -1)."""
    from scipy.stats import t

    moments = _moments(sample, weight=None)
    if _method(sample) == "t":
        distance, error = side * (moments.value - null), math.sqrt(moments.variance)
        return float(t.sf(distance / error, moments.degrees)) if error else float(distance <= 0)

    def excludes(level: float) -> bool:
        low, high = _ends(sample, moments, "bounded", 1 - 2 * level)
        return low > null if side > 0 else high < null

    low_log, high_log = math.log(_LEAST_LEVEL), math.log(0.499)
    if not excludes(math.exp(high_log)):
        return 1.0
    for _ in range(_BISECTIONS):
        middle = (low_log + high_log) / 2
        low_log, high_log = (low_log, middle) if excludes(math.exp(middle)) else (middle, high_log)
    return math.exp(high_log)


def _method(sample: LabelledSample) -> Method:
    """How the interval is made; see `FEW_OTHER_LABELS`."""
    figures = (sample.values, _errors(sample))
    return "bounded" if any(_others(sample, each) < _fewest_others(sample) for each in figures) else "t"


def _others(sample: LabelledSample, figures: NDArray[np.float64]) -> int:
    """The number of labelled clusters with another figure than the most frequent one of labelled rows."""
    import numpy as np

    clusters, _ = sample.cluster_indices
    known, index = figures[sample.is_labelled].round(9), clusters[sample.is_labelled]
    values, counts = np.unique(known, return_counts=True)
    return len(set(index[known != values[counts.argmax()]].tolist()))


def _fewest_others(sample: LabelledSample) -> float:
    return min(FEW_OTHER_LABELS, len(set(sample.cluster_indices[0][sample.is_labelled].tolist())) / 3)


def _errors(sample: LabelledSample) -> NDArray[np.float64]:
    """Judge minus people on the labelled rows, ``(row,)``; 0.0 elsewhere."""
    import numpy as np

    return np.where(sample.is_labelled, sample.scores - sample.values, 0.0)


def _moments(sample: LabelledSample, weight: float | None) -> _Moments:
    """The estimate with a weight of the judge's scores; None: the weight with the least variance."""
    import numpy as np

    drawn, scores = sample.weights, sample.scores
    strata, number = sample.stratum_indices
    shares = np.bincount(strata, minlength=number) / len(strata)
    score_means, label_means = (np.bincount(strata, drawn * each, number) / shares for each in (scores, sample.values))
    centred = scores - score_means[strata]
    squares = float(drawn @ centred**2)
    fitted = weight is None
    if weight is None:
        usable = squares > _LEAST_VARIANCE * (sample.bounds[1] - sample.bounds[0]) ** 2
        # A line through two labels has no residuals, which would mean that there is no error.
        usable = usable and len(set(sample.cluster_indices[0][sample.is_labelled].tolist())) >= number + 2
        weight = max(0.0, float(drawn @ (centred * sample.values)) / squares) if usable else 0.0
    all_means = np.bincount(strata, scores, number) / (shares * len(strata))
    means = label_means + weight * (all_means - score_means)  # of each stratum
    value = float(shares @ means)
    residuals = np.where(sample.is_labelled, sample.values - label_means[strata] - weight * centred, 0.0)
    # Weights of regression: the labelled rows whose scores are rarer than among all rows have a larger influence.
    tilt = float(shares @ (all_means - score_means)) / squares if fitted and weight else 0.0
    # A label whose score is far from the others pulls the slope to itself, which makes its residual too small (HC3:
    # MacKinnon & White, Journal of Econometrics 29, 1985).
    leverage = np.minimum(drawn * centred**2 / squares, 0.5) if fitted and weight else 0.0
    labelling = drawn * (1 + tilt * centred) * residuals / (1 - leverage)
    rows = (weight * (scores - all_means[strata]) + means[strata] - value) / len(scores)
    index, clusters = sample.cluster_indices
    labelled_clusters = _effective_clusters(sample)
    lost = np.maximum(labelled_clusters - 1, 0.5)
    labelling *= np.sqrt(labelled_clusters / lost)[strata]
    variances = np.array([np.sum(np.bincount(index, labelling * (strata == each)) ** 2) for each in range(number)])
    degrees = float(variances.sum() ** 2 / (variances**2 / lost).sum()) if variances.any() else float(lost.sum())
    if fitted and weight:
        degrees -= 1
    degrees = max(1.0, degrees)
    by_cluster, of_rows = (np.bincount(index, each, clusters) for each in (labelling, rows))
    labelling_variance = float(by_cluster @ by_cluster)
    rows_variance = float(of_rows @ of_rows) * clusters / max(1, clusters - 1)
    both = max(0.0, rows_variance + 2 * float(by_cluster @ of_rows))
    total = labelling_variance + both
    return _Moments(
        value=value,
        weight=weight,
        predictions=(means[strata] + residuals),
        of_labelling=labelling_variance,
        of_rows=both,
        effective_clusters=float(labelled_clusters.sum()),
        degrees=total**2 / (labelling_variance**2 / degrees + both**2 / max(1, clusters - 1)) if total else degrees,
    )


def _effective_clusters(sample: LabelledSample) -> NDArray[np.float64]:
    """The number of labelled clusters in each stratum that would say as much if all counted alike (Kish 1965)."""
    import numpy as np

    strata, number = sample.stratum_indices
    index, clusters = sample.cluster_indices
    found = []
    for each in range(number):
        mass = np.bincount(index, sample.weights * (strata == each), clusters)
        found.append(mass.sum() ** 2 / (mass @ mass))
    return np.array(found)


def _ends(sample: LabelledSample, moments: _Moments, method: Method, confidence: float) -> tuple[float, float]:
    """The ends of the interval, within the sample's bounds."""
    if method == "t":
        half = _t_half_width(moments, confidence)
        low, high = moments.value - half, moments.value + half
    else:
        low, high = _bounded_ends(sample, moments, confidence)
    return max(sample.bounds[0], low), min(sample.bounds[1], high)


def _t_half_width(moments: _Moments, confidence: float) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + confidence) / 2, moments.degrees)) * math.sqrt(moments.variance)


def _bounded_ends(sample: LabelledSample, moments: _Moments, confidence: float) -> tuple[float, float]:
    """The interval of `intervals.estimate` for the labels, joined with the variance from judging some of all rows.

    At the worst, the labels have missed the least label where the judge's score is greatest, or the reverse.
    The distances of the ends are added as independent errors are (MOVER: Zou & Donner, Statistics in Medicine 27,
    2008).
    """
    import numpy as np
    from scipy.stats import norm

    index, clusters = sample.cluster_indices
    sums = np.bincount(index, sample.weights * moments.predictions, clusters)
    sizes = np.bincount(index, sample.weights, clusters)
    sums, sizes = sums[sizes > 0], sizes[sizes > 0]
    largest = float(sizes.max() / sizes.mean())  # the clusters that the labels missed may count as much as any
    weight, scores, (low, high) = moments.weight, sample.scores, sample.bounds
    least = low + weight * float(scores.mean() - scores.max())
    greatest = high + weight * float(scores.mean() - scores.min())
    found = intervals.estimate(
        lambda weights: (weights @ sums) / (weights @ sizes),
        len(sums),
        n=len(sums),
        bounds=(least, greatest),
        influence=lambda weights: np.full(len(weights), largest),
        confidence=confidence,
    )
    assert found.value is not None and found.low is not None and found.high is not None
    other = float(norm.ppf((1 + confidence) / 2)) ** 2 * moments.of_rows
    return (
        moments.value - math.sqrt(max(0.0, moments.value - found.low) ** 2 + other),
        moments.value + math.sqrt(max(0.0, found.high - moments.value) ** 2 + other),
    )


def _warnings(sample: LabelledSample, moments: _Moments, method: Method, clusters: int) -> tuple[str, ...]:
    found = []
    if clusters < FEW_CLUSTERS:
        found.append(
            f"Only {clusters} prompts have labels. With fewer than {FEW_CLUSTERS} the interval may be too narrow."
        )
    elif moments.effective_clusters < clusters / 2:
        found.append(
            f"A few labels count for most: the {clusters} labelled prompts weigh as much as "
            f"{moments.effective_clusters:.0f} equal ones."
        )
    if method == "bounded":
        others, errors = _others(sample, sample.values), _others(sample, _errors(sample))
        what = "Labels are equal" if others <= errors else "The judge's errors are equal"
        fewer = min(others, errors)
        where = f"all but {fewer} of {clusters} prompts" if fewer else f"all {clusters} prompts"
        found.append(f"{what} in {where}, so the interval is widened to cover what so few labels can miss.")
    return tuple(found)
