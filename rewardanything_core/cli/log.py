"""``ra-judge log``: inspect the verdict store."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardanything_core.cli._options import (
    JsonFlag,
    criteria_table,
    echo,
    one_line,
    print_json,
    print_table,
    printable,
)
from rewardanything_core.cli._stdout import output, stdout
from rewardanything_core.conversations import Trajectory, message_text, transcript
from rewardanything_core.conversations.comparison import difference
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rewardanything_core.cases import Case
    from rewardanything_core.store.verdict_store import Record

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def log(
    record: Annotated[
        str | None, typer.Argument(metavar="ID", help="Show this record in full; a prefix of its id is enough.")
    ] = None,
    store: Annotated[str | None, typer.Option("--store", help="File of the verdict store.")] = None,
    principle: Annotated[str | None, typer.Option(help="Only with this text in the principle or its name.")] = None,
    model: Annotated[str | None, typer.Option(help="Only with this text in the judge model's name.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="2h|2026-11-01", help="Only newer than this age or this time.")
    ] = None,
    case: Annotated[str | None, typer.Option(metavar="ID", help="Only the case with this id.")] = None,
    text: Annotated[str | None, typer.Option(help="Only with this text in the case, reasoning or error.")] = None,
    failures: Annotated[bool, typer.Option("--failures", help="List failures instead of verdicts.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=0, help="Maximum number of records.", show_default="20, all for --export")
    ] = None,
    show: Annotated[str | None, typer.Option("--show", metavar="ID", help="The same as the argument ID.")] = None,
    export: Annotated[
        str | None,
        typer.Option("--export", metavar="FILE|-", help="Write complete records as JSON lines."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List verdicts, newest first; show one with its reasoning; or export complete records."""
    from rewardanything_core.store.verdict_store import VerdictStore, default_path

    path = Path(store).expanduser() if store is not None else default_path()
    if not path.exists():
        raise ConfigError(f"There is no verdict store at {path} yet; the first verdict creates it.")
    with VerdictStore(path, writable=False) as verdicts:
        if (wanted := record or show) is not None:
            match = verdicts.find(wanted)
            print_json(match.to_dict()) if as_json else _show(match)
            return
        records = verdicts.entries(
            principle=principle,
            model=model,
            since=None if since is None else parse_since(since),
            case_id=case,
            text=text,
            kind="failure" if failures else "verdict",
            limit=20 if limit is None and export is None else limit,
        )
        if export is not None:
            _export(records, export, as_json)
        elif as_json:
            print_json([entry.to_dict() for entry in records])
        else:
            _list(list(records), path)


def parse_since(text: str) -> datetime:
    """The time that ``--since`` names.

    Args:
        text: An age (``90s``, ``15m``, ``2h``, ``3d``, ``1w``), or an ISO date or time, local if it has no zone.

    Raises:
        ConfigError: it is neither.
    """
    try:
        if ago := re.fullmatch(r"(\d+)([smhdw])", text.strip()):
            return datetime.now().astimezone() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        raise ConfigError(f"--since takes an age such as 2h, or a date such as 2026-11-01, not {text!r}.") from None


def _export(records: Iterable[Record], target: str, as_json: bool) -> None:
    if target == "-":
        for record in records:
            output(json.dumps(record.to_dict()))
        return
    written = 0
    try:
        with Path(target).open("w", encoding="utf-8") as file:
            for record in records:
                file.write(json.dumps(record.to_dict()) + "\n")
                written += 1
    except OSError as error:
        raise ConfigError(f"Cannot write {target}: {error.strerror or error}.") from error
    if as_json:
        print_json({"path": target, "records": written})
    echo(f"{written} {'record' if written == 1 else 'records'} written to {target}.")


def _list(records: list[Record], path: Path) -> None:
    print_table(
        ("ID", "WHEN", "MODEL", "CASE", "PRINCIPLE", "PROMPT", "OUTCOME"),
        [
            (
                record.record_id,
                record.created.astimezone().strftime("%Y-%m-%d %H:%M"),
                record.model,
                record.case.id or "",
                record.case.principle.name or one_line(record.case.principle.text, 30),
                one_line(_last_message(record.case.prompt), 40),
                _outcome(record),
            )
            for record in records
        ],
    )
    if not records:
        echo(f"No record in {path} matches.")


def _outcome(record: Record) -> str:
    if record.failure:
        return f"{record.failure.error_type}: {one_line(record.failure.message, 60)}"
    assert record.verdict
    return one_line("  ".join(f"{label} {record.verdict.scores[label]:.3g}" for label in record.verdict.ranking), 60)


def _show(record: Record) -> None:
    """Print one record in full: the case, the verdict and the reasons for it."""
    from rewardanything_core.principles import Rubric

    case, verdict = record.case, record.verdict
    fields = [
        ("record", record.record_id),
        ("when", record.created.astimezone().isoformat(" ", "seconds")),
        ("model", record.model),
        ("case", case.id),
        ("prompt template", record.template_hash[:12]),
        ("seed", verdict and verdict.seed),
        ("passes", verdict and len(verdict.pass_scores)),
        ("tokens", _tokens(record)),
    ]
    output("\n".join(f"{name:16} {printable(str(value))}" for name, value in fields if value not in (None, "")))
    _section(f"Principle{f' ({case.principle.name})' if case.principle.name else ''}", case.principle.text)
    _section("Prompt", case.prompt if isinstance(case.prompt, str) else transcript(case.prompt))
    for name, text in (("Context", case.context), ("Reference", case.reference)):
        if text is not None:
            _section(name, text)
    for label in verdict.ranking if verdict else case.labels:
        _section(f"Response {label}" + (f": {_scored(verdict, label)}" if verdict else ""), case.texts[label])
    _turn_differences(case)
    if verdict:
        _section("Ranking", " > ".join(verdict.ranking))
        if isinstance(case.principle, Rubric):
            _section("Criteria", "")
            print_table(*criteria_table(verdict, case.principle))
        if verdict.agreement is not None:
            _section("Agreement of the passes (Kendall's W)", f"{verdict.agreement:.2f}")
        _section("Reasoning", verdict.explanation or "(none)")
    if record.failure:
        _section(f"{record.failure.error_type} after {record.failure.attempts} attempts", record.failure.message)
        _section("Last reply", record.failure.raw_output or "(none)")


def _turn_differences(case: Case) -> None:
    """For two agent runs, which turns differ."""
    runs = [(label, run.messages) for label, run in case.responses.items() if isinstance(run, Trajectory)]
    if len(runs) != 2 or len(case.responses) != 2:
        return
    (one, first), (other, second) = runs
    numbers = difference(first, second)
    first_list, second_list = (", ".join(map(str, found)) or "none" for found in numbers)
    _section("Turns that differ", f"{one}: {first_list}\n{other}: {second_list}")


def _scored(verdict: Any, label: str) -> str:
    spread = verdict.spread.get(label, 0.0)
    return f"{verdict.scores[label]:.3g}" + (f" (spread {spread:.2g})" if len(verdict.pass_scores) > 1 else "")


def _tokens(record: Record) -> str:
    outcome = record.verdict or record.failure
    assert outcome
    usage = outcome.usage
    return f"{usage.prompt_tokens:,} read, {usage.completion_tokens:,} written, {usage.calls} calls"


def _section(title: str, text: str) -> None:
    title = printable(title)
    output("\n" + typer.style(title, bold=True) if stdout().isatty() else f"\n## {title}")
    if text:
        output(printable(text))


def _last_message(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else message_text(prompt[-1])
