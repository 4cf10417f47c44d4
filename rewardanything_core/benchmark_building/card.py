"""The card of a benchmark: where it is from and how far it can be relied on, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rewardanything_core.agreement.consensus import MAX_EXACT
from rewardanything_core.gate.reports.wording import counted

YOURS = "## Licences and notes"
"""The heading of the section that its owner writes; it is kept when the card is written again."""

_YOURS = f"""{YOURS}

This section is yours: it is kept when the card is written again.

- Licence of the prompts: (fill in)
- Licence and terms of the models that wrote responses: (fill in)
- Licence of this benchmark: (fill in)
- Personal data: (fill in)
- Known gaps: (fill in)
"""


def card(summary: Mapping[str, Any], before: str = "") -> str:
    """The card of a benchmark.

    Args:
        summary: `BuiltBenchmark.summary`; ``human`` is people's agreement, if there is any.
        before: The card so far, whose section `YOURS` is kept. Empty: there is none.
    """
    _, heading, own = before.partition(f"\n{YOURS}\n")
    kept = f"{YOURS}\n{own}" if heading else _YOURS
    sections = (_overview, _steps, _agreement, _people, _jury, _inputs, _use)
    return "\n".join(line for section in sections for line in (*section(summary), "")) + "\n" + kept


def figure(estimate: Mapping[str, Any]) -> str:
    """A figure with its interval, such as ``0.81 (0.74 to 0.87)``."""
    if estimate["value"] is None:
        return "-"
    return f"{estimate['value']:.2f} ({estimate['low']:.2f} to {estimate['high']:.2f})"


def steps(summary: Mapping[str, Any]) -> list[tuple[str, int]]:
    """What became of the lists, step by step."""
    counts = summary["counts"]
    return [
        ("lists of responses ranked under a principle", counts["lists"]),
        ("left out: too few jurors reached a verdict", counts["no_quorum"]),
        ("left out: disputed among the jurors", counts["disputed"]),
        ("left out: the consensus ties all responses", counts["no_order"]),
        ("kept", counts["kept"]),
        ("in the train half", counts["train"]),
        ("in the test half", counts["test"]),
    ]


def juror_table(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The headings and rows of the table of jurors."""
    header = ["juror", "lists", "failed", "orders", "votes left out", "agreement with consensus", "with the others"]
    return header, [
        [
            juror["model"],
            f"{juror['ranked']:,}",
            f"{juror['failed']:,}",
            f"{juror['orders']:.2g}",
            "-"
            if juror["position_inconsistent"]["value"] is None
            else f"{juror['position_inconsistent']['value']:.0%}",
            figure(juror["with_consensus"]),
            figure(juror["with_others"]),
        ]
        for juror in summary["jurors"]
    ]


def people_table(human: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The headings and rows of the table of people's agreement with the consensus."""
    header = ["who", "pairs", "same decision", "same, ties aside", "Cohen's kappa"]
    rows = [(one["person"], one) for one in human["people"]]
    if len(rows) > 1:
        rows.append(("most of them", human["majority"]))
    return header, [
        [name, f"{one['decided']:,}", *(figure(one[k]) for k in ("agreement", "agreement_without_ties", "kappa"))]
        for name, one in rows
    ]


def _overview(summary: Mapping[str, Any]) -> Iterator[str]:
    counts = summary["counts"]
    yield f"# {_cell(summary['name'])}"
    yield ""
    yield (
        f"{counted(counts['kept'], 'ranking')} under {counted(len(summary['principles']), 'principle')}: the consensus "
        f"of {counted(len(summary['jurors']), 'judge')}, without the lists that they dispute. "
        f"Built on {summary['created']} with rewardanything-core {summary['version']}."
    )
    yield ""
    if "human" not in summary:
        yield "**No person has checked it yet**: it says what its jurors agree on, whether or not people would."
    else:
        majority = summary["human"]["majority"]
        yield (
            f"**People agree with {figure(majority['agreement'])} of its decisions**, on a sample of "
            f"{counted(majority['decided'], 'pair')}."
        )


def _steps(summary: Mapping[str, Any]) -> Iterator[str]:
    options, counts = summary["options"], summary["counts"]
    yield "## What is in it"
    yield ""
    yield from _table(["step", "number"], [[name, f"{number:,}"] for name, number in steps(summary)])
    yield ""
    yield (
        f"Prompts: {counts['prompts']:,}, {counts['prompts_left_out']:,} of them left out for want of two different "
        f"responses. Responses: {counts['responses']:,}, {counts['duplicates']:,} of them left out as duplicates. Flip "
        f"pairs: {counts['train_flips']:,} in the train half, {counts['test_flips']:,} in the test half."
    )
    shared = "prompts and their responses" if options["split"] == "principle" else "principles"
    yield ""
    yield f"No {options['split']} is in both halves. They share {shared}."


def _agreement(summary: Mapping[str, Any]) -> Iterator[str]:
    options = summary["options"]
    yield "## How the rankings were made"
    yield ""
    orders = (
        "in as many orders as it has responses, each response in every place equally often"
        if options["balanced"]
        else "in as many orders as its setting `passes`"
    )
    yield f"- Each juror judged each list {orders}, without names of responses."
    yield (
        "- A juror that prefers one of two responses where it comes first, and the other where that does, has no vote "
        "on this pair; the share is in the table below."
    )
    yield (
        f"- Quorum: {options['quorum']} of {len(summary['jurors'])} jurors. A failed judgement is not a vote; "
        f"{counted(summary['counts']['failed_judgements'], 'judgement')} failed."
    )
    by_borda = summary["consensus_methods"].get("borda", 0)
    longer = f" {counted(by_borda, 'list')} by Borda's scores, being longer than {MAX_EXACT}." if by_borda else ""
    yield f"- Consensus: {options['consensus']}, with ties where the vote is split.{longer}"
    agreement = "-" if summary["agreement"] is None else f"{summary['agreement']:.2f}"
    ties = "-" if summary["ties"] is None else f"{summary['ties']:.0%}"
    yield (
        f"- Disputed: a list on which the jurors' mean Kendall's tau-b with each other is below "
        f"{options['min_agreement']:g}. On the lists kept it is {agreement}, and {ties} of the pairs are tied."
    )
    yield f"- Seed: {options['seed']}."


def _people(summary: Mapping[str, Any]) -> Iterator[str]:
    yield "## People"
    yield ""
    human = summary.get("human")
    if human is None:
        yield (
            f"{counted(len(summary['sheet']), 'pair')} were drawn for people (`sheet.html`, `sheet.csv`). Their "
            f"agreement is added by `ra-judge build -o FOLDER --human FILE`."
        )
        return
    yield from _table(*people_table(human))
    yield ""
    alpha = "" if human["alpha"] is None else f" Krippendorff's alpha between people: {human['alpha']:.2f}."
    yield f"95% intervals in brackets, over prompts. {human['cases']:,} pairs were drawn from all that are kept.{alpha}"


def _jury(summary: Mapping[str, Any]) -> Iterator[str]:
    yield "## Jury"
    yield ""
    yield from _table(*juror_table(summary))
    yield ""
    yield (
        "Agreement is Kendall's tau-b over the lists kept, with 95% intervals over prompts. A juror's own vote is part "
        "of the consensus; the last column is its agreement with the consensus of the others. Disputed lists are left "
        "out, which raises both."
    )
    yield ""
    header = ["juror", "readout", "hash of the judging prompt", "seed", "weight"]
    rows = [[j["model"], j["readout"], j["prompt_hash"], j["seed"], f"{j['weight']:g}"] for j in summary["jurors"]]
    yield from _table(header, rows)
    yield ""
    yield f"The jury in this run: {_usage(summary['usage'])}."
    yield f"All verdicts, when they were made: {_usage(summary['usage_of_all_verdicts'])}."


def _inputs(summary: Mapping[str, Any]) -> Iterator[str]:
    yield "## Inputs"
    yield ""
    if summary["files"]:
        yield from _table(["file", "SHA-256"], [[each["name"], each["sha256"]] for each in summary["files"]])
        yield ""
    yield f"Hash of the prompts with their responses: {summary['prompts_hash']}."
    yield ""
    principles = [
        [each["key"], each["family"] or "-", each["hash"], f"{each['lists']:,}", f"{each['kept']:,}"]
        for each in summary["principles"]
    ]
    yield from _table(["principle", "family", "hash of its text", "lists", "kept"], principles)
    if summary["models"]:
        yield ""
        header = ["model that wrote responses", "responses", "cut off at the limit", "took"]
        rows = [
            [each["model"], f"{each['responses']:,}", f"{each['truncated']:,}", _usage(each["usage"])]
            for each in summary["models"]
        ]
        yield from _table(header, rows)


def _use(summary: Mapping[str, Any]) -> Iterator[str]:
    yield "## Use"
    yield ""
    flips = " --flips test-flips.jsonl" if summary["counts"]["test_flips"] else ""
    yield f"`ra-judge bench test.jsonl{flips} --model MODEL` measures a judge."
    yield "A juror is measured on its own votes: it looks better than it is."


def _usage(usage: Mapping[str, Any]) -> str:
    cost = "" if usage["cost"] is None else f", ${usage['cost']:,.4f}"
    tokens = f"{usage['prompt_tokens']:,} tokens read, {usage['completion_tokens']:,} written"
    return f"{counted(usage['calls'], 'call')}, {tokens}{cost}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"


def _cell(text: str) -> str:
    """A text in a cell of a table: no markup, no line breaks."""
    escaped = "".join(f"\\{character}" if character in "\\`*_[]<>|#" else character for character in text)
    return " ".join(escaped.split())
