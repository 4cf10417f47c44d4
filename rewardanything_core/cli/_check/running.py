"""``ra-judge check`` from its settings to its report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardanything_core.bench.label_matching import read_labels_of_rows
from rewardanything_core.cli._check import reports
from rewardanything_core.cli._check.models import CommandModels
from rewardanything_core.cli._check.requirements import PrincipleArgs, read_requirements
from rewardanything_core.cli._check.settings import merged, read_table
from rewardanything_core.cli._check.sources import CachePolicy, Echo, plan_check, preview, produce_outputs
from rewardanything_core.cli._progress import steps_bar
from rewardanything_core.cli._spending import Spending
from rewardanything_core.cli.bench import scale_of
from rewardanything_core.errors import ConfigError
from rewardanything_core.gate.reports.wording import counted
from rewardanything_core.judging.unusable import raise_if_unusable
from rewardanything_core.types import MAX_SCORE, MIN_SCORE

if TYPE_CHECKING:
    from rewardanything_core.gate.results import CheckReport

_RULES = ("alpha", "power", "max_failures", "sequential", "confirm")


@dataclass(frozen=True, kw_only=True)
class CheckTask:
    """The options of ``check`` or ``baseline``."""

    given: Mapping[str, Any]
    """Settings of ``[check]``; None for an option that was not given."""

    principles: PrincipleArgs
    """The principles."""

    judge: Mapping[str, Any]
    """Settings of the judge; None for an option that was not given."""

    config: str | None
    """``--config``."""

    cache_policy: CachePolicy
    """``--resume`` and ``--fresh``."""

    spending: Spending = field(default_factory=Spending)
    """The options about spending."""


def run_check(task: CheckTask, echo: Echo) -> tuple[CheckReport, dict[str, Path]]:
    """Run a check.

    Args:
        task: The options.
        echo: Prints progress for the user.

    Returns:
        The report, and kind -> file for the reports to write.

    Raises:
        ConfigError: the settings or the files cannot be used; unless an application failed, no model was called.
        RewardAnythingError: the judge can judge no case, for instance because of a wrong key.
    """
    from rewardanything_core.gate.checking import check
    from rewardanything_core.gate.judging import estimate_check, planned_cases
    from rewardanything_core.gate.labels import rows_of
    from rewardanything_core.gate.pairing import pair
    from rewardanything_core.gate.requirements import with_criteria

    table = read_table(task.config)
    settings = merged(table, task.given)
    requirements = read_requirements(table, task.principles, settings, task.given)
    files = reports.targets(settings)
    plan = plan_check(settings, table.folder)
    common_only = bool(settings.get("common_only", False))
    baseline, candidates = preview(plan)
    paired = pair(baseline, candidates, common_only=common_only)
    rows = rows_of(paired.items, with_criteria(requirements))
    labels = read_labels_of_rows(rows, settings.get("labels", []))
    if settings.get("labels") and not labels:
        raise ConfigError(f"There are no labels in {', '.join(settings['labels'])}.")
    scale = scale_of(settings.get("scale")) or (MIN_SCORE, MAX_SCORE)
    with CommandModels(settings, task.judge, task.config) as models:
        backend = models.load(application=bool(plan.prompts))
        keys = {item.id for item in paired.items}
        baseline, candidates = produce_outputs(
            plan, keys, settings, backend=backend, cache_policy=task.cache_policy, echo=echo
        )
        judge = models.judge()
        rules = {name: settings[name] for name in _RULES if name in settings}
        to_judge = pair(baseline, candidates, common_only=common_only).items
        task.spending.confirm(judge, lambda: estimate_check(judge, to_judge, requirements))
        for balanced, cases in planned_cases(judge, to_judge, requirements):
            task.spending.through_batches(balanced, lambda cases=cases: cases)  # type: ignore[misc]
        echo(f"Judging {counted(len(keys), 'case')} with {judge.model}.")
        with steps_bar("judging") as progress:
            report = check(
                baseline, candidates, requirements, judge=judge, progress=progress, labels=labels, scale=scale, **rules
            )
    attempted = [pair for pair in report.pairs if not pair.unchanged]
    failures = [pair.failure for pair in attempted if pair.failure is not None]
    if len(failures) == len(attempted):
        raise_if_unusable(failures)
    return dataclasses.replace(report, missing=paired.missing), files
