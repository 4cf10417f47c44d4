"""Judge servers for tests: in a thread of this process with any judge, or as the command in its own process."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from scripts import by_length

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.backends import Request
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.server.app import create_app
from rewardanything_core.server.limits import Limits
from rewardanything_core.server.middleware import AuthMiddleware
from rewardanything_core.server.running import Server, listen

CASE = {"principle": "Be brief.", "prompt": "How far is the moon?", "responses": {"a": "Far.", "b": "It is far."}}


def case(text: str = "Far.", **changes: Any) -> dict[str, Any]:
    """A case with one response of this text."""
    return {"principle": "Be brief.", "prompt": "How far?", "responses": {"a": text}, **changes}


class BlockedModel:
    """A model that does not reply to requests with a certain word until it is released.

    Args:
        word: The word. Empty: all requests are blocked.
    """

    def __init__(self, word: str = "") -> None:
        self.word = word
        self.started = 0
        self.cancelled = 0
        self.released = threading.Event()

    async def reply(self, request: Request) -> str:
        self.started += 1
        try:
            while self.word in request.messages[1]["content"] and not self.released.is_set():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return by_length(request)

    def judge(self) -> Judge:
        return Judge(ScriptedBackend(self.reply), cache="off")


def wait_until(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    """Wait for something that happens in another thread or process.

    Raises:
        TimeoutError: it did not happen.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the condition was still false after {timeout:g} s")
        time.sleep(0.005)


@dataclass
class RunningServer:
    """A server in a thread."""

    url: str
    app: AuthMiddleware
    server: Server
    client: httpx.Client

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return self.client.post(path, json=body, **options)


@contextmanager
def serving(
    judge: BaseJudge | None = None, *, tokens: tuple[str, ...] = (), hosts: Any = None, **limits: Any
) -> Iterator[RunningServer]:
    """Serve a judge.

    Args:
        judge: The judge. None: one that scores by length.
        tokens: The tokens that clients may use.
        hosts: The accepted host names. None: any.
        **limits: Fields of `Limits`.
    """
    if judge is None:
        judge = Judge(ScriptedBackend(by_length), cache="off")
    with running(create_app(judge, tokens=tokens, hosts=hosts, limits=Limits(**limits))) as server:
        yield server


@contextmanager
def running(app: AuthMiddleware) -> Iterator[RunningServer]:
    """Run an application."""
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = Server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield RunningServer(url, app, server, client)
    server.should_exit = True
    thread.join(60)
    assert not thread.is_alive()


class Command:
    """``ra-judge serve`` in its own process, on a free port.

    Args:
        folder: The working directory.
        *arguments: Arguments of the command.
        descriptors: The process's limit of file descriptors. None: that of this process.
        **env: Environment variables.
    """

    def __init__(self, folder: Path, *arguments: str, descriptors: int | None = None, **env: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RA_JUDGE_")}
        settings = {"RA_JUDGE_HOME": str(folder / "home"), "PYTHONPATH": str(Path(__file__).parent)}

        def prepare() -> None:
            # A shell starts background processes with Ctrl-C ignored, and children inherit that.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if descriptors is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        self.process = subprocess.Popen(
            [str(Path(sys.executable).with_name("ra-judge")), "serve", "--port", "0", *arguments],
            cwd=folder,
            env={**inherited, **settings, **env},
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=prepare,
        )
        self.output = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.output += line

    @property
    def url(self) -> str:
        """The address that it listens on, once its judge is loaded."""
        wait_until(lambda: "Ready" in self.output or self.process.poll() is not None, timeout=60)
        match = re.search(r"http://\S+", self.output)
        assert match, self.output
        return match[0]

    def exit_code(self) -> int:
        """The exit code, once the process has ended; its output has no traceback."""
        code = self.process.wait(60)
        self._reader.join(10)
        assert "Traceback" not in self.output, self.output
        return code

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
