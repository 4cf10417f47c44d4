"""Labels that a judge was fitted to, which cannot show how well it judges."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

from rewardanything_core.bench.items import BenchItem
from rewardanything_core.errors import ConfigError
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.judging.cascade import Cascade
from rewardanything_core.judging.judge import Judge
from rewardanything_core.judging.jury import Jury
from rewardanything_core.readouts.pointwise.reward_head import RewardHead

PROMPTS = "prompts"
"""Entry of a reward head's card: the `prompt_hashes` that it was fitted to."""


def prompt_hashes(items: Iterable[BenchItem]) -> list[str]:
    """Short hashes of the items' prompts, each once and sorted."""
    texts = {json.dumps(item.prompt, sort_keys=True) for item in items}
    return sorted(hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12] for text in texts)


def check_fitted_labels(judges: Iterable[BaseJudge], items: Sequence[BenchItem]) -> list[str]:
    """Check that no judge's reward head was fitted to the labelled prompts.

    Args:
        judges: The judges.
        items: The labelled items.

    Returns:
        A note for each judge with a head or calibration of its own of which this is not known.

    Raises:
        ConfigError: a head was.
    """
    hashes, notes = set(prompt_hashes(items)), []
    for judge in _single_judges(judges):
        if judge.options.calibration is not None:
            notes.append(f"Make sure that the calibration of {judge.model} was fitted to other labels than these.")
        head = judge.options.head
        if head is None:
            continue
        known = RewardHead.of(head, judge.model).card.get(PROMPTS)
        if known is None:
            notes.append(
                f"The reward head of {judge.model} does not say which labels it was fitted to; make sure that they are "
                "not these."
            )
        elif shared := len(hashes.intersection(known)):
            raise ConfigError(
                f"The reward head of {judge.model} was fitted to {shared} of these {len(hashes)} prompts, so its "
                "confidence on them says nothing about others.",
                hint="Give labels for other prompts, or fit the head again to a part of them.",
            )
    return notes


def _single_judges(judges: Iterable[BaseJudge]) -> Iterable[Judge]:
    for judge in judges:
        if isinstance(judge, Judge):
            yield judge
        elif isinstance(judge, Jury):
            yield from _single_judges(judge.jurors)
        elif isinstance(judge, Cascade):
            yield from _single_judges(judge.stages)
