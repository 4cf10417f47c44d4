"""Throughput, latency and CPU time of `ra-judge serve`.

    python benchmarks/throughput_server.py              # a few minutes
    python benchmarks/throughput_server.py --peer       # compared with the server of rewardanything 1.0.1

The server runs in its own process with a scripted model that replies at once, which shows the cost of the server
itself, or after 50 ms, like a real model. The client (aiohttp) is another process; both share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
from stub_server import Stub

HERE = Path(__file__).resolve()


async def at_once(request):
    from rewardanything_core.backends import verdict_reply

    responses = json.loads(request.messages[1]["content"])["responses"]
    return verdict_reply({name: 1 + len(text) % 5 for name, text in responses.items()}, thoughts="by length")


async def after_50_ms(request):
    await asyncio.sleep(0.05)
    return await at_once(request)


def case(i: int, **more) -> dict:
    answer = "The moon is about 384,400 kilometres away on average, which light crosses in 1.3 seconds. "
    responses = {"old": answer * 3 + str(i), "new": answer + str(i), "none": f"I do not know ({i})."}
    return {"principle": "Be brief.", "prompt": f"Question {i}: how far is the moon?", "responses": responses, **more}


@contextmanager
def process(*command: str, ready: str, env: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Start a command and wait until a line of its output matches; its process id and its output so far."""
    running = subprocess.Popen(
        command, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert running.stdout is not None
    output = ""
    for line in running.stdout:
        output += line
        if re.search(ready, line):
            break
    else:
        raise SystemExit(output)
    drain = subprocess.Popen(["cat"], stdin=running.stdout, stdout=subprocess.DEVNULL)
    try:
        yield running.pid, output
    finally:
        running.terminate()
        running.wait(60)
        drain.wait(10)


@contextmanager
def judge_server(folder: Path, *arguments: str) -> Iterator[tuple[int, str]]:
    env = {"PYTHONPATH": str(HERE.parent), "RA_JUDGE_HOME": str(folder), "RA_JUDGE_STORE": str(folder / "v.sqlite3")}
    command = str(Path(sys.executable).with_name("ra-judge"))
    with process(command, "serve", "--port", "0", *arguments, ready="Ready", env=env) as (pid, output):
        match = re.search(r"http://\S+", output)
        assert match
        yield pid, match[0]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def singles(url: str, route: str, cases: list[dict], concurrency: int) -> list[float]:
    """The seconds of each case, sent one per request over ``concurrency`` connections."""
    remaining = iter(cases)
    durations: list[float] = []

    async def work(session: aiohttp.ClientSession) -> None:
        for item in remaining:
            started = time.perf_counter()
            async with session.post(url + route, json=item) as response:
                body = await response.json()
                assert response.status == 200, body
                assert body["scores"] if "scores" in body else body["results"]["scores"], body
            durations.append(time.perf_counter() - started)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(work(session) for _ in range(concurrency)))
    return durations


async def batches(url: str, cases: list[dict], size: int) -> list[float]:
    """The seconds from the start of a batch to each of its lines, with four batches at a time."""
    remaining = iter([cases[i : i + size] for i in range(0, len(cases), size)])
    durations: list[float] = []

    async def work(session: aiohttp.ClientSession) -> None:
        for chunk in remaining:
            started = time.perf_counter()
            async with session.post(f"{url}/v1/judge/batch?order=completed", json={"cases": chunk}) as response:
                async for line in response.content:
                    assert b'"verdict"' in line, line
                    durations.append(time.perf_counter() - started)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(work(session) for _ in range(4)))
    return durations


async def whole_batch(url: str, cases: list[dict]) -> list[float]:
    """The batch route of rewardanything 1.0.1, with one response for all cases."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(600)) as session:
        started = time.perf_counter()
        async with session.post(f"{url}/api/rewardanything_batch", json=cases) as response:
            body = await response.json()
            assert response.status == 200, body
            assert len(body) == len(cases)
        return [time.perf_counter() - started] * len(cases)


def measure(name: str, pid: int, work) -> None:
    cpu, started = cpu_seconds(pid), time.perf_counter()
    durations = sorted(asyncio.run(work))
    wall, spent = time.perf_counter() - started, cpu_seconds(pid) - cpu
    p50, p95, p99 = (1000 * durations[min(len(durations) - 1, int(len(durations) * q))] for q in (0.5, 0.95, 0.99))
    columns = [f"{len(durations) / wall:,.0f}", *(f"{p:.0f}" for p in (p50, p95, p99))]
    print(f"| {name} | {' | '.join(columns)} | {1000 * spent / len(durations):.2f} |", flush=True)


def print_header(title: str) -> None:
    print(f"\n{title}; load of the machine {os.getloadavg()[0]:.1f}\n")
    print("| | verdicts/s | p50 ms | p95 ms | p99 ms | server CPU ms per verdict |\n|---|---|---|---|---|---|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--peer", action="store_true")
    options = parser.parse_args()
    n = options.cases
    with tempfile.TemporaryDirectory() as folder:
        if options.peer:
            compare(Path(folder), n // 2)
            return
        for script, cache in (("at_once", "off"), ("at_once", "on"), ("after_50_ms", "off")):
            model = f"scripted:{HERE.stem}:{script}"
            with judge_server(Path(folder) / f"{script}-{cache}", "--model", model, "--cache", cache) as (pid, url):
                asyncio.run(singles(url, "/v1/judge", [case(-i) for i in range(1, 201)], 16))
                print_header(f"Judge `{script}`, store {cache}, {n:,} cases of 3 responses")
                for i, concurrency in enumerate((1, 16, 64, 256)):
                    number = n // 8 if concurrency == 1 else n
                    cases = [case(i * n + j) for j in range(number)]
                    measure(f"/v1/judge, {concurrency} at a time", pid, singles(url, "/v1/judge", cases, concurrency))
                if cache == "on":
                    measure("the same again, from the store", pid, singles(url, "/v1/judge", cases, 64))
                cases = [case(5 * n + j) for j in range(n)]
                measure("/v1/judge/batch, 4 of 250 at a time", pid, batches(url, cases, 250))


def compare(folder: Path, n: int) -> None:
    """Both servers with the same stub of a model's server, which takes 50 ms."""
    names = ["model-1", "model-2", "model-3"]
    reply = json.dumps({"scores": dict(zip(names, (4, 3, 1), strict=True)), "best-to-worst": names})
    with Stub({"model": reply}, latency=0.05) as stub:
        print_header(f"Both servers before one HTTP model of 50 ms, {n:,} cases")
        settings = {
            "api_model": "stub",
            "api_key": ["none"],
            "api_base": [stub.url("model")],
            "num_workers": 64,
            "request_limit": 1_000_000,
            "request_limit_period": 1,
            "generation_config": {},
        }
        (folder / "peer.json").write_text(json.dumps(settings))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "rewardanything.serve", "-c", str(folder / "peer.json"), "--host", "127.0.0.1"]
        paths = ["--port", str(port), "--base-output-path", str(folder / "peer")]
        with process(*command, *paths, ready="Uvicorn running", env={}) as (pid, _):
            measure_compat_routes("rewardanything 1.0.1", pid, f"http://127.0.0.1:{port}", n)
        arguments = ["--model", "hosted_vllm/stub", "--api-base", stub.url("model"), "--cache", "off"]
        with judge_server(folder / "endpoint", *arguments) as (pid, url):
            measure_compat_routes("ra-judge serve", pid, url, n)


def measure_compat_routes(name: str, pid: int, url: str, n: int) -> None:
    """Measure the two routes of rewardanything 1.0.1."""
    route = "/api/rewardanything"
    asyncio.run(singles(url, route, [case(-i) for i in range(1, 51)], 8))
    for concurrency in (1, 64):
        cases = [case(j) for j in range(n // 10 if concurrency == 1 else n)]
        measure(f"{name}: single, {concurrency} at a time", pid, singles(url, route, cases, concurrency))
    measure(f"{name}: one batch of {n:,}", pid, whole_batch(url, [case(n + j) for j in range(n)]))


if __name__ == "__main__":
    main()
