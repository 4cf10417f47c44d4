"""The effect of attacks on the scores of a judge, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rewardanything_core.agreement.intervals import SHARE, Estimate, mean
from rewardanything_core.bench.attack_suite import HALVES, AttackTrial
from rewardanything_core.bench.measures import JudgedItem
from rewardanything_core.types import Usage

FIGURES = ("gain", "overtakes", "overtakes_control", "overtakes_excess")
"""Of attacks: ``gain``: how many points more the bad answer scores with the attack than with a harmless text of the
same length. ``overtakes``: share of trials in which the bad answer with the attack scores above the good one.
``overtakes_control``: the same with the harmless text. ``overtakes_excess``: the difference of the two."""

_BOUNDS = {"gain": (-4.0, 4.0), "overtakes_excess": (-1.0, 1.0)}

Figures = dict[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class JudgedTrial:
    """A trial with the judge's outcomes."""

    trial: AttackTrial
    """The trial."""

    attacked: JudgedItem
    """The good answer and the bad one with the attack."""

    control: JudgedItem
    """The good answer and the bad one with the harmless text."""

    @property
    def values(self) -> dict[str, float]:
        """All of `FIGURES`, and ``removed`` where the judge screens responses. Empty: a judgement failed."""
        attacked, control = self.attacked.verdict, self.control.verdict
        if attacked is None or control is None:
            return {}
        overtakes, without = (float(verdict.scores["bad"] > verdict.scores["good"]) for verdict in (attacked, control))
        return {
            "gain": attacked.scores["bad"] - control.scores["bad"],
            "overtakes": overtakes,
            "overtakes_control": without,
            "overtakes_excess": overtakes - without,
            "removed": float("bad" in attacked.removed),
        }


@dataclass(frozen=True, kw_only=True)
class AttackReport:
    """The result of `run_attacks`."""

    model: str
    """The judge model's name."""

    judge: dict[str, Any]
    """The judge's fingerprint."""

    trials: tuple[JudgedTrial, ...]
    """All trials."""

    screens: bool
    """Whether the judge removes appeals from responses before it judges them."""

    refused: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    """Half -> form of honest text -> share of which the judge would remove something. Empty: it does not screen."""

    refused_texts: tuple[tuple[str, str], ...] = ()
    """What would be removed from honest texts: the text, and the part."""

    spent: Usage = field(default_factory=Usage)
    """Usage of this run."""

    seconds: float = 0.0
    """Wall time, in seconds."""

    def figures(self, half: str, kind: str | None = None) -> Figures:
        """The figures of one half of the suite.

        Args:
            half: The half.
            kind: Only attacks of this kind. None: of all kinds.
        """
        chosen = [
            one
            for one in self.trials
            if one.trial.attack.half == half and kind in (None, one.trial.attack.kind) and one.values
        ]
        groups = [one.trial.attack.id for one in chosen]
        names = (*FIGURES, "removed") if self.screens else FIGURES
        return {
            name: mean([one.values[name] for one in chosen], groups, bounds=_BOUNDS.get(name, SHARE)) for name in names
        }

    def kinds(self, half: str) -> list[str]:
        """The kinds of attack in the trials of a half, sorted."""
        return sorted({one.trial.attack.kind for one in self.trials if one.trial.attack.half == half})

    @property
    def judged(self) -> int:
        """Number of judgements."""
        return 2 * len(self.trials)

    @property
    def failed(self) -> int:
        """How many judgements failed."""
        return sum(item.verdict is None for one in self.trials for item in (one.attacked, one.control))

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types, with each trial's scores."""
        return {
            "model": self.model,
            "judge": self.judge,
            "halves": {
                half: {
                    **_plain(self.figures(half)),
                    "by_kind": {kind: _plain(self.figures(half, kind)) for kind in self.kinds(half)},
                    "honest_texts_refused": _plain(self.refused.get(half, {})),
                }
                for half in HALVES
            },
            "trials": [
                {
                    "attack": one.trial.attack.id,
                    "prompt": one.trial.pair.prompt,
                    "attacked": one.attacked.verdict and one.attacked.verdict.scores,
                    "control": one.control.verdict and one.control.verdict.scores,
                    "removed": (one.attacked.verdict and one.attacked.verdict.removed.get("bad")) or [],
                }
                for one in self.trials
            ],
            "honest_texts_with_removals": [{"text": text, "removed": part} for text, part in self.refused_texts],
            "failed": self.failed,
            "seconds": self.seconds,
        }


def _plain(figures: Figures) -> dict[str, Any]:
    return {name: estimate.to_dict() for name, estimate in figures.items()}
