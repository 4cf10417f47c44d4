"""Long lists: judged as overlapping sub-lists, whose scores are merged onto one scale.

A model loses track of a list that is too long, and a list that exceeds its context window cannot be judged at all. The
responses are therefore split into sub-lists of nearly equal size, in several rounds. Each round judges every response
once and pairs it with as many new responses as possible: a resolvable incomplete block design (Patterson & Williams
1976). Each sub-list is judged as a list of its own. Least squares over ``score = response + sub-list`` then separates a
response's own score from the level of its sub-list, which depends on how good the other responses in it are.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeAlias

from rewardanything_core.cases import Case
from rewardanything_core.concurrency import background_loop
from rewardanything_core.errors import ContextLengthError
from rewardanything_core.readouts.results import CaseResult, PassResult, combine_passes

Round: TypeAlias = list[list[str]]
"""Sub-lists of labels. Each label is in one of them, or in two where it would otherwise be alone in a sub-list."""

JudgeList: TypeAlias = Callable[[Case, int], Coroutine[Any, Any, PassResult]]
"""Judges one list in the order with the given number, from 0."""

MIN_ROUNDS = 2
"""With a single round, no response links one sub-list to another."""

_PAIRS_EXCEED = "That is for 2 of the responses at a time: shorten the texts, or use a model with a longer window."
_DRAWS = 10


async def judge_in_passes(case: Case, run: JudgeList, *, passes: int, max_list: int, seed: int) -> CaseResult:
    """Judge a case as one list if possible and as sub-lists otherwise; all of it or nothing.

    A list that exceeds the model's context window is retried in sub-lists of half the size, down to pairs.

    Args:
        case: The case.
        run: Judges one list.
        passes: How often each response is judged; in sub-lists at least `MIN_ROUNDS` times.
        max_list: Maximum number of responses judged as one list, 2 or more.
        seed: Seed of the split into sub-lists.

    Raises:
        RewardAnythingError: the error of ``run``; `ContextLengthError` only if not even pairs of responses fit.
    """
    size, exceeded_window = min(len(case.responses), max_list), False
    while True:
        try:
            if size == len(case.responses):
                results = await background_loop.gather(run(case, index) for index in range(passes))
                return combine_passes(results)
            # In a thread: with hundreds of responses it takes longer than the shared event loop may be blocked.
            rounds = await asyncio.to_thread(draw_rounds, case, size=size, rounds=max(MIN_ROUNDS, passes), seed=seed)
            return await _judge_sublists(case, rounds, run, longest_first=exceeded_window)
        except ContextLengthError as error:
            if size <= 2:
                if size < len(case.responses):
                    error.advise(_PAIRS_EXCEED)
                raise
            size, exceeded_window = math.ceil(size / 2), True


async def _judge_sublists(case: Case, rounds: list[Round], run: JudgeList, *, longest_first: bool) -> CaseResult:
    lists = [(labels, index) for index, sublists in enumerate(rounds) for labels in sublists]
    # After a longer list exceeded the window, the longest sub-list is judged alone first: if it exceeds the window too,
    # the others have not been paid for.
    lengths = [sum(len(case.texts[label]) for label in labels) for labels, _ in lists]
    first = [lengths.index(max(lengths))] if longest_first else []
    results: dict[int, PassResult] = {}
    for places in (first, [place for place in range(len(lists)) if place not in first]):
        work = (run(_with_responses(case, lists[place][0]), lists[place][1]) for place in places)
        results |= zip(places, await background_loop.gather(work), strict=True)
    by_round: list[list[PassResult]] = [[] for _ in rounds]
    for place, (_, index) in enumerate(lists):
        by_round[index].append(results[place])
    passes = await asyncio.to_thread(merge, case.canonical_labels, by_round)
    return combine_passes(passes, sublists=[[result.order for result in results] for results in by_round])


def draw_rounds(case: Case, *, size: int, rounds: int, seed: int) -> list[Round]:
    """Split a case's responses into sub-lists, several times, so that all responses are connected through them.

    Like the order of responses, the split depends on the seed and the case's texts only.

    Args:
        case: The case, with more than ``size`` responses.
        size: Maximum number of responses in a sub-list, 2 or more. Sizes within a round differ by one at most; no
            sub-list has only one response.
        rounds: Number of splits, 2 or more.
        seed: Any integer.
    """
    rng = random.Random(f"{seed}/{size}/{rounds}/{case.digest}")
    labels = list(case.canonical_labels)
    sizes = _sizes(len(labels), size)
    for _ in range(_DRAWS):
        met: dict[str, list[str]] = defaultdict(list)
        drawn = [_draw_round(labels, sizes, met, rng) for _ in range(rounds)]
        if _connected(drawn):
            return drawn
    # Pairs are seldom connected by chance. Shifting by half a sub-list connects each with its two neighbours.
    rng.shuffle(labels)
    return [_cut(labels[shift:] + labels[:shift], sizes) for shift in (index * (size // 2) for index in range(rounds))]


def merge(labels: Sequence[str], rounds: Sequence[Sequence[PassResult]]) -> list[PassResult]:
    """Bring the scores of sub-lists onto one scale.

    Args:
        labels: All labels.
        rounds: For each round, the results of its sub-lists. Together the rounds connect all labels.

    Returns:
        For each round, a result over all labels. Its scores are the model's minus the effect of the sub-list; effects
        average to zero over all sub-lists, so scores can exceed 1..5. Of two responses with the same score, the one
        that its sub-list ranked above the larger share of the others is ranked first. The criteria of a rubric are
        merged one by one.
    """
    by_criterion = {
        name: merge(labels, [[result.criteria[name] for result in results] for results in rounds])
        for name in rounds[0][0].criteria
    }
    effects = iter(_list_effects([result.scores for results in rounds for result in results]))
    merged = []
    for number, results in enumerate(rounds):
        scores: dict[str, list[float]] = defaultdict(list)
        beaten: dict[str, list[float]] = defaultdict(list)
        for result in results:
            effect = next(effects)
            for place, label in enumerate(result.ranking):
                scores[label].append(result.scores[label] - effect)
                beaten[label].append(1 - place / (len(result.ranking) - 1))
        corrected = {label: round(_mean(scores[label]), 9) for label in labels}
        worth = {label: (corrected[label], _mean(beaten[label])) for label in labels}
        merged.append(
            PassResult(
                order=list(dict.fromkeys(label for result in results for label in result.order)),
                scores=corrected,
                ranking=sorted(labels, key=worth.__getitem__, reverse=True),
                replies=[reply for result in results for reply in result.replies],
                deviations=_mean_deviations(results),
                criteria={name: passes[number] for name, passes in by_criterion.items()},
                criteria_orders=[order for result in results for order in result.criteria_orders],
            )
        )
    return merged


def _mean_deviations(results: Sequence[PassResult]) -> dict[str, float]:
    """The root mean square of each label's deviations, where the model gave them."""
    found: dict[str, list[float]] = defaultdict(list)
    for result in results:
        for label, deviation in result.deviations.items():
            found[label].append(deviation**2)
    return {label: math.sqrt(_mean(squares)) for label, squares in found.items()}


def _list_effects(lists: Sequence[Mapping[str, float]]) -> list[float]:
    """The effect of each list, by least squares over score = response + list; zero on average."""
    import numpy as np

    lists_with: dict[str, list[int]] = defaultdict(list)
    for index, scores in enumerate(lists):
        for label in scores:
            lists_with[label].append(index)
    means = {label: _mean([lists[index][label] for index in indices]) for label, indices in lists_with.items()}
    # The normal equations with the responses eliminated. Since all lists are connected, they determine the effects up
    # to a constant; adding one to every coefficient adds the constraint that the effects sum to zero.
    left, right = np.diag([float(len(scores)) for scores in lists]), np.zeros(len(lists))
    for label, indices in lists_with.items():
        for index in indices:
            left[index, indices] -= 1 / len(indices)
            right[index] += lists[index][label] - means[label]
    solution: list[float] = np.linalg.solve(left + 1, right).tolist()
    return solution


def _sizes(count: int, max_size: int) -> list[int]:
    lists = math.ceil(count / max_size)
    return [count // lists + (index < count % lists) for index in range(lists)]


def _draw_round(labels: Sequence[str], sizes: Sequence[int], met: dict[str, list[str]], rng: random.Random) -> Round:
    """A round in which each label joins the list with the fewest labels it has met; ``met`` is updated."""
    lists: Round = [[] for _ in sizes]
    where: dict[str, int] = {}
    for label in rng.sample(labels, len(labels)):
        acquaintances = Counter(where[other] for other in met[label] if other in where)
        free = [index for index, size in enumerate(sizes) if len(lists[index]) < size]
        where[label] = min(free, key=lambda index: (acquaintances[index], len(lists[index]), rng.random()))
        lists[where[label]].append(label)
    for members in lists:
        for label in members:
            met[label] += (other for other in members if other != label)
    return _without_singletons(lists)


def _cut(labels: Sequence[str], sizes: Sequence[int]) -> Round:
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    return _without_singletons([list(labels[end - size : end]) for size, end in zip(sizes, ends, strict=True)])


def _without_singletons(lists: Round) -> Round:
    """The lists, where a list of one label also gets a label of its neighbour: a response alone is not compared."""
    return [[*members, lists[index - 1][0]] if len(members) == 1 else members for index, members in enumerate(lists)]


def _connected(rounds: Sequence[Round]) -> bool:
    """Whether every label can be reached from every other through lists that share a label."""
    lists_of: dict[str, list[list[str]]] = defaultdict(list)
    for sublists in rounds:
        for members in sublists:
            for label in members:
                lists_of[label].append(members)
    start = rounds[0][0][0]
    reached, frontier = {start}, [start]
    while frontier:
        for members in lists_of[frontier.pop()]:
            new = set(members) - reached
            reached |= new
            frontier += new
    return len(reached) == len(lists_of)


def _with_responses(case: Case, labels: Sequence[str]) -> Case:
    return dataclasses.replace(case, responses={label: case.responses[label] for label in labels})


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
