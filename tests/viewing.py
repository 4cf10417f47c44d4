"""Stores with verdicts of every kind for tests of the viewer, and a viewer that serves them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from agent_runs import CAREFUL, HASTY, asks_first
from agent_runs import PROMPT as AGENT_PROMPT
from starlette.testclient import TestClient

from rewardanything_core import Case, Judge, Jury, Rubric, ScriptedBackend
from rewardanything_core.backends import Request, verdict_reply
from rewardanything_core.server.running import listen
from rewardanything_core.store.verdict_store import Entry, VerdictStore
from rewardanything_core.types import Reply, Usage, Verdict
from rewardanything_core.viewer.access import Access
from rewardanything_core.viewer.app import create_app
from rewardanything_core.viewer.running import application_of
from rewardanything_core.viewer.viewer import Viewer

BRIEF = "Prefer the shorter answer."
POLITE = "Polite, and never blames the customer."


def by_length(request: Request) -> str:
    """Shorter is better, and the first one half a point better; quotes the beginning of the best one."""
    responses = json.loads(request.messages[1]["content"])["responses"]
    scores = {
        name: min(5.0, max(1.0, 5 - len(text.split()) / 4) + (0.5 if name == "model-1" else 0.0))
        for name, text in responses.items()
    }
    best = max(scores, key=scores.__getitem__)
    return verdict_reply(scores, thoughts=f'{best} is short: "{" ".join(responses[best].split()[:4])}".')


def contrary(request: Request) -> str:
    """Longer is better."""
    responses = json.loads(request.messages[1]["content"])["responses"]
    return verdict_reply({name: min(5.0, 1 + len(text.split()) / 4) for name, text in responses.items()})


def star(number: int) -> Case:
    """A case with two responses, of which the second is long in two of three cases."""
    more = ", and I am glad that you asked this question, since it is a good one" if number % 3 else ""
    responses = {"gpt": f"About {number} light years.", "claude": f"It is {number} light years away{more}."}
    return Case(BRIEF, f"How far away is star number {number}?", responses, id=f"star-{number}")


def fill(path: Path, *, pairs: int = 24, singles: int = 6) -> None:
    """A store with pairs and single responses, a jury's verdicts, a rubric, an agent's runs, and failures."""
    with VerdictStore(path) as store:
        judge = Judge(ScriptedBackend(by_length, name="short/judge"), store=store, passes=2)
        judge.judge_batch(map(star, range(pairs)))
        judge.judge_batch(
            Case(
                POLITE,
                f"Where is parcel {n}?",
                {"answer": f"Parcel {n} is on its way. " * (1 + n % 4)},
                id=f"parcel-{n}",
            )
            for n in range(singles)
        )
        jury = Jury([judge, Judge(ScriptedBackend(contrary, name="long/judge"), store=store)])
        jury.judge_batch(map(star, range(3)))
        rubric = Rubric({"true": "States nothing false.", "brief": "Is short."}, weights={"true": 2}, name="facts")
        scorer = ScriptedBackend.scoring(lambda text: min(5.0, 1 + len(text) % 5), name="short/judge")
        Judge(scorer, store=store).judge(
            rubric, "Who wrote Middlemarch?", {"a": "George Eliot.", "b": "Jane Austen did."}
        )
        Judge(ScriptedBackend(asks_first, name="agent/judge"), store=store).judge(
            Case("Ask before you delete.", AGENT_PROMPT, {"careful": CAREFUL, "hasty": HASTY}, id="downloads")
        )
        Judge(ScriptedBackend(["no verdict"] * 9, name="short/judge"), store=store, retries=0).judge_batch(
            [Case(BRIEF, "What is the time?", {"a": "Noon."}, id="clock")]
        )


def entry(number: int, texts: Sequence[str], *, prompt: str = "", principle: str = BRIEF, reasoning: str = "") -> Entry:
    """A stored verdict on these texts, without a judge."""
    case = Case(
        principle, prompt or f"Question {number}", {f"r{n}": text for n, text in enumerate(texts)}, id=f"case-{number}"
    )
    scores = {label: 1.0 + (number + 2 * n) % 5 for n, label in enumerate(case.labels)}
    ranking = sorted(scores, key=lambda label: -scores[label])
    verdict = Verdict(
        scores=scores,
        ranking=ranking,
        spread=dict.fromkeys(scores, (number % 4) / 2),
        replies=[[Reply(reasoning=reasoning, raw_output=reasoning)]],
        orders=[list(scores)],
        pass_scores=[scores],
        usage=Usage(calls=1, prompt_tokens=300, completion_tokens=40, seconds=0.5, cost=0.001),
        case_id=case.id,
        model="made/up",
    )
    return Entry(key=f"{number:064x}"[::-1], case=case, verdict=verdict, model="made/up", template_hash="0" * 64)


PORT = 8711


@contextmanager
def client_of(viewer: Viewer) -> Iterator[TestClient]:
    """A client of a viewer's application that opened its link."""
    links: list[str] = []
    application = Access(create_app(viewer), PORT, links.append)
    application.new_link()
    base = f"http://127.0.0.1:{PORT}"
    client = TestClient(application, base_url=base, headers={"origin": base})
    assert client.get(links[0]).status_code == 200
    yield client
    client.close()


@contextmanager
def serving(*paths: Path) -> Iterator[tuple[Viewer, str]]:
    """A viewer of these files on a port of its own, with everything indexed; and the link that opens it."""
    viewer = Viewer(paths)
    viewer.follower.catch_up()
    viewer.start()
    links: list[str] = []
    application, server = application_of(viewer, listener := listen("127.0.0.1", 0), links.append)
    application.new_link()
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    thread = threading.Thread(target=_serve, args=(server, listener))
    thread.start()
    try:
        yield viewer, links[0]
    finally:
        server.should_exit = True
        thread.join()
        viewer.close()


def _serve(server: uvicorn.Server, listener: object) -> None:
    server.run(sockets=[listener])  # type: ignore[list-item]
