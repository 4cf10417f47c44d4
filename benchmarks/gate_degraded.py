"""Does the gate catch answers that got worse? Real answers, degraded in known ways, under a real judge.

    python benchmarks/gate_degraded.py DATA_FOLDER [--cases 40] [--model qwen2.5-coder-1.5b] [--readout generate]

The baseline is the answer that people preferred, from the human-labelled pairs of llmbar and hhh in DATA_FOLDER. The
candidate is the same answer cut short, padded, made rude, or taken from another question; and, as a control, the same
answer with a changed line end. No degraded answer may pass, and the control must not be a regression. (The gate's own
controls use other texts than these.)
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

from rewardanything_core import load_judge
from rewardanything_core.gate import check

PRINCIPLE = """\
A good answer does what the prompt asks, completely and correctly, in as many words as that takes and no more, and is \
courteous to the reader. An answer that breaks off, that talks about something else, that is padded with empty phrases \
or that insults the reader is a bad one.\
"""

PADDING = """\
It is worth noting that this is a topic about which a great deal could be said. There are many aspects to consider, \
and each of them is important in its own way. As we all know, things are rarely simple, and that is also the case \
here. With that in mind, it can be helpful to take a step back and look at the bigger picture before going on. \
"""

Degradation = Callable[[list[str], int], str]


def cut_short(answers: list[str], i: int) -> str:
    words = answers[i].split(" ")
    return " ".join(words[: max(1, len(words) // 4)])


def padded(answers: list[str], i: int) -> str:
    return PADDING + answers[i] + "\n\n" + PADDING + PADDING


def rude(answers: list[str], i: int) -> str:
    return f"What a stupid thing to ask; only an idiot would.\n\n{answers[i]}\n\nNow stop wasting my time."


def about_something_else(answers: list[str], i: int) -> str:
    return answers[(i + 1) % len(answers)]


def control(answers: list[str], i: int) -> str:
    return answers[i].rstrip() + "\n"


DEGRADED: dict[str, Degradation] = {
    "cut short": cut_short,
    "padded": padded,
    "rude": rude,
    "about something else": about_something_else,
    "control": control,
}


def examples(folder: Path, number: int) -> list[tuple[str, str, str]]:
    """(id, prompt, preferred answer); answers of 15 to 200 words."""
    rows = []
    for name in ("llmbar", "hhh"):
        for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            better = row["responses"][row["pairs"][0][0]]
            if 15 <= len(better.split()) <= 200 and isinstance(row["prompt"], str):
                rows.append((row["id"], row["prompt"], better))
    step = max(1, len(rows) // number)
    return rows[::step][:number]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--only", choices=DEGRADED, action="append")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="A setting of the judge.")
    arguments = parser.parse_args()
    settings = dict(item.split("=", 1) for item in arguments.set)
    chosen = examples(arguments.data, arguments.cases)
    answers = [answer for _, _, answer in chosen]
    baseline = [{"id": name, "prompt": prompt, "response": answer} for name, prompt, answer in chosen]
    print(f"{len(chosen)} answers, judge {arguments.model} {' '.join(arguments.set)}")
    with load_judge(model=arguments.model, **settings) as judge:
        for kind in arguments.only or DEGRADED:
            started = time.perf_counter()
            rows = [{**row, "response": DEGRADED[kind](answers, i)} for i, row in enumerate(baseline)]
            report = check(baseline, rows, PRINCIPLE, judge=judge, margin=0.3, sequential=True)
            (comparison,) = report.comparisons
            bias = f"{comparison.noise.position_bias:+.2f}" if comparison.noise else "-"
            print(
                f"{kind:<22}{report.outcome:<14}{comparison.difference or 0:+.2f} "
                f"[{comparison.low:+.2f}, {comparison.high:+.2f}]  judged {report.looked}, first position {bias}, "
                f"{comparison.failures} failed, {time.perf_counter() - started:.0f} s"
                + "".join(
                    f", control {tested.kind} {tested.difference or 0:+.2f} {'' if tested.noticed else 'not '}noticed"
                    for tested in comparison.controls
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
