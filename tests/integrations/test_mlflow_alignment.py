"""People's assessments of real MLflow traces as labels, and ``judge.align(traces, PrincipleOptimizer())``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import mlflow
import pytest
from alignment_data import ITEMS, REWRITTEN, VAGUE, literal_judge
from checks import invoke
from mlflow.entities import AssessmentSource
from mlflow.genai.judges import make_judge
from mlflow.genai.scorers import Fluency
from servers import FakeOpenAI

from rewardanything_core import ConfigError, Principle, from_endpoint
from rewardanything_core.bench import combined_by_prompt
from rewardanything_mlflow import PrincipleOptimizer, PrincipleScorer, labels_from_mlflow

TEXTS = {True: "The {} is to the left.", False: "The {} is right here!"}


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    """One store for all tests of this module, since creating its tables takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    before = Path.cwd()
    os.chdir(folder)
    os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = "false"
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    yield folder
    del os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"]
    os.chdir(before)


@pytest.fixture(autouse=True)
def experiment(tracking, request):
    return mlflow.set_experiment(request.node.name)


def log(prompt, response, *labels, name="calm", source="HUMAN", rationale=None):
    """A trace with a label of each of several people; its id."""
    with mlflow.start_span("answer") as span:
        span.set_inputs({"question": prompt})
        span.set_outputs(response)
    for person, value in enumerate(labels):
        by = AssessmentSource(source_type=source, source_id=f"person {person}")
        mlflow.log_feedback(trace_id=span.trace_id, name=name, value=value, source=by, rationale=rationale)
    return span.trace_id


def traces_with(values=(True, False), number=40, **options):
    """Traces whose even answers are calm and whose odd ones are excited, labelled with one of two values."""
    for index, item in enumerate(ITEMS[:number]):
        calm = index % 2 == 0
        log(f"Where is the {item}?", TEXTS[calm].format(item), values[not calm], **options)
    return found()


def found():
    return mlflow.search_traces(return_type="list")


def instructed_judge(body):
    """A model for MLflow's judges: yes to calm answers if instructed about exclamation marks, else yes to others."""
    system, *others = (str(message["content"]) for message in body["messages"])
    if not others:
        return "```\nWhether {{ outputs }} answers {{ inputs }} well: without exclamation marks.\n```"
    calm = "!" not in others[0].partition("outputs:")[2]
    return json.dumps({"result": calm == ("exclamation" in system), "rationale": "By its energy."})


def test_human_feedback_becomes_labelled_items():
    log("Q1", "Calm.", True, True, rationale="Calm.")
    log("Q2", "Loud!", "no")
    log("Q3", "Split?", True, False)
    log("Q4", "Machine.", True, source="LLM_JUDGE")
    items = {item.prompt: item for item in labels_from_mlflow(found(), principle="Be calm.")}
    assert set(items) == {"Q1", "Q2"}
    assert items["Q1"].human == {"response": 1.0}
    assert items["Q1"].scale == items["Q2"].scale == (0, 1)
    assert items["Q1"].comment == "Calm. Calm."
    assert items["Q2"].human == {"response": 0.0}
    assert items["Q1"].responses == {"response": "Calm."}


def test_numbers_of_several_people_are_averaged_and_the_latest_of_one_counts():
    trace_id = log("Q", "A", 2, 5)
    again = AssessmentSource(source_type="HUMAN", source_id="person 0")
    mlflow.log_feedback(trace_id=trace_id, name="calm", value=4, source=again)
    log("Q", "B", 1)
    items = labels_from_mlflow(found(), "Calm ", principle="Be calm.", scale=(1, 5))
    assert sorted(item.human["response"] for item in items) == [1, 4.5]
    (both,) = combined_by_prompt(items)
    assert len(both.pairs) == 1


def test_feedback_that_cannot_be_used_is_named():
    with pytest.raises(ConfigError, match="no human feedback on these 0 traces"):
        labels_from_mlflow([], principle="Be calm.")
    log("Q", "A", "quite")
    with pytest.raises(ConfigError, match="is 'quite', which is not a number"):
        labels_from_mlflow(found(), principle="Be calm.")
    log("Q", "A", 1, name="short")
    with pytest.raises(ConfigError, match=r"several names .* is: (calm|short) \(1\), (calm|short) \(1\)"):
        labels_from_mlflow(found(), principle="Be calm.")


def test_a_trace_that_cannot_be_judged_is_left_out_with_a_warning():
    log("Q", "A", 1)
    log("Q", None, 1)
    with pytest.warns(UserWarning, match="1 of 2 labelled traces cannot be judged and are left out"):
        assert len(labels_from_mlflow(found(), principle="Be calm.")) == 1


def test_a_principle_scorer_is_aligned_to_feedback(server):
    server.reply = literal_judge
    judge = from_endpoint("hosted_vllm/fake", api_base=server.url)
    scorer = PrincipleScorer(principle=Principle(VAGUE, name="calm"), judge=judge, threshold=4)
    traces = traces_with()
    optimizer = PrincipleOptimizer()
    aligned = scorer.align(traces, optimizer)
    assert aligned.principle == Principle(REWRITTEN, name="calm")
    assert (aligned.name, aligned.judge, aligned.threshold) == ("calm", judge, 4)
    assert scorer.principle.text == VAGUE
    assert optimizer.result.gain.value == 1.0
    assert aligned(inputs="Where?", outputs="Over there!").value == 1
    assert len(found()) == len(traces)


def test_a_scorer_that_no_principle_improves_is_returned_as_it_was(server, caplog):
    server.reply = lambda body: literal_judge(body, rewriting="```\nBe lively.\n```")
    judge = from_endpoint("hosted_vllm/fake", api_base=server.url)
    scorer = PrincipleScorer(principle=VAGUE, name="calm", judge=judge)
    assert scorer.align(traces_with((5, 1)), PrincipleOptimizer(max_calls=120)) is scorer
    assert "calm is returned as it was" in caplog.text


def test_a_judge_of_mlflow_is_aligned_to_feedback(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    server.reply = instructed_judge
    judge = make_judge(
        name="calm",
        instructions="Whether {{ outputs }} answers {{ inputs }} well.",
        model="openai:/fake",
        feedback_value_type=bool,
        base_url=f"{server.url}/chat/completions",
        inference_params={"temperature": 0},
    )
    optimizer = PrincipleOptimizer(method="rewrite")
    aligned = judge.align(traces_with(), optimizer)
    assert aligned.instructions == "Whether {{ outputs }} answers {{ inputs }} well: without exclamation marks."
    assert (aligned.name, aligned.model, aligned.inference_params) == ("calm", "openai:/fake", {"temperature": 0})
    assert optimizer.result.gain.value == 1.0
    assert optimizer.result.calls == server.count
    assert aligned(inputs="Where?", outputs="Over there!").value is False


def test_fields_that_a_rewriting_lost_are_added(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")

    def forgetful(body):
        reply = instructed_judge(body)
        return "```\nWithout exclamation marks.\n```" if reply.startswith("```") else reply

    server.reply = forgetful
    instructions = "Whether {{ outputs }} answers {{ inputs }} well."
    judge = make_judge(
        "calm", instructions, model="openai:/fake", feedback_value_type=bool, base_url=f"{server.url}/chat/completions"
    )
    aligned = judge.align(traces_with(), PrincipleOptimizer(method="rewrite"))
    assert "Without exclamation marks." in aligned.instructions
    assert "{{ inputs }}" in aligned.instructions
    assert "{{ outputs }}" in aligned.instructions


def test_judges_that_cannot_be_aligned_are_refused():
    traces = traces_with(number=1)
    for judge in (make_judge("calm", "Read {{ trace }}.", model="openai:/fake"), Fluency(name="calm")):
        with pytest.raises(ConfigError, match="'calm' cannot be aligned"):
            judge.align(traces, PrincipleOptimizer(method="examples"))


def test_the_command_reads_an_experiments_feedback(server, tmp_path, monkeypatch, experiment):
    server.reply = literal_judge
    traces_with()
    monkeypatch.chdir(tmp_path)
    Path("P.md").write_text(VAGUE)
    where = {"RA_JUDGE_MODEL": "hosted_vllm/fake", "RA_JUDGE_API_BASE": server.url}
    rest = ("--principle", "P.md", "-o", "P2.md")
    invoke("align", f"mlflow:{experiment.name}#calm", *rest, **where)
    assert Principle.from_file("P2.md").text == REWRITTEN
    missing = invoke("align", "mlflow:none", "--principle", "P.md", "-o", "P3.md", code=2, **where)
    assert "There is no experiment 'none'" in missing.stderr


def test_fit_reads_them_too(experiment, tmp_path, monkeypatch):
    traces_with(number=4)
    monkeypatch.chdir(tmp_path)
    with FakeOpenAI() as unused:
        done = invoke(
            "fit", f"mlflow:{experiment.name}", "--principle", "Be calm.", "-o", "h.safetensors", code=2,
            RA_JUDGE_MODEL="hosted_vllm/fake", RA_JUDGE_API_BASE=unused.url,
        )  # fmt: skip
    assert "these labels have 0 pairs from 0 prompts" in done.stderr
