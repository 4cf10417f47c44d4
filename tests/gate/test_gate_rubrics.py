"""The gate under rubrics: one judgement for all criteria, and a comparison for each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checks import complaint, invoke, read_jsonl, write_jsonl
from servers import FakeOpenAI

from rewardanything_core import BaseJudge, ConfigError, Judge, Jury, Rubric, from_endpoint
from rewardanything_core.gate import CheckReport, Comparison, Requirement, check
from rewardanything_core.gate.reports.html import html_report
from rewardanything_core.gate.reports.junit import junit_report
from rewardanything_core.gate.reports.markdown import markdown_report
from rewardanything_core.gate.reports.terminal import terminal_report

RUBRIC = Rubric({"faithful": "Every claim is supported.", "brief": "Is short."}, weights={"faithful": 2}, name="rag")
N = 24
MARGIN = 0.8  # 24 cases can rule it out


def rows(text: str = "faithful=4 brief=4", number: int = N, **worse: str) -> list[dict[str, object]]:
    """Rows whose answers name their scores; ``worse``: the texts of every sixth row."""
    return [
        {"id": i, "prompt": f"q{i}", "response": f"{worse.get('sixth', text) if i % 6 == 0 else text} {i:02}"}
        for i in range(number)
    ]


def judge(server: FakeOpenAI, **options: object) -> Judge:
    return from_endpoint("hosted_vllm/fake", api_base=server.url, cache="off", retries=0, **options)


def compare(*sides_and_principles: object, judge: BaseJudge, **settings: object) -> CheckReport:
    return check(*sides_and_principles, judge=judge, margin=MARGIN, **settings)  # type: ignore[arg-type]


def by_name(report: CheckReport) -> dict[str, Comparison]:
    return {comparison.requirement.name: comparison for comparison in report.comparisons}


def test_each_criterion_is_a_comparison_and_costs_no_further_judgement(server) -> None:
    report = compare(rows(), rows("faithful=1 brief=5"), RUBRIC, judge=judge(server))
    found = by_name(report)
    assert list(found) == ["rag", "rag: faithful", "rag: brief"]
    assert [comparison.outcome for comparison in found.values()] == ["regression", "regression", "passed"]
    assert [comparison.difference for comparison in found.values()] == [pytest.approx((-6 + 1) / 3), -3, 1]
    assert sorted(comparison.level for comparison in found.values()) == [pytest.approx(0.05 / n) for n in (3, 2, 1)]
    assert server.count == 4 * N  # two orders, and two fresh ones that confirm
    (pair, *_) = report.of(found["rag: faithful"])
    assert pair.baseline_score == 4 and "By faithful" in pair.reasoning and "By brief" not in pair.reasoning
    assert all("By brief" in pair.reasoning and "By faithful" in pair.reasoning for pair in report.of(found["rag"]))


def test_a_drop_under_one_criterion_is_found_where_the_whole_rises(server) -> None:
    report = compare(rows("faithful=4 brief=4"), rows("faithful=5 brief=3"), RUBRIC, judge=judge(server))
    outcomes = {name: comparison.outcome for name, comparison in by_name(report).items()}
    assert outcomes == {"rag": "passed", "rag: faithful": "passed", "rag: brief": "regression"}
    assert report.outcome == "regression" and "rag: brief (candidate)" in report.reason


def test_a_missed_requirement_counts_in_the_whole(server) -> None:
    strict = Rubric(RUBRIC.criteria, required={"faithful": 3}, name="rag")
    report = compare(rows(), rows(sixth="faithful=2 brief=4"), strict, judge=judge(server))
    whole = by_name(report)["rag"]
    assert whole.difference == pytest.approx(-3 / 6)  # from 4 to 1 in every sixth case
    assert {pair.missed for pair in report.of(whole)} == {(), ("faithful",)}
    for text in (terminal_report(report), markdown_report(report), html_report(report), junit_report(report)):
        assert "4 answers of the candidate miss what the rubric requires" in " ".join(text.split())


def test_margins_and_minimums_by_criterion(server) -> None:
    requirement = Requirement(principle=RUBRIC, margin=MARGIN, margins={"brief": 1.5}, min_scores={"faithful": 4.5})
    report = compare(rows(), rows("faithful=4 brief=3"), requirement, judge=judge(server))
    found = by_name(report)
    assert found["rag: brief"].outcome == "passed" and found["rag: brief"].requirement.margin == 1.5
    assert found["rag: faithful"].outcome == "regression"
    assert "below the required 4.5" in found["rag: faithful"].reason


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        (Requirement(principle=RUBRIC, margin=MARGIN, margins={"breif": 1}), "'breif'; it has: faithful, brief"),
        (Requirement(principle=RUBRIC, margin=MARGIN, margins={"brief": 0}), "'rag: brief' must be above 0"),
        (Requirement(principle=RUBRIC, margin=MARGIN, min_scores={"brief": 6}), "within 1..5, not 6"),
        ([RUBRIC, Rubric({"x": "y"}, name="rag")], "Two principles have the name 'rag'"),
    ],
)
def test_mistakes_are_reported_before_anything_is_judged(server, requirement, message) -> None:
    with pytest.raises(ConfigError, match=message):
        compare(rows(), rows(), requirement, judge=judge(server))
    assert server.count == 0


def test_a_reply_without_a_criterion_is_one_failure_and_no_score(server) -> None:
    partial = json.dumps({"faithful": {"reasoning": "r", "scores": {"model-1": 3, "model-2": 3}}})
    server.reply = lambda body: partial if '"q7"' in body["messages"][-1]["content"] else None
    report = compare(rows(), rows("faithful=5 brief=4"), RUBRIC, judge=judge(server))
    assert [pair.id for pair in report.failures] == ["7"]
    assert [comparison.failures for comparison in report.comparisons] == [1, 1, 1]
    assert [comparison.cases for comparison in report.comparisons] == [N - 1] * 3
    assert junit_report(report).count("7 was judged") == 1
    assert "1 pair of answers" in terminal_report(report)


LONG = "is an answer of a length that is no longer one sentence, since halves of short answers are answers still."


def test_a_control_is_judged_once_and_noticed_under_any_criterion(server) -> None:
    def notices(body) -> str | None:
        """Cut answers lose three points of ``complete`` and gain one of ``brief``."""
        (case,) = [json.loads(m["content"]) for m in body["messages"] if m["role"] == "user"]
        cut = {name: "still." not in text for name, text in case["responses"].items()}
        scores = {"complete": {n: 5 - 3 * c for n, c in cut.items()}, "brief": {n: 2 + c for n, c in cut.items()}}
        return json.dumps({key: {"reasoning": "r", "scores": scores[key]} for key in case["rubric"]})

    rubric = Rubric({"complete": "Is complete.", "brief": "Is short."}, weights={"brief": 3}, name="r")
    server.reply = notices
    sides = rows(f"old {LONG}"), rows(f"new {LONG}")
    report = compare(*sides, rubric, judge=judge(server), controls="cut")
    assert report.outcome == "passed"
    assert server.count == 2 * N + 2 * 12
    assert {control.criterion for each in report.comparisons for control in each.controls} == {"complete"}
    assert "cut -3.00 (12 inputs), noticed under complete" in " ".join(terminal_report(report).split())
    server.reply = None
    report = compare(*sides, rubric, judge=judge(server), controls="rude")
    assert report.outcome == "inconclusive" and "would not have seen it" in report.comparisons[0].reason


def test_rubrics_and_principles_candidates_and_juries_mix(server) -> None:
    jury = Jury([judge(server), judge(server, seed=1)])
    candidates = {"one": rows("faithful=4 brief=5"), "two": rows("faithful=5 brief=4")}
    report = compare(rows(), candidates, [RUBRIC, "Be right."], judge=jury)
    assert len(report.comparisons) == 2 * 4 and report.outcome == "passed"
    assert by_name(report)["rag: brief"].candidate_score == 4.0  # of the second candidate


def test_criteria_judged_separately_have_a_whole_with_noise_too(server) -> None:
    report = compare(rows("3"), rows("4"), RUBRIC, judge=judge(server, criteria="separate"))
    assert report.outcome == "passed" and server.count == 2 * 2 * N
    assert {comparison.noise.deviation for comparison in report.comparisons if comparison.noise} == {0.0}
    assert all(comparison.noise for comparison in report.comparisons)


def test_every_report_shows_the_criteria(server) -> None:
    many = Rubric({f"c{n} <b>": "Good." for n in range(30)}, name="many")
    report = compare(rows("4", 6), rows("2", 6), many, judge=judge(server))
    plain = json.loads(json.dumps(report.to_dict()))
    assert [each["requirement"]["criterion"] for each in plain["comparisons"]] == [None, *many.criteria]
    assert plain["comparisons"][1]["requirement"]["principle"] == {"name": "many", "text": "Good."}
    for text in (terminal_report(report), markdown_report(report, limit=60_000), html_report(report)):
        assert all(f"c{n} " in text for n in range(30))
    assert "<b>" not in markdown_report(report).replace("<b>many", "").split("<details>")[0]
    assert junit_report(report).count("<testsuite ") == 31


# --- the command

SETTINGS = """
[check]
baseline = "a.jsonl"
[[check.principles]]
file = "rag.toml"
margin = 0.8
margins = { brief = 3.5 }
min_scores = { faithful = 3.5 }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("rag.toml").write_text('[criteria]\nbrief = "Is short."\nfaithful = "Every claim is supported."')
    Path("ra-judge.toml").write_text(SETTINGS)
    write_jsonl("a.jsonl", rows())
    write_jsonl("b.jsonl", rows("faithful=4 brief=2"))
    return tmp_path


def run(server: FakeOpenAI, *arguments: object, code: int = 0):
    return invoke(*arguments, code=code, RA_JUDGE_MODEL="hosted_vllm/fake", RA_JUDGE_API_BASE=server.url)


def test_the_command_reads_rubrics_and_their_margins(folder, server) -> None:
    report = json.loads(run(server, "check", "--candidate", "b.jsonl", "--json", code=1).stdout)
    found = {each["requirement"]["name"]: each for each in report["comparisons"]}
    assert {name: each["requirement"]["margin"] for name, each in found.items()} == {
        "rag": 0.8,
        "rag: brief": 3.5,
        "rag: faithful": 0.8,
    }
    assert found["rag: brief"]["outcome"] == "passed" and found["rag: faithful"]["requirement"]["min_score"] == 3.5
    # An option applies to every comparison.
    shown = run(server, "check", "--candidate", "b.jsonl", "--margin", "0.7", code=1).stdout
    assert "rag: brief     regression" in shown
    assert server.count == 4 * N
    Path("ra-judge.toml").write_text(SETTINGS.replace("{ brief = 3.5 }", '{ brief = "3" }'))
    assert "'margins'" in complaint("check", "--candidate", "b.jsonl")
    Path("ra-judge.toml").write_text(SETTINGS.replace("{ brief = 3.5 }", "{ breif = 2 }"))
    assert "'breif'; it has: brief, faithful" in complaint("check", "--candidate", "b.jsonl")


def test_a_baseline_records_scores_by_criterion(folder, server) -> None:
    Path("rubric_app.py").write_text("def answer(case):\n    return 'faithful=4 brief=2'")
    write_jsonl("cases.jsonl", [{"id": "x", "prompt": "q"}, {"id": "y", "prompt": "r"}])
    command = ["baseline", "-o", "new.jsonl", "--dataset", "cases.jsonl", "--app", "rubric_app:answer"]
    done = run(server, *command)
    (row, _) = read_jsonl("new.jsonl")
    assert (row["verdicts"]["rag"]["score"], row["verdicts"]["rag"]["criteria"]) == (3.0, {"brief": 2, "faithful": 4})
    assert "rag: brief: mean score 2.00" in done.stderr
    again = run(server, *command, "--update")
    assert "0 judged" in again.stderr and "rag: brief: mean score 2.00, 2.00 before" in again.stderr
    Path("rag.toml").write_text(Path("rag.toml").read_text() + "\n[weights]\nbrief = 3")
    run(server, *command, "--update")
    assert read_jsonl("new.jsonl")[0]["verdicts"]["rag"]["score"] == 2.5
    assert server.count == 2  # other weights need no judgement
