"""Rows for people to label next, in the layout that `read_labels` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rewardanything_core.bench.estimates import BOUNDS, measures
from rewardanything_core.bench.items import ScoreRange
from rewardanything_core.bench.judged_rows import UNKNOWN, JudgedRow
from rewardanything_core.bench.label_matching import MatchedLabels, RowLabels
from rewardanything_core.conversations.trajectory import response_json
from rewardanything_core.errors import ConfigError
from rewardanything_core.estimation import CorrectedMean, LabelledSample, corrected_mean
from rewardanything_core.estimation.drawing import Draw, draw_first, draw_next
from rewardanything_core.types import MAX_SCORE, MIN_SCORE

OURS: ScoreRange = (MIN_SCORE, MAX_SCORE)


@dataclass(frozen=True, kw_only=True)
class LabelRequest:
    """A file for people to label: the labels so far, and rows without one."""

    rows: tuple[dict[str, Any], ...]
    """The rows of the file: first those with a label, then those to label, whose score or winner is null. Each has its
    sampling ``probability``, with which it is among the labels after this draw."""

    probabilities: Mapping[str, float]
    """The same for every judged row, by `JudgedRow.key`; the next draw needs them."""

    number: int
    """Number of rows to label."""

    half_width: float | None
    """Half of the interval's width now. None: there are no labels yet."""

    predicted: float | None
    """Half of the interval's width with the new labels, if the judge stays as good as it is."""

    predicted_uniform: float | None
    """The same if the rows were drawn uniformly."""


def request_labels(
    rows: Sequence[JudgedRow],
    matched: MatchedLabels,
    number: int,
    *,
    before: Mapping[str, float] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> LabelRequest:
    """Draw rows to label, so that the interval gets narrow.

    They are drawn for the difference of the first two systems, or for the mean score where there are none.

    Args:
        rows: The judged rows.
        matched: The labels so far; there may be none.
        number: Number of rows to draw.
        before: Sampling probability of every row so far, by `JudgedRow.key`. None: labels were drawn uniformly.
        confidence: Confidence level of the interval, in (0, 1).
        seed: Seed of the draw.

    Raises:
        ConfigError: there are not so many rows without a label, or there is one label.
    """
    sample, spread = _by_row(rows, matched, before)
    now: CorrectedMean | None = None
    predicted = uniform = None
    if sample is None:
        draw = draw_first(len(rows), number, seed=seed, spread=spread)
    else:
        now = corrected_mean(sample, confidence=confidence)
        draw = draw_next(sample, now, number, spread=spread, seed=seed)
        total = now.n + number
        uniform = now.predicted_half_width(total)
        predicted = now.predicted_half_width(total, residual_factor=draw.residual_factor)
    chances = [float(chance) for chance in draw.probabilities]
    return LabelRequest(
        rows=tuple(_file_rows(rows, matched, draw, chances)),
        probabilities={row.key: chance for row, chance in zip(rows, chances, strict=True)},
        number=number,
        half_width=None if now is None else now.half_width,
        predicted=predicted,
        predicted_uniform=uniform,
    )


def draw_file(labels: str | Path) -> Path:
    """The file with the sampling probabilities of all rows, next to a file of labels."""
    return Path(f"{labels}.draw.json")


def write_request(request: LabelRequest, path: str | Path) -> None:
    """Write the file for people, and `draw_file` next to it.

    Args:
        request: What to write.
        path: A file of JSON lines that does not exist yet.

    Raises:
        ConfigError: it exists, is named as another format, or cannot be written.
    """
    if Path(path).suffix.lower() in (".csv", ".parquet", ".json"):
        raise ConfigError(f"Rows to label are JSON lines, and {path} is named otherwise.", hint="Name it FILE.jsonl.")
    try:
        with Path(path).open("x", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in request.rows)
        draw_file(path).write_text(json.dumps({"probabilities": request.probabilities}), encoding="utf-8")
    except FileExistsError:
        raise ConfigError(
            f"{path} exists; it may hold labels, so it is not replaced.", hint="Give another name with --out."
        ) from None
    except (OSError, UnicodeEncodeError) as error:
        raise ConfigError(f"Cannot write {path}: {getattr(error, 'strerror', None) or error}.") from error


def read_draw(labels: Sequence[str]) -> dict[str, float] | None:
    """The sampling probabilities that belong to files of labels. None: there are none.

    Args:
        labels: The files.

    Raises:
        ConfigError: such a file cannot be read.
    """
    latest: dict[str, float] = {}
    for path in filter(Path.is_file, map(draw_file, labels)):
        try:
            for key, chance in json.loads(path.read_text(encoding="utf-8"))["probabilities"].items():
                latest[key] = max(float(chance), latest.get(key, 0.0))  # a later draw only adds to them
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"Cannot read the sampling probabilities in {path}: {error}.") from error
    return latest or None


def _by_row(
    rows: Sequence[JudgedRow], matched: MatchedLabels, before: Mapping[str, float] | None
) -> tuple[LabelledSample | None, list[float] | None]:
    """One figure for each row, with the label and the spread; no sample if there are no labels."""
    kinds = measures(rows)
    pair = next((systems for measure, systems in kinds if measure == "difference"), None)
    judged, labels, spreads = [], [], []
    for row, given in zip(rows, matched.rows, strict=True):
        figures, people = row.scores[None], _figures(given)
        names = pair or tuple(figures)
        known = [people[name] for name in names if name in people]
        if pair is None:
            judged.append(fmean(figures.values()))
            labels.append(fmean(known) if known else None)
        else:
            judged.append(figures[pair[0]] - figures[pair[1]])
            labels.append(known[0] - known[1] if len(known) == 2 else _won(given, pair))
        spreads.append(sum(row.spread.get(name, 0.0) ** 2 for name in names) ** 0.5)
    spread = spreads if any(spreads) else None
    if all(label is None for label in labels):
        return None, spread
    probabilities = None
    if before is not None:
        missing = [row.place for row in rows if row.key not in before]
        if missing:
            raise ConfigError(
                f"{missing[0]} was not among the rows that labels were drawn from.",
                hint="Draw from the same judged rows as before, or start with new labels.",
            )
        probabilities = [before[row.key] for row in rows]
    elif any(given.probability is not None for given in matched.rows):
        raise ConfigError(
            "These labels were drawn with probabilities, and the file with those of the other rows is missing.",
            hint="Keep LABELS.draw.json, which --next wrote, next to the file of labels.",
        )
    strata = [row.stratum for row in rows]
    sample = LabelledSample(
        judged=judged,
        labels=labels,
        bounds=BOUNDS["difference" if pair else "mean score"],
        clusters=[row.prompt for row in rows],
        probabilities=probabilities,
        strata=strata if any(stratum is not None for stratum in strata) else None,
    )
    return sample, spread


def _figures(given: RowLabels) -> Mapping[str, float]:
    """Label -> people's score of the whole, or else the mean of those of the criteria."""
    if given.scores.get(None):
        return given.scores[None]
    by_label: dict[str, list[float]] = {}
    for scores in given.scores.values():
        for label, score in scores.items():
            by_label.setdefault(label, []).append(score)
    return {label: fmean(scores) for label, scores in by_label.items()}


def _won(given: RowLabels, pair: tuple[str, ...]) -> float | None:
    """A difference of 1, 0 or -1 point where people only said which response is better."""
    won = given.win(None, pair[0], pair[1])
    return None if won is None else 2 * won - 1


def _file_rows(
    rows: Sequence[JudgedRow], matched: MatchedLabels, draw: Draw, chances: Sequence[float]
) -> list[dict[str, Any]]:
    drawn = set(draw.rows)
    labelled = [
        place for place, given in enumerate(matched.rows) if place not in drawn and (given.scores or given.orders)
    ]
    only_orders = bool(labelled) and all(not matched.rows[place].scores for place in labelled)
    return [
        _file_row(rows[place], matched.rows[place], matched.scale, only_orders) | {"probability": chances[place]}
        for place in [*labelled, *draw.rows]
    ]


def _file_row(row: JudgedRow, given: RowLabels, scale: ScoreRange, only_orders: bool) -> dict[str, Any]:
    case = row.case
    made: dict[str, Any] = {"id": case.id or row.key}
    if row.principle != UNKNOWN:
        made["principle"] = case.principle.to_json()
    made["prompt"] = case.prompt if isinstance(case.prompt, str) else [dict(turn) for turn in case.prompt]
    made |= {part: value for part in ("context", "reference") if (value := getattr(case, part)) is not None}
    responses = {label: response_json(response) for label, response in case.responses.items()}
    criteria = [criterion for criterion in row.scores if criterion is not None]
    if criteria:
        made |= {"responses": responses}
        made |= {"labels": {name: _scores(row, given, name, scale) for name in criteria}}
    elif only_orders:
        made |= {"responses": responses, "winner": _winner(given, case.labels)}
    elif len(responses) == 1:
        made |= {"response": responses[case.labels[0]], "score": _scores(row, given, None, scale)[case.labels[0]]}
    else:
        made |= {"responses": responses, "human_scores": _scores(row, given, None, scale)}
    return made if scale == OURS else made | {"scale": list(scale)}


def _scores(row: JudgedRow, given: RowLabels, criterion: str | None, scale: ScoreRange) -> dict[str, float | None]:
    """People's scores on the scale that they used."""
    found = {label: given.score(criterion, label) for label in row.case.labels}
    share = (scale[1] - scale[0]) / (MAX_SCORE - MIN_SCORE)
    return {
        label: None if score is None else round(scale[0] + (score - MIN_SCORE) * share, 9)
        for label, score in found.items()
    }


def _winner(given: RowLabels, labels: Sequence[str]) -> str | None:
    orders = given.orders.get(None, {})
    if not orders:
        return None
    best = [one for one in labels if all(orders.get((one, other), 0.0) == 1 for other in labels if other != one)]
    return best[0] if best else "tie"
