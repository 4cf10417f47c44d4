"""Check reports for the tests of reports, some with hostile texts."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from rewardanything_core.gate.results import CheckReport, Comparison, JudgeNoise, Pair, Requirement
from rewardanything_core.principles import Principle
from rewardanything_core.types import JudgeFailure, Usage

NASTY = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "</pre></details></div></td></tr></table></main></body></html>",
    "<!--",
    "-->",
    "]]>",
    "&lt;b&gt; &#60;",
    "```\n# heading\n```",
    "`code` | cell | cell |",
    "\n| a | b |\n|---|---|\n",
    "@octocat and @org/team",
    "see #123, GH-7, org/repo#5",
    "![x](http://evil.example/p.png) [y](http://evil.example) www.evil.example user@evil.example",
    "**bold** _it_ ~~no~~ :tada:",
    "\n    indented\n- item\n1. item\n> quote\n---\n===\n",
    "$title ${body} $$ {0} %s",
    "\x00\x07\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "\u202eexe.gnp\u202c \u2066x\u2069 \u200b\ufeff\U000e0041",
    "\ud800",
    "\ufffe\uffff\x85\x9b\u2028",
    "\r\n\r",
    "👩\u200d💻 नमस्ते می\u200cخواهم 你好。",
    "[bold red]rich[/bold red] [/]",
]
anything = st.lists(st.sampled_from(NASTY) | st.text(st.characters(), max_size=20), max_size=6).map("".join)
patient = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def a_pair(number: int = 1, **changes: object) -> Pair:
    values: dict[str, object] = {
        "id": f"q{number}",
        "group": f"q{number}",
        "principle": "brief",
        "candidate": "candidate",
        "prompt": "Who wrote Middlemarch?",
        "baseline_response": "George Eliot.",
        "candidate_response": "It was written by George Eliot, I believe.",
        "baseline_score": 5.0,
        "candidate_score": 3.5,
        "difference": -1.5,
        "pass_differences": (-1.0, -2.0),
        "reasoning": "The baseline is shorter.",
        "record_ids": ("3f9a1b2c3d4e5f60",),
    }
    return Pair(**values | changes)


def a_comparison(**changes: object) -> Comparison:
    values: dict[str, object] = {
        "candidate": "candidate",
        "requirement": Requirement(principle=Principle("Prefer the shorter answer.", name="brief"), margin=0.3),
        "outcome": "regression",
        "reason": "The mean score changed by -0.43 (90% interval -0.61 to -0.25): a significant drop.",
        "n": 96,
        "cases": 99,
        "unchanged": 21,
        "failures": 2,
        "baseline_score": 4.31,
        "candidate_score": 3.88,
        "difference": -0.43,
        "low": -0.61,
        "high": -0.25,
        "confidence": 0.9,
        "p_drop": 0.0004,
        "p_margin": 0.87,
        "level": 0.05,
        "wins": 12,
        "ties": 41,
        "losses": 43,
        "p_sign": 0.0001,
        "noise": JudgeNoise(deviation=0.37, flips=0.04, share=0.21, position_bias=0.12),
        "confirmed": True,
        "cases_needed": None,
    }
    return Comparison(**values | changes)


def a_failure(number: int = 7, **changes: object) -> Pair:
    failure = JudgeFailure(
        case_id=f"q{number}", error_type="VerdictParseError", message="No verdict.", raw_output="Hm."
    )
    values = {"baseline_score": None, "candidate_score": None, "difference": None, "reasoning": "", "failure": failure}
    return a_pair(number, **values | changes)


def a_report(comparisons=None, pairs=None, **changes: object) -> CheckReport:
    values: dict[str, object] = {
        "outcome": "regression",
        "reason": "Something got worse.",
        "comparisons": tuple(comparisons or [a_comparison()]),
        "pairs": tuple(pairs if pairs is not None else [a_pair(1), a_pair(2, difference=-0.5), a_failure(7)]),
        "alpha": 0.05,
        "planned": 101,
        "looked": 101,
        "missing": (),
        "model": "a-judge",
        "usage": Usage(calls=480, prompt_tokens=120_333, completion_tokens=4_112, cost=1.234),
    }
    return CheckReport(**values | changes)


def hostile(text: str) -> CheckReport:
    """A report in which every text from outside is this one."""
    named = Requirement(principle=Principle(_encodable(text) + "x", name=_encodable(text) + "p"), margin=0.3)
    failure = JudgeFailure(case_id=text, error_type="BackendError", message=text, raw_output=text)
    both = {"principle": named.name, "candidate": text, "id": text, "prompt": text}
    pairs = [
        a_pair(1, **both, baseline_response=text, candidate_response=text + "!", reasoning=text),
        a_pair(2, **both, baseline_response="a" + text, candidate_response=text, min_score=4.0, record_ids=(text,)),
        a_pair(3, **both, difference=1.0, candidate_response=text),
        a_failure(4, **both, candidate_response=text) if text else a_failure(4, **both),
    ]
    pairs[-1] = dataclasses.replace(pairs[-1], failure=failure)
    comparison = a_comparison(candidate=text, requirement=named, reason=text)
    other = a_comparison(candidate="other", requirement=named, reason=text, outcome="passed")
    return a_report([comparison, other], pairs, reason=text, missing=(text,), model=text)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "ignore").decode()  # a principle must be text that can be encoded


class Page(HTMLParser):
    """The elements, attributes and text of a page, parsed as a browser would."""

    VOID = frozenset({"meta", "input", "img", "br", "link"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.scripts = self.text = ""
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] in ("rect", "line", "circle") and tag != self.open[-1]:
            self.open.pop()
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.scripts += data
        else:
            self.text += data
