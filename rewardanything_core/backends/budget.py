"""Budgets: limits on what judging may cost, which hold however many requests are in flight.

A request reserves the most that it can cost before it is sent, and pays what it did cost afterwards. A request that
would fit if others cost less than they reserved waits for them; one that cannot fit any more fails. Which budget a
request belongs to follows from the context that it is made in (`spending`), so that judges with budgets of their own
can share a backend.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from rewardanything_core.errors import BudgetExceededError, ConfigError

LIMITS = ("max_cost", "max_calls", "max_total_tokens")
"""The names of the limits, as options and settings."""


@dataclass(frozen=True)
class Expense:
    """What requests take."""

    calls: int = 0
    """Requests sent, retries included."""

    tokens: int = 0
    """Tokens, read and generated."""

    cost: float = 0.0
    """US dollars."""

    def __add__(self, other: Expense) -> Expense:
        return Expense(self.calls + other.calls, self.tokens + other.tokens, self.cost + other.cost)

    def __sub__(self, other: Expense) -> Expense:
        return Expense(self.calls - other.calls, self.tokens - other.tokens, self.cost - other.cost)


class Reservation:
    """A part of a budget that a request may use.

    Args:
        budget: The budget. None: there is none, and nothing is counted.
        expense: What is reserved.
    """

    def __init__(self, budget: Budget | None, expense: Expense) -> None:
        self._budget, self.expense = budget, expense
        self._one = expense

    def add_call(self) -> bool:
        """Reserve as much again, for a second attempt at the same time; False if the budget has no room for it."""
        if self._budget is not None and not self._budget._take(self._one):
            return False
        self.expense += self._one
        return True

    def settle(self, actual: Expense) -> None:
        """Pay, and return what is left. Only the first call counts."""
        budget, self._budget = self._budget, None
        if budget is not None:
            budget._settle(self.expense, actual)


class Budget:
    """Limits on what judging may take, for all judges that share it. For one process.

    Args:
        max_cost: Maximum cost, in US dollars, 0 or more. None: no limit.
        max_calls: Maximum number of requests to models, retries included, 0 or more. None: no limit.
        max_total_tokens: Maximum number of tokens, read and generated together, 0 or more. None: no limit.

    Raises:
        ConfigError: a limit is out of its range.
    """

    def __init__(
        self, *, max_cost: float | None = None, max_calls: int | None = None, max_total_tokens: int | None = None
    ) -> None:
        for name, value in zip(LIMITS, (max_cost, max_calls, max_total_tokens), strict=True):
            kinds = (int, float) if name == "max_cost" else int
            if value is not None and (not isinstance(value, kinds) or isinstance(value, bool) or not value >= 0):
                what = "a number of US dollars" if name == "max_cost" else "a whole number"
                raise ConfigError(f"{name} must be {what}, 0 or more, not {value!r}.")
        self.max_cost, self.max_calls, self.max_total_tokens = max_cost, max_calls, max_total_tokens
        self._spent, self._reserved = Expense(), Expense()
        self._waiting: deque[tuple[Expense, asyncio.Future[None]]] = deque()

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.limits.items() if value is not None)
        return f"Budget({given})"

    @property
    def limits(self) -> dict[str, Any]:
        """Name -> limit; None where there is none."""
        return {name: getattr(self, name) for name in LIMITS}

    @property
    def spent(self) -> Expense:
        """What requests took so far. One that got no reply counts with what it could have cost."""
        return self._spent

    @property
    def reserved(self) -> Expense:
        """The most that requests in flight can take."""
        return self._reserved

    def exceeded_by(self, expense: Expense) -> str | None:
        """The first limit that an expense would exceed, in words. None: it fits.

        Args:
            expense: An expense on top of nothing, such as an estimate of a whole run.
        """
        if self.max_calls is not None and expense.calls > self.max_calls:
            return f"{expense.calls:,} calls with max_calls = {self.max_calls:,}"
        if self.max_total_tokens is not None and expense.tokens > self.max_total_tokens:
            return f"{expense.tokens:,} tokens with max_total_tokens = {self.max_total_tokens:,}"
        if self.max_cost is not None and expense.cost > self.max_cost * (1 + 1e-9):
            return f"${expense.cost:,.4f} with max_cost = ${self.max_cost:,.4g}"
        return None

    async def reserve(self, expense: Expense) -> Reservation:
        """Reserve an expense, in the order of the calls; wait while only what others reserved is in the way.

        Raises:
            BudgetExceededError: it does not fit into what is left.
        """
        if not self._waiting and self._take(expense):
            return Reservation(self, expense)
        self._require_possible(expense)
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((expense, granted))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                self._settle(expense, Expense())  # granted, and cancelled before it could be used
            raise
        return Reservation(self, expense)

    def reserve_now(self, expense: Expense) -> Reservation:
        """Reserve an expense if it fits now, besides what is reserved.

        Raises:
            BudgetExceededError: it does not.
        """
        if not self._take(expense):
            self._require_possible(self._reserved + expense)
        return Reservation(self, expense)

    def _take(self, expense: Expense) -> bool:
        if self.exceeded_by(self._spent + self._reserved + expense) is not None:
            return False
        self._reserved += expense
        return True

    def _require_possible(self, expense: Expense) -> None:
        problem = self.exceeded_by(self._spent + expense)
        if problem is not None:
            spent = self._spent
            raise BudgetExceededError(
                f"The budget is used up: one more request could make it {problem} "
                f"({spent.calls:,} calls, {spent.tokens:,} tokens and ${spent.cost:,.4f} were spent)."
            )

    def _settle(self, reserved: Expense, actual: Expense) -> None:
        self._reserved -= reserved
        self._spent += actual
        while self._waiting:
            expense, granted = self._waiting[0]
            if not granted.done():
                try:
                    self._require_possible(expense)
                except BudgetExceededError as error:
                    granted.set_exception(error)
                else:
                    if not self._take(expense):
                        return
                    granted.set_result(None)
            self._waiting.popleft()


_in_force: ContextVar[Budget | None] = ContextVar("rewardanything_budget", default=None)


@contextmanager
def spending(budget: Budget | None) -> Iterator[None]:
    """What the block requests is paid from a budget.

    Args:
        budget: The budget. None: the one in force stays.
    """
    if budget is None:
        yield
        return
    token = _in_force.set(budget)
    try:
        yield
    finally:
        _in_force.reset(token)


def in_force() -> Budget | None:
    """The budget that requests made here are paid from. None: there is none."""
    return _in_force.get()


async def reserve(expense: Expense) -> Reservation:
    """Reserve an expense from the budget in force.

    Raises:
        BudgetExceededError: it does not fit into what is left.
    """
    budget = _in_force.get()
    return Reservation(None, expense) if budget is None else await budget.reserve(expense)
