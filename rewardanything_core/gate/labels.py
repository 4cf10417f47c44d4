"""People's labels in a check: differences of scores that correct those of the judge."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from rewardanything_core.bench.items import BenchItem, ScoreRange
from rewardanything_core.bench.judged_rows import UNKNOWN, JudgedRow
from rewardanything_core.bench.label_matching import RowLabels, match_labels
from rewardanything_core.cases import Case
from rewardanything_core.errors import ConfigError
from rewardanything_core.estimation import LabelledSample
from rewardanything_core.gate.inference import LARGEST_DIFFERENCE
from rewardanything_core.gate.pairing import PairedCase
from rewardanything_core.gate.results import BASELINE, Pair, Requirement

MIN_LABELS = 10
"""The fewest inputs with labels of both answers, which differ, that a decision may rest on."""


class PeopleLabels:
    """What people say about the answers of a check.

    Args:
        items: The cases with every side's answers.
        candidates: Names of the candidates.
        requirements: The requirement of each comparison.
        labels: Labels of some answers, as `read_labels` reads them, of inputs that were drawn at random.
        scale: Lowest and highest possible human score, for labels without a scale. None: it is inferred.

    Raises:
        ConfigError: labels belong to no answer, do not say which principle they are about, or are too few.
    """

    def __init__(
        self,
        items: Sequence[PairedCase],
        candidates: Sequence[str],
        requirements: Sequence[Requirement],
        labels: Sequence[BenchItem],
        *,
        scale: ScoreRange | None = None,
    ) -> None:
        self._by_case: dict[tuple[str, str], RowLabels] = {}
        principles = list(dict.fromkeys(requirement.principle for requirement in requirements))
        if len(principles) > 1 and any(label.principle == UNKNOWN and label.rubric is None for label in labels):
            raise ConfigError(
                "The check has several principles, and some labels do not say which one they are about.",
                hint="Give 'principle' in each row of --labels.",
            )
        rows = rows_of(items, requirements)
        matched = match_labels(rows, labels, scale=scale)
        for (case, name), given in zip(_names(items, requirements), matched.rows, strict=True):
            self._by_case[case, name] = given
        self.unmatched = matched.unmatched
        """Ids of labels that belong to no answer of the check."""
        self._refuse_too_few(items, candidates, requirements)

    def covers(self, requirement: Requirement, candidate: str) -> bool:
        """Whether the decision on a comparison rests on labels: whether there are any for both answers to an input.

        Args:
            requirement: The comparison's requirement.
            candidate: The candidate.
        """
        return any(
            self._difference(case, requirement, candidate) is not None
            for case, name in self._by_case
            if name == requirement.principle.text
        )

    def count(self, pairs: Sequence[Pair], requirement: Requirement) -> int:
        """The number of inputs with different answers, both labelled and judged.

        Args:
            pairs: The pairs of one comparison.
            requirement: Its requirement.
        """
        return sum(
            any(not pair.unchanged for pair in members)
            and all(self._people(pair, requirement) is not None for pair in members)
            for members in _by_input(pairs).values()
        )

    def sample(self, pairs: Sequence[Pair], requirement: Requirement) -> LabelledSample | None:
        """The differences of independent inputs with their labels.

        Inputs with the same answers on both sides need no label: their difference is 0. They are a stratum of their
        own.

        Args:
            pairs: The pairs of one comparison.
            requirement: Its requirement.

        Returns:
            The sample. None: so many judgements failed that fewer than `MIN_LABELS` labels are left.
        """
        if self.count(pairs, requirement) < MIN_LABELS:
            return None
        judged, labels, chances, unchanged = [], [], [], []
        for members in _by_input(pairs).values():
            people = [self._people(pair, requirement) for pair in members]
            known = [difference for difference in people if difference is not None]
            judged.append(math.fsum(pair.difference or 0.0 for pair in members) / len(members))
            labels.append(math.fsum(known) / len(members) if len(known) == len(members) else None)
            chances.append(self._chance(members, requirement))
            unchanged.append(all(pair.unchanged for pair in members))
        drawn = any(
            chance is not None and label is not None and not same
            for chance, label, same in zip(chances, labels, unchanged, strict=True)
        )
        return LabelledSample(
            judged=judged,
            labels=labels,
            bounds=(-LARGEST_DIFFERENCE, LARGEST_DIFFERENCE),
            probabilities=chances if drawn else None,
            strata=unchanged if unchanged.count(True) > 1 else None,
        )

    def _people(self, pair: Pair, requirement: Requirement) -> float | None:
        return 0.0 if pair.unchanged else self._difference(pair.id, requirement, pair.candidate)

    def _difference(self, case: str, requirement: Requirement, candidate: str) -> float | None:
        given = self._by_case[case, requirement.principle.text]
        scores = given.score(requirement.criterion, candidate), given.score(requirement.criterion, BASELINE)
        return None if scores[0] is None or scores[1] is None else scores[0] - scores[1]

    def _chance(self, members: Sequence[Pair], requirement: Requirement) -> float | None:
        """With which probability all cases of an input were drawn. None: unknown."""
        name = requirement.principle.text
        chances = [1.0 if pair.unchanged else self._by_case[pair.id, name].probability for pair in members]
        return None if None in chances else math.prod(chance for chance in chances if chance is not None)

    def _refuse_too_few(
        self, items: Sequence[PairedCase], candidates: Sequence[str], requirements: Sequence[Requirement]
    ) -> None:
        numbers = {
            (requirement.name, candidate): len(
                {
                    item.group
                    for item in items
                    if item.responses[candidate] != item.responses[BASELINE]
                    and self._difference(item.id, requirement, candidate) is not None
                }
            )
            for requirement in requirements
            for candidate in candidates
        }
        most = max(numbers.values(), default=0)
        few = {key: number for key, number in numbers.items() if 0 < number < MIN_LABELS}
        if most and not few:
            return
        (name, candidate), number = next(iter(few.items()), (("", ""), 0))
        under = f" under {name!r} ({candidate})" if few else ""
        raise ConfigError(
            f"Both answers are labelled for {number} inputs{under} whose answers differ; a decision needs "
            f"{MIN_LABELS} or more.",
            hint="Label the baseline's and the candidate's answer to the same inputs with scores, word for word as in "
            "the files.",
        )


def _by_input(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        if pair.difference is not None:
            groups[pair.group].append(pair)
    return groups


def rows_of(items: Sequence[PairedCase], requirements: Sequence[Requirement]) -> list[JudgedRow]:
    """The answers to be judged as rows that labels can be matched with.

    Args:
        items: The cases with every side's answers.
        requirements: The requirement of each comparison.
    """
    criteria: dict[str, list[str | None]] = defaultdict(list)
    for requirement in requirements:
        criteria[requirement.principle.text].append(requirement.criterion)
    by_text = {requirement.principle.text: requirement.principle for requirement in requirements}
    by_id = {item.id: item for item in items}
    return [
        JudgedRow(
            place=f"case {case}",
            case=Case(by_text[name], by_id[case].prompt, by_id[case].responses),
            scores={criterion: dict.fromkeys(by_id[case].responses, 0.0) for criterion in criteria[name]},
            spread={},
        )
        for case, name in _names(items, requirements)
    ]


def _names(items: Sequence[PairedCase], requirements: Sequence[Requirement]) -> list[tuple[str, str]]:
    """The id of each case with the text of each principle."""
    texts = list(dict.fromkeys(requirement.principle.text for requirement in requirements))
    return [(item.id, text) for item in items for text in texts]
