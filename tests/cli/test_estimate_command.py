"""``ra-judge estimate``: files in, corrected figures and rows to label out."""

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from checks import invoke as run
from checks import read_jsonl, write_jsonl

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.backends import Request, verdict_reply

ROWS = 200
Rows = list[dict[str, Any]]


def quality(number: int) -> int:
    return 1 + (number * 7 + number // 3) % 5


def judged(number: int) -> float:
    """A judge that is kind by 0.7 points, and errs."""
    return min(5.0, quality(number) + 0.7 + random.Random(number).uniform(-0.6, 0.6))


def graded(numbers: Iterable[int] = range(ROWS), **columns: Any) -> Rows:
    return [
        {
            "id": f"q{number}",
            "prompt": f"Prompt {number // 2}",
            "response": f"Answer {number}",
            "scores": {"response": judged(number)},
            "spread": {"response": 0.1 * (number % 4)},
            "error": None,
        }
        | columns
        for number in numbers
    ]


def fill(path: str) -> None:
    """Label the rows of a file as people would."""
    rows = read_jsonl(path)
    write_jsonl(path, [row | {"score": quality(int(row["response"].split()[1]))} for row in rows])


def estimated(*arguments: str, code: int = 0) -> dict[str, Any]:
    return json.loads(run("estimate", *arguments, "--json", code=code).stdout)


@pytest.fixture(autouse=True)
def in_folder(here: Path) -> None:
    """Every test has a working folder of its own."""


def test_from_a_draw_to_an_estimate_and_the_next_draw() -> None:
    truth = sum(map(quality, range(ROWS))) / ROWS
    write_jsonl("judged.jsonl", graded())
    printed = run("estimate", "judged.jsonl", "--next", "40", "-o", "labels.jsonl").stdout
    assert "Wrote 40 rows to label to labels.jsonl" in printed
    asked = read_jsonl("labels.jsonl")
    assert len(asked) == 40
    assert all(row["score"] is None and 0 < row["probability"] < 1 for row in asked)
    assert estimated("judged.jsonl", "--labels", "labels.jsonl", code=3)["unlabelled"] == 40
    fill("labels.jsonl")
    (first,) = estimated("judged.jsonl", "--labels", "labels.jsonl")["estimates"]
    found = first["result"]
    assert found["low"] <= truth <= found["high"] < found["judge_mean"]
    assert found["effective_n"] > 2 * found["n"] == 80
    assert [point["labels"] for point in first["plan"]] == [40, 80, 160, 200]

    report = estimated("judged.jsonl", "--labels", "labels.jsonl", "--next", "30", "-o", "more.jsonl")
    assert report["next"]["predicted"] < report["next"]["half_width"]
    rows = read_jsonl("more.jsonl")
    assert [row["score"] is None for row in rows] == [False] * 40 + [True] * 30
    before = {row["id"]: row["probability"] for row in read_jsonl("labels.jsonl")}
    assert all(row["probability"] > before.get(row["id"], 0) for row in rows)
    fill("more.jsonl")
    (second,) = estimated("judged.jsonl", "--labels", "more.jsonl")["estimates"]
    assert second["n"] == 70
    (both,) = estimated("judged.jsonl", "--labels", "more.jsonl", "--labels", "labels.jsonl")["estimates"]
    assert both["result"] == second["result"]
    assert second["result"]["low"] <= truth <= second["result"]["high"]
    assert (
        "exists; it may hold labels"
        in run("estimate", "judged.jsonl", "--labels", "more.jsonl", "--next", "5", "-o", "more.jsonl", code=2).stderr
    )
    Path("more.jsonl.draw.json").unlink()
    lost = run("estimate", "judged.jsonl", "--labels", "more.jsonl", "--next", "5", "-o", "third.jsonl", code=2)
    assert "the file with those of the other rows is missing" in lost.stderr


def test_the_text_has_the_figures_and_warns_of_what_is_left_out() -> None:
    failed = [{"id": "x", "prompt": "P", "response": "R", "scores": None, "spread": None, "error": "No reply"}]
    write_jsonl("judged.jsonl", [*graded(), *failed])
    own = [
        {"prompt": row["prompt"], "response": row["response"], "score": (quality(number) - 1) / 4}
        for number, row in enumerate(graded(range(12)))
    ]
    write_jsonl("labels.jsonl", [*own, {"prompt": "Unknown", "response": "R", "score": 0.5}])
    done = run("estimate", "judged.jsonl", "--labels", "labels.jsonl", "--scale", "0:1")
    assert "200 judged rows, 12 with labels (scores from 0 to 1, converted to 1 to 5). 95% intervals." in done.stdout
    assert "mean score" in done.stdout
    for warning in (
        "Only 6 prompts have labels.",
        "1 label belongs to no judged row, such as 'labels/13'.",
        "1 row could not be judged",
    ):
        assert warning in done.stderr


def test_systems_are_compared_and_a_winner_is_enough_for_a_rate() -> None:
    rows = [
        {
            "prompt": f"P{number}",
            "old": f"Old {number}",
            "new": f"New {number}",
            "scores": {"old": judged(number), "new": judged(number + 1)},
        }
        for number in range(120)
    ]
    write_jsonl("judged.jsonl", rows)
    pairs = [{"prompt": row["prompt"], "responses": {"x": row["new"], "y": row["old"]}} for row in rows[:60]]
    people = [(quality(number + 1), quality(number)) for number in range(60)]
    winners = ["x" if new > old else "y" if old > new else "tie" for new, old in people]
    write_jsonl("winners.jsonl", [row | {"winner": winner} for row, winner in zip(pairs, winners, strict=True)])
    by_name = {one["name"]: one for one in estimated("judged.jsonl", "--labels", "winners.jsonl")["estimates"]}
    assert list(by_name) == ["mean score old", "mean score new", "difference new - old", "win rate new over old"]
    rate = by_name["win rate new over old"]["result"]
    credit = {"x": 1.0, "y": 0.0, "tie": 0.5}
    assert rate["labels_only"]["value"] == pytest.approx(sum(credit[winner] for winner in winners) / 60)
    assert by_name["difference new - old"]["result"] is None

    scores = [row | {"human_scores": {"x": new, "y": old}} for row, (new, old) in zip(pairs, people, strict=True)]
    write_jsonl("scores.jsonl", scores)
    both = {one["name"]: one["result"] for one in estimated("judged.jsonl", "--labels", "scores.jsonl")["estimates"]}
    assert both["win rate new over old"] == rate
    assert both["difference new - old"]["labels_only"]["value"] == pytest.approx(
        sum(new - old for new, old in people) / 60
    )
    run("estimate", "judged.jsonl", "--labels", "winners.jsonl", "--next", "3", "-o", "next.jsonl")
    asked = read_jsonl("next.jsonl")
    assert asked[-1]["winner"] is None
    assert asked[-1]["responses"].keys() == {"old", "new"}
    assert [row["winner"] for row in asked[:60]] == [{"x": "new", "y": "old", "tie": "tie"}[won] for won in winners]


def test_criteria_of_a_rubric_have_estimates_and_their_own_labels() -> None:
    rows = graded(scores_clear={"response": 4.0}, scores_true={"response": 2.0}, principle="Be good.")
    write_jsonl("judged.jsonl", rows)
    run("estimate", "judged.jsonl", "--next", "20", "-o", "labels.jsonl")
    asked = read_jsonl("labels.jsonl")
    assert asked[0]["labels"] == {"clear": {"response": None}, "true": {"response": None}}
    rubric = {"criteria": {"clear": "Is clear.", "true": "Is true."}}
    answers = [{"clear": {"response": 3 + number % 2}, "true": {"response": 1}} for number in range(20)]
    write_jsonl(
        "labels.jsonl", [row | {"labels": each, "principle": rubric} for row, each in zip(asked, answers, strict=True)]
    )
    report = estimated("judged.jsonl", "--labels", "labels.jsonl")
    found = {one["criterion"]: one["result"] for one in report["estimates"]}
    assert found["clear"]["labels_only"]["value"] == pytest.approx(3.5, abs=0.1)
    assert found["clear"]["bias"]["value"] == pytest.approx(0.5, abs=0.1)
    assert found["true"]["value"] == pytest.approx(1)


def test_csv_and_a_store_are_judged_rows_too() -> None:
    cells = ["id,prompt,response,scores,spread,error,kind"]
    for row in graded():
        scores = json.dumps(row["scores"]).replace('"', '""')
        cells.append(f'{row["id"]},{row["prompt"]},{row["response"]},"{scores}",,,{"ab"[int(row["id"][1:]) % 2]}')
    Path("judged.csv").write_text("\n".join(cells))
    labels = [f"{row['id']},{row['prompt']},{row['response']},{quality(number)}" for number, row in enumerate(graded())]
    Path("labels.csv").write_text("\n".join(["id,prompt,response,score", *labels[:30]]))
    (one,) = estimated("judged.csv", "--labels", "labels.csv", "--stratify", "kind")["estimates"]
    assert one["n"] == 30

    def reply(request: Request) -> str:
        responses = json.loads(request.messages[1]["content"])["responses"]
        return verdict_reply({name: judged(int(text.split()[1])) for name, text in responses.items()})

    with Judge(ScriptedBackend(reply), store="verdicts.sqlite3") as judge:
        judge.judge_batch(
            [{"principle": "P", "prompt": row["prompt"], "responses": [row["response"]]} for row in graded(range(60))]
        )
    (stored,) = estimated("--store", "verdicts.sqlite3", "--labels", "labels.csv")["estimates"]
    assert (stored["n"], stored["principle"], stored["result"]["rows"]) == (30, "P", 60)


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        ({"id": "q1", "prompt": "Other", "response": "Answer 1", "score": 2}, "has another prompt than the judged row"),
        (
            {"id": "q1", "prompt": "Prompt 0", "response": "New", "score": 2},
            "is about another response than the judged",
        ),
        ({"prompt": "Prompt 0", "response": "New", "score": 2}, "None of the 1 labels belongs to a judged row"),
        ({"id": "q1", "prompt": "Prompt 0", "response": "Answer 1", "score": 9}, None),
        ({"id": "q1", "prompt": "Prompt 0", "response": "Answer 1", "score": float("nan")}, "must be a number"),
        ({"id": "q1", "prompt": "Prompt 0", "score": 2}, "has neither 'response' nor 'responses'"),
        (
            {"id": "q1", "prompt": "Prompt 0", "response": "Answer 1", "score": 2, "probability": 2},
            "'probability' must be a number above 0 and at most 1",
        ),
    ],
)
def test_labels_that_cannot_be_used_are_refused(label: dict[str, Any], problem: str | None) -> None:
    write_jsonl("judged.jsonl", graded())
    write_jsonl("labels.jsonl", [label])
    done = run("estimate", "judged.jsonl", "--labels", "labels.jsonl", code=2)
    assert (problem or "lies outside the scale 1 to 5") in done.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["judged.jsonl"], "There are no labels"),
        (["judged.jsonl", "--next", "3"], "Give --next and --out together"),
        (["judged.jsonl", "--next", "300", "-o", "x"], "Cannot draw 300 rows to label: 200 rows have no label"),
        (["nothing.jsonl", "--next", "3", "-o", "x"], "There is no file nothing.jsonl"),
        (["raw.jsonl", "--next", "3", "-o", "x"], "has no column 'scores'"),
        (["nan.jsonl", "--next", "3", "-o", "x"], "nan.jsonl, row 1, column 'scores': it must map labels to numbers"),
        (["judged.jsonl", "--next", "3", "-o", "x.csv"], "Rows to label are JSON lines"),
        (["judged.jsonl", "--store", "x", "--next", "3", "-o", "x"], "--store is for verdicts of a store"),
        (["judged.jsonl", "--stratify", "kind", "--next", "3", "-o", "x"], "no column 'kind' to stratify by"),
        (["judged.jsonl", "--labels", "raw.jsonl", "--confidence", "95"], "confidence must be above 0 and below 1"),
    ],
)
def test_what_the_command_cannot_do_it_says(arguments: list[str], problem: str) -> None:
    write_jsonl("judged.jsonl", graded())
    write_jsonl("nan.jsonl", graded([1], scores={"response": float("nan")}))
    write_jsonl("raw.jsonl", [{"id": "q1", "prompt": "Prompt 0", "response": "Answer 1", "score": 3}])
    assert problem in run("estimate", *arguments, code=2).stderr


# --- labels in other commands


def test_bench_judges_rows_without_a_label_too_and_corrects_their_mean() -> None:
    rows = [{"prompt": f"P{number}", "response": f"{2 + number % 3} points"} for number in range(60)]
    labelled = [row | {"score": 1 + number % 3} for number, row in enumerate(rows[:20])]
    write_jsonl("labels.jsonl", [*labelled, *rows[20:]])
    arguments = ("bench", "--labels", "labels.jsonl", "--principle", "Many points.")
    report = json.loads(run(*arguments, "--json").stdout)
    (one,) = report["estimates"]["estimates"]
    assert (one["n"], one["result"]["rows"], one["result"]["judge_mean"]) == (20, 60, pytest.approx(3))
    assert one["result"]["value"] == pytest.approx(2)
    text = run(*arguments).stdout
    assert "What people would say about all 60 rows of yours, from the labels of 20" in text
    write_jsonl("labels.jsonl", rows)
    assert "There are no labels in labels.jsonl" in run(*arguments, code=2).stderr


def test_check_takes_labels_from_the_settings_file_and_says_so() -> None:
    folder = Path("project")
    folder.mkdir()
    before = [{"id": str(n), "prompt": f"P{n}", "response": f"{2 + n % 3} points"} for n in range(60)]
    after = [
        row | {"response": row["response"] + "!"} for row in before
    ]  # the judge scores by number, and sees nothing
    scores = [(2 + n % 3, 1 + n % 3 + (n % 5 == 0)) for n in range(30)]
    labels = [
        {"prompt": row["prompt"], "response": row["response"], "score": score[side]}
        for side, rows in enumerate((before, after))
        for row, score in zip(rows, scores, strict=False)
    ]
    for name, rows in (("before", before), ("after", after), ("labels", labels)):
        write_jsonl(folder / f"{name}.jsonl", rows)
    (folder / "ra-judge.toml").write_text(
        '[check]\nbaseline = "before.jsonl"\ncandidate = "after.jsonl"\nlabels = ["labels.jsonl"]\n'
        '[[check.principles]]\ntext = "Many points."\n'
    )
    report = json.loads(run("check", "--config", "project/ra-judge.toml", "--json", code=1).stdout)
    assert report["comparisons"][0]["labels"] == 30
    assert "corrected with people's labels of 30 of 60 inputs (the judge alone: +0.00)" in report["reason"]
