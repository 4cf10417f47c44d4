"""`check`: are a candidate's answers worse than the baseline's under principles, by more than a margin?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from rewardanything_core.bench.items import BenchItem, ScoreRange
from rewardanything_core.errors import ConfigError
from rewardanything_core.gate.decision import DecisionMaker, pairs_of
from rewardanything_core.gate.labels import PeopleLabels
from rewardanything_core.gate.pairing import Row, pair
from rewardanything_core.gate.requirements import as_requirements, with_criteria
from rewardanything_core.gate.results import AUTO, CheckReport, Requirement
from rewardanything_core.gate.summary import conclude, summarize
from rewardanything_core.gate.trial import Trial
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.loading import resolve_judge
from rewardanything_core.principles import Principle

Rows = Iterable[Row]

LOOKS = (0.25, 0.5, 0.75, 1.0)
"""The shares of the cases after which a sequential check looks at the results."""

_MIN_CASES_PER_LOOK = 5  # with fewer, the first look of a sequential check cannot show anything


def check(
    baseline: Rows,
    candidate: Rows | Mapping[str, Rows],
    principles: Principle | str | Requirement | Sequence[Principle | str | Requirement],
    *,
    judge: BaseJudge | str,
    margin: float = 0.3,
    min_score: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    max_failures: float = 0.05,
    sequential: bool = False,
    confirm: bool = True,
    controls: str | Sequence[str] = AUTO,
    common_only: bool = False,
    labels: Sequence[BenchItem] = (),
    scale: ScoreRange | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Compare candidates' answers with a baseline's under principles.

    The answers of all sides to an input are judged together and blind, each in every position equally often. The check
    passes if under every principle the mean score did not drop by as much as ``margin``. It finds a regression if there
    is a significant drop that may be that large and that is confirmed when everything is judged again in fresh orders,
    or if a ``min_score`` is missed. Everything else is inconclusive. A pass is also inconclusive if the judge does not
    notice answers that were degraded in the way in which the candidate's answers changed.
    ``benchmarks/gate_error_rates.py`` measures the error rates.

    Args:
        baseline: Rows with ``prompt``, ``response`` and, to join them by, ``id`` (otherwise their row number).
            Optional: ``context``, ``reference``, ``group`` (cases of one group count once; by default cases with the
            same prompt), ``min_score`` (1..5, the score that candidates must reach in this case) and ``worse`` (an
            answer known to be worse than the baseline's, to test the judge with).
        candidate: Rows of the candidate; or several candidates, name -> rows, which are judged in the same lists.
        principles: The principles to judge by. A `Requirement` has its own margin, min_score and controls. A rubric
            costs one judgement per case, and is compared as a whole, where its required criteria count, and under each
            criterion.
        judge: The judge, or a model string such as ``openai/gpt-5-mini``. Its ``passes`` are raised until every answer
            is in every position equally often.
        margin: The drop in mean score, in points of the 1..5 scale, that must be ruled out; above 0, at most 4.
        min_score: The lowest acceptable mean score of a candidate, 1..5; for a rubric, of the whole. None: no minimum.
        alpha: One-sided probability of a false alarm, and of passing a drop of the margin; in (0, 0.5).
        power: With which probability, in [0.5, 1), the number of cases that the report suggests would give a result.
        max_failures: Share of judgements, 0..1, that may fail; with more the check stops and is inconclusive.
        sequential: Test after each quarter of the cases, and stop when the result is clear.
        confirm: Judge again, in fresh orders, before anything counts as a regression.
        controls: How the judge is tested before anything passes: ``cut``, ``padded``, ``rude``, ``swapped``, ``worse``
            (see `Control`), one or several; ``"none"``; or ``"auto"``: ``cut`` if many answers became much shorter,
            ``padded`` if many became much longer, ``worse`` if cases have such answers.
        common_only: Leave out cases that some side lacks, instead of raising.
        labels: People's scores of both answers to some inputs, drawn at random; see `read_labels`. Where there are any,
            the decision rests on the mean difference corrected with them (prediction-powered inference), which needs
            neither confirmation nor controls. Minimum scores stay those of the judge.
        scale: Lowest and highest possible human score, for labels without a scale. None: it is inferred.
        progress: Called with ``(judgements done, judgements planned)``.

    Raises:
        ConfigError: rows or arguments are invalid; nothing was judged.
        RewardAnythingError: one of `SETUP_ERRORS` made every judgement fail, or so many in a row that there is no
            result. The check stops after the first few.
    """
    _check_arguments(alpha=alpha, power=power, max_failures=max_failures)
    requirements = with_criteria(as_requirements(principles, margin, min_score, controls))
    candidates: dict[str, Rows] = dict(candidate) if isinstance(candidate, Mapping) else {"candidate": candidate}
    paired = pair(baseline, candidates, common_only=common_only)
    has_minimums = any(r.min_score is not None for r in requirements) or any(
        item.min_score is not None for item in paired.items
    )
    people = None
    if labels:
        if sequential:
            raise ConfigError(
                "A sequential check cannot be corrected with labels: their tests hold at one look only.",
                hint="Leave out --sequential (sequential).",
            )
        people = PeopleLabels(paired.items, list(candidates), requirements, labels, scale=scale)
    resolved = resolve_judge(judge)
    if resolved is None:
        raise ConfigError("check needs a judge: load_judge(), or a model string such as 'openai/gpt-5-mini'.")
    trial = Trial(
        paired.items,
        list(candidates),
        requirements,
        judge=resolved,
        max_failures=max_failures,
        keep_scores=has_minimums,
        progress=progress,
    )
    looks = LOOKS if sequential and len(paired.items) >= _MIN_CASES_PER_LOOK * len(LOOKS) else (1.0,)
    maker = DecisionMaker(trial, list(candidates), requirements, alpha=alpha, confirm=confirm, labels=people)
    for share in looks:
        trial.judge_up_to(round(share * len(paired.items)))
        decisions = maker.decide(last=share == 1.0)
        outcomes = {decision.outcome for decision in decisions.values()}
        if trial.exhausted or "regression" in outcomes or (outcomes == {"passed"} and not has_minimums):
            break
    pairs = trial.pairs()
    comparisons = tuple(
        summarize(
            pairs_of(pairs, key),
            candidate=key[0],
            requirement=maker.requirements[key[1]],
            decision=decision,
            power=power,
        )
        for key, decision in decisions.items()
    )
    outcome, reason = conclude(comparisons, failures=trial.failures, tried=trial.tried, exhausted=trial.exhausted)
    return CheckReport(
        outcome=outcome,
        reason=reason,
        comparisons=comparisons,
        pairs=pairs,
        alpha=alpha,
        planned=len(paired.items),
        looked=trial.reached,
        missing=paired.missing,
        model=resolved.model,
        usage=trial.usage,
        exhausted=trial.exhausted,
    )


def _check_arguments(*, alpha: float, power: float, max_failures: float) -> None:
    if not 0 < alpha < 0.5:
        raise ConfigError(f"alpha must be above 0 and below 0.5, not {alpha!r}.")
    if not 0.5 <= power < 1:
        raise ConfigError(f"power must be at least 0.5 and below 1, not {power!r}.")
    if not 0 <= max_failures <= 1:
        raise ConfigError(f"max_failures is a share of the judgements, 0..1, not {max_failures!r}.")
