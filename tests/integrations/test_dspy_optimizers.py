"""rewardanything_dspy through DSPy's optimisers."""

from __future__ import annotations

import copy
import functools
import inspect
import json
import pickle
import re
from collections.abc import Callable
from typing import Any

import dspy
import gepa
import pytest
from dspy.teleprompt.gepa import gepa_utils
from dspy_programs import PRINCIPLE, chat_lm, clean_settings, example, improvable_lm, items, judged_texts, scripted
from gepa.adapters.dspy_full_program_adapter.full_program_adapter import DspyAdapter
from servers import FakeOpenAI

from rewardanything_core import Judge, Principle, Rubric, ScriptedBackend
from rewardanything_core.backends import verdict_reply
from rewardanything_core.backends.scripted import rubric_reply
from rewardanything_dspy import JudgeUnavailableError, NotJudged, PrincipleMetric

settings = pytest.fixture(autouse=True)(clean_settings)


@pytest.fixture
def metric() -> PrincipleMetric:
    return PrincipleMetric(PRINCIPLE, judge=scripted(), threshold=0.75)


Optimise = Callable[[FakeOpenAI, Any, list[Any]], Any]
"""Optimises a program that answers questions: server, metric and examples -> the optimised program."""


def bootstrap(server: FakeOpenAI, metric: Any, examples: list[Any], **options: Any) -> Any:
    optimizer = dspy.BootstrapFewShot(metric=metric, max_bootstrapped_demos=8, max_labeled_demos=0, **options)
    return optimizer.compile(dspy.Predict("question -> answer"), trainset=examples)


def mipro(server: FakeOpenAI, metric: Any, examples: list[Any]) -> Any:
    optimizer = dspy.MIPROv2(
        metric=metric, auto=None, num_candidates=2, num_threads=4, max_bootstrapped_demos=0, max_labeled_demos=0
    )
    return optimizer.compile(
        dspy.Predict("question -> answer"),
        trainset=examples[:6],
        valset=examples[6:],
        num_trials=3,
        minibatch=False,
    )


def simba(server: FakeOpenAI, metric: Any, examples: list[Any]) -> Any:
    optimizer = dspy.SIMBA(metric=metric, bsize=6, num_candidates=2, max_steps=2, max_demos=1, num_threads=4)
    return optimizer.compile(dspy.Predict("question -> answer"), trainset=examples)


def gepa_instructions(server: FakeOpenAI, metric: Any, examples: list[Any], threads: int = 4) -> Any:
    optimizer = dspy.GEPA(
        metric=metric,
        max_metric_calls=60,
        reflection_lm=chat_lm(server),
        num_threads=threads,
        reflection_minibatch_size=2,
    )
    return optimizer.compile(dspy.Predict("question -> answer"), trainset=examples[:6], valset=examples[6:])


OPTIMISERS = {
    "bootstrap": bootstrap,
    "mipro": mipro,
    "simba": simba,
    "gepa": gepa_instructions,
    "gepa, one thread": functools.partial(gepa_instructions, threads=1),
}


# --- what optimisers do with scores


def test_bootstrap_keeps_only_demonstrations_that_reach_the_threshold(server: FakeOpenAI, metric: Any) -> None:
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    with dspy.context(lm=improvable_lm(server)):
        compiled = bootstrap(server, metric, items())
    assert [demo.answer for demo in compiled.demos] == ["item 4"] * 3


def test_bootstrap_may_use_its_own_threshold(server: FakeOpenAI) -> None:
    with dspy.context(lm=improvable_lm(server)):
        compiled = bootstrap(server, PrincipleMetric(PRINCIPLE, judge=scripted()), items(), metric_threshold=0.5)
    assert {demo.answer for demo in compiled.demos} == {"item 3", "item 4"}


@pytest.mark.parametrize("options", [{}, {"threshold": 0.5}])
@pytest.mark.parametrize("own_threshold", [None, 0.5])
def test_bootstrap_makes_no_demonstration_of_what_was_not_judged(
    server: FakeOpenAI, options: Any, own_threshold: float | None
) -> None:
    failing = PrincipleMetric(
        PRINCIPLE, judge=scripted(fails=lambda text: "4" in text), max_failures=None, reference="gold", **options
    )
    examples = [example(f"item {3 + i % 2}, number {i}", gold=None if i % 4 == 0 else "g") for i in range(24)]
    with dspy.context(lm=improvable_lm(server)):
        compiled = bootstrap(server, failing, examples, metric_threshold=own_threshold)
    numbers = [int(re.findall(r"\d+", demo.question)[1]) for demo in compiled.demos]
    assert numbers == ([] if not options and own_threshold is None else [2, 6, 10, 14, 18, 22])
    assert len(failing.failures) == 18  # more than DSPy's max_errors


def test_mipro_improves_the_instruction(server: FakeOpenAI, metric: Any) -> None:
    with dspy.context(lm=improvable_lm(server)):
        program = mipro(server, metric, items())
        assert dspy.Evaluate(devset=items(), metric=metric, num_threads=4)(program).score == 100.0


@pytest.mark.parametrize("failing", [False, True])
def test_simba_completes_with_and_without_failures(server: FakeOpenAI, failing: bool) -> None:
    judge = scripted(fails=lambda text: failing and "item 2" in text)
    metric = PrincipleMetric(PRINCIPLE, judge=judge, max_failures=None)
    with dspy.context(lm=improvable_lm(server)):
        program = simba(server, metric, items())
        assert dspy.Evaluate(devset=items(), metric=metric, num_threads=4)(program).score >= 37.5
    assert bool(metric.failures) is failing


@pytest.mark.parametrize("failing", [False, True])
def test_gepa_improves_the_instruction_by_feedback(
    server: FakeOpenAI, failing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    judge = scripted(fails=lambda text: failing and "item 2" in text)
    metric = PrincipleMetric(PRINCIPLE, judge=judge, max_failures=None)
    with dspy.context(lm=improvable_lm(server)):
        program = gepa_instructions(server, metric, items())
        assert dspy.Evaluate(devset=items(), metric=metric, num_threads=4)(program).score == 100.0
    assert "is different from the overall metric score" not in caplog.text
    reflections = [body for body in server.bodies if "under this principle" in str(body)]
    assert reflections, "the judge's feedback did not reach the reflection model"


SEED = "import dspy\nprogram = dspy.Predict('question -> answer')"
BETTER = "import dspy\nprogram = dspy.Predict(dspy.Signature('question -> answer', 'Say FIVE.'))"


@pytest.mark.parametrize("failing", [False, True])
def test_gepas_full_program_adapter_uses_the_feedback(server: FakeOpenAI, failing: bool) -> None:
    judge = scripted(fails=lambda text: failing and "item 2" in text)
    metric = PrincipleMetric(PRINCIPLE, judge=judge, max_failures=None)
    reflections: list[str] = []

    def reflection_lm(prompt: Any) -> str:
        reflections.append(" ".join(str(prompt).split()))  # the feedback is wrapped
        return f"```\n{BETTER}\n```"

    adapter = DspyAdapter(task_lm=improvable_lm(server), metric_fn=metric, reflection_lm=reflection_lm, num_threads=4)
    result = gepa.optimize(
        seed_candidate={"program": SEED},
        trainset=items()[:6],
        valset=items()[6:],
        adapter=adapter,
        max_metric_calls=60,
        reflection_minibatch_size=3,
    )
    assert result.best_candidate["program"].strip() == BETTER
    assert any("under this principle" in prompt and "reasoning: I read" in prompt for prompt in reflections)
    assert bool(metric.failures) is failing
    assert any("could not be judged" in prompt for prompt in reflections) is failing


@pytest.mark.skipif(not hasattr(dspy, "Flex"), reason="DSPy 3.3 or newer has Flex")
def test_gepa_improves_the_code_of_a_flex_module_by_feedback(server: FakeOpenAI) -> None:
    proposals: list[str] = []
    task = improvable_lm(server)
    answer_task: Any = server.reply

    def reply(body: Any) -> str:
        text = "\n".join(message["content"] for message in body["messages"])
        if "revised_source" not in text:
            return str(answer_task(body))
        proposals.append(text)
        source = (
            "class Program(dspy.Module):\n"
            "    def __init__(self):\n"
            "        super().__init__()\n"
            "        self.answer = dspy.Predict(dspy.Signature('question -> answer', 'Say FIVE.'))\n"
            "    def forward(self, **inputs):\n"
            "        return dspy.Prediction(answer=self.answer(**inputs).answer)\n"
        )
        return f"[[ ## revised_source ## ]]\n{source}\n\n[[ ## completed ## ]]"

    server.reply = reply
    metric = PrincipleMetric(PRINCIPLE, judge=scripted(fails=lambda text: "item 2" in text), max_failures=None)
    program = dspy.Flex("question -> answer", interpreter_factory=dspy.LocalInterpreter)
    with dspy.context(lm=task):
        optimizer = dspy.GEPA(
            metric=metric,
            max_metric_calls=30,
            reflection_lm=chat_lm(server),
            num_threads=2,
            reflection_minibatch_size=3,
        )
        improved = optimizer.compile(program, trainset=items()[:4], valset=items()[4:8])
        assert improved(question="item 1").answer == "five 5"
    assert any("under this principle" in text for text in proposals)


# --- scores by objective

ANSWERS = {"MODE-BOTH": "true and kind", "MODE-KIND": "fairly true, kind", "MODE-TRUE": "true"}
"""Instruction -> what the program answers with it; with any other it answers ``neither``."""

POINTS = {
    "neither": {"truth": 2, "tone": 2},
    "true": {"truth": 5, "tone": 2},
    "fairly true, kind": {"truth": 4, "tone": 5},
    "true and kind": {"truth": 5, "tone": 5},
}


def several_objectives(kind: str) -> Any:
    if kind == "rubric":
        return Rubric({"truth": "Is it truth?", "tone": "Is it of good tone?"})
    return [Principle("It is truth.", name="truth"), Principle("It is of good tone.", name="tone")]


def judge_by_objective() -> Judge:
    def reply(request: Any) -> Any:
        case = json.loads(request.messages[1]["content"])
        points = {name: POINTS[text] for name, text in case["responses"].items()}

        def scores(rule: Any) -> dict[str, int]:
            objective = "tone" if "tone" in str(rule) else "truth"
            return {name: each[objective] for name, each in points.items()}

        if "rubric" in case:
            return rubric_reply({key: scores(rule) for key, rule in case["rubric"].items()})
        return verdict_reply(scores(case["principle"]))

    return Judge(ScriptedBackend(reply), cache="off", criteria="together")


def optimised_by_objective(server: FakeOpenAI, kind: str, frontier: str) -> Any:
    """GEPA with a stub of the two models. From the candidate for truth, one for tone is proposed first, then for both.

    The one for tone is better on every example, so that only a front by objective keeps the one for truth.
    """
    proposals = iter(["MODE-KIND"])

    def answer(text: str) -> str:
        return next((answer for mode, answer in ANSWERS.items() if mode in text), "neither")

    def propose(text: str) -> str:
        if "MODE-KIND" in text:
            return "MODE-KIND again"
        return next(proposals, "MODE-BOTH") if "MODE-TRUE" in text else "MODE-TRUE"

    task = improvable_lm(server, answer, propose)
    metric = PrincipleMetric(several_objectives(kind), judge=judge_by_objective())
    optimizer = dspy.GEPA(
        metric=metric,
        max_metric_calls=60,
        reflection_lm=chat_lm(server),
        num_threads=2,
        reflection_minibatch_size=2,
        track_stats=True,
        gepa_kwargs={"frontier_type": frontier},
    )
    with dspy.context(lm=task):
        return optimizer.compile(dspy.Predict("question -> answer"), trainset=items()[:4], valset=items()[4:8])


@pytest.mark.skipif(
    "objective_scores" not in inspect.getsource(gepa_utils), reason="DSPy 3.2 or newer has scores by objective"
)
@pytest.mark.parametrize("kind", ["principles", "rubric"])
def test_gepa_keeps_a_pareto_front_by_principle_or_criterion(server: FakeOpenAI, kind: str) -> None:
    by_objective = optimised_by_objective(server, kind, "objective").detailed_results
    instructions = [next(iter(candidate.predictors())).signature.instructions for candidate in by_objective.candidates]
    assert [text[:9] for text in instructions[1:4]] == ["MODE-TRUE", "MODE-KIND", "MODE-BOTH"]
    assert by_objective.val_aggregate_subscores[:3] == [
        {"truth": 0.25, "tone": 0.25},
        {"truth": 1.0, "tone": 0.25},
        {"truth": 0.75, "tone": 1.0},
    ]
    assert by_objective.objective_pareto_front == {"truth": 1.0, "tone": 1.0}
    assert 1 in by_objective.per_objective_best_candidates["truth"]
    by_example = optimised_by_objective(server, kind, "instance").detailed_results
    assert max(by_example.val_aggregate_scores) == 0.875 < max(by_objective.val_aggregate_scores) == 1.0


def test_scores_by_objective_have_the_names_of_principles_and_criteria() -> None:
    rubric = Rubric({"truth": "Is it truth?", "tone": "Is it of good tone?"}, name="answer")
    judge = judge_by_objective()
    gold, prediction = example("q"), dspy.Prediction(answer="true")

    def objectives(principle: Any) -> Any:
        return PrincipleMetric(principle, judge=judge)(gold, prediction).objective_scores

    assert objectives("It is truth.") == {}
    assert objectives(["It is truth.", "Its tone."]) == {"principle": 1.0, "principle_2": 0.25}
    assert objectives([rubric, "Its tone."]) == {"answer.truth": 1.0, "answer.tone": 0.25, "principle": 0.25}
    score = PrincipleMetric(rubric, judge=judge)(gold, prediction)
    assert dict(score.items()) == {
        "score": 0.625,
        "feedback": score.feedback,
        "objective_scores": score.objective_scores,
    }
    assert pickle.loads(pickle.dumps(score)) == copy.deepcopy(score) == score == 0.625 and json.dumps(score) == "0.625"
    assert copy.deepcopy(score).objective_scores == score.objective_scores


def test_the_programs_calls_can_be_judged(server: FakeOpenAI) -> None:
    def with_calls(prediction: Any, program_trace: Any) -> str:
        return f"{prediction.answer} after {len(program_trace or [])} calls"

    judge = scripted()
    metric = PrincipleMetric(PRINCIPLE, judge=judge, response=with_calls)
    calls = [("predictor", {}, dspy.Prediction(answer="5"))] * 2
    metric(example("q"), dspy.Prediction(answer="5"), program_trace=calls)
    metric(example("q"), dspy.Prediction(answer="5"), calls, "predictor", calls[:1])  # as GEPA asks for feedback
    metric(example("q"), dspy.Prediction(answer="5"))
    assert judged_texts(judge) == ["5 after 2 calls", "5 after 2 calls", "5 after 0 calls"]


# --- mistakes and judges that fail


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"response": "anwser"}, "no field 'anwser' for response="),
        ({"reference": "gold"}, "no field 'gold' for reference="),
        ({"judge": None}, "There is no judge"),
    ],
)
def test_a_mistake_in_the_set_up_stops_every_optimiser(
    server: FakeOpenAI, name: str, options: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RA_JUDGE_MODEL", "scripted:no_such_module:reply")
    judge = scripted()
    metric = PrincipleMetric(PRINCIPLE, **{"judge": judge, **options})
    with dspy.context(lm=improvable_lm(server)), pytest.raises(JudgeUnavailableError, match=message):
        OPTIMISERS[name](server, metric, items())
    assert judged_texts(judge) == []


@pytest.mark.parametrize("name", OPTIMISERS)
def test_two_output_fields_stop_every_optimiser(server: FakeOpenAI, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = dspy.Predict
    monkeypatch.setattr(dspy, "Predict", lambda signature: predict("question -> answer, why"))
    server.reply = "[[ ## answer ## ]]\n5\n\n[[ ## why ## ]]\nb\n\n[[ ## completed ## ]]"
    metric = PrincipleMetric(PRINCIPLE, judge=scripted())
    with dspy.context(lm=chat_lm(server)), pytest.raises(JudgeUnavailableError, match="fields answer, why"):
        OPTIMISERS[name](server, metric, items())


@pytest.mark.parametrize("name", [name for name in OPTIMISERS if name != "bootstrap"])
def test_rows_that_make_no_case_are_no_zeros_in_any_optimiser(server: FakeOpenAI, name: str) -> None:
    """The mean of the judged rows is what the optimisers see; half of the rows have no reference."""
    metric = PrincipleMetric(PRINCIPLE, judge=scripted(), reference="gold")
    examples = [example(e.question, gold=None if i % 2 else "g") for i, e in enumerate(items())]
    with dspy.context(lm=improvable_lm(server)):
        program = OPTIMISERS[name](server, metric, examples)
        result = dspy.Evaluate(devset=examples, metric=metric, num_threads=4)(program)
    assert sum(isinstance(score, NotJudged) for *_, score in result.results) == 6
    assert result.score == 100.0 or name == "simba"
    assert {failure.error_type for failure in metric.failures} == {"InvalidCaseError"}


def test_gepa_stops_when_the_judge_keeps_failing(server: FakeOpenAI) -> None:
    metric = PrincipleMetric(PRINCIPLE, judge=scripted(fails=lambda text: True))
    with dspy.context(lm=improvable_lm(server)), pytest.raises(JudgeUnavailableError, match="in a row failed"):
        gepa_instructions(server, metric, items() * 4, threads=1)
