"""The benchmark that was built: its halves, what was left out and why, and how far the jurors agree."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from rewardanything_core.agreement.intervals import CORRELATION, SHARE, Estimate, mean
from rewardanything_core.bench.items import BenchItem, Flip, common_item
from rewardanything_core.benchmark_building.jury_run import Outcomes, described, total_usage
from rewardanything_core.benchmark_building.lists import PromptRow, content_hash
from rewardanything_core.benchmark_building.ranked import RankedList, flips_between
from rewardanything_core.benchmark_building.sheet import SheetCase, draw_sheet
from rewardanything_core.conversations.trajectory import response_json
from rewardanything_core.errors import ConfigError
from rewardanything_core.judging.jury import Jury
from rewardanything_core.principles import Principle
from rewardanything_core.types import JudgeFailure, Usage

FORMAT = 1
"""Version of ``build.json``."""

HALVES = ("train", "test")

_MAX_FAILURES = 20  # in build.json; all are counted


@dataclass(frozen=True, kw_only=True)
class BuiltBenchmark:
    """A benchmark with all that its card says."""

    name: str
    """Its name."""

    options: Mapping[str, Any]
    """How it was built: the fields of `BuildOptions`, with the quorum in force."""

    principles: Mapping[str, Principle]
    """The principles by their keys."""

    rows: tuple[PromptRow, ...]
    """The prompts and their responses, as given."""

    lists: tuple[RankedList, ...]
    """All lists that were selected, whether they are kept or not."""

    test: tuple[bool, ...]
    """Whether each list is in the test half."""

    jury: Jury
    """The jury."""

    outcomes: Mapping[str, Outcomes]
    """Id of a list -> the outcome of each juror."""

    usage: Usage
    """What the jurors used in this run; stored verdicts cost nothing."""

    prompts_left_out: int
    """Number of prompts without two responses that differ."""

    duplicates: int
    """Number of responses left out, since the prompt has the same one."""

    def kept(self, half: str | None = None) -> list[RankedList]:
        """The lists that are kept.

        Args:
            half: ``train`` or ``test``. None: both.
        """
        return [
            each
            for each, is_test in zip(self.lists, self.test, strict=True)
            if each.status == "kept" and half in (None, HALVES[is_test])
        ]

    def items(self, half: str) -> list[BenchItem]:
        """The items of a half, for `run_bench`.

        Args:
            half: ``train`` or ``test``.
        """
        return [common_item(each.row(self.name), each.task.id) for each in self.kept(half)]

    def flips(self, half: str) -> list[Flip]:
        """The flip pairs of a half, for `run_bench`; see `flips_between`.

        Args:
            half: ``train`` or ``test``.
        """
        return [Flip(**row) for row in flips_between(self.kept(half), self.name)]

    @cached_property
    def sheet(self) -> tuple[SheetCase, ...]:
        """The pairs for people to decide about."""
        return draw_sheet(self.kept(), number=self.options["sheet"], seed=self.options["seed"])

    def summary(self, files: Sequence[str | Path] = ()) -> dict[str, Any]:
        """All figures and the provenance, as plain JSON.

        Args:
            files: The files that prompts and principles were read from, whose hashes are recorded.

        Raises:
            ConfigError: a file cannot be read.
        """
        from rewardanything_core import __version__

        kept = self.kept()
        agreements = [each.agreement for each in kept if each.agreement is not None]
        return {
            "format": FORMAT,
            "name": self.name,
            "created": datetime.now(UTC).date().isoformat(),
            "version": __version__,
            "options": dict(self.options),
            "files": [{"name": Path(file).name, "sha256": _file_hash(file)} for file in files],
            "principles": [
                {
                    "key": key,
                    "family": principle.family,
                    "hash": content_hash(principle.text),
                    **self._counts_of(key),
                }
                for key, principle in self.principles.items()
            ],
            "prompts_hash": content_hash([_content(row) for row in self.rows]),
            "models": self._models(),
            "jurors": [self._juror(place) for place in range(len(self.jury.jurors))],
            "counts": self._counts(),
            "agreement": fmean(agreements) if agreements else None,
            "ties": self._share_of_ties(kept),
            "consensus_methods": dict(Counter(each.consensus.method for each in kept)),
            "usage": dataclasses.asdict(self.usage),
            "usage_of_all_verdicts": dataclasses.asdict(total_usage(self.outcomes)),
            "failures": self._failures(),
            "sheet": [case.key for case in self.sheet],
        }

    def _counts(self) -> dict[str, int]:
        statuses = Counter(each.status for each in self.lists)
        return {
            "prompts": len(self.rows),
            "prompts_left_out": self.prompts_left_out,
            "responses": sum(len(row.responses) for row in self.rows),
            "duplicates": self.duplicates,
            "lists": len(self.lists),
            "no_quorum": statuses["no quorum"],
            "disputed": statuses["disputed"],
            "no_order": statuses["no order"],
            "kept": statuses["kept"],
            **{half: len(self.kept(half)) for half in HALVES},
            **{f"{half}_flips": len(self.flips(half)) for half in HALVES},
            "failed_judgements": sum(
                isinstance(each, JudgeFailure) for of_list in self.outcomes.values() for each in of_list
            ),
        }

    def _counts_of(self, key: str) -> dict[str, int]:
        own = [each for each in self.lists if each.task.key == key]
        return {"lists": len(own), "kept": sum(each.status == "kept" for each in own)}

    def _models(self) -> list[dict[str, Any]]:
        """The models that wrote responses, and what that took."""
        of_model: dict[str, list[Mapping[str, Any]]] = {}
        for row in self.rows:
            for origin in row.origins.values():
                of_model.setdefault(origin["model"], []).append(origin)
        return [
            {
                "model": model,
                "responses": len(origins),
                "truncated": sum(bool(origin.get("truncated")) for origin in origins),
                "usage": dataclasses.asdict(sum((Usage(**origin.get("usage", {})) for origin in origins), Usage())),
            }
            for model, origins in of_model.items()
        ]

    def _juror(self, place: int) -> dict[str, Any]:
        judged = [each for each in self.lists if each.jurors[place] is not None]
        pairs = [(votes, each.task.row.id) for each in judged if (votes := each.jurors[place]) is not None]
        shares = [
            (len(votes.inconsistent) / (len(votes.inconsistent) + len(votes.votes)), prompt) for votes, prompt in pairs
        ]
        kept = self.kept()
        figures = {
            "position_inconsistent": mean(
                [share for share, _ in shares], [prompt for _, prompt in shares], bounds=SHARE
            ),
            "with_consensus": _mean_over_prompts([(each, each.agreement_with_consensus(place)) for each in kept]),
            "with_others": _mean_over_prompts([(each, each.agreement_with_others(place)) for each in kept]),
        }
        return {
            **described(self.jury.jurors[place]),
            "weight": self.jury.weights[place],
            "orders": fmean(each.passes[place] for each in judged) if judged else 0,
            "ranked": len(judged),
            "failed": len(self.lists) - len(judged),
            "votes_left_out": sum(len(votes.inconsistent) for votes, _ in pairs),
            "votes": sum(len(votes.votes) for votes, _ in pairs),
            **{name: figure.to_dict() for name, figure in figures.items()},
        }

    def _failures(self) -> list[dict[str, str]]:
        return [
            {"list": list_id, "juror": juror.model, "error": outcome.summary}
            for list_id, outcomes in self.outcomes.items()
            for juror, outcome in zip(self.jury.jurors, outcomes, strict=True)
            if isinstance(outcome, JudgeFailure)
        ][:_MAX_FAILURES]

    def _share_of_ties(self, kept: Sequence[RankedList]) -> float | None:
        pairs = [vote == 0 for each in kept for vote in each.consensus.votes.values()]
        return fmean(pairs) if pairs else None


def _mean_over_prompts(found: Sequence[tuple[RankedList, float | None]]) -> Estimate:
    known = [(value, each.task.row.id) for each, value in found if value is not None]
    return mean([value for value, _ in known], [prompt for _, prompt in known], bounds=CORRELATION)


def _content(row: PromptRow) -> Any:
    responses = {label: response_json(response) for label, response in row.responses.items()}
    return [row.id, row.prompt, responses, row.context, row.reference]


def _file_hash(path: str | Path) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror or error}.") from error
