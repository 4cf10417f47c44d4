"""The sheet for people in headless Chromium, from a file: labelling by keys, closing the page, and the file to send."""

from __future__ import annotations

import json

import pytest
from jurors import LEAST, MOST, jury, prompts

from rewardanything_core.benchmark_building import add_people, build_benchmark, write_benchmark

pytestmark = pytest.mark.browser

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "</div></article><h1>gone",
    "<style>*{display:none}",
)


def test_ten_pairs_are_decided_by_keys_over_two_visits_and_counted(browser, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = prompts(8)
    for place, row in enumerate(rows):
        row["responses"] = {
            name: f"{HOSTILE[(n + place) % 4]} {text}" for n, (name, text) in enumerate(row["responses"].items())
        }
    built = build_benchmark([MOST, LEAST], rows, jury(), sheet=10, min_agreement=-1)
    write_benchmark(built, "out")
    keys = {"left": "ArrowLeft", "tie": "t", "right": "ArrowRight"}
    answers = {case.id: case.key["consensus"] for case in built.sheet}
    alarms: list[str] = []
    context = browser.new_context(color_scheme="dark", viewport={"width": 390, "height": 800})

    def visit():
        page = context.new_page()
        page.on("dialog", lambda dialog: (alarms.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda message: alarms.append(message.text))
        page.on("pageerror", lambda error: alarms.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "blob:")) or alarms.append(request.url))
        page.goto((tmp_path / "out" / "sheet.html").as_uri())
        return page

    def decide(page, number):
        for _ in range(number):
            page.keyboard.press(keys[answers[page.locator("article.pair:visible").get_attribute("data-case")]])

    page = visit()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.fill("#person", "Ada")
    page.keyboard.press("t")  # typed into the name
    assert page.input_value("#person") == "Adat" and page.text_content("#progress") == "Pair 1 of 10"
    page.fill("#person", "Ada")
    page.locator("h1").click()
    decide(page, 4)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("u")
    page.close()
    page = visit()
    assert page.text_content("#progress") == "Pair 5 of 10" and page.locator("article.pair:visible").count() == 1
    decide(page, 6)
    assert page.is_visible("#done") and page.locator("article.pair:visible").count() == 0
    files = []
    for kind in ("csv", "json"):
        with page.expect_download() as download:
            page.click(f"#{kind}")
        files.append(tmp_path / download.value.suggested_filename)
        download.value.save_as(files[-1])
        human = add_people("out", [files[-1]])["human"]
        (ada,) = human["people"]
        assert (ada["person"], ada["decided"], ada["agreement"]["value"]) == ("Ada", 10, 1.0)
    assert [file.name for file in files] == ["decisions-Ada.csv", "decisions-Ada.json"]
    assert {row["case"]: row["better"] for row in json.loads(files[1].read_text())} == answers
    assert alarms == []
    context.close()
