"""Applications that are a Python function: imported by name and run over cases, several at a time."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

from rewardanything_core.cli._check.dataset import Cells, case_name
from rewardanything_core.cli._check.kept import KeptOutputs, digest
from rewardanything_core.errors import ConfigError

App: TypeAlias = Callable[[Cells], Any]

DEFAULT_CONCURRENCY = 4


def load_app(name: str, folder: Path) -> App:
    """The function that ``module:function`` names.

    Args:
        name: The module as it would be imported, and the function or attribute in it.
        folder: Where modules are looked for first.

    Raises:
        ConfigError: there is no such function, or its module fails when it is imported.
    """
    module, _, function = name.partition(":")
    if not module or not function or "/" in module or module.endswith(".py"):
        raise ConfigError(f"The app is named module:function, such as app:answer, not {name!r}.")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        with redirect_stdout(sys.stderr):
            found = attrgetter(function)(importlib.import_module(module))
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"The app {name!r} cannot be imported: {type(error).__name__}: {error}.",
            hint=f"Modules are looked for in {folder} and among the installed packages.",
        ) from error
    if not callable(found):
        raise ConfigError(f"The app {name!r} is no function but a {type(found).__name__}.")
    app: App = found
    return app


def run_app(
    name: str,
    app: App,
    rows: Sequence[Mapping[str, Any]],
    *,
    concurrency: int = DEFAULT_CONCURRENCY,
    resume: bool = False,
    told: Callable[[int, int], None],
) -> list[str]:
    """What the application answers to each case.

    Each answer is kept when it is there, and used again only on demand, since what a function answers depends on more
    than can be seen.

    Args:
        name: The application's name.
        app: Takes a case's fields as a dict of its own, and returns a text or something to be awaited for one.
        rows: The cases.
        concurrency: How many at a time, in threads; what is awaitable is awaited on one event loop.
        resume: Use the answers of the last run, if the function's file is still the same.
        told: Called with (answers there are, cases).

    Raises:
        ConfigError: it failed on a case, or returned something else than text; the message says which and why.
    """
    with KeptOutputs({"app": name, "source": _source(app)}, fresh=not resume) as kept:
        keys = [digest(dict(row)) for row in rows]
        with redirect_stdout(sys.stderr):  # what the app prints is not part of the report
            asyncio.run(_run_all(name, app, rows, keys, kept, concurrency, told))
        return [str((kept.get(key) or {})["response"]) for key in keys]


async def _run_all(
    name: str,
    app: App,
    rows: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    kept: KeptOutputs,
    concurrency: int,
    told: Callable[[int, int], None],
) -> None:
    left = [number for number, key in enumerate(keys) if kept.get(key) is None]
    done = len(rows) - len(left)
    told(done, len(rows))
    waiting = iter(left)
    stopped = False
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="app")

    async def work() -> None:
        nonlocal done, stopped
        for number in waiting:
            if stopped:
                return
            case = case_name(rows[number], number + 1)
            try:
                answer = await asyncio.get_running_loop().run_in_executor(pool, _called, app, dict(rows[number]))
                if inspect.isawaitable(answer):
                    answer = await answer
            except Exception as error:
                stopped = True
                raise _failed(name, case, error, done) from error
            if not isinstance(answer, str):
                stopped = True
                raise ConfigError(f"The app {name!r} must return text; for {case} it gave a {type(answer).__name__}.")
            kept.add(keys[number], answer)
            done += 1
            told(done, len(rows))

    try:
        # The others end the case they are at, so that what they were at is kept too.
        outcomes = await asyncio.gather(*(work() for _ in range(min(concurrency, len(left)))), return_exceptions=True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


def _called(app: App, row: Cells) -> Any:
    try:
        return app(row)
    except SystemExit as error:  # or an app could end the command with the exit code of a pass
        raise RuntimeError(f"it called sys.exit({error.code!r})") from error


def _failed(name: str, case: str, error: Exception, done: int) -> ConfigError:
    place = ""
    trace = error.__traceback__
    while trace is not None:
        place = f" ({Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    answers = f"{done} answer{'s' if done != 1 else ''}"
    return ConfigError(
        f"The app {name!r} failed on {case}: {type(error).__name__}: {error}{place}.",
        hint=f"Nothing was judged. {answers} made so far are kept: --resume goes on with them." if done else "",
    )


def _source(app: App) -> str | None:
    """Hash of the file with the function. None: there is no file to be read."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(app))
        return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except (OSError, TypeError):
        return None
