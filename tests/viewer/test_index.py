"""The index: it finds what a look at every record finds, keeps up with writers, and survives what happens to files."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from check_reports import a_pair, a_report
from checks import invoke
from viewing import client_of, entry

from rewardanything_core import Case
from rewardanything_core.errors import ConfigError, StoreError
from rewardanything_core.store.labels import Label
from rewardanything_core.store.verdict_store import Record, VerdictStore
from rewardanything_core.types import JudgeFailure
from rewardanything_core.viewer.filters import SORTS, Filters
from rewardanything_core.viewer.viewer import Viewer

WORDS = "moon star far near bright dim".split()


def many(path: Path, number: int = 150) -> list[Record]:
    """A store with verdicts on random texts by three judges under three principles, and failures; its records."""
    rng = random.Random(7)
    with VerdictStore(path) as store:
        for place in range(number):
            texts = [" ".join(rng.choices(WORDS, k=3)) for _ in range(rng.choice((1, 2, 3)))]
            made = entry(place, texts, principle=f"Principle {place % 3}", prompt=" ".join(rng.choices(WORDS, k=4)))
            model = f"judge/{rng.randrange(3)}"
            if place % 10 == 9:
                failure = JudgeFailure(case_id=None, error_type=f"Error{place % 4}", message="failed")
                store.put_failure(made.case, failure, model=model, template_hash="0", settings={})
            else:
                store.put(type(made)(**{**vars(made), "model": model}))
        return list(store.entries(kind="all"))


@pytest.fixture
def shown(own_store: Path):
    records = many(own_store)
    viewer = Viewer([own_store])
    viewer.follower.catch_up()
    yield viewer, records
    viewer.close()


def listed(viewer: Viewer, filters: Filters, size: int = 7) -> list[str]:
    """The record ids of all pages."""
    found, after = [], ""
    while True:
        page = viewer.listing.page(filters, viewer.source_numbers, after=after, size=size)
        found += [row.record_id for row in page.rows]
        if not (after := page.following):
            return found


def lowest(record: Record) -> float:
    return min(record.verdict.scores.values()) if record.verdict else float("nan")


def has(record: Record, *words: str) -> bool:
    text = f"{record.case.prompt} {' '.join(record.case.texts.values())} {record.case.id}"
    return all(word in text.split() for word in words)


@pytest.mark.parametrize(
    ("query", "test"),
    [
        ({}, lambda record: True),
        ({"model": "judge/1"}, lambda record: record.model == "judge/1"),
        ({"failure": "any"}, lambda record: record.failure),
        ({"failure": "none"}, lambda record: record.verdict),
        ({"failure": "Error1"}, lambda record: record.failure and record.failure.error_type == "Error1"),
        ({"min": "2", "max": "3"}, lambda record: 2 <= lowest(record) <= 3),
        ({"spread": "1"}, lambda record: record.verdict and max(record.verdict.spread.values()) >= 1),
        ({"q": "moon dim"}, lambda record: has(record, "moon", "dim")),
        (
            {"q": "star", "model": "judge/0", "max": "2"},
            lambda record: has(record, "star") and record.model == "judge/0" and lowest(record) <= 2,
        ),
        ({"since": "2020-01-01", "until": "2020-01-02"}, lambda record: False),
    ],
)
def test_filters_find_what_a_look_at_every_record_finds(shown, query, test) -> None:
    viewer, records = shown
    expected = [record.record_id for record in records if test(record)]
    assert listed(viewer, Filters.of(query)) == expected
    assert viewer.listing.count(Filters.of(query), viewer.source_numbers) == len(expected)


@pytest.mark.parametrize("sort", sorted(set(SORTS) - {"newest"}))
def test_every_order_lists_each_verdict_once(shown, sort) -> None:
    viewer, records = shown
    found = listed(viewer, Filters(sort=sort, failure="none"))
    wanted = {record.record_id for record in records if record.verdict}
    if sort == "spread":
        wanted = {record.record_id for record in records if record.verdict and max(record.verdict.spread.values())}
    assert len(found) == len(wanted) and set(found) == wanted
    by_id = {record.record_id: record for record in records}
    if sort == "low":
        assert [lowest(by_id[one]) for one in found] == sorted(lowest(by_id[one]) for one in found)


def test_older_and_newer_go_through_the_filtered_list(shown) -> None:
    viewer, _ = shown
    filters = Filters(model="judge/2")
    ids = listed(viewer, filters)
    for place in (0, 3, len(ids) - 1):
        entry_id = viewer.listing.find(ids[place])
        newer, older = viewer.listing.neighbours(filters, viewer.source_numbers, entry_id)
        assert newer == (ids[place - 1] if place else "")
        assert older == (ids[place + 1] if place + 1 < len(ids) else "")


def test_a_large_store_shows_its_newest_verdicts_first(own_store: Path, monkeypatch) -> None:
    monkeypatch.setattr("rewardanything_core.viewer.follower._FIRST_BATCH", 20)
    monkeypatch.setattr("rewardanything_core.viewer.follower._BATCH", 50)
    records = many(own_store)
    viewer = Viewer([own_store])
    assert viewer.follower.step()
    assert listed(viewer, Filters()) == [record.record_id for record in records[:20]]
    with VerdictStore(own_store) as store:
        store.put(entry(900, ["a"]))
        assert viewer.follower.step()
        assert listed(viewer, Filters())[0] == entry(900, ["a"]).record_id
    viewer.follower.catch_up()
    assert len(listed(viewer, Filters())) == 151 == viewer.follower.indexed
    viewer.close()
    with VerdictStore(own_store) as store:
        store.put_many(entry(number, ["late"]) for number in range(1000, 1100))
    again = Viewer([own_store])  # what came in the meantime is shown from its end too
    assert again.follower.step()
    assert listed(again, Filters())[0] == entry(1099, ["late"]).record_id
    again.follower.catch_up()
    assert len(set(listed(again, Filters()))) == 251 == again.follower.indexed
    again.close()
    again = Viewer([own_store])  # nothing is indexed twice
    assert not again.follower.step()
    assert len(listed(again, Filters())) == 251
    again.close()


def test_a_replaced_store_and_a_damaged_index_are_read_again(own_store: Path) -> None:
    many(own_store, 30)
    viewer = Viewer([own_store])
    viewer.follower.catch_up()
    index = viewer.index.path
    viewer.close()
    for suffix in ("", "-wal", "-shm"):
        own_store.with_name(own_store.name + suffix).unlink(missing_ok=True)
    with VerdictStore(own_store) as store:
        store.put(entry(1000, ["moon"]))
    viewer = Viewer([own_store])
    viewer.follower.catch_up()
    assert listed(viewer, Filters()) == [entry(1000, ["moon"]).record_id] == listed(viewer, Filters(q="moon"))
    viewer.close()
    index.write_bytes(b"no database" * 1000)
    viewer = Viewer([own_store])
    viewer.follower.catch_up()
    assert len(listed(viewer, Filters())) == 1
    viewer.close()


def test_a_record_that_cannot_be_read_fails_alone(own_store: Path) -> None:
    many(own_store, 12)
    connection = sqlite3.connect(own_store)
    connection.execute("UPDATE records SET verdict = '{}' WHERE seq = 3")
    connection.commit()
    connection.close()
    viewer = Viewer([own_store])
    viewer.follower.catch_up()
    assert len(listed(viewer, Filters())) == 12
    (bad,) = listed(viewer, Filters(failure="Unreadable"))
    with pytest.raises(StoreError, match="cannot be read"):
        viewer.record(bad)
    viewer.close()


def test_a_writer_is_never_held_up(own_store: Path) -> None:
    """A run writes while the viewer reads and people label: nobody waits for the other, and nothing is lost."""
    VerdictStore(own_store).close()
    viewer = Viewer([own_store])
    viewer.start()
    slowest = 0.0

    def write() -> None:
        nonlocal slowest
        with VerdictStore(own_store) as store:
            for number in range(300):
                started = time.monotonic()
                store.put(entry(number, ["a", "b"]))
                slowest = max(slowest, time.monotonic() - started)

    writer = threading.Thread(target=write)
    writer.start()
    for number in range(30):
        viewer.add_label(
            Label(case=Case("p", f"question {number}", {"a": "x"}), person="Ann", scores={"a": 1 + number % 5})
        )
        viewer.listing.page(Filters(), viewer.source_numbers)
    writer.join()
    viewer.follower.stop()
    viewer.follower.catch_up()
    assert slowest < 20  # well below the 30 s after which a locked store is an error
    assert len(listed(viewer, Filters(), size=50)) == 300
    assert viewer.labels and len(viewer.labels.all()) == 30
    viewer.close()


def test_verdicts_are_compared_with_labels_that_come_before_or_after_them(own_store: Path) -> None:
    made = entry(3, ["far", "near"])  # 4 and 1
    with VerdictStore(own_store) as store:
        store.put(made)
        viewer = Viewer([own_store])
        viewer.follower.catch_up()
        relabelled = Case(made.case.principle, made.case.prompt, {"x": "near", "y": "far"})
        number = viewer.add_label(Label(case=relabelled, person="Ann", scores={"x": 2.0, "y": 4.0}))
        store.labels.add(Label(case=relabelled, person="Bob", winner="x"))  # another process
        store.put(type(made)(**{**vars(made), "key": "e" * 64, "model": "late/judge"}))
        viewer.follower.catch_up()
        rows = viewer.listing.page(Filters(disagree="label", by=1), viewer.source_numbers).rows
        assert [(row.model, row.gap) for row in rows] == [("late/judge", 4.0), ("made/up", 4.0)]
        store.labels.undo("Bob")
        viewer.follower.refresh_labels()
        rows = viewer.listing.page(Filters(label="yes"), viewer.source_numbers).rows
        assert [row.gap for row in rows] == [1.0, 1.0]
        assert number == 1 and viewer.labels and viewer.labels.count("Ann") == 1 == viewer.labels.count()
    viewer.close()


def test_a_killed_viewer_loses_no_label(own_store: Path) -> None:
    many(own_store, 40)
    command = [Path(sys.executable).with_name("ra-judge"), "view", "--no-open", str(own_store)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    link = next(line.split()[1] for line in process.stderr if line.startswith("Open "))
    base = link.partition("/?")[0]
    saved = []
    with httpx.Client(follow_redirects=True, headers={"origin": base}) as client:
        client.get(link)
        with VerdictStore(own_store) as store:
            for number, record in enumerate(store.entries(limit=12)):
                scores = {f"score-{place}": "3" for place in range(len(record.case.labels))}
                form = {"person": "Ann", "record": record.record_id, "blind": "1", "choice": "score", **scores}
                assert client.post(f"{base}/label", data=form).status_code == 200
                saved.append(record.case.id)
                if number == 10:
                    os.kill(process.pid, signal.SIGKILL)
                    break
    process.wait()
    process.stderr.close()
    with VerdictStore(own_store) as store:
        assert [label.case.id for label in store.labels.all()] == saved
        assert len(saved) == 11


# --- files


def graded(path: Path, rows: list[dict], **settings: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path.with_name(path.name + ".run.json").write_text(json.dumps(settings))
    return path


ROW = {
    "id": "q1",
    "prompt": "How far?",
    "responses": {"a": "Far.", "b": "Near."},
    "scores": {"a": 4, "b": 2},
    "error": None,
}


def test_the_output_of_grade_is_shown_and_followed(tmp_path: Path) -> None:
    failed = {**ROW, "id": "q2", "scores": None, "error": "ParseError: no"}
    settings = {"principle": "Be brief.", "model": "m/1", "prefix": "", "columns": {"id": "id"}}
    left = {**failed, "id": "q0", "error": "Abstained: no stage was sure"}
    path = graded(tmp_path / "judged.jsonl", [left, ROW, failed], **settings)
    viewer = Viewer([path])
    viewer.follower.catch_up()
    to_label = viewer.next_to_label(Filters(sort="tension"), "Ann")
    assert to_label and to_label.case.id == "q0"  # what a cascade left to a person comes first
    assert [row.case_id for row in viewer.listing.page(Filters(), viewer.source_numbers).rows] == ["q2", "q1", "q0"]
    with path.open("a") as file:
        file.write(json.dumps({**ROW, "id": "q3"}) + "\n" + '{"id": "half a line')
    viewer.follower.catch_up()
    rows = viewer.listing.page(Filters(source="judged.jsonl"), viewer.source_numbers).rows
    assert [(row.case_id, row.failure) for row in rows] == [
        ("q3", ""),
        ("q2", "ParseError"),
        ("q1", ""),
        ("q0", "AbstainedError"),
    ]
    found = viewer.record(rows[0].record_id)
    assert found and found[1].case.principle.text == "Be brief." and found[1].verdict
    assert found[1].verdict.scores == {"a": 4.0, "b": 2.0}
    viewer.close()


@pytest.mark.parametrize("cache", ["on", "off"])
def test_what_grade_wrote_has_the_stores_verdicts_where_there_is_one(own_store, tmp_path, monkeypatch, cache) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"id": n, "prompt": f"question {n}", "responses": {"a": "far", "b": "near it"}} for n in range(3)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    principle = ["--principle", "Be brief.", "--id-column", "id", "--passes", "2", "--cache", cache]
    done = invoke(
        "grade",
        "rows.jsonl",
        "-o",
        "judged.jsonl",
        *principle,
        RA_JUDGE_MODEL="scripted:viewing:by_length",
        RA_JUDGE_STORE=str(own_store),
    )
    assert done.code == 0, done.stderr
    viewer = Viewer(["judged.jsonl"])
    viewer.follower.catch_up()
    row = viewer.listing.page(Filters(), viewer.source_numbers).rows[0]
    found = viewer.record(row.record_id)
    assert found and found[1].verdict
    assert (row.case_id, dict(row.scores)) == ("2", found[1].verdict.scores)
    assert len(found[1].verdict.pass_scores) == (2 if cache == "on" else 0)
    assert found[1].verdict.reasoning
    viewer.close()


def test_rows_that_estimate_drew_are_labelled_and_exported_with_their_probability(own_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"id": f"q{n}", "prompt": f"question {n}", "response": "x " * n} for n in range(1, 13)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    principle = ["--principle", "Be brief.", "--id-column", "id"]
    assert (
        invoke(
            "grade", "rows.jsonl", "-o", "judged.jsonl", *principle, RA_JUDGE_MODEL="scripted:viewing:by_length"
        ).code
        == 0
    )
    assert invoke("estimate", "judged.jsonl", "--next", "5", "-o", "next.jsonl").code == 0
    drawn = [json.loads(line) for line in Path("next.jsonl").read_text().splitlines()]
    viewer = Viewer(["next.jsonl"])
    viewer.follower.catch_up()
    for _ in range(5):
        record = viewer.next_to_label(Filters(sort="tension"), "Ann")
        assert record
        viewer.add_label(Label(case=record.case, person="Ann", scores={record.case.labels[0]: 3.0}))
    assert viewer.next_to_label(Filters(sort="tension"), "Ann") is None
    with client_of(viewer) as client:
        Path("labels.jsonl").write_bytes(client.get("/labels.jsonl").content)
    viewer.close()
    chances = {row["id"]: row["probability"] for row in drawn}
    labels = [json.loads(line) for line in Path("labels.jsonl").read_text().splitlines()]
    assert {row["id"]: row["probability"] for row in labels} == chances
    assert invoke("estimate", "judged.jsonl", "--labels", "labels.jsonl").code == 0


def test_a_report_of_check_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(a_report(pairs=[a_pair(1), a_pair(2, difference=1.0)]).to_dict()))
    viewer = Viewer([path])
    viewer.follower.catch_up()
    rows = viewer.listing.page(Filters(), viewer.source_numbers).rows
    assert len(rows) == 2
    found = viewer.record(rows[0].record_id)
    assert found and set(found[1].case.labels) == {"baseline", "candidate"}
    viewer.close()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.sqlite3", None, "There is no file"),
        ("rows.csv", "a,b", "neither a verdict store"),
        ("rows.jsonl", "[1]\n", "not a row of ra-judge grade"),
        ("rows.jsonl", '{"prompt": "p"}\n', "not a row of ra-judge grade"),
        ("rows.jsonl", '{"prompt": "p", "response": "r", "scores": {"0": NaN}}\n', "not a finite number"),
        ("report.json", "{}", "not a report of ra-judge check"),
        ("report.json", "{", "as JSON"),
        ("other.sqlite3", "SQLite format 3\0" + "x" * 200, "not a verdict store"),
    ],
)
def test_other_files_are_refused_with_a_reason(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises((ConfigError, StoreError), match=message):
        Viewer([tmp_path / name])
