"""The engine: admission, scheduling, prefix reuse and recovery. No reply depends on what else is in the batch."""

import pytest

from rewardanything_core import BackendError, SamplingParams
from rewardanything_core.backends.grammar import Text
from rewardanything_core.backends.local.engine import model_runner
from rewardanything_core.backends.local.engine.engine import is_out_of_memory
from rewardanything_core.backends.local.engine.kv_cache import common_prefix_length
from rewardanything_core.backends.local.engine.sequence import Sequence
from rewardanything_core.prompting.verdict_grammar import thinking_grammar, verdict_grammar

pytestmark = pytest.mark.model

TOPICS = ["the sea", "a king of old", "how bread is made", "why it rains", "the number seven", "a lost dog"]
UNKNOWN_ID = 10**6
"""An id that no model has."""


def new_sequence(backend, topic, *, budget=14, temperature=0.0, num_names=2, grammar=None, is_cancelled=lambda: False):
    messages = [{"role": "system", "content": "You judge. " * 20}, {"role": "user", "content": f"Tell of {topic}."}]
    names = [f"model-{i}" for i in range(num_names)]
    return Sequence(
        prompt_ids=backend._chat.encode(messages).ids,
        grammar=grammar or thinking_grammar(lambda: verdict_grammar(names), budget=budget),
        sampling=SamplingParams(temperature=temperature, seed=7),
        max_new_tokens=200,
        is_cancelled=is_cancelled,
    )


def new_sequences(backend):
    """Replies of different lengths, greedy and sampled."""
    return [
        new_sequence(backend, topic, budget=4 + 5 * i, temperature=(i % 2) * 0.9, num_names=1 + i % 4)
        for i, topic in enumerate(TOPICS)
    ]


def new_engine(backend, *sequences):
    engine = backend._worker.new_engine()
    for sequence in sequences:
        engine.add(sequence)
    return engine


def finish(engine):
    left = []
    while not engine.is_idle:
        left += engine.step()
    return left


def replies(sequences):
    return [sequence.reply for sequence in sequences]


def replies_alone(backend, sequences):
    for sequence in sequences:
        finish(new_engine(backend, sequence))
    return replies(sequences)


@pytest.fixture(scope="module")
def expected(backend):
    """The replies of `new_sequences`, each generated alone."""
    return replies_alone(backend, new_sequences(backend))


@pytest.mark.parametrize("steps_between", [0, 1, 3])
def test_a_sequence_that_joins_a_running_batch_gets_its_reply_alone(backend, expected, steps_between):
    engine, sequences = new_engine(backend), new_sequences(backend)
    left = []
    for sequence in sequences:
        engine.add(sequence)
        for _ in range(steps_between):
            left += engine.step()
    left += finish(engine)
    assert replies(sequences) == expected
    assert set(left) == set(sequences)
    assert len(left) == len(sequences)


def test_waiting_sequences_join_as_others_finish_and_short_replies_leave_first(backend, expected):
    sequences = new_sequences(backend)
    engine = new_engine(backend, *sequences)
    engine.max_num_seqs = 2
    most, left = 0, []
    while not engine.is_idle:
        left += engine.step()
        most = max(most, sum(sequence.slot is not None for sequence in sequences))
    assert most == 2
    assert replies(sequences) == expected
    assert left[0] is sequences[0]


def test_a_long_prompt_is_prefilled_in_chunks_and_does_not_delay_a_short_sequence(backend):
    def both():
        return [new_sequence(backend, topic, budget=6) for topic in ("rain", "everything. " * 300)]

    expected = replies_alone(backend, both())
    short, long = both()
    engine = new_engine(backend, long)
    engine._max_num_batched_tokens = 64
    engine.step()
    engine.add(short)
    left = []
    while not left:
        left += engine.step()
    assert left == [short]
    assert long.num_computed_tokens < len(long.prompt_ids)  # its reply has not begun
    finish(engine)
    assert replies([short, long]) == expected


def test_a_common_prefix_is_computed_once_and_outlives_a_pause(backend, monkeypatch):
    computed = []
    run = model_runner.run

    def counted(model, batch, last_indices):
        computed.append(len(batch.token_ids))
        return run(model, batch, last_indices)

    monkeypatch.setattr(model_runner, "run", counted)
    sequences = new_sequences(backend)
    shared = min(common_prefix_length(a.prompt_ids, b.prompt_ids) for a in sequences for b in sequences)
    assert shared > 60
    engine = new_engine(backend, *sequences)
    finish(engine)
    total = sum(len(sequence.prompt_ids) + sequence.num_new_tokens for sequence in sequences)
    assert sum(computed) <= total - (len(sequences) - 1) * shared + 5 * len(sequences)
    computed.clear()
    later = new_sequence(backend, TOPICS[0], budget=0)
    engine.release_memory()
    engine.add(later)
    finish(engine)
    assert sum(computed) <= len(later.prompt_ids) + later.num_new_tokens - shared + 5


def test_cancelled_sequences_leave_at_the_next_step_and_the_others_do_not_change(backend, expected):
    cancelled = set()
    running = new_sequence(backend, "nothing", budget=500, is_cancelled=lambda: "running" in cancelled)
    waiting = new_sequence(backend, "less", budget=500, is_cancelled=lambda: "waiting" in cancelled)
    sequences = new_sequences(backend)
    engine = new_engine(backend, running, *sequences, waiting)
    engine.max_num_seqs = len(sequences) + 1
    for _ in range(6):
        engine.step()
    cancelled |= {"running", "waiting"}
    assert {running, waiting} <= set(engine.step())
    assert running.slot is None
    assert not running.is_complete
    assert not waiting.is_complete
    assert waiting.num_new_tokens == 0
    finish(engine)
    assert replies(sequences) == expected


# --- failures


def test_a_grammar_that_raises_fails_its_own_sequence_only(backend, expected):
    def fails_later():
        yield "So:"
        yield Text(stop="\n", max_tokens=3)
        raise ValueError("no such thing")

    def fails_at_once():
        raise KeyError("from the start")
        yield ""

    sequences = new_sequences(backend)
    bad = [new_sequence(backend, "x", grammar=fails_later()), new_sequence(backend, "y", grammar=fails_at_once())]
    finish(new_engine(backend, bad[0], *sequences, bad[1]))
    assert [type(sequence.error) for sequence in bad] == [ValueError, KeyError]
    assert [sequence.error for sequence in sequences] == [None] * len(sequences)
    assert replies(sequences) == expected


@pytest.mark.parametrize("place", [0, 3])
def test_a_sequence_that_the_model_fails_on_fails_alone(backend, expected, place):
    """One token without an embedding makes the step of the whole batch fail."""
    sequences = new_sequences(backend)
    bad = new_sequence(backend, "x")
    bad.prompt_ids.append(UNKNOWN_ID)
    left = finish(new_engine(backend, *sequences[:place], bad, *sequences[place:]))
    assert isinstance(bad.error, BackendError)
    assert "IndexError" in str(bad.error)
    assert [sequence.error for sequence in sequences] == [None] * len(sequences)
    assert replies(sequences) == expected
    assert set(left) == {bad, *sequences}


def test_sequences_after_a_failed_step_are_generated(backend, expected, monkeypatch):
    sequences = new_sequences(backend)
    engine = new_engine(backend, sequences[1])
    with monkeypatch.context() as patch:
        patch.setattr(model_runner, "run", lambda *_: 1 / 0)
        assert engine.step() == [sequences[1]]
    assert "ZeroDivisionError" in str(sequences[1].error)
    engine.add(sequences[0])
    finish(engine)
    assert sequences[0].reply == expected[0]


class OutOfMemoryError(RuntimeError):
    """Named as in torch."""


def test_out_of_memory_halves_the_batch_and_does_not_change_replies(backend, expected, monkeypatch):
    run, steps = model_runner.run, []

    def scarce(model, batch, last_indices):
        steps.append(len(last_indices))
        if len(last_indices) > 3 and len(steps) > 6:  # while replies are being generated
            raise OutOfMemoryError
        return run(model, batch, last_indices)

    monkeypatch.setattr(model_runner, "run", scarce)
    sequences = new_sequences(backend)
    engine = new_engine(backend, *sequences)
    finish(engine)
    assert engine.max_num_seqs < len(sequences)
    assert replies(sequences) == expected


def test_out_of_memory_while_a_slot_is_allocated_is_recovered_from_too(backend, expected, monkeypatch):
    sequences = new_sequences(backend)
    engine = new_engine(backend, *sequences)
    allocate = engine._pool.allocate

    def scarce(*args):
        if sum(sequence.slot is not None for sequence in sequences) == 4:
            raise OutOfMemoryError
        return allocate(*args)

    monkeypatch.setattr(engine._pool, "allocate", scarce)
    finish(engine)
    assert engine.max_num_seqs == len(sequences) // 2
    assert replies(sequences) == expected


def test_out_of_memory_with_one_sequence_shrinks_its_steps_and_then_fails(backend, monkeypatch):
    sizes, run = [], model_runner.run
    limit = 50

    def scarce(model, batch, last_indices):
        sizes.append(len(batch.token_ids))
        if len(batch.token_ids) > limit:
            raise OutOfMemoryError
        return run(model, batch, last_indices)

    monkeypatch.setattr(model_runner, "run", scarce)
    sequence = new_sequence(backend, "the sea. " * 200)
    engine = new_engine(backend, sequence)
    assert finish(engine) == [sequence]
    assert sequence.error is None
    limit = 0
    hopeless = new_sequence(backend, "the sky")
    engine.add(hopeless)
    assert finish(engine) == [hopeless]
    assert isinstance(hopeless.error, BackendError)


def test_out_of_memory_is_recognized_on_every_device():
    assert is_out_of_memory(OutOfMemoryError("CUDA"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
