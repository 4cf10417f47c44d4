"""The attack suite of ``ra-judge bench --attacks``: texts that ask for a score or claim quality, and their controls."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Literal

Half = Literal["published", "tested"]

HALVES: tuple[Half, Half] = ("published", "tested")
"""``published``: a defence may be developed on it. ``tested``: a defence is measured on it."""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """A text that asks for a score, or claims quality, instead of answering."""

    id: str
    """Unique within the suite: half, kind, language and number."""

    half: Half
    """One of `HALVES`."""

    kind: str
    """What it tries, such as ``instruction`` or ``verification``."""

    language: str
    """ISO 639-1 code."""

    text: str
    """The text."""

    place: Literal["before", "after"] = "after"
    """Where it is added to an answer."""

    join: str = " "
    """What is between the answer and the text."""

    def added_to(self, answer: str, text: str | None = None) -> str:
        """An answer with the attack, or with another text in the attack's place.

        Args:
            answer: The answer.
            text: The other text. None: the attack.
        """
        parts = [answer, self.text if text is None else text]
        return self.join.join(parts if self.place == "after" else reversed(parts))


@dataclass(frozen=True, kw_only=True)
class AnswerPair:
    """A question with a good and a bad answer."""

    half: Half
    """One of `HALVES`."""

    language: str
    """ISO 639-1 code."""

    principle: str
    """The principle to judge by."""

    prompt: str
    """The question."""

    good: str
    """The better answer."""

    bad: str
    """The worse answer, which attacks are added to."""


@dataclass(frozen=True, kw_only=True)
class HonestText:
    """An honest answer, which a defence should leave alone."""

    half: Half
    """One of `HALVES`."""

    form: str
    """``near``: it speaks of scores, judges or being correct in the ordinary sense of the words. ``ordinary``: it does
    not."""

    text: str
    """The answer."""


@dataclass(frozen=True, kw_only=True)
class AttackTrial:
    """An attack on one pair of answers."""

    attack: Attack
    """The attack."""

    pair: AnswerPair
    """A pair of the attack's half and language."""

    control: str
    """A harmless text of about the attack's length."""


@dataclass(frozen=True, kw_only=True)
class AttackSuite:
    """Attacks, pairs of answers, harmless sentences and honest texts."""

    attacks: tuple[Attack, ...]
    """The attacks of both halves."""

    pairs: tuple[AnswerPair, ...]
    """Each language of an attack has one or more in the attack's half."""

    harmless: Mapping[str, tuple[str, ...]]
    """Language -> harmless sentences."""

    honest: tuple[HonestText, ...]
    """Honest answers of both halves."""

    def trials(self, limit: int | None = None, *, seed: int = 0) -> list[AttackTrial]:
        """The attacks with the pairs that they are tried on.

        Args:
            limit: Maximum number of trials, half of them from each half of the suite. None: every attack with every
                pair of its half and language.
            seed: Seed of the sample. A sample has each attack once before any attack is in it twice.
        """
        trials: list[AttackTrial] = []
        for half in HALVES:
            own = [trial for trial in self._all_trials() if trial.attack.half == half]
            if limit is not None:
                random.Random(seed).shuffle(own)
                own = sorted(own, key=_repetitions(own).__getitem__)[: max(1, limit // 2)]
            trials += own
        return trials

    def _all_trials(self) -> Iterator[AttackTrial]:
        for attack in self.attacks:
            for pair in self.pairs:
                if (pair.half, pair.language) == (attack.half, attack.language):
                    yield AttackTrial(attack=attack, pair=pair, control=self._control(attack))

    def _control(self, attack: Attack) -> str:
        """The combination of harmless sentences whose length is closest to the attack's."""
        sentences = self.harmless[attack.language]
        texts = [
            " ".join(chosen) for number in range(1, len(sentences) + 1) for chosen in combinations(sentences, number)
        ]
        return min(texts, key=lambda text: abs(len(text) - len(attack.text)))


@cache
def attack_suite() -> AttackSuite:
    """The suite that ships with the package, in ``attacks.toml``."""
    content = tomllib.loads((Path(__file__).parent / "attacks.toml").read_text(encoding="utf-8"))
    attacks = [
        Attack(id=f"{half}/{fields['kind']}/{fields['language']}/{number}", half=half, **fields)
        for half in HALVES
        for number, fields in enumerate(content["attacks"][half])
    ]
    honest = [
        HonestText(half=half, form=form, text=text)
        for half in HALVES
        for form, texts in content["honest"][half].items()
        for text in texts
    ]
    return AttackSuite(
        attacks=tuple(attacks),
        pairs=tuple(AnswerPair(**pair) for pair in content["pairs"]),
        harmless={language: tuple(sentences) for language, sentences in content["harmless"].items()},
        honest=tuple(honest),
    )


def _repetitions(trials: list[AttackTrial]) -> dict[AttackTrial, int]:
    """AttackTrial -> how many trials before it have the same attack."""
    counts: dict[str, int] = {}
    repetitions = {}
    for trial in trials:
        repetitions[trial] = counts.get(trial.attack.id, 0)
        counts[trial.attack.id] = repetitions[trial] + 1
    return repetitions
