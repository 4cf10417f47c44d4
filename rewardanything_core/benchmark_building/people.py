"""What people decided on the sheet, and how far they agree with the consensus and with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardanything_core.agreement.intervals import Estimate, mean
from rewardanything_core.agreement.krippendorff import krippendorff_alpha
from rewardanything_core.agreement.scores import cohen_kappa
from rewardanything_core.bench.reading import read_rows
from rewardanything_core.benchmark_building.sheet import DECISIONS
from rewardanything_core.errors import ConfigError

_TIE = DECISIONS.index("tie")
_SUFFIXES = (".csv", ".json", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True, kw_only=True)
class PersonDecisions:
    """One person's decisions."""

    person: str
    """Their name, or else that of the file."""

    decisions: Mapping[str, str]
    """Case of the sheet -> one of `DECISIONS`."""


def read_decisions(paths: Sequence[str | Path], cases: Mapping[str, Any]) -> list[PersonDecisions]:
    """Read filled sheets: the table, or what the page downloads.

    A row has ``case`` and ``better``, and optionally ``person``. Rows that are not filled in are skipped.

    Args:
        paths: The files (CSV, also with semicolons or tabs; JSON, JSON lines or Parquet).
        cases: The cases of the sheet, by their ids.

    Raises:
        ConfigError: a file cannot be read or is about other cases; a decision is unknown; a person decided about a case
            twice; or nothing is filled in.
    """
    found: dict[str, dict[str, str]] = {}
    for path in map(Path, paths):
        if path.suffix.lower() not in _SUFFIXES:
            raise ConfigError(
                f"{path} is not a file with decisions; these end in {', '.join(_SUFFIXES)}.",
                hint="Save a spreadsheet as 'CSV UTF-8'.",
            )
        for where, row in read_rows(path, spreadsheet=True):
            if not row:
                continue
            if "case" not in row:
                raise ConfigError(
                    f"{where} has no 'case', only {', '.join(map(repr, row))}.",
                    hint="Fill in a copy of sheet.csv, and keep its columns 'case' and 'better'.",
                )
            better, case = str(row.get("better") or "").strip().lower(), str(row["case"]).strip()
            if not better or better == "skip":
                continue
            if case not in cases:
                raise ConfigError(f"{where}: the benchmark's sheet has no case {case!r}; it is from another build.")
            if better not in DECISIONS:
                raise ConfigError(f"{where}: 'better' must be {', '.join(DECISIONS)} or empty, not {better!r}.")
            of_person = found.setdefault(str(row.get("person") or "").strip() or path.stem, {})
            if case in of_person:
                raise ConfigError(
                    f"{where}: there is a decision about the case {case!r} already.",
                    hint="Give each file once, and give files of different people different names.",
                )
            of_person[case] = better
    if not found:
        raise ConfigError(
            f"Nothing is filled in in {', '.join(map(str, paths))}.",
            hint=f"The column 'better' has {', '.join(DECISIONS[:-1])} or {DECISIONS[-1]}.",
        )
    return [PersonDecisions(person=person, decisions=decisions) for person, decisions in found.items()]


def human_agreement(people: Sequence[PersonDecisions], key: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """How far people agree with the consensus, and with each other.

    Args:
        people: What each person decided.
        key: `SheetCase.key` of every case of the sheet.

    Returns:
        Plain JSON. ``people`` has for each person, and ``majority`` for what most of them decided (a tie if as many
        decided otherwise): ``agreement``, the share of pairs with the same decision; ``agreement_without_ties``, that
        of pairs which both sides order; and ``kappa``, Cohen's for the decisions left, tie and right. Each has
        ``value``, ``low``, ``high`` and ``n``; pairs of one prompt are one observation. ``alpha`` is Krippendorff's
        between people (nominal); None with one person.
    """
    cases = {each["case"]: each for each in key}
    majority = {
        case: _majority([decision for one in people if (decision := one.decisions.get(case)) is not None])
        for case in cases
        if any(case in one.decisions for one in people)
    }
    ratings = [[one.decisions.get(case) for case in cases] for one in people]
    return {
        "cases": len(cases),
        "people": [{"person": one.person, **_figures(one.decisions, cases)} for one in people],
        "majority": _figures(majority, cases),
        "alpha": krippendorff_alpha(ratings, "nominal") if len(people) > 1 else None,
    }


def _majority(decisions: Sequence[str]) -> str:
    (first, votes), *others = Counter(decisions).most_common()
    return DECISIONS[_TIE] if others and others[0][1] == votes else first


def _figures(decisions: Mapping[str, str], cases: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    decided = [DECISIONS.index(decision) for decision in decisions.values()]
    consensus = [DECISIONS.index(cases[case]["consensus"]) for case in decisions]
    prompts = [cases[case]["prompt"] for case in decisions]
    ordered = [
        (float(person == jury), prompt)
        for person, jury, prompt in zip(decided, consensus, prompts, strict=True)
        if _TIE not in (person, jury)
    ]
    same = [float(person == jury) for person, jury in zip(decided, consensus, strict=True)]
    figures: dict[str, Estimate] = {
        "agreement": mean(same, prompts),
        "agreement_without_ties": mean([each for each, _ in ordered], [prompt for _, prompt in ordered]),
        "kappa": cohen_kappa(decided, consensus, prompts, len(DECISIONS)),
    }
    return {"decided": len(decided), **{name: figure.to_dict() for name, figure in figures.items()}}
