"""A check's result as one HTML file that needs nothing else."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from string import Template

from rewardanything_core.gate.reports import wording
from rewardanything_core.gate.reports.cards import all_cases, case_card, failure_list, marked, number
from rewardanything_core.gate.reports.figures import interval_figure, shifts_figure
from rewardanything_core.gate.results import CheckReport, Comparison, Outcome, Pair

_WINS = 3
_ROWS = 20_000
_HEADLINES: dict[Outcome, str] = {
    "passed": "Passed: no worse than the margin allows",
    "regression": "Regression: the answers got worse",
    "inconclusive": "Inconclusive: this does not settle it",
}


def html_report(report: CheckReport, *, cases: int = 10, title: str = "Prompt check") -> str:
    """The result as a page for a browser on a desk or a phone.

    Everything from prompts, answers and reasoning is shown as text; a content security policy keeps the page from
    running or loading anything but its own style and its own few lines of script.

    Args:
        report: What the check found.
        cases: How many of the worst cases of each comparison to show with both answers; the others are listed.
        title: The page's title.
    """
    style, script = _asset("report.css"), _asset("report.js")
    return Template(_asset("report.html")).substitute(
        title=escape(wording.one_line(title, 200)),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        body="\n".join(_body(report, cases, title)),
    )


def _asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _body(report: CheckReport, cases: int, title: str) -> Iterator[str]:
    yield f"<h1>{marked(wording.one_line(title, 200))}</h1>"
    facts = [
        *wording.left_out(report),
        f"{wording.counted(report.planned, 'case')} given.",
        wording.cost_sentence(report),
    ]
    yield (
        f'<div class="banner {report.outcome}"><strong class="{report.outcome}">'
        f"{_headline(report)}</strong><p>{marked(number(report.reason))}</p>"
        f'<p class="quiet">{marked(" ".join(facts))}</p></div>'
    )
    if len(report.comparisons) > 1:
        yield _overview(report)
    rows = max(200, _ROWS // max(1, len(report.comparisons)))
    for place, comparison in enumerate(report.comparisons, start=1):
        yield "\n".join(_section(report, comparison, f"c{place}", cases, rows))
    if report.failures:
        yield failure_list(report.failures)
    yield _method(report)


def _headline(report: CheckReport) -> str:
    return "Inconclusive: too many judgements failed" if report.exhausted else _HEADLINES[report.outcome]


def _overview(report: CheckReport) -> str:
    rows = "\n".join(
        f'<tr><td><a href="#c{place}">{marked(wording.name(report, comparison))}</a></td>'
        f"<td>{_badge(comparison.outcome)}</td>"
        f'<td class="number">{number(wording.difference(comparison))}</td>'
        f'<td class="whole">{number(wording.interval(comparison))}</td>'
        f'<td class="whole">{wording.tally(comparison)}</td></tr>'
        for place, comparison in enumerate(report.comparisons, start=1)
    )
    interval = wording.confidence(report.comparisons)
    return (
        '<section><table class="overview"><thead><tr><th>Principle</th><th>Outcome</th>'
        f'<th class="number">Difference</th><th>{interval}</th><th>Better / same / worse</th></tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table></section>"
    )


def _badge(outcome: Outcome) -> str:
    return f'<span class="badge {outcome}">{outcome.capitalize()}</span>'


def _section(report: CheckReport, comparison: Comparison, anchor: str, cases: int, rows: int) -> Iterator[str]:
    pairs = report.of(comparison)
    yield (
        f'<section id="{anchor}"><div class="title"><h2>{marked(wording.name(report, comparison))}</h2>'
        f"{_badge(comparison.outcome)}</div>"
    )
    if comparison.reason != report.reason:
        yield f"<p>{marked(number(comparison.reason))}</p>"
    text = comparison.requirement.principle.text
    if text.strip() != comparison.requirement.name:
        yield f'<p class="principle">{marked(text)}</p>'
    yield _facts(comparison)
    changed = [pair.difference for pair in pairs if pair.difference is not None and not pair.unchanged]
    if comparison.difference is not None:
        unchanged = f"; {comparison.unchanged:,} with the same answer are left out" if comparison.unchanged else ""
        shifts = (
            ""
            if not changed
            else (
                f"<figure><figcaption>Change in score, {wording.counted(len(changed), 'case')}{unchanged}</figcaption>"
                f"{shifts_figure(changed)}</figure>"
            )
        )
        yield (
            '<div class="figures"><figure><figcaption>Mean difference with its '
            f"{wording.confidence([comparison])}</figcaption>{interval_figure(comparison)}</figure>{shifts}</div>"
        )
    known = wording.noise_in_full(comparison.noise), wording.controls_sentence(comparison)
    yield f'<p class="quiet">{marked(number(" ".join(filter(None, known))))}</p>'
    yield from _cases(report, comparison, pairs, anchor, cases, rows)
    yield "</section>"


def _facts(comparison: Comparison) -> str:
    requirement = comparison.requirement
    asked = "" if requirement.min_score is None else f"; at least {requirement.min_score:.2f} is asked for"
    facts = [
        (
            "Difference",
            wording.difference(comparison),
            f"{wording.confidence([comparison])} {wording.interval(comparison)}",
        ),
        ("Margin", f"{requirement.margin:.2f}", f"a drop as large as this: p {wording.p_value(comparison.p_margin)}"),
        (
            "Better / same / worse",
            wording.tally(comparison),
            f"of {wording.counted(comparison.n, 'input')}; sign test p {wording.p_value(comparison.p_sign)}",
        ),
        (
            "Mean score",
            f"{wording.score(comparison.baseline_score)} → {wording.score(comparison.candidate_score)}",
            f"1 to 5, before and after{asked}",
        ),
        (
            "Evidence of a drop",
            f"p {wording.p_value(comparison.p_drop)}",
            f"a drop is shown at {comparison.level:.2g} or less{_again(comparison)}",
        ),
        ("Cases", f"{comparison.cases:,}", _counts(comparison)),
    ]
    if comparison.cases_needed is not None:
        facts.append(("To settle it", f"about {comparison.cases_needed:,} cases", "if things stay as they are"))
    items = "".join(
        f"<div><dt>{name}</dt><dd>{number(value)}<small>{number(more)}</small></dd></div>"
        for name, value, more in facts
    )
    return f"<dl>{items}</dl>"


def _again(comparison: Comparison) -> str:
    return {True: "; fresh orders included", False: "; not with fresh orders", None: ""}[comparison.confirmed]


def _counts(comparison: Comparison) -> str:
    parts = [f"{comparison.unchanged:,} with the same answer" if comparison.unchanged else "every answer changed"]
    if comparison.failures:
        parts.append(f"{comparison.failures:,} more not judged")
    return "; ".join(parts)


def _cases(
    report: CheckReport, comparison: Comparison, pairs: Sequence[Pair], anchor: str, cases: int, rows: int
) -> Iterator[str]:
    rules = wording.broken_rules(report, comparison)
    if rules:
        yield f"<h3>Below the score that these cases must reach{_of(rules, cases)}</h3>"
        yield from (case_card(pair, f"{anchor}-r{place}") for place, pair in enumerate(rules[:cases]))
    known = set(map(id, rules[:cases]))
    worst = [pair for pair in report.worst(comparison, len(report.pairs)) if id(pair) not in known]
    if worst:
        cards = "\n".join(case_card(pair, f"{anchor}-w{place}") for place, pair in enumerate(worst[:cases]))
        told = f"Worst cases{_of(worst, cases)}"
        passed = comparison.outcome == "passed"
        yield f"<details><summary>{told}</summary>\n{cards}\n</details>" if passed else f"<h3>{told}</h3>\n{cards}"
    wins = wording.best(report, comparison, len(report.pairs))
    if wins:
        cards = "\n".join(case_card(pair, f"{anchor}-b{place}") for place, pair in enumerate(wins[:_WINS]))
        yield f"<details><summary>Best cases{_of(wins, _WINS)}</summary>\n{cards}\n</details>"
    if pairs:
        yield all_cases(pairs, anchor, rows)


def _of(pairs: Sequence[Pair], shown: int) -> str:
    return f" ({shown} of {len(pairs):,})" if len(pairs) > shown else ""


def _method(report: CheckReport) -> str:
    orders = max((len(pair.pass_differences) for pair in report.pairs), default=0)
    several = len(report.comparisons) > 1
    correction = f", shared out over the {len(report.comparisons)} comparisons by Holm's method" if several else ""
    sentences = [
        "The judge read each case's answers together, not knowing which is which, "
        + (f"in {orders} orders" if orders > 1 else "in one order")
        + ", and gave each a score from 1 to 5; the difference is the candidate's score minus the baseline's, and "
        "cases with the same input count as one.",
        "Whether the mean difference could be chance is judged by a permutation test (all that matters is how the "
        "differences would look with their signs flipped), and the interval holds the values that this test does not "
        "exclude.",
    ]
    outcomes = [
        ("Passed", "a drop as large as the margin is ruled out: the whole interval lies above it."),
        (
            "Regression",
            "the scores dropped beyond chance, the drop may be as large as the margin, and that still holds when the "
            "judge has read the answers in fresh orders too; or a score that must be reached was missed.",
        ),
        ("Inconclusive", "neither is shown, or too many judgements failed. This is not a pass."),
    ]
    listed = "".join(f"<li><strong>{name}</strong>: {text}</li>" for name, text in outcomes)
    return (
        f"<section><h2>How this was decided</h2><p>{' '.join(sentences)}</p><ul>{listed}</ul>"
        f'<p class="quiet">The chance of a false alarm where nothing got worse is at most {wording.share(report.alpha)}'
        f"{correction}; so is the chance of passing a drop as large as the margin. Failed judgements have no score and "
        "count for neither side. The judge is a model: it can be wrong in the same way every time, and no test here "
        "sees that.</p></section>"
    )
