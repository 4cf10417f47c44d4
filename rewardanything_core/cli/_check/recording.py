"""Recording a baseline: outputs with the score of each alone, in a file that can be committed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rewardanything_core.cases import Case
from rewardanything_core.cli._check.dataset import KNOWN, Cells, ColumnNames, key_of, read_outputs
from rewardanything_core.cli._check.models import CommandModels
from rewardanything_core.cli._check.output_cache import digest
from rewardanything_core.cli._check.prompts import read_prompt
from rewardanything_core.cli._check.reports import check_writable
from rewardanything_core.cli._check.requirements import read_principles
from rewardanything_core.cli._check.running import CheckTask
from rewardanything_core.cli._check.settings import merged, read_table
from rewardanything_core.cli._check.sources import (
    Echo,
    Plan,
    PromptSource,
    application_source,
    check_prompts,
    preview,
    produce_outputs,
    read_dataset,
)
from rewardanything_core.cli._progress import steps_bar
from rewardanything_core.errors import ConfigError
from rewardanything_core.gate.results import Requirement
from rewardanything_core.judging.unusable import UnusableJudgeDetector
from rewardanything_core.principles import Principle, Rubric
from rewardanything_core.types import JudgeFailure, Verdict

if TYPE_CHECKING:
    from rewardanything_core.judging.base import BaseJudge

VERDICTS = "verdicts"
"""The column with the verdicts: principle -> ``score``, ``record_id`` and ``judge``, a hash of everything except the
case that can change a verdict; for a rubric also ``criteria``, criterion -> score."""

_CASE_FIELDS = ("prompt", "response", "context", "reference")


@dataclass(kw_only=True)
class Summary:
    """The changes to a baseline."""

    path: str
    """The file."""

    cases: int
    """Rows in it."""

    new: list[str] = field(default_factory=list)
    """Ids that are new in the file."""

    changed: list[str] = field(default_factory=list)
    """Ids whose prompt, output, context or reference changed."""

    removed: list[str] = field(default_factory=list)
    """Ids that are no longer among the cases."""

    judged: int = 0
    """Number of judgements, some of which may come from the verdict store."""

    failures: list[JudgeFailure] = field(default_factory=list)
    """Failed judgements; they have no score in the file."""

    means: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    """Principle, or ``rubric: criterion`` -> mean score after and before. None: there are no scores."""

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain JSON types."""
        return {
            "path": self.path,
            "cases": self.cases,
            "new": self.new,
            "changed": self.changed,
            "removed": self.removed,
            "judged": self.judged,
            "failed": [failure.case_id for failure in self.failures],
            "means": {name: now for name, (now, _) in self.means.items()},
        }


def run_baseline(task: CheckTask, *, judge: bool, update: bool, echo: Echo) -> Summary:
    """Run the application on the cases, judge what is new or changed, and write the file.

    Args:
        task: The options; the file is the setting ``baseline``.
        judge: Whether to judge, if there are principles.
        update: Whether the file may exist; its verdicts are reused where nothing changed.
        echo: Prints progress for the user.

    Raises:
        ConfigError: the settings or the files cannot be used, or the application failed; the file is unchanged.
        RewardAnythingError: the judge can judge no case; the file is unchanged.
    """
    from rewardanything_core.gate.pairing import pair

    table = read_table(task.config)
    settings = merged(table, task.given)
    principles = [principle for principle, _ in read_principles(table, task.principles)] if judge else []
    path = _target(settings, update=update)
    before = read_outputs(str(path), ColumnNames()) if path.exists() else []
    source = application_source(settings, table.folder)
    if source is None and "baseline_prompt" in settings:
        source = PromptSource(read_prompt(settings["baseline_prompt"]))
    if source is None:
        raise ConfigError("There is nothing to run.", hint="Give --app or --prompt, or set one of them in [check].")
    plan = Plan(baseline=source, candidates={}, cases=read_dataset(settings))
    check_prompts(plan.prompts, plan.cases, settings)
    expected, _ = preview(plan)
    pair(expected, {"candidate": expected}, common_only=False)  # checks that every row can be judged
    with CommandModels(settings, task.judge, task.config) as models:
        backend = models.load(application=bool(plan.prompts), judge=bool(principles))
        keys = {key_of(row, number) for number, row in enumerate(plan.cases, start=1)}
        made, _ = produce_outputs(plan, keys, settings, backend=backend, cache_policy=task.cache_policy, echo=echo)
        ids = [number if row.get("id") is None else row["id"] for number, row in enumerate(plan.cases, start=1)]
        rows = [{**row, "id": own} for row, own in zip(made, ids, strict=True)]
        summary = _compare(str(path), rows, before)
        if principles:
            _judge(rows, before, principles, models.judge(), summary, echo)
    rows.sort(key=lambda row: _natural(str(row["id"])))
    _write(path, rows)
    return summary


def _target(settings: Mapping[str, Any], *, update: bool) -> Path:
    if "baseline" not in settings:
        raise ConfigError("Name the file to write with -o, or as baseline in [check].")
    path = Path(settings["baseline"]).expanduser()
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        raise ConfigError(f"A baseline is a file of JSON lines (.jsonl), whose changes can be reviewed, not {path}.")
    check_writable(path, "-o", reads=[settings[name] for name in ("dataset", "prompt") if name in settings])
    if path.exists() and not update:
        raise ConfigError(f"{path} exists.", hint="Give --update to update it.")
    return path


def _compare(path: str, rows: Sequence[Cells], before: Sequence[Cells]) -> Summary:
    old = {key_of(row, number): row for number, row in enumerate(before, start=1)}
    summary = Summary(path=path, cases=len(rows))
    for row in rows:
        key = str(row["id"])
        if key not in old:
            summary.new.append(key)
        elif not _same_case(row, old[key]):
            summary.changed.append(key)
    summary.removed = sorted(old.keys() - {str(row["id"]) for row in rows}, key=_natural)
    return summary


def _same_case(row: Cells, old: Cells) -> bool:
    return all(row.get(name) == old.get(name) for name in _CASE_FIELDS)


@dataclass(frozen=True)
class _Judgement:
    """A verdict that the file needs."""

    row: Cells
    principle: str
    judge: str


def _judge(
    rows: Sequence[Cells],
    before: Sequence[Cells],
    principles: Sequence[Principle],
    judge: BaseJudge,
    summary: Summary,
    echo: Echo,
) -> None:
    """Add each row's verdicts to it, reusing those of the file where nothing that matters has changed."""
    old = {key_of(row, number): row for number, row in enumerate(before, start=1)}
    needed: list[_Judgement] = []
    cases: list[Case] = []
    for principle in principles:
        name = Requirement(principle=principle, margin=1.0).name
        judged_by = principle.to_json()["criteria"] if isinstance(principle, Rubric) else principle.text
        judge_hash = digest([judge.fingerprint(), judged_by])[:12]
        for row in rows:
            verdicts = row.setdefault(VERDICTS, {})
            reusable = _reusable(old.get(str(row["id"])), row, name, judge_hash)
            verdicts[name] = reusable
            if reusable is None:
                needed.append(_Judgement(row, name, judge_hash))
                cases.append(
                    Case(
                        principle,
                        row["prompt"],
                        {"response": row["response"]},
                        row.get("reference"),
                        row.get("context"),
                        str(row["id"]),
                    )
                )
    if cases:
        echo(f"Judging {len(cases)} outputs with {judge.model}.")
    detector: UnusableJudgeDetector[_Judgement] = UnusableJudgeDetector()
    with steps_bar("judging") as progress:
        for done, (index, outcome) in enumerate(judge.judge_stream(cases), start=1):
            for judgement, ready in detector.add(needed[index], outcome):
                _record(judgement, ready, summary)
            progress(done, len(cases))
        for judgement, ready in detector.finish():
            _record(judgement, ready, summary)
    summary.judged = len(cases)
    for principle in principles:
        requirement = Requirement(principle=principle, margin=1.0)
        for each in (requirement, *requirement.criteria()):
            now, was = (_mean(side, requirement.name, each.criterion) for side in (rows, before))
            summary.means[each.name] = (now, was)
    for row in rows:
        row[VERDICTS] = {name: verdict for name, verdict in row[VERDICTS].items() if verdict is not None}


def _record(judgement: _Judgement, outcome: Verdict | JudgeFailure | None, summary: Summary) -> None:
    assert outcome is not None
    if isinstance(outcome, JudgeFailure):
        summary.failures.append(outcome)
        return
    judgement.row[VERDICTS][judgement.principle] = {
        "score": round(outcome.scores["response"], 3),
        **({"criteria": _criteria(outcome)} if outcome.criteria else {}),
        "record_id": " ".join(outcome.record_ids) or None,
        "judge": judgement.judge,
    }


def _reusable(old: Cells | None, row: Cells, name: str, judge_hash: str) -> Cells | None:
    """The old verdict on a row, if the row and the judge are unchanged."""
    verdict = None if old is None or not isinstance(old.get(VERDICTS), dict) else old[VERDICTS].get(name)
    if old is None or not isinstance(verdict, dict) or verdict.get("judge") != judge_hash or not _same_case(row, old):
        return None
    return verdict if isinstance(verdict.get("score"), int | float) else None


def _criteria(verdict: Verdict) -> dict[str, float]:
    return {name: round(each.scores["response"], 3) for name, each in verdict.criteria.items()}


def _mean(rows: Sequence[Cells], name: str, criterion: str | None) -> float | None:
    verdicts = [row[VERDICTS].get(name) for row in rows if isinstance(row.get(VERDICTS), dict)]
    known = [verdict for verdict in verdicts if isinstance(verdict, dict)]
    found = [each.get("score") if criterion is None else (each.get("criteria") or {}).get(criterion) for each in known]
    scores = [score for score in found if score is not None]
    return round(fmean(scores), 3) if scores else None


def _natural(text: str) -> list[tuple[int, int, str]]:
    """A sort key that puts q2 before q10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]


def _write(path: Path, rows: Sequence[Cells]) -> None:
    """Write the file atomically."""
    order = (*KNOWN, VERDICTS)
    lines = (
        json.dumps({name: row[name] for name in order if name in row}, ensure_ascii=False, default=str) for row in rows
    )
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise ConfigError(f"Cannot write {path}: {error.strerror or error}.") from error
