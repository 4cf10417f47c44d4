"""The gate: its statistics against other implementations, and its decisions with judges over scripted models."""

import hashlib
import itertools
import json
import random

import numpy as np
import pytest
from evalproof.stats import mcnemar_exact, paired_bootstrap
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, permutation_test
from statsmodels.stats.multitest import multipletests

from rewardanything_core import ConfigError, Judge, Jury, ScriptedBackend, Verdict
from rewardanything_core.backends import Request, verdict_reply
from rewardanything_core.backends.base import ChoiceRequest
from rewardanything_core.errors import AuthenticationError, BackendConnectionError, MissingExtraError, ModelFetchError
from rewardanything_core.gate import CheckReport, Comparison, Requirement, check
from rewardanything_core.gate.inference import cases_needed, typical_values
from rewardanything_core.gate.sequential import LOOKS, levels
from rewardanything_core.gate.significance import run_tests
from rewardanything_core.principles import Principle

# --- statistics

differences = st.lists(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0]), min_size=1, max_size=9)


@given(differences)
def test_p_values_equal_those_of_the_exact_sign_flipping_test(sample: list[float]) -> None:
    # Subsets whose mean equals the null count against significance, as ties do in scipy.
    if len(sample) < 2:
        return
    theirs = permutation_test((sample,), np.mean, permutation_type="samples", alternative="less", n_resamples=np.inf)
    assert typical_values(sample).p_below(0.0) == pytest.approx(theirs.pvalue)


@given(differences, st.sampled_from([0.01, 0.05, 0.2]))
def test_the_interval_and_the_p_value_agree(sample: list[float], level: float) -> None:
    values = typical_values(sample)
    low, high = values.interval(level)
    for null in (low - 1e-6, low + 1e-6):
        assert (values.p_above(null) <= level) == (null < low and low > -4)
    for null in (high - 1e-6, high + 1e-6):
        assert (values.p_below(null) <= level) == (null > high and high < 4)


def test_the_interval_is_close_to_a_paired_bootstrap_interval() -> None:
    rng = np.random.default_rng(3)
    before, after = rng.normal(3, 1, 80), rng.normal(2.8, 1, 80)
    theirs = paired_bootstrap(before, after, alpha=0.1)
    low, high = typical_values(after - before).interval(0.05)
    width = theirs.ci_high - theirs.ci_low
    assert low == pytest.approx(theirs.ci_low, abs=0.08 * width)
    assert high == pytest.approx(theirs.ci_high, abs=0.08 * width)


def test_drops_are_corrected_by_holms_method() -> None:
    rng = np.random.default_rng(5)
    for _ in range(40):
        samples = {key: rng.normal(-shift, 1, 12) for key, shift in enumerate(rng.uniform(0, 0.9, 4))}
        found = run_tests(samples, dict.fromkeys(samples, 0.3), alpha=0.05)
        theirs, *_ = multipletests([found[key].p_drop for key in samples], alpha=0.05, method="holm")
        assert [found[key].dropped for key in samples] == list(theirs)


@pytest.mark.parametrize("shape", [-4.0, -2.0, 1.0])
def test_repeated_looks_spend_no_more_than_alpha(shape: float) -> None:
    steps = np.random.default_rng(0).normal(size=(200_000, len(LOOKS)))
    z = steps.cumsum(axis=1) / np.sqrt(np.arange(1, len(LOOKS) + 1))
    crossed = (norm.sf(z) <= levels(0.05, LOOKS, shape)).any(axis=1).mean()
    assert crossed == pytest.approx(0.05, abs=0.002)
    assert levels(0.05, (1.0,), shape) == (0.05,)


def test_levels_match_the_published_table() -> None:
    """Two-sided .05 with five looks and Pocock's spending (shape 1 is close to it): Hwang, Shih & DeCani 1990."""
    found = [norm.isf(level) for level in levels(0.025, (0.2, 0.4, 0.6, 0.8, 1.0), 1.0)]
    assert found == pytest.approx([2.44, 2.43, 2.41, 2.40, 2.39], abs=0.05)


def test_the_suggested_number_of_cases_has_the_promised_power() -> None:
    rng = np.random.default_rng(1)
    pilot = rng.normal(0, 1.0, 30)
    pilot -= pilot.mean()
    needed = cases_needed(pilot, 0.3, level=0.05, power=0.8)
    assert needed is not None
    settled = [typical_values(rng.normal(0, pilot.std(ddof=1), needed)).p_above(-0.3) <= 0.05 for _ in range(400)]
    assert np.mean(settled) == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize("values", [[], [float("nan")]])
def test_inference_needs_finite_differences(values: list[float]) -> None:
    with pytest.raises(ValueError, match="one or more finite"):
        typical_values(values)


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


BASE = [3, 4, 5, 4, 3, 5, 4, 4, 3, 5] * 3


def test_the_same_answers_pass_without_a_call() -> None:
    judge = judge_with()
    report = check(rows(BASE), rows(BASE), "Be right.", judge=judge)
    assert (report.outcome, report.exit_code, report.usage.calls) == ("passed", 0, 0)
    assert only(report).unchanged == len(BASE)
    assert report.reason == "No answer changed."


def test_better_answers_pass() -> None:
    report = check(rows([s - 1 for s in BASE]), rows(BASE), "Be right.", judge=judge_with())
    assert (report.outcome, only(report).wins, only(report).losses) == ("passed", 30, 0)
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
    assert comparison.p_sign == pytest.approx(mcnemar_exact(30, 0))
    json.dumps(report.to_dict())


def test_few_cases_are_inconclusive_and_the_report_suggests_a_number() -> None:
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
    candidate = [s + random.Random(i).choice([-1, 0, 1]) for i, s in enumerate(BASE * 3)]
    report = check(rows(BASE * 3), rows(candidate), "Be right.", judge=judge_with(noisily(0.3, first=1.0)))
    assert report.outcome != "regression"
    noise = only(report).noise
    assert noise is not None
    assert noise.position_bias == pytest.approx(0.85, abs=0.35)  # clipped at 5 for good answers
    assert noise.deviation < 0.8  # the bias is not counted as noise


def test_answers_scored_one_at_a_time_have_no_position_bias() -> None:
    def odds(question: ChoiceRequest) -> dict[str, float]:
        bad = "Response: worth 1" in question.messages[-1]["content"]
        return {question.options[0]: 0.2 if bad else 0.8, question.options[1]: 0.8 if bad else 0.2}

    judge = Judge(ScriptedBackend([], odds=odds), readout="logits", cache="off")
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
    assert (only(report).n, only(report).cases, report.outcome) == (4, 30, "inconclusive")
    named = check([{**r, "group": r["id"]} for r in repeated], worse, "Be right.", judge=judge_with())
    assert (only(named).n, named.outcome) == (30, "regression")


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
            "score changed by +0.00 (90% interval +0.00 to +0.00).")  # fmt: skip
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
    assert (report.outcome, only(report).failures, only(report).cases) == ("passed", 1, 29)
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
    assert len(calls) < len(many) / 2
    with pytest.raises(type(error)):
        check(rows([4, 4]), rows([3, 3]), "Be right.", judge=judge_with(broken), max_failures=1)


def test_a_key_that_expires_during_the_check_makes_it_inconclusive() -> None:
    calls = itertools.count()

    def expiring(request: Request) -> str:
        if next(calls) >= 20:
            raise AuthenticationError("The key has expired.")
        return by_worth(request)

    judge = judge_with(expiring)
    report = check(rows(BASE), rows([s - 1 for s in BASE]), "Be right.", judge=judge)
    assert (report.outcome, report.exhausted) == ("inconclusive", True)


def test_other_errors_of_every_judgement_make_the_check_inconclusive() -> None:
    def down(request: Request) -> str:
        raise BackendConnectionError("The server does not answer.")

    report = check(rows(BASE), rows([s - 1 for s in BASE]), "Be right.", judge=judge_with(down, retries=0))
    assert (report.outcome, report.exhausted) == ("inconclusive", True)


def test_a_sequential_check_stops_early_on_a_clear_result() -> None:
    many = BASE * 4
    clear = check(rows(many), rows([s - 2 for s in many]), "Be right.", judge=judge_with(), sequential=True)
    assert (clear.outcome, clear.looked, clear.planned) == ("regression", 30, 120)
    fine = check(rows(many), rows([s + 0.001 for s in many]), "Be right.", judge=judge_with(), sequential=True)
    assert (fine.outcome, fine.looked) == ("passed", 30)
    floor = check(
        rows(many), rows([s + 0.001 for s in many]), "Be right.", judge=judge_with(), sequential=True, min_score=2
    )
    assert (floor.outcome, floor.looked) == ("passed", 120)  # minimum scores apply to all cases


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
        (rows([1]), [{"id": "case-000", "prompt": "Question 0", "response": 3}], "must be text, not int"),
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
    report = check(rows(BASE), rows(BASE[:20]), "Be right.", judge=judge_with(), common_only=True)
    assert (report.planned, len(report.missing), report.outcome) == (20, 10, "passed")


def test_progress_includes_the_confirmation() -> None:
    calls: list[tuple[int, int]] = []
    check(
        rows(BASE),
        rows([s - 1 for s in BASE]),
        "Be right.",
        judge=judge_with(),
        progress=lambda done, planned: calls.append((done, planned)),
    )
    assert calls[29] == (30, 30)
    assert calls[-1] == (60, 60)


def test_a_jury_can_check_too() -> None:
    jury = Jury([judge_with(), judge_with(noisily(0.5))])
    report = check(rows(BASE), rows([s - 1 for s in BASE]), "Be right.", judge=jury)
    assert (report.outcome, report.usage.calls) == ("regression", 8 * len(BASE))
