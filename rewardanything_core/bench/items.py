"""Items of a benchmark: lists of responses with human labels, and flip pairs between two lists."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from rewardanything_core.agreement.pairs import rank_scores
from rewardanything_core.cases import Case, as_responses
from rewardanything_core.conversations import Response, response_text
from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.principles import Rubric
from rewardanything_core.types import MAX_SCORE, MIN_SCORE

ScoreRange = tuple[float, float]
"""Lowest and highest possible human score."""


@dataclass(frozen=True, kw_only=True)
class BenchItem:
    """One list of responses to judge, with human labels that the judge never sees."""

    id: str
    """Unique within a run."""

    source: str
    """The benchmark it comes from."""

    group: str
    """Identifies items of one prompt; intervals and cross-validation treat a group as one unit."""

    principle: str
    """The principle to judge by; the text of ``rubric`` if there is one."""

    prompt: str | list[dict[str, Any]]
    """The prompt: a text or chat messages."""

    responses: Mapping[str, Response]
    """Label -> text, or the messages of a conversation or agent run."""

    domain: str | None = None
    """Such as chat, code or safety. None: unknown."""

    category: str | None = None
    """The principle's family as in RABench: Content, Logic, Style, Tone, Structure. None: unknown."""

    criterion: str | None = None
    """The principle's short name, by which flip pairs refer to it within the group. None: it has none."""

    human: dict[str, float] | None = None
    """Label -> human score on any scale, or the place from the end if only an order is known. None: there are only
    pairs."""

    rated: bool = False
    """Whether ``human`` holds scores and not places of an order."""

    scale: ScoreRange | None = None
    """Lowest and highest possible human score. None: unknown."""

    pairs: tuple[tuple[str, str], ...] = ()
    """Pairs ``(better, worse)`` according to people."""

    chosen: tuple[str, ...] = ()
    """Labels of all good responses, where responses are good or bad. RM-Bench: in style order."""

    rejected: tuple[str, ...] = ()
    """Labels of the bad responses."""

    reference: str | None = None
    """A good answer for the judge to compare with. None: there is none."""

    context: str | None = None
    """Background for the judge. None: there is none."""

    comment: str | None = None
    """Why people gave these labels, in their words; the judge never sees it. None: they did not say."""

    labelled: bool = True
    """Whether people have said anything about it; a tie is something."""

    probability: float | None = None
    """With which probability, in (0, 1], the row was drawn for labelling. None: all rows with the same one."""

    rubric: Rubric | None = None
    """The rubric to judge by. None: ``principle`` is all."""

    criteria: Mapping[str, BenchItem] = field(default_factory=dict)
    """Criterion of the rubric -> an item with people's labels under it. Those of this item are about the whole."""

    @property
    def texts(self) -> dict[str, str]:
        """Label -> the response as text; see `Case.texts`."""
        return {label: response_text(response) for label, response in self.responses.items()}

    @classmethod
    def of_case(cls, case: Case, *, id: str, source: str, **labels: Any) -> BenchItem:  # noqa: A002
        """An item with a case's texts, in the group of its prompt.

        Args:
            case: The case, under one principle.
            id: See `id`.
            source: See `source`.
            **labels: Any other fields, such as ``human`` and ``scale``.
        """
        return cls(
            id=id,
            source=source,
            group=str(case.prompt),
            principle=case.principle.text,
            prompt=case.prompt if isinstance(case.prompt, str) else [dict(turn) for turn in case.prompt],
            responses=dict(case.responses),
            reference=case.reference,
            context=case.context,
            **labels,
        )

    @property
    def parts(self) -> tuple[BenchItem, ...]:
        """The items of the criteria; without a rubric, the item itself."""
        return tuple(self.criteria.values()) or (self,)

    def case_fields(self) -> dict[str, Any]:
        """The fields of a `Case` for the judge, without labels of people."""
        return {
            "principle": self.rubric or self.principle,
            "prompt": self.prompt,
            "responses": self.responses,
            "reference": self.reference,
            "context": self.context,
            "id": self.id,
        }


@dataclass(frozen=True, kw_only=True)
class Flip:
    """Two responses that people order one way under criterion ``a`` and the other way under ``b``."""

    group: str
    """The group of both items."""

    a: str
    """Criterion of one item."""

    b: str
    """Criterion of the other."""

    better_under_a: str
    """Label of the response that is better under ``a``, and worse under ``b``."""

    better_under_b: str
    """Label of the other one."""


def pairs_of(human: Mapping[str, float]) -> tuple[tuple[str, str], ...]:
    """All pairs ``(better, worse)`` of responses with different human scores."""
    return tuple((one, other) for one, other in product(human, repeat=2) if human[one] > human[other])


def on_our_scale(human: float, scale: ScoreRange, where: str) -> float:
    """A human score mapped linearly to the judge's scale.

    Args:
        human: The score.
        scale: Lowest and highest possible human score.
        where: The item, for messages.

    Returns:
        A score within 1..5.

    Raises:
        ConfigError: the score lies outside its scale.
    """
    if not scale[0] <= human <= scale[1] or scale[0] == scale[1]:
        raise ConfigError(
            f"The score {human:g} of {where} lies outside the scale {scale[0]:g} to {scale[1]:g}.",
            hint="Give the scale, such as --scale 0:10, or a 'scale' in the row.",
        )
    return MIN_SCORE + (human - scale[0]) / (scale[1] - scale[0]) * (MAX_SCORE - MIN_SCORE)


def common_item(row: Mapping[str, Any], where: str) -> BenchItem:
    """An item from a row of the common layout; see ``docs/judge-the-judge.md``.

    Args:
        row: The row.
        where: Its file and number, for messages.

    Raises:
        ConfigError: a field is missing or refers to a response that does not exist.
    """
    item_id, meta = str(row.get("id") or where), row.get("meta") or {}
    responses = _responses(row.get("responses"), where)
    rated = row.get("human_scores") is not None
    human = _numbers(row["human_scores"], responses, where) if rated else None
    if human is None and row.get("ranking"):
        human = _places(row["ranking"], responses, where)
    chosen, rejected = (_known(meta.get(side) or (), responses, where) for side in ("chosen", "rejected"))
    if row.get("pairs") is not None:
        pairs = tuple((better, worse) for better, worse in (_known(p, responses, where) for p in row["pairs"]))
    else:
        pairs = pairs_of(human) if human else tuple(product(chosen, rejected))
    return BenchItem(
        id=item_id,
        source=str(row.get("source") or "file"),
        group=str(row.get("group") or item_id),
        principle=required_text(row, "principle", where),
        prompt=row["prompt"] if isinstance(row.get("prompt"), list) else required_text(row, "prompt", where),
        responses=responses,
        domain=row.get("domain"),
        category=row.get("category"),
        criterion=meta.get("criterion"),
        human=human,
        rated=rated,
        scale=_ends(row.get("scale") or meta.get("scale"), where),
        pairs=pairs,
        chosen=chosen,
        rejected=rejected,
        reference=row.get("reference"),
        context=row.get("context"),
        comment=row.get("comment"),
        probability=_probability(row.get("probability"), where),
    )


def flip(row: Mapping[str, Any], where: str) -> Flip:
    """A flip pair from a row.

    Args:
        row: The row.
        where: Its file and number, for messages.

    Raises:
        ConfigError: a field is missing.
    """
    return Flip(
        **{name: required_text(row, name, where) for name in ("group", "a", "b", "better_under_a", "better_under_b")}
    )


def required_text(row: Mapping[str, Any], name: str, where: str) -> str:
    """The value of a field that must be a text that is not empty.

    Args:
        row: The row.
        name: The field.
        where: The row's file and number, for messages.

    Raises:
        ConfigError: it is missing or not a text.
    """
    value = row.get(name)
    if value is None:
        raise ConfigError(f"{where} has no {name!r}.")
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where}: {name!r} must be a text, not {type(value).__name__}.")
    return value


def _responses(responses: Any, where: str) -> dict[str, Response]:
    if responses is None:
        raise ConfigError(f"{where} has neither 'response' nor 'responses'.")
    if isinstance(responses, list):
        responses = dict(enumerate(as_responses(responses)))
    if not isinstance(responses, Mapping) or not responses:
        raise ConfigError(f"{where}: 'responses' must be a mapping of names to responses, or a list of responses.")
    given = {str(name): response for name, response in responses.items() if response is not None}  # as Parquet has them
    try:
        return Case("-", "-", given).responses
    except InvalidCaseError as error:
        raise ConfigError(f"{where}: {error.message.removeprefix('The case: ')}") from error


def _numbers(scores: Any, responses: Mapping[str, Response], where: str) -> dict[str, float]:
    if isinstance(scores, list) and len(scores) == len(responses):
        scores = dict(zip(responses, scores, strict=True))
    if not isinstance(scores, Mapping):
        raise ConfigError(f"{where}: 'human_scores' must be a mapping of response names to numbers.")
    numbers = {str(name): value for name, value in scores.items() if value is not None}
    _known(numbers, responses, where)
    for name, value in numbers.items():
        if not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:  # JSON has larger integers
            raise ConfigError(
                f"{where}: every human score must be a number, and that of {name!r} is {value!r}.",
                hint="Leave out a score that is not known, or set it to null.",
            )
    return {name: float(value) for name, value in numbers.items()}


def _ends(scale: Any, where: str) -> ScoreRange | None:
    if scale is None:
        return None
    if not isinstance(scale, list) or len(scale) != 2 or not all(isinstance(end, int | float) for end in scale):
        raise ConfigError(f"{where}: 'scale' must be two numbers, the lowest and the highest possible score.")
    return float(scale[0]), float(scale[1])


def _probability(given: Any, where: str) -> float | None:
    if given is None:
        return None
    try:
        probability = float(given)  # a text in CSV
    except (TypeError, ValueError):
        probability = 0.0
    if isinstance(given, bool) or not 0 < probability <= 1:
        raise ConfigError(f"{where}: 'probability' must be a number above 0 and at most 1, not {given!r}.")
    return probability


def _places(ranking: Any, responses: Mapping[str, Response], where: str) -> dict[str, float]:
    """The places of a ranking from its end; names that are tied are in a list of their own within it."""
    if not isinstance(ranking, list):
        raise ConfigError(f"{where}: 'ranking' must be a list of response names, best first.")
    groups = [_known(group if isinstance(group, list) else [group], responses, where) for group in ranking]
    places = rank_scores(groups)
    named = [(name, places[group]) for group in groups for name in group]
    if len(dict(named)) < len(named):
        raise ConfigError(f"{where}: 'ranking' has a response twice.")
    return dict(named)


def _known(names: Any, responses: Mapping[str, Response], where: str) -> tuple[str, ...]:
    given: Sequence[str] = tuple(str(name) for name in names)
    if unknown := [name for name in given if name not in responses]:
        raise ConfigError(f"{where}: there is no response named {unknown[0]!r}.")
    return tuple(given)
