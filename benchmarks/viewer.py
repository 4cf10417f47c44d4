"""How quick the viewer's pages are at 1,000, 100,000 and 1,000,000 verdicts.

python benchmarks/viewer.py                     # a few minutes, and about 4 GB in a temporary folder
python benchmarks/viewer.py --sizes 1000 20000

The store is synthetic: cases with two responses, of about 100 words together, drawn from 20,000 words as in natural
text (Zipf), under 6 principles by 4 judges. Pages are requested over HTTP as a browser does, without what it draws.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from viewing import entry, serving

from rewardanything_core.store.verdict_store import VerdictStore
from rewardanything_core.viewer.listing import Listing
from rewardanything_core.viewer.viewer import Viewer

PRINCIPLES = [f"Principle {number}: prefer the answer that is better in respect {number}." for number in range(6)]
MODELS = ["openai/gpt-5-mini", "qwen/8b", "wisdomshell/rewardanything", "local/small"]
REPEATS = 9
BATCH = 24_000  # a multiple of the 24 verdicts on six cases by four judges

PAGES = {
    "first page": "/",
    "page in the middle": "/?after={middle}",
    "one principle": "/?principle={principle}",
    "one principle and judge, scores 1 to 2": "/?principle={principle}&model=qwen/8b&max=2",
    "spread at least 1.4 (1 in 100)": "/?spread=1.4",
    "spread at least 0.2 (most)": "/?spread=0.2",
    "failures (1 in 1,000)": "/?failure=any",
    "largest spread first": "/?sort=spread",
    "a common word": "/?q=word3",
    "a rare word": "/?q=word19990",
    "a phrase and a principle": '/?q="word3 word1"&principle={principle}',
    "one verdict": "/verdict/{record}",
    "next case to label": "/label?person=Ann",
    "compare two judges": "/compare?by=model&a=openai/gpt-5-mini&b=qwen/8b",
    "charts": "/charts",
}


def texts(rng: np.random.Generator, number: int, words: int) -> list[str]:
    """Texts of so many words."""
    ranks = np.minimum(rng.zipf(1.2, size=(number, words)), 20_000)
    return [" ".join(f"word{rank}" for rank in row) for row in ranks]


def grow(path: Path, start: int, end: int) -> None:
    """Append verdicts to a store; the rows are written directly, since making judges say so much would take hours."""
    VerdictStore(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    rng = np.random.default_rng(start)
    for first in range(start, end, BATCH):
        count = min(BATCH, end - first)
        cases = 6 * (count // 24 + 1)
        prompts, ones, others, reasons = (texts(rng, cases, words) for words in (15, 30, 30, 25))
        scores = np.round(rng.uniform(1, 5, size=(count, 2)), 2)
        spreads = np.round(rng.beta(1.2, 3, size=(count, 2)) * 2, 2)
        rows = []
        for place in range(count):
            number, drawn = first + place, place // 24 * 6 + place % 6
            principle, model = PRINCIPLES[number % 6], MODELS[(number // 6) % 4]
            prompt, one, other, why = (column[drawn] for column in (prompts, ones, others, reasons))
            case = {"principle": {"text": principle}, "prompt": prompt, "responses": {"a": one, "b": other}}
            by = dict(zip("ab", scores[place].tolist(), strict=True))
            verdict = {
                "scores": by,
                "ranking": sorted(by, key=lambda label, by=by: -by[label]),
                "spread": dict(zip("ab", spreads[place].tolist(), strict=True)),
                "agreement": 1.0 if number % 3 else 0.0,
                "replies": [[{"reasoning": why, "raw_output": why}]],
                "orders": [["a", "b"]],
                "pass_scores": [by],
                "usage": {"calls": 1, "prompt_tokens": 400, "completion_tokens": 60, "seconds": 1.0, "cost": 0.0004},
                "model": model,
            }
            key, failure = f"{number:016x}{number:048x}", None
            if number % 1000 == 7:
                message = {"case_id": None, "error_type": "VerdictParseError", "message": why, "usage": {}}
                verdict, failure, key = None, json.dumps(message), None
            created = f"2026-11-{1 + number * 28 // max(end, 1_000_000):02d}T12:00:00.{number % 1_000_000:06d}+00:00"
            rows.append(
                (f"{number:016x}", key, created, None, model, "0" * 64, '["a","b"]', json.dumps(case), "{}",
                 verdict and json.dumps(verdict), failure)
            )  # fmt: skip
        with connection:
            connection.executemany(
                'INSERT INTO records (record_id, key, created, case_id, model, template_hash, labels, "case", settings,'
                " verdict, failure) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
    connection.close()


def measure(path: Path, size: int) -> None:
    """Times at this size."""
    started = time.perf_counter()
    viewer = Viewer([path])
    viewer.follower.step()
    opened = time.perf_counter() - started
    before = viewer.follower.indexed
    started = time.perf_counter()
    viewer.follower.catch_up()
    viewer.follower.step()
    seconds = time.perf_counter() - started
    added = size - before
    index = viewer.index.path.stat().st_size
    viewer.close()
    print(f"\n{size:,} verdicts: store {path.stat().st_size / 1e6:,.0f} MB, index {index / 1e6:,.0f} MB")
    print(f"  first batch after {1000 * opened:,.0f} ms, {added:,} more in {seconds:,.1f} s")
    with serving(path) as (running, link), httpx.Client(follow_redirects=True, timeout=120) as client:
        client.get(link)
        base = link.partition("/?")[0]
        listing = Listing(running.index)
        key = next(key for key, name in listing.names("principle") if name == PRINCIPLES[0][:200])
        middle = (next(iter(running.source_numbers.values())) << 40) + size // 2
        names = {"principle": key, "record": f"{size // 2:016x}", "middle": middle}
        for name, address in PAGES.items():
            times = []
            for _ in range(REPEATS):
                started = time.perf_counter()
                answer = client.get(base + address.format(**names))
                times.append(1000 * (time.perf_counter() - started))
                assert answer.status_code == 200, (name, answer.text[:500])
                if times[-1] > 3000:
                    break
            rows = len(re.findall(r'<td data-label="Prompt"', answer.text))
            print(f"  {name:40} {statistics.median(times):8.0f} ms   slowest {max(times):6.0f} ms   {rows:3} rows")
        started = time.perf_counter()
        with VerdictStore(path) as store:
            store.put(entry(10**9 + size, ["new", "newer"], prompt=f"brand new {size}"))
        while f"brand new {size}" not in client.get(base + "/rows").text:
            time.sleep(0.02)
        print(f"  {'a new verdict is in the list after':40} {1000 * (time.perf_counter() - started):8.0f} ms")


def main() -> None:
    """Measure at all sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    sizes = parser.parse_args().sizes
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RA_JUDGE_HOME"] = folder
        path, reached = Path(folder) / "verdicts.sqlite3", 0
        for size in sorted(sizes):
            started = time.perf_counter()
            grow(path, reached, size)
            print(f"wrote {size - reached:,} verdicts in {time.perf_counter() - started:.1f} s", flush=True)
            measure(path, size)
            reached = size


if __name__ == "__main__":
    main()
