"""Items from the verdict store: cases that a judge has judged before."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from rewardanything_core.bench.items import BenchItem
from rewardanything_core.cases import Case
from rewardanything_core.errors import ConfigError
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.judging.cascade import Cascade
from rewardanything_core.judging.judge import Judge
from rewardanything_core.judging.jury import Jury
from rewardanything_core.principles import Rubric

_CHUNK = 500


def stored_items(judge: BaseJudge, *, principle: str | None = None, limit: int | None = None) -> list[BenchItem]:
    """The cases on which a judge has verdicts in its store, newest first, without labels.

    Args:
        judge: The judge, as it is set now; verdicts under other settings do not count.
        principle: Part of the principle's text or name, ignoring case. None: any.
        limit: Maximum number of cases. None: all.

    Raises:
        ConfigError: the judge has no store, or no verdict in it.
        StoreError: the store cannot be read.
    """
    first = _single_judge(judge)
    if first is None or first.cache == "off":
        raise ConfigError(f"{judge.model} has no verdict store to replay.", hint="Set cache to on or read.")
    records = first.store.entries(principle=principle, model=first.model)
    cases = {record.case.digest: record.case for record in records}
    items = list(islice(_judged(judge, list(cases.values())), limit))
    if not items:
        raise ConfigError(f"{first.store.path} has no verdict of {judge.model} with its present settings.")
    return items


def _single_judge(judge: BaseJudge) -> Judge | None:
    """The judge, or the first one of a jury or cascade."""
    if isinstance(judge, Jury):
        return _single_judge(judge.jurors[0])
    if isinstance(judge, Cascade):
        return _single_judge(judge.stages[0])
    return judge if isinstance(judge, Judge) else None


def _judged(judge: BaseJudge, cases: list[Case]) -> Iterator[BenchItem]:
    for start in range(0, len(cases), _CHUNK):
        chunk = cases[start : start + _CHUNK]
        for case, verdict in zip(chunk, judge.cached_verdicts(chunk), strict=True):
            if verdict is not None:
                rubric = case.principle if isinstance(case.principle, Rubric) else None
                yield BenchItem.of_case(case, id=case.digest, source="store", rubric=rubric)
