import json
import random
import re
import statistics
from collections import Counter
from itertools import chain, pairwise

import pytest
import scripts
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from rewardanything_core import (
    BackendError,
    Case,
    ConfigError,
    Judge,
    JudgeFailure,
    Jury,
    ScriptedBackend,
    VerdictParseError,
    load_judge,
)
from rewardanything_core.backends import verdict_reply
from rewardanything_core.errors import ContextLengthError
from rewardanything_core.readouts.long_lists import _connected, draw_rounds


def texts(count):
    return {f"r{i}": f"response {i}" for i in range(count)}


def truths(count, seed=0, low=1.5, high=4.5):
    rng = random.Random(seed)
    return {text: rng.uniform(low, high) for text in texts(count).values()}


def seen(request):
    return json.loads(request.messages[1]["content"])["responses"]


def judge_of(truth, *, bias=0.0, noise=0.0, whole_numbers=False, seed=0, **options):
    """A judge that gives each list a bias of its own, and each score noise."""
    rng = random.Random(seed)

    def reply(request):
        given_to_all = rng.uniform(-bias, bias)
        scores = {}
        for name, text in seen(request).items():
            score = truth[text] + given_to_all + rng.gauss(0, noise)
            scores[name] = min(5, max(1, round(score) if whole_numbers else score))
        return verdict_reply(scores, thoughts="model-1 comes first")

    return Judge(ScriptedBackend(reply), cache="off", seed=seed, **options)


def tau(scores, truth, labelled):
    return kendalltau([truth[text] for text in labelled.values()], [scores[label] for label in labelled])[0]


# --- the design


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 90), st.integers(2, 20), st.integers(2, 4), st.integers(0, 5))
def test_sublists_hang_together_and_hold_each_response_in_each_round(count, size, rounds, seed):
    if count <= size:
        return
    case = Case("p", "q", texts(count))
    drawn = draw_rounds(case, size=size, rounds=rounds, seed=seed)
    assert len(drawn) == rounds
    assert _connected(drawn)
    for sublists in drawn:
        members = Counter(label for labels in sublists for label in labels)
        assert set(members) == set(case.labels)
        assert sum(members.values()) - count in ({0, 1} if size == 2 else {0})
        lengths = [len(labels) for labels in sublists]
        assert 2 <= min(lengths) <= max(lengths) <= size
        assert max(lengths) - min(lengths) <= 1
        assert all(len(set(labels)) == len(labels) for labels in sublists)
    assert drawn == draw_rounds(case, size=size, rounds=rounds, seed=seed)


def test_the_draw_depends_on_texts_and_seed_and_not_on_labels():
    case = Case("p", "q", texts(40))
    renamed = Case("p", "q", {f"x{label}": text for label, text in reversed(case.responses.items())})
    one, other = (draw_rounds(c, size=16, rounds=2, seed=0) for c in (case, renamed))
    assert [[[f"x{label}" for label in labels] for labels in sublists] for sublists in one] == other
    assert draw_rounds(case, size=16, rounds=2, seed=1) != one


def test_few_meet_twice():
    drawn = draw_rounds(Case("p", "q", texts(64)), size=8, rounds=3, seed=0)
    meetings = Counter(frozenset(pair) for r in drawn for labels in r for pair in _pairs(labels))
    assert sum(count > 1 for count in meetings.values()) < 0.15 * len(meetings)


def _pairs(labels):
    return [(a, b) for i, a in enumerate(labels) for b in labels[i + 1 :]]


# --- the merged verdict


@pytest.mark.parametrize(("count", "size"), [(3, 2), (5, 3), (17, 16), (40, 16), (41, 2), (100, 7)])
def test_without_noise_the_merged_scores_are_the_true_ones_whatever_bias_each_list_has(count, size):
    truth, labelled = truths(count), texts(count)
    verdict = judge_of(truth, bias=0.5, max_list=size).judge("p", "q", labelled)
    expected = {label: truth[text] for label, text in labelled.items()}
    shift = statistics.fmean(verdict.scores[label] - expected[label] for label in labelled)
    assert abs(shift) <= 0.5  # one number is open: what the lists have in common on average
    assert verdict.scores == pytest.approx({label: score + shift for label, score in expected.items()}, abs=1e-6)
    assert list(verdict.scores) == list(labelled)
    assert verdict.ranking == sorted(labelled, key=lambda label: -expected[label])
    assert set(verdict.spread.values()) == {0.0}
    assert verdict.agreement == 1.0
    unbiased = judge_of(truth, max_list=size).judge("p", "q", labelled)
    assert unbiased.scores == pytest.approx(expected, abs=1e-6)


def test_a_round_of_sublists_is_a_pass():
    truth, labelled = truths(40), texts(40)
    judge = judge_of(truth)
    verdict = judge.judge("p", "q", labelled)
    assert judge.backend.calls == verdict.usage.calls == 6
    assert [[len(labels) for labels in one_pass] for one_pass in verdict.sublists] == [[14, 13, 13]] * 2
    assert verdict.orders == [[label for labels in one_pass for label in labels] for one_pass in verdict.sublists]
    assert all(sorted(order) == sorted(labelled) for order in verdict.orders)
    expected = {label: truth[text] for label, text in labelled.items()}
    assert verdict.pass_scores == [pytest.approx(expected, abs=1e-6)] * 2
    assert "[pass 2 of 2]\n[list 1 of 3]\n<think>" in verdict.raw_output
    firsts = [f"{labels[0]} comes first" for one_pass in verdict.sublists for labels in one_pass]
    assert verdict.explanation == "\n\n".join(firsts)
    more = judge_of(truth, passes=3, noise=0.3).judge("p", "q", labelled)
    assert len(more.sublists) == len(more.orders) == len(more.pass_scores) == 3
    for label in labelled:
        assert more.scores[label] == pytest.approx(statistics.fmean(scores[label] for scores in more.pass_scores))


def test_of_a_jury_the_sublists_are_those_of_its_jurors():
    jury = Jury([judge_of(truths(20), seed=1), judge_of(truths(20), seed=2, max_list=20)])
    verdict = jury.judge("p", "q", texts(20))
    long, whole = verdict.jurors
    assert (verdict.sublists, whole.sublists, len(long.sublists)) == (None, None, 2)
    assert verdict.explanation.count("comes first") == 5
    assert "model-" not in verdict.explanation


def test_a_list_within_the_limit_is_judged_whole():
    judge = judge_of(truths(16), passes=2)
    assert judge.judge("p", "q", texts(16)).sublists is None
    assert judge.backend.calls == 2


def test_sublists_read_twice_do_as_well_as_the_whole_list_read_twice():
    """32 responses, noise of half a point: a judge to whom length does no harm."""
    merged, whole, averaged = [], [], []
    for seed in range(12):
        truth, labelled = truths(32, seed), texts(32)
        options = dict(noise=0.5, bias=1, seed=seed)
        verdict = judge_of(truth, **options).judge("p", "q", labelled)
        merged.append(tau(verdict.scores, truth, labelled))
        at_once = judge_of(truth, max_list=32, passes=2, **options).judge("p", "q", labelled)
        whole.append(tau(at_once.scores, truth, labelled))
        replies = [json.loads(raw) for raw in re.findall(r'\{"scores".*\}', verdict.raw_output)]
        sums = Counter()
        for labels, reply in zip(chain(*verdict.sublists), replies, strict=True):
            sums.update({label: reply["scores"][f"model-{place}"] for place, label in enumerate(labels, start=1)})
        averaged.append(tau(sums, truth, labelled))
    assert statistics.fmean(merged) > statistics.fmean(whole) - 0.03
    assert statistics.fmean(merged) > statistics.fmean(averaged) + 0.03  # what removing the lists' biases gains


def test_where_a_long_list_wears_the_judge_out_sublists_do_better():
    """Noise that grows with the place in the list, as attention fades."""
    merged, whole = [], []
    for seed in range(12):
        truth, labelled, rng = truths(48, seed), texts(48), random.Random(seed)

        def reply(request, truth=truth, rng=rng):
            noisy = {
                name: truth[text] + rng.gauss(0, 0.08 * place)
                for place, (name, text) in enumerate(seen(request).items())
            }
            return verdict_reply({name: min(5, max(1, score)) for name, score in noisy.items()})

        for taus, options in ((merged, {}), (whole, {"max_list": 48, "passes": 2})):
            judge = Judge(ScriptedBackend(reply), cache="off", **options)
            taus.append(tau(judge.judge("p", "q", labelled).scores, truth, labelled))
    assert statistics.fmean(merged) > statistics.fmean(whole) + 0.1


def test_spread_tells_how_far_the_noise_goes_and_agreement_falls_with_it():
    truth, labelled = truths(60), texts(60)
    calm, loud = (judge_of(truth, bias=0.5, noise=n, passes=4).judge("p", "q", labelled) for n in (0.1, 0.6))
    assert statistics.fmean(calm.spread.values()) < 0.1 < 0.35 < statistics.fmean(loud.spread.values())
    assert calm.agreement > 0.97 > loud.agreement > 0.5
    assert spearmanr([truth[t] for t in labelled.values()], [calm.scores[x] for x in labelled])[0] > 0.98


def test_scores_stay_within_the_scale_and_go_with_the_ranking():
    for seed in range(5):
        truth = truths(50, seed, low=1, high=5)
        verdict = judge_of(truth, bias=2, noise=0.5, whole_numbers=True, seed=seed).judge("p", "q", texts(50))
        assert all(1 <= score <= 5 for score in verdict.scores.values())
        assert sorted(verdict.ranking) == sorted(verdict.scores)
        assert all(verdict.scores[a] >= verdict.scores[b] for a, b in pairwise(verdict.ranking))


def test_ties_go_to_the_one_who_is_ranked_above_more_of_the_others():
    labelled = texts(20)

    def reply(request):
        names = list(seen(request))
        best = sorted(names, key=lambda name: int(seen(request)[name].split()[1]))
        return json.dumps({"scores": dict.fromkeys(names, 3), "best-to-worst": best})

    verdict = Judge(ScriptedBackend(reply), passes=4).judge("p", "q", labelled)
    assert set(verdict.scores.values()) == {3.0}
    assert spearmanr([verdict.ranking.index(label) for label in labelled], range(20))[0] > 0.85


# --- too long for the window


def windowed(most, script=scripts.by_length, **options):
    """A judge whose window holds so many responses."""

    def reply(request):
        count = len(seen(request))
        return ContextLengthError(tokens=100 * count, limit=100 * most) if count > most else script(request)

    return Judge(ScriptedBackend(reply), **options)


@pytest.mark.parametrize(
    ("count", "most", "sizes"),
    [(8, 4, [8, 4]), (6, 3, [6, 3]), (12, 2, [12, 6, 3, 2]), (3, 2, [3, 2]), (40, 5, [14, 8, 4])],
)
def test_a_list_that_does_not_fit_is_halved_until_it_does(count, most, sizes):
    labelled = {f"r{i}": "x" * (i % 5 + 1) for i in range(count)}
    judge = windowed(most)
    verdict = judge.judge("p", "q", labelled)
    assert verdict.scores == {label: float(len(text)) for label, text in labelled.items()}
    assert max(len(labels) for one_pass in verdict.sublists for labels in one_pass) <= most
    assert {len(seen(request)) for request in judge.backend.requests} >= set(sizes)
    assert all(text in labelled.values() for r in judge.backend.requests for text in seen(r).values())  # none is cut
    calls = judge.backend.calls
    assert judge.judge("p", "q", labelled).cached
    assert judge.backend.calls == calls


def test_what_does_not_fit_in_pairs_fails_and_says_so():
    judge = windowed(1)
    with pytest.raises(ContextLengthError, match=r"200 tokens.*window of 100.*2 of the responses at a time") as caught:
        judge.judge("p", "q", texts(9), id="q1")
    assert caught.value.limit == 100
    assert "2 of the responses" in caught.value.failure.message
    assert judge.backend.calls < 20  # once refused, the longest sub-list goes first
    with pytest.raises(ContextLengthError) as caught:
        windowed(1).judge("p", "q", texts(2))
    assert "at a time, or use" in str(caught.value)
    with pytest.raises(ContextLengthError):
        windowed(0).judge("p", "q", texts(1))
    (outcome,) = judge.judge_batch([Case("p", "q", texts(9), id="q2")])
    assert isinstance(outcome, JudgeFailure)


# --- all or nothing, and kept


def test_one_sublist_that_fails_fails_the_verdict():
    def reply(request):
        return "no" if "response 7" in seen(request).values() else scripts.by_length(request)

    judge = Judge(ScriptedBackend(reply), retries=1)
    with pytest.raises(VerdictParseError) as caught:
        judge.judge("p", "q", texts(40), id="q1")
    assert (caught.value.failure.case_id, caught.value.failure.attempts) == ("q1", 2)
    assert judge.store.count(kind="failure") == 1
    with pytest.raises(BackendError):
        Judge(ScriptedBackend(lambda request: BackendError("down"))).judge("p", "q", texts(40))


def test_a_long_verdict_is_stored_whole_and_found_under_other_labels():
    labelled = {f"r{i}": "x" * (i % 5 + 1) + str(i) for i in range(30)}
    judge = Judge(ScriptedBackend(scripts.by_length))
    first = judge.judge("p", "q", labelled)
    renamed = {f"new {label}": text for label, text in reversed(labelled.items())}
    again = judge.judge("p", "q", renamed)
    assert again.cached
    assert list(again.scores) == list(renamed)
    assert again.scores == {f"new {label}": score for label, score in first.scores.items()}
    assert again.orders[0] == [f"new {label}" for label in first.orders[0]]
    assert again.sublists[1][1] == [f"new {label}" for label in first.sublists[1][1]]


def test_max_list_is_in_the_key_of_long_lists_alone():
    script = ScriptedBackend(scripts.by_length)
    short, long = ["a", "bb", "ccc"], texts(20)
    Judge(script).judge("p", "q", short)
    Judge(script).judge("p", "q", long)
    other = Judge(script, max_list=8)
    assert other.judge("p", "q", short).cached
    assert not other.judge("p", "q", long).cached
    assert other.store.find(other.judge("p", "q", long).record_id).settings["max_list"] == 8


def test_max_list_is_an_option_a_setting_and_travels():
    judge = load_judge(model="scripted:scripts:by_length", max_list=4)
    copies = judge, load_judge(judge.spec()), judge.with_options(seed=1)
    assert [copy.options.max_list for copy in copies] == [4, 4, 4]
    assert len(judge.judge("p", "q", texts(8)).sublists[0]) == 2
    with pytest.raises(ConfigError, match="max_list must be 2 or more"):
        load_judge(model="scripted:scripts:by_length", max_list=1)


def test_a_jury_judges_long_lists_each_juror_in_its_own_way():
    jury = Jury([Judge(ScriptedBackend(scripts.by_length, name="a"), max_list=8), windowed(5)])
    labelled = {f"r{i}": "x" * (i % 5 + 1) for i in range(12)}
    verdict = jury.judge("p", "q", labelled)
    assert verdict.scores == {label: float(len(text)) for label, text in labelled.items()}
    assert verdict.explanation.count("by length") == 2 * 2 + 2 * 4
