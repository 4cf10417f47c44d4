"""rewardanything_dspy: our best-of-n, and the reward for DSPy's own `BestOfN` and `Refine`."""

from __future__ import annotations

import inspect
import threading
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy_programs import PRINCIPLE, chat_lm, clean_settings, example, improvable_lm, items, judged_texts, scripted
from servers import FakeOpenAI

from rewardanything_dspy import BestOfN, JudgeUnavailableError, PrincipleMetric, reward_fn
from rewardanything_dspy.metric import NotJudgedError

settings = pytest.fixture(autouse=True)(clean_settings)


# --- best of n


def counting_lm(server: FakeOpenAI) -> Any:
    """A model with another number in the answer to each request."""
    numbers = iter("2541333333")
    lock = threading.Lock()

    def reply(body: Any) -> str:
        with lock:
            return f"[[ ## answer ## ]]\nnumber {next(numbers)}\n\n[[ ## completed ## ]]"

    server.reply = reply
    return dspy.LM("hosted_vllm/task", api_base=server.url, api_key="none")


def test_best_of_n_samples_distinct_candidates_and_judges_once(server: FakeOpenAI) -> None:
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    judge = scripted()
    best = BestOfN(dspy.Predict("question -> answer"), 4, PRINCIPLE, judge=judge)
    with dspy.context(lm=counting_lm(server), trace=[]):
        ranked = best.rank(question="Which?")
        assert [p.answer for p in ranked.predictions] == ["number 5", "number 4", "number 2", "number 1"]
        assert ranked.verdict is not None and "I read" in ranked.verdict.reasoning
        assert len(dspy.settings.trace) == 1 and dspy.settings.trace[0][2].answer == "number 5"
        assert server.count == 4 and judge.usage.calls == 1
        assert best(question="Which?").answer == "number 5"
    assert server.count == 4, "DSPy's cache has each candidate of the first call"
    assert {body["temperature"] for body in server.bodies} == {1.0}


def test_equal_candidates_are_judged_once_and_failed_ones_excluded() -> None:
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
        assert BestOfN(Module(), 2, PRINCIPLE, judge=judge)(question="?").answer == "same"
        assert judge.usage.calls == 1


def test_best_of_n_raises_without_a_verdict(server: FakeOpenAI) -> None:
    best = BestOfN(dspy.Predict("question -> answer"), 3, PRINCIPLE, judge=scripted(fails=lambda text: True))
    with dspy.context(lm=counting_lm(server)), pytest.raises(Exception, match="verdict"):
        best(question="Another?")


def test_best_of_n_can_be_compiled_and_saved(server: FakeOpenAI, tmp_path: Path) -> None:
    best = BestOfN(dspy.Predict("question -> answer"), 2, PRINCIPLE, judge=scripted())
    assert [name for name, _ in best.named_predictors()] == ["module"]
    with dspy.context(lm=improvable_lm(server)):
        metric = PrincipleMetric(PRINCIPLE, judge=scripted(), threshold=0.75)
        compiled = dspy.BootstrapFewShot(metric=metric, max_bootstrapped_demos=1).compile(best, trainset=items())
        compiled.save(tmp_path / "program.json")
        restored = BestOfN(dspy.Predict("question -> answer"), 2, PRINCIPLE, judge=scripted())
        restored.load(tmp_path / "program.json")
        assert restored(question="item 1").answer == "item 1"


def test_the_reward_selects_in_dspys_best_of_n(server: FakeOpenAI) -> None:
    reward = reward_fn(PRINCIPLE, judge=scripted())
    assert PRINCIPLE in inspect.getsource(reward)
    with dspy.context(lm=counting_lm(server)):
        predict = dspy.Predict("question -> answer")
        assert dspy.BestOfN(predict, N=4, reward_fn=reward, threshold=0.9)(question="Best?").answer == "number 5"
    assert server.count == 2, "the second attempt reached the threshold"


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


def test_the_reward_raises_when_the_judge_fails() -> None:
    reward = reward_fn(PRINCIPLE, judge=scripted(fails=lambda text: True))
    with pytest.raises(NotJudgedError):
        reward({"question": "?"}, dspy.Prediction(answer="1"))


def candidates(*answers: Any) -> Any:
    """A module whose candidates have these answers, in turn."""
    numbers, lock = iter(answers), threading.Lock()

    class Module(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            with lock:
                return dspy.Prediction(answer=next(numbers))

    return Module()


def dummy_lm() -> Any:
    return dspy.utils.DummyLM([{"answer": "unused"}])


def test_candidates_that_make_no_case_are_excluded() -> None:
    judge = scripted()
    with dspy.context(lm=dummy_lm()):
        best = BestOfN(candidates("2", None, "\ud800", "4"), 4, PRINCIPLE, judge=judge, num_threads=1)
        assert best(question="?").answer == "4"
        assert sorted(judged_texts(judge)) == ["2", "4"]
        with pytest.raises(ValueError, match="is None"):
            BestOfN(candidates(None, None), 2, PRINCIPLE, judge=judge)(question="?")


@pytest.mark.parametrize("options", [{"response": "anwser"}, {"prompt": "qestion"}, {"judge": None}])
def test_a_mistake_in_the_set_up_of_best_of_n_stops_the_run(options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RA_JUDGE_MODEL", "scripted:no_such_module:reply")
    best = BestOfN(candidates(*"12345678"), 2, PRINCIPLE, **{"judge": scripted(), **options})
    metric = PrincipleMetric(PRINCIPLE, judge=scripted())
    with dspy.context(lm=dummy_lm()), pytest.raises(JudgeUnavailableError):
        dspy.Evaluate(devset=[example("1"), example("2")], metric=metric, num_threads=1)(best)


def test_a_judge_that_keeps_failing_stops_best_of_n() -> None:
    judge = scripted(fails=lambda text: True)
    best = BestOfN(candidates(*"1234567890"), 2, PRINCIPLE, judge=judge, max_failures=3)
    metric = PrincipleMetric(PRINCIPLE, judge=scripted())
    with dspy.context(lm=dummy_lm()), pytest.raises(JudgeUnavailableError, match="3 judgements in a row"):
        dspy.Evaluate(devset=[example(f"{i}") for i in range(9)], metric=metric, num_threads=1)(best)
    assert judge.usage.calls == 3


def test_a_mistake_in_the_set_up_of_a_reward_stops_dspys_best_of_n_and_refine(server: FakeOpenAI) -> None:
    reward = reward_fn(PRINCIPLE, judge=scripted(), response="anwser")
    with dspy.context(lm=counting_lm(server)):
        for module in (dspy.BestOfN, dspy.Refine):
            program = module(dspy.Predict("question -> answer"), N=3, reward_fn=reward, threshold=0.9)
            with pytest.raises(JudgeUnavailableError, match="no field 'anwser'"):
                program(question="?")
