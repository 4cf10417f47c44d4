"""The resident batch: who comes in and when, and that nobody notices who else is in. Nothing here measures time."""

import asyncio
import itertools
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from paths import TESTS
from tiny_models import tiny

from rewardanything_core import BackendError, Case, ConfigError, Judge, SamplingParams, Verdict, load_judge
from rewardanything_core.backends.base import Request
from rewardanything_core.backends.grammar import Text
from rewardanything_core.backends.local.backend import LocalBackend
from rewardanything_core.backends.local.compatibility import side_by_side
from rewardanything_core.backends.local.engine import model_runner
from rewardanything_core.backends.local.engine.kv_cache import Shelves, common
from rewardanything_core.backends.local.engine.sequence import Row
from rewardanything_core.backends.local.engine.waiting_queue import PATIENCE, Line
from rewardanything_core.prompting.verdict_grammar import thinking_grammar, verdict_grammar

TOPICS = ["the sea", "a king of old", "how bread is made", "why it rains", "the number seven", "a lost dog"]


pytestmark = pytest.mark.model

# --- the line


@dataclass(eq=False)
class Waiting:
    name: str
    need: int


def test_first_come_first_served_while_there_is_room():
    line = Line()
    for i in range(6):
        line.join(Waiting(str(i), 10))
    assert [one.name for one in line.admit(4, 100, empty=True)] == ["0", "1", "2", "3"]
    assert [one.name for one in line.admit(4, 15, empty=False)] == ["4"]
    assert [one.name for one in line.admit(4, 10, empty=False)] == ["5"]
    assert line.admit(4, 100, empty=True) == []


def test_short_ones_pass_a_long_one_so_many_times_and_no_more():
    line = Line()
    line.join(Waiting("long", 90))
    passed = []
    for i in range(5 * PATIENCE):
        line.join(Waiting(str(i), 10))
        passed += [one.name for one in line.admit(1, 50, empty=False)]
    assert passed == [str(i) for i in range(PATIENCE)]
    assert next(iter(line.admit(9, 100, empty=False))).name == "long"
    assert [one.name for one in line.admit(2, 50, empty=False)] == [str(PATIENCE + 1), str(PATIENCE + 2)]


def test_what_never_fits_goes_in_when_nobody_is_in():
    line = Line()
    line.join(Waiting("huge", 1000))
    line.join(Waiting("small", 1))
    assert [one.name for one in line.admit(3, 100, empty=True)] == ["huge"]


def test_those_who_made_room_come_in_again_first():
    line = Line()
    line.join(Waiting("new", 1))
    line.rejoin([Waiting("a", 1), Waiting("b", 1)])
    assert [one.name for one in line.admit(9, 9, empty=True)] == ["a", "b", "new"]


def test_one_that_is_no_longer_wanted_leaves_the_line():
    line = Line()
    for name in "abc":
        line.join(Waiting(name, 1))
    assert [one.name for one in line.drop(lambda one: one.name == "b")] == ["b"]
    assert [one.name for one in line] == ["a", "c"]


# --- seats


def test_what_two_begin_with():
    for a, b, size in [
        ([], [1], 0),
        ([1], [1], 1),
        ([1, 2, 3], [1, 2, 4, 5], 2),
        ([2], [1], 0),
        ([1] * 9, [1] * 20, 9),
    ]:
        assert common(a, b) == common(b, a) == size


def test_who_comes_sits_where_its_beginning_stands_and_short_ones_apart_from_long_ones():
    shelves = Shelves()
    first = shelves.enter([1, 2, 3], 20, None, 0)
    beside = shelves.enter([1, 2, 9], 20, first, 2)
    assert beside is not first  # somebody sits there
    assert beside.shelf is first.shelf
    shelves.leave(first, [1, 2, 3])
    assert shelves.enter([1, 2, 7], 20, first, 2) is first
    assert first.ids == [1, 2]
    assert shelves.enter([5], 5000, None, 0).shelf is not first.shelf


def test_shelves_on_which_nobody_sits_are_given_back_when_there_is_too_much_of_them():
    shelves = Shelves(tokens=1000)
    long = shelves.enter([1] * 900, 900, None, 0)
    long.shelf.make_room(900)
    short = shelves.enter([2], 10, None, 0)
    assert {long, short} <= set(shelves)
    shelves.leave(long, [1] * 900)
    again = shelves.enter([1, 3], 10, long, 1)
    assert set(shelves) == {short, again}
    assert again.ids == [1]


# --- rows side by side


@pytest.fixture(scope="module")
def tiny_folder(model_folder, tmp_path_factory):
    """A model of random weights, which is quick, with the words and the chat template of the small one."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    tokenizer.save_pretrained(folder)
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 8192, "initializer_range": 0.3}
    tiny("llama", eos_token_id=tokenizer.eos_token_id, **sizes).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def backend(tiny_folder):
    made = LocalBackend(tiny_folder, device="cpu")
    yield made
    made.close()


def row_about(backend, topic, *, budget=14, temperature=0.0, names=2, grammar=None, cancelled=lambda: False):
    prompt = backend._chat.encode(
        [{"role": "system", "content": "You judge. " * 20}, {"role": "user", "content": f"Tell of {topic}."}]
    ).ids
    filled = grammar or thinking_grammar(lambda: verdict_grammar([f"model-{i}" for i in range(names)]), budget=budget)
    sampling = SamplingParams(temperature=temperature, seed=7)
    return Row(prompt=prompt, grammar=filled, sampling=sampling, longest=200, cancelled=cancelled)


def rows_about(backend):
    """Replies of different lengths, greedy and drawn."""
    return [
        row_about(backend, topic, budget=4 + 5 * i, temperature=(i % 2) * 0.9, names=1 + i % 4)
        for i, topic in enumerate(TOPICS)
    ]


def finish(resident):
    left = []
    while not resident.idle:
        left += resident.step()
    return left


def alone(backend, rows):
    replies = []
    for row in rows:
        resident = backend._resident()
        resident.join(row)
        finish(resident)
        replies.append(row.reply)
    return replies


def test_a_row_that_joins_midway_writes_what_it_writes_alone(backend):
    expected = alone(backend, rows_about(backend))
    for pause in (0, 1, 3):  # steps between one row's coming and the next one's
        resident, rows = backend._resident(), rows_about(backend)
        left = []
        for row in rows:
            resident.join(row)
            for _ in range(pause):
                left += resident.step()
        left += finish(resident)
        assert [row.reply for row in rows] == expected
        assert set(left) == set(rows)
        assert len(left) == len(rows)


def test_more_rows_than_places_all_come_in_and_short_ones_leave_first(backend):
    expected = alone(backend, rows_about(backend))
    resident, rows = backend._resident(), rows_about(backend)
    resident.most = 2
    for row in rows:
        resident.join(row)
    most, left = 0, []
    while not resident.idle:
        left += resident.step()
        most = max(most, sum(row.seat is not None for row in rows))
    assert most == 2
    assert [row.reply for row in rows] == expected
    assert left[0] is rows[0]


def test_prompts_go_in_by_slices_and_stall_nobody(backend):
    short, long = row_about(backend, "rain", budget=6), row_about(backend, "everything. " * 300, budget=6)
    expected = alone(
        backend, [row_about(backend, "rain", budget=6), row_about(backend, "everything. " * 300, budget=6)]
    )
    resident = backend._resident()
    resident._slice = 64
    resident.join(long)
    resident.step()
    resident.join(short)
    left = []
    while not left:
        left += resident.step()
    assert left == [short]
    assert long.done < len(long.prompt)  # it has not begun to write
    finish(resident)
    assert [short.reply, long.reply] == expected


def test_what_prompts_begin_with_is_run_once(backend, monkeypatch):
    ran = []
    run = model_runner.run
    monkeypatch.setattr(
        model_runner, "run", lambda model, layout, ends: ran.append(len(layout.ids)) or run(model, layout, ends)
    )
    resident, rows = backend._resident(), rows_about(backend)
    alike = min(common(a.prompt, b.prompt) for a in rows for b in rows)
    assert alike > 60
    for row in rows:
        resident.join(row)
    finish(resident)
    lengths = sum(len(row.prompt) for row in rows) + sum(row.written for row in rows)
    assert sum(ran) <= lengths - (len(rows) - 1) * alike + 5 * len(rows)
    ran.clear()
    after = row_about(backend, TOPICS[0], budget=0)
    resident.rest()  # even when there was nothing to do for a while
    resident.join(after)
    finish(resident)
    assert sum(ran) <= len(after.prompt) + after.written - alike + 5


def test_a_cancelled_row_leaves_at_once_and_nobody_notices(backend):
    expected = alone(backend, rows_about(backend))
    unwanted = set()
    resident, rows = backend._resident(), rows_about(backend)
    gone = row_about(backend, "nothing", budget=500, cancelled=lambda: "writing" in unwanted)
    waiting = row_about(backend, "less", budget=500, cancelled=lambda: "waiting" in unwanted)
    resident.most = len(rows) + 1
    for row in [gone, *rows, waiting]:
        resident.join(row)
    for _ in range(6):
        resident.step()
    unwanted |= {"writing", "waiting"}
    left = resident.step()
    assert {gone, waiting} <= set(left)
    assert gone.seat is None
    assert gone.place is not None
    assert waiting.written == 0
    finish(resident)
    assert [row.reply for row in rows] == expected


def test_a_form_that_raises_fails_alone(backend):
    def faulty():
        yield "So:"
        yield Text(stop="\n", max_tokens=3)
        raise ValueError("no such thing")

    def broken():
        raise KeyError("from the start")
        yield ""

    expected = alone(backend, rows_about(backend))
    resident, rows = backend._resident(), rows_about(backend)
    bad = [row_about(backend, "x", grammar=faulty()), row_about(backend, "y", grammar=broken())]
    for row in [bad[0], *rows, bad[1]]:
        resident.join(row)
    finish(resident)
    assert [type(row.error) for row in bad] == [ValueError, KeyError]
    assert [row.error for row in rows] == [None] * len(rows)
    assert [row.reply for row in rows] == expected


class OutOfMemoryError(RuntimeError):
    """As torch has one."""


def test_out_of_memory_means_fewer_rows_and_the_same_replies(backend, monkeypatch):
    expected = alone(backend, rows_about(backend))
    run, steps = model_runner.run, []

    def scarce(model, layout, ends):
        steps.append(len(layout.ends))
        if len(layout.ends) > 3 and len(steps) > 6:  # in the middle of their writing
            raise OutOfMemoryError
        return run(model, layout, ends)

    monkeypatch.setattr(model_runner, "run", scarce)
    resident, rows = backend._resident(), rows_about(backend)
    for row in rows:
        resident.join(row)
    finish(resident)
    assert resident.most < len(rows)
    assert [row.reply for row in rows] == expected


def test_one_row_alone_that_finds_no_memory_takes_smaller_steps_and_then_fails(backend, monkeypatch):
    sizes, run = [], model_runner.run
    enough = 50

    def scarce(model, layout, ends):
        sizes.append(len(layout.ids))
        if len(layout.ids) > enough:
            raise OutOfMemoryError
        return run(model, layout, ends)

    monkeypatch.setattr(model_runner, "run", scarce)
    resident, row = backend._resident(), row_about(backend, "the sea. " * 200)
    resident.join(row)
    assert finish(resident) == [row]
    assert row.error is None
    enough = 0
    resident.join(hopeless := row_about(backend, "the sky"))
    assert finish(resident) == [hopeless]
    assert isinstance(hopeless.error, BackendError)


def test_a_step_that_fails_fails_those_in_it_and_the_next_ones_are_written(backend, monkeypatch):
    expected = alone(backend, rows_about(backend)[:1])
    resident, rows = backend._resident(), rows_about(backend)
    resident.join(rows[1])
    with monkeypatch.context() as patch:
        patch.setattr(model_runner, "run", lambda *_: 1 / 0)
        assert resident.step() == [rows[1]]
    assert "ZeroDivisionError" in str(rows[1].error)
    resident.join(rows[0])
    finish(resident)
    assert [rows[0].reply] == expected


# --- the backend around it

QUICK = SamplingParams(thinking_budget=10)
CASES = [Case("Prefer the shortest answer.", topic, {"a": "Yes.", "b": "That is hard to say."}) for topic in TOPICS]


def request_about(topic, grammar):
    return Request(messages=({"role": "user", "content": topic},), sampling=SamplingParams(), grammar=grammar)


def test_a_request_that_cannot_be_prepared_fails_alone(backend):
    def no_form():
        raise RuntimeError("cannot be made")

    async def ask():
        good = request_about("Hi", lambda: verdict_grammar(["model-1"]))
        bad = [request_about("Hi", no_form), request_about("Hi", None)]
        return await asyncio.gather(*map(backend.complete, [bad[0], good, bad[1]]), return_exceptions=True)

    first, reply, third = asyncio.run(ask())
    assert isinstance(first, RuntimeError)
    assert isinstance(third, ConfigError)
    assert reply.answer.startswith('{"scores"')


def test_threads_that_come_one_by_one_get_what_a_batch_gets(backend):
    judge = Judge(backend, sampling=QUICK, cache="off", readout="generate")
    together = [verdict.raw_output for verdict in judge.judge_batch(CASES)]
    found = [""] * len(CASES)

    def ask(i):
        found[i] = judge.judge(CASES[i]).raw_output

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(CASES))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == together


def test_requests_of_several_event_loops_meet(backend):
    def ask(answers):
        async def both():
            requests = [request_about(topic, lambda: verdict_grammar(["model-1"])) for topic in TOPICS[:2]]
            return await asyncio.gather(*map(backend.complete, requests))

        answers += [completion.answer for completion in asyncio.run(both())]

    found = [[], [], []]
    threads = [threading.Thread(target=ask, args=(answers,)) for answers in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found[0]) == 2
    assert found[0] == found[1] == found[2]


def test_closing_in_the_middle_fails_those_who_wait_and_later_ones(tiny_folder):
    backend = LocalBackend(tiny_folder, device="cpu", max_batch_size=1)
    begun = threading.Event()

    def grammar(*, written):
        yield "x"
        yield Text(stop="\0", max_tokens=1)
        begun.set() if written else None
        while written and not backend._closed:
            time.sleep(0.01)
        yield Text(stop="\0", max_tokens=1000)

    def forms():
        made = itertools.count()
        return lambda: grammar(written=next(made) > 0)  # the first one is only measured

    async def ask():
        tasks = [asyncio.ensure_future(backend.complete(request_about("Hi", forms()))) for _ in range(3)]
        await asyncio.get_running_loop().run_in_executor(None, begun.wait)
        await asyncio.get_running_loop().run_in_executor(None, backend.close)
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = asyncio.run(ask())
    assert [type(outcome) for outcome in outcomes] == [BackendError] * 3
    assert all("closed" in str(outcome) for outcome in outcomes)
    with pytest.raises(BackendError, match="closed"):
        asyncio.run(backend.complete(request_about("Hi", lambda: verdict_grammar(["model-1"]))))


def _judge_by_spec(spec, pipe):
    judge = load_judge(spec)
    pipe.send(judge.judge(CASES[0]).raw_output)
    judge.close()


def test_a_spawned_process_loads_its_own(backend):
    judge = Judge(backend, sampling=QUICK, cache="off", readout="generate")
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_judge_by_spec, args=(judge.spec(), theirs))
    process.start()
    theirs.close()
    said = mine.recv()
    process.join()
    assert said == judge.judge(CASES[0]).raw_output


FORKING = """
import os, sys
import torch
torch.set_num_threads(1)  # threads of torch's own do not survive a fork
from test_engine import CASES, QUICK
from rewardanything_core import Judge
from rewardanything_core.backends.local.backend import LocalBackend
judge = Judge(LocalBackend(sys.argv[1], device="cpu"), sampling=QUICK, cache="off", readout="generate")
before = judge.judge(CASES[0]).raw_output
if not (child := os.fork()):
    os._exit(judge.judge(CASES[0]).raw_output != before)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or judge.judge(CASES[0]).raw_output != before)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_has_a_batch_of_its_own(tiny_folder):
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(Path(__file__).parent)])}
    command = [sys.executable, "-c", FORKING, str(tiny_folder)]
    assert subprocess.run(command, env=environ, timeout=300).returncode == 0


# --- models of other makes


@pytest.mark.parametrize(
    ("kind", "words"), [("mamba", "running state"), ("gpt2", ""), ("bloom", "side by side|of its own making")]
)
def test_a_model_that_cannot_be_written_side_by_side_is_refused(kind, words):
    details = {"num_key_value_heads": 4, "n_layer": 4, "n_head": 4, "n_embd": 32, "state_size": 8, "num_heads": 4}
    if kind == "gpt2":  # learned positions, but attention like the others'
        assert side_by_side(tiny(kind, **details), kind)
        return
    with pytest.raises(ConfigError, match=words):
        side_by_side(tiny(kind, **details), kind)


def test_one_verdict_beside_a_reading(small_model):
    """Questions are read off between two steps of those who write."""
    writer = Judge(small_model, sampling=QUICK, cache="off", readout="generate")
    reader = Judge(small_model, readout="logits", cache="off")
    expected = writer.judge(CASES[0]).raw_output, reader.judge(CASES[1]).scores

    async def both():
        return await asyncio.gather(writer.ajudge(CASES[0]), reader.ajudge(CASES[1]))

    written, read = asyncio.run(both())
    assert isinstance(written, Verdict)
    assert written.raw_output == expected[0]
    assert read.scores == pytest.approx(expected[1], abs=1e-3)
