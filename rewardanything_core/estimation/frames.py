"""Corrected means from columns: a data frame, or any mapping of names to sequences.

Results of evaluation frameworks are tables with a column for the judge and one for people: ``result_df`` of
`mlflow.genai.evaluate`, `to_pandas()` of a LangSmith experiment.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from rewardanything_core.errors import ConfigError
from rewardanything_core.estimation.correction import corrected_mean
from rewardanything_core.estimation.results import CorrectedMean
from rewardanything_core.estimation.sample import LabelledSample

WORDS = {"yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0, "pass": 1.0, "fail": 0.0}
"""Words that are numbers, in columns of verdicts."""


def correct_columns(
    frame: Any,
    *,
    judged: str,
    labels: str,
    bounds: tuple[float, float] = (1.0, 5.0),
    cluster: str | None = None,
    probability: str | None = None,
    stratum: str | None = None,
    missing: Literal["raise", "drop"] = "raise",
    confidence: float = 0.95,
) -> CorrectedMean:
    """The mean label that people would give to all rows of a table; see `corrected_mean`.

    Args:
        frame: A pandas data frame, or a mapping of columns.
        judged: The column with the judge's figures: numbers, booleans, or words such as yes and no.
        labels: The column with people's figures, on the same scale; null where there is none.
        bounds: Least and greatest possible label; ``(0, 1)`` for booleans and words.
        cluster: A column with what rows share, such as the prompt. None: rows are independent.
        probability: The column with the sampling probabilities. None: labelled rows were drawn uniformly.
        stratum: The column with the strata. None: there are none.
        missing: Whether rows that the judge could not judge are an error, or are left out.
        confidence: Confidence level of the intervals, in (0, 1).

    Raises:
        ConfigError: a column is missing, a value is not a number, or a row has no figure of the judge.
    """
    figures = [_number(value, judged) for value in _column(frame, judged)]
    kept = [place for place, figure in enumerate(figures) if figure is not None]
    if missing == "raise" and len(kept) < len(figures):
        raise ConfigError(
            f"{len(figures) - len(kept)} of {len(figures)} rows have no value in the column {judged!r}.",
            hint="Judge them again, or leave them out with missing='drop'; the estimate is then about the others.",
        )
    people = [_number(value, labels) for value in _column(frame, labels)]
    chances = None if probability is None else [_number(value, probability) for value in _column(frame, probability)]
    clusters, strata = (
        None if name is None else [str(value) for value in _column(frame, name)] for name in (cluster, stratum)
    )
    return corrected_mean(
        LabelledSample(
            judged=[figure for figure in figures if figure is not None],
            labels=[people[place] for place in kept],
            bounds=bounds,
            clusters=None if clusters is None else [clusters[place] for place in kept],
            probabilities=None if chances is None else [chances[place] for place in kept],
            strata=None if strata is None else [strata[place] for place in kept],
        ),
        confidence=confidence,
    )


def _column(frame: Any, name: str) -> Iterable[Any]:
    columns = list(frame) if isinstance(frame, Mapping) else list(frame.columns)
    if name not in columns:
        raise ConfigError(f"There is no column {name!r}; there are: {', '.join(map(str, columns))}.")
    values: Iterable[Any] = frame[name]
    return values


def _number(value: Any, column: str) -> float | None:
    """A cell as a number; None if it is null."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in WORDS:
            return WORDS[word]
    try:
        number = math.nan if value is None or type(value).__name__ == "NAType" else float(value)
    except (TypeError, ValueError):
        raise ConfigError(f"The column {column!r} has the value {value!r:.60}, which is not a number.") from None
    return None if math.isnan(number) else number
