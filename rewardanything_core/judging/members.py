"""The judges that a jury or a cascade is made of."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from rewardanything_core.backends.budget import LIMITS, Budget
from rewardanything_core.cases import Case
from rewardanything_core.errors import ConfigError, RewardAnythingError
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.judging.observers import as_observer
from rewardanything_core.types import JudgeFailure, Usage, Verdict

if TYPE_CHECKING:
    from rewardanything_core.judging.cost_estimates import CostEstimate
    from rewardanything_core.judging.judge import Judge


class CompositeJudge(BaseJudge):
    """Base of judges that are made of other judges, their members."""

    @property
    @abstractmethod
    def members(self) -> Sequence[BaseJudge]:
        """The judges that it is made of, in its order."""

    @abstractmethod
    def _of(self, members: Sequence[BaseJudge]) -> Self:
        """The same arrangement of other members."""

    @property
    def single_judges(self) -> tuple[Judge, ...]:
        """Those of all members."""
        return tuple(judge for member in self.members for judge in member.single_judges)

    @property
    def usage(self) -> Usage:
        """Usage of all model calls of the members so far, including those made for others."""
        return sum((member.usage for member in self.members), Usage())

    @property
    def budget(self) -> Budget | None:
        """The budget that all members share. None: they share none."""
        budgets = {id(member.budget): member.budget for member in self.members}
        return next(iter(budgets.values())) if len(budgets) == 1 else None

    def estimate(self, cases: Iterable[Case | Mapping[str, Any]]) -> CostEstimate | None:
        """The sum of the members' estimates, None if one has none; see `BaseJudge.estimate`.

        In a cascade that is the most that it can take: every case is escalated to the end.
        """
        checked = [Case.of(case) for case in cases]
        total: CostEstimate | None = None
        for member in self.members:
            one = member.estimate(checked)
            if one is None:
                return None
            total = one if total is None else total + one
        return total

    def with_options(self, **options: Any) -> Self:
        """A copy with some `JudgeOptions` of all its members changed; ``on_verdict`` is its own.

        Limits such as ``max_cost`` are those of all members together. The thresholds of a cascade stay as they are: if
        verdicts change, as with other ``passes``, fit them again.
        """
        observers = options.pop("on_verdict", self.observers)
        options = _with_one_budget(options)
        copy = self._of([member.with_options(**options) if options else member for member in self.members])
        copy.observers = tuple(map(as_observer, observers))
        return copy

    def with_balanced_passes(self, number: int) -> Self:
        """A copy with every member's passes raised to a multiple of ``number``."""
        return self._of([member.with_balanced_passes(number) for member in self.members])

    def resampled(self) -> Self:
        """A copy with every member resampled."""
        return self._of([member.resampled() for member in self.members])

    def close(self) -> None:
        """Close all members."""
        for member in self.members:
            member.close()

    def _limits_in_spec(self) -> dict[str, Any]:
        return {"limits": self.budget.limits} if self.budget is not None else {}

    def _with_limits_of(self, spec: Mapping[str, Any]) -> Self:
        return self.with_options(**spec["limits"]) if spec.get("limits") else self


def as_judge(judge: BaseJudge | str, role: str) -> BaseJudge:
    """The judge that a member of a jury or cascade means.

    Args:
        judge: A judge, or a model string for `resolve_judge`.
        role: What the member is called, as in ``a juror``.

    Raises:
        ConfigError: it is neither, or the string names no model.
    """
    if isinstance(judge, BaseJudge):
        return judge
    if not isinstance(judge, str):
        raise ConfigError(
            f"{role[0].upper()}{role[1:]} must be a Judge, a Jury or a model string, not {type(judge).__name__}."
        )
    from rewardanything_core import resolve_judge  # loading is a higher layer, so it is looked up at run time

    resolved = resolve_judge(judge)
    assert resolved is not None
    return resolved


async def outcome_of(judge: BaseJudge, case: Case) -> tuple[Verdict | JudgeFailure, RewardAnythingError | None]:
    """A member's outcome on a case, with the error if it failed.

    Args:
        judge: The member.
        case: The case.

    Raises:
        RewardAnythingError: one that is not specific to the case, such as an unreadable store.
    """
    try:
        return await judge._verdict(case), None
    except RewardAnythingError as error:
        if error.failure is None:
            raise
        return dataclasses.replace(error.failure, case_id=case.id, model=error.failure.model or judge.model), error


def _with_one_budget(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options for several judges, with one budget for all of them in place of limits for each."""
    limits = {name: value for name, value in options.items() if name in LIMITS}
    others = {name: value for name, value in options.items() if name not in LIMITS}
    if not limits:
        return others
    if "budget" in others:
        raise ConfigError(f"Give either budget= or {', '.join(limits)}, not both.")
    given = {name: value for name, value in limits.items() if value is not None}
    return others | {"budget": Budget(**given) if given else None}
