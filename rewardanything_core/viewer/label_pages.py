"""The pages on which people label cases, and on which their labels are listed and exported."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from rewardanything_core.errors import ConfigError, StoreError
from rewardanything_core.gate.reports import wording
from rewardanything_core.store.labels import Label
from rewardanything_core.viewer.export import csv_lines, json_lines, label_rows
from rewardanything_core.viewer.filters import Filters
from rewardanything_core.viewer.frame import Frame
from rewardanything_core.viewer.labelling import MAX_NOTE, NAMES, Task, decision_text, label_of, person_of, task_of

_MAX_FORM = 4 * MAX_NOTE + 20_000  # bytes
_MAX_LABELS = 500  # on a page


class LabelPages:
    """The handlers of the routes.

    Args:
        frame: What pages have in common.
    """

    def __init__(self, frame: Frame) -> None:
        self._frame, self._viewer = frame, frame.viewer

    def label(self, request: Request) -> Response:
        """The next case to label, or one that is asked for."""
        query = request.query_params
        filters = _label_filters(query)
        person = person_of(query["person"]) if query.get("person") else ""
        viewer, blind = self._viewer, query.get("blind") != "0"
        if viewer.labels is None:
            raise StoreError(viewer.no_labels)
        record = None
        if person and query.get("record"):
            record = self._frame.record(query["record"])[1]
        elif person:
            record = viewer.next_to_label(filters, person)
        task: Task | None = task_of(record, person, filters.criterion) if record else None
        address = filters.query(person=person, blind=None if blind else "0", sort=filters.sort)
        return self._frame.page(
            "label.html",
            "/label",
            filters,
            title="Label",
            person=person,
            task=task,
            blind=blind,
            wanted=query.get("record", ""),
            scores=record.verdict.scores if record and record.verdict and not blind else {},
            query=address,
            last=self._last(query.get("last", "")),
            problem=query.get("problem", ""),
            done=viewer.labels.count(person) if person else 0,
        )

    async def decide(self, request: Request) -> Response:
        """Store a decision and go on to the next case."""
        form = await _form(request)
        return await asyncio.to_thread(self._decide, request, form)

    def _decide(self, request: Request, form: Mapping[str, str]) -> Response:
        filters = _label_filters(request.query_params)
        _, record, _ = self._frame.record(form.get("record", ""))
        about = {"person": form.get("person", ""), "blind": None if form.get("blind") == "1" else "0"}
        try:
            number = self._viewer.add_label(label_of(record, form, criterion=form.get("criterion", "")))
        except ConfigError as error:
            about |= {"record": record.record_id, "problem": str(error)}
        else:
            about |= {"last": str(number)}
        return RedirectResponse(f"/label{filters.query(**about, sort=filters.sort)}", 303)

    async def undo(self, request: Request) -> Response:
        """Withdraw a person's latest label and show its case again."""
        return await asyncio.to_thread(self._undo, request)

    def _undo(self, request: Request) -> Response:
        filters, person = _label_filters(request.query_params), person_of(request.query_params.get("person", ""))
        if self._viewer.labels is None:
            raise StoreError(self._viewer.no_labels)
        undone = self._viewer.labels.undo(person)
        self._viewer.follower.refresh_labels()
        about = {
            "person": person,
            "blind": request.query_params.get("blind"),
            "record": undone and undone.record_id,
            "problem": None if undone else "There is nothing to undo.",
        }
        return RedirectResponse(f"/label{filters.query(**about, sort=filters.sort)}", 303)

    def labels(self) -> Response:
        """All labels, and their export."""
        labels = self._frame.labels()
        people: dict[str, list[Label]] = {}
        for label in labels:
            people.setdefault(label.person, []).append(label)
        return self._frame.page(
            "labels.html",
            "/labels",
            Filters(),
            title="Labels",
            can_label=self._viewer.labels is not None,
            reason=self._viewer.no_labels,
            labels=labels,
            people=[(name, len(each), sum(label.blind for label in each)) for name, each in people.items()],
            shown=[_label_row(label) for label in labels[-_MAX_LABELS:][::-1]],
        )

    def labels_as_json(self, request: Request) -> Response:
        """The labels as rows."""
        each, chances = request.query_params.get("each") == "1", self._viewer.probabilities()
        rows = label_rows(self._frame.labels(), each=each, probabilities=chances)
        return _download(json_lines(rows), "application/x-ndjson")

    def labels_as_csv(self) -> Response:
        """The labels as a table."""
        return _download(csv_lines(self._frame.labels()), "text/csv; charset=utf-8")

    def _last(self, number: str) -> dict[str, Any] | None:
        """The decision just made, with the judge's scores, which a blind label may show from now on."""
        labels, before = self._viewer.labels, int(number) - 1 if number.isdecimal() and len(number) < 16 else None
        found = [] if labels is None or before is None else labels.all(skipped=True, after=before, limit=1)
        if not found:
            return None
        label, judge = found[0], []
        order = list(label.shown)
        names = dict(zip(order, NAMES, strict=False))
        if label.record_id and (entry := self._viewer.record(label.record_id)) and entry[1].verdict:
            scores = entry[1].verdict.scores
            judge = [(names.get(name, name), scores[name]) for name in order if name in scores]
        return {"decision": decision_text(label, names), "judge": judge, "record_id": label.record_id}


def _label_filters(query: Mapping[str, str]) -> Filters:
    """The filters of the queue, which begins with the most informative case unless another order is given."""
    return Filters.of({**query, "sort": query.get("sort") or "tension"})


async def _form(request: Request) -> dict[str, str]:
    """The fields of a posted form.

    Raises:
        ConfigError: it is too long.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_FORM:
            raise ConfigError(f"The form is longer than {_MAX_FORM:,} bytes.", hint="Shorten the note.")
    return dict(parse_qsl(body.decode("ascii", "replace"), keep_blank_values=True))


def _label_row(label: Label) -> dict[str, Any]:
    prompt = label.case.prompt
    return {
        "when": "" if label.created is None else label.created.astimezone().strftime("%Y-%m-%d %H:%M"),
        "person": label.person,
        "record_id": label.record_id,
        "title": wording.one_line(prompt if isinstance(prompt, str) else json.dumps(prompt[-1], default=str), 120),
        "decision": f"{label.criterion}: {decision_text(label)}" if label.criterion else decision_text(label),
        "blind": label.blind,
        "note": label.note,
    }


def _download(lines: Iterable[bytes], media_type: str) -> Response:
    return Response(b"".join(lines), media_type=media_type)
