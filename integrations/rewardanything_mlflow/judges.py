"""Asking a judge about many cases of which some are none."""

from __future__ import annotations

from collections.abc import Sequence

from rewardanything_core import Arbiter, Case, JudgeFailure, Verdict

Outcome = Verdict | JudgeFailure


def judge_all(judge: Arbiter, cases: Sequence[Case | JudgeFailure]) -> list[Outcome]:
    """An outcome for each, in order; what already is a failure stays one."""
    outcomes: dict[int, Outcome] = {i: case for i, case in enumerate(cases) if isinstance(case, JudgeFailure)}
    waiting = [(i, case) for i, case in enumerate(cases) if isinstance(case, Case)]
    for place, outcome in judge.judge_stream(case for _, case in waiting):
        outcomes[waiting[place][0]] = outcome
    return [outcomes[i] for i in range(len(cases))]
