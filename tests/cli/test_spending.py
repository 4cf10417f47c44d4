"""Limits of the commands: the estimate, the question, the stop, and going on afterwards."""

import json
import os
import pty
import subprocess

import pytest
from checks import RA_JUDGE, environ, errors_of, invoke, outputs, read_jsonl, write_jsonl
from servers import FakeOpenAI

pytestmark = pytest.mark.usefixtures("here")

TWO = {"a": "is 1", "b": "is 4"}


def grade(server, *more, out="out.jsonl", code=0):
    judge = ("--model", "openai/gpt-4o-mini", "--api-base", server.url)
    return invoke("grade", "in.jsonl", "-o", out, "--principle", "Be right.", *judge, *more, code=code)


@pytest.fixture(autouse=True)
def in_file(here):
    write_jsonl("in.jsonl", [{"id": i, "prompt": f"q{i}", "response": f"is {i % 5 + 1}"} for i in range(40)])


@pytest.mark.parametrize("cache", ["on", "off"])
@pytest.mark.parametrize("out", ["out.jsonl", "out.csv"])
def test_a_run_stops_at_the_limit_and_the_same_command_finishes_it(server: FakeOpenAI, cache, out):
    server.fault_rate = 0.1
    for limit in (15, 15, 15, 60):
        done = grade(server, "--max-calls", limit, "--yes", "--cache", cache, "--json", out=out, code=None)
        if done.code == 0:
            break
        summary = json.loads(done.stdout)
        assert (done.code, summary["failed"], summary["calls"]) == (3, 0, 15)
        assert "max_calls = 15" in summary["stopped"]
    assert summary["rows"] == 40 and server.count <= 61
    last = json.loads(done.stdout)
    assert last["stopped"] is None and last["failed"] == 0 and last["done_before"] > 0
    grade(server, "--cache", cache, out="whole.jsonl")
    whole = read_jsonl("whole.jsonl")
    if out == "out.jsonl":
        written = read_jsonl(out)
        names = ("id", "scores", "error")
        assert [[row[name] for name in names] for row in written] == [[row[name] for name in names] for row in whole]


def test_rows_of_an_earlier_run_survive_a_stop_while_failed_ones_are_judged_again(server: FakeOpenAI):
    server.reply = lambda body: "prose" if "q7" in str(body) or "q9" in str(body) else None
    grade(server, "--cache", "off", code=3)
    before = read_jsonl("out.jsonl")
    server.reply = None
    done = grade(server, "--cache", "off", "--retry-failed", "--max-calls", 1, "--yes", code=3)
    after = read_jsonl("out.jsonl")
    assert "Stopped. The budget is used up" in errors_of(done)
    assert len(after) == 40 and after[7]["scores"] and not after[9]["scores"]
    assert [row for row in after if row["id"] not in (7, 9)] == [row for row in before if row["id"] not in (7, 9)]
    grade(server, "--cache", "off")
    assert read_jsonl("out.jsonl")[9]["scores"]


def test_the_estimate_alone_judges_nothing_and_says_what_it_is_made_from(server: FakeOpenAI):
    text = errors_of(grade(server, "--estimate"))
    assert "40 cases, 0 of them from the store (free); 40 calls, about" in text
    assert "$" in text and "an estimate, from the number of characters and 300 tokens a reply" in text
    assert server.count == 0


def test_without_a_terminal_more_than_the_limit_needs_yes_and_less_runs(server: FakeOpenAI):
    refused = errors_of(grade(server, "--max-cost", "0.0001", code=2))
    assert "exceeds the limit" in refused and "--yes" in refused and server.count == 0
    done = errors_of(grade(server, "--max-cost", 1))
    assert "40 judged" in done and "40 calls" in done and ", $0.00" in done
    again = errors_of(grade(server, "--max-cost", 1, out="again.jsonl"))
    assert "40 from the store (100%)" in again and server.count == 40


@pytest.mark.parametrize(("answer", "code", "sent"), [("n\n", 2, 0), ("y\n", 3, 5)])
def test_on_a_terminal_it_asks(server: FakeOpenAI, answer, code, sent):
    ours, theirs = pty.openpty()
    judge = ["--principle", "p", "--model", "fake", "--api-base", server.url]
    run = subprocess.Popen(
        [RA_JUDGE, "grade", "in.jsonl", "-o", "out.jsonl", *judge, "--max-calls", "5"],
        stdin=theirs, stderr=theirs, stdout=subprocess.DEVNULL, env=environ(TERM="dumb"),
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while b"[y/N]" not in shown:
        shown += os.read(ours, 1000)
    os.write(ours, answer.encode())
    try:
        while os.read(ours, 1000):
            pass
    except OSError:  # the other end is closed
        pass
    assert run.wait() == code and server.count == sent
    os.close(ours)


def test_bench_and_check_stop_and_go_on(server: FakeOpenAI):
    judge = ("--model", "fake", "--api-base", server.url)
    rows = [
        {"id": str(i), "principle": "p", "prompt": f"q{i}", "responses": TWO, "ranking": ["b", "a"]} for i in range(20)
    ]
    write_jsonl("bench.jsonl", rows)
    stopped = invoke("bench", "bench.jsonl", *judge, "--max-calls", 12, "--yes", code=3)
    assert "The budget is used up" in errors_of(stopped) and server.count == 12
    done = invoke("bench", "bench.jsonl", *judge, "--max-calls", 12)
    assert "12 from the store (60%)" in done.stdout and server.count == 20

    write_jsonl("a.jsonl", outputs(4))
    write_jsonl("b.jsonl", outputs(lambda i: 3 + i % 2))
    check = ("check", "--baseline", "a.jsonl", "--candidate", "b.jsonl", "--principle", "Be right.", *judge)
    assert "Estimate: " in errors_of(invoke(*check, "--estimate"))
    refused = invoke(*check, "--max-calls", 3, code=2)
    assert "Estimate: " in errors_of(refused) and server.count == 20
    invoke(*check, "--max-calls", 3, "--yes", code=3)
    assert server.count == 23
    assert invoke(*check, code=None).code in (0, 1, 3)
