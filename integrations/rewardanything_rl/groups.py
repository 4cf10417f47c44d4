"""Completions of one prompt under one principle, to be judged in one call."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewardanything_core import Case, ConfigError, Principle, Rubric
from rewardanything_core.conversations import Response

REFERENCE = "reference"
"""The label of the baseline response, which the policy did not write."""


def weighted_principle(
    principle: Principle | str | Mapping[str, Any] | Sequence[Principle | str] | None,
    weights: Mapping[str, float] | None,
) -> Principle | None:
    """The principle; a rubric with some weights replaced.

    Args:
        principle: The principle, or several, which become the criteria of a rubric. None: there is none.
        weights: Criterion -> weight. None: those of the rubric.

    Raises:
        ConfigError: there are weights without a rubric.
        InvalidCaseError: the principle is invalid, or the rubric has no such criterion.
    """
    if isinstance(principle, Sequence) and not isinstance(principle, str):
        principle = _rubric_of(principle)
    checked = None if principle is None else Principle.of(principle)
    if weights is None:
        return checked
    if not isinstance(checked, Rubric):
        raise ConfigError("weights are for the criteria of a rubric; give one as principle.")
    return Rubric(checked.criteria, weights=weights, name=checked.name, source=checked.source)


def _rubric_of(principles: Sequence[Principle | str | Mapping[str, Any]]) -> Rubric:
    """Principles as criteria with their names; those without one are ``principle_1`` and so on, by their place."""
    criteria: dict[str, str] = {}
    for place, principle in enumerate(map(Principle.of, principles), start=1):
        name = principle.name or f"principle_{place}"
        if isinstance(principle, Rubric) or name in criteria:
            problem = "is a rubric" if isinstance(principle, Rubric) else "has the name of another one"
            raise ConfigError(
                f"Principle {place} ({name!r}) {problem}; give principles with distinct names, or a rubric."
            )
        criteria[name] = principle.text
    return Rubric(criteria)


def plain_principle(principle: Any) -> Any:
    """A rubric without the keys that data sets add to it: the criteria and fields of other rows, as None."""
    if isinstance(principle, Mapping):
        return {key: plain_principle(value) for key, value in principle.items() if value is not None}
    return principle


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One completion and what it answers.

    Raises:
        InvalidCaseError: a part cannot be judged. Samples are checked one by one, so that an invalid one does not cost
            the others of its group their rewards.
    """

    principle: Principle | str | Mapping[str, Any]
    """The principle or rubric to judge by, or a rubric as plain JSON."""

    prompt: Any
    """A text or chat messages."""

    response: Response
    """What the policy wrote and did, as it is to be judged."""

    reference: str | None = None
    """A response that is judged too and whose score is the baseline. None: there is no baseline."""

    def __post_init__(self) -> None:
        responses = [self.response] if self.reference is None else [self.response, self.reference]
        Case(self.principle, self.prompt, responses)

    @property
    def key(self) -> str:
        """Samples with equal keys are judged together."""
        principle = self.principle
        if isinstance(principle, Principle):
            principle = principle.to_json() if isinstance(principle, Rubric) else principle.text
        return json.dumps([principle, self.prompt, self.reference], sort_keys=True, ensure_ascii=False, default=str)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Samples with equal keys. Equal responses are judged once, so that their rewards are equal."""

    first: Sample
    """The first sample."""

    labels: dict[Response, str] = field(default_factory=dict)
    """Response -> label, the reference included."""

    members: dict[int, str] = field(default_factory=dict)
    """Index of a sample among all samples -> the label of its response."""

    @property
    def baseline(self) -> str | None:
        """The label of the response whose score is the baseline. None: there is no baseline."""
        return None if self.first.reference is None else self.labels[self.first.reference]

    def case(self) -> Case:
        """The group as one case."""
        return Case(
            self.first.principle, self.first.prompt, {label: response for response, label in self.labels.items()}
        )


def group_samples(samples: Iterable[tuple[int, Sample]]) -> list[Group]:
    """Group samples by their keys, in the order of first appearance.

    Args:
        samples: ``(index, sample)`` pairs; samples of a group need not be adjacent.
    """
    groups: dict[str, Group] = {}
    for index, sample in samples:
        group = groups.setdefault(sample.key, Group(first=sample))
        if sample.reference is not None:
            group.labels.setdefault(sample.reference, REFERENCE)
        number = len(group.labels) + (sample.reference is None)
        group.members[index] = group.labels.setdefault(sample.response, f"answer {number}")
    return list(groups.values())


def single_group(samples: Sequence[Sample]) -> Group:
    """The group of samples that all have the same key."""
    (group,) = group_samples(enumerate(samples))
    return group
