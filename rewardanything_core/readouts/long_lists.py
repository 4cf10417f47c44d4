"""Long lists: judged as overlapping sub-lists, whose scores are merged into one scale.

A model loses track of a list that is too long, and a list that does not fit its window cannot be judged at all. So the
responses are parted into sub-lists of about the same size, in several rounds, in each of which every response is judged
once and meets as many new ones as can be: a resolvable incomplete block design (Patterson & Williams 1976). Each
sub-list is judged as a list of its own. What a model gives all responses of one sub-list, because the others in it are
good or bad, is then told apart from what it gives the response, by least squares over score = response + sub-list.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from rewardanything_core.cases import Case
from rewardanything_core.concurrency import background_loop
from rewardanything_core.errors import ContextLengthError
from rewardanything_core.readouts.aggregation import aggregate
from rewardanything_core.readouts.results import CaseResult, PassResult
from rewardanything_core.types import MAX_SCORE, MIN_SCORE

Round = list[list[str]]
"""Sub-lists of labels: each label in one of them, or in two where one would else stand alone."""

LEAST_ROUNDS = 2
"""With one round nothing ties the sub-lists together."""

_DRAWS = 10


async def poll(
    case: Case, run: Callable[[Case, int], Coroutine[Any, Any, PassResult]], *, passes: int, max_list: int, seed: int
) -> CaseResult:
    """Judge a case, as one list if it can be and as sub-lists if not: all of it or nothing.

    A list that does not fit the model's window is tried again in sub-lists of half the size, down to pairs.

    Args:
        case: The case.
        run: Judges a list in the order of that number, from 0.
        passes: How often each response is judged; in sub-lists at least twice.
        max_list: The most responses to judge as one list, 2 or more.
        seed: Of the sub-lists.

    Raises:
        RewardAnythingError: what ``run`` raised; `ContextLengthError` only if not even pairs of the responses fit.
    """
    size, refused = min(len(case.responses), max_list), False
    while True:
        try:
            if size == len(case.responses):
                ballots = await background_loop.gather(run(case, index) for index in range(passes))
                scores, rankings = [ballot.scores for ballot in ballots], [ballot.ranking for ballot in ballots]
                return CaseResult(ballots=ballots, consensus=aggregate(scores, rankings))
            # In a thread, as with hundreds of responses it is more than the loop that serves everybody should wait for.
            rounds = await asyncio.to_thread(draw_rounds, case, size=size, rounds=max(LEAST_ROUNDS, passes), seed=seed)
            return await _in_sublists(case, rounds, run, wary=refused)
        except ContextLengthError as error:
            if size <= 2:
                if size < len(case.responses):
                    _tell_of_pairs(error)
                raise
            size, refused = math.ceil(size / 2), True


async def _in_sublists(
    case: Case, rounds: list[Round], run: Callable[[Case, int], Coroutine[Any, Any, PassResult]], *, wary: bool
) -> CaseResult:
    lists = [(labels, index) for index, sublists in enumerate(rounds) for labels in sublists]
    # Where a longer list was refused, the longest of these goes first, so that not all of them are paid for in vain.
    lengths = [sum(len(case.responses[label]) for label in labels) for labels, _ in lists]
    first = [lengths.index(max(lengths))] if wary else []
    ballots: dict[int, PassResult] = {}
    for places in (first, [place for place in range(len(lists)) if place not in first]):
        work = (run(_part(case, lists[place][0]), lists[place][1]) for place in places)
        ballots |= zip(places, await background_loop.gather(work), strict=True)
    by_round: list[list[PassResult]] = [[] for _ in rounds]
    for place, (_, index) in enumerate(lists):
        by_round[index].append(ballots[place])
    passes = await asyncio.to_thread(merge, case.canonical_labels, by_round)
    consensus = aggregate([one.scores for one in passes], [one.ranking for one in passes])
    within = {label: min(MAX_SCORE, max(MIN_SCORE, score)) for label, score in consensus.scores.items()}
    return CaseResult(
        ballots=passes,
        consensus=dataclasses.replace(consensus, scores=within),
        sublists=[[ballot.order for ballot in ballots] for ballots in by_round],
    )


def draw_rounds(case: Case, *, size: int, rounds: int, seed: int) -> list[Round]:
    """Part a case's responses into sub-lists, several times over, so that all of them hang together.

    The draw depends on the seed and on the case's texts alone, as that of orders does.

    Args:
        case: The case, with more than ``size`` responses.
        size: Most responses in a sub-list, 2 or more. The lists of a round are even to within one; none has only one.
        rounds: How often, 2 or more.
        seed: Any integer.
    """
    rng = random.Random(f"{seed}/{size}/{rounds}/{case.digest}")
    labels = list(case.canonical_labels)
    sizes = _sizes(len(labels), size)
    for _ in range(_DRAWS):
        met: dict[str, list[str]] = defaultdict(list)
        drawn = [_mixed(labels, sizes, met, rng) for _ in range(rounds)]
        if _connected(drawn):
            return drawn
    # Pairs seldom hang together by chance: a chain of lists, each of which begins in the middle of another, does.
    rng.shuffle(labels)
    return [_cut(labels[shift:] + labels[:shift], sizes) for shift in (index * (size // 2) for index in range(rounds))]


def merge(labels: Sequence[str], rounds: Sequence[Sequence[PassResult]]) -> list[PassResult]:
    """Bring the scores of sub-lists onto one scale.

    Args:
        labels: All labels.
        rounds: The ballots of each round's sub-lists; all rounds' together connect all labels.

    Returns:
        For each round a ballot over all labels. Its scores are the model's less what was given to the whole sub-list,
        which is zero on average over all sub-lists, so that they may lie beyond 1..5. Of two responses with the same
        score, the one that its sub-list ranked above more of the others is the better.
    """
    effects = iter(_list_effects([ballot.scores for ballots in rounds for ballot in ballots]))
    merged = []
    for ballots in rounds:
        scores: dict[str, list[float]] = defaultdict(list)
        beaten: dict[str, list[float]] = defaultdict(list)
        for ballot in ballots:
            effect = next(effects)
            for place, label in enumerate(ballot.ranking):
                scores[label].append(ballot.scores[label] - effect)
                beaten[label].append(1 - place / (len(ballot.ranking) - 1))
        corrected = {label: round(_mean(scores[label]), 9) for label in labels}
        worth = {label: (corrected[label], _mean(beaten[label])) for label in labels}
        merged.append(
            PassResult(
                order=list(dict.fromkeys(label for ballot in ballots for label in ballot.order)),
                scores=corrected,
                ranking=sorted(labels, key=worth.__getitem__, reverse=True),
                reasoning=_by_list([ballot.reasoning for ballot in ballots]),
                raw=_by_list([ballot.raw for ballot in ballots]),
            )
        )
    return merged


def _by_list(texts: Sequence[str]) -> str:
    """The texts under headings that say which sub-list they are of."""
    return "\n\n".join(f"[list {i} of {len(texts)}]\n{text}" for i, text in enumerate(texts, start=1) if text)


def _list_effects(lists: Sequence[Mapping[str, float]]) -> list[float]:
    """What each list's scores have in common, by least squares over score = response + list; zero on average."""
    import numpy as np

    within: dict[str, list[int]] = defaultdict(list)
    for index, scores in enumerate(lists):
        for label in scores:
            within[label].append(index)
    means = {label: _mean([lists[index][label] for index in found]) for label, found in within.items()}
    # The normal equations with the responses eliminated. They leave one number open, as all lists hang together; adding
    # one to every coefficient asks for effects that add up to zero.
    left, right = np.diag([float(len(scores)) for scores in lists]), np.zeros(len(lists))
    for label, found in within.items():
        for index in found:
            left[index, found] -= 1 / len(found)
            right[index] += lists[index][label] - means[label]
    solution: list[float] = np.linalg.solve(left + 1, right).tolist()
    return solution


def _sizes(count: int, most: int) -> list[int]:
    lists = math.ceil(count / most)
    return [count // lists + (index < count % lists) for index in range(lists)]


def _mixed(labels: Sequence[str], sizes: Sequence[int], met: dict[str, list[str]], rng: random.Random) -> Round:
    """A round in which each label joins the list with the fewest that it met before; ``met`` learns of it."""
    lists: Round = [[] for _ in sizes]
    where: dict[str, int] = {}
    for label in rng.sample(labels, len(labels)):
        known = Counter(where[other] for other in met[label] if other in where)
        free = [index for index, size in enumerate(sizes) if len(lists[index]) < size]
        where[label] = min(free, key=lambda index: (known[index], len(lists[index]), rng.random()))
        lists[where[label]].append(label)
    for members in lists:
        for label in members:
            met[label] += (other for other in members if other != label)
    return _in_company(lists)


def _cut(labels: Sequence[str], sizes: Sequence[int]) -> Round:
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    return _in_company([list(labels[end - size : end]) for size, end in zip(sizes, ends, strict=True)])


def _in_company(lists: Round) -> Round:
    """The lists, with one of the neighbours' labels beside a label that stands alone: alone it meets nobody."""
    return [[*members, lists[index - 1][0]] if len(members) == 1 else members for index, members in enumerate(lists)]


def _connected(rounds: Sequence[Round]) -> bool:
    """Whether any label can be reached from any other over lists that share one."""
    lists_of: dict[str, list[list[str]]] = defaultdict(list)
    for sublists in rounds:
        for members in sublists:
            for label in members:
                lists_of[label].append(members)
    start = rounds[0][0][0]
    reached, open_ends = {start}, [start]
    while open_ends:
        for members in lists_of[open_ends.pop()]:
            new = set(members) - reached
            reached |= new
            open_ends += new
    return len(reached) == len(lists_of)


def _part(case: Case, labels: Sequence[str]) -> Case:
    return dataclasses.replace(case, responses={label: case.responses[label] for label in labels})


def _tell_of_pairs(error: ContextLengthError) -> None:
    error.hint = "That is for 2 of the responses at a time: shorten the texts, or use a model with a longer window."
    if error.failure is not None:
        error.failure = dataclasses.replace(error.failure, message=str(error))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
