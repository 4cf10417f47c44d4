"""``ra-judge grade`` and ``judge``, ``log`` and ``init`` under rubrics, with a real HTTP server."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from checks import complaint, errors_of, invoke, read_jsonl, write_jsonl
from grading import read_csv
from servers import FakeOpenAI, Fault

from rewardanything_core import Principle, Rubric

RUBRIC = """
name = "answers"
[criteria]
brief = "Is short."
[criteria.faithful]
text = "Every claim is supported."
weight = 2
required = 3
"""
RULES = ["--principle-file", "rubric.toml"]


@pytest.fixture
def here(here: Path, server: FakeOpenAI) -> Path:
    Path("rubric.toml").write_text(RUBRIC)
    write_jsonl("in.jsonl", rows(6))
    return here


def rows(n: int) -> list[dict[str, object]]:
    texts = [{"x": f"faithful={i % 5 + 1} brief=3", "y": "faithful=5 brief=2"} for i in range(n)]
    return [{"id": i, "prompt": f"q{i}", "responses": texts[i]} for i in range(n)]


def run(server: FakeOpenAI, command: str, *arguments: object, code: int = 0):
    judge = {"RA_JUDGE_MODEL": "hosted_vllm/fake", "RA_JUDGE_API_BASE": server.url}
    return invoke(command, *arguments, code=code, RA_JUDGE_RETRIES="0", **judge)


def test_every_criterion_has_columns_and_a_line_in_the_summary(here, server):
    done = run(server, "grade", "in.jsonl", "-o", "out.jsonl", *RULES)
    assert server.count == 6  # one request for all criteria
    row = read_jsonl("out.jsonl")[1]
    assert (row["scores_faithful"], row["scores_brief"]) == ({"x": 2, "y": 5}, {"x": 3, "y": 2})
    assert row["scores"] == {"x": 1.0, "y": 4.0} and row["missed"] == {"x": ["faithful"]}
    assert "By faithful" in row["reasoning_faithful"] and "By brief" in row["reasoning_brief"]
    assert "  brief: mean score 2.50\n" in done.stderr
    assert "  faithful: mean score 3.83, 3 responses below the required 3\n" in done.stderr
    # Another weight is another result, so the file is not continued; the store has the verdicts.
    Path("rubric.toml").write_text(RUBRIC.replace("weight = 2", "weight = 3"))
    assert "begun with another principle" in errors_of(
        run(server, "grade", "in.jsonl", "-o", "out.jsonl", *RULES, code=2)
    )
    run(server, "grade", "in.jsonl", "-o", "other.jsonl", *RULES)
    assert read_jsonl("other.jsonl")[2]["scores"]["y"] == pytest.approx((3 * 5 + 2) / 4)
    assert server.count == 6


def test_a_reply_without_one_criterion_fails_its_row_and_costs_no_other(here, server):
    def reply(body) -> str | None:
        if '"q2"' not in body["messages"][-1]["content"]:
            return None
        return json.dumps({"faithful": {"reasoning": "r", "scores": {"model-1": 3, "model-2": 3}}})

    server.reply = reply
    server.plan = [Fault.status(500)]  # is retried by the client
    done = run(server, "grade", "in.jsonl", "-o", "out.csv", *RULES, code=3)
    assert "5 judged, 0 from the store, 1 failed" in done.stderr
    out = read_csv("out.csv")
    (failed,) = [row for row in out if row["error"]]
    assert "brief" in failed["error"] and failed["id"] == "2"
    assert failed["scores_faithful"] == failed["reasoning_brief"] == failed["missed"] == ""
    assert json.loads(out[1]["scores_brief"]) == {"x": 3, "y": 2}
    server.reply = None
    again = run(server, "grade", "in.jsonl", "-o", "out.csv", *RULES, "--retry-failed")
    assert "faithful: mean score 3.83" in again.stderr  # rows of the first run count too
    assert not any(row["error"] for row in read_csv("out.csv"))


def test_parquet_has_typed_columns_and_can_be_continued(here, server):
    import pyarrow.parquet

    run(server, "grade", "in.jsonl", "-o", "out.parquet", "--limit", "3", *RULES)
    run(server, "grade", "in.jsonl", "-o", "out.parquet", "--prefix", "", *RULES)
    table = pyarrow.parquet.read_table("out.parquet")
    types = {field.name: str(field.type).replace(" ('", "<").partition("<")[0] for field in table.schema}
    assert (types["scores_faithful"], types["reasoning_faithful"], types["missed"]) == ("map", "string", "map")
    out = table.to_pylist(maps_as_pydicts="strict")
    assert [row["scores_faithful"]["x"] for row in out] == [1, 2, 3, 4, 5, 1]
    assert out[0]["missed"] == {"x": ["faithful"]} and out[3]["missed"] == {}


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_rows_may_have_rubrics_of_their_own(here, server, suffix):
    rubric = {"criteria": {"brief": {"text": "Is short.", "weight": 2}}}
    rules = [rubric, json.dumps(rubric), "Be kind.", '{"criteria": {}}', "{not JSON"]
    made = [{**row, "rule": rule} for row, rule in zip(rows(5), rules, strict=True)]
    if suffix == "jsonl":
        write_jsonl("own.jsonl", made)
    elif suffix == "csv":
        with Path("own.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, made[0])
            writer.writeheader()
            cells = [{k: v if isinstance(v, str | int) else json.dumps(v) for k, v in row.items()} for row in made]
            writer.writerows(cells)
    else:
        import pyarrow.parquet

        nullable = {"criteria": {"brief": {"text": "Is short.", "weight": 2, "required": None}, "kind": None}}
        other = {"criteria": {"brief": None, "kind": {"text": "Is kind.", "weight": None, "required": 3.0}}}
        made = [{**row, "rule": rule} for row, rule in zip(rows(2), (nullable, other), strict=True)]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(made), "own.parquet")
    run(
        server,
        "grade",
        f"own.{suffix}",
        "-o",
        "out.jsonl",
        "--principle-column",
        "rule",
        code=0 if suffix == "parquet" else 3,
    )
    out = read_jsonl("out.jsonl")
    assert out[0]["criteria"]["brief"]["scores"] == {"x": 3, "y": 2}
    assert "By brief" in out[0]["criteria"]["brief"]["reasoning"]
    if suffix == "parquet":
        assert list(out[1]["criteria"]) == ["kind"]
        return
    assert out[1]["criteria"]["brief"]["scores"] == {"x": 3, "y": 2}
    assert out[2]["criteria"] is None and out[2]["error"] is None
    assert "one criterion or more" in out[3]["error"]
    assert "'rule' begins with { and is not valid JSON" in out[4]["error"]


def test_mistakes_are_found_before_anything_is_judged(here, server):
    write_jsonl("taken.jsonl", [{**rows(1)[0], "scores_brief": 1}])
    for arguments, message in [
        (["taken.jsonl", *RULES], "already has a column 'scores_brief'"),
        (["in.jsonl", "--principle", "rubric.toml"], "Use --principle-file"),
        (["in.jsonl", "--principle-name", "ragg"], "There is no principle or rubric named 'ragg'"),
    ]:
        assert message in complaint("grade", *arguments, "-o", "out.jsonl")
    Path("rubric.toml").write_text("[criteria]\nbrief = 3")
    assert "rubric.toml is invalid: The criterion 'brief'" in complaint("grade", "in.jsonl", "-o", "o.jsonl", *RULES)
    assert server.count == 0


def test_many_criteria_with_any_names(here, server):
    names = ["id", "scores", "正確", "a`b", 'quote "x"', "a,b", "=SUM(1)", "x" * 64, *map(str, range(22))]
    Path("rubric.json").write_text(json.dumps({"criteria": dict.fromkeys(names, "Good.")}))
    run(server, "grade", "in.jsonl", "-o", "out.csv", "--principle-file", "rubric.json", "--excel-safe")
    run(server, "grade", "in.jsonl", "-o", "out.csv", "--principle-file", "rubric.json", "--excel-safe")
    (row, *_) = read_csv("out.csv")
    assert len(row) == 3 + 9 + 2 * len(names)
    assert all(json.loads(row[f"scores_{name}"]) for name in names)


def test_judge_and_log_show_scores_by_criterion(here, server):
    answers = ["faithful=2 brief=5", "faithful=4 brief=3"]
    shown = run(server, "judge", *answers, "--prompt", "q", *RULES).stdout
    assert "CRITERION\tWEIGHT\tB\tA\n" in shown
    assert "faithful (at least 3)\t2\t4.00\t2.00\n" in shown
    assert "Response A misses what the rubric requires: faithful (2)." in shown
    verdict = json.loads(run(server, "judge", *answers, "--prompt", "q", *RULES, "--json").stdout)
    assert verdict["criteria"]["brief"]["scores"] == {"A": 5, "B": 3}
    log = invoke("log", "--show", verdict["record_id"]).stdout
    assert "## Criteria" in log and "brief\t1\t3.00\t5.00" in log and "[faithful]\nBy faithful" in log


def test_init_writes_a_rubric_to_edit(here, server):
    run(server, "init", "new", "--rubric", "rag", "--model", "openai/fake", "--yes")
    written, named = Principle.from_file("new/rubric.md"), Rubric.named("rag")
    assert isinstance(written, Rubric)
    for name, criterion in named.criteria.items():
        ours = written.criteria[name]
        assert ours.text.split() == criterion.text.split()
        assert (ours.weight, ours.required, ours.kind, ours.anchors) == (
            criterion.weight,
            criterion.required,
            criterion.kind,
            criterion.anchors,
        )
    assert 'file = "rubric.md"' in Path("new/ra-judge.toml").read_text()
