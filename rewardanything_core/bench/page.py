"""A benchmark report as one page that needs nothing else: readable on a phone, in light and in dark."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape

from rewardanything_core.bench import charts
from rewardanything_core.bench.labels import LabelReport
from rewardanything_core.bench.measures import CHANCE, HEADLINE, TITLES
from rewardanything_core.bench.report import BenchReport, Figures
from rewardanything_core.bench.worst import wrong_pairs

_MOST_TEXT = 4_000

_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1d2330; --soft: #667; --line: #d8dce6; --card: #f6f7fa;
  --bar: #3b6fd4; --mark: #d0602f; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171e; --text: #e4e7ee; --soft: #9aa3b5; --line: #333a48;
  --card: #1c212b; --bar: #6f9df0; --mark: #f0935f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; margin: .5rem 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; } p { margin: .4rem 0; } small, .soft, .value span { color: var(--soft); }
.bars { display: grid; gap: .35rem; } .row { display: grid; grid-template-columns: 12rem 1fr 17rem; gap: .2rem .8rem;
  align-items: center; } .row svg { width: 100%; height: 1rem; } .value { font-variant-numeric: tabular-nums; }
@media (max-width: 44rem) { .row { grid-template-columns: 1fr auto; } .row svg { grid-column: 1 / 3; grid-row: 2; }
  .value { text-align: right; } }
.track { fill: var(--line); opacity: .5; } .bar { fill: var(--bar); }
.whisker { stroke: var(--text); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.chance { stroke: var(--mark); stroke-width: 1.5; stroke-dasharray: 3 3; vector-effect: non-scaling-stroke; }
.plot { width: 100%; max-width: 26rem; } .plot text { fill: var(--soft); font-size: 11px; }
.frame { fill: none; stroke: var(--line); } .dot { fill: var(--bar); }
.curve { fill: none; stroke: var(--bar); stroke-width: 2; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem .25rem 0; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
details { background: var(--card); border-radius: .5rem; padding: .6rem .8rem; margin: .5rem 0; }
summary { cursor: pointer; } pre { white-space: pre-wrap; font: inherit; margin: .2rem 0 .8rem; }
"""


def html_page(report: BenchReport) -> str:
    """The page. Every text that a model or a file wrote is escaped."""
    sections = [
        f"<h1>Judging the judge: {escape(report.model)}</h1>",
        f'<p class="soft">{len(report.judged):,} lists of responses, '
        f"{len({one.item.group for one in report.judged}):,} prompts, {report.flips:,} flip pairs. Bars have 95% "
        "intervals from resampling prompts; the broken line is what guessing gives.</p>",
        *_headline(report.figures),
        *(f"<p>{escape(note)}</p>" for note in report.notes),
        *_parts("By benchmark", report.by_source),
        *_parts("By domain", report.by_domain),
        *_parts("By family of principles", report.by_category),
        *_parts("By criterion", report.by_criterion),
        *_by_flip(report),
        *_rm_bench(report),
        *_reliability(report),
        *_audits(report),
        *(_labels(report.labels) if report.labels is not None else ()),
        *_worst(report),
        *_failures(report),
        *_about(report),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Judging the judge: {escape(report.model)}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{chr(10).join(sections)}\n</body></html>\n"
    )


def _headline(figures: Figures) -> Iterable[str]:
    for name, title in TITLES.items():
        if name == "score_variance" or (figures[name].value is None and name not in HEADLINE):
            continue
        chance = figures["ndcg_chance"].value if name == "ndcg" else CHANCE.get(name)
        rows = [(title, figures[name])]
        if f"{name}_by_ranking" in figures and figures[name].value is not None:
            rows.append(("by ranking", figures[f"{name}_by_ranking"]))
        low = -1.0 if name in ("kendall_tau_b", "spearman") else 0.0
        yield charts.bars(rows, low=low, chance=chance)


def _parts(title: str, parts: dict[str, Figures]) -> Iterable[str]:
    if len(parts) < 2:
        return
    yield f"<h2>{title}</h2>"
    for name in HEADLINE:
        rows = [(part, figures[name]) for part, figures in parts.items() if figures[name].value is not None]
        if rows:
            low = -1.0 if name == "kendall_tau_b" else 0.0
            yield f"<h3>{TITLES[name]}</h3>{charts.bars(rows, low=low, chance=CHANCE.get(name))}"


def _by_flip(report: BenchReport) -> Iterable[str]:
    if len(report.by_flip) < 2:
        return
    yield "<h2>Flips, by the two criteria they are between</h2>"
    for name in ("flip_accuracy", "both_right"):
        rows = [(kind, figures[name]) for kind, figures in report.by_flip.items()]
        yield f"<h3>{TITLES[name]}</h3>{charts.bars(rows, chance=CHANCE.get(name))}"


def _rm_bench(report: BenchReport) -> Iterable[str]:
    if (found := report.rm_bench) is None:
        return
    yield "<h2>RM-Bench, by its own rule</h2><p>Ties are wrong; overall is the mean of the domains' means.</p>"
    levels = ("hard", "normal", "easy", "average")
    rows = [[domain, *(_brief(f, level) for level in levels)] for domain, f in found.domains.items()]
    yield _table(["", *levels], [*rows, ["overall", *(_brief(found.overall, level) for level in levels)]])


def _reliability(report: BenchReport) -> Iterable[str]:
    if (found := report.reliability) is None:
        return
    yield (
        "<h2>Does it know how sure it is?</h2><p>For each pair of unequal scores, the gap between them says how likely "
        "the higher one is to be the better response, learnt from other prompts. Dots on the broken line mean that the "
        f"likelihoods come true. Expected calibration error {charts.number(found.calibration_error)}, Brier score "
        f"{charts.number(found.brier)}, {found.pairs:,} pairs.</p>"
    )
    yield charts.reliability_plot(found)


def _audits(report: BenchReport) -> Iterable[str]:
    for audit in report.audits.values():
        yield f"<h2>Audit: {escape(audit.name)}</h2>"
        rows = [
            [name.replace("_", " "), charts.number(found.value), charts.interval(found), f"{found.n:,}"]
            for name, found in audit.figures.items()
        ]
        yield _table(["", "value", "95% interval", "n"], rows)
        if audit.failed or audit.note:
            failed = f"{audit.failed} of {audit.judged} judgements failed. " if audit.failed else ""
            yield f"<p>{failed}{escape(audit.note)}</p>"


def _labels(found: LabelReport) -> Iterable[str]:
    low, high = found.scale
    yield f"<h2>Beside your labels</h2><p>Human scores from {low:g} to {high:g}, shown on the scale of 1 to 5.</p>"
    rows = [
        [name.replace("_", " "), _brief(found.figures, name), _brief(found.calibrated, name)] for name in found.figures
    ]
    yield _table(["", "as judged", "recalibrated, on unseen prompts"], rows)
    names = [f"{level:g}" for level in found.levels]
    table = [[level, *map(str, row)] for level, row in zip(names, found.confusion, strict=True)]
    yield "<h3>Confusion: people in rows, the judge in columns</h3>" + _table(["", *names], table)
    if found.calibration is not None:
        yield "<h3>Recalibration</h3>" + charts.calibration_plot(found.calibration)
    yield "<h3>Worst disagreements</h3>"
    for one in found.worst:
        yield _card(
            f"{one.id}, {one.label}: people {one.human:g}, the judge {one.judged:.2f}",
            [("Prompt", one.prompt), ("Response", one.response), ("Why", one.reasoning)],
        )


def _worst(report: BenchReport) -> Iterable[str]:
    pairs = wrong_pairs(report.judged, limit=10)
    if pairs and report.labels is None:
        yield "<h2>Most sure and wrong</h2>"
    for pair in pairs if report.labels is None else ():
        item, verdict = pair.judged.item, pair.judged.verdict
        assert verdict is not None
        prompt = item.prompt if isinstance(item.prompt, str) else json.dumps(item.prompt, ensure_ascii=False, indent=1)
        yield _card(
            f"{item.id}: {verdict.scores[pair.worse]:.2f} for {pair.worse}, {verdict.scores[pair.better]:.2f} for "
            f"{pair.better}, which people prefer",
            [
                ("Principle", item.principle),
                ("Prompt", prompt),
                (f"People prefer: {pair.better}", item.responses[pair.better]),
                (f"The judge prefers: {pair.worse}", item.responses[pair.worse]),
                ("Why", verdict.explanation),
            ],
        )


def _failures(report: BenchReport) -> Iterable[str]:
    if not report.failures:
        return
    wrong = _brief(report.figures, "pairwise_accuracy_failures_wrong")
    yield (
        f"<h2>Failures</h2><p>{len(report.failures):,} of {len(report.judged):,} judgements failed and are in none of "
        f"these figures. Counted as wrong, pairs right is {wrong}.</p>"
    )
    rows = [[failure.case_id or "", failure.error_type, failure.message[:200]] for failure in report.failures[:20]]
    yield _table(["row", "error", "message"], rows)


def _about(report: BenchReport) -> Iterable[str]:
    spent, made = report.spent, report.made
    cost = "" if made.cost is None else f", ${made.cost:,.4f}"
    yield (
        f"<h2>About this run</h2><p>{report.seconds:,.1f} s, {report.from_store:,} verdicts from the store, "
        f"{spent.calls:,} calls. Made anew: {made.calls:,} calls, {made.prompt_tokens:,} tokens read, "
        f"{made.completion_tokens:,} written{cost}.</p>"
    )
    settings = json.dumps(report.judge, indent=1, ensure_ascii=False, default=str)
    yield f"<details><summary>The judge's settings</summary><pre>{escape(settings)}</pre></details>"


def _brief(figures: Figures, name: str) -> str:
    if name not in figures or figures[name].value is None:
        return "-"
    return f"{charts.number(figures[name].value)} ({charts.interval(figures[name])})"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def cells(kind: str, texts: Sequence[str]) -> str:
        return "".join(f"<{kind}>{escape(text)}</{kind}>" for text in texts)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{cells("th", header)}</tr>{body}</table></div>'


def _card(title: str, texts: Sequence[tuple[str, str]]) -> str:
    shown = "".join(
        f'<div class="soft">{escape(name)}</div><pre>{escape(_short(text))}</pre>' for name, text in texts if text
    )
    return f"<details><summary>{escape(title)}</summary>{shown}</details>"


def _short(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]} ... ({len(text) - _MOST_TEXT:,} characters more)"
