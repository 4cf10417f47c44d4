"""What ``ra-judge build`` reads and prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewardanything_core.benchmark_building.card import figure, juror_table, people_table, steps
from rewardanything_core.benchmark_building.lists import PromptRow
from rewardanything_core.cli._options import echo, print_table, printable
from rewardanything_core.cli._row_readers import format_of, read_rows
from rewardanything_core.cli._spending import usage_in_words
from rewardanything_core.cli._stdout import output
from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.gate.reports.wording import counted
from rewardanything_core.principles import Principle
from rewardanything_core.tables.columns import CaseColumns, FileFormat, InputRow
from rewardanything_core.types import Usage

_UNDECIDED = Principle("To be decided.")  # rows are read before they meet a principle
_NONE = "-"  # in place of responses, for rows without any


@dataclass(frozen=True, kw_only=True)
class PromptColumns:
    """The columns of the prompts' files. None: the default name."""

    prompt: str | None = None
    """The prompt."""

    id: str | None = None
    """The prompt's id."""

    responses: str | None = None
    """All responses, as in ``ra-judge grade``."""

    each_response: Sequence[str] = ()
    """Columns with one response each."""

    def of(self, row: InputRow) -> CaseColumns:
        """The columns of a row: those that are named, or else those of the default names that it has."""
        default = next((name for name in ("responses", "response") if name in row.columns), "responses")
        return CaseColumns(
            prompt=self.prompt or "prompt",
            responses=None if self.each_response else self.responses or default,
            each_response=tuple(self.each_response),
            id=self.id or ("id" if "id" in row.columns else None),
        )


def read_prompts(paths: Sequence[str], columns: PromptColumns) -> list[PromptRow]:
    """Read prompts, with or without responses.

    Args:
        paths: The files (JSON lines, CSV or Parquet).
        columns: The names of their columns.

    Raises:
        ConfigError: a file or a row cannot be used; the message names the line.
        MissingExtraError: a file is Parquet, and pyarrow is not installed.
    """
    rows: list[PromptRow] = []
    for path, file_format, row in _rows(paths):
        own = columns.of(row)
        named = columns.responses is not None or bool(columns.each_response)
        if missing := [name for name in own.names if name not in row.columns and (named or name != own.responses)]:
            raise ConfigError(
                f"{path}, {row.place} has no column {missing[0]!r}; it has {', '.join(map(repr, row.columns))}.",
                hint="Name the columns with --prompt-column, --response-column and so on.",
            )
        given = True
        if own.responses is not None and row.columns.get(own.responses) in (None, "", [], {}):
            row, given = dataclasses.replace(row, columns={**row.columns, own.responses: _NONE}), False
        try:
            case = own.case(row, _UNDECIDED, file_format)
        except InvalidCaseError as error:
            raise ConfigError(f"{path}: {error.message}") from error
        read = PromptRow.of_case(case, len(rows) + 1)
        rows.append(read if given else dataclasses.replace(read, responses={}))
    return rows


def _rows(paths: Sequence[str]) -> Iterator[tuple[str, FileFormat, InputRow]]:
    for path in paths:
        file_format = format_of(path)
        if file_format is None:
            raise ConfigError(
                f"The name of {path} does not imply a format.",
                hint="Files end in .jsonl, .ndjson, .csv, .parquet or .pq.",
            )
        for row in read_rows(path, file_format):
            if row.problem is not None:
                raise ConfigError(f"{path}, {row.place}: {row.problem}.")
            yield path, file_format, row


def show_built(summary: Mapping[str, Any], folder: str) -> None:
    """Print what was built.

    Args:
        summary: The content of ``build.json``.
        folder: The folder of the benchmark.
    """
    for name, number in steps(summary):
        output(f"{number:>7,}  {name}")
    output("")
    print_table(*juror_table(summary))
    counts = summary["counts"]
    flips = counts["train_flips"] + counts["test_flips"]
    output(
        f"\n{counted(counts['prompts'], 'prompt')}, {counted(counts['responses'], 'response')}, "
        f"{counted(len(summary['principles']), 'principle')}, {counted(flips, 'flip pair')}. The jury in this run: "
        f"{usage_in_words(Usage(**summary['usage']))}."
    )
    for problem in summary["failures"][:3]:
        echo(f"Failed: {printable(problem['juror'])} on {printable(problem['list'])}: {printable(problem['error'])}")
    output(f"Written to {folder}: card.md says how it was made; sheet.html is for people.")


def show_people(summary: Mapping[str, Any], folder: str) -> None:
    """Print how far people agree with the consensus.

    Args:
        summary: The content of ``build.json``.
        folder: The folder of the benchmark.
    """
    human = summary["human"]
    print_table(*people_table(human))
    if human["alpha"] is not None:
        output(f"\nKrippendorff's alpha between people: {human['alpha']:.2f}.")
    majority = human["majority"]
    output(
        f"\nPeople agree with {figure(majority['agreement'])} of the decisions, on {majority['decided']:,} of the "
        f"{counted(human['cases'], 'pair')} of the sheet. Written to {folder}/card.md."
    )
