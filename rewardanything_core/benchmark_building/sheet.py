"""A sheet for people: pairs of responses without names, in random order, as a page and as a table."""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from rewardanything_core.benchmark_building.lists import content_hash
from rewardanything_core.benchmark_building.ranked import RankedList
from rewardanything_core.conversations.rendering import transcript
from rewardanything_core.gate.reports.pages import render_page

DECISIONS = ("left", "tie", "right")
"""What a person can decide about a pair."""

COLUMNS = ("case", "principle", "prompt", "context", "reference", "left", "right", "better", "note")
"""The columns of the table; people fill in ``better``, and ``note`` if they like."""

_TEMPLATES = Path(__file__).parent / "templates"
_FORMULA = re.compile(r"[=+\-@\t\r]")


@dataclass(frozen=True, kw_only=True)
class SheetCase:
    """A pair of responses for people to decide about."""

    id: str
    """A hash of what is shown. It says nothing about where the responses are from."""

    principle: str
    """What to decide by."""

    prompt: str
    """The prompt; chat messages as a transcript."""

    context: str
    """Background. Empty: there is none."""

    reference: str
    """A good answer. Empty: there is none."""

    left: str
    """The response on the left; an agent's run as a transcript."""

    right: str
    """The response on the right."""

    key: dict[str, str]
    """What people do not see: ``case`` (the id), ``list``, ``prompt`` (the row's id), the labels ``left`` and
    ``right``, and the ``consensus``: one of `DECISIONS`."""


def draw_sheet(lists: Sequence[RankedList], *, number: int, seed: int) -> tuple[SheetCase, ...]:
    """Pairs for people to decide about, from the principles equally, at most one of each list.

    Every pair of a list can be drawn, ties of the consensus included, so that the agreement on the sheet is that on the
    benchmark. Which response is on the left is random.

    Args:
        lists: The lists that are kept.
        number: How many pairs, 0 or more; fewer if there are not as many lists.
        seed: Seed of the draw.
    """
    rng = random.Random(f"sheet/{seed}")
    by_principle: dict[str, list[RankedList]] = {}
    for each in rng.sample(lists, len(lists)):
        by_principle.setdefault(each.task.key, []).append(each)
    turns = max(map(len, by_principle.values()), default=0)
    drawn = [own[turn] for turn in range(turns) for own in by_principle.values() if turn < len(own)]
    cases: dict[str, SheetCase] = {}
    for each in drawn:
        if len(cases) == number:
            break
        case = _case(each, rng)
        cases.setdefault(case.id, case)
    return tuple(rng.sample(list(cases.values()), len(cases)))


def sheet_csv(cases: Iterable[SheetCase]) -> str:
    """The sheet as a table for spreadsheets. Cells that one would run as a formula get an apostrophe in front."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)  # lines end with CRLF, so that a carriage return in a cell is quoted too
    writer.writerow(COLUMNS)
    for case in cases:
        cells = [case.id, case.principle, case.prompt, case.context, case.reference, case.left, case.right, "", ""]
        writer.writerow([f"'{cell}" if _FORMULA.match(cell) else cell for cell in cells])
    return table.getvalue()


def sheet_page(cases: Sequence[SheetCase], *, name: str) -> str:
    """The sheet as one page that works offline: a case at a time, decided by keys, kept in the browser.

    Args:
        cases: The cases.
        name: The benchmark's name.
    """
    return render_page(
        "sheet.html",
        title=f"{name}: which answer is better?",
        script="sheet.js",
        style="sheet.css",
        folder=_TEMPLATES,
        cases=cases,
        sheet=content_hash([name, [case.id for case in cases]]),
    )


def _case(ranked: RankedList, rng: random.Random) -> SheetCase:
    row = ranked.task.row
    one, other = rng.choice(list(combinations(row.responses, 2)))
    left, right = (one, other) if rng.random() < 0.5 else (other, one)
    case = ranked.task.case
    shown: dict[str, Any] = {
        "principle": ranked.task.principle.text,
        "prompt": row.prompt if isinstance(row.prompt, str) else transcript(row.prompt),
        "context": row.context or "",
        "reference": row.reference or "",
        "left": case.texts[left],
        "right": case.texts[right],
    }
    case_id = f"case-{content_hash(list(shown.values()))}"  # no number, which a spreadsheet would round
    consensus = DECISIONS[1 - ranked.decision(left, right)]
    key = {
        "case": case_id,
        "list": ranked.task.id,
        "prompt": row.id,
        "left": left,
        "right": right,
        "consensus": consensus,
    }
    return SheetCase(id=case_id, key=key, **shown)
