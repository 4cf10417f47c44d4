"""``ra-judge view``: look at verdicts in a browser, and label them."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from rewardanything_core.cli import _options as options
from rewardanything_core.errors import ConfigError


def view(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STORE|judged.jsonl|report.json",
            help="Verdict stores, output of grade, reports of check --json.",
            show_default="the verdict store",
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the link and open no browser.")] = False,
) -> None:
    """Browse verdicts, look at one with the reasons for it, compare judges, and label cases by keys.

    The page is for this machine: it listens on 127.0.0.1, and the link works for one browser. It loads nothing from
    elsewhere. New verdicts appear while a run writes them.

    Labels are kept in the verdict store (the first one given, or else the default one) and exported on the page, for
    bench --labels, fit and align.

    Ctrl-C stops it with exit code 0. Exit code 2 means that the command cannot run.
    """
    from rewardanything_core.server import require
    from rewardanything_core.store.verdict_store import default_path

    require("The viewer")
    from rewardanything_core.viewer.running import serve
    from rewardanything_core.viewer.viewer import Viewer

    if not files and not default_path().exists():
        raise ConfigError(
            f"There is no verdict store at {default_path()} yet; the first verdict creates it.",
            hint="Judge something first, such as with ra-judge demo, or give a file.",
        )
    viewer = Viewer(files or [str(default_path())])
    links: list[str] = []

    def announce(link: str) -> None:
        links.append(link)
        what = "Open" if len(links) == 1 else "For another browser:"
        options.echo(f"{what} {link}")
        if len(links) == 1 and not no_open:
            threading.Thread(target=webbrowser.open, args=(link,), daemon=True).start()

    try:
        viewer.start()
        names = ", ".join(Path(source.path).name for source in viewer.sources)
        options.echo(f"Viewing {names}. Ctrl-C stops.")
        serve(viewer, port, announce)
    finally:
        viewer.close()
