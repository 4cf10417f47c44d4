"""The pictures of terminals on the pages: what the examples really print, as SVG.

python docs/_pictures.py dspy langchain         # seconds: a script judges, unless RA_JUDGE_MODEL names another judge
python docs/_pictures.py check                  # seconds, and always the same: a script judges

The text is not touched; long lines are folded, and of a progress bar its last state is kept.
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
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from rewardanything_core import Request, verdict_reply

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "dspy": ["examples/dspy_evaluate.py"],
    "langchain": ["examples/langchain_evaluate.py"],
}
WIDTH = 104
THEME = TerminalTheme(
    (30, 32, 38), (214, 218, 224), [(30, 32, 38), (224, 108, 117), (152, 195, 121), (229, 192, 123), (97, 175, 239)] * 2
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


def printed(command: list[str]) -> str:
    """What a command prints, on both streams, as a terminal would show it in the end."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={
            "RA_JUDGE_MODEL": "scripted:_pictures:by_words",
            "RA_JUDGE_CACHE": "off",
            "PYTHONWARNINGS": "ignore",  # they name folders of this machine
            **os.environ,
            "PYTHONPATH": str(ROOT / "docs"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
    )
    lines = done.stdout.decode().replace("\r\n", "\n").split("\n")
    return "\n".join(line.rpartition("\r")[2] for line in lines).strip()


def by_words(request: Request) -> str:
    """A judge of the examples' pictures: 5 for up to ten words, one less for every five more."""
    responses = json.loads(request.messages[1]["content"])["responses"]
    counts = {name: len(text.split()) for name, text in responses.items()}
    thoughts = " ".join(f"{name} has {count} word{'s' * (count != 1)}." for name, count in counts.items())
    return verdict_reply(
        {n: max(1, 5 - max(0, -(-(count - 10) // 5))) for n, count in counts.items()}, thoughts=thoughts
    )


def by_facts(request: Request) -> str:
    """A judge of the check's picture: 1..5 by the share of the context's longer words that a response has."""
    asked = json.loads(request.messages[1]["content"])
    facts = set(re.findall(r"\w{4,}", str(asked["context"]).lower()))
    shares = {n: len(facts & set(re.findall(r"\w+", r.lower()))) / len(facts) for n, r in asked["responses"].items()}
    return verdict_reply({name: round(1 + 4 * share, 1) for name, share in shares.items()})


def checked() -> str:
    """What ``ra-judge check`` prints to a terminal in examples/prompt_regression when the prompt got worse."""
    with tempfile.TemporaryDirectory() as folder:
        shop = shutil.copytree(ROOT / "examples" / "prompt_regression", Path(folder) / "shop")
        shutil.copy(shop / "changes" / "worse.md", shop / "prompts" / "answer.md")
        own = {
            "RA_JUDGE_MODEL": "scripted:_pictures:by_facts",
            "RA_JUDGE_STORE": f"{folder}/store",
            "COLUMNS": str(WIDTH),
        }
        ours, theirs = os.openpty()
        with subprocess.Popen(
            [Path(sys.executable).with_name("ra-judge"), "check"],
            cwd=shop,
            env={**os.environ, **own, "PYTHONPATH": str(ROOT / "docs"), "TERM": "xterm-256color"},
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


def draw(name: str, text: str) -> Path:
    """The picture of one command's output."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False, force_terminal=True)
    command = "ra-judge check" if name == "check" else " ".join(["python", *COMMANDS[name]])
    console.print(Text(f"$ {command}", style="bold"))
    for line in text.splitlines():
        console.print(Text.from_ansi(line), overflow="fold")
    path = ROOT / "docs" / "assets" / f"{name}-example.svg"
    path.write_text(console.export_svg(title=command, theme=THEME, code_format=SVG, unique_id=name), encoding="utf-8")
    return path


def main() -> None:
    """Draw those that are named, or all."""
    for name in sys.argv[1:] or [*COMMANDS, "check"]:
        path = draw(name, checked() if name == "check" else printed(COMMANDS[name]))
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
