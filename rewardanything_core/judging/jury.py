"""The jury: several judges, one verdict."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Unpack

from rewardanything_core.cases import Case
from rewardanything_core.concurrency import background_loop
from rewardanything_core.errors import ConfigError, RewardAnythingError, error_from_failure
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.options import JudgeOptions
from rewardanything_core.readouts.aggregation import aggregate
from rewardanything_core.types import JudgeFailure, Usage, Verdict

_log = logging.getLogger("rewardanything_core")


class Jury(BaseJudge):
    """Several judges who judge each case side by side and give one verdict. It can stand wherever a `Judge` can.

    The scores are the weighted mean of the jurors', the ranking follows them and breaks ties by weighted Borda count;
    ``spread`` and ``agreement`` are those between the jurors, and ``Verdict.jurors`` holds what each of them said. No
    juror's scores are stretched or moved: where jurors use the scale differently, `fit_weights` allows for it.

    Each juror has the store, the cache and the options it has alone, so a jury judges nothing anew that one of its
    members has judged before. The jury itself stores nothing: its verdict follows from theirs.

    Args:
        jurors: Judges, or juries; one or more, none of them twice.
        weights: What each juror's word counts, above 0. None: all the same.
        min_jurors: How many must reach a verdict for there to be one. None: all. Fewer make a verdict of those that
            did, which holds the failures of the others in ``Verdict.jurors``.

    Raises:
        ConfigError: the arguments do not fit each other.
    """

    def __init__(
        self, jurors: Sequence[BaseJudge], *, weights: Sequence[float] | None = None, min_jurors: int | None = None
    ) -> None:
        self.jurors = tuple(jurors)
        for juror in self.jurors:
            if not isinstance(juror, BaseJudge):
                raise ConfigError(f"A juror must be a Judge or Jury, not {type(juror).__name__}.")
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
        self._headings = [
            f"[juror {place} of {len(self.jurors)}: {juror.model}]" for place, juror in enumerate(self.jurors, start=1)
        ]

    async def _judge_case(self, case: Case) -> Verdict:
        """The jurors' verdict of one case.

        A juror who fails does not stop the others: what they say is stored, and not paid for again.

        Raises:
            RewardAnythingError: fewer than ``min_jurors`` reached a verdict; of the class of the first one's error.
        """
        outcomes = await background_loop.gather(_vote(juror, case) for juror in self.jurors)
        votes = [vote for vote, _ in outcomes]
        present = [place for place, vote in enumerate(votes) if isinstance(vote, Verdict)]
        if len(present) < self.min_jurors:
            error = next(error for _, error in outcomes if error is not None)
            raise self._failed(case, votes, error)
        verdicts = [vote for vote in votes if isinstance(vote, Verdict)]
        consensus = aggregate(
            [verdict.scores for verdict in verdicts],
            [verdict.ranking for verdict in verdicts],
            [self.weights[place] for place in present],
        )
        return Verdict(
            scores=consensus.scores,
            ranking=consensus.ranking,
            reasoning=self._by_juror(votes, lambda verdict: verdict.reasoning),
            raw_output=self._by_juror(votes, lambda verdict: verdict.raw_output),
            spread=consensus.spread,
            agreement=consensus.agreement,
            usage=sum((vote.usage for vote in votes), Usage()),
            cached=all(isinstance(vote, Verdict) and vote.cached for vote in votes),
            case_id=case.id,
            model=self.model,
            orders=[order for verdict in verdicts for order in verdict.orders],
            pass_scores=[scores for verdict in verdicts for scores in verdict.pass_scores],
            jurors=votes,
        )

    def fit_weights(
        self, cases: Iterable[Case | Mapping[str, Any]], labels: Iterable[Mapping[str, float] | float]
    ) -> Jury:
        """A jury of the same jurors with the weights that come closest to human labels.

        The weights are those of least squares, none below 0, of the labels on the jurors' scores, both taken from
        their means within each case; cases with a single label are compared with each other, under each principle. So
        neither a juror's nor a person's severity plays a part, and a juror who spreads scores too widely gets less
        weight. A juror whose word adds nothing to that of the others is left out.

        With few cases equal weights are often as good. Look at the new jury's agreement on cases it was not fitted to.

        Args:
            cases: Cases; they are judged, or taken from the store. Those that some juror fails on are left out.
            labels: For each case label -> a number from people, higher is better, on any scale, for all its responses
                or some of them; or a number, for a case of one response.

        Raises:
            ConfigError: cases and labels do not fit each other, or no juror goes along with the labels.
        """
        from scipy.optimize import nnls

        rows = self._compared([Case.of(case) for case in cases], list(labels))
        if not rows:
            raise ConfigError("There is nothing to fit weights to: no two responses that can be compared have labels.")
        weights, _ = nnls([scores for scores, _ in rows], [label for _, label in rows])
        if not weights.sum():
            raise ConfigError("No juror goes along with the labels; are they higher for what is better?")
        kept = [place for place, weight in enumerate(weights) if weight > 1e-9 * weights.sum()]
        return Jury(
            [self.jurors[place] for place in kept],
            weights=[float(weights[place] / weights.sum()) for place in kept],
            min_jurors=len(kept) if self.min_jurors == len(self.jurors) else min(self.min_jurors, len(kept)),
        )

    def _compared(
        self, cases: list[Case], labels: list[Mapping[str, float] | float]
    ) -> list[tuple[list[float], float]]:
        """The jurors' scores and the label of each labelled response, as distances from the means of its group."""
        if len(cases) != len(labels):
            raise ConfigError(f"There are {len(cases)} cases and {len(labels)} labels; each case needs its own.")
        told = [_labels_of(number, *pair) for number, pair in enumerate(zip(cases, labels, strict=True), start=1)]
        groups: dict[object, list[list[float]]] = {}
        left_out = 0
        for number, outcome in enumerate(self.judge_batch(cases)):
            votes = (outcome.jurors if isinstance(outcome, Verdict) else None) or []
            verdicts = [vote for vote in votes if isinstance(vote, Verdict)]
            if len(verdicts) < len(self.jurors):
                left_out += 1
                continue
            group = groups.setdefault(number if len(told[number]) > 1 else cases[number].principle.text, [])
            for label, value in told[number].items():
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

    # --- about itself

    @property
    def model(self) -> str:
        """The jurors' models: ``jury(one, other)``."""
        return f"jury({', '.join(juror.model for juror in self.jurors)})"

    @property
    def usage(self) -> Usage:
        """All that the jurors have asked of their models so far, wherever they were asked."""
        return sum((juror.usage for juror in self.jurors), Usage())

    def fingerprint(self) -> dict[str, Any]:
        """All beside the case that can change a verdict, as plain JSON; two with the same one judge alike."""
        return {
            "jurors": [juror.fingerprint() for juror in self.jurors],
            "weights": list(self.weights),
            "min_jurors": self.min_jurors,
        }

    def with_options(self, **options: Unpack[JudgeOptions]) -> Jury:
        """The jury with some options of all its jurors changed; no model is loaded again."""
        return self._of(juror.with_options(**options) for juror in self.jurors)

    def with_balanced_passes(self, number: int) -> Jury:
        """The jury with every juror's passes raised to a multiple of ``number``."""
        return self._of(juror.with_balanced_passes(number) for juror in self.jurors)

    def resampled(self) -> Jury:
        """The jury with every juror asked afresh."""
        return self._of(juror.resampled() for juror in self.jurors)

    def spec(self) -> dict[str, Any]:
        """This jury as plain JSON, to be made again by ``load_judge(spec)`` in another process; it holds no key."""
        return {
            "jurors": [juror.spec() for juror in self.jurors],
            "weights": list(self.weights),
            "min_jurors": self.min_jurors,
        }

    def close(self) -> None:
        """Close all jurors."""
        for juror in self.jurors:
            juror.close()

    def __repr__(self) -> str:
        return f"Jury({list(self.jurors)!r}, weights={list(self.weights)}, min_jurors={self.min_jurors})"

    def _of(self, jurors: Iterable[BaseJudge]) -> Jury:
        return Jury(list(jurors), weights=self.weights, min_jurors=self.min_jurors)

    # --- telling

    def _by_juror(self, votes: Sequence[Verdict | JudgeFailure], text_of: Callable[[Verdict], str]) -> str:
        """What each juror wrote, under a heading with its model; a failure is told there too."""
        told = []
        for heading, vote in zip(self._headings, votes, strict=True):
            text = text_of(vote) if isinstance(vote, Verdict) else f"No verdict: {vote.error_type}: {vote.message}"
            if text:
                told.append(f"{heading}\n{text}")
        return "\n\n".join(told)

    def _failed(
        self, case: Case, votes: Sequence[Verdict | JudgeFailure], error: RewardAnythingError
    ) -> RewardAnythingError:
        """A first juror's error, told as that of the jury. Others may wait for the same error, so it is not changed."""
        failures = [vote for vote in votes if isinstance(vote, JudgeFailure)]
        told = " ".join(
            f"{heading} {vote.error_type}: {vote.message}"
            for heading, vote in zip(self._headings, votes, strict=True)
            if isinstance(vote, JudgeFailure)
        )
        reached = len(votes) - len(failures)
        failure = JudgeFailure(
            case_id=case.id,
            error_type=failures[0].error_type,
            message=f"{reached} of {len(votes)} jurors reached a verdict, and {self.min_jurors} must. {told}",
            raw_output=failures[0].raw_output,
            attempts=failures[0].attempts,
            usage=sum((vote.usage for vote in votes if not isinstance(vote, Verdict) or not vote.cached), Usage()),
            record_id=failures[0].record_id,
        )
        ours = error_from_failure(failure)
        ours.__dict__ = {**error.__dict__, **ours.__dict__}
        ours.__cause__ = error
        return ours


async def _vote(juror: BaseJudge, case: Case) -> tuple[Verdict | JudgeFailure, RewardAnythingError | None]:
    try:
        return await juror._judge_case(case), None
    except RewardAnythingError as error:
        if error.failure is None:  # not the juror's word on this case: a store that cannot be read, say
            raise
        return dataclasses.replace(error.failure, case_id=case.id), error


def _labels_of(number: int, case: Case, given: Mapping[str, float] | float) -> dict[str, float]:
    """A case's labels, checked."""
    if not isinstance(given, Mapping):
        if len(case.labels) > 1:
            raise ConfigError(f"Case {number} has {len(case.labels)} responses; its labels must be a mapping.")
        given = {case.labels[0]: given}
    if unknown := set(given) - set(case.labels):
        raise ConfigError(f"The labels of case {number} name a response {min(unknown)!r}, which it has not.")
    if not all(math.isfinite(value) for value in given.values()):
        raise ConfigError(f"The labels of case {number} must be numbers, not {dict(given)}.")
    return dict(given)
