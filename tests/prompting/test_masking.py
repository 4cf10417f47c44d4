import random

from hypothesis import given
from hypothesis import strategies as st

from rewardanything_core import Case
from rewardanything_core.prompting.masking import draw_order, mask

texts = st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=9)


@given(texts, st.integers(0, 2**40), st.integers(0, 30))
def test_an_order_has_every_label_once(responses, seed, index):
    case = Case("p", "q", responses)
    assert sorted(draw_order(case, seed=seed, index=index)) == sorted(case.labels)


@given(texts, st.integers())
def test_over_n_passes_each_response_takes_each_position_once(responses, seed):
    case = Case("p", "q", responses)
    n = len(responses)
    orders = [draw_order(case, seed=seed, index=i) for i in range(n)]
    for position in range(n):
        assert sorted(order[position] for order in orders) == sorted(case.labels)


@given(st.lists(st.text("abc", max_size=4), min_size=2, max_size=6, unique=True), st.integers(), st.randoms())
def test_the_order_of_texts_does_not_depend_on_labels_or_input_order(responses, seed, rng):
    case = Case("p", "q", responses)
    shuffled = rng.sample(responses, len(responses))
    other = Case("p", "q", {f"model {i}": text for i, text in enumerate(shuffled)})
    assert [case.responses[label] for label in draw_order(case, seed=seed)] == [
        other.responses[label] for label in draw_order(other, seed=seed)
    ]


def test_the_global_random_state_is_neither_read_nor_changed():
    case = Case("p", "q", [str(i) for i in range(8)])
    random.seed(1)
    before = random.getstate()
    first = draw_order(case, seed=3)
    assert random.getstate() == before
    random.seed(2)
    assert draw_order(case, seed=3) == first


def test_seeds_cases_and_attempts_give_different_orders():
    case = Case("p", "q", [str(i) for i in range(12)])
    other = Case("p", "another", [str(i) for i in range(12)])
    orders = {
        tuple(order)
        for order in (
            draw_order(case, seed=0),
            draw_order(case, seed=1),
            draw_order(case, seed=0, attempt=1),
            draw_order(case, seed=0, index=12),
            draw_order(other, seed=0),
        )
    }
    assert len(orders) == 5


def test_each_response_is_equally_likely_to_be_first():
    counts = dict.fromkeys("abcd", 0)
    for seed in range(2000):
        counts[draw_order(Case("p", "q", {label: label for label in "abcd"}), seed=seed)[0]] += 1
    assert all(400 < count < 600 for count in counts.values())


def test_masked_names_count_from_one():
    assert mask(["b", "a"]) == {"model-1": "b", "model-2": "a"}
