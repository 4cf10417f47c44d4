"""llama.cpp's server from the xllamacpp wheel, in a separate process.

python model_server.py GGUF PORT
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path


class LlamaServer:
    """A context manager that serves a GGUF file with OpenAI's protocol on this machine."""

    def __init__(self, gguf: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.gguf = gguf
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> LlamaServer:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self.gguf), str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2) as reply:
                    if reply.status == 200:
                        return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        self.__exit__()
        raise RuntimeError("The model server did not start.")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def serve(gguf: str, port: int) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.n_ctx = 16384
    params.n_parallel = 4
    params.cpuparams.n_threads = 2
    params.port = port
    server = xllamacpp.Server(params)
    while server:
        time.sleep(3600)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
