"""A judge server for tests: in a thread of this process with any judge, or as the command in a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
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
from scripts import by_length, heed_ctrl_c

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.backends import Request
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.server.app import create_app
from rewardanything_core.server.limits import Limits
from rewardanything_core.server.middleware import AuthMiddleware
from rewardanything_core.server.running import Server, listen

CASE = {"principle": "Be brief.", "prompt": "How far is the moon?", "responses": {"a": "Far.", "b": "It is far."}}


def case(text: str = "Far.", **changes: Any) -> dict[str, Any]:
    """A case whose one response has this text."""
    return {"principle": "Be brief.", "prompt": "How far?", "responses": {"a": text}, **changes}


class Held:
    """A model that says nothing until it is let go; for what contains a word, if one is given."""

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


def until(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    """Wait for something that happens elsewhere."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it never happened")
        time.sleep(0.005)


@dataclass
class Running:
    """A server in a thread."""

    url: str
    app: AuthMiddleware
    client: httpx.Client

    def post(self, path: str, body: Any, **about: Any) -> httpx.Response:
        return self.client.post(path, json=body, **about)


@contextmanager
def serving(
    judge: BaseJudge | None = None, *, tokens: tuple[str, ...] = (), hosts: Any = None, **limits: Any
) -> Iterator[Running]:
    """Serve a judge, by length if none is given; `Limits` by name."""
    if judge is None:
        judge = Judge(ScriptedBackend(by_length), cache="off")
    with running(create_app(judge, tokens=tokens, hosts=hosts, limits=Limits(**limits))) as server:
        yield server


@contextmanager
def running(app: AuthMiddleware) -> Iterator[Running]:
    """Run an application."""
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = Server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield Running(url, app, client)
    server.should_exit = True
    thread.join(60)
    assert not thread.is_alive()


class Command:
    """``ra-judge serve`` in a process of its own, on a free port."""

    def __init__(self, folder: Path, *arguments: str, **env: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RA_JUDGE_")}
        kept |= {"RA_JUDGE_HOME": str(folder / "home"), "PYTHONPATH": str(Path(__file__).parent), **env}
        self.process = subprocess.Popen(
            [str(Path(sys.executable).with_name("ra-judge")), "serve", "--port", "0", *arguments],
            cwd=folder,
            env=kept,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_ctrl_c,
        )
        self.said = ""
        self._heard = threading.Thread(target=self._hear, daemon=True)
        self._heard.start()

    def _hear(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line

    @property
    def url(self) -> str:
        """Where it listens, once its judge is loaded."""
        until(lambda: "Ready" in self.said or self.process.poll() is not None, timeout=60)
        found = re.search(r"http://\S+", self.said)
        assert found, self.said
        return found[0]

    def ended(self) -> int:
        """Its exit code."""
        code = self.process.wait(60)
        self._heard.join(10)
        assert "Traceback" not in self.said, self.said
        return code

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
