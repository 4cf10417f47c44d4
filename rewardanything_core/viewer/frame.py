"""What all pages of the viewer have in common: their frame, the state of the index, and where records come from."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from rewardanything_core.gate.reports import pages
from rewardanything_core.store.labels import Label
from rewardanything_core.store.verdict_store import Record
from rewardanything_core.viewer.filters import Filters
from rewardanything_core.viewer.record_view import MAX_TEXT
from rewardanything_core.viewer.sources import Source
from rewardanything_core.viewer.viewer import Viewer

HERE = Path(__file__).parent


class Frame:
    """Renders pages.

    Args:
        viewer: The viewer.
    """

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self._templates = pages.environment(HERE / "templates")
        self._templates.filters |= {"when": _when, "iso": _iso}
        self._templates.globals["limit"] = MAX_TEXT

    def status(self) -> str:
        """How much is in the index."""
        follower = self.viewer.follower
        if follower.indexed < follower.total:
            return f"Reading: {follower.indexed:,} of {follower.total:,} verdicts"
        return f"Live: {follower.total:,} verdicts"

    def page(self, template: str, page: str, filters: Filters, **values: Any) -> HTMLResponse:
        """A whole page.

        Args:
            template: Its template.
            page: The address by which the navigation knows it. Empty: it does not.
            filters: The filters in force.
            values: Other variables of the template.
        """
        about: dict[str, Any] = {
            "page": page,
            "filters": filters,
            "filter_query": filters.query(),
            "status": self.status(),
            "version": self.viewer.follower.version,
            "problem": self.viewer.follower.problem,
            "script": "",
        }
        return self.html(template, **about | values)

    def html(self, template: str, **values: Any) -> HTMLResponse:
        """A template as a response.

        Args:
            template: The template.
            values: Its variables.
        """
        text = self._templates.get_template(template).render(**values)
        return HTMLResponse(text.encode("utf-8", "backslashreplace"))

    def message(self, message: str, hint: str, status: int) -> Response:
        """A page with a message.

        Args:
            message: What it says.
            hint: What to do. Empty: nothing.
            status: The status code.
        """
        content = self.page(
            "message.html", "", Filters(), title="Verdicts", message=message, hint=hint, kind="inconclusive"
        )
        content.status_code = status
        return content

    def record(self, record_id: str) -> tuple[int, Record, Source]:
        """See `Viewer.record`.

        Raises:
            HTTPException: there is no such record.
        """
        found = self.viewer.record(record_id)
        if found is None:
            raise HTTPException(404)
        return found

    def labels(self, about: str | None = None) -> list[Label]:
        """The labels, without cases that were skipped.

        Args:
            about: See `Labels.all`.
        """
        return [] if self.viewer.labels is None else self.viewer.labels.all(about=about)


def _when(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
