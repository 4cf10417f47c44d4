"""Recording a baseline: outputs, and what the judge says of each alone, in a file to be committed."""

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
from rewardanything_core.cli._check.asked import principles_of
from rewardanything_core.cli._check.dataset import KNOWN, Cells, Names, key_of, read_outputs
from rewardanything_core.cli._check.kept import digest
from rewardanything_core.cli._check.models import Models
from rewardanything_core.cli._check.prompts import read_prompt
from rewardanything_core.cli._check.reports import writable
from rewardanything_core.cli._check.running import Task
from rewardanything_core.cli._check.settings import merged, read_table
from rewardanything_core.cli._check.sides import (
    Plan,
    Prompted,
    Say,
    cases_for,
    check_prompts,
    made_by,
    outputs,
    preview,
)
from rewardanything_core.cli._progress import steps_bar
from rewardanything_core.errors import ConfigError
from rewardanything_core.gate.results import Requirement
from rewardanything_core.principles import Principle
from rewardanything_core.types import JudgeFailure

if TYPE_CHECKING:
    from rewardanything_core.judging.base import BaseJudge

VERDICTS = "verdicts"
"""The column with the judge's verdicts: principle -> ``score``, ``record_id`` and ``judge``, a hash of all that can
change a verdict beside the case."""

_ABOUT_CASE = ("prompt", "response", "context", "reference")


@dataclass(kw_only=True)
class Summary:
    """What became of a baseline."""

    path: str
    """The file."""

    cases: int
    """Rows in it."""

    new: list[str] = field(default_factory=list)
    """Ids that were not in the file before."""

    changed: list[str] = field(default_factory=list)
    """Ids whose prompt, output, context or reference is another one."""

    removed: list[str] = field(default_factory=list)
    """Ids that are no longer among the cases."""

    judged: int = 0
    """Verdicts asked for; the verdict store may have had them."""

    failures: list[JudgeFailure] = field(default_factory=list)
    """What could not be judged; it has no score in the file."""

    means: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    """Principle -> mean score now and before. None: there are no scores."""

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


def run_baseline(task: Task, *, judge: bool, update: bool, say: Say) -> Summary:
    """Run the application over the cases, judge what is new or changed, and write the file.

    Args:
        task: What the command line asked for; the file is its setting ``baseline``.
        judge: Whether to judge under the principles, if there are any.
        update: Whether there may be such a file already, whose verdicts stay where nothing changed.
        say: Told what goes on.

    Raises:
        ConfigError: something does not fit, or the application failed; the file is as it was.
    """
    from rewardanything_core.gate.pairing import pair

    table = read_table(task.config)
    settings = merged(table, task.given)
    principles = [principle for principle, _ in principles_of(table, task.principles)] if judge else []
    path = _target(settings, update=update)
    before = read_outputs(str(path), Names()) if path.exists() else []
    side = made_by(settings, table.folder)
    if side is None and "baseline_prompt" in settings:
        side = Prompted(read_prompt(settings["baseline_prompt"]))
    if side is None:
        raise ConfigError("There is nothing to run.", hint="Give --app or --prompt, or set one of them in [check].")
    plan = Plan(baseline=side, candidates={}, cases=cases_for(settings))
    check_prompts(plan.prompts, plan.cases, settings)
    shown, _ = preview(plan)
    pair(shown, {"candidate": shown}, common_only=False)  # only to see that every row can be judged
    with Models(settings, task.judge, task.config) as models:
        backend = models.ready(application=bool(plan.prompts), judge=bool(principles))
        wanted = {key_of(row, number) for number, row in enumerate(plan.cases, start=1)}
        made, _ = outputs(plan, wanted, settings, backend=backend, again=task.again, say=say)
        ids = [n if row.get("id") is None else row["id"] for n, row in enumerate(plan.cases, start=1)]
        rows = [{**row, "id": own} for row, own in zip(made, ids, strict=True)]
        summary = _compared(str(path), rows, before)
        if principles:
            _judge(rows, before, principles, models.judge(), summary, say)
    rows.sort(key=lambda row: _natural(str(row["id"])))
    _write(path, rows)
    return summary


def _target(settings: Mapping[str, Any], *, update: bool) -> Path:
    if "baseline" not in settings:
        raise ConfigError("Name the file to write with -o, or as baseline in [check].")
    path = Path(settings["baseline"]).expanduser()
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        raise ConfigError(f"A baseline is a file of JSON lines, so that its changes can be read: not {path}.")
    if path.resolve() in {Path(settings[name]).resolve() for name in ("dataset", "prompt") if name in settings}:
        raise ConfigError(f"-o {path} would replace a file that is read.")
    writable(path, "-o")
    if path.exists() and not update:
        raise ConfigError(f"{path} exists.", hint="Give --update to bring it up to date.")
    return path


def _compared(path: str, rows: Sequence[Cells], before: Sequence[Cells]) -> Summary:
    old = {key_of(row, number): row for number, row in enumerate(before, start=1)}
    summary = Summary(path=path, cases=len(rows))
    for row in rows:
        key = str(row["id"])
        if key not in old:
            summary.new.append(key)
        elif not _alike(row, old[key]):
            summary.changed.append(key)
    summary.removed = sorted(old.keys() - {str(row["id"]) for row in rows}, key=_natural)
    return summary


def _alike(row: Cells, old: Cells) -> bool:
    return all(row.get(name) == old.get(name) for name in _ABOUT_CASE)


def _judge(
    rows: Sequence[Cells],
    before: Sequence[Cells],
    principles: Sequence[Principle],
    judge: BaseJudge,
    summary: Summary,
    say: Say,
) -> None:
    """Put each row's verdicts into it: the one from before where nothing that matters has changed."""
    old = {key_of(row, number): row for number, row in enumerate(before, start=1)}
    todo: list[tuple[Cells, str, str, Case]] = []
    for principle in principles:
        name = Requirement(principle=principle, margin=1.0).name
        by = digest([judge.fingerprint(), principle.text])[:12]
        for row in rows:
            verdicts = row.setdefault(VERDICTS, {})
            kept = _kept(old.get(str(row["id"])), row, name, by)
            verdicts[name] = kept
            if kept is None:
                responses = {"response": row["response"]}
                case = Case(
                    principle, row["prompt"], responses, row.get("reference"), row.get("context"), str(row["id"])
                )
                todo.append((row, name, by, case))
    if todo:
        say(f"Judging {len(todo)} outputs with {judge.model}.")
    with steps_bar("judging") as told:
        for done, (index, outcome) in enumerate(judge.judge_stream([case for *_, case in todo]), start=1):
            row, name, by, _ = todo[index]
            if isinstance(outcome, JudgeFailure):
                summary.failures.append(outcome)
            else:
                score = round(outcome.scores["response"], 3)
                row[VERDICTS][name] = {"score": score, "record_id": " ".join(outcome.record_ids) or None, "judge": by}
            told(done, len(todo))
    summary.judged = len(todo)
    for name in [*rows[0][VERDICTS]]:
        summary.means[name] = (_mean(rows, name), _mean(before, name))
    for row in rows:
        row[VERDICTS] = {name: verdict for name, verdict in row[VERDICTS].items() if verdict is not None}


def _kept(old: Cells | None, row: Cells, name: str, by: str) -> Cells | None:
    verdict = None if old is None or not isinstance(old.get(VERDICTS), dict) else old[VERDICTS].get(name)
    if old is None or not isinstance(verdict, dict) or verdict.get("judge") != by or not _alike(row, old):
        return None
    return verdict if isinstance(verdict.get("score"), int | float) else None


def _mean(rows: Sequence[Cells], name: str) -> float | None:
    verdicts = [row[VERDICTS].get(name) for row in rows if isinstance(row.get(VERDICTS), dict)]
    scores = [verdict["score"] for verdict in verdicts if isinstance(verdict, dict) and "score" in verdict]
    return round(fmean(scores), 3) if scores else None


def _natural(text: str) -> list[tuple[int, int, str]]:
    """A key that sorts q2 before q10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]


def _write(path: Path, rows: Sequence[Cells]) -> None:
    """Write all of the file or nothing of it."""
    order = (*KNOWN, VERDICTS)
    lines = (
        json.dumps({name: row[name] for name in order if name in row}, ensure_ascii=False, default=str) for row in rows
    )
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise ConfigError(f"Cannot write {path}: {error.strerror or error}.") from error
