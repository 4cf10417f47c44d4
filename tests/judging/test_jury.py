import asyncio
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import scripts
from paths import TESTS

from rewardanything_core import (
    BackendError,
    BaseJudge,
    Case,
    ConfigError,
    Judge,
    JudgeFailure,
    Jury,
    ScriptedBackend,
    Usage,
    Verdict,
    VerdictParseError,
    VerdictStore,
    default_judge,
    load_judge,
    set_default_judge,
)
from rewardanything_core.agreement import juror_ratings, krippendorff_alpha
from rewardanything_core.config import read_settings
from rewardanything_core.errors import AuthenticationError, ContextLengthError, StoreError
from rewardanything_core.store.records import Entry

TEXTS = {"a": "ae", "b": "bcdf", "c": "aeio"}  # by length 2, 4, 4; by vowels 3, 1, 5


def length(**options):
    return Judge(ScriptedBackend(scripts.by_length, name="length"), **options)


def vowels(**options):
    return Judge(ScriptedBackend(scripts.by_vowels, name="vowels"), **options)


def mute(**options):
    return Judge(ScriptedBackend(scripts.mute, name="mute"), retries=0, **options)


def scoring(score, name):
    return Judge(ScriptedBackend.scoring(score, name=name))


# --- one verdict


def test_the_verdict_is_the_mean_of_the_jurors_and_keeps_what_each_said():
    jury = Jury([length(), vowels()])
    verdict = jury.judge("p", "q", TEXTS, id="q1")
    assert verdict.scores == {"a": 2.5, "b": 2.5, "c": 4.5}
    assert verdict.spread == {"a": 0.5, "b": 1.5, "c": 0.5}
    assert verdict.best == "c"
    assert (verdict.case_id, verdict.model, verdict.usage.calls) == ("q1", "jury(length, vowels)", 2)
    first, second = verdict.jurors
    assert (first.model, first.scores) == ("length", {"a": 2, "b": 4, "c": 4})
    assert (second.model, second.scores) == ("vowels", {"a": 3, "b": 1, "c": 5})
    assert (first.case_id, second.case_id) == ("q1", "q1")
    assert verdict.reasoning.startswith("[juror 1 of 2: length]\nby length\n\n[juror 2 of 2: vowels]\nmodel-")
    assert verdict.raw_output.startswith("[juror 1 of 2: length]\n<think>")
    assert verdict.pass_scores == [first.scores, second.scores]
    assert verdict.orders == [*first.orders, *second.orders]


def test_the_agreement_is_that_of_the_jurors_rankings():
    alike = Jury([length(), length(seed=1)]).judge("p", "q", ["a", "bb", "ccc"])
    assert alike.agreement == 1.0
    opposed = Jury([scoring(len, "long"), scoring(lambda text: 6 - len(text), "short")])
    assert opposed.judge("p", "q", ["a", "bb", "ccc"]).agreement == 0.0
    assert Jury([length()]).judge("p", "q", ["a", "bb"]).agreement is None
    assert Jury([length(), vowels()]).judge("p", "q", ["a"]).agreement is None


def test_weights_count_in_mean_spread_and_borda():
    verdict = Jury([length(), vowels()], weights=[3, 1]).judge("p", "q", TEXTS)
    assert verdict.scores == {"a": 2.25, "b": 3.25, "c": 4.25}
    assert verdict.spread["b"] == pytest.approx((0.75 * 0.75**2 + 0.25 * 2.25**2) ** 0.5)
    # x and y have the same mean, and the juror that counts more puts y first.
    one = scoring(lambda text: {"x": 2, "y": 3, "z": 1}[text], "one")
    other = scoring(lambda text: {"x": 4, "y": 2, "z": 3}[text], "other")
    tied = Jury([one, other], weights=[2, 1]).judge("p", "q", {"x": "x", "y": "y", "z": "z"})
    assert tied.scores["x"] == tied.scores["y"]
    assert tied.ranking[0] == "y"


def test_the_explanation_is_right_for_each_juror_and_each_pass():
    jury = Jury([vowels(passes=3), vowels(seed=5)])
    for texts in (TEXTS, dict(zip("xyz", TEXTS.values(), strict=True))):  # the second comes from the stores
        best = list(texts)[2]
        line = f"{best} has the most vowels"
        assert jury.judge("p", "q", texts).explanation == (
            "[vowels]\n" + "\n\n".join([line] * 3) + "\n\n[vowels]\n" + line
        )


def test_a_jury_of_juries():
    verdict = Jury([Jury([length(), vowels()]), length(seed=3)]).judge("p", "q", TEXTS)
    assert verdict.scores == {"a": 2.25, "b": 3.25, "c": 4.25}
    assert verdict.model == "jury(jury(length, vowels), length)"
    assert len(verdict.record_ids) == 3


# --- stores


def test_each_juror_is_stored_and_the_jury_follows_from_them(own_store):
    length().judge("p", "q", TEXTS)
    jury = Jury([length(), vowels()])
    first = jury.judge("p", "q", TEXTS)
    assert [juror.cached for juror in first.jurors] == [True, False]
    assert not first.cached
    assert first.record_id is None
    store = VerdictStore(own_store)
    assert [store.find(record).model for record in first.record_ids] == ["length", "vowels"]
    assert [about["record_id"] for about in first.provenance["jurors"]] == first.record_ids
    again = jury.judge("p", "q", dict(zip("cba", reversed(TEXTS.values()), strict=True)))
    assert again.cached
    assert again.scores == {"c": 4.5, "b": 2.5, "a": 2.5}
    assert store.count() == 2


def test_a_jurys_verdict_is_plain_json_and_can_be_stored_and_renamed():
    verdict = Jury([length(), vowels(), mute()], min_jurors=2).judge("p", "q", TEXTS)
    result = json.loads(json.dumps(verdict.to_dict()))
    assert [juror["model"] for juror in result["jurors"][:2]] == ["length", "vowels"]
    assert result["jurors"][1]["best"] == "c"
    assert result["jurors"][2]["error_type"] == "VerdictParseError"
    store, case = VerdictStore(), Case("p", "q", TEXTS)
    store.put(Entry(key="k" * 64, case=case, verdict=verdict, model=verdict.model, template_hash=""))
    other = Case("p", "q", dict(zip("xyz", TEXTS.values(), strict=True)), id="other")
    found = store.get("k" * 64).relabel(other, cached=True)
    assert found.scores == {"x": 2.5, "y": 2.5, "z": 4.5}
    assert isinstance(found.jurors[0], Verdict)
    assert found.jurors[1].scores == {"x": 3, "y": 1, "z": 5}
    assert isinstance(found.jurors[2], JudgeFailure)
    assert found.explanation.count("z has the most vowels") == 1


# --- failures


def test_a_juror_who_fails_fails_the_verdict():
    jury = Jury([length(), mute(), vowels()])
    with pytest.raises(VerdictParseError, match=r"2 of 3 jurors.*3 must.*\[juror 2 of 3: mute\]") as caught:
        jury.judge("p", "q", TEXTS, id="q7")
    failure = caught.value.failure
    assert (failure.case_id, failure.error_type, failure.usage.calls) == ("q7", "VerdictParseError", 3)
    assert caught.value.raw == failure.raw_output == "I would rather not say."
    assert length().judge("p", "q", TEXTS).cached  # what the others said is not lost
    (outcome,) = jury.judge_batch([Case("p", "q", TEXTS, id="q8")])
    assert isinstance(outcome, JudgeFailure)
    assert (outcome.case_id, outcome.usage.calls) == ("q8", 1)


def test_a_quorum_says_who_is_missing():
    jury = Jury([length(), mute(), vowels()], min_jurors=2, weights=[1, 5, 3])
    verdict = jury.judge("p", "q", TEXTS, id="q7")
    assert verdict.scores == {"a": 2.75, "b": 1.75, "c": 4.75}
    assert [type(juror) for juror in verdict.jurors] == [Verdict, JudgeFailure, Verdict]
    assert verdict.jurors[1].case_id == "q7"
    assert "[juror 2 of 3: mute]\nNo verdict: VerdictParseError" in verdict.reasoning
    assert "VerdictParseError" in verdict.explanation
    assert not jury.judge("p", "q", TEXTS).cached  # the one that failed was asked again
    with pytest.raises(VerdictParseError, match="1 of 3 jurors"):
        Jury([length(), mute(), mute()], min_jurors=2).judge("p", "q", TEXTS)


def test_the_error_is_of_the_first_failed_jurors_class_with_all_it_knows():
    def too_long(request):
        return ContextLengthError(tokens=5000, limit=4096)

    long = Judge(ScriptedBackend(too_long, name="small window"))
    with pytest.raises(ContextLengthError, match=r"small window.*5,000.*mute") as caught:
        Jury([long, mute()]).judge("p", "q", ["a"])
    assert (caught.value.tokens, caught.value.limit) == (5000, 4096)
    assert isinstance(caught.value.__cause__, ContextLengthError)


def test_cases_that_share_a_juror_who_fails_are_told_of_it_once():
    jury = Jury([length(), Judge(ScriptedBackend(lambda request: BackendError("down"), name="off"))])
    outcomes = jury.judge_batch([Case("p", "q", ["a"], id=name) for name in "xyz"])
    assert [outcome.case_id for outcome in outcomes] == ["x", "y", "z"]
    assert len({outcome.message for outcome in outcomes}) == 1
    assert outcomes[0].message.count("down") == 1


def test_what_is_no_jurors_fault_ends_the_batch(own_store):
    class Broken(VerdictStore):
        def get(self, key):
            raise StoreError("The store cannot be read.")

    with pytest.raises(StoreError):
        Jury([length(), vowels(store=Broken(own_store))]).judge_batch([Case("p", "q", TEXTS)])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(jurors=[]), "one juror or more"),
        (dict(jurors=[3]), "must be a Judge, a Jury or a model string, not int"),
        (dict(jurors=["gpt"]), "There is no model 'gpt'"),
        (dict(jurors="openai/gpt-5-mini"), r"must be a list, such as \['openai/gpt-5-mini', \.\.\.\]"),
        (dict(jurors=["scripted:scripts:by_length"] * 2), "each of them once"),
        (dict(jurors=[length(cache="off")], weights=[1, 2]), "1 jurors and 2 weights"),
        (dict(jurors=[length(cache="off")], weights=[0]), "above 0"),
        (dict(jurors=[length(cache="off")], weights=[float("nan")]), "above 0"),
        (dict(jurors=[length(cache="off")], min_jurors=2), r"within 1\.\.1"),
        (dict(jurors=[length(cache="off")], min_jurors=0), r"within 1\.\.1"),
    ],
)
def test_what_makes_no_jury_is_refused(arguments, words):
    with pytest.raises(ConfigError, match=words):
        Jury(**arguments)
    judge = length(cache="off")
    with pytest.raises(ConfigError, match="once"):
        Jury([judge, judge])


# --- wherever a judge can be


def test_jurors_may_be_model_strings(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    jury = Jury(["openai/fake", "scripted:scripts:by_length", vowels()], weights=[2, 1, 1])
    assert jury.model == "jury(openai/fake, scripted, vowels)"
    assert jury.judge("p", "q", ["is 4"]).scores == {"0": (2 * 4 + 4 + 2) / 4}
    assert load_judge(jury.with_options(passes=2).spec()).jurors[0].model == "openai/fake"


def test_a_juror_without_a_key_is_noticed_when_the_jury_is_made(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(AuthenticationError, match="no key for openai/gpt-5-mini"):
        Jury(["gpt-5-mini", vowels()])


def test_a_jury_can_be_asked_as_a_judge_can():
    with Jury([length(), vowels()]) as jury:
        assert isinstance(jury, BaseJudge)
        assert jury.score("p", "q", "aeio") == 4.5
        assert asyncio.run(jury.ascore("p", "q", "aei")) == 3.5
        cases = [Case("p", f"q{i}", TEXTS, id=str(i)) for i in range(20)]
        expected = [(str(i), 4.5) for i in range(20)]
        assert [(o.case_id, o.scores["c"]) for o in jury.judge_batch(cases)] == expected
        assert [(o.case_id, o.scores["c"]) for o in asyncio.run(jury.ajudge_batch(cases))] == expected
        assert [i for i, _ in jury.judge_stream(cases, ordered=True, window=3)] == list(range(20))
        assert jury.usage.calls == 2 * 22
    set_default_judge(jury)
    assert default_judge() is jury


def test_a_jury_in_every_framework(tmp_path, monkeypatch):
    import dspy
    import mlflow

    from rewardanything_dspy import PrincipleMetric
    from rewardanything_langchain import JudgeRunnable, principle_evaluator
    from rewardanything_mlflow import PrincipleScorer, autolog

    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_experiment("jury")  # another test's, which this store has not got, would be kept
    jury = Jury([length(), vowels()])
    verdict = JudgeRunnable(principle="p", judge=jury).invoke({"prompt": "q", "responses": TEXTS})
    assert verdict.scores["c"] == 4.5
    result = principle_evaluator("p", judge=jury, scale="raw")(inputs={"q": "q"}, outputs={"a": "aeio"})
    assert result["score"] == 4.5
    assert [juror["model"] for juror in result["metadata"]["jurors"]] == ["length", "vowels"]
    example = dspy.Example(question="q").with_inputs("question")
    assert PrincipleMetric("p", judge=jury)(example, dspy.Prediction(answer="aeio")) == pytest.approx(3.5 / 4)
    scorer = PrincipleScorer(principle="p", judge=jury, name="fit", candidates=True)
    one, two = scorer(inputs={"q": "q"}, outputs={"x": "aeio", "y": "b"})
    assert (one.value, two.value) == (4.5, 1.0)
    assert one.rationale == "[length]\nby length\n\n[vowels]\nx has the most vowels"
    assert len(one.metadata["record_id"].split()) == 2
    autolog()
    try:
        with mlflow.start_span("mine") as span:
            jury.judge("p", "q", TEXTS)
    finally:
        autolog(disable=True)
    _, *spans = mlflow.get_trace(span.trace_id, flush=True).data.spans
    assert [s.name for s in spans] == ["judge"]


def test_someone_elses_arbiter_on_a_jury():
    class Coin(BaseJudge):
        model = "coin"
        usage = Usage()

        async def _judge_case(self, case):
            scores = dict.fromkeys(case.labels, 3.0)
            return Verdict(scores=scores, ranking=list(case.labels), model="coin")

        def fingerprint(self):
            return {"coin": 1}

        def spec(self):
            raise ConfigError("A coin does not travel.")

        def with_options(self, **options):
            return self

        def with_balanced_passes(self, number):
            return self

        def resampled(self):
            return self

        def close(self):
            pass

    coin = Coin()
    assert coin.score("p", "q", "x") == 3.0
    verdict = Jury([coin, length()]).judge("p", "q", TEXTS)
    assert verdict.scores == {"a": 2.5, "b": 3.5, "c": 3.5}
    assert verdict.explanation == "[length]\nby length"


def test_the_jurors_judge_side_by_side():
    started = []

    async def meet(request):
        started.append(1)
        while len(started) < 3:
            await asyncio.sleep(0.001)
        return scripts.by_length(request)

    jury = Jury([Judge(ScriptedBackend(meet, name=str(i)), cache="off") for i in range(3)])
    assert jury.judge("p", "q", ["abc"]).scores == {"0": 3.0}


def test_other_options_for_all_jurors():
    jury = Jury([length(), vowels(passes=2)], weights=[1, 2], min_jurors=1)
    other = jury.with_options(seed=7)
    assert [(juror.seed, juror.passes) for juror in other.jurors] == [(7, 1), (7, 2)]
    assert [a.backend is b.backend for a, b in zip(jury.jurors, other.jurors, strict=True)] == [True, True]
    assert (other.weights, other.min_jurors) == ((1.0, 2.0), 1)


def test_a_jury_travels_as_its_spec():
    shared = ScriptedBackend(scripts.by_vowels, name="vowels")
    jury = Jury([length(passes=2), Judge(shared), Judge(shared, seed=1)], weights=[1, 2, 3], min_jurors=2)
    first = jury.judge("p", "q", TEXTS)
    spec = json.loads(json.dumps(jury.spec()))
    for twin in (load_judge(spec), pickle.loads(pickle.dumps(jury))):
        assert twin.spec() == jury.spec()
        assert twin.fingerprint() == jury.fingerprint()
        assert twin.judge("p", "q", TEXTS).cached
        assert twin.judge("p", "q", TEXTS).record_ids == first.record_ids
        assert twin.jurors[1].backend is twin.jurors[2].backend  # one model is not loaded twice
    with pytest.raises(ConfigError, match="spec"):
        load_judge({"jurors": [{}]})


# --- settings

TABLES = """
[judge]
passes = 2
min_jurors = 1

[[jury]]
model = "scripted:scripts:by_length"

[[jury]]
model = "scripted:scripts:by_vowels"
passes = 1
weight = 3
"""


def test_a_jury_from_a_settings_file(tmp_path, monkeypatch):
    (tmp_path / "ra-judge.toml").write_text(TABLES)
    monkeypatch.chdir(tmp_path)
    jury = load_judge()
    assert isinstance(jury, Jury)
    assert [juror.passes for juror in jury.jurors] == [2, 1]
    assert (jury.weights, jury.min_jurors) == ((1.0, 3.0), 1)
    assert jury.judge("p", "q", TEXTS).scores == {"a": 2.75, "b": 1.75, "c": 4.75}
    assert [juror.passes for juror in load_judge(passes=4).jurors] == [4, 4]
    monkeypatch.setenv("RA_JUDGE_SEED", "9")
    assert [juror.seed for juror in load_judge(min_jurors=2).jurors] == [9, 9]
    assert load_judge(min_jurors=2).min_jurors == 2
    single = load_judge(model="scripted:scripts:by_length")
    assert isinstance(single, Judge)
    assert single.passes == 2
    monkeypatch.setenv("RA_JUDGE_MODEL", "scripted:scripts:by_vowels")
    assert isinstance(load_judge(), Judge)
    again = read_settings(None, read_settings(None, {"jury": ["x", {"model": "y", "seed": 1}]}, {}), {})
    assert [(juror["model"], juror.get("seed")) for juror in again["jury"]] == [("x", None), ("y", 1)]


def test_a_jury_named_in_a_variable(monkeypatch):
    monkeypatch.setenv("RA_JUDGE_JURY", "scripted:scripts:by_length, scripted:scripts:by_vowels")
    assert load_judge().judge("p", "q", TEXTS).scores == {"a": 2.5, "b": 2.5, "c": 4.5}


def test_two_jurors_of_one_model_share_it():
    model = "scripted:scripts:by_length"
    jury = load_judge(
        jury=[{"model": model, "seed": 1}, {"model": model, "seed": 2, "passes": 2}, "scripted:scripts:mute"]
    )
    one, two, three = jury.jurors
    assert one.backend is two.backend
    assert one.backend is not three.backend
    assert [(juror.seed, juror.passes) for juror in jury.jurors] == [(1, 1), (2, 2), (0, 1)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[jury]\nmodel = 'x'", "'jury'.*a list"),
        ("[[jury]]\nmodle = 'x'", "Juror 1 of the jury in .*unknown setting 'modle'"),
        ("[[jury]]\nmodel = 'x'\n[[jury]]\nmodel = 'y'\npasses = 'two'", "juror 2 of the jury.*whole number"),
        ("[[jury]]\nmodel = 'x'\nmin_jurors = 1", "'min_jurors', which is a setting of a whole jury"),
        ("[judge]\njury = [3]", "must be a table of settings, not 3"),
    ],
)
def test_a_wrong_table_says_which(tmp_path, content, words):
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=words):
        read_settings(path, None, {})


def test_the_command_line_uses_the_jury_of_the_file(tmp_path, own_store):
    (tmp_path / "ra-judge.toml").write_text(TABLES)
    row = {"prompt": "q", "responses": TEXTS}
    (tmp_path / "in.jsonl").write_text(json.dumps(row) + "\n")

    def run(*arguments, code=0):
        command = [Path(sys.executable).with_name("ra-judge"), *arguments]
        environ = os.environ | {"PYTHONPATH": str(TESTS)}
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    grade = ("grade", "in.jsonl", "-o", "out.jsonl", "--principle", "p")
    run(*grade)
    (graded,) = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert graded["scores"] == {"a": 2.75, "b": 1.75, "c": 4.75}
    assert [VerdictStore(own_store).find(record).verdict.scores["b"] for record in graded["record_id"].split()] == [
        4,
        1,
    ]
    run(*grade)  # nothing is left to do
    (tmp_path / "ra-judge.toml").write_text(TABLES.replace("weight = 3", "weight = 2"))
    assert "begun with another weights" in run(*grade, code=2).stderr
    assert "jury(scripted, scripted)" in run("demo").stderr


# --- weights from labels


def three_jurors():
    """A fair one, one that tells odd from even, and one that prefers what is worse."""
    return Jury(
        [
            scoring(lambda text: len(text), "fair"),
            scoring(lambda text: 3 if len(text) % 2 else 4, "odd"),
            scoring(lambda text: 6 - len(text), "contrary"),
        ]
    )


def test_weights_come_from_labels():
    cases = [Case("p", f"q{i}", {"a": "x" * (i % 3 + 1), "b": "x" * (i % 2 + 4), "c": "xx"}) for i in range(12)]
    people = [{label: 100 + 10 * len(text) for label, text in case.responses.items()} for case in cases]
    fitted = three_jurors().fit_weights(cases, people)
    assert [juror.model for juror in fitted.jurors] == ["fair"]
    assert (fitted.weights, fitted.min_jurors) == ((1.0,), 1)
    mixed = [
        {label: 2 * len(text) + (0 if len(text) % 2 else 1) for label, text in case.responses.items()} for case in cases
    ]
    fitted = three_jurors().fit_weights(
        [{"principle": "p", "prompt": c.prompt, "responses": c.responses} for c in cases], mixed
    )
    assert [juror.model for juror in fitted.jurors] == ["fair", "odd"]
    assert fitted.weights == pytest.approx([2 / 3, 1 / 3])


def test_labels_of_single_responses_are_compared_with_each_other():
    cases = [Case("p", f"q{i}", ["x" * (i % 5 + 1)]) for i in range(10)]
    fitted = three_jurors().fit_weights(cases, [i % 5 for i in range(10)])
    assert [juror.model for juror in fitted.jurors] == ["fair"]


def test_labels_that_do_not_fit_are_refused_and_failures_left_out(caplog):
    jury, case = three_jurors(), Case("p", "q", {"a": "x", "b": "xx"})
    with pytest.raises(ConfigError, match="1 cases and 2 labels"):
        jury.fit_weights([case], [{"a": 1}, {"b": 2}])
    with pytest.raises(ConfigError, match="case 1 name a response 'c'"):
        jury.fit_weights([case], [{"c": 1}])
    with pytest.raises(ConfigError, match="must be a mapping"):
        jury.fit_weights([case], [3])
    with pytest.raises(ConfigError, match="must be numbers"):
        jury.fit_weights([case], [{"a": float("nan")}])
    with pytest.raises(ConfigError, match="Weights cannot be fitted"):
        jury.fit_weights([case], [{"a": 1}])
    with pytest.raises(ConfigError, match="No juror agrees"):
        Jury([length()]).fit_weights([case], [{"a": 2, "b": 1}])
    with pytest.raises(ConfigError, match="Weights cannot be fitted"):
        Jury([length(), mute()]).fit_weights([case], [{"a": 1, "b": 2}])
    assert "without 1 of 1 cases" in caplog.text


# --- agreement over many cases


def test_alpha_over_a_batch():
    cases = [Case("p", f"q{i}", {"a": "x" * (i % 5 + 1), "b": "xxx"}) for i in range(10)]
    jury = Jury([length(), scoring(len, "same"), mute()], min_jurors=2)
    ratings = juror_ratings(jury.judge_batch(cases))
    assert [len(row) for row in ratings] == [20, 20, 20]
    assert ratings[2] == [None] * 20
    assert krippendorff_alpha(ratings) == 1.0
    opposed = Jury([length(), scoring(lambda text: 6 - len(text), "contrary")])
    assert krippendorff_alpha(juror_ratings(opposed.judge_batch(cases))) < 0
    assert juror_ratings([JudgeFailure(case_id=None, error_type="x", message="y")]) == []
    with pytest.raises(ValueError, match="not a jury's"):
        juror_ratings(length().judge_batch(cases))


def test_usage_adds_up():
    jury = Jury([length(), vowels()])
    assert jury.usage == Usage()
