"""The file of a canary: frozen cases, the judge that judged them, and its scores in several runs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardanything_core.bench.items import BenchItem
from rewardanything_core.cases import Case
from rewardanything_core.conversations.trajectory import response_json
from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.principles import Rubric

FORMAT = 1
"""Version of the file."""

Scores = dict[str, dict[str, float]]
"""Case's id -> label -> score, 1..5; cases that failed in a run are missing."""


@dataclass(frozen=True, kw_only=True)
class CanaryCase:
    """A frozen case with what people say about it."""

    case: Case
    """The case; its id is unique."""

    group: str
    """Identifies cases of one prompt, which count once."""

    pairs: tuple[tuple[str, str], ...] = ()
    """Pairs of labels of which people prefer the first to the second."""

    human: Mapping[str, float] | None = None
    """Label -> score by people, on any scale. None: there are none."""

    @classmethod
    def of(cls, item: BenchItem) -> CanaryCase:
        """The case of a labelled or unlabelled row.

        Raises:
            ConfigError: the row is not a valid case.
        """
        try:
            case = Case(**item.case_fields())
        except InvalidCaseError as error:
            raise ConfigError(error.message) from error
        return cls(case=case, group=item.group, pairs=item.pairs, human=item.human if item.rated else None)

    def to_json(self) -> dict[str, Any]:
        """The case as plain JSON."""
        case = self.case
        principle = case.principle.to_json() if isinstance(case.principle, Rubric) else case.principle.text
        return {
            "id": case.id,
            "group": self.group,
            "principle": principle,
            "prompt": case.prompt if isinstance(case.prompt, str) else list(case.prompt),
            "responses": {label: response_json(response) for label, response in case.responses.items()},
            "reference": case.reference,
            "context": case.context,
            "pairs": [list(pair) for pair in self.pairs],
            "human": None if self.human is None else dict(self.human),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> CanaryCase:
        """The case that `to_json` describes."""
        fields = ("principle", "prompt", "responses", "reference", "context", "id")
        return cls(
            case=Case(**{name: content[name] for name in fields}),
            group=content["group"],
            pairs=tuple((better, worse) for better, worse in content["pairs"]),
            human=content["human"],
        )


@dataclass(frozen=True, kw_only=True)
class Canary:
    """Frozen cases, and how a judge scored them when it was recorded."""

    recorded: str
    """When it was recorded, in ISO 8601."""

    model: str
    """The judge model's name."""

    judge: Mapping[str, Any]
    """The judge, for `load_judge`; without keys."""

    fingerprint: Mapping[str, Any]
    """All settings of the judge that affect a verdict."""

    cases: tuple[CanaryCase, ...]
    """The cases that every run judged."""

    runs: tuple[Scores, ...]
    """The scores of each recorded run, one or more."""

    def save(self, path: str | Path) -> None:
        """Write the file.

        Raises:
            ConfigError: it cannot be written.
        """
        content = {
            "format": FORMAT,
            "recorded": self.recorded,
            "model": self.model,
            "judge": self.judge,
            "fingerprint": self.fingerprint,
            "cases": [case.to_json() for case in self.cases],
            "runs": list(self.runs),
        }
        content["digest"] = _digest(content)
        try:
            Path(path).write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"Cannot write {path}: {error.strerror or error}.") from error

    @classmethod
    def load(cls, path: str | Path) -> Canary:
        """Read a file that `save` wrote.

        Raises:
            ConfigError: it cannot be read, or is not the file of a canary.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"Cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
        if not isinstance(content, Mapping) or content.get("format") != FORMAT:
            raise ConfigError(f"{path} is not a canary of format {FORMAT}.", hint="Record one: ra-judge canary record.")
        try:
            canary = cls(
                recorded=content["recorded"],
                model=content["model"],
                judge=content["judge"],
                fingerprint=content["fingerprint"],
                cases=tuple(map(CanaryCase.from_json, content["cases"])),
                runs=tuple(content["runs"]),
            )
            _check(canary)
            unchanged = content.get("digest") == _digest(content)
        except (InvalidCaseError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"{path} is not a canary: {type(error).__name__}: {error}.") from error
        if not unchanged:
            raise ConfigError(
                f"{path} was changed after it was recorded: its scores may belong to other cases.",
                hint="Restore it, or record a new one: ra-judge canary record.",
            )
        return canary


def _digest(content: Mapping[str, Any]) -> str:
    """Hash of all that a later run is compared with. Other entries, such as the judge's address, may be edited."""
    compared = [content[name] for name in ("fingerprint", "cases", "runs")]
    return hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).hexdigest()


def _check(canary: Canary) -> None:
    """Raise ValueError if runs lack a score."""
    if not canary.cases or not canary.runs:
        raise ValueError("there are no cases or no runs")
    for scores in canary.runs:
        for each in canary.cases:
            given = scores[str(each.case.id)]
            if given.keys() != each.case.responses.keys() or not all(map(math.isfinite, given.values())):
                raise ValueError(f"a run has no score for each response of case {each.case.id!r}")


def entries(cases: Sequence[CanaryCase]) -> list[tuple[CanaryCase, str]]:
    """All responses, as their case and label, in order."""
    return [(each, label) for each in cases for label in each.case.responses]
