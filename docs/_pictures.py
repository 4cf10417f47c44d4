"""The pictures of terminals on the pages: what the examples print, as SVG, with a script as the judge.

python docs/_pictures.py                        # all
python docs/_pictures.py dspy serve             # some

The text is not edited. Long lines are folded, a progress bar is shown in its last state, and lines about the process
itself, such as warnings, are left out.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from rewardanything_core.backends import Request, verdict_reply

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
WIDTH = 60
"""Columns of a terminal that is legible on a screen 400 pixels wide."""

REPORT_WIDTH = 76
"""The same for the report of a check, which has a table."""

THEME = TerminalTheme(
    (30, 32, 38),
    (214, 218, 224),
    [
        (30, 32, 38),
        (224, 108, 117),
        (152, 195, 121),
        (229, 192, 123),
        (97, 175, 239),
        (198, 120, 221),
        (86, 182, 194),
        (214, 218, 224),
    ],
)
# Like rich's own, without the address of a font: a picture must not fetch anything.
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
    font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
    font-size: {char_height}px; line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 18px; font-family: system-ui, sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g></svg>
"""

# --- what commands print

QUIET = {
    "PYTHONWARNINGS": "ignore",  # they name folders of this machine
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}
OURS = os.pathsep.join(str(ROOT / folder) for folder in ("docs", "integrations", "."))


def judged_by(script: str) -> dict[str, str]:
    """The settings of a scripted judge, which is a function in this module."""
    return {"RA_JUDGE_MODEL": f"scripted:_pictures:{script}", "RA_JUDGE_CACHE": "off", "PYTHONPATH": OURS}


OF_THE_PROCESS = re.compile(
    r"^(\d{4}[/-]\d\d[/-]\d\d .* INFO |\(\w+ pid=|Starting evaluation|\d+it \[|\[\w+ +\d+ \d)|Warning: "
)


def printed(command: list[str], folder: Path, *, log: bool = True, **env: str) -> str:
    """What a command prints, on both streams or without its log, as a terminal would show it in the end."""
    errors = subprocess.STDOUT if log else subprocess.DEVNULL
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **QUIET, **env}, stdout=subprocess.PIPE, stderr=errors
    )
    lines = (line.rpartition("\r")[2] for line in done.stdout.decode().replace("\r\n", "\n").split("\n"))
    return "\n".join(line for line in lines if not OF_THE_PROCESS.search(line)).strip()


def dspy(folder: Path) -> str:
    """examples/dspy_evaluate.py."""
    return printed(["python", str(EXAMPLES / "dspy_evaluate.py")], folder, **judged_by("by_manners"))


def langchain(folder: Path) -> str:
    """examples/langchain_evaluate.py."""
    return printed(["python", str(EXAMPLES / "langchain_evaluate.py")], folder, **judged_by("by_length"))


RUDE = """\
QUESTION = "Where is my refund?"


def test_refund(assert_principle):
    answer = "You typed your account number wrong. Again."
    assert_principle(answer, "Polite, and never blames the customer.", prompt=QUESTION)


def test_shipping(assert_principle):
    answer = "Thank you for asking! Yes, we ship to Norway, and it takes about five days."
    assert_principle(answer, "Polite, and never blames the customer.", prompt="Do you ship to Norway?")
"""


def pytest(folder: Path) -> str:
    """A test that fails and one that does not."""
    (folder / "test_answers.py").write_text(RUDE)
    plain = judged_by("by_manners") | {"COLUMNS": str(WIDTH)}
    return printed(
        ["pytest", "-q", "--tb=short", "--color=yes", "-p", "no:cacheprovider", "test_answers.py"], folder, **plain
    )


def serve(folder: Path) -> str:
    """A server's log, and what a client of it prints."""
    url = "http://127.0.0.1:8700"
    env = {**os.environ, **QUIET, **judged_by("by_length")}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [Path(sys.executable).with_name("ra-judge"), "serve"], cwd=folder, env=env, stderr=log
        )
    try:
        while not _ready(url):
            time.sleep(0.5)
        client = printed(["python", str(EXAMPLES / "serve_client.py")], folder)
    finally:
        server.terminate()
        server.wait()
    lines = [line for line in (folder / "log").read_text().splitlines() if "/health" not in line]
    return "\n".join([*lines, "", "$ python examples/serve_client.py", client])


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health"):  # noqa: S310 - it is ours
            return True
    except (urllib.error.URLError, OSError):
        return False


CASES = [
    ("Who wrote Middlemarch?", "George Eliot.", "It was written by Jane Austen in 1813, to great acclaim."),
    ("What is the capital of Kenya?", "Nairobi.", "Kenya is beautiful, and I am so glad you asked. It may be Mombasa."),
    ("How many legs does a spider have?", "Eight.", "What a good question, let me think about it for a while."),
    ("", "Four.", "It is four."),
]
LOOK = """\
>>> for row in pyarrow.parquet.read_table("judged").sort_by("id").to_pylist():
...     print(row["id"], row["best"], {label: round(score, 2) for label, score in row["scores"] or []}, row["error"])
"""


def ray(folder: Path) -> str:
    """examples/ray_grade.py, run twice, and what is in the folder then."""
    import pandas

    rows = [{"id": str(i), "prompt": p, "responses": {"a": a, "b": b}} for i, (p, a, b) in enumerate(CASES, 1)]
    pandas.DataFrame(rows).to_parquet(folder / "cases.parquet")
    judge = judged_by("by_length")
    command = ["python", str(EXAMPLES / "ray_grade.py"), "cases.parquet", "judged", "--model", judge["RA_JUDGE_MODEL"]]
    first, again = (printed(command, folder, log=False, **judge) for _ in range(2))
    code = "import pyarrow.parquet\n" + LOOK.replace(">>> ", "").replace("... ", "")
    shown = printed(["python", "-c", code], folder)
    return "\n".join([first, "", f"$ {COMMANDS['ray']}  # and again", again, "", LOOK + shown])


def by_length(request: Request) -> str:
    """A judge that prefers short responses: 5 for one word, a point less for every ten more."""
    responses = json.loads(request.messages[1]["content"])["responses"]
    words = {name: len(text.split()) for name, text in responses.items()}
    thoughts = "; ".join(f"{name} has {number} word{'s' * (number != 1)}" for name, number in words.items())
    return verdict_reply(
        {name: max(1.0, 5 - (number - 1) / 10) for name, number in words.items()},
        thoughts=f"The shorter, the better: {thoughts}.",
    )


def by_manners(request: Request) -> str:
    """A judge that looks for blame: 1.5 for a response that has it, 5 for one with thanks or an offer, else 3.5."""
    responses = json.loads(request.messages[1]["content"])["responses"]
    scores, reasons = {}, []
    for name, text in responses.items():
        if blame := re.search(r"[^.!?]*\byou(r)? [^.!?]*wrong[^.!?]*", text, re.IGNORECASE):
            scores[name] = 1.5
            reasons.append(f'{name} blames the customer: "{blame[0].strip()}".')
        else:
            is_warm = re.search(r"thank you|gladly", text, re.IGNORECASE)
            scores[name] = 5.0 if is_warm else 3.5
            reasons.append(f"{name} is polite and blames nobody.")
    return verdict_reply(scores, thoughts=" ".join(reasons))


def by_facts(request: Request) -> str:
    """A judge of the check's picture: 1..5 by the share of the context's longer words that a response has."""
    asked = json.loads(request.messages[1]["content"])
    facts = set(re.findall(r"\w{4,}", str(asked["context"]).lower()))
    shares = {n: len(facts & set(re.findall(r"\w+", r.lower()))) / len(facts) for n, r in asked["responses"].items()}
    by_share = sorted(shares.items(), key=lambda item: -item[1])
    thoughts = f"Facts given: {', '.join(f'{name} {share:.0%}' for name, share in by_share)}."
    return verdict_reply({name: round(1 + 4 * share, 1) for name, share in shares.items()}, thoughts=thoughts)


def check(folder: Path) -> str:
    """What ``ra-judge check`` prints to a terminal in examples/prompt_regression when the prompt got worse."""
    shop = shutil.copytree(EXAMPLES / "prompt_regression", folder / "shop")
    shutil.copy(shop / "changes" / "worse.md", shop / "prompts" / "answer.md")
    own = judged_by("by_facts") | {"COLUMNS": str(REPORT_WIDTH)}
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [Path(sys.executable).with_name("ra-judge"), "check"],
        cwd=shop,
        env={**os.environ, **own, "TERM": "xterm-256color"},
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    ):
        os.close(theirs)
        written = b""
        try:
            while part := os.read(ours, 65536):
                written += part
        except OSError:  # Linux says so that the other end is closed
            pass
        os.close(ours)
    return written.decode().replace("\r\n", "\n").strip("\n")


# --- pictures

COMMANDS = {
    "check": "ra-judge check",
    "dspy": "python examples/dspy_evaluate.py",
    "langchain": "python examples/langchain_evaluate.py",
    "pytest": "pytest -q --tb=short test_answers.py",
    "ray": "python examples/ray_grade.py cases.parquet judged --model ...",
    "serve": "ra-judge serve",
}
MAKERS: dict[str, Callable[[Path], str]] = {
    "check": check,
    "dspy": dspy,
    "langchain": langchain,
    "pytest": pytest,
    "ray": ray,
    "serve": serve,
}


def made(name: str) -> str:
    """What the commands of a picture print, in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder:
        text = MAKERS[name](Path(folder)).replace(f"{folder}/", "")
    if not text or "Traceback" in text:
        raise SystemExit(f"{COMMANDS[name]} failed: {text}")
    return text


def draw(name: str, text: str) -> Path:
    """The picture of one command's output."""
    width = REPORT_WIDTH if name == "check" else WIDTH
    console = Console(record=True, width=width, file=io.StringIO(), highlight=False, force_terminal=True)
    console.print(Text(f"$ {COMMANDS[name]}", style="bold"))
    for line in text.splitlines():
        bold = line.startswith(("$ ", ">>> ", "... "))
        console.print(Text(line, style="bold") if bold else Text.from_ansi(line), overflow="fold")
    path = ROOT / "docs" / "assets" / f"{name}-example.svg"
    title = f"{COMMANDS[name].partition(' --')[0]}, with a script as the judge"
    drawn = console.export_svg(title=title, theme=THEME, code_format=SVG, unique_id=name)
    path.write_text(drawn, encoding="utf-8")
    return path


def main() -> None:
    """Draw those that are named, or all."""
    for name in sys.argv[1:] or COMMANDS:
        sys.stdout.write(f"{draw(name, made(name)).relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
