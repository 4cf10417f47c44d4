"""The options of a judge, said once for all the ways to make one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

from rewardanything_core.agreement.calibration import Calibration
from rewardanything_core.prompting.templates import Template
from rewardanything_core.sampling import SamplingParams
from rewardanything_core.store.verdict_store import VerdictStore

CacheMode = Literal["off", "read", "on"]
Readout = Literal["auto", "generate", "logits"]


class JudgeOptions(TypedDict, total=False):
    """The options every way of making a judge takes."""

    passes: int
    """How many orders of the responses to judge, 1 or more; the scores are their mean. Where scores are read off there
    are no orders, and it is the number of wordings, up to four, in which the question is asked."""

    readout: Readout
    """``generate``: the model writes a verdict. ``logits``: nothing is written, and the scores are read off from how
    likely its answers are. ``auto``: read for a model on this machine that was not trained to reason, while nothing
    is said of how it should write (``sampling``, ``expected_scores``, ``template``); write for all others."""

    seed: int
    """Seed of the orders and of the sampler."""

    sampling: SamplingParams | None
    """How the model writes. None: greedy, with the model's default thinking budget."""

    expected_scores: bool
    """Take each score as the expectation over its token probabilities rather than the digit written."""

    retries: int
    """How often a reply that is no verdict is asked for again, with a fresh order, before the case fails."""

    max_list: int
    """The most responses judged as one list, 2 or more; a longer list is judged as overlapping sub-lists."""

    template: Template | None
    """The wording. None: the trained one for RewardAnything models, our own for all others."""

    store: VerdictStore | str | Path | None
    """Where verdicts are kept. None: the user's default store."""

    cache: CacheMode
    """``on``: read stored verdicts and store new ones. ``read``: only read. ``off``: neither."""

    calibration: Calibration | Mapping[str, Any] | str | Path | None
    """What maps scores to those people give, or the file that ``ra-judge bench --save-calibration`` wrote."""
