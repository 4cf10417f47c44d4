"""`PrincipleScorer` as an MLflow judge: aligned by MLflow's optimizers, in ensembles, and in the registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import mlflow
import pytest
from alignment_data import RULE, VAGUE, case_in, literal_judge
from mlflow.entities import AssessmentSource
from mlflow.exceptions import MlflowException
from mlflow.genai.judges.base import Judge as MlflowJudge
from mlflow.genai.judges.optimizers import GEPAAlignmentOptimizer, MemAlignOptimizer, SIMBAAlignmentOptimizer
from mlflow.genai.scorers import ScorerSamplingConfig, get_scorer, list_scorers
from mlflow_stores import own_experiment, tracking_store
from paths import ROOT

from rewardanything_core import ConfigError, Judge, Jury, Principle, Rubric, ScriptedBackend, from_endpoint
from rewardanything_core.errors import JudgeUnavailableError
from rewardanything_mlflow import PrincipleScorer, load_scorer

CALM = Principle(VAGUE, name="calm")

tracking = pytest.fixture(scope="module")(tracking_store)
experiment = pytest.fixture(autouse=True)(own_experiment)


@pytest.fixture
def custom_scorers(monkeypatch):
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS", "true")


@pytest.fixture
def scorer(server):
    """A scorer over HTTP whose judge follows its principle to the letter, and prefers excitement under ``CALM``."""
    server.reply = literal_judge
    with from_endpoint("hosted_vllm/fake", api_base=server.url, api_key="secret-1") as judge:
        yield PrincipleScorer(principle=CALM, judge=judge, threshold=4)


@pytest.fixture(scope="module")
def labelled_traces(tracking):
    """Traces of a chat program; people like the calm answers, those with even numbers."""
    mlflow.set_experiment("labelled")
    for index in range(12):
        with mlflow.start_span("answer") as span:
            question = {"role": "user", "content": f"Where is house {index}?"}
            span.set_inputs({"messages": [{"role": "system", "content": "Be exact."}, question]})
            span.set_outputs(f"House {index} is {'right here!' if index % 2 else 'to the left.'}")
        mlflow.flush_trace_async_logging()
        person = AssessmentSource(source_type="HUMAN", source_id="person 1")
        value = 1 if index % 2 else 5
        mlflow.log_feedback(trace_id=span.trace_id, name="calm", value=value, source=person, rationale="It shouts.")
    return mlflow.search_traces(return_type="list")


def rewriter(body):
    """Judges cases, and proposes the rule in the form that each optimizer asks for."""
    if case_in(body) is not None:
        return literal_judge(body)
    asked = json.dumps(body)
    if "guideline_text" in asked:
        return json.dumps({"guidelines": [{"guideline_text": RULE, "source_trace_ids": [0, 1]}]})
    if "module_advice" in asked:
        return json.dumps({"discussion": "It shouts.", "module_advice": {"self": RULE}})
    return json.dumps({"new_instruction": RULE})


def following_the_rule(body):
    """The same request under the principle that people judge by."""
    return json.loads(json.dumps(body).replace(VAGUE, RULE))


OPTIMIZERS = {
    "MemAlign": lambda: MemAlignOptimizer(reflection_lm="openai:/fake", embedding_model="openai:/fake"),
    "SIMBA": lambda: SIMBAAlignmentOptimizer(
        model="openai:/fake", simba_kwargs={"max_steps": 1, "num_candidates": 2, "num_threads": 2, "max_demos": 0}
    ),
    "GEPA": lambda: GEPAAlignmentOptimizer(model="openai:/fake", max_metric_calls=40),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_of_mlflow_give_the_scorer_a_new_principle(server, scorer, labelled_traces, monkeypatch, name):
    for variable in ("OPENAI_API_BASE", "OPENAI_BASE_URL"):
        monkeypatch.setenv(variable, server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    server.reply = rewriter
    if name == "SIMBA":  # it learns from judgements of a trace that differ
        server.reply = lambda body: rewriter(body if server.count % 3 else following_the_rule(body))
        scorer = scorer.model_copy(update={"judge": scorer.judge.with_options(cache="off")})
    aligned = scorer.align(labelled_traces, OPTIMIZERS[name]())
    assert isinstance(aligned, PrincipleScorer)
    assert RULE in aligned.principle.text
    assert aligned.description == aligned.instructions == aligned.principle.text
    assert (aligned.name, aligned.judge, aligned.threshold) == ("calm", scorer.judge, 4)
    server.reply = literal_judge
    assert aligned(inputs={"q": "Where?"}, outputs="Over there!").value == 1
    # Candidates were judged as rows are in an evaluation: with all messages of the prompt.
    judged = [case for body in server.bodies if (case := case_in(body))]
    assert all("Be exact." in json.dumps(case["prompt"]) for case in judged[:-1])


def test_an_unusable_judge_stops_an_optimizer_and_odd_feedback_is_refused(server, labelled_traces):
    server.require_key = "another"
    wrong = from_endpoint("hosted_vllm/fake", api_base=server.url, api_key="secret-1")
    with pytest.raises(JudgeUnavailableError):
        PrincipleScorer(principle=CALM, judge=wrong).align(labelled_traces, OPTIMIZERS["GEPA"]())
    scorer = PrincipleScorer(principle=CALM, judge=wrong, scale="normalized")
    with pytest.raises(ConfigError, match="5 named 'calm' is not on the scorer's scale from 0 to 1"):
        scorer.align(labelled_traces, OPTIMIZERS["GEPA"]())
    with pytest.raises(ConfigError, match="no human feedback named 'brief'"):
        PrincipleScorer(principle=CALM, name="brief", judge=wrong).align(labelled_traces, OPTIMIZERS["GEPA"]())
    for refused, options in {
        "rubric cannot be aligned": {"principle": Rubric({"a": "Be calm."})},
        "on='session' cannot": {"principle": CALM, "on": "session"},
        "candidates=True cannot": {"principle": CALM, "candidates": True},
    }.items():
        with pytest.raises(ConfigError, match=refused):
            PrincipleScorer(judge=wrong, **options).align(labelled_traces, OPTIMIZERS["MemAlign"]())


def test_a_judge_with_a_memory_judges_by_its_guidelines_with_our_judge(server, scorer, labelled_traces, monkeypatch):
    monkeypatch.setenv("OPENAI_API_BASE", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    server.reply = rewriter
    remembering = OPTIMIZERS["MemAlign"]().align(scorer, labelled_traces)
    before = server.count
    assert remembering(inputs="Where?", outputs="Over there!").value == 1
    (case,) = [case for body in server.bodies[before:] if (case := case_in(body))]
    assert case["principle"].startswith(VAGUE)
    assert "Example Judgements" in case["principle"]
    assert scorer(inputs="Where?", outputs="Over there!").value == 4


# --- what it is for MLflow


def test_it_is_a_judge_of_mlflow(scorer):
    assert isinstance(scorer, MlflowJudge)
    assert (scorer.instructions, scorer.description, scorer.feedback_value_type) == (VAGUE, VAGUE, float)
    fields = {
        on: [field.name for field in PrincipleScorer(principle=CALM, on=on).get_input_fields()]
        for on in ("row", "trace", "session")
    }
    assert fields == {"row": ["inputs", "outputs"], "trace": ["trace"], "session": []}
    assert PrincipleScorer(principle=CALM, description="Calm answers.").with_principle(
        Principle("Else.")
    ).description == ("Calm answers.")


def test_an_ensemble_takes_scorers_with_judges_and_juries():
    if not hasattr(mlflow.genai.scorers, "make_scorer_ensemble"):  # it came with MLflow 3.16
        return
    one, three = (Judge(ScriptedBackend.scoring(lambda _, n=n: n), cache="off") for n in (1, 3))
    with Jury([one, three]) as jury:
        scorers = [
            PrincipleScorer(principle=CALM, name=name, judge=j) for name, j in (("jury", jury), ("three", three))
        ]
        data = [{"inputs": {"q": "Where?"}, "outputs": "Here."}]
        both = mlflow.genai.scorers.make_scorer_ensemble(name="both", scorers=scorers, ensemble_fn="mean")
        result = mlflow.genai.evaluate(data=data, scorers=[both])
    assert result.metrics["both/mean"] == 2.5
    (parts,) = [a["metadata"]["mlflow.ensemble.sub_feedbacks"] for a in result.result_df["assessments"][0]]
    assert [part["feedback"]["value"] for part in json.loads(parts)] == [2, 3]


def test_criteria_and_comparisons_of_mlflow_read_the_scores(scorer):
    if not hasattr(mlflow.genai, "compare_evaluations"):  # it came with MLflow 3.18
        return

    def evaluated(ending):
        data = [{"inputs": {"q": f"Where is {n}?"}, "outputs": f"{n} is here{ending}"} for n in range(10)]
        return mlflow.genai.evaluate(data=data, scorers=[scorer], quality_criteria="calm >= 3.5")

    calm, excited = evaluated("."), evaluated("!")
    (criteria,) = [tag for name, tag in mlflow.get_run(calm.run_id).data.tags.items() if "riteria" in name]
    assert '"calm/mean"' in criteria
    comparison = mlflow.genai.compare_evaluations(candidate_run_id=excited.run_id, baseline_run_id=calm.run_id)
    comparison.assert_improved(scorers=["calm"])
    assert "calm" in str(comparison.summary())


# --- the registry

SECOND_PROCESS = """
import mlflow, sys
from mlflow.genai.scorers import get_scorer, list_scorers
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment(sys.argv[2])
print([(s.name, s.description) for s in list_scorers()])
print(get_scorer(name="calm")(inputs={"q": "Where?"}, outputs="Over there!").value)
from rewardanything_mlflow import load_scorer
scorer = load_scorer("calm", version=1)
value = scorer(inputs={"q": "Where?"}, outputs="There.").value
print(type(scorer).__name__, scorer.threshold, scorer.scorer_version, value)
"""


def second_process(code, *arguments, cwd, **variables):
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT / "integrations"), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd, env=os.environ | paths | variables, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_a_registered_scorer_judges_in_another_process(scorer, custom_scorers, experiment, tmp_path):
    registered = scorer.register()
    assert isinstance(registered, PrincipleScorer)
    assert (registered.name, registered.scorer_version, registered.judge) == ("calm", 1, scorer.judge)
    scorer.with_principle(Principle(RULE)).register(name="other")
    assert [one.name for one in list_scorers()] == ["calm", "other"]
    assert load_scorer("other").principle.text == RULE
    stored = get_scorer(name="calm").model_dump()["call_source"]
    assert "secret-1" not in stored
    assert "sqlite" not in stored
    uri, name = mlflow.get_tracking_uri(), experiment.name
    listed, value, loaded = second_process(SECOND_PROCESS, uri, name, cwd=tmp_path)
    assert listed == str([("calm", VAGUE), ("other", RULE)])
    assert (value, loaded) == ("4.0", "PrincipleScorer 4.0 1 2.0")


def test_what_cannot_be_registered_is_refused_with_the_reason(scorer, custom_scorers, monkeypatch):
    with pytest.raises(ConfigError, match="a function in response cannot be stored"):
        scorer.model_copy(update={"response": str}).register()
    with pytest.raises(ConfigError, match="defined in a module"):
        PrincipleScorer(principle=CALM, judge=Judge(ScriptedBackend(lambda _: "x"))).register()
    with pytest.raises(ConfigError, match=r"cannot schedule 'calm'.*as_mlflow_judge"):
        scorer.register().start(sampling_config=ScorerSamplingConfig(sample_rate=0.5))
    monkeypatch.delenv("MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS")
    with pytest.raises(MlflowException, match="MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS"):
        scorer.register()


def test_mlflows_own_judge_of_the_principle_is_stored_without_code(scorer):
    principle = Principle("Prefer {{ braces }} to none.", name="braces")
    own = scorer.with_principle(principle).as_mlflow_judge("openai:/gpt-5-mini")
    assert "Prefer { { braces } } to none." in own.instructions
    own.register(name="braces")
    loaded = get_scorer(name="braces")
    assert (loaded.instructions, loaded.feedback_value_type) == (own.instructions, own.feedback_value_type)
    with pytest.raises(ConfigError, match="candidates=True does not fit"):
        PrincipleScorer(principle=CALM, candidates=True).as_mlflow_judge("openai:/gpt-5-mini")
