"""The local backend's worker: callers from threads, loops and processes, and failures that stay with a request."""

import asyncio
import gc
import itertools
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from paths import TESTS

from rewardanything_core import BackendError, Case, ConfigError, Judge, SamplingParams, load_judge
from rewardanything_core.backends.base import ChoiceRequest, Request
from rewardanything_core.backends.grammar import Text
from rewardanything_core.backends.local.backend import LocalBackend
from rewardanything_core.backends.local.engine import option_scorer
from rewardanything_core.backends.local.worker import GenerateRequest, ScoreRequest, Worker
from rewardanything_core.errors import ContextLengthError
from rewardanything_core.prompting.verdict_grammar import verdict_grammar

pytestmark = pytest.mark.model

QUICK = SamplingParams(thinking_budget=10)
TOPICS = ["the sea", "a king of old", "how bread is made", "why it rains", "the number seven", "a lost dog"]
CASES = [Case("Prefer the shortest answer.", topic, {"a": "Yes.", "b": "That is hard to say."}) for topic in TOPICS]


def verdict_request(text, grammar=lambda: verdict_grammar(["model-1"])):
    return Request(messages=({"role": "user", "content": text},), sampling=SamplingParams(), grammar=grammar)


def question(text, options=("Yes", "No")):
    return ChoiceRequest(messages=({"role": "user", "content": text},), options=options)


def idle_worker(backend):
    """A worker on the same model whose thread is not started, so that its steps can be taken one by one."""
    worker = Worker("idle", backend._worker.new_engine, backend._scorer, backend._state_reader, backend._preparer)
    worker._restart()
    return worker


def gathered(*coroutines):
    async def gather():
        return await asyncio.gather(*coroutines, return_exceptions=True)

    return asyncio.run(gather())


# --- callers


def test_single_calls_from_threads_get_what_a_batch_gets(backend):
    judge = Judge(backend, sampling=QUICK, cache="off", readout="generate")
    batch = [verdict.raw_output for verdict in judge.judge_batch(CASES)]
    single = [""] * len(CASES)

    def judge_one(i):
        single[i] = judge.judge(CASES[i]).raw_output

    threads = [threading.Thread(target=judge_one, args=(i,)) for i in range(len(CASES))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert single == batch


def test_requests_of_several_event_loops_share_the_engine(backend):
    def complete_both(answers):
        answers += [one.answer for one in gathered(*(backend.complete(verdict_request(text)) for text in TOPICS[:2]))]

    answers = [[], [], []]
    threads = [threading.Thread(target=complete_both, args=(each,)) for each in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers[0]) == 2
    assert answers[0] == answers[1] == answers[2]


def _judge_by_spec(spec, pipe):
    judge = load_judge(spec)
    pipe.send(judge.judge(CASES[0]).raw_output)
    judge.close()


def test_a_spawned_process_loads_a_model_of_its_own(backend):
    judge = Judge(backend, sampling=QUICK, cache="off", readout="generate")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_judge_by_spec, args=(judge.spec(), theirs))
    process.start()
    theirs.close()
    reply = ours.recv()
    process.join()
    assert reply == judge.judge(CASES[0]).raw_output


FORKING = """
import os, sys
import torch
torch.set_num_threads(1)  # torch's own threads do not survive a fork
from test_worker import CASES, QUICK
from rewardanything_core import Judge
from rewardanything_core.backends.local.backend import LocalBackend
judge = Judge(LocalBackend(sys.argv[1], device="cpu"), sampling=QUICK, cache="off", readout="generate")
before = judge.judge(CASES[0]).raw_output
if not (child := os.fork()):
    os._exit(judge.judge(CASES[0]).raw_output != before)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or judge.judge(CASES[0]).raw_output != before)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_a_forked_process_gets_an_engine_of_its_own(tiny_folder):
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(Path(__file__).parent)])}
    command = [sys.executable, "-c", FORKING, str(tiny_folder)]
    assert subprocess.run(command, env=environ, timeout=300).returncode == 0


def test_options_are_scored_while_a_reply_is_generated(small_model):
    writer = Judge(small_model, sampling=QUICK, cache="off", readout="generate")
    scorer = Judge(small_model, readout="logits", cache="off")
    expected = writer.judge(CASES[0]).raw_output, scorer.judge(CASES[1]).scores

    async def both():
        return await asyncio.gather(writer.ajudge(CASES[0]), scorer.ajudge(CASES[1]))

    generated, scored = asyncio.run(both())
    assert generated.raw_output == expected[0]
    assert scored.scores == pytest.approx(expected[1], abs=1e-3)


# --- failures


def test_a_request_that_cannot_be_prepared_fails_alone(backend):
    def no_grammar():
        raise RuntimeError("cannot be made")

    no_text = Request(messages=({"role": "user", "content": None},), sampling=SamplingParams())
    first, reply, third = gathered(
        backend.complete(verdict_request("Hi", no_grammar)),
        backend.complete(verdict_request("Hi")),
        backend.complete(no_text),
    )
    assert isinstance(first, BackendError)
    assert isinstance(first.__cause__, RuntimeError)
    assert "RuntimeError: cannot be made" in str(first)
    assert isinstance(third, BackendError)
    assert reply.answer.startswith('{"scores"')


def test_an_error_of_the_tokenizer_fails_its_request_only(backend, monkeypatch):
    encode = backend._chat.encode_text

    def fragile(text):
        if "poison" in text:
            raise UnicodeError("surrogates not allowed")
        return encode(text)

    monkeypatch.setattr(backend._chat, "encode_text", fragile)
    texts = ["Hi", "poison", "Ho"]
    replies = gathered(*(backend.complete(verdict_request(text)) for text in texts))
    scores = gathered(*(backend.score_options([question(text)]) for text in texts))
    for first, second, third in (replies, scores):
        assert isinstance(second, BackendError)
        assert isinstance(second.__cause__, UnicodeError)
        assert not isinstance(first, Exception)
        assert not isinstance(third, Exception)


def test_a_failure_of_the_model_while_scoring_fails_its_request_only(backend, monkeypatch):
    """The questions of all three requests share a tree until it fails."""
    run, passes = option_scorer.run, []
    poison = backend._chat.encode_text(" poison")[0]

    def fragile(model, tree, last_indices):
        passes.append((len(last_indices), poison in tree.token_ids))
        if poison in tree.token_ids:
            raise IndexError("index out of range")
        return run(model, tree, last_indices)

    texts = ["Is water wet?", "Is it poison?", "Is fire wet?"]
    expected = gathered(*(backend.score_options([question(text)]) for text in texts))
    monkeypatch.setattr(option_scorer, "run", fragile)
    worker = idle_worker(backend)
    worker._prefilling = requests = [ScoreRequest((question(text),)) for text in texts]
    first, second, third = (request.future for request in list(requests))
    worker._prefill()
    assert passes[0] == (3, True)
    assert isinstance(second.exception(timeout=0), BackendError)
    assert isinstance(second.exception(timeout=0).__cause__, IndexError)
    for future, alone in ((first, expected[0]), (third, expected[2])):
        scored = future.result(timeout=0)
        assert scored.answers[0].probabilities == pytest.approx(alone.answers[0].probabilities, abs=1e-4)


def test_an_unexpected_error_of_the_worker_fails_its_requests_and_later_ones_are_served(backend, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("rewardanything_core.backends.local.engine.engine.Engine.step", lambda self: 1 / 0)
        (failed,) = gathered(backend.complete(verdict_request("Hi")))
    assert isinstance(failed, BackendError)
    assert isinstance(failed.__cause__, ZeroDivisionError)
    (reply,) = gathered(backend.complete(verdict_request("Hi")))
    assert reply.answer.startswith('{"scores"')


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_by_itself_fails_its_requests_and_is_replaced(backend, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("rewardanything_core.backends.local.engine.engine.Engine.step", lambda self: sys.exit())
        (failed,) = gathered(backend.complete(verdict_request("Hi")))
    assert isinstance(failed, BackendError)
    backend._worker._thread.join(timeout=60)
    (reply,) = gathered(backend.complete(verdict_request("Hi")))
    assert reply.answer.startswith('{"scores"')


def test_a_request_that_exceeds_the_window_fails_with_both_numbers(backend):
    long = "word " * 9000
    window = backend._preparer.window
    generated, free, scored = gathered(
        backend.complete(verdict_request(long)),
        backend.complete(
            Request(messages=({"role": "user", "content": "Hi"},), sampling=SamplingParams(max_tokens=window))
        ),
        backend.score_options([question("Short?"), question(long)]),
    )
    for error in (generated, free, scored):
        assert isinstance(error, ContextLengthError)
        assert error.tokens > error.limit == window


# --- the end


def test_closing_fails_running_waiting_and_later_requests(tiny_folder):
    backend = LocalBackend(tiny_folder, device="cpu", max_batch_size=1)
    is_generating = threading.Event()

    def grammar(*, is_measured):
        yield "x"
        yield Text(stop="\0", max_tokens=1)
        if not is_measured:
            is_generating.set()
        while not is_measured and not backend._worker.closed:
            time.sleep(0.01)
        yield Text(stop="\0", max_tokens=1000)

    def grammar_factory():
        calls = itertools.count()
        return lambda: grammar(is_measured=next(calls) == 0)  # the first one only measures the longest reply

    async def close_while_generating():
        loop = asyncio.get_running_loop()
        tasks = [asyncio.ensure_future(backend.complete(verdict_request("Hi", grammar_factory()))) for _ in range(3)]
        await loop.run_in_executor(None, is_generating.wait)
        await loop.run_in_executor(None, backend.close)
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = asyncio.run(close_while_generating())
    assert [type(outcome) for outcome in outcomes] == [BackendError] * 3
    assert all("closed" in str(outcome) for outcome in outcomes)
    with pytest.raises(BackendError, match="closed"):
        asyncio.run(backend.complete(verdict_request("Hi")))
    backend.close()


def test_a_request_that_was_not_started_fails_on_close_and_gets_no_empty_reply(backend):
    worker, pending = idle_worker(backend), GenerateRequest(verdict_request("Hi"))
    worker._accept(pending)
    worker.closed = True
    worker._generate()
    assert "closed before it replied" in str(pending.future.exception(timeout=0))


def test_a_result_for_a_cancelled_request_is_dropped(backend):
    worker, pending = idle_worker(backend), ScoreRequest((question("Is water wet?"),))
    worker._prefilling = [pending]
    assert pending.future.cancel()
    worker._prefill()
    assert pending.future.cancelled()


def test_a_backend_that_is_dropped_without_close_ends_its_thread(tiny_folder):
    backend = LocalBackend(tiny_folder, device="cpu")
    asyncio.run(backend.complete(verdict_request("Hi")))
    thread = backend._worker._thread
    assert thread.is_alive()
    del backend
    gc.collect()
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_options_whose_first_tokens_are_equal_are_refused(backend):
    (error,) = gathered(backend.score_options([question("Well?", ("Yes", "Yes please"))]))
    assert isinstance(error, ConfigError)
    assert "same token" in str(error)
