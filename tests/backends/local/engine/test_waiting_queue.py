"""Admission order: first in, first out, with bounded overtaking."""

from dataclasses import dataclass

from rewardanything_core.backends.local.engine.waiting_queue import MAX_OVERTAKES, WaitingQueue


@dataclass(eq=False)
class Waiting:
    name: str
    max_length: int


def names(sequences):
    return [sequence.name for sequence in sequences]


def test_sequences_are_admitted_in_order_while_there_is_room():
    waiting = WaitingQueue()
    for i in range(6):
        waiting.append(Waiting(str(i), 10))
    assert names(waiting.admit(4, 100, batch_is_empty=True)) == ["0", "1", "2", "3"]
    assert names(waiting.admit(4, 15, batch_is_empty=False)) == ["4"]
    assert names(waiting.admit(4, 10, batch_is_empty=False)) == ["5"]
    assert waiting.admit(4, 100, batch_is_empty=True) == []


def test_short_sequences_overtake_a_long_one_a_limited_number_of_times():
    waiting = WaitingQueue()
    waiting.append(Waiting("long", 90))
    admitted = []
    for i in range(5 * MAX_OVERTAKES):
        waiting.append(Waiting(str(i), 10))
        admitted += names(waiting.admit(1, 50, batch_is_empty=False))
    assert admitted == [str(i) for i in range(MAX_OVERTAKES)]
    assert names(waiting.admit(9, 100, batch_is_empty=False))[0] == "long"
    assert names(waiting.admit(2, 50, batch_is_empty=False)) == [str(MAX_OVERTAKES + 1), str(MAX_OVERTAKES + 2)]


def test_a_sequence_that_never_fits_is_admitted_to_an_empty_batch():
    waiting = WaitingQueue()
    waiting.append(Waiting("huge", 1000))
    waiting.append(Waiting("small", 1))
    assert names(waiting.admit(3, 100, batch_is_empty=True)) == ["huge"]


def test_preempted_sequences_are_admitted_first():
    waiting = WaitingQueue()
    waiting.append(Waiting("new", 1))
    waiting.requeue([Waiting("a", 1), Waiting("b", 1)])
    assert names(waiting.admit(9, 9, batch_is_empty=True)) == ["a", "b", "new"]


def test_a_waiting_sequence_can_be_removed():
    waiting = WaitingQueue()
    for name in "abc":
        waiting.append(Waiting(name, 1))
    assert names(waiting.remove_if(lambda sequence: sequence.name == "b")) == ["b"]
    assert names(waiting) == ["a", "c"]
