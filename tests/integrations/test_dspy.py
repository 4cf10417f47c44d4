"""rewardanything_dspy: scores and failures, through `dspy.Evaluate`."""

from __future__ import annotations

import copy
import inspect
import itertools
import json
import math
import pickle
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import dspy
import numpy
import pytest
from dspy_programs import PRINCIPLE, Echo, chat_lm, clean_settings, example, scripted
from paths import ROOT
from servers import QUICK_FAULTS, FakeOpenAI, Fault, score_text

from rewardanything_core import (
    ConfigError,
    InvalidCaseError,
    Judge,
    Principle,
    ScriptedBackend,
    from_endpoint,
)
from rewardanything_core.backends import verdict_reply
from rewardanything_dspy import BestOfN, JudgeUnavailableError, NotJudged, PrincipleMetric, PrincipleScore, reward_fn
from rewardanything_dspy.metric import NotJudgedError

settings = pytest.fixture(autouse=True)(clean_settings)


# --- the score


def test_the_score_is_normalised_and_has_the_reasoning() -> None:
    metric = PrincipleMetric(PRINCIPLE, judge=scripted())
    score = metric(example("?"), dspy.Prediction(answer="a 3"))
    assert isinstance(score, PrincipleScore) and score == 0.5
    assert PRINCIPLE in score.feedback and "I read" in score.feedback and score.verdicts[0].scores == {"0": 3.0}
    assert json.dumps({"score": score}) == '{"score": 0.5}'
    for again in (copy.deepcopy(score), pickle.loads(pickle.dumps(score))):
        assert again == 0.5 and again.feedback == score.feedback


def test_a_score_can_be_subscripted_like_a_prediction_and_stays_a_number() -> None:
    score, missing = PrincipleScore(0.5, feedback="Good."), NotJudged()
    assert score.score == score["score"] == 0.5 and type(score["score"]) is float
    assert score["feedback"] == score.get("feedback") == "Good." and score.get("reason", "none") == "none"
    assert missing["score"] is missing and "could not be judged" in missing["feedback"]
    for one in (score, missing):
        assert "score" in one and "reason" not in one
        with pytest.raises(KeyError):
            one["reason"]
        with pytest.raises(TypeError):
            iter(one)
    assert numpy.array([score, 1.0]).tolist() == [0.5, 1.0] and numpy.mean([score, score]) == 0.5
    assert numpy.isnan(numpy.array([missing, 1.0])).tolist() == [True, False]


def test_several_principles_are_averaged_with_feedback_for_each() -> None:
    judge = Judge(
        ScriptedBackend(lambda r: verdict_reply({"model-1": 5 if "short" in r.messages[1]["content"] else 2})),
        cache="off",
    )
    metric = PrincipleMetric([Principle("Be short.", name="short"), "Be kind."], judge=judge)
    score = metric(example("?"), dspy.Prediction(answer="x"))
    assert score == pytest.approx((1.0 + 0.25) / 2)
    assert "Score 5 on a scale from 1 to 5 (best) under this principle: Be short." in score.feedback
    assert "Score 2 on a scale from 1 to 5 (best) under this principle: Be kind." in score.feedback


def test_the_result_has_the_form_that_each_caller_needs() -> None:
    metric = PrincipleMetric(PRINCIPLE, judge=scripted(), threshold=0.7)
    gold, good, bad = example("?"), dspy.Prediction(answer="4"), dspy.Prediction(answer="3")
    assert metric(gold, good) == 0.75
    assert metric(gold, good, trace=[]) is True and metric(gold, bad, trace=[]) is False
    feedback = metric(gold, good, None, "predict", [])
    assert isinstance(feedback, dspy.Prediction) and feedback.score == metric(gold, good, None, None, None)
    assert feedback.feedback == metric(gold, good).feedback
    inspect.signature(metric).bind(None, None, None, None, None)


def test_without_a_threshold_a_score_is_true_from_four_of_five() -> None:
    metric = PrincipleMetric(PRINCIPLE, judge=scripted())
    three = metric(example("?"), dspy.Prediction(answer="3"), trace=[])
    assert three == 0.5 and not three and metric(example("?"), dspy.Prediction(answer="4"), trace=[])


def test_the_default_judge_is_loaded_once_at_the_first_judgement(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Judge] = []

    def load() -> Judge:
        loaded.append(scripted())
        return loaded[-1]

    monkeypatch.setattr("rewardanything_core.loading.shared.load_judge", load)
    metrics = [PrincipleMetric(f"Principle {i}") for i in range(8)]
    assert not loaded
    threads = [threading.Thread(target=m, args=(example("?"), dspy.Prediction(answer="1"))) for m in metrics]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(loaded) == 1


def test_copies_share_the_judge() -> None:
    judge = scripted()
    metric = PrincipleMetric(PRINCIPLE, judge=judge)
    assert copy.deepcopy(metric).judge is judge
    assert BestOfN(Echo(), 2, PRINCIPLE, judge=judge).deepcopy()._runner.judge is judge


@pytest.mark.parametrize(
    "options",
    [{"threshold": 4}, {"on_failure": "zero"}, {"max_failures": 0}, {"judge": object()}],
)
def test_invalid_arguments_are_refused(options: Any) -> None:
    with pytest.raises(ConfigError):
        PrincipleMetric(PRINCIPLE, **{"judge": scripted(), **options})


def test_invalid_principles_are_refused() -> None:
    with pytest.raises(InvalidCaseError):
        PrincipleMetric([], judge=scripted())
    with pytest.raises(ConfigError, match="for a mapping use"):
        PrincipleMetric({"short": "Be short."}, judge=scripted())  # type: ignore[arg-type]
    for make in (lambda: BestOfN(Echo(), 2, PRINCIPLE, judge=1), lambda: reward_fn(PRINCIPLE, judge=1)):  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="judge must be a Judge or Jury"):
            make()
    with pytest.raises(ConfigError, match="n must be 1 or more"):
        BestOfN(Echo(), 2.5, PRINCIPLE)  # type: ignore[arg-type]


# --- rows that are not judged


@pytest.mark.parametrize(
    ("gold", "answer", "message"),
    [
        (example("q", gold=None), "5", "field 'gold' is None"),
        (example("q", gold="\ud800"), "5", "UTF-8"),
        (example("q", gold=math.nan), "5", "field 'gold' is nan"),
        (example(None, gold="g"), "5", "input 'question' is None"),
        (example("", gold="g"), "5", "the prompt|prompt is empty"),
        (example("\ud800", gold="g"), "5", "UTF-8"),
        (example("q", gold="g"), None, "field 'answer' is None"),
        (example("q", gold="g"), "half a pair: \ud83d", "UTF-8"),
    ],
)
@pytest.mark.parametrize("threads", [1, 4])
def test_a_row_that_makes_no_case_is_not_judged(gold: Any, answer: Any, message: str, threads: int) -> None:
    answers = iter(["5", answer, "1"])

    class Program(dspy.Module):
        def forward(self, question: Any) -> Any:
            return dspy.Prediction(answer=next(answers))

    metric = PrincipleMetric(PRINCIPLE, judge=scripted(), reference="gold")
    devset = [example("q1", gold="g"), gold, example("q2", gold="g")]
    results = [dspy.Evaluate(devset=devset[i : i + 1], metric=metric, num_threads=threads)(Program()) for i in range(3)]
    scores = [result.results[0][2] for result in results]
    assert [scores[0], scores[2]] == [1.0, 0.0]
    assert isinstance(scores[1], NotJudged) and re.search(message, scores[1].error)
    assert math.isnan(results[1].score)
    assert [failure.error_type for failure in metric.failures] == ["InvalidCaseError"]


@pytest.mark.parametrize("prediction", [None, dspy.Prediction()])
def test_a_failed_program_is_not_judged(prediction: Any) -> None:
    score = PrincipleMetric(PRINCIPLE, judge=scripted())(example("?"), prediction)
    assert isinstance(score, NotJudged) and "the program failed" in score.error


def test_a_field_that_other_rows_had_is_only_missing_in_its_row() -> None:
    answers = iter(
        [
            {"answer": "5"},
            {"error": "no idea"},
            {"answer": dspy.Image("data:image/png;base64,iVBORw0KGgo=")},
            {"answer": "3"},
        ]
    )

    class Program(dspy.Module):
        def forward(self, question: str) -> Any:
            return dspy.Prediction(**next(answers))

    metric = PrincipleMetric(PRINCIPLE, judge=scripted(), response="answer")
    result = dspy.Evaluate(devset=[example(f"{i}") for i in range(4)], metric=metric, num_threads=1)(Program())
    assert [isinstance(score, NotJudged) for *_, score in result.results] == [False, True, True, False]
    assert result.score == 75.0


def test_rows_that_make_no_case_do_not_count_as_failures_of_the_judge() -> None:
    devset = [example(f"{1 + i % 5}", gold=None if i < 20 else "g") for i in range(25)]
    metric = PrincipleMetric(PRINCIPLE, judge=scripted(), reference="gold", max_failures=3)
    result = dspy.Evaluate(devset=devset, metric=metric, num_threads=1)(Echo())
    assert sum(isinstance(score, NotJudged) for *_, score in result.results) == 20 and result.score == 50.0


def test_missing_scores_are_excluded_from_sums_and_means() -> None:
    missing = NotJudged()
    for row in ([1.0, missing, 0.5], [missing, 1.0, 0.5], [0.0, 1.0, missing, 0.5, missing], [missing, 0, True, 0.0]):
        scores = [score for score in row if score is not missing]
        assert sum(row) / len(row) == sum(scores) / len(scores)
        assert round(100 * sum(row) / len(row), 2) == round(100 * sum(scores) / len(scores), 2)
    assert math.isnan(sum([missing, missing]) / 2) and not missing
    assert not (sum([missing, 1.0]) > 0) and not (sum([missing, 1.0]) <= 5)
    assert sorted([0.5, missing, 0.0], reverse=True)[-1] is missing and max([missing, 0.0]) == 0.0
    assert missing == NotJudged() and not missing >= 0.0 and missing > -math.inf and missing < 0.0
    assert f"{sum([1.0, missing]):.2f}" == "1.00 (1 not judged)"
    assert math.isnan(copy.deepcopy(missing)) and isinstance(pickle.loads(pickle.dumps(missing)), NotJudged)


@pytest.mark.parametrize("threads", [1, 8])
def test_evaluate_excludes_rows_that_the_judge_failed_on(threads: int, tmp_path: Path) -> None:
    devset = [example(f"{1 + i % 5} row {'abcdefghij'[i]}") for i in range(10)]
    metric = PrincipleMetric(PRINCIPLE, judge=scripted(fails=lambda text: text.startswith("5")))
    file = tmp_path / "scores.json"
    result = dspy.Evaluate(devset=devset, metric=metric, num_threads=threads, save_as_json=str(file))(Echo())
    assert result.score == 37.5  # the mean of 0, 25, 50 and 75; with zeros for failures it would be 30
    missing = [score for *_, score in result.results if isinstance(score, NotJudged)]
    assert len(missing) == len(metric.failures) == 2 and "VerdictParseError" in missing[0].error
    saved = [row["PrincipleMetric"] for row in json.loads(file.read_text())]
    assert saved[0] == 0.0 and sum(map(math.isnan, saved)) == 2


def test_evaluate_scores_a_program_that_raises_as_dspy_does() -> None:
    class Sometimes(dspy.Module):
        def forward(self, question: str) -> Any:
            if "x" in question:
                raise ValueError("no idea")
            return dspy.Prediction(answer=question)

    metric = PrincipleMetric(PRINCIPLE, judge=scripted(fails=lambda text: text == "4"))
    result = dspy.Evaluate(devset=[example(q) for q in ("x", "4", "5")], metric=metric, num_threads=1)(Sometimes())
    assert result.score == 50.0


def test_raising_instead_is_scored_zero_by_dspy() -> None:
    metric = PrincipleMetric(PRINCIPLE, judge=scripted(fails=lambda text: text == "4"), on_failure="raise")
    with pytest.raises(NotJudgedError, match="VerdictParseError"):
        metric(example("?"), dspy.Prediction(answer="4"))
    with pytest.raises(NotJudgedError, match="is None"):
        metric(example("?"), dspy.Prediction(answer=None))
    assert dspy.Evaluate(devset=[example("4"), example("5")], metric=metric, num_threads=1)(Echo()).score == 50.0


@pytest.mark.parametrize("threads", [1, 4])
def test_a_judge_that_keeps_failing_stops_the_run(threads: int) -> None:
    judge = scripted(fails=lambda text: True)
    metric = PrincipleMetric(PRINCIPLE, judge=judge, max_failures=5)
    devset = [example(f"question {i}") for i in range(30)]
    with pytest.raises(JudgeUnavailableError, match=r"\d+ judgements in a row"):
        dspy.Evaluate(devset=devset, metric=metric, num_threads=threads)(Echo())


def test_two_hundred_rows_over_http_with_faults(tmp_path: Path) -> None:
    """A tenth of the requests fails in every way that is noticed at once, and ten rows never get a verdict."""

    def reply(body: Any) -> Any:
        row = int(re.search(r"row (\d+) of", body["messages"][-1]["content"])[1])  # type: ignore[index]
        return Fault.status(400, "I never do this row") if row % 20 == 7 else None

    with FakeOpenAI(reply, fault_rate=0.1, fault_kinds=QUICK_FAULTS, seed=3) as server:
        judge = from_endpoint("hosted_vllm/fake", api_base=server.url, timeout=10, store=tmp_path / "store.sqlite")
        metric = PrincipleMetric(PRINCIPLE, judge=judge)
        devset = [example(f"{'xyzuv'[i % 5] * (i % 5)} row {i + 1000} of two hundred") for i in range(200)]
        result = dspy.Evaluate(devset=devset, metric=metric, num_threads=16)(Echo())
        judge.close()
    scores = [score for *_, score in result.results]
    expected = [(score_text(e.question) - 1) / 4 for e, _, s in result.results if not isinstance(s, NotJudged)]
    assert len(expected) == 190 and len(metric.failures) == 10
    assert [score for score in scores if not isinstance(score, NotJudged)] == expected
    assert result.score == pytest.approx(100 * sum(expected) / 190, abs=0.01)


# --- the package


def test_importing_the_package_loads_no_judge() -> None:
    code = (
        "import sys, rewardanything_dspy as r; assert not {'torch', 'transformers', 'mlflow'} & set(sys.modules);"
        "r.PrincipleMetric('x'); r.BestOfN; from rewardanything_core.loading import shared;"
        "assert not shared._default; print('ok')"
    )
    folder = str(ROOT / "integrations")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {folder!r}); {code}"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "ok", done.stderr


def test_the_code_of_the_documentation_runs(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)  # of the judge
    page = (ROOT / "docs" / "integrations" / "dspy.md").read_text()
    fields = "[[ ## discussion ## ]]\nd\n\n[[ ## advice ## ]]\n{}\n\n[[ ## completed ## ]]"
    numbers = itertools.cycle("12345")
    answer = "[[ ## answer ## ]]\nnumber {}\n\n[[ ## completed ## ]]"

    def reply(body: Any) -> str | None:
        if body["model"] == "gpt-5-mini":
            return None  # a verdict
        return fields if "reward_code" in str(body) else answer.format(next(numbers))

    server.reply = reply
    names: dict[str, Any] = {}
    with dspy.context(lm=chat_lm(server)):
        for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
            exec(re.sub(r"dspy\.configure\(.*\).*", "", block), names)  # the model is the server's
        assert names["refine"](question="?").answer
    assert names["result"].score > 0 and len(names["ranked"].predictions) == 4
