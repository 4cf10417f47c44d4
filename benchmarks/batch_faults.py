"""Batches with faults and killed processes: what is lost, and what is paid twice.

    python benchmarks/batch_faults.py

Each line is a command `ra-judge grade --batch --wait` on 400 rows in three passes against a local server with OpenAI's
batch protocol, started again after each kill. Lost are rows without a verdict, and replies that were paid for and are
in no verdict. Paid twice are requests that the server answered twice.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from batch_server import FakeBatches

ROWS, PASSES = 400, 3
KILLS = ("before upload", "after upload", "after create", "status", "during fetch")
FAULTS = {"error": 0.1, "missing": 0.1, "prose": 0.1}
LINES = {
    "no faults": ({}, {}),
    "errors, missing lines, replies that are not verdicts": (
        {"faults": {"error": 0.1, "missing": 0.1, "prose": 0.1}},
        {},
    ),
    "lines out of order, twice, damaged and of others": ({"messy": True}, {}),
    "expiry with half of the requests done": ({"expire": 0.5}, {}),
    "a connection lost while creating": ({}, {"drop_at": "after create"}),
    **{f"kill -9: {point}": ({"messy": True}, {"kill_at": point}) for point in KILLS},
    "all faults, and a kill after creating": (
        {"messy": True, "expire": 0.3, "faults": FAULTS},
        {"kill_at": "after create"},
    ),
}


def main() -> None:
    print("| 400 rows, 3 passes, with | requests run | faults | lost | paid twice |\n|---|---|---|---|---|")
    for name, (server_options, plan) in LINES.items():
        with tempfile.TemporaryDirectory() as folder, FakeBatches(**server_options) as server:
            for attribute, value in plan.items():
                setattr(server, attribute, value)
            kills = run(server, Path(folder))
            rows = [json.loads(line) for line in (Path(folder) / "out.jsonl").read_text().splitlines()]
            verdicts = sum(row["scores"] is not None for row in rows)
            faults = sum(server.injected.values()) - server.injected["out of order"]
            run_requests = sum(server.paid.values()) + server.count
            unused = run_requests - server.injected["prose"] - verdicts * PASSES
            assert kills == ("kill_at" in plan)
            print(
                f"| {name} | {run_requests:,} | {faults:,} | {ROWS - verdicts + unused} | {server.doubled} |",
                flush=True,
            )


def run(server: FakeBatches, folder: Path) -> int:
    """Grade until the command ends by itself, and return the number of kills."""
    lines = (json.dumps({"prompt": f"question {i}", "response": f"is {i % 5 + 1}"}) for i in range(ROWS))
    (folder / "in.jsonl").write_text("".join(f"{line}\n" for line in lines))
    command = [Path(sys.executable).parent / "ra-judge", "grade", "in.jsonl", "-o", "out.jsonl", "--principle", "p"]
    options = ["--model", "fake", "--api-base", server.url, "--passes", str(PASSES), "--batch", "--wait"]
    env = {**os.environ, "RA_JUDGE_HOME": str(folder / "home")}
    for kills in range(10):
        process = subprocess.Popen([*command, *options], cwd=folder, env=env, stderr=subprocess.DEVNULL)
        server.victim = process.pid
        code = process.wait(timeout=300)
        if code >= 0:
            assert code == 0, code
            return kills
    raise AssertionError("killed too often")


if __name__ == "__main__":
    main()
