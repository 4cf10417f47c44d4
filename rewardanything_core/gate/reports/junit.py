"""A check's result as JUnit XML, which most CI systems show as a list of tests."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import defaultdict

from rewardanything_core.gate.reports import wording
from rewardanything_core.gate.results import CheckReport, Comparison, Pair
from rewardanything_core.types import Abstention

_MAX_TEXT = 20_000  # characters of a prompt, an answer or a reply


def junit_report(report: CheckReport) -> str:
    """One suite for each candidate and principle, consistent with the exit code.

    A suite holds one test for the comparison, one for each case that misses its minimum score, and one for each case
    that could not be judged. A regression is a failure and an inconclusive comparison an error. A case that could not
    be judged is an error, or skipped if the comparison passed all the same.
    """
    root = ET.Element("testsuites", name="ra-judge check")
    totals: dict[str, int] = defaultdict(int)
    for comparison in report.comparisons:
        suite = _suite(report, comparison)
        root.append(suite)
        for name in ("tests", "failures", "errors", "skipped"):
            totals[name] += int(suite.get(name, "0"))
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(totals[name]))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(report: CheckReport, comparison: Comparison) -> ET.Element:
    principle = wording.one_line(comparison.requirement.name, 200)
    suite = ET.Element("testsuite", name=f"{wording.one_line(comparison.candidate, 100)}: {principle}")
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(report, comparison).items():
        ET.SubElement(properties, "property", name=name, value=wording.one_line(str(value), 500))
    tests = [_comparison_test(report, comparison)]
    tests += [_minimum_test(pair) for pair in wording.broken_rules(report, comparison)]
    # A judgement under a rubric failed for all criteria; it is one test, in the suite of the whole.
    failed = [pair for pair in report.of(comparison) if pair.failure is not None and pair.criterion is None]
    tests += [_failed_test(pair, comparison) for pair in failed]
    for test in tests:
        test.set("classname", f"ra-judge.{principle.replace('.', ' ').strip()}")
        suite.append(test)
    suite.set("tests", str(len(tests)))
    for tag, total in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(total, str(sum(test.find(tag) is not None for test in tests)))
    return suite


def _properties(report: CheckReport, comparison: Comparison) -> dict[str, object]:
    return {
        "outcome": comparison.outcome,
        "difference": wording.difference(comparison),
        "interval": wording.interval(comparison),
        "confidence": comparison.confidence,
        "margin": comparison.requirement.margin,
        "better / same / worse": wording.tally(comparison),
        "baseline score": wording.score(comparison.baseline_score),
        "candidate score": wording.score(comparison.candidate_score),
        "cases": comparison.cases,
        "unchanged": comparison.unchanged,
        "not judged": comparison.failures,
        "too many failures": "yes" if report.exhausted else "no",
        "judge": report.model,
    }


def _comparison_test(report: CheckReport, comparison: Comparison) -> ET.Element:
    test = ET.Element("testcase", name="no worse than the baseline")
    reason = wording.one_line(comparison.reason, 1_000)
    if comparison.outcome != "passed":
        tag = "failure" if comparison.outcome == "regression" else "error"
        element = ET.SubElement(test, tag, message=reason, type=comparison.outcome)
        element.text = "\n".join([reason, "", *(_line(pair) for pair in report.worst(comparison))])
    sentences = [
        reason,
        f"Difference {wording.difference(comparison)}, {wording.confidence([comparison])} "
        f"{wording.interval(comparison)}, margin {comparison.requirement.margin:.2f}.",
        wording.cases_sentence(comparison),
        wording.noise_in_short(comparison.noise),
        wording.missed_sentence(report, comparison),
        wording.controls_sentence(comparison),
    ]
    ET.SubElement(test, "system-out").text = "\n".join(filter(None, sentences))
    return test


def _minimum_test(pair: Pair) -> ET.Element:
    assert pair.min_score is not None
    assert pair.candidate_score is not None
    case = wording.one_line(pair.id, 200)
    test = ET.Element("testcase", name=f"{case} scores at least {pair.min_score:.2f}")
    message = f"Case {case} scored {pair.candidate_score:.2f}; it must score at least {pair.min_score:.2f}."
    ET.SubElement(test, "failure", message=message, type="min_score").text = _full_case(pair)
    return test


def _failed_test(pair: Pair, comparison: Comparison) -> ET.Element:
    assert pair.failure is not None
    test = ET.Element("testcase", name=f"{wording.one_line(pair.id, 200)} was judged")
    message = wording.one_line(pair.failure.summary, 1_000)
    if comparison.outcome == "passed" or isinstance(pair.failure, Abstention):
        ET.SubElement(test, "skipped", message=message)
    else:
        element = ET.SubElement(test, "error", message=message, type=wording.one_line(pair.failure.error_type, 100))
        element.text = wording.excerpt(pair.failure.raw_output or "", _MAX_TEXT)
    return test


def _line(pair: Pair) -> str:
    change = "" if pair.difference is None else f" ({wording.signed(pair.difference)})"
    return f"{wording.one_line(pair.id, 100)}: {wording.scores(pair)}{change}  {wording.one_line(pair.prompt, 100)}"


def _full_case(pair: Pair) -> str:
    sections = [
        ("Prompt", pair.prompt),
        ("Before", pair.texts[0]),
        ("After", pair.texts[1]),
        ("The judge", pair.reasoning),
    ]
    return "\n\n".join(f"{title}:\n{wording.excerpt(text, _MAX_TEXT)}" for title, text in sections)
