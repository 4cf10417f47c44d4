"""What a command will spend and has spent: the estimate before a run, the question above a limit, and the summary."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.errors import ConfigError
from rewardanything_core.types import Usage

if TYPE_CHECKING:
    from rewardanything_core.cases import Case
    from rewardanything_core.judging.base import BaseJudge
    from rewardanything_core.judging.cost_estimates import CostEstimate


@dataclass(frozen=True, kw_only=True)
class Spending:
    """The options about spending; None for an option that was not given."""

    max_cost: float | None = None
    """``--max-cost``, in US dollars."""

    max_calls: int | None = None
    """``--max-calls``."""

    max_total_tokens: int | None = None
    """``--max-total-tokens``."""

    yes: bool = False
    """``--yes``: nothing is asked."""

    estimate: bool = False
    """``--estimate``: the estimate is all that is wanted."""

    batch: bool = False
    """``--batch``: requests go through the provider's batch API."""

    wait: bool = False
    """``--wait``: batches are waited for."""

    @property
    def limits(self) -> dict[str, Any]:
        """The settings of the judge."""
        return {
            "max_cost": self.max_cost,
            "max_calls": self.max_calls,
            "max_total_tokens": self.max_total_tokens,
        }

    def confirm(self, judge: BaseJudge, estimated: Callable[[], CostEstimate | None]) -> None:
        """Show the estimate of a run that has a limit, and ask whether to begin one that will exceed it.

        Args:
            judge: The judge.
            estimated: Makes the estimate; called only if one is needed. None: it cannot be made.

        Raises:
            Exit: the estimate was all that is wanted.
            ConfigError: the run would exceed a limit, and that was not confirmed.
        """
        if judge.budget is None and not self.estimate:
            return
        estimate = estimated()
        options.echo("No estimate can be made of this run." if estimate is None else f"Estimate: {estimate}")
        if self.batch:
            options.echo("Through batches it costs about half of that.")
        if self.estimate:
            raise typer.Exit
        problem = None if estimate is None or judge.budget is None else judge.budget.exceeded_by(estimate.expense)
        if problem is None or self.yes:
            return
        options.echo(f"That exceeds the limit: {problem}. The run would stop there, and the same command continues it.")
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ConfigError("The estimate exceeds the limit.", hint="Give --yes to run up to the limit, or raise it.")
        if not typer.confirm("Run up to the limit?", err=True):
            raise ConfigError("Nothing was judged.")

    def through_batches(self, judge: BaseJudge, cases: Callable[[], Iterable[Case]]) -> None:
        """With ``--batch``, judge cases through batches, so that their verdicts are in the store.

        Args:
            judge: The judge.
            cases: Gives the cases.

        Raises:
            Exit: there are batches to wait for.
            ConfigError: batches are not possible with the judge.
        """
        from rewardanything_core.cli.batch import through_batches

        if self.wait and not self.batch:
            raise ConfigError("--wait needs --batch.")
        if self.batch:
            through_batches(judge, cases(), wait=self.wait)


def usage_in_words(usage: Usage) -> str:
    """Calls, tokens and cost, as all summaries show them."""
    cost = "" if usage.cost is None else f", ${usage.cost:,.4f}"
    return f"{usage.calls:,} calls, {usage.prompt_tokens:,} tokens read, {usage.completion_tokens:,} written{cost}"


def share_in_words(cached: int, rows: int) -> str:
    """How much came from the store, as all summaries show it.

    Args:
        cached: Number of rows whose verdicts came from the store.
        rows: Number of rows.
    """
    share = f" ({cached / rows:.0%})" if cached and rows else ""
    return f"{cached:,} from the store{share}"
