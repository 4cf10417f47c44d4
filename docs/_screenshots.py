"""The pictures of ``ra-judge view`` and of a sheet for people: pages in headless Chromium, with a script as the judge.

python docs/_screenshots.py       # needs Chromium; RA_JUDGE_CHROMIUM names another program
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from rewardanything_core import Case, Judge, ScriptedBackend
from rewardanything_core.backends import Request, verdict_reply
from rewardanything_core.benchmark_building import build_benchmark, write_benchmark
from rewardanything_core.principles import Principle
from rewardanything_core.server.running import listen
from rewardanything_core.store.labels import Label
from rewardanything_core.store.verdict_store import VerdictStore
from rewardanything_core.viewer.running import application_of
from rewardanything_core.viewer.viewer import Viewer

ASSETS = Path(__file__).resolve().parent / "assets"
MANNERS = Principle("Polite, and never blames the customer. Says what happens next.", name="manners")
QUESTIONS = [
    (
        "Where is my refund?",
        "Your refund was sent on Monday and takes five days.",
        "You typed your account number wrong, so the refund came back.",
    ),
    (
        "The app logs me out every hour.",
        "I am sorry about that. Version 4.2 fixes it, and it is in the store now.",
        "That is how it is meant to work.",
    ),
    (
        "Do you ship to Norway?",
        "Yes, we do, in about five days.",
        "Yes, we ship to Norway, in about five days. I will send you the list of prices.",
    ),
    (
        "My parcel arrived damaged.",
        "I am sorry. A new one leaves today, and you need not send the old one back.",
        "Did you drop it? Please send photos first.",
    ),
    (
        "Can I change my order?",
        "Until it is packed, yes: open it and choose Change.",
        "You should have checked it before you ordered. Cancel it.",
    ),
    ("Is the red one in stock?", "It will be back on the 14th; shall I reserve one for you?", "No."),
    (
        "I was charged twice.",
        "One of the two charges is a reservation that disappears by Friday.",
        "You clicked twice. One of the charges is only reserved and disappears by Friday.",
    ),
    (
        "How do I reset my password?",
        "Choose Forgot password, and a link comes by mail within a minute.",
        "Choose Forgot password. A link comes by mail.",
    ),
]


def by_manners(request: Request) -> str:
    """A judge that looks for blame, apologies and what happens next, and is a little partial to the first response."""
    responses = json.loads(request.messages[1]["content"])["responses"]
    scores, reasons = {}, []
    for name, text in responses.items():
        blame = re.search(r"[^.?!,]*\b(you (typed|clicked|should)|did you drop)[^.?!,]*", text, re.IGNORECASE)
        warm = re.search(r"I am sorry|shall I[^?]*|I will[^.]*", text)
        score = 1.5 if blame else 4.6 if warm else 3.4
        scores[name] = min(5.0, score + (0.4 if name == "model-1" else 0.0) - len(text) % 5 / 10)
        if blame:
            reasons.append(f'{name} blames the customer: "{blame[0].strip()}".')
        elif warm:
            reasons.append(f'{name} cares: "{warm[0].strip()}".')
        else:
            reasons.append(f"{name} is polite, and blames nobody.")
    return verdict_reply({name: round(score, 1) for name, score in scores.items()}, thoughts=" ".join(reasons))


def fill(path: Path) -> None:
    """A store with two answers to each question, judged by two judges, and a few labels."""
    cases = [
        Case(MANNERS, question, {"before": before, "after": after}, id=f"mail-{number}")
        for number, (question, before, after) in enumerate(QUESTIONS, 1)
    ]
    with VerdictStore(path) as store:
        for model in ("qwen3-8b", "gpt-5-mini"):
            passes = 2 if model == "gpt-5-mini" else 1
            Judge(ScriptedBackend(by_manners, name=model), store=store, passes=passes).judge_batch(cases)
        refusing = ScriptedBackend(["I would rather not."], name="gpt-5-mini")
        Judge(refusing, store=store, retries=0).judge_batch([Case(MANNERS, "Hello?", {"after": "Hello!"}, id="mail-9")])
        for case, winner in zip(cases[:3], ("before", "before", "after"), strict=False):
            store.labels.add(Label(case=case, person="Ann", winner=winner, shown=case.labels))


@contextmanager
def running(path: Path) -> Iterator[str]:
    """The link to a viewer of a store."""
    viewer = Viewer([path])
    viewer.follower.catch_up()
    viewer.start()
    links: list[str] = []
    application, server = application_of(viewer, listener := listen("127.0.0.1", 0), links.append)
    application.new_link()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield links[0]
    finally:
        server.should_exit = True
        thread.join()
        viewer.close()


def draw_sheet(browser: Browser, folder: Path) -> None:
    """The picture of a sheet that ``ra-judge build`` writes, after three decisions.

    Args:
        browser: The browser.
        folder: An empty folder.
    """
    prompts = [{"prompt": question, "responses": {"a": one, "b": two}} for question, one, two in QUESTIONS]
    jurors = [Judge(ScriptedBackend(by_manners, name=name), store=folder / f"{name}.sqlite3") for name in ("x", "y")]
    built = build_benchmark([MANNERS], prompts, jurors, name="helpdesk", split="prompt", min_agreement=-1)
    write_benchmark(built, folder / "helpdesk")
    page = browser.new_page(viewport={"width": 1000, "height": 600})
    page.goto((folder / "helpdesk" / "sheet.html").as_uri())
    for key in ("ArrowLeft", "ArrowRight", "t"):
        page.keyboard.press(key)
    page.screenshot(path=ASSETS / "sheet.png")


def main() -> None:
    """Make all pictures."""
    program = os.environ.get("RA_JUDGE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("There is no Chromium; on Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RA_JUDGE_HOME"] = folder
        path = Path(folder) / "verdicts.sqlite3"
        fill(path)
        with running(path) as link, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            context = browser.new_context(viewport={"width": 1000, "height": 760})
            page = context.new_page()
            page.goto(link)
            base = page.url.rstrip("/")
            page.goto(f"{base}/?model=gpt-5-mini")
            page.screenshot(path=ASSETS / "view-list.png")
            page.click("#rows a:has-text('charged twice')")
            page.set_viewport_size({"width": 1000, "height": 820})
            page.screenshot(path=ASSETS / "view.png")
            page.goto(f"{base}/label?person=Ann&sort=tension")
            page.screenshot(path=ASSETS / "view-label.png", full_page=True)
            phone = browser.new_context(viewport={"width": 400, "height": 760}, storage_state=context.storage_state())
            page = phone.new_page()
            page.goto(f"{base}/?model=gpt-5-mini")
            page.click("#rows a:has-text('charged twice')")
            page.screenshot(path=ASSETS / "view-phone.png")
            draw_sheet(browser, Path(folder))
            browser.close()
    for picture in sorted([*ASSETS.glob("view*.png"), ASSETS / "sheet.png"]):
        sys.stdout.write(f"{picture.relative_to(ASSETS.parent.parent)}\n")


if __name__ == "__main__":
    main()
