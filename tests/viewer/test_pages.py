"""The pages over HTTP: who may see them, what they show, and what a decision stores."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from check_reports import Page
from starlette.testclient import TestClient
from viewing import BRIEF, PORT, client_of, entry

from rewardanything_core import Case
from rewardanything_core.bench.labels import read_labels
from rewardanything_core.store.labels import Label
from rewardanything_core.store.verdict_store import VerdictStore
from rewardanything_core.viewer.access import Access
from rewardanything_core.viewer.app import create_app
from rewardanything_core.viewer.viewer import Viewer

HOSTILE = (
    '"><script>run()</script><img src=x onerror=run()>{{ 7 * 7 }}<svg onload=run()></td>'
    "</textarea>\u202e\u2066\x1b[31m\x00\u200b</script>"
)


def rows_of(client: TestClient, query: str = "") -> list[str]:
    """The case ids in a list, in order."""
    return re.findall(r"<small>([^<]*)</small>", client.get(f"/rows{query}").text)


def record_of(client: TestClient, case_id: str) -> str:
    found = re.search(r'href="/verdict/(\w+)[^"]*">[^<]*</a> <small>' + case_id, client.get("/rows").text)
    assert found
    return found[1]


# --- access


def test_a_link_opens_one_browser_and_another_one_is_announced(viewer: Viewer) -> None:
    links: list[str] = []
    application = Access(create_app(viewer), PORT, links.append)
    application.new_link()
    base = f"http://127.0.0.1:{PORT}"
    first, second = (TestClient(application, base_url=base, follow_redirects=False) for _ in range(2))
    assert first.get("/").status_code == 403
    opened = first.get(links[0] + "&q=star")
    assert (opened.status_code, opened.headers["location"]) == (303, "/?q=star")
    assert {"HttpOnly", "SameSite=strict"} <= set(opened.headers["set-cookie"].split("; "))
    assert first.get("/").status_code == 200
    assert first.get(links[0]).status_code == 303  # again in the same browser
    assert second.get(links[0]).status_code == 403
    assert len(links) == 2
    assert second.get(links[1]).status_code == 303


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8711", "127.0.0.1.evil.example", "10.0.0.1", ""])
def test_other_host_names_are_refused(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 421


def test_a_page_from_elsewhere_cannot_label(client: TestClient, viewer: Viewer) -> None:
    form = {"person": "Ann", "record": record_of(client, "parcel-1"), "choice": "score", "score-0": "5"}
    for origin in ("http://evil.example", "http://127.0.0.1:9999", "null"):
        assert client.post("/label", data=form, headers={"origin": origin}).status_code == 403
    assert viewer.labels and viewer.labels.all() == []


def test_every_answer_has_the_policy(client: TestClient) -> None:
    for path in ("/", "/label", "/labels.csv", "/static/view.js", "/nothing"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'; script-src 'self'")
        assert "unsafe" not in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "same-origin")


# --- what pages show


def test_a_verdict_is_shown_with_its_reasons_and_how_to_repeat_it(client: TestClient) -> None:
    page = client.get(f"/verdict/{record_of(client, 'star-20')}").text
    text = Page(page).text
    assert "4.25" in text and "± 0.25" in text
    assert "<mark><ins>About" in page  # quoted by the judge, and only in this response
    assert "Pass 1 of 2" in text and "Seen in this order: gpt, claude" in text
    assert "gpt is short:" in text  # in place of model-1
    assert "ra-judge judge --cache off --model short/judge --passes 2 --seed 0 --principle" in text
    assert ".find(" in text
    row = json.loads(client.get(f"/verdict/{record_of(client, 'star-20')}/case.jsonl").text)
    assert (row["id"], row["principle"], list(row["responses"])) == ("star-20", BRIEF, ["gpt", "claude"])


def test_each_kind_of_record_is_shown(client: TestClient) -> None:
    jury = Page(client.get(f"/verdict/{record_of(client, 'star-1')}").text).text
    assert "Other verdicts on this case" in jury and "short/judge" in jury
    agent = client.get(f"/verdict/{record_of(client, 'downloads')}").text
    assert "<strong>calls ask_user</strong>" in agent and "only here" in agent
    failure = Page(client.get(f"/verdict/{record_of(client, 'clock')}").text).text
    assert "VerdictParseError" in failure and "no verdict" in failure
    facts = re.search(r"/verdict/(\w+)[^>]*>Who wrote Middlemarch", client.get("/").text)
    assert facts
    rubric = Page(client.get(f"/verdict/{facts[1]}").text).text
    assert "Criterion" in rubric and "true" in rubric and "brief" in rubric


def test_filters_stack_and_are_in_every_link(client: TestClient) -> None:
    assert rows_of(client, "?q=parcel&max=2") == ["parcel-3", "parcel-2"]
    page = client.get("/?q=parcel&max=2").text
    assert 'value="parcel"' in page and 'value="2"' in page
    assert "?max=2&amp;q=parcel" in page
    assert client.get("/?min=low").status_code == 400
    assert rows_of(client, "?q=%22wrote Middlemarch%22") == []  # it has no id
    assert "Who wrote" in client.get('/?q="wrote Middlemarch"').text
    assert "No verdict matches" in client.get('/?q="Middlemarch wrote"').text
    assert client.get('/?q=") OR NEAR( * ^ "').status_code == 200


def test_charts_and_comparisons_are_drawn(client: TestClient) -> None:
    charts = client.get("/charts").text
    assert charts.count('<svg class="plot"') == 1 and "Mean score by principle over time" in charts
    assert "VerdictParseError" in charts
    compared = Page(client.get("/compare?by=model&a=short/judge&b=long/judge").text).text
    assert "3 cases with both" in compared and "3 flipped (100%)" in compared


def test_hostile_text_is_inert_everywhere(viewer: Viewer, client: TestClient, own_store) -> None:
    with VerdictStore(own_store) as store:
        case = Case(HOSTILE, HOSTILE, {HOSTILE: HOSTILE + "a", HOSTILE + "b": HOSTILE * 300}, id=HOSTILE)
        made = entry(1, ["a"], reasoning=HOSTILE)
        store.put(
            type(made)(
                key="f" * 64,
                case=case,
                verdict=type(made.verdict)(
                    scores=dict.fromkeys(case.labels, 3.0), ranking=list(case.labels), replies=made.verdict.replies,
                    removed={HOSTILE: [HOSTILE]}, model=HOSTILE,
                ),
                model=HOSTILE,
                template_hash=HOSTILE,
            )
        )  # fmt: skip
        assert viewer.labels
        viewer.labels.add(Label(case=case, person=HOSTILE, winner="tie", note=HOSTILE, record_id="f" * 16))
    viewer.follower.catch_up()
    viewer.follower.step()
    record = "/verdict/" + "f" * 16
    for path in ("/", "/?q=run", record, "/labels", "/charts", "/compare", f"/label?person=Ann&record={'f' * 16}"):
        page = client.get(path).text
        read = Page(page)
        assert "img" not in read.tags and read.tags.count("script") == 1, path
        assert not any(name.startswith("on") or name in ("srcdoc", "style") for name in read.attributes), path
        assert not set(page) & set("\u202e\u2066\x1b\x00"), path
    text = client.get(f"{record}/text/response-1")
    assert text.headers["content-type"].startswith("text/plain") and "\x1b" not in text.text


# --- labelling


def label(client: TestClient, query: str = "?person=Ann&sort=newest", **form: str) -> str:
    """Decide about the next case of the queue, as the page's form does; the page after it."""
    page = client.get(f"/label{query}").text
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
    return client.post(f"/label{query}", data={**hidden, **form}).text


def test_a_blind_page_gives_nothing_away(client: TestClient) -> None:
    page = client.get("/label?person=Ann&q=star").text
    text = Page(page).text
    assert "Response A" in text and "light years" in text
    assert not re.search(r"gpt|claude|short/judge|\d\.\d\d", page)
    shown = Page(client.get("/label?person=Ann&q=star&blind=0").text).text
    assert re.search(r"judge \d\.\d\d", " ".join(shown.split()))


def test_decisions_are_stored_with_who_when_and_what_was_seen(client: TestClient, viewer: Viewer) -> None:
    after = label(client, "?person=Ann&sort=newest&q=star", choice="1", note="short & sweet")
    assert "You: B is better" in Page(after).text
    label(client, "?person=Bob&sort=newest&q=parcel&blind=0", **{"choice": "score", "score-0": "2"})
    label(client, "?person=Bob&sort=newest&q=parcel&blind=0", choice="skip")
    assert viewer.labels
    ann, bob, skipped = viewer.labels.all(skipped=True)
    assert (ann.person, ann.blind, ann.note) == ("Ann", True, "short & sweet")
    assert ann.winner == ann.shown[1] and set(ann.shown) == {"gpt", "claude"}
    assert (bob.person, bob.blind, bob.scores) == ("Bob", False, {"answer": 2.0})
    assert skipped.decision == "skip" and bob.created and bob.record_id
    assert "Bob has labelled 1 case" in Page(client.get("/label?person=Bob").text).text
    assert set(rows_of(client, "?label=yes")) == {bob.case.id, ann.case.id}


def test_undo_shows_the_same_case_again(client: TestClient, viewer: Viewer) -> None:
    label(client, **{"choice": "score", "score-0": "1", "score-1": "2"})
    assert viewer.labels
    (made,) = viewer.labels.all()
    page = client.post("/label/undo?person=Ann").text
    assert viewer.labels.all() == [] and rows_of(client, "?label=yes") == []
    assert f'name="record" value="{made.record_id}"' in page
    assert "nothing to undo" in client.post("/label/undo?person=Ann").text


@pytest.mark.parametrize(
    "form", [{"choice": "score"}, {"choice": "score", "score-0": "6"}, {"choice": "7"}, {}, {"note": "n" * 30_000}]
)
def test_an_incomplete_decision_stores_nothing_and_says_so(client: TestClient, viewer: Viewer, form) -> None:
    page = label(client, "?person=Ann&sort=newest&q=parcel", **form)
    assert 'role="alert"' in page
    assert viewer.labels and viewer.labels.all(skipped=True) == []


def test_the_queue_asks_what_judges_disagree_about_and_each_case_once(client: TestClient, viewer: Viewer) -> None:
    asked = []
    for _ in range(5):
        page = client.get("/label?person=Ann&q=star").text
        asked.append(re.search(r"star number (\d+)\?", page)[1])
        label(client, "?person=Ann&q=star", choice="tie")
    assert set(asked[:3]) == {"0", "1", "2"}  # judged by two jurors, who disagree
    assert len(set(asked)) == 5


def test_exports_are_what_bench_and_align_read(client: TestClient, viewer: Viewer, tmp_path) -> None:
    for person, choice, score in (("Ann", "0", "5"), ("Bob", "tie", "2")):
        label(client, f"?person={person}&sort=newest&q=star", choice=choice)
        label(client, f"?person={person}&sort=newest&q=parcel", **{"choice": "score", "score-0": score})
    path = tmp_path / "labels.jsonl"
    path.write_bytes(client.get("/labels.jsonl").content)
    pair, single = sorted(read_labels([str(path)]), key=lambda item: len(item.responses), reverse=True)
    assert pair.pairs == () and single.human == {"response": 3.5} and single.scale == (1.0, 5.0)
    each = tmp_path / "each.jsonl"
    each.write_bytes(client.get("/labels.jsonl?each=1").content)
    assert len(read_labels([str(each)])) == 4
    table = list(csv.DictReader(io.StringIO(client.get("/labels.csv").text)))
    assert len(table) == 6 and {row["person"] for row in table} == {"Ann", "Bob"}


def test_a_spreadsheet_runs_nothing(client: TestClient, viewer: Viewer) -> None:
    assert viewer.labels
    viewer.labels.add(Label(case=Case("p", "=cmd()", {"a": "@x", "b": "-1"}, id="+1"), person="Ann", winner="a"))
    cells = [cell for row in csv.reader(io.StringIO(client.get("/labels.csv").text)) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_a_criterion_of_a_rubric_is_labelled_by_itself(client: TestClient, viewer: Viewer, tmp_path) -> None:
    page = client.get("/label?person=Ann&criterion=true").text
    assert "States nothing false." in page
    label(client, "?person=Ann&criterion=true", choice="0")
    assert viewer.labels
    (made,) = viewer.labels.all()
    assert made.criterion == "true"
    path = tmp_path / "labels.jsonl"
    path.write_bytes(client.get("/labels.jsonl").content)
    (item,) = read_labels([str(path)])
    assert (item.principle, item.criterion) == ("States nothing false.", "true")
    assert "Nothing is left" in client.get("/label?person=Ann&criterion=true").text


def test_a_viewer_without_a_store_to_write_shows_verdicts_and_says_why_it_cannot_label(filled, tmp_path, monkeypatch):
    monkeypatch.setattr("rewardanything_core.viewer.viewer.Viewer._open_label_store", lambda self: None)
    found = Viewer([filled])
    found.no_labels = "The store is read only."
    try:
        found.follower.catch_up()
        with client_of(found) as client:
            assert len(rows_of(client)) > 20
            assert "The store is read only" in client.get("/labels").text
            assert client.get("/label?person=Ann").status_code == 503
    finally:
        found.close()
