"""Which label belongs to which judged row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from rewardanything_core.bench.items import BenchItem, ScoreRange, on_our_scale
from rewardanything_core.bench.judged_rows import UNKNOWN, JudgedRow, prompt_key
from rewardanything_core.bench.labels import default_scale, read_labels
from rewardanything_core.bench.training_items import application_labels
from rewardanything_core.errors import ConfigError

Criterion = str | None
"""A criterion of the rubric; None for the whole."""


@dataclass(frozen=True, kw_only=True)
class RowLabels:
    """What people say about a judged row. Where several labels say something about one response, it is their mean."""

    scores: Mapping[Criterion, Mapping[str, float]] = field(default_factory=dict)
    """Criterion -> label of a response -> score, 1.0..5.0."""

    orders: Mapping[Criterion, Mapping[tuple[str, str], float]] = field(default_factory=dict)
    """Criterion -> two responses -> 1 if the first is better, 0 if the second, 0.5 if neither; only from labels that
    order responses without scores."""

    probability: float | None = None
    """With which probability the row was drawn for labelling. None: unknown."""

    def score(self, criterion: Criterion, label: str) -> float | None:
        """The score of a response. None: nobody scored it.

        Args:
            criterion: The criterion of the rubric; None for the whole.
            label: The label of the response.
        """
        return self.scores.get(criterion, {}).get(label)

    def win(self, criterion: Criterion, one: str, other: str) -> float | None:
        """1 if people find one response better than another, 0 if worse, 0.5 if neither. None: nobody compared them.

        Args:
            criterion: The criterion of the rubric; None for the whole.
            one: The label of the first response.
            other: The label of the second response.
        """
        scores = self.score(criterion, one), self.score(criterion, other)
        if scores[0] is not None and scores[1] is not None:
            return win(scores[0], scores[1])
        return self.orders.get(criterion, {}).get((one, other))


@dataclass(frozen=True, kw_only=True)
class MatchedLabels:
    """The labels of judged rows."""

    rows: tuple[RowLabels, ...]
    """Those of each row, as many as there are rows; empty for a row without a label."""

    scale: ScoreRange
    """The scale of labels that have none of their own."""

    unmatched: tuple[str, ...]
    """Ids of labels that belong to no judged row."""


def win(one: float, other: float) -> float:
    """1 if one score is higher than another, 0 if it is lower, 0.5 if they are equal.

    Args:
        one: The first score.
        other: The second score.
    """
    return 0.5 if abs(one - other) < 1e-9 else float(one > other)


def read_labels_of_rows(rows: Sequence[JudgedRow], sources: Sequence[str]) -> list[BenchItem]:
    """Read labels of judged rows, which need no principle of their own; rows that nobody has labelled are skipped.

    Args:
        rows: The judged rows.
        sources: Files, or ``mlflow:EXPERIMENT``.

    Raises:
        ConfigError: a source cannot be read, or a row is incomplete.
        MissingExtraError: reading a source needs an optional package.
    """
    criteria = {name: name for name in criteria_of(rows) if name is not None}
    principle = {"criteria": criteria} if criteria else UNKNOWN
    items: list[BenchItem] = []
    for source in sources:
        if Path(source).is_file():
            items += read_labels([source], principle=principle, unlabelled="skip")
        else:
            items += application_labels(source)(UNKNOWN)
    return items


def match_labels(
    rows: Sequence[JudgedRow], items: Sequence[BenchItem], *, scale: ScoreRange | None = None
) -> MatchedLabels:
    """Find the judged row of each label.

    A label belongs to the row with its id if there is one, otherwise to all rows with its prompt and its responses.

    Args:
        rows: The judged rows.
        items: The labels, as `read_labels` reads them.
        scale: Lowest and highest possible human score, for labels without a scale. None: 1..5 if all scores lie within
            it, otherwise the lowest and highest score present.

    Raises:
        ConfigError: a label has the id of a row and other texts, or a score lies outside its scale; or no label belongs
            to a row.
    """
    parts = [part for item in items for part in _parts(item)]
    rated = [score for part in parts if part.rated and part.scale is None for score in (part.human or {}).values()]
    default = scale or default_scale(rated)
    index = _Index(rows)
    scores: dict[tuple[int, Criterion, str], list[float]] = defaultdict(list)
    orders: dict[tuple[int, Criterion, str, str], list[float]] = defaultdict(list)
    probabilities: dict[int, float | None] = {}
    unmatched: dict[str, None] = {}
    for part in parts:
        found = False
        for place, criterion, names in index.matches(part):
            found = True
            known = [chance for chance in (probabilities.get(place), part.probability) if chance is not None]
            probabilities[place] = max(known, default=None)  # that of the latest draw
            for label, score in (part.human or {}).items() if part.rated else ():
                if label in names:
                    ours = on_our_scale(score, part.scale or default, part.id)
                    scores[place, criterion, names[label]].append(ours)
            for one, other, credit in () if part.rated else _credits(part):
                if one in names and other in names:
                    orders[place, criterion, names[one], names[other]].append(credit)
        if not found:
            unmatched[part.id] = None
    if items and len(unmatched) == len(parts):
        raise ConfigError(
            f"None of the {len(parts)} labels belongs to a judged row.",
            hint="Labels need the prompt and the response of a judged row, word for word.",
        )
    return MatchedLabels(
        rows=_collected(len(rows), scores, orders, probabilities), scale=default, unmatched=tuple(unmatched)
    )


def _parts(item: BenchItem) -> Iterator[BenchItem]:
    """The item's labels under each criterion, and those of the whole."""
    yield from item.criteria.values()
    if not item.criteria or item.human:
        yield item


class _Index:
    """Judged rows by their ids and by their prompts."""

    def __init__(self, rows: Sequence[JudgedRow]) -> None:
        self._rows = rows
        self._by_prompt: dict[str, list[int]] = defaultdict(list)
        by_id: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            self._by_prompt[row.prompt].append(place)
            if row.case.id is not None:
                by_id[row.case.id].append(place)
        self._by_id = by_id

    def matches(self, item: BenchItem) -> Iterator[tuple[int, Criterion, dict[str, str]]]:
        """The rows of a label: place, criterion, and the item's labels -> the row's."""
        item_id = item.id.removesuffix(f"/{item.criterion}") if item.criterion else item.id
        places = self._by_id.get(item_id)
        for place in places or self._by_prompt.get(prompt_key(item.prompt), []):
            row = self._rows[place]
            if UNKNOWN not in (item.principle, row.principle) and not _same_principle(item, row):
                continue
            if places and row.prompt != prompt_key(item.prompt):
                raise ConfigError(f"The label {item.id!r} has another prompt than the judged row of that id.")
            criterion = item.criterion if len(row.scores) > 1 and item.rubric is None else None
            names = _names(item, row)
            if places and not names:
                raise ConfigError(
                    f"The label {item.id!r} is about another response than the judged row of that id.",
                    hint="Labels are about texts. If the answers have changed, they need new labels.",
                )
            if names and criterion in row.scores:
                yield place, criterion, names


def _same_principle(item: BenchItem, row: JudgedRow) -> bool:
    # A row's rubric has the text of a criterion within it.
    return item.rubric is not None or item.criterion in row.scores or item.principle.strip() == row.principle.strip()


def _names(item: BenchItem, row: JudgedRow) -> dict[str, str]:
    """Label of a response in the item -> its label in the row, for responses of the same text."""
    texts, names = row.case.texts, {}
    for label, text in item.texts.items():
        same = [name for name, other in texts.items() if other == text]
        if same:
            names[label] = label if label in same else same[0]
    return names


def _credits(item: BenchItem) -> Iterator[tuple[str, str, float]]:
    better = set(item.pairs)
    for one in item.responses:
        for other in item.responses:
            if one != other:
                yield one, other, 1.0 if (one, other) in better else 0.0 if (other, one) in better else 0.5


def _collected(
    number: int,
    scores: Mapping[tuple[int, Criterion, str], Sequence[float]],
    orders: Mapping[tuple[int, Criterion, str, str], Sequence[float]],
    probabilities: Mapping[int, float | None],
) -> tuple[RowLabels, ...]:
    by_row: list[dict[Criterion, dict[str, float]]] = [defaultdict(dict) for _ in range(number)]
    ordered: list[dict[Criterion, dict[tuple[str, str], float]]] = [defaultdict(dict) for _ in range(number)]
    for (place, criterion, label), given in scores.items():
        by_row[place][criterion][label] = fmean(given)
    for (place, criterion, one, other), credits_ in orders.items():
        ordered[place][criterion][one, other] = fmean(credits_)
    return tuple(
        RowLabels(scores=each, orders=pairs, probability=probabilities.get(place))
        for place, (each, pairs) in enumerate(zip(by_row, ordered, strict=True))
    )


def criteria_of(rows: Iterable[JudgedRow]) -> list[Criterion]:
    """The whole and all criteria that rows are judged by."""
    return list(dict.fromkeys(criterion for row in rows for criterion in row.scores))
