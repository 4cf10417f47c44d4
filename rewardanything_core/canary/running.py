"""Recording a canary, and judging its cases again."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

from rewardanything_core.bench.items import BenchItem
from rewardanything_core.canary.drift import DriftTest, drift_tests, smallest_p_value
from rewardanything_core.canary.recorded import Canary, CanaryCase, Scores, entries
from rewardanything_core.errors import ConfigError, error_from_failure
from rewardanything_core.gate.reports.wording import counted
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.judging.streaming import stream_within_budget
from rewardanything_core.types import JudgeFailure, Usage, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CanaryOutcome = Literal["stable", "moved", "inconclusive"]

EXIT_CODES: dict[CanaryOutcome, int] = {"stable": 0, "moved": 1, "inconclusive": 3}

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class CaseChange:
    """A response and how its score changed."""

    id: str
    """The case's id."""

    label: str
    """The response's label."""

    recorded: float
    """Its mean score over the recorded runs, 1..5."""

    now: float
    """Its score in this run."""


@dataclass(frozen=True, kw_only=True)
class CanaryReport:
    """Whether the judge moved."""

    outcome: CanaryOutcome
    """``moved`` if a test found a difference, ``stable`` if none did, ``inconclusive`` if too many judgements failed or
    there are too few cases to find anything."""

    reason: str
    """The outcome in a sentence."""

    tests: tuple[DriftTest, ...]
    """The tests. Empty if too many judgements failed."""

    changed: tuple[CaseChange, ...]
    """The responses whose score is outside the range of the recorded runs, the largest change first."""

    settings: tuple[str, ...]
    """Settings of the judge that differ from the recorded ones, and so may be why it moved."""

    cases: int
    """Number of cases compared."""

    groups: int
    """Number of independent prompts among them."""

    recorded_runs: int
    """Number of recorded runs."""

    recorded: str
    """When the canary was recorded."""

    model: str
    """The judge model's name in this run."""

    failures: tuple[JudgeFailure, ...]
    """The judgements of this run that failed."""

    usage: Usage
    """What this run took."""

    @property
    def exit_code(self) -> int:
        """0 stable, 1 moved, 3 inconclusive."""
        return EXIT_CODES[self.outcome]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types."""
        return dataclasses.asdict(self)


def record_canary(
    items: Sequence[BenchItem],
    judge: BaseJudge,
    *,
    runs: int = 3,
    max_failures: float = 0.05,
    progress: Progress | None = None,
) -> Canary:
    """Judge cases several times, without the verdict store, and freeze them with the scores.

    Args:
        items: The cases, labelled by people or not; see `rewardanything_core.bench.labels.read_labels`.
        judge: The judge.
        runs: How often to judge, 1 or more. With one run, changes beyond the judge's own noise cannot be tested.
        max_failures: Share of cases, 0..1, that may fail in some run; they are left out.
        progress: Called with ``(judgements done, judgements planned)``.

    Raises:
        ConfigError: an argument or a case is invalid, or the judge cannot be described for another process.
        RewardAnythingError: more cases failed; the error is that of the first one.
    """
    if runs < 1:
        raise ConfigError(f"runs must be 1 or more, not {runs!r}.")
    _check_share(max_failures)
    cases = [CanaryCase.of(item) for item in items]
    if not cases:
        raise ConfigError("A canary needs at least one case.")
    fresh, spec = _without_store(judge), judge.spec()  # before anything is paid for, since a judge may have no spec
    found: list[Scores] = []
    failed: dict[str, JudgeFailure] = {}
    for number in range(runs):
        scores, failures = _judge(fresh, cases, progress, done=number * len(cases), planned=runs * len(cases))
        found.append(scores)
        failed |= {str(failure.case_id): failure for failure in failures}
        if len(failed) > max_failures * len(cases):
            raise error_from_failure(next(iter(failed.values())))
    kept = tuple(each for each in cases if each.case.id not in failed)
    return Canary(
        recorded=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        model=judge.model,
        judge=spec,
        fingerprint=_plain(judge.fingerprint()),
        cases=kept,
        runs=tuple({str(each.case.id): scores[str(each.case.id)] for each in kept} for scores in found),
    )


def run_canary(
    canary: Canary,
    judge: BaseJudge,
    *,
    alpha: float = 0.05,
    max_failures: float = 0.05,
    progress: Progress | None = None,
) -> CanaryReport:
    """Judge the cases again, without the verdict store, and test whether the judge moved.

    Args:
        canary: The canary.
        judge: The judge as it is now.
        alpha: The probability of an alarm although the judge has not changed, in (0, 0.5).
        max_failures: Share of cases, 0..1, that may fail.
        progress: Called with ``(judgements done, judgements planned)``.

    Raises:
        ConfigError: an argument is invalid.
    """
    if not 0 < alpha < 0.5:
        raise ConfigError(f"alpha must be above 0 and below 0.5, not {alpha!r}.")
    _check_share(max_failures)
    fresh = _without_store(judge)
    scores, failures = _judge(fresh, canary.cases, progress, done=0, planned=len(canary.cases))
    cases = [each for each in canary.cases if each.case.id in scores]
    groups = {group: place for place, group in enumerate(dict.fromkeys(each.group for each in cases))}
    usable = bool(cases) and len(failures) <= max_failures * len(canary.cases)
    tests = _tests([*canary.runs, scores], cases, groups, alpha=alpha) if usable else ()
    changed = _changes(canary.runs, scores, cases)
    outcome, reason = _conclusion(
        tests, len(failures), len(canary.cases), len(canary.runs) + 1, len(groups), alpha, changed=len(changed)
    )
    return CanaryReport(
        outcome=outcome,
        reason=reason,
        tests=tests,
        changed=changed,
        settings=_differences(canary.fingerprint, _plain(judge.fingerprint())),
        cases=len(cases),
        groups=len(groups),
        recorded_runs=len(canary.runs),
        recorded=canary.recorded,
        model=judge.model,
        failures=tuple(failures),
        usage=fresh.usage,
    )


def _without_store(judge: BaseJudge) -> BaseJudge:
    """The judge with neither stored verdicts nor a sampler's other settings changed."""
    return judge.with_options(cache="off")


def _judge(
    judge: BaseJudge, cases: Sequence[CanaryCase], progress: Progress | None, *, done: int, planned: int
) -> tuple[Scores, list[JudgeFailure]]:
    scores: Scores = {}
    failures = []
    for index, outcome in stream_within_budget(judge, [each.case for each in cases]):
        if isinstance(outcome, Verdict):
            scores[str(cases[index].case.id)] = {label: float(score) for label, score in outcome.scores.items()}
        else:
            failures.append(outcome)
        done += 1
        if progress:
            progress(done, planned)
    return scores, failures


def _tests(
    runs: Sequence[Scores], cases: Sequence[CanaryCase], groups: dict[str, int], *, alpha: float
) -> tuple[DriftTest, ...]:
    import numpy as np

    responses = entries(cases)
    scores = np.array([[run[str(each.case.id)][label] for each, label in responses] for run in runs])
    return drift_tests(scores, np.array([groups[each.group] for each, _ in responses]), _pairs(cases), alpha=alpha)


def _pairs(cases: Sequence[CanaryCase]) -> NDArray[np.int64]:
    """The places of responses of which people prefer the first, within a case or, by their scores, between cases."""
    import numpy as np

    places = {(each.case.id, label): place for place, (each, label) in enumerate(entries(cases))}
    found = [(places[each.case.id, a], places[each.case.id, b]) for each in cases for a, b in each.pairs]
    alone: dict[str, list[tuple[float, int]]] = {}
    for each in cases:
        if each.human and len(each.case.responses) == 1:
            ((label, score),) = each.human.items()
            alone.setdefault(each.case.principle.text, []).append((score, places[each.case.id, label]))
    for rated in alone.values():
        found += [(max(a, b)[1], min(a, b)[1]) for a, b in combinations(rated, 2) if a[0] != b[0]]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _conclusion(
    tests: Sequence[DriftTest], failed: int, planned: int, runs: int, groups: int, alpha: float, *, changed: int
) -> tuple[CanaryOutcome, str]:
    if not tests:
        return "inconclusive", f"{failed} of {planned} judgements failed."
    if moved := [test for test in tests if test.moved]:
        return "moved", "The judge moved: " + "; ".join(map(in_words, moved)) + "."
    if smallest_p_value(runs, groups, len(tests)) > alpha:
        return "inconclusive", (
            f"{counted(groups, 'independent prompt')} and {counted(runs - 1, 'recorded run')} are too few to find any "
            "change; add cases."
        )
    some = f" {counted(changed, 'score')} changed, no more than the judge's own variation explains." if changed else ""
    return "stable", f"No change was found in {counted(groups, 'prompt')}.{some}"


def in_words(test: DriftTest) -> str:
    """A test in words.

    Args:
        test: The test.
    """
    what = {
        "shift": "the mean score",
        "changes": "the mean distance of scores from those of all runs",
        "spread": "the standard deviation of scores",
        "agreement": "the share of pairs ordered as people order them",
    }[test.figure]
    return f"{what} was {test.recorded:.3f} and is {test.now:.3f} (p = {test.p_value:.2g})"


def _changes(runs: Sequence[Scores], now: Scores, cases: Sequence[CanaryCase]) -> tuple[CaseChange, ...]:
    changes = []
    for each, label in entries(cases):
        key = str(each.case.id)
        recorded = [run[key][label] for run in runs]
        if not min(recorded) - 1e-9 <= now[key][label] <= max(recorded) + 1e-9:
            mean = sum(recorded) / len(recorded)
            changes.append(CaseChange(id=key, label=label, recorded=mean, now=now[key][label]))
    return tuple(sorted(changes, key=lambda change: -abs(change.now - change.recorded)))


def _differences(before: Any, after: Any, name: str = "") -> tuple[str, ...]:
    """The names of settings that differ, such as ``backend.model``."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = dict.fromkeys([*before, *after])
        found = [_differences(before.get(key), after.get(key), f"{name}.{key}" if name else str(key)) for key in keys]
        return tuple(each for part in found for each in part)
    return () if before == after else (name,)


def _plain(value: Any) -> Any:
    """The value as it is after a round trip through JSON."""
    return json.loads(json.dumps(value, default=str))


def _check_share(max_failures: float) -> None:
    if not 0 <= max_failures <= 1:
        raise ConfigError(f"max_failures is a share of the judgements, 0..1, not {max_failures!r}.")
