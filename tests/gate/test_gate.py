"""The gate: its statistics against other implementations, and its decisions with judges over scripted models."""

import hashlib
import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from evalproof.stats import mcnemar_exact, paired_bootstrap
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test
from statsmodels.stats.multitest import multipletests

from rewardanything_core import ConfigError, Judge, Jury, ScriptedBackend, Verdict
from rewardanything_core.backends import Request, verdict_reply
from rewardanything_core.backends.base import ChoiceRequest
from rewardanything_core.errors import AuthenticationError, BackendConnectionError, MissingExtraError, ModelFetchError
from rewardanything_core.gate import CheckReport, Comparison, Requirement, check
from rewardanything_core.gate.inference import (
    MeanAnalysis,
    analyse_mean,
    cases_needed,
    fewest_cases,
    log_capital,
    typical_values,
)
from rewardanything_core.gate.significance import run_tests
from rewardanything_core.principles import Principle

# --- statistics

differences = st.lists(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0]), min_size=1, max_size=9)


@given(differences)
def test_p_values_of_controls_equal_those_of_the_exact_sign_flipping_test(sample: list[float]) -> None:
    # Subsets whose mean equals the null count against significance, as ties do in scipy.
    if len(sample) < 2:
        return
    theirs = permutation_test((sample,), np.mean, permutation_type="samples", alternative="less", n_resamples=np.inf)
    assert typical_values(sample).p_below(0.0) == pytest.approx(theirs.pvalue)


@given(differences, st.sampled_from([0.01, 0.05, 0.2]))
def test_the_interval_and_the_p_value_of_controls_agree(sample: list[float], level: float) -> None:
    values = typical_values(sample)
    low, high = values.interval(level)
    for null in (low - 1e-6, low + 1e-6):
        assert (values.p_above(null) <= level) == (null < low and low > -4)
    for null in (high - 1e-6, high + 1e-6):
        assert (values.p_below(null) <= level) == (null > high and high < 4)


@pytest.mark.parametrize("values", [[], [float("nan")], [0.0] * 14])
def test_sign_flipping_needs_a_few_finite_differences(values: list[float]) -> None:
    with pytest.raises(ValueError, match="1 to 13 finite"):
        typical_values(values)


@pytest.mark.parametrize("values", [[float("nan")], [float("inf")], [4.5, 0.0]])
def test_differences_must_be_finite_and_bounded(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"finite and within -4\.\.4"):
        analyse(values)


def analyse(sample: Sequence[float], margin: float = 0.3, horizon: int = 0) -> MeanAnalysis:
    return analyse_mean(sample, margin, level=0.05, drop_level=0.05, horizon=horizon or len(sample))


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.sampled_from([-4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0])] * 3).filter(
        lambda v: len({*v}) == 3
    ),
    st.floats(0.05, 0.9),
    st.floats(0.05, 0.9),
    st.sampled_from([0.05, 0.1, 0.2]),
)
def test_the_error_probability_is_exactly_bounded_for_any_distribution_on_three_values(
    values: tuple[float, float, float], first: float, second: float, level: float
) -> None:
    """All series of seven differences, each with its probability, where the mean is the null hypothesis."""
    shares = np.array([first * second, first * (1 - second), 1 - first])
    null = float(np.dot(values, shares))
    series = np.array(list(itertools.product(range(3), repeat=7)))
    rejected = log_capital(np.array(values)[series], null, horizon=7, level=level) >= -math.log(level)
    assert shares[series].prod(axis=1)[rejected].sum() <= level + 1e-9


@pytest.mark.parametrize("number", [20, 39, 60, 100])
@pytest.mark.parametrize(
    ("values", "shares"),
    [
        ((-4.0, 0.0), (0.075, 0.925)),  # rare large drops
        ((-4.0, 0.5, 0.0), (0.15, 0.6, 0.25)),  # and many small gains
        ((-2.0, 0.5, 0.0), (0.25, 0.4, 0.35)),
        ((-1.0, 0.0), (0.3, 0.7)),
    ],
)
def test_a_drop_of_exactly_the_margin_passes_in_at_most_five_percent(values, shares, number: int) -> None:
    draws = 20_000
    sample = np.random.default_rng(number).choice(values, size=(draws, number), p=shares)
    for null, found in ((-0.3, sample), (0.0, -(sample + 0.3).clip(-4, 4))):  # a false pass, and a false alarm
        wrong = (log_capital(found, null, horizon=number, level=0.05) >= math.log(20)).mean()
        assert wrong <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws)


@pytest.mark.parametrize(("margin", "fewest"), [(0.1, 119), (0.2, 59), (0.3, 39), (0.5, 23), (1.0, 11), (2.0, 5)])
def test_without_any_drop_the_fewest_possible_cases_pass(margin: float, fewest: int) -> None:
    assert fewest_cases(margin, 0.05) == fewest
    assert analyse([0.0] * fewest, margin).p_margin <= 0.05
    assert analyse([0.0] * (fewest - 1), margin).p_margin > 0.05


@settings(deadline=None)
@given(st.lists(st.sampled_from([-4.0, -1.0, -0.5, 0.0, 0.0, 0.0, 0.5, 4.0]), min_size=1, max_size=60))
def test_the_interval_agrees_with_the_margins_test_and_holds_the_mean(sample: list[float]) -> None:
    found = analyse(sample)
    assert (found.low >= -0.3) == (found.p_margin <= 0.05)
    assert -4 <= found.low <= np.mean(sample) + 1e-9
    assert np.mean(sample) - 1e-9 <= found.high <= 4


def test_nothing_is_known_without_data() -> None:
    assert analyse([]) == MeanAnalysis(p_drop=1.0, p_margin=1.0, low=-4.0, high=4.0)


def test_the_interval_is_not_much_wider_than_a_bootstrap_interval_for_many_cases() -> None:
    rng = np.random.default_rng(3)
    before, after = rng.uniform(2, 4, 400), rng.uniform(1.8, 3.8, 400)
    theirs = paired_bootstrap(before, after, alpha=0.1)
    found = analyse(after - before)
    width = theirs.ci_high - theirs.ci_low
    assert found.low == pytest.approx(theirs.ci_low, abs=width / 2)
    assert found.high == pytest.approx(theirs.ci_high, abs=width / 2)
    assert width < found.high - found.low < 1.6 * width


def test_drops_are_corrected_by_holms_method() -> None:
    rng = np.random.default_rng(5)
    for _ in range(40):
        samples = {key: rng.normal(-shift, 0.5, 25).clip(-4, 4) for key, shift in enumerate(rng.uniform(0, 0.9, 4))}
        found = run_tests(samples, dict.fromkeys(samples, 0.3), alpha=0.05)
        theirs, *_ = multipletests([found[key].p_drop for key in samples], alpha=0.05, method="holm")
        assert [found[key].dropped for key in samples] == list(theirs)


@pytest.mark.parametrize("deviation", [0.5, 1.0])
def test_the_suggested_number_of_cases_has_the_promised_power(deviation: float) -> None:
    rng = np.random.default_rng(1)
    pilot = rng.normal(0, 1.0, 30)
    pilot = (pilot - pilot.mean()) / pilot.std(ddof=1) * deviation
    needed = cases_needed(pilot, 0.3, level=0.05, power=0.8)
    assert needed is not None
    sample = rng.normal(0, deviation, (2_000, needed)).clip(-4, 4)
    passed = log_capital(sample, -0.3, horizon=needed, level=0.05) >= math.log(20)
    assert passed.mean() == pytest.approx(0.8, abs=0.06)


# --- decisions


def rows(scores: list[float], **more: object) -> list[dict[str, object]]:
    """Rows whose answers state the score that a judge should give them."""
    return [
        {"id": f"case-{i:03}", "prompt": f"Question {i}", "response": f"worth {score:g}", **more}
        for i, score in enumerate(scores)
    ]


def worth(text: str) -> float:
    return float(text.split()[-1])


def by_worth(request: Request) -> str:
    responses = json.loads(request.messages[1]["content"])["responses"]
    return verdict_reply({name: round(worth(text)) for name, text in responses.items()}, thoughts="model-1 came first")


def noisily(deviation: float, first: float = 0.0):
    """A judge with noise of this deviation that adds ``first`` points to the answer in the first position."""

    def reply(request: Request) -> str:
        responses = json.loads(request.messages[1]["content"])["responses"]
        name = f"{request.sampling.seed}/{request.messages[1]['content']}"
        rng = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))
        scores = [worth(text) + rng.normal(0, deviation) for text in responses.values()]
        scores[0] += first
        return verdict_reply({key: int(np.clip(round(s), 1, 5)) for key, s in zip(responses, scores, strict=True)})

    return reply


def judge_with(reply=by_worth, **options: object) -> Judge:
    return Judge(ScriptedBackend(reply), **{"cache": "off", **options})  # type: ignore[arg-type]


def only(report: CheckReport) -> Comparison:
    (comparison,) = report.comparisons
    return comparison


BASE = [3, 4, 5, 4, 3, 5, 4, 4, 3, 5] * 4


def test_the_same_answers_pass_without_a_call() -> None:
    judge = judge_with()
    report = check(rows(BASE), rows(BASE), "Be right.", judge=judge)
    assert (report.outcome, report.exit_code, report.usage.calls) == ("passed", 0, 0)
    assert only(report).unchanged == len(BASE)
    assert report.reason == "No answer changed."


def test_better_answers_pass() -> None:
    report = check(rows([s - 1 for s in BASE]), rows(BASE), "Be right.", judge=judge_with())
    assert (report.outcome, only(report).wins, only(report).losses) == ("passed", 40, 0)
    assert only(report).difference == pytest.approx(1.0)


def test_worse_answers_are_a_confirmed_regression_with_the_worst_case_first() -> None:
    worse = [max(1, s - (3 if i == 7 else 1)) for i, s in enumerate(BASE)]
    report = check(rows(BASE), rows(worse), "Be right.", judge=judge_with())
    comparison = only(report)
    assert (report.outcome, report.exit_code, comparison.confirmed) == ("regression", 1, True)
    assert report.usage.calls == 4 * len(BASE)  # two orders, and two once more
    worst = report.worst(comparison)[0]
    assert (worst.id, worst.difference, len(worst.fresh_differences)) == ("case-007", -3.0, 2)
    assert "baseline" in worst.reasoning or "candidate" in worst.reasoning
    assert comparison.p_sign == pytest.approx(mcnemar_exact(40, 0))
    json.dumps(report.to_dict())


def test_few_cases_are_inconclusive_and_the_report_suggests_a_number() -> None:
    same = check(rows([4] * 12), rows([4.001] * 12), "Be right.", judge=judge_with())
    assert same.outcome == "inconclusive"
    assert "12 cases cannot rule out rare large drops; 39 could." in same.reason
    enough = check(rows([4] * 39), rows([4.001] * 39), "Be right.", judge=judge_with())
    assert enough.outcome == "passed"
    report = check(rows([4, 4, 4]), rows([3, 3, 4]), "Be right.", judge=judge_with())
    assert (report.outcome, report.exit_code) == ("inconclusive", 3)
    assert only(report).cases_needed is not None
    assert f"About {only(report).cases_needed} cases" in report.reason


def test_a_pass_needs_evidence_and_not_just_a_missing_difference() -> None:
    """Ten varying cases show no drop, which is not yet evidence of no drop."""
    baseline, candidate = [3.0] * 10, [2, 4, 5, 1, 3, 2, 4, 2, 3, 3]
    report = check(rows(baseline), rows([float(c) for c in candidate]), "Be right.", judge=judge_with())
    assert only(report).p_drop > 0.3
    assert report.outcome == "inconclusive"


def test_a_significant_drop_within_the_margin_passes_and_is_reported() -> None:
    worse = [s - (i % 8 == 0) for i, s in enumerate(BASE * 3)]
    report = check(rows(BASE * 3), rows(worse), "Be right.", judge=judge_with(), margin=0.3)
    assert report.outcome == "passed"
    assert "The drop is significant, but smaller" in report.reason


def test_position_bias_of_the_judge_causes_no_false_alarm() -> None:
    candidate = [3 + random.Random(i).choice([-1, 0, 1]) for i in range(120)]
    report = check(rows([3] * 120), rows(candidate), "Be right.", judge=judge_with(noisily(0.3, first=1.0)))
    assert report.outcome != "regression"
    noise = only(report).noise
    assert noise is not None
    assert noise.position_bias == pytest.approx(1.0, abs=0.2)
    assert noise.deviation < 0.8  # the bias is not counted as noise


def test_answers_scored_one_at_a_time_have_no_position_bias() -> None:
    def odds(question: ChoiceRequest) -> dict[str, float]:
        bad = "Response: worth 1" in question.messages[-1]["content"]
        return {question.options[0]: 0.2 if bad else 0.8, question.options[1]: 0.8 if bad else 0.2}

    judge = Judge(ScriptedBackend([], probabilities=odds), readout="logits", cache="off")
    comparison = only(check(rows([5] * 12), rows([1] * 12), "Be right.", judge=judge))
    assert comparison.outcome == "regression"
    assert comparison.noise is not None
    assert (comparison.noise.position_bias, comparison.noise.deviation) == (0.0, pytest.approx(0.0, abs=1e-9))


def test_the_judges_noise_is_reported() -> None:
    quiet = only(check(rows(BASE), rows([s - 1 for s in BASE]), "Be right.", judge=judge_with())).noise
    loud = only(check(rows(BASE), rows([s - 1 for s in BASE]), "Be right.", judge=judge_with(noisily(1.0)))).noise
    assert quiet is not None
    assert loud is not None
    assert quiet.deviation == 0.0
    assert loud.deviation > 0.8
    assert 0 < loud.share <= 1


def test_a_suspicion_from_noise_is_not_a_regression() -> None:
    """The judge prefers the baseline at first and the candidate in fresh orders."""

    def fickle(request: Request) -> str:
        responses = json.loads(request.messages[1]["content"])["responses"]
        against = request.sampling.temperature == 0
        return verdict_reply({n: 2 if ("new" in text) == against else 4 for n, text in responses.items()})

    old = [{"id": str(i), "prompt": "p", "group": str(i), "response": f"old {i}"} for i in range(20)]
    new = [{"id": str(i), "prompt": "p", "group": str(i), "response": f"new {i}"} for i in range(20)]
    report = check(old, new, "Be right.", judge=judge_with(fickle))
    assert (report.outcome, only(report).confirmed) == ("inconclusive", False)
    assert "not confirmed" in report.reason
    unchecked = check(old, new, "Be right.", judge=judge_with(fickle), confirm=False)
    assert (unchecked.outcome, only(unchecked).confirmed) == ("regression", None)


def test_an_extreme_first_judgement_is_not_confirmed_by_a_neutral_one() -> None:
    def wild(request: Request) -> str:
        responses = json.loads(request.messages[1]["content"])["responses"]
        at_first = request.sampling.temperature == 0
        return verdict_reply({n: 1 if at_first and "new" in text else 5 for n, text in responses.items()})

    sides = [
        [{"id": str(i), "prompt": f"p{i}", "response": f"{side} {i}"} for i in range(20)] for side in ("old", "new")
    ]
    report = check(*sides, "Be right.", judge=judge_with(wild))
    assert (report.outcome, only(report).confirmed, only(report).difference) == ("inconclusive", False, -2.0)


def test_cases_with_the_same_input_are_judged_at_the_same_look() -> None:
    grouped = [{**row, "group": f"input {i % 40}"} for i, row in enumerate(rows(BASE * 4))]
    worse = [{**row, "response": f"worth {worth(str(row['response'])) - 2:g}"} for row in grouped]
    report = check(grouped, worse, "Be right.", judge=judge_with(), sequential=True)
    judged = Counter(pair.group for pair in report.pairs)
    assert (report.outcome, report.looked) == ("regression", 80)
    assert set(judged.values()) == {4}
    assert only(report).n == 20


def test_a_judge_that_fails_during_confirmation_makes_the_check_inconclusive() -> None:
    def dying(request: Request) -> str:
        return by_worth(request) if request.sampling.temperature == 0 else "no verdict"

    report = check(rows(BASE), rows([s - 1 for s in BASE]), "Be right.", judge=judge_with(dying))
    assert (report.outcome, report.exhausted) == ("inconclusive", True)
    assert (only(report).outcome, only(report).confirmed) == ("inconclusive", None)
    assert only(report).reason == "Too many judgements failed for a result."


def test_cases_with_the_same_input_count_once() -> None:
    repeated = [{**row, "prompt": f"Question {i % 4}"} for i, row in enumerate(rows(BASE))]
    worse = [{**row, "response": f"worth {worth(str(row['response'])) - 1:g}"} for row in repeated]
    report = check(repeated, worse, "Be right.", judge=judge_with())
    assert (only(report).n, only(report).cases, report.outcome) == (4, 40, "inconclusive")
    named = check([{**r, "group": r["id"]} for r in repeated], worse, "Be right.", judge=judge_with())
    assert (only(named).n, named.outcome) == (40, "regression")


def test_several_candidates_share_a_list_and_take_every_position() -> None:
    orders: list[list[str]] = []

    def noted(request: Request) -> str:
        orders.append(list(json.loads(request.messages[1]["content"])["responses"].values()))
        return by_worth(request)

    many = {"same": rows([s + 0.001 for s in BASE]), "worse": rows([s - 1 for s in BASE])}
    report = check(rows(BASE), many, ["Be right.", "Be brief."], judge=judge_with(noted), confirm=False)
    assert [(c.candidate, c.outcome) for c in report.comparisons] == [
        ("same", "passed"), ("worse", "regression"), ("same", "passed"), ("worse", "regression"),
    ]  # fmt: skip
    assert report.outcome == "regression"
    assert len(orders) == 2 * 3 * len(BASE)
    assert all(len(order) == 3 for order in orders)
    of_one = [order for order in orders if "worth 3.001" in order][:3]
    assert {order.index("worth 3.001") for order in of_one} == {0, 1, 2}


def test_minimum_scores_for_the_mean_and_for_one_case() -> None:
    floor = Requirement(principle=Principle("Be right.", name="right"), margin=0.3, min_score=4.5)
    report = check(rows(BASE), rows(BASE), floor, judge=judge_with())
    assert (report.outcome, report.reason) == ("regression", "The mean score is 4.00, below the required 4.5. The mean "
            "score changed by +0.00 (90% interval -0.29 to +0.29).")  # fmt: skip
    must = rows(BASE)
    must[4]["min_score"] = 4
    broken = check(rows(BASE), must, "Be right.", judge=judge_with())
    assert broken.outcome == "regression"
    assert "case-004" in broken.reason
    assert [pair.id for pair in broken.pairs if pair.breaks_rule] == ["case-004"]
    must[4]["min_score"] = 3
    assert check(rows(BASE), must, "Be right.", judge=judge_with()).outcome == "passed"


def test_failed_judgements_are_excluded() -> None:
    def failing(request: Request) -> str:
        if 'Question 3"' in request.messages[1]["content"]:
            return "no verdict"
        return by_worth(request)

    report = check(rows(BASE), rows([s + 0.001 for s in BASE]), "Be right.", judge=judge_with(failing))
    assert (report.outcome, only(report).failures, only(report).cases) == ("passed", 1, 39)
    (pair,) = report.failures
    assert pair.difference is None
    assert pair.failure is not None
    assert pair.failure.error_type == "VerdictParseError"
    strict = check(rows(BASE), rows([s - 2 for s in BASE]), "Be right.", judge=judge_with(failing), max_failures=0)
    assert (strict.outcome, strict.exit_code) == ("inconclusive", 3)


def test_a_dead_judge_is_given_up_early() -> None:
    calls = itertools.count()

    async def dead(request: Request) -> str:
        next(calls)
        raise BackendConnectionError("nobody there")

    many = BASE * 30
    report = check(rows(many), rows([s - 1 for s in many]), "Be right.", judge=judge_with(dead))
    assert report.outcome == "inconclusive"
    assert "judgements failed" in report.reason
    assert next(calls) < len(many)


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("The server refused the key."),
        ConfigError("There is no such model."),
        MissingExtraError("LiteLLM", extra="endpoint"),
        ModelFetchError("The weights cannot be fetched."),
    ],
)
def test_a_judge_that_cannot_work_at_all_raises_its_error_after_a_few_calls(error: Exception) -> None:
    calls = []

    def broken(request: Request) -> str:
        calls.append(request)
        raise error

    many = BASE * 20
    with pytest.raises(type(error)) as raised:
        check(rows(many), rows([s - 1 for s in many]), "Be right.", judge=judge_with(broken))
    assert str(error).split(".")[0] in str(raised.value)
    assert len(calls) < len(many)  # two orders each; as many as were in flight
    with pytest.raises(type(error)):
        check(rows([4, 4]), rows([3, 3]), "Be right.", judge=judge_with(broken), max_failures=1)


def test_a_key_that_expires_during_the_check_is_no_result_at_all() -> None:
    calls = itertools.count()

    def expiring(request: Request) -> str:
        if next(calls) >= 20:
            raise AuthenticationError("The key has expired.")
        return by_worth(request)

    judge = judge_with(expiring)
    with pytest.raises(AuthenticationError, match="expired"):
        check(rows(BASE), rows([s - 1 for s in BASE]), "Be right.", judge=judge)


def test_other_errors_of_every_judgement_make_the_check_inconclusive() -> None:
    def down(request: Request) -> str:
        raise BackendConnectionError("The server does not answer.")

    report = check(rows(BASE), rows([s - 1 for s in BASE]), "Be right.", judge=judge_with(down, retries=0))
    assert (report.outcome, report.exhausted) == ("inconclusive", True)


def test_a_sequential_check_stops_early_on_a_clear_result() -> None:
    many = BASE * 4  # 160 cases: the first look has 40
    clear = check(rows(many), rows([s - 2 for s in many]), "Be right.", judge=judge_with(), sequential=True)
    assert (clear.outcome, clear.looked, clear.planned) == ("regression", 40, 160)
    fine = check(rows(many), rows([s + 0.001 for s in many]), "Be right.", judge=judge_with(), sequential=True)
    assert (fine.outcome, fine.looked) == ("passed", 80)
    floor = check(
        rows(many), rows([s + 0.001 for s in many]), "Be right.", judge=judge_with(), sequential=True, min_score=2
    )
    assert (floor.outcome, floor.looked) == ("passed", 160)  # minimum scores apply to all cases


def test_a_second_check_costs_nothing(tmp_path) -> None:
    judge = judge_with(store=tmp_path / "store.sqlite3", cache="on")
    worse = rows([s - 1 for s in BASE])
    first = check(rows(BASE), worse, "Be right.", judge=judge)
    again = check(rows(BASE), worse, "Be right.", judge=judge)
    assert first.usage.calls > 0
    assert again.usage.calls == 0
    assert again.comparisons == first.comparisons
    stored = judge.store.find(first.pairs[0].record_ids[0])
    assert isinstance(stored.verdict, Verdict)


def test_an_empty_answer_is_judged_like_any_other() -> None:
    strange = rows(BASE)
    strange[0]["response"] = ""
    seen: list[str] = []

    def lenient(request: Request) -> str:
        responses = json.loads(request.messages[1]["content"])["responses"]
        seen.extend(responses.values())
        return verdict_reply({name: round(worth(text)) if text else 1 for name, text in responses.items()})

    report = check(rows(BASE), strange, "Be right.", judge=judge_with(lenient))
    assert "" in seen
    assert next(pair for pair in report.pairs if pair.id == "case-000").difference == -2.0


@pytest.mark.parametrize(
    ("baseline", "candidate", "problem"),
    [
        ([], rows([1]), "no rows in the baseline"),
        (rows([1]), [{"id": "x", "prompt": "p"}], "Row 1 of the candidate (id 'x') has no 'response'; it has: id"),
        (rows([1, 2]), rows([1]), "'case-001' not in candidate"),
        (rows([1]), [{**rows([1])[0], "prompt": "another"}], "Case 'case-000' has a different prompt in 'candidate'"),
        (rows([1]) * 2, rows([1]), "has the id 'case-000', which another row has too"),
        (rows([1]), [{**rows([1])[0], "response": 3}], "the response labelled 'response' must be a string"),
        (rows([1]), rows([1], min_score=7), "min_score must be within 1..5, not 7"),
        (rows([1]), rows([1], prompt=[{"role": "robot", "content": "x"}]), "cannot be judged"),
        (rows([1]), [{"prompt": "Question 0", "response": "x"}, *rows([1])], "give all rows an id or none"),
    ],
)  # fmt: skip
def test_invalid_rows_are_reported_before_anything_is_judged(baseline, candidate, problem) -> None:
    judge = judge_with()
    with pytest.raises(ConfigError) as error:
        check(baseline, candidate, "Be right.", judge=judge)
    assert problem in str(error.value)
    assert judge.usage.calls == 0


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"margin": 0}, "margin of 'Be right.' must be above 0"),
        ({"alpha": 0.7}, "alpha"),
        ({"power": 1}, "power"),
        ({"max_failures": 5}, "share of the judgements"),
        ({"min_score": 0}, "min_score"),
        ({"principles": []}, "at least one principle"),
        ({"principles": ["a", "a"]}, "Two principles have the name 'a'"),
        ({"candidate": {}}, "at least one candidate"),
    ],
)
def test_invalid_arguments_are_reported(options: dict, problem: str) -> None:
    given = {"candidate": rows([1]), "principles": "Be right.", "judge": judge_with(), **options}
    with pytest.raises(ConfigError, match=problem):
        check(rows([1]), **given)


def test_cases_that_one_side_lacks_can_be_left_out() -> None:
    report = check(rows(BASE), rows(BASE[:30]), "Be right.", judge=judge_with(), common_only=True)
    assert (report.planned, len(report.missing), report.outcome) == (30, 10, "passed")


def test_progress_includes_the_confirmation() -> None:
    calls: list[tuple[int, int]] = []
    check(
        rows(BASE),
        rows([s - 1 for s in BASE]),
        "Be right.",
        judge=judge_with(),
        progress=lambda done, planned: calls.append((done, planned)),
    )
    assert calls[39] == (40, 40)
    assert calls[-1] == (80, 80)


def test_a_jury_can_check_too() -> None:
    jury = Jury([judge_with(), judge_with(noisily(0.5))])
    report = check(rows(BASE), rows([s - 1 for s in BASE]), "Be right.", judge=jury)
    assert (report.outcome, report.usage.calls) == ("regression", 8 * len(BASE))
