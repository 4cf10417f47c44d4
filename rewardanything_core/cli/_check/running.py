"""A check from settings to report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardanything_core.cli._check import reports
from rewardanything_core.cli._check.asked import PrinciplesTyped, requirements
from rewardanything_core.cli._check.models import Models
from rewardanything_core.cli._check.settings import merged, read_table
from rewardanything_core.cli._check.sides import Again, Say, outputs, plan_check, preview
from rewardanything_core.cli._progress import steps_bar

if TYPE_CHECKING:
    from rewardanything_core.gate.results import CheckReport

_RULES = ("alpha", "power", "max_failures", "sequential", "confirm")


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the command line asked for."""

    given: Mapping[str, Any]
    """Settings of ``[check]``; None where nothing was given."""

    principles: PrinciplesTyped
    """The principles it names."""

    judge: Mapping[str, Any]
    """Settings of the judge; None where nothing was given."""

    config: str | None
    """--config."""

    again: Again
    """--resume and --fresh."""


def run_check(task: Task, say: Say) -> tuple[CheckReport, dict[str, Path]]:
    """Do it, and return the report with the files to be written.

    Raises:
        ConfigError: something does not fit; the message says what, and unless an application failed nothing was paid.
    """
    from rewardanything_core.gate.checking import check
    from rewardanything_core.gate.pairing import pair

    table = read_table(task.config)
    settings = merged(table, task.given)
    asked = requirements(table, task.principles, settings, task.given)
    files = reports.targets(settings)
    plan = plan_check(settings, table.folder)
    common = bool(settings.get("common_only", False))
    baseline, candidates = preview(plan)
    paired = pair(baseline, candidates, common_only=common)
    with Models(settings, task.judge, task.config) as models:
        backend = models.ready(application=bool(plan.prompts))
        wanted = {item.id for item in paired.items}
        baseline, candidates = outputs(plan, wanted, settings, backend=backend, again=task.again, say=say)
        judge = models.judge()
        rules = {name: settings[name] for name in _RULES if name in settings}
        say(f"Judging {len(wanted)} cases with {judge.model}.")
        with steps_bar("judging") as told:
            report = check(baseline, candidates, asked, judge=judge, progress=told, **rules)
    return dataclasses.replace(report, missing=paired.missing), files
