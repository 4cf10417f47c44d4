"""The ASGI application of the viewer: its pages, its events, and the posting of labels."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from functools import cache

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from rewardanything_core.errors import ConfigError, RewardAnythingError
from rewardanything_core.gate.reports import pages, wording
from rewardanything_core.store.labels import case_key
from rewardanything_core.store.records import case_to_dict
from rewardanything_core.viewer.charts import chart_values
from rewardanything_core.viewer.comparing import KINDS, compare
from rewardanything_core.viewer.export import json_lines
from rewardanything_core.viewer.filters import Filters
from rewardanything_core.viewer.frame import HERE, Frame
from rewardanything_core.viewer.label_pages import LabelPages
from rewardanything_core.viewer.labelling import decision_text
from rewardanything_core.viewer.listing import COUNTED
from rewardanything_core.viewer.record_view import record_view, whole_text
from rewardanything_core.viewer.repeating import file_command
from rewardanything_core.viewer.sources import StoreSource
from rewardanything_core.viewer.viewer import Viewer

_STATIC = {
    "page.css": (pages.TEMPLATES / "page.css", "text/css"),
    "view.css": (HERE / "static" / "view.css", "text/css"),
    "view.js": (HERE / "static" / "view.js", "text/javascript"),
}
_EVENT_SECONDS = 0.5
_HEARTBEAT_SECONDS = 15.0
_FILTER_NAMES = {
    "q": "Search",
    "min": "Lowest score from",
    "max": "Lowest score to",
    "spread": "Spread at least",
    "agreement": "Agreement at most",
    "disagree": "Disagreement of",
    "by": "By at least",
    "since": "From",
    "until": "To",
    "failure": "Failures",
    "source": "File",
    "model": "Judge",
    "template": "Judging prompt",
}


def create_app(viewer: Viewer) -> FastAPI:
    """The pages of a viewer. The server has to restrict access; see `access.Access`.

    Args:
        viewer: The viewer.
    """
    app = FastAPI(title="ra-judge view", docs_url=None, redoc_url=None, openapi_url=None)
    frame = Frame(viewer)
    routes, labelling = Pages(frame), LabelPages(frame)
    for path, handler in (
        ("/", routes.browse),
        ("/rows", routes.rows),
        ("/verdict/{record_id}", routes.verdict),
        ("/verdict/{record_id}/case.jsonl", routes.case_file),
        ("/verdict/{record_id}/text/{part}", routes.whole_text),
        ("/label", labelling.label),
        ("/labels", labelling.labels),
        ("/labels.jsonl", labelling.labels_as_json),
        ("/labels.csv", labelling.labels_as_csv),
        ("/compare", routes.compare),
        ("/charts", routes.charts),
        ("/events", routes.events),
        ("/static/{name}", routes.static),
    ):
        app.add_api_route(path, handler, methods=["GET"], response_model=None)
    app.add_api_route("/label", labelling.decide, methods=["POST"], response_model=None)
    app.add_api_route("/label/undo", labelling.undo, methods=["POST"], response_model=None)
    app.add_exception_handler(RewardAnythingError, routes.failed)
    app.add_exception_handler(HTTPException, routes.not_found)
    return app


class Pages:
    """The handlers of the routes.

    Args:
        frame: What pages have in common.
    """

    def __init__(self, frame: Frame) -> None:
        self._frame, self._viewer = frame, frame.viewer

    # --- browsing

    def browse(self, request: Request) -> Response:
        """The list of verdicts."""
        filters, after = Filters.of(request.query_params), request.query_params.get("after", "")
        viewer = self._viewer
        page = viewer.listing.page(filters, viewer.source_numbers, after=after)
        found = (
            viewer.listing.count(filters, viewer.source_numbers) if filters.restrictions else viewer.follower.indexed
        )
        many = f"more than {COUNTED - 1:,}" if filters.restrictions and found >= COUNTED else f"{found:,}"
        return self._frame.page(
            "browse.html",
            "/",
            filters,
            title="Verdicts",
            rows=page.rows,
            names=self._names(),
            chips=self._chips(filters),
            more=bool(set(filters.restrictions) - {"q", "principle", "model", "failure"}),
            count=f"{many} {'verdict' if many == '1' else 'verdicts'}",
            is_first=not after,
            is_live=not after and filters.sort == "newest",
            following=filters.query(after=page.following) if page.following else "",
        )

    def rows(self, request: Request) -> Response:
        """The rows of the first page, for the script."""
        filters = Filters.of(request.query_params)
        page = self._viewer.listing.page(filters, self._viewer.source_numbers)
        return self._frame.html("rows.html", rows=page.rows, filters=filters, filter_query=filters.query())

    def verdict(self, request: Request, record_id: str) -> Response:
        """One verdict.

        Args:
            request: The request, whose query names the responses to compare.
            record_id: The record's id.
        """
        entry, record, source = self._frame.record(record_id)
        filters, listing = Filters.of(request.query_params), self._viewer.listing
        newer, older = listing.neighbours(filters, self._viewer.source_numbers, entry)
        wanted = [request.query_params.get(side, "") for side in ("left", "right")]
        labels = record.case.labels
        compared = [labels[int(place)] for place in wanted if place.isdecimal() and int(place) < len(labels)]
        return self._frame.page(
            "verdict.html",
            "",
            filters,
            title=record.case.id or f"Verdict {record.record_id}",
            view=record_view(record, source.path, compared=compared),
            newer=newer,
            older=older,
            also=listing.of_case(entry),
            in_store=isinstance(source, StoreSource),
            can_label=self._viewer.labels is not None,
            file_command=file_command(record, "case.jsonl"),
            labels=[
                {"person": label.person, "decision": decision_text(label), "note": label.note}
                for label in self._frame.labels(case_key(record.case))
            ],
        )

    def case_file(self, record_id: str) -> Response:
        """The case of a verdict as a row for ``ra-judge grade``."""
        _, record, _ = self._frame.record(record_id)
        row = case_to_dict(record.case)
        row["principle"] = (
            record.case.principle.to_json() if "criteria" in row["principle"] else row["principle"]["text"]
        )
        row = {name: value for name, value in row.items() if value is not None}
        return Response(b"".join(json_lines([row])), media_type="application/x-ndjson")

    def whole_text(self, record_id: str, part: str) -> Response:
        """The whole of a long text, as plain text, with escapes in place of invisible and control characters.

        Args:
            record_id: The record's id.
            part: The text, as in `TextView.part`.
        """
        _, record, _ = self._frame.record(record_id)
        text = whole_text(record, part)
        if text is None:
            raise HTTPException(404)
        return PlainTextResponse(wording.visible(text))

    # --- over all verdicts

    def compare(self, request: Request) -> Response:
        """Two judges, principles or judging prompts."""
        by = next((kind for kind in KINDS if kind == request.query_params.get("by")), KINDS[0])
        options = self._viewer.listing.names(by)
        keys = [key for key, _ in options]
        a, b = (request.query_params.get(side, "") for side in ("a", "b"))
        if (a not in keys or b not in keys) and len(keys) > 1:
            a, b = keys[0], keys[1]
        result = compare(self._viewer.index, by, a, b) if len(keys) > 1 else None
        return self._frame.page(
            "compare.html", "/compare", Filters(), title="Compare", by=by, options=options, a=a, b=b, result=result
        )

    def charts(self, request: Request) -> Response:
        """The charts."""
        filters = Filters.of({**request.query_params, "q": "", "sort": ""})
        values = chart_values(self._viewer.index, filters, self._viewer.source_numbers)
        return self._frame.page("charts.html", "/charts", filters, title="Charts", chips=self._chips(filters), **values)

    # --- the rest

    async def events(self, request: Request) -> Response:
        """Server-sent events: one now, and one whenever the index changed."""
        return StreamingResponse(self._event_stream(request), media_type="text/event-stream")

    async def _event_stream(self, request: Request) -> AsyncGenerator[str, None]:
        sent, idle = None, 0.0
        while not await request.is_disconnected():
            state = {"version": self._viewer.follower.version, "status": self._frame.status()}
            if state != sent:
                yield f"event: change\ndata: {json.dumps(state)}\n\n"
                sent, idle = state, 0.0
            elif idle >= _HEARTBEAT_SECONDS:
                yield ": still here\n\n"
                idle = 0.0
            await asyncio.sleep(_EVENT_SECONDS)
            idle += _EVENT_SECONDS

    def static(self, name: str) -> Response:
        """A style sheet, or the script."""
        if name not in _STATIC:
            raise HTTPException(404)
        return Response(*_static(name))

    async def failed(self, _: Request, error: Exception) -> Response:
        """The page of an error.

        Args:
            _: The request.
            error: The error that the route raised.
        """
        assert isinstance(error, RewardAnythingError)
        status = 400 if isinstance(error, ConfigError) else 503
        return self._frame.message(error.message, error.hint, status)

    async def not_found(self, _: Request, error: Exception) -> Response:
        """The page of what does not exist.

        Args:
            _: The request.
            error: The error; its status decides the message.
        """
        status = error.status_code if isinstance(error, HTTPException) else 500
        about = {404: "There is no such page.", 405: "That is not possible here."}
        return self._frame.message(about.get(status, "Something failed."), "", status)

    def _names(self) -> dict[str, Sequence[tuple[str, str]]]:
        kinds = ("principle", "model", "template", "criterion", "failure")
        files = [(name, name) for name in self._viewer.source_numbers]
        return {**{kind: self._viewer.listing.names(kind) for kind in kinds}, "source": files}

    def _chips(self, filters: Filters) -> list[tuple[str, str, str]]:
        """Name, value, and the query without it, of each filter in force."""
        names = {
            (kind, key): name for kind in ("principle", "template") for key, name in self._viewer.listing.names(kind)
        }
        return [
            (_FILTER_NAMES.get(name, name.capitalize()), names.get((name, value), value), filters.query(**{name: None}))
            for name, value in filters.restrictions.items()
        ]


@cache
def _static(name: str) -> tuple[bytes, int, None, str]:
    path, kind = _STATIC[name]
    return path.read_bytes(), 200, None, f"{kind}; charset=utf-8"
