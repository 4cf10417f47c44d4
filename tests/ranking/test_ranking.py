"""Ranking systems: strengths against choix, simulated error rates, and what is judged."""

import json
import random

import choix
import numpy as np
import pytest
from scripts import by_length

from rewardanything_core import ConfigError, Judge, Rubric, ScriptedBackend
from rewardanything_core.backends import verdict_reply
from rewardanything_core.backends.scripted import rubric_reply
from rewardanything_core.ranking import ListScores, analyse, rank
from rewardanything_core.ranking.analysis import Results, results_of, settle
from rewardanything_core.ranking.page import headline, html_page
from rewardanything_core.ranking.strengths import fit_strengths, resampled_strengths, with_prior

QUALITY = {"weak": 0.0, "same": 0.0, "good": 1.5, "best": 3.0}


def noisy(request):
    """A score by the system that an answer names, with noise that depends on the answer and the rule."""
    case = json.loads(request.messages[1]["content"])
    if "mute" in str(case["prompt"]):
        return "no verdict"

    def scores(rule=""):
        def score(text):
            quality = 0 if "tone" in str(rule) else QUALITY[text.split()[0]]
            return min(5, max(1, round(2 + quality + random.Random(f"{text}{rule}").gauss(0, 1.2))))

        return {name: score(text) for name, text in case["responses"].items()}

    if "rubric" in case:
        return rubric_reply({key: scores(rule) for key, rule in case["rubric"].items()})
    return verdict_reply(scores())


def noisy_judge(**options):
    return Judge(ScriptedBackend(noisy), retries=0, **options)


def rows_of(systems=QUALITY, number=90, prompt="question {}"):
    return {
        name: [{"id": i, "prompt": prompt.format(i), "response": f"{name} {i}"} for i in range(number)]
        for name in systems
    }


# --- strengths


@pytest.mark.parametrize("seed", range(3))
def test_strengths_are_those_of_choix(seed):
    counts = np.random.default_rng(seed).integers(1, 12, (6, 6)) * (1 - np.eye(6, dtype=int))
    pairs = [(a, b) for a in range(6) for b in range(6) for _ in range(counts[a, b])]
    assert fit_strengths(counts.astype(float)) == pytest.approx(choix.opt_pairwise(6, pairs), abs=1e-5)
    assert fit_strengths(counts.astype(float)) == pytest.approx(choix.ilsr_pairwise(6, pairs), abs=1e-5)


def test_lists_estimate_the_plackett_luce_model():
    """Full rankings drawn from known strengths, broken into pairs, against choix's estimate from the whole lists."""
    true = np.array([0.9, 0.3, -0.2, -1.0])
    drawn = np.argsort(-(true + np.random.default_rng(0).gumbel(size=(4_000, 4))), axis=1)
    lists = [
        ListScores(group=str(i), passes=[{f"s{system}": 4.0 - place for place, system in enumerate(order)}])
        for i, order in enumerate(drawn)
    ]
    wins = results_of([f"s{i}" for i in range(4)], lists).wins
    found = fit_strengths(wins.sum(axis=0))
    assert found == pytest.approx(true, abs=0.08)
    assert found == pytest.approx(choix.ilsr_rankings(4, [list(order) for order in drawn]), abs=0.05)


def test_ties_are_half_a_win_and_one_who_always_wins_has_a_finite_strength():
    lists = [ListScores(group=str(i), passes=[{"a": 5.0, "b": 3.0, "c": 3.0}]) for i in range(10)]
    first, *others = analyse(["a", "b", "c"], lists).systems
    assert first.name == "a" and first.win_rate == 1 and 2 < first.strength < 4
    assert [each.strength for each in others] == pytest.approx([-first.strength / 2] * 2)
    assert first.low < first.strength < first.high
    assert all(each.low < each.strength < each.high for each in others)  # although no prompt differs from another
    assert analyse(["a", "b", "c"], lists).pair("b", "c").ties == 10
    # The added prompt on which all tie is all there is without data.
    empty = analyse(["a", "b"], [])
    assert [each.strength for each in empty.systems] == [0, 0]
    assert [each.best for each in empty.systems] == pytest.approx([0.5, 0.5], abs=0.05)
    assert (empty.systems[0].win_rate, empty.systems[0].score, empty.pairs[0].p_value) == (None, None, 1.0)


def simulated_wins(generator, true, prompts):
    utilities = true + generator.gumbel(size=(prompts, len(true)))
    return (utilities[:, :, None] > utilities[:, None, :]).astype(float)


def test_intervals_cover_the_true_strengths():
    """95% intervals from 50 prompts; with 600 draws of four systems 92.5% would be too few by chance once in 10,000."""
    generator, true = np.random.default_rng(5), np.array([-0.75, -0.25, 0.25, 0.75])
    covered = []
    for _ in range(150):
        drawn = resampled_strengths(simulated_wins(generator, true, 50), resamples=300, seed=0)
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        covered.append((low <= true) & (true <= high))
    assert 0.925 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize("true", [np.zeros(4), np.array([0.0, 0.0, 1.0, 1.0])])
def test_equal_systems_are_rarely_settled_however_often_one_looks(true):
    """The test looks after every prompt; the error rate is for all pairs together."""
    generator = np.random.default_rng(3)
    wrong = settled = 0
    for _ in range(300):
        wins = simulated_wins(generator, true, 100)
        _, better = settle(Results(wins=wins, scores=np.zeros((100, 4))), alpha=0.05)
        wrong += any(better[a, b] for a in range(4) for b in range(4) if true[a] <= true[b])
        settled += better.sum()
    assert wrong <= 0.05 * 300
    if true.any():
        assert settled / 300 > 1.5 + 1.5  # of the four pairs that differ


# --- judging


def test_systems_are_ranked_and_settled_pairs_are_no_longer_judged():
    full = rank(rows_of(), "good", judge=noisy_judge(cache="off"), adaptive=False)
    report = rank(rows_of(), "good", judge=noisy_judge(cache="off"))
    for each in (full, report):
        (ranking,) = each.rankings
        assert [system.name for system in ranking.systems[:2]] == ["best", "good"]
        assert [(system.rank_low, system.rank_high) for system in ranking.systems] == [(1, 1), (2, 2), (3, 4), (3, 4)]
        assert ranking.pair("weak", "same").better is None
        assert ranking.pair("good", "weak").win_rate == pytest.approx(1 - ranking.pair("weak", "good").win_rate)
        assert headline(ranking) == "best is the best"
        assert ranking.settled == 5
    assert (full.judged, full.shown, full.shown_in_full) == (90, 90 * 16, 90 * 16)
    assert report.shown < 0.6 * report.shown_in_full == 0.6 * 90 * 16
    assert full.usage.calls == 90 * 4  # each answer in each position once
    prompts = {system.name: system.prompts for system in report.rankings[0].systems}
    assert prompts["best"] < prompts["weak"] == prompts["same"] == 90


def test_each_system_is_in_each_position_equally_often_and_the_order_has_no_effect():
    """A judge that only prefers what it sees first finds no system better."""

    def first_wins(request):
        names = list(json.loads(request.messages[1]["content"])["responses"])
        return verdict_reply({name: 5 if place == 0 else 3 for place, name in enumerate(names)})

    (ranking,) = rank(rows_of(number=30), "good", judge=Judge(ScriptedBackend(first_wins), cache="off")).rankings
    assert {pair.win_rate for pair in ranking.pairs} == {0.5}
    assert headline(ranking).startswith("No system is clearly the best")


def test_an_interrupted_ranking_continues_from_the_store():
    class Interrupted(Exception):
        pass

    def stop(done, planned):
        if done == 40:
            raise Interrupted

    with pytest.raises(Interrupted):
        rank(rows_of(), "good", judge=noisy_judge(), progress=stop)
    again, complete = noisy_judge(), noisy_judge(cache="off")
    report, reference = rank(rows_of(), "good", judge=again), rank(rows_of(), "good", judge=complete)
    assert report.rankings == reference.rankings and report.shown == reference.shown
    assert report.usage.calls <= reference.usage.calls - 40
    assert rank(rows_of(), "good", judge=noisy_judge()).usage.calls == 0


def test_rubrics_are_ranked_as_a_whole_and_under_each_criterion():
    rubric = Rubric({"truth": "Is it true?", "tone": "The tone."}, name="answers")
    report = rank(rows_of(number=40), rubric, judge=noisy_judge(cache="off", criteria="together"), adaptive=False)
    assert [(each.principle, each.criterion) for each in report.rankings] == [
        ("answers", None),
        ("answers: truth", "truth"),
        ("answers: tone", "tone"),
    ]
    whole, truth, tone = report.rankings
    assert whole.systems[0].name == truth.systems[0].name == "best"
    assert truth.systems[0].strength > tone.systems[0].strength
    assert report.usage.calls == 40 * 4
    page = html_page(report)
    assert page.count('class="heat"') == 3 and "answers: tone" in page and "heat-10" in page


def test_failures_are_in_no_figure_and_too_many_stop_the_ranking():
    rows = rows_of(["weak", "best"], number=40)
    for side in rows.values():
        side[3]["prompt"] = "mute 3"
    report = rank(rows, "good", judge=noisy_judge(cache="off"), adaptive=False)
    assert (len(report.failures), report.judged, report.exit_code) == (1, 39, 0)
    assert report.rankings[0].systems[0].prompts == 39
    for side in rows.values():
        for row in side[:20]:
            row["prompt"] = f"mute {row['id']}"
    stopped = rank(rows, "good", judge=noisy_judge(cache="off"))
    assert stopped.exhausted and stopped.exit_code == 3
    json.dumps(stopped.to_dict())


def test_equal_answers_are_a_tie_and_cases_of_one_prompt_count_once():
    rows = {
        "a": [{"prompt": f"p{i % 10}", "response": "xxxx", "id": i} for i in range(20)],
        "b": [{"prompt": f"p{i % 10}", "response": "xxxx" if i < 10 else "x", "id": i} for i in range(20)],
    }
    judge = Judge(ScriptedBackend(by_length), cache="off")
    report = rank(rows, "longer", judge=judge)
    assert (report.prompts, report.cases, report.judged) == (10, 20, 10)
    pair = report.rankings[0].pair("a", "b")
    assert (pair.prompts, pair.win_rate) == (10, 0.75)  # half of each prompt's cases are a tie
    assert rank({"a": rows["a"], "b": rows["a"]}, "longer", judge=judge).judged == 0


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"weak": []}, {}, "no rows in 'weak'"),
        ({"weak": rows_of(["weak"], 89)["weak"]}, {}, "'89' not in weak"),
        ({"weak": rows_of(["weak"], 45)["weak"] * 2}, {}, "has the id '0', which another row has too"),
        ({"weak": rows_of(["weak"], prompt="other {}")["weak"]}, {}, "different prompt in 'weak' than in 'best'"),
        ({}, {"alpha": 0.7}, "alpha must be"),
        ({}, {"max_failures": float("nan")}, "max_failures is a share"),
        ({}, {"resamples": 3}, "resamples must be"),
        ({}, {"principles": []}, "at least one principle"),
        ({}, {"judge": None}, "needs a judge"),
        ({}, {"systems": {"best": []}}, "two systems or more"),
        ({}, {"systems": [[], []]}, "two systems or more"),
    ],
)
def test_what_cannot_be_ranked_is_an_error_before_anything_is_judged(change, options, message):
    judge = noisy_judge(cache="off")
    arguments = {"systems": {"best": rows_of()["best"]} | rows_of() | change, "principles": "good", "judge": judge}
    with pytest.raises(ConfigError, match=message):
        rank(**(arguments | options))
    assert judge.usage.calls == 0


def test_cases_that_a_system_lacks_can_be_left_out():
    rows = rows_of(["weak", "best"], 20)
    rows["weak"] = rows["weak"][:15]
    report = rank(rows, "good", judge=noisy_judge(cache="off"), common_only=True)
    assert (report.cases, len(report.missing)) == (15, 5)


def test_the_prior_is_one_prompt_on_which_all_tie():
    assert with_prior(np.zeros((2, 2))).tolist() == [[0, 0.5], [0.5, 0]]
