"""Items that are judged under a rubric, with people's labels for each criterion."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from rewardanything_core.bench.items import BenchItem, common_item, on_our_scale, pairs_of
from rewardanything_core.conversations.trajectory import response_json
from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.principles import Rubric


def read_item(row: Mapping[str, Any], where: str) -> BenchItem:
    """An item from a row of the common layout, under a rubric if it has ``labels``: criterion -> response -> score.

    Args:
        row: The row.
        where: Its file and number, for messages.

    Raises:
        ConfigError: a field is missing or invalid, or refers to a criterion or response that does not exist.
    """
    if row.get("labels") is None:
        return common_item(row, where)
    labels, item_id = row["labels"], str(row.get("id") or where)
    if not isinstance(labels, Mapping) or not labels:
        raise ConfigError(f"{where}: 'labels' must map criteria to the scores of responses.")
    try:
        rubric = Rubric.of(row["principle"])
    except (KeyError, InvalidCaseError) as error:
        raise ConfigError(
            f"{where} has labels by criterion, but 'principle' is not a rubric: {error}.",
            hint='Give {"criteria": {name: text}} as the principle, or --rubric.',
        ) from error
    about = {"group": row.get("group") or item_id, "labels": None, "pairs": None, "ranking": None}
    criteria = {
        name: common_item(
            {
                **row,
                **about,
                "id": f"{item_id}/{name}",
                "principle": _text(rubric, name, where),
                "human_scores": scores,
                "meta": {**(row.get("meta") or {}), "criterion": name},
            },
            where,
        )
        for name, scores in labels.items()
    }
    return rubric_item(item_id, rubric, criteria)


def rubric_item(item_id: str, rubric: Rubric, criteria: Mapping[str, BenchItem]) -> BenchItem:
    """One item from those of its criteria.

    Where people scored all criteria with weights, the whole has the weighted mean of their scores, each mapped to 1..5
    from its scale; scores without a scale count as they are.

    Args:
        item_id: The item's id.
        rubric: The rubric, which may have more criteria than there are labels for.
        criteria: Criterion -> an item with its labels; all have the same prompt and responses.
    """
    first = next(iter(criteria.values()))
    human = None
    counted = [name for name, criterion in rubric.criteria.items() if criterion.weight]
    if all(name in criteria and criteria[name].rated for name in counted):
        scores = {name: _on_our_scale(criteria[name]) for name in counted}
        common = [label for label in first.responses if all(label in scores[name] for name in counted)]
        human = rubric.subset(counted).weighted_mean(
            {name: {label: each[label] for label in common} for name, each in scores.items()}
        )
    return dataclasses.replace(
        first,
        id=item_id,
        principle=rubric.text,
        rubric=rubric,
        criteria=dict(criteria),
        criterion=None,
        category=None,
        scale=None,
        human=human or None,
        rated=bool(human),
        pairs=pairs_of(human or {}),
        chosen=(),
        rejected=(),
    )


def as_rubrics(items: Iterable[BenchItem], rubric: Rubric | None = None) -> list[BenchItem]:
    """Combine items of one list of responses under several criteria, so that it is judged once, under a rubric.

    Args:
        items: The items; each has the name of its criterion. Those under a rubric stay as they are.
        rubric: The rubric, whose criteria have these names. None: of the items' own principles.

    Raises:
        ConfigError: an item has no criterion, one that the rubric lacks, or the same as another of its list.
    """
    combined: dict[str, BenchItem] = {}
    lists: dict[str, dict[str, BenchItem]] = {}
    for item in items:
        if item.rubric is not None:
            combined[item.id] = item
            continue
        if item.criterion is None:
            raise ConfigError(
                f"{item.id} does not say which criterion of a rubric it is about.",
                hint="Give meta.criterion in the rows, or labels by criterion.",
            )
        if rubric is not None:
            _text(rubric, item.criterion, item.id)
        key = json.dumps([item.group, item.prompt, item.context, item.reference, *_plain(item)])
        criteria = lists.setdefault(key, {})
        if item.criterion in criteria:
            raise ConfigError(f"{item.id} and {criteria[item.criterion].id} have the same criterion and responses.")
        criteria[item.criterion] = item
    for criteria in lists.values():
        whole = rubric or Rubric({name: item.principle for name, item in criteria.items()})
        item_id = f"{next(iter(criteria.values())).group}/{whole.name or 'rubric'}"
        while item_id in combined:  # other responses to the same prompt
            item_id += "'"
        combined[item_id] = rubric_item(item_id, whole, criteria)
    return list(combined.values())


def _on_our_scale(item: BenchItem) -> dict[str, float]:
    human = item.human or {}
    if item.scale is None:
        return human
    return {label: on_our_scale(score, item.scale, item.id) for label, score in human.items()}


def _plain(item: BenchItem) -> list[Any]:
    return [[label, response_json(response)] for label, response in item.responses.items()]


def _text(rubric: Rubric, name: str, where: str) -> str:
    if name not in rubric.criteria:
        raise ConfigError(f"{where}: there is no criterion {name!r}; the rubric has: {', '.join(rubric.criteria)}.")
    return rubric.criteria[name].full_text
