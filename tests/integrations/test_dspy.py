"""rewardanything_dspy through DSPy's own entry points: Evaluate, the optimisers, BestOfN and Refine."""

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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from paths import ROOT
from servers import QUICK_FAULTS, FakeOpenAI, Fault, score_text

from rewardanything_core import (
    ConfigError,
    InvalidCaseError,
    Judge,
    Principle,
    ScriptedBackend,
    from_endpoint,
    loading,
    set_default_judge,
)
from rewardanything_core.backends import verdict_reply
from rewardanything_dspy import BestOfN, JudgeUnavailableError, NotJudged, PrincipleMetric, PrincipleScore, reward_fn
from rewardanything_dspy.fields import prompt_of, response_of
from rewardanything_dspy.metric import NotJudgedError

PRINCIPLE = "The higher the number in the answer, the better."


class Echo(dspy.Module):
    """Answers with the question; needs no model."""

    def forward(self, question: str) -> Any:
        return dspy.Prediction(answer=question)


def scripted(score: Callable[[str], float] = score_text, *, fails: Callable[[str], bool] = lambda text: False) -> Judge:
    """A judge by a function of the response, which gives no verdict where told so."""

    def reply(request: Any) -> Any:
        texts = json.loads(request.messages[1]["content"])["responses"]
        if any(map(fails, texts.values())):
            return "I would rather not say."
        return verdict_reply({name: score(text) for name, text in texts.items()}, thoughts=f"I read {texts!r}.")

    return Judge(ScriptedBackend(reply), cache="off", retries=0)


def example(question: str, **more: Any) -> Any:
    return dspy.Example(question=question, **more).with_inputs("question")


def chat_lm(server: FakeOpenAI, **options: Any) -> Any:
    return dspy.LM("hosted_vllm/task", api_base=server.url, api_key="none", cache=False, **options)


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    with dspy.context(lm=None, trace=[]):
        yield


# --- the score


def test_the_score_is_normalised_and_carries_the_reasoning() -> None:
    metric = PrincipleMetric(PRINCIPLE, judge=scripted())
    score = metric(example("?"), dspy.Prediction(answer="a 3"))
    assert isinstance(score, PrincipleScore) and score == 0.5
    assert PRINCIPLE in score.feedback and "I read" in score.feedback and score.verdicts[0].scores == {"0": 3.0}
    assert json.dumps({"score": score}) == '{"score": 0.5}'
    for again in (copy.deepcopy(score), pickle.loads(pickle.dumps(score))):
        assert again == 0.5 and again.feedback == score.feedback


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


def test_one_object_answers_in_the_form_that_each_caller_wants() -> None:
    metric = PrincipleMetric(PRINCIPLE, judge=scripted(), threshold=0.7)
    gold, good, bad = example("?"), dspy.Prediction(answer="4"), dspy.Prediction(answer="3")
    assert metric(gold, good) == 0.75
    assert metric(gold, good, trace=[]) is True and metric(gold, bad, trace=[]) is False
    asked = metric(gold, good, None, "predict", [])
    assert isinstance(asked, dspy.Prediction) and asked.score == metric(gold, good, None, None, None)
    assert asked.feedback == metric(gold, good).feedback
    inspect.signature(metric).bind(None, None, None, None, None)


def test_without_a_threshold_a_bootstrap_gets_a_score_that_is_true_from_four_of_five() -> None:
    metric = PrincipleMetric(PRINCIPLE, judge=scripted())
    three = metric(example("?"), dspy.Prediction(answer="3"), trace=[])
    assert three == 0.5 and not three and metric(example("?"), dspy.Prediction(answer="4"), trace=[])


def test_the_judge_is_made_at_the_first_judgement_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Judge] = []

    def load() -> Judge:
        made.append(scripted())
        return made[-1]

    monkeypatch.setattr(loading, "load_judge", load)
    metrics = [PrincipleMetric(f"Principle {i}") for i in range(8)]
    assert not made
    threads = [threading.Thread(target=m, args=(example("?"), dspy.Prediction(answer="1"))) for m in metrics]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(made) == 1


def test_a_copied_metric_keeps_its_judge() -> None:
    judge = scripted()
    metric = PrincipleMetric(PRINCIPLE, judge=judge)
    assert copy.deepcopy(metric).judge is judge
    assert BestOfN(Echo(), 2, PRINCIPLE, judge=judge).deepcopy()._bench.judge is judge


# --- what is judged


def test_prompt_and_response_by_default_by_name_and_by_function() -> None:
    assert prompt_of(example("why?", answer="gold"), None) == "why?"
    two = dspy.Example(context="c", question="q", answer="a").with_inputs("context", "question")
    assert prompt_of(two, None) == "context: c\nquestion: q"
    assert prompt_of(two, "question") == "q" and prompt_of(two, lambda e: e.answer) == "a"
    assert response_of(dspy.Prediction(reasoning="r", answer="a"), None) == "a"
    assert response_of(dspy.Prediction(reasoning="r"), None) == "r"
    assert response_of(dspy.Prediction(items=["a", 1]), None) == '["a", 1]'
    assert response_of(dspy.Prediction(a="1", b="2"), lambda p: p.a + p.b) == "12"


@pytest.mark.parametrize(
    ("prediction", "select", "message"),
    [
        (dspy.Prediction(title="t", body="b"), None, r"fields title, body; say which .* response='title'"),
        (dspy.Prediction(answer="t"), "body", r"no field 'body'; it has answer"),
        (dspy.Prediction(answer=None), None, r"'answer'\) is None"),
        (None, None, "program failed"),
    ],
)
def test_what_cannot_be_selected_is_an_error_that_names_the_fields(prediction: Any, select: Any, message: str) -> None:
    with pytest.raises(InvalidCaseError, match=message):
        PrincipleMetric(PRINCIPLE, judge=scripted(), response=select)(example("?"), prediction)


def test_an_example_without_inputs_says_what_to_do() -> None:
    with pytest.raises(InvalidCaseError, match="with_inputs"):
        prompt_of(dspy.Example().with_inputs(), None)


def test_a_reference_reaches_the_judge() -> None:
    judge = scripted()
    metric = PrincipleMetric(PRINCIPLE, judge=judge, reference="answer")
    metric(example("?", answer="the gold answer"), dspy.Prediction(answer="x"))
    assert "the gold answer" in judge.backend.requests[-1].messages[1]["content"]


@pytest.mark.parametrize("options", [{"threshold": 4}, {"on_failure": "zero"}, {"max_failures": 0}])
def test_settings_out_of_range_are_refused(options: Any) -> None:
    with pytest.raises(ConfigError):
        PrincipleMetric(PRINCIPLE, judge=scripted(), **options)
    with pytest.raises(InvalidCaseError):
        PrincipleMetric([], judge=scripted())


# --- failures


def test_what_was_not_judged_is_left_out_of_sums_and_means() -> None:
    gap = NotJudged()
    for row in ([1.0, gap, 0.5], [gap, 1.0, 0.5], [0.0, 1.0, gap, 0.5, gap], [gap, 0, 1.0, True, 0.0, gap]):
        scores = [s for s in row if s is not gap]
        assert sum(row) / len(row) == sum(scores) / len(scores)
        assert round(100 * sum(row) / len(row), 2) == round(100 * sum(scores) / len(scores), 2)
    assert math.isnan(sum([gap, gap]) / 2) and not gap
    assert not (sum([gap, 1.0]) > 0) and not (sum([gap, 1.0]) <= 5)
    assert sorted([0.5, gap, 0.0], reverse=True)[-1] is gap and max([gap, 0.0]) == 0.0
    assert gap == NotJudged() and not gap >= 0.0 and gap > -math.inf and gap < 0.0
    assert f"{sum([1.0, gap]):.2f}" == "1.00 (1 not judged)"
    assert math.isnan(copy.deepcopy(gap)) and isinstance(pickle.loads(pickle.dumps(gap)), NotJudged)


@pytest.mark.parametrize("threads", [1, 8])
def test_evaluate_leaves_out_what_was_not_judged(threads: int, tmp_path: Path) -> None:
    devset = [example(f"{1 + i % 5} row {'abcdefghij'[i]}") for i in range(10)]
    metric = PrincipleMetric(PRINCIPLE, judge=scripted(fails=lambda text: text.startswith("5")))
    file = tmp_path / "scores.json"
    result = dspy.Evaluate(devset=devset, metric=metric, num_threads=threads, save_as_json=str(file))(Echo())
    assert result.score == 37.5  # the mean of 0, 25, 50 and 75; with zeros for failures it would be 30
    gaps = [score for *_, score in result.results if isinstance(score, NotJudged)]
    assert len(gaps) == len(metric.failures) == 2 and "VerdictParseError" in gaps[0].error
    saved = [row["PrincipleMetric"] for row in json.loads(file.read_text())]
    assert saved[0] == 0.0 and sum(map(math.isnan, saved)) == 2


def test_a_program_that_fails_is_the_hosts_business() -> None:
    class Sometimes(dspy.Module):
        def forward(self, question: str) -> Any:
            if "x" in question:
                raise ValueError("no idea")
            return dspy.Prediction(answer=question)

    metric = PrincipleMetric(PRINCIPLE, judge=scripted(fails=lambda text: text == "4"))
    result = dspy.Evaluate(devset=[example(q) for q in ("x", "4", "5")], metric=metric, num_threads=1)(Sometimes())
    assert result.score == 50.0


def test_raising_instead_is_counted_as_zero_by_the_host() -> None:
    metric = PrincipleMetric(PRINCIPLE, judge=scripted(fails=lambda text: text == "4"), on_failure="raise")
    with pytest.raises(NotJudgedError, match="VerdictParseError"):
        metric(example("?"), dspy.Prediction(answer="4"))
    assert dspy.Evaluate(devset=[example("4"), example("5")], metric=metric, num_threads=1)(Echo()).score == 50.0


@pytest.mark.parametrize("threads", [1, 4])
def test_a_dead_judge_stops_the_run(threads: int) -> None:
    judge = scripted(fails=lambda text: True)
    metric = PrincipleMetric(PRINCIPLE, judge=judge, max_failures=5)
    devset = [example(f"question {i}") for i in range(30)]
    with pytest.raises(JudgeUnavailableError, match=r"\d+ judgements in a row"):
        dspy.Evaluate(devset=devset, metric=metric, num_threads=threads)(Echo())


@pytest.mark.parametrize("threads", [1, 4])
def test_where_no_judge_can_be_made_nothing_is_scored(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """DSPy would take a missing extra or a wrong setting for an answer that deserves 0.0."""
    monkeypatch.setenv("RA_JUDGE_MODEL", "scripted:no_such_module:reply")
    metric = PrincipleMetric(PRINCIPLE)
    before = set(threading.enumerate())
    with pytest.raises(JudgeUnavailableError, match=r"There is no judge, .*no_such_module") as told:
        dspy.Evaluate(devset=[example("1"), example("2")], metric=metric, num_threads=threads)(Echo())
    assert isinstance(told.value.__cause__, ConfigError)
    for late in set(threading.enumerate()) - before:  # DSPy leaves its threads to the rest of the rows
        late.join(60)


def test_two_hundred_rows_over_http_with_faults(tmp_path: Path) -> None:
    """10% of requests fail in every way that shows at once, and ten rows never get a verdict."""

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
    judged = [(score_text(e.question) - 1) / 4 for e, _, s in result.results if not isinstance(s, NotJudged)]
    assert len(judged) == 190 and len(metric.failures) == 10
    assert [s for s in scores if not isinstance(s, NotJudged)] == judged
    assert result.score == pytest.approx(100 * sum(judged) / 190, abs=0.01)


# --- optimisers


def rules_lm(server: FakeOpenAI) -> Any:
    """A task model that does well once its instruction tells it to, and a teacher that comes to think of it."""

    def reply(body: Any) -> str:
        text = "\n".join(message["content"] for message in body["messages"])
        if "[[ ## answer ## ]]" in text:
            told = "FIVE" in text
            number = re.findall(r"item (\d)", text)[-1]
            return f"[[ ## answer ## ]]\n{'five 5' if told else f'item {number}'}\n\n[[ ## completed ## ]]"
        if "new_instruction" in text:
            return json.dumps({"new_instruction": "Say FIVE."})
        wanted = text.rpartition("Respond with the corresponding output fields")[2]
        fields = re.findall(r"\[\[ ## (\w+) ## \]\]", wanted)
        # GEPA before DSPy 3.3 wants its instruction between fences.
        return "".join(f"[[ ## {name} ## ]]\nSay FIVE.\n\n" for name in fields) or "```\nSay FIVE.\n```"

    server.reply = reply
    return chat_lm(server)


@pytest.fixture
def items() -> list[Any]:
    return [example(f"item {1 + i % 4}, number {'abcdefghijkl'[i]}") for i in range(12)]


@pytest.fixture
def metric() -> PrincipleMetric:
    return PrincipleMetric(PRINCIPLE, judge=scripted(), threshold=0.75)


def test_bootstrap_keeps_only_what_reaches_the_threshold(server: FakeOpenAI, items: Any, metric: Any) -> None:
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    with dspy.context(lm=rules_lm(server)):
        optimizer = dspy.BootstrapFewShot(metric=metric, max_bootstrapped_demos=8, max_labeled_demos=0)
        compiled = optimizer.compile(dspy.Predict("question -> answer"), trainset=items)
    assert [demo.answer for demo in compiled.demos] == ["item 4"] * 3


def test_bootstrap_by_its_own_threshold(server: FakeOpenAI, items: Any) -> None:
    own = PrincipleMetric(PRINCIPLE, judge=scripted())
    with dspy.context(lm=rules_lm(server)):
        optimizer = dspy.BootstrapFewShot(
            metric=own, metric_threshold=0.5, max_bootstrapped_demos=8, max_labeled_demos=0
        )
        compiled = optimizer.compile(dspy.Predict("question -> answer"), trainset=items)
    assert {demo.answer for demo in compiled.demos} == {"item 3", "item 4"}


def test_bootstrap_takes_no_demo_that_was_not_judged(server: FakeOpenAI, items: Any) -> None:
    failing = PrincipleMetric(PRINCIPLE, judge=scripted(fails=lambda text: "4" in text))
    with dspy.context(lm=rules_lm(server)):
        optimizer = dspy.BootstrapFewShot(metric=failing, max_bootstrapped_demos=8, max_labeled_demos=0)
        assert optimizer.compile(dspy.Predict("question -> answer"), trainset=items).demos == []
    assert len(failing.failures) == 3


def test_mipro_improves_the_instruction(server: FakeOpenAI, items: Any, metric: Any) -> None:
    with dspy.context(lm=rules_lm(server)):
        optimizer = dspy.MIPROv2(
            metric=metric, auto=None, num_candidates=2, num_threads=4, max_bootstrapped_demos=0, max_labeled_demos=0
        )
        program = optimizer.compile(
            dspy.Predict("question -> answer"), trainset=items[:6], valset=items[6:], num_trials=3, minibatch=False
        )
        assert dspy.Evaluate(devset=items, metric=metric, num_threads=4)(program).score == 100.0


@pytest.mark.parametrize("failing", [False, True])
def test_simba_runs_to_its_end(server: FakeOpenAI, items: Any, failing: bool) -> None:
    judge = scripted(fails=lambda text: failing and "item 2" in text)
    metric = PrincipleMetric(PRINCIPLE, judge=judge, max_failures=None)
    with dspy.context(lm=rules_lm(server)):
        optimizer = dspy.SIMBA(metric=metric, bsize=6, num_candidates=2, max_steps=2, max_demos=1, num_threads=4)
        program = optimizer.compile(dspy.Predict("question -> answer"), trainset=items)
        assert dspy.Evaluate(devset=items, metric=metric, num_threads=4)(program).score >= 37.5
    assert bool(metric.failures) is failing


@pytest.mark.parametrize("failing", [False, True])
def test_gepa_improves_the_instruction_by_feedback(
    server: FakeOpenAI, items: Any, failing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    judge = scripted(fails=lambda text: failing and "item 2" in text)
    metric = PrincipleMetric(PRINCIPLE, judge=judge, max_failures=None)
    with dspy.context(lm=rules_lm(server)):
        optimizer = dspy.GEPA(
            metric=metric,
            max_metric_calls=60,
            reflection_lm=chat_lm(server),
            num_threads=4,
            reflection_minibatch_size=2,
        )
        program = optimizer.compile(dspy.Predict("question -> answer"), trainset=items[:6], valset=items[6:])
        assert dspy.Evaluate(devset=items, metric=metric, num_threads=4)(program).score == 100.0
    assert "is different from the overall metric score" not in caplog.text
    reflections = [body for body in server.bodies if "under this principle" in str(body)]
    assert reflections, "the judge's feedback reached the reflection model"


def test_gepa_stops_when_the_judge_is_dead(server: FakeOpenAI, items: Any) -> None:
    metric = PrincipleMetric(PRINCIPLE, judge=scripted(fails=lambda text: True))
    with dspy.context(lm=rules_lm(server)), pytest.raises(JudgeUnavailableError):
        dspy.GEPA(metric=metric, max_metric_calls=200, reflection_lm=chat_lm(server), num_threads=1).compile(
            dspy.Predict("question -> answer"), trainset=items, valset=items
        )


# --- best of n


def counting(server: FakeOpenAI) -> Any:
    """A model that answers with a number of its own at each request."""
    numbers = iter("2541333333")
    lock = threading.Lock()

    def reply(body: Any) -> str:
        with lock:
            return f"[[ ## answer ## ]]\nnumber {next(numbers)}\n\n[[ ## completed ## ]]"

    server.reply = reply
    return dspy.LM("hosted_vllm/task", api_base=server.url, api_key="none")


def test_best_of_n_samples_afresh_and_judges_once(server: FakeOpenAI) -> None:
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    judge = scripted()
    best = BestOfN(dspy.Predict("question -> answer"), 4, PRINCIPLE, judge=judge)
    with dspy.context(lm=counting(server), trace=[]):
        ranked = best.rank(question="Which?")
        assert [p.answer for p in ranked.predictions] == ["number 5", "number 4", "number 2", "number 1"]
        assert ranked.verdict is not None and "I read" in ranked.verdict.reasoning
        assert len(dspy.settings.trace) == 1 and dspy.settings.trace[0][2].answer == "number 5"
        assert server.count == 4 and judge.usage.calls == 1
        assert best(question="Which?").answer == "number 5"
    assert server.count == 4, "the second time comes from DSPy's cache, candidate by candidate"
    assert {body["temperature"] for body in server.bodies} == {1.0}


def test_best_of_n_judges_equal_candidates_once_and_leaves_out_failed_ones() -> None:
    answers = iter(["2", None, "2", "4"])
    lock = threading.Lock()

    class Module(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            with lock:
                answer = next(answers)
            if answer is None:
                raise ValueError("no idea")
            return dspy.Prediction(answer=answer)

    judge = scripted()
    with dspy.context(lm=dspy.utils.DummyLM([{"answer": "unused"}])):
        ranked = BestOfN(Module(), 4, PRINCIPLE, judge=judge, num_threads=1).rank(question="?")
        assert [p.answer for p in ranked.predictions] == ["4", "2"]
        with pytest.raises((StopIteration, RuntimeError)):
            BestOfN(Module(), 2, PRINCIPLE, judge=judge)(question="?")
        answers = iter(["same", "same"])
        ranked = BestOfN(Module(), 2, PRINCIPLE, judge=judge)(question="?"), judge.usage.calls
        assert ranked[0].answer == "same" and ranked[1] == 1


def test_best_of_n_without_a_verdict_raises(server: FakeOpenAI) -> None:
    best = BestOfN(dspy.Predict("question -> answer"), 3, PRINCIPLE, judge=scripted(fails=lambda text: True))
    with dspy.context(lm=counting(server)), pytest.raises(Exception, match="verdict"):
        best(question="Another?")


def test_best_of_n_is_a_module_that_can_be_compiled_and_saved(server: FakeOpenAI, items: Any, tmp_path: Path) -> None:
    best = BestOfN(dspy.Predict("question -> answer"), 2, PRINCIPLE, judge=scripted())
    assert [name for name, _ in best.named_predictors()] == ["module"]
    with dspy.context(lm=rules_lm(server)):
        metric = PrincipleMetric(PRINCIPLE, judge=scripted(), threshold=0.75)
        compiled = dspy.BootstrapFewShot(metric=metric, max_bootstrapped_demos=1).compile(best, trainset=items)
        compiled.save(tmp_path / "program.json")
        fresh = BestOfN(dspy.Predict("question -> answer"), 2, PRINCIPLE, judge=scripted())
        fresh.load(tmp_path / "program.json")
        assert fresh(question="item 1").answer == "item 1"


def test_a_reward_for_the_hosts_best_of_n_and_refine(server: FakeOpenAI) -> None:
    reward = reward_fn(PRINCIPLE, judge=scripted())
    assert PRINCIPLE in inspect.getsource(reward)
    with dspy.context(lm=counting(server)):
        predict = dspy.Predict("question -> answer")
        assert dspy.BestOfN(predict, N=4, reward_fn=reward, threshold=0.9)(question="Best?").answer == "number 5"
    assert server.count == 2, "the second reached the threshold"


def test_refine_shows_its_model_the_principle(server: FakeOpenAI) -> None:
    def reply(body: Any) -> str:
        text = "\n".join(message["content"] for message in body["messages"])
        if "reward_code" in text:
            return '[[ ## discussion ## ]]\nd\n\n[[ ## advice ## ]]\n{"self": "say 5"}\n\n[[ ## completed ## ]]'
        return f"[[ ## answer ## ]]\n{'5' if 'say 5' in text else '2'}\n\n[[ ## completed ## ]]"

    server.reply = reply
    reward = reward_fn(PRINCIPLE, judge=scripted())
    with dspy.context(lm=chat_lm(server)):
        refine = dspy.Refine(dspy.Predict("question -> answer"), N=3, reward_fn=reward, threshold=1.0)
        assert refine(question="?").answer == "5"
    assert any("reward_code" in str(body) and PRINCIPLE in str(body) for body in server.bodies)


def test_a_reward_raises_rather_than_scores_when_the_judge_fails() -> None:
    reward = reward_fn(PRINCIPLE, judge=scripted(fails=lambda text: True))
    with pytest.raises(NotJudgedError):
        reward({"question": "?"}, dspy.Prediction(answer="1"))


# --- the package


def test_importing_is_free_of_a_judge() -> None:
    code = (
        "import sys, rewardanything_dspy as r; assert not {'torch', 'transformers', 'mlflow'} & set(sys.modules);"
        "r.PrincipleMetric('x'); r.BestOfN; from rewardanything_core import loading;"
        "assert not loading._default; print('ok')"
    )
    folder = str(ROOT / "integrations")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {folder!r}); {code}"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "ok", done.stderr


def test_the_page_runs_as_written(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "integrations" / "dspy.md").read_text()
    fields = "[[ ## discussion ## ]]\nd\n\n[[ ## advice ## ]]\n{}\n\n[[ ## completed ## ]]"
    numbers = itertools.cycle("12345")
    answer = "[[ ## answer ## ]]\nnumber {}\n\n[[ ## completed ## ]]"
    server.reply = lambda body: fields if "reward_code" in str(body) else answer.format(next(numbers))
    set_default_judge(scripted())
    names: dict[str, Any] = {}
    with dspy.context(lm=chat_lm(server)):
        for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
            exec(re.sub(r"dspy\.configure\(.*\).*", "", block), names)  # the model here is the server above
        assert names["refine"](question="?").answer
    assert names["result"].score > 0 and len(names["ranked"].predictions) == 4
