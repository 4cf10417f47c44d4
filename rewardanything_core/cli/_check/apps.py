"""Applications that are a Python function: imported by name and run on cases, several at a time."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

from rewardanything_core.cli._check.dataset import Cells, case_name, prompt_of
from rewardanything_core.cli._check.output_cache import OutputCache, digest
from rewardanything_core.conversations import read_messages, read_reply
from rewardanything_core.conversations.trajectory import response_json
from rewardanything_core.errors import ConfigError, InvalidCaseError

App: TypeAlias = Callable[[Cells], Any]

DEFAULT_CONCURRENCY = 4


def load_app(name: str, folder: Path) -> App:
    """Import the function named ``module:function``.

    Args:
        name: The importable module, and the function or attribute in it.
        folder: Where modules are searched first.

    Raises:
        ConfigError: there is no such function, or its module raises an error when it is imported.
    """
    module, _, function = name.partition(":")
    if not module or not function or "/" in module or module.endswith(".py"):
        raise ConfigError(f"An app is named module:function, such as app:answer, not {name!r}.")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        imported = attrgetter(function)(importlib.import_module(module))
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"The app {name!r} cannot be imported: {type(error).__name__}: {error}.",
            hint=f"Modules are searched in {folder} and among the installed packages.",
        ) from error
    if not callable(imported):
        raise ConfigError(f"The app {name!r} is not a function but a {type(imported).__name__}.")
    app: App = imported
    return app


def run_app(
    name: str,
    app: App,
    rows: Sequence[Mapping[str, Any]],
    *,
    concurrency: int = DEFAULT_CONCURRENCY,
    resume: bool = False,
    progress: Callable[[int, int], None],
) -> list[Any]:
    """Run an application on cases.

    Each answer is cached as soon as it is there. Cached answers are reused only on request, because a function's
    answers may depend on more than its file.

    Args:
        name: The application's name.
        app: Takes a copy of a case's fields as a dict. Returns a text, or messages in any form that `read_messages`
            knows, which may begin with the prompt; or an awaitable for one of these.
        rows: The cases.
        concurrency: How many cases run at a time, in threads; awaitables run on one event loop.
        resume: Reuse the answers of the last run if the function's file is unchanged.
        progress: Called with (answers available, cases).

    Returns:
        The answers as plain JSON, a text or messages in normal form, in the order of the cases.

    Raises:
        ConfigError: the application failed on a case, or returned something else; the message names the case.
    """
    with OutputCache({"app": name, "source": _source_hash(app)}, fresh=not resume) as cache:
        keys = [digest(dict(row)) for row in rows]
        asyncio.run(_run_all(name, app, rows, keys, cache, concurrency, progress))
        return [(cache.get(key) or {})["response"] for key in keys]


async def _run_all(
    name: str,
    app: App,
    rows: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    cache: OutputCache,
    concurrency: int,
    progress: Callable[[int, int], None],
) -> None:
    remaining = [index for index, key in enumerate(keys) if cache.get(key) is None]
    done = len(rows) - len(remaining)
    progress(done, len(rows))
    queue = iter(remaining)
    stopped = False
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="app")

    async def work() -> None:
        nonlocal done, stopped
        for index in queue:
            if stopped:
                return
            case = case_name(rows[index], index + 1)
            try:
                answer = await asyncio.get_running_loop().run_in_executor(pool, _call, app, dict(rows[index]))
                if inspect.isawaitable(answer):
                    answer = await answer
            except Exception as error:
                stopped = True
                raise _failed(name, case, error, done) from error
            try:
                cache.add(keys[index], _as_json(answer, prompt_of(rows[index])))
            except InvalidCaseError as error:
                stopped = True
                raise ConfigError(
                    f"The app {name!r} must return text or messages; for {case}: {error.message}"
                ) from error
            done += 1
            progress(done, len(rows))

    try:
        # After an error the other workers finish their current case, so that its answer is cached too.
        workers = (work() for _ in range(min(concurrency, len(remaining))))
        outcomes = await asyncio.gather(*workers, return_exceptions=True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


def _as_json(answer: Any, prompt: Any) -> Any:
    """An answer as plain JSON; messages without those of the prompt that they begin with."""
    asked = prompt if isinstance(prompt, str) else read_messages(prompt, where="prompt")
    return response_json(read_reply(answer, where="answer", prompt=asked))


def _call(app: App, row: Cells) -> Any:
    try:
        return app(row)
    except SystemExit as error:  # would end the command, with exit code 0 as if the check had passed
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
        hint=f"Nothing was judged. {answers} so far are saved; --resume continues with them." if done else "",
    )


def _source_hash(app: App) -> str | None:
    """Hash of the file that defines the function. None: there is no readable file."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(app))
        return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except (OSError, TypeError):
        return None
