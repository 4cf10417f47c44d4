"""Downloads from the model hub, with a server on localhost that implements the needed part of its API."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from test_fetch import TINY

from rewardanything_core.errors import ModelFetchError
from rewardanything_core.weights import sources

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b"{}",
    "model.safetensors": b"weights" * 1000,
    "tokenizer.json": b"{}",
    "pytorch_model.bin": b"a pickle",
    "onnx/config.json": b"{}",
}


class Hub(BaseHTTPRequestHandler):
    files = FILES

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.path.split("?")[0]
        content: bytes | None = None
        headers = {"X-Repo-Commit": COMMIT}
        if path.startswith(f"/api/models/{TINY.hub_id}/tree/"):
            listing = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in self.files.items()
            ]
            content = json.dumps(listing).encode()
        elif path.startswith(f"/api/models/{TINY.hub_id}"):
            siblings = [{"rfilename": name} for name in self.files]
            content = json.dumps({"id": TINY.hub_id, "sha": COMMIT, "siblings": siblings}).encode()
        elif path.startswith(f"/{TINY.hub_id}/resolve/{COMMIT}/"):
            content = self.files.get(path.split(f"{COMMIT}/")[1])
            if content is not None:
                headers["ETag"] = f'"{hashlib.sha1(content).hexdigest()}"'
        self.send_response(200 if content is not None else 404)
        for name, value in {**headers, "Content-Length": str(len(content or b""))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body and content is not None:
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    handler = type("ThisHub", (Hub,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield handler
        server.shutdown()


def test_only_safetensors_tokenizer_and_configuration_are_downloaded(hub: type[Hub], tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    assert sources.from_hub(TINY, folder, lambda *_: None) == COMMIT
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_a_repository_without_safetensors_is_an_error(hub: type[Hub], tmp_path: Path):
    hub.files = {name: data for name, data in FILES.items() if "safetensors" not in name}
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(ModelFetchError, match="no safetensors"):
        sources.from_hub(TINY, folder, lambda *_: None)
