"""The search for a better text: propose on some prompts, select on others, and decide once on the held-out ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, get_args

from rewardanything_core.agreement.intervals import NO_DATA, mean
from rewardanything_core.alignment.evaluation import Evaluator, Progress
from rewardanything_core.alignment.result import Alignment, Proposal
from rewardanything_core.alignment.rewriting import CASES_PER_ROUND, Reflector, require_gepa, rewrite
from rewardanything_core.alignment.task import MIN_PROMPTS, AlignmentTask
from rewardanything_core.errors import ConfigError

Method = Literal["all", "examples", "rewrite"]
METHODS: tuple[Method, ...] = get_args(Method)

DEFAULT_MAX_CALLS = 1_000

MAX_EXAMPLES = 4
"""Maximum number of corrections that are appended as worked examples."""

_BOUNDS = (-1.0, 1.0)


def align(
    task: AlignmentTask,
    reflector: Reflector | None,
    *,
    method: Method = "all",
    max_calls: int = DEFAULT_MAX_CALLS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Alignment:
    """Search for a text with which a judge agrees more with people.

    Prompts are divided by a hash: a quarter to learn from, a quarter for selection, and half held out. Two methods make
    proposals from the first quarter: the cases that the judge got wrong as worked examples after the text, and GEPA.
    The proposal with the highest agreement on the second quarter is compared with the text as it was on the held-out
    prompts, once, so that the interval of the gain needs no correction for several comparisons.

    Args:
        task: The labelled cases and the judge.
        reflector: The model that rewrites; not needed for the method ``examples``.
        method: ``examples``, ``rewrite``, or ``all`` for both.
        max_calls: Maximum number of model calls. Replies that have to be requested again can exceed it by a few.
        seed: Seed of the division and of the search.
        progress: Called after each step.

    Raises:
        ConfigError: there are fewer than `MIN_PROMPTS` prompts, or ``max_calls`` does not suffice for one proposal.
        MissingExtraError: GEPA is not installed.
        RewardAnythingError: the judge or the reflection model cannot be used.
    """
    if method not in METHODS:
        raise ConfigError(f"method must be one of {', '.join(METHODS)}, not {method!r}.")
    if method != "examples":
        require_gepa()
        if reflector is None:
            raise ConfigError("Rewriting needs a reflection model.")
    evaluator = Evaluator(task, max_calls, progress)
    parts = _divided(task.groups, seed)
    _check_budget(evaluator, parts, method)
    everything = [case for part in parts for case in part]
    evaluator.report(f"Judging {len(everything)} labelled cases with the text as it is ...")
    before = dict(zip(everything, evaluator.evaluate(task.text, everything), strict=True))
    learning, selection, held_out = ([case for case in part if before[case].agreement is not None] for part in parts)
    judged = len(learning) + len(selection) + len(held_out)
    if _prompts(task, [*learning, *selection, *held_out]) < MIN_PROMPTS:
        raise ConfigError(
            f"Only {judged} of {len(everything)} cases could be judged, which is too few to align to.",
            hint="`ra-judge log --failures` shows why; the same command judges the others again.",
        )
    selection_before = _average(evaluator.agreements(task.text, selection))
    evaluator.report(f"Agreement {selection_before:.2f} on the {len(selection)} cases for selection.")
    proposals: list[Proposal] = []
    if selection_before < 1.0:
        proposals = _proposals(evaluator, reflector, method, (learning, selection, held_out), seed)
    best = max(proposals, key=lambda proposal: proposal.agreement, default=None)
    if best is not None and best.agreement <= selection_before:
        best = None
    old = evaluator.agreements(task.text, held_out)
    groups = [task.groups[case] for case in held_out]
    after, failed_with_best = [], 0
    if best is not None:
        evaluator.report(f"Testing the best proposal on {len(held_out)} held-out cases ...")
        after = evaluator.agreements(best.text, held_out)
        failed_with_best = sum(one.agreement is None for one in evaluator.evaluate(best.text, held_out))
    return Alignment(
        text_before=task.text,
        measure=task.measure,
        proposals=tuple(proposals),
        best=best,
        selection_before=selection_before,
        agreement_before=mean(old, groups),
        agreement=mean(after, groups) if after else NO_DATA,
        gain=mean([a - b for a, b in zip(after, old, strict=True)], groups, bounds=_BOUNDS) if after else NO_DATA,
        prompts=(_prompts(task, learning), _prompts(task, selection), _prompts(task, held_out)),
        cases=judged,
        failed=len(everything) - judged,
        failed_with_best=failed_with_best,
        calls=evaluator.calls,
        rewrites=0 if reflector is None else reflector.rewrites,
        rewrites_truncated=0 if reflector is None else reflector.truncated,
    )


def _proposals(
    evaluator: Evaluator,
    reflector: Reflector | None,
    method: Method,
    parts: tuple[Sequence[int], Sequence[int], Sequence[int]],
    seed: int,
) -> list[Proposal]:
    """What the methods propose, evaluated on the cases for selection."""
    learning, selection, held_out = parts
    if not evaluator.allows(needed := evaluator.cost(len(selection) + len(held_out))):
        raise ConfigError(
            f"{evaluator.max_calls} calls are too few: {evaluator.calls} were made, and testing a proposal takes "
            f"{needed}.",
            hint="Allow more (--max-calls); the same command continues from the verdicts in the store.",
        )
    proposals = []
    if method != "rewrite" and (text := _with_examples(evaluator, learning)) is not None:
        proposals.append(_proposal(evaluator, "examples", text, selection))
    if method != "examples" and reflector is not None:
        reserved = evaluator.cost(len(held_out))
        text = rewrite(evaluator, reflector, learning=learning, selection=selection, reserved=reserved, seed=seed)
        if text is not None:
            proposals.append(_proposal(evaluator, "rewrite", text, selection))
    return proposals


def _divided(groups: Sequence[str], seed: int) -> tuple[list[int], list[int], list[int]]:
    """The cases to learn from, for selection, and held out; every prompt's are in one of them."""
    names = sorted(set(groups), key=lambda group: hashlib.sha256(f"{seed} {group}".encode(errors="replace")).digest())
    if len(names) < MIN_PROMPTS:
        raise ConfigError(
            f"Aligning a principle needs labels for {MIN_PROMPTS} prompts or more; these are for {len(names)}.",
            hint="Half of the prompts are held out, and so few cannot distinguish a better principle from chance.",
        )
    quarter = len(names) // 4
    part_of = {name: min(place // quarter, 2) for place, name in enumerate(names)}
    learning, selection, held_out = (
        [case for case, group in enumerate(groups) if part_of[group] == part] for part in range(3)
    )
    return learning, selection, held_out


def _check_budget(evaluator: Evaluator, parts: tuple[list[int], ...], method: Method) -> None:
    learning, selection, held_out = parts
    total = len(learning) + len(selection) + len(held_out)
    first = evaluator.cost(total - evaluator.task.num_cached(evaluator.task.text))
    rewriting = 0 if method == "examples" else 1 + evaluator.cost(min(CASES_PER_ROUND, len(learning)))
    proposal = rewriting + evaluator.cost(len(selection) + len(held_out))
    if not evaluator.allows(first + proposal):
        raise ConfigError(
            f"{evaluator.max_calls} calls are too few: judging the labelled cases takes {first}, and making and "
            f"testing one proposal {proposal}.",
            hint=f"Allow at least {first + proposal} calls (--max-calls), better twice as many, or give fewer labels.",
        )


def _with_examples(evaluator: Evaluator, learning: Sequence[int]) -> str | None:
    """The text with the cases that the judge got wrong, worst first, one for each prompt. None: there is none."""
    task = evaluator.task
    examples: list[str] = []
    used: set[str] = set()
    agreements = dict(zip(learning, evaluator.agreements(task.text, learning), strict=True))
    for case in sorted(learning, key=lambda case: agreements[case]):
        if agreements[case] >= 1.0 or len(examples) == MAX_EXAMPLES:
            break
        example = task.worked_example(case) if task.groups[case] not in used else None
        if example is not None:
            used.add(task.groups[case])
            examples.append(f"Example {len(examples) + 1}\n{example}")
    if not examples:
        return None
    heading = "Worked examples of other cases, with the judgement that people made:"
    return task.prepared("\n\n".join([task.text, heading, *examples]))


def _proposal(evaluator: Evaluator, method: str, text: str, selection: Sequence[int]) -> Proposal:
    proposal = Proposal(method=method, text=text, agreement=_average(evaluator.agreements(text, selection)))
    name = {"examples": "Worked examples", "rewrite": "Best rewriting"}[method]
    evaluator.report(f"{name}: agreement {proposal.agreement:.2f} on the cases for selection.")
    return proposal


def _prompts(task: AlignmentTask, cases: Sequence[int]) -> int:
    return len({task.groups[case] for case in cases})


def _average(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
