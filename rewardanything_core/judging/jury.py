"""The jury: several judges, one verdict."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from rewardanything_core.backends.base import Backend
from rewardanything_core.cases import Case
from rewardanything_core.concurrency import background_loop
from rewardanything_core.errors import (
    BatchPendingError,
    BudgetExceededError,
    ConfigError,
    RewardAnythingError,
    error_from_failure,
)
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.judging.judge import Judge
from rewardanything_core.judging.members import CompositeJudge, as_judge, outcome_of
from rewardanything_core.judging.observers import Observer, as_observer
from rewardanything_core.judging.rubrics import combine_criteria
from rewardanything_core.judging.streaming import stream_within_budget
from rewardanything_core.principles import Rubric
from rewardanything_core.readouts.aggregation import aggregate, kendalls_w_of_scores
from rewardanything_core.types import JudgeFailure, Usage, Verdict

if TYPE_CHECKING:
    from rewardanything_core.judging.cascade import Cascade

_log = logging.getLogger("rewardanything_core")

_NOT_YET = (BatchPendingError, BudgetExceededError)
"""Errors of a juror that has not failed: it will judge the case later."""


class Jury(CompositeJudge):
    """Several judges that judge each case concurrently and give one verdict. Accepted wherever a `Judge` is.

    Scores are the weighted mean of the jurors' scores. The ranking follows them and breaks ties by weighted Borda
    count. ``spread`` and ``agreement`` are those between jurors, and ``Verdict.jurors`` holds each juror's outcome. No
    juror's scores are rescaled; where jurors use the scale differently, `fit_weights` compensates for it.

    Each juror keeps its own store, cache and options, so a jury does not pay for what a juror has judged before. The
    jury itself stores nothing, since its verdict follows from theirs.

    Args:
        jurors: Judges, juries, or model strings for `resolve_judge`; one or more, each only once.
        weights: Weight of each juror, above 0. None: all equal.
        min_jurors: How many jurors must reach a verdict. None: all. If fewer fail, the verdict is that of the others,
            and ``Verdict.jurors`` holds the failures.
        on_verdict: Observers of the jury's outcomes; see `JudgeOptions.on_verdict`.

    Raises:
        ConfigError: the arguments contradict each other, or a string names no model.
        AuthenticationError: the key of a model string's provider is missing.
        MissingExtraError: a model string needs a package that is not installed.
    """

    def __init__(
        self,
        jurors: Sequence[BaseJudge | str],
        *,
        weights: Sequence[float] | None = None,
        min_jurors: int | None = None,
        on_verdict: Sequence[Observer | str] = (),
    ) -> None:
        self.observers = tuple(map(as_observer, on_verdict))
        if isinstance(jurors, str):
            raise ConfigError(f"jurors must be a list, such as [{jurors!r}, ...], not a string.")
        self.jurors = tuple(as_judge(juror, "a juror") for juror in jurors)
        if not self.jurors or len({id(juror) for juror in self.jurors}) < len(self.jurors):
            raise ConfigError("A jury needs one juror or more, each of them once; to count one more, give weights.")
        if weights is not None and len(weights) != len(self.jurors):
            raise ConfigError(f"There are {len(self.jurors)} jurors and {len(weights)} weights.")
        if weights is not None and not all(0 < weight < math.inf for weight in weights):
            raise ConfigError(f"The weights of jurors must be numbers above 0, not {list(weights)}.")
        if min_jurors is not None and not 1 <= min_jurors <= len(self.jurors):
            raise ConfigError(f"min_jurors must be within 1..{len(self.jurors)}, not {min_jurors!r}.")
        self.weights = tuple(map(float, weights)) if weights is not None else (1.0,) * len(self.jurors)
        self.min_jurors = len(self.jurors) if min_jurors is None else min_jurors

    async def _judge_case(self, case: Case) -> Verdict:
        """The verdict of all jurors on one case.

        A juror that fails does not stop the others: their verdicts are stored and not paid for again.

        Raises:
            RewardAnythingError: fewer than ``min_jurors`` reached a verdict. Its class is that of the first failure.
        """
        results = await background_loop.gather(outcome_of(juror, case) for juror in self.jurors)
        outcomes = [outcome for outcome, _ in results]
        present = [place for place, outcome in enumerate(outcomes) if isinstance(outcome, Verdict)]
        errors = [error for _, error in results if error is not None]
        # The others' verdicts are stored, and the case is judged by all once there is a budget again.
        stopped = next((error for error in errors if isinstance(error, _NOT_YET)), None)
        if len(present) < self.min_jurors or stopped is not None:
            raise self._failed(case, outcomes, stopped or errors[0])
        verdicts = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
        consensus = aggregate(
            [verdict.scores for verdict in verdicts],
            [verdict.ranking for verdict in verdicts],
            [self.weights[place] for place in present],
        )
        verdict = Verdict(
            scores=consensus.scores,
            ranking=consensus.ranking,
            spread=consensus.spread,
            agreement=consensus.agreement,
            usage=sum((outcome.usage for outcome in outcomes), Usage()),
            cached=all(isinstance(outcome, Verdict) and outcome.cached for outcome in outcomes),
            case_id=case.id,
            model=self.model,
            orders=[order for verdict in verdicts for order in verdict.orders],
            pass_scores=[scores for verdict in verdicts for scores in verdict.pass_scores],
            jurors=outcomes,
        )
        if not isinstance(case.principle, Rubric):
            return verdict
        criteria = {
            name: self._criterion_verdict([verdict.criteria[name] for verdict in verdicts], present, case)
            for name in case.principle.criteria
        }
        return combine_criteria(dataclasses.replace(verdict, criteria=criteria), case.principle)

    def _criterion_verdict(self, verdicts: list[Verdict], present: Sequence[int], case: Case) -> Verdict:
        """The verdict on one criterion; ``present`` has the places of the jurors that reached one."""
        scores = [verdict.scores for verdict in verdicts]
        consensus = aggregate(
            scores, [verdict.ranking for verdict in verdicts], [self.weights[place] for place in present]
        )
        return Verdict(
            scores=consensus.scores,
            ranking=consensus.ranking,
            spread=consensus.spread,
            agreement=kendalls_w_of_scores(scores),
            case_id=case.id,
            model=self.model,
            orders=[order for verdict in verdicts for order in verdict.orders],
            pass_scores=[scores for verdict in verdicts for scores in verdict.pass_scores],
            jurors=list(verdicts),
        )

    def fit_weights(
        self, cases: Iterable[Case | Mapping[str, Any]], labels: Iterable[Mapping[str, float] | float]
    ) -> Jury:
        """A jury of the same jurors with weights fitted to human labels.

        Non-negative least squares of the labels on the jurors' scores, both centred within each case; cases with a
        single label are centred within their principle. The severity of a juror or annotator therefore has no effect,
        and a juror that spreads its scores too widely gets less weight. A juror that adds nothing to the others is
        left out.

        With few cases, equal weights are often as good. Check the new jury's agreement on cases it was not fitted to.

        Args:
            cases: Cases; they are judged, or read from the store. Cases that a juror fails on are left out.
            labels: For each case, response label -> human score on any scale, higher is better, for all or some of its
                responses; or one number for a case with one response.

        Raises:
            ConfigError: cases and labels do not match, or no juror agrees with the labels.
            BudgetExceededError: the budget is used up.
        """
        from scipy.optimize import nnls

        rows = self._centred_rows([Case.of(case) for case in cases], list(labels))
        if not rows:
            raise ConfigError("Weights cannot be fitted: no two comparable responses have labels.")
        weights, _ = nnls([scores for scores, _ in rows], [label for _, label in rows])
        if not weights.sum():
            raise ConfigError("No juror agrees with the labels. Are labels higher for better responses?")
        kept = [place for place, weight in enumerate(weights) if weight > 1e-9 * weights.sum()]
        return Jury(
            [self.jurors[place] for place in kept],
            weights=[float(weights[place] / weights.sum()) for place in kept],
            min_jurors=len(kept) if self.min_jurors == len(self.jurors) else min(self.min_jurors, len(kept)),
        )

    def _centred_rows(
        self, cases: list[Case], labels: list[Mapping[str, float] | float]
    ) -> list[tuple[list[float], float]]:
        """The jurors' scores and the label of each labelled response, centred within its group."""
        if len(cases) != len(labels):
            raise ConfigError(f"There are {len(cases)} cases and {len(labels)} labels; each case needs its own.")
        labels_by_case = [
            _labels_of(number, *pair) for number, pair in enumerate(zip(cases, labels, strict=True), start=1)
        ]
        groups: dict[object, list[list[float]]] = {}
        left_out = 0
        for number, outcome in stream_within_budget(self, cases, ordered=True):
            juror_outcomes = (outcome.jurors if isinstance(outcome, Verdict) else None) or []
            verdicts = [juror for juror in juror_outcomes if isinstance(juror, Verdict)]
            if len(verdicts) < len(self.jurors):
                left_out += 1
                continue
            group = groups.setdefault(number if len(labels_by_case[number]) > 1 else cases[number].principle.text, [])
            for label, value in labels_by_case[number].items():
                group.append([*(verdict.scores[label] for verdict in verdicts), value])
        if left_out:
            _log.warning("Weights were fitted without %d of %d cases: a juror failed.", left_out, len(cases))
        rows = []
        for group in groups.values():
            means = [math.fsum(column) / len(group) for column in zip(*group, strict=True)]
            for row in group if len(group) > 1 else ():
                *scores, label_left = (value - mean for value, mean in zip(row, means, strict=True))
                rows.append((scores, label_left))
        return rows

    # --- properties and copies

    @property
    def members(self) -> Sequence[BaseJudge]:
        """The jurors."""
        return self.jurors

    @property
    def model(self) -> str:
        """The jurors' models: ``jury(one, other)``."""
        return f"jury({', '.join(juror.model for juror in self.jurors)})"

    def fingerprint(self) -> dict[str, Any]:
        """Everything except the case that affects a verdict, as plain JSON. Equal fingerprints judge alike."""
        return {
            "jurors": [juror.fingerprint() for juror in self.jurors],
            "weights": list(self.weights),
            "min_jurors": self.min_jurors,
        }

    def spec(self) -> dict[str, Any]:
        """This jury as plain JSON, for `from_spec` or ``load_judge(spec)`` in another process. Never holds a key."""
        return {
            "jurors": [juror.spec() for juror in self.jurors],
            "weights": list(self.weights),
            "min_jurors": self.min_jurors,
            **self._limits_in_spec(),
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], *, backends: dict[str, Backend] | None = None) -> Self:
        """The jury that `spec` describes; jurors with the same model share it.

        Args:
            spec: What `spec` returned.
            backends: See `Judge.from_spec`.

        Raises:
            ConfigError: it is not the spec of a jury.
        """
        backends = {} if backends is None else backends
        try:
            jurors = [judge_from_spec(juror, backends=backends) for juror in spec["jurors"]]
            jury = cls(jurors, weights=spec["weights"], min_jurors=spec["min_jurors"])
            return jury._with_limits_of(spec)
        except (KeyError, TypeError) as error:
            raise ConfigError(f"This is not the spec of a jury: {error!r}.") from error

    def __repr__(self) -> str:
        return f"Jury({list(self.jurors)!r}, weights={list(self.weights)}, min_jurors={self.min_jurors})"

    def _of(self, members: Sequence[BaseJudge]) -> Self:
        return type(self)(members, weights=self.weights, min_jurors=self.min_jurors, on_verdict=self.observers)

    def _failed(
        self, case: Case, outcomes: Sequence[Verdict | JudgeFailure], error: RewardAnythingError
    ) -> RewardAnythingError:
        """The jury's own error, of the class of its first failed juror's.

        It is a new exception, since other callers may be waiting for the juror's.
        """
        failures = [outcome for outcome in outcomes if isinstance(outcome, JudgeFailure)]
        failures.sort(key=lambda failure: failure.error_type != type(error).__name__)
        details = " ".join(
            f"[juror {place} of {len(outcomes)}: {outcome.model}] {outcome.error_type}: {outcome.message}"
            for place, outcome in enumerate(outcomes, start=1)
            if isinstance(outcome, JudgeFailure)
        )
        reached = len(outcomes) - len(failures)
        message = f"{reached} of {len(outcomes)} jurors reached a verdict, and {self.min_jurors} must. {details}"
        if isinstance(error, BudgetExceededError):  # all jurors that share the budget say the same
            message = failures[0].message
        not_cached = [o for o in outcomes if not isinstance(o, Verdict) or not o.cached]
        failure = JudgeFailure(
            case_id=case.id,
            error_type=failures[0].error_type,
            message=message,
            raw_output=failures[0].raw_output,
            attempts=failures[0].attempts,
            usage=sum((outcome.usage for outcome in not_cached), Usage()),
            record_id=failures[0].record_id,
            model=self.model,
        )
        jury_error = error_from_failure(failure)
        jury_error.__dict__ = {**error.__dict__, **jury_error.__dict__}
        jury_error.__cause__ = error
        return jury_error


def judge_from_spec(spec: Mapping[str, Any], *, backends: dict[str, Backend] | None = None) -> Judge | Jury | Cascade:
    """The judge, jury or cascade that `BaseJudge.spec` described.

    Args:
        spec: The spec.
        backends: See `Judge.from_spec`.

    Raises:
        ConfigError: it is none of them.
    """
    if not isinstance(spec, Mapping):
        raise ConfigError(f"This is not the spec of a judge: {spec!r}.")
    if "stages" in spec:
        from rewardanything_core import Cascade  # whose module imports this one, so it is looked up at run time

        return Cascade.from_spec(spec, backends=backends)
    kind: type[Judge] | type[Jury] = Jury if "jurors" in spec else Judge
    return kind.from_spec(spec, backends=backends)


def _labels_of(number: int, case: Case, given: Mapping[str, float] | float) -> dict[str, float]:
    """The labels of one case, validated."""
    if not isinstance(given, Mapping):
        if len(case.labels) > 1:
            raise ConfigError(f"Case {number} has {len(case.labels)} responses; its labels must be a mapping.")
        given = {case.labels[0]: given}
    if unknown := set(given) - set(case.labels):
        raise ConfigError(f"The labels of case {number} name a response {min(unknown)!r}, which it does not have.")
    if not all(math.isfinite(value) for value in given.values()):
        raise ConfigError(f"The labels of case {number} must be numbers, not {dict(given)}.")
    return dict(given)
