"""AgentFlips, the data set in benchmarks/: only a judge that reads what was done can do better than chance."""

from __future__ import annotations

import json
from pathlib import Path

from agent_runs import last_text_only

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.backends import verdict_reply
from rewardanything_core.bench import read_flips, read_items, run_bench
from rewardanything_core.bench.audits import run_audits
from rewardanything_core.bench.page import html_page
from rewardanything_core.conversations import Trajectory, turns_as_json

FOLDER = Path(__file__).parents[2] / "benchmarks" / "agentflips"
ITEMS = read_items([str(FOLDER / "agentflips.jsonl")])
FLIPS = read_flips([str(FOLDER / "flips.jsonl")])


def test_runs_of_a_pair_differ_in_what_was_done_and_each_is_right_once() -> None:
    assert (len(ITEMS), len(FLIPS), len({item.group for item in ITEMS})) == (80, 40, 20)
    by_place = {(item.group, item.criterion): item for item in ITEMS}
    for flip in FLIPS:
        one, other = by_place[flip.group, flip.a], by_place[flip.group, flip.b]
        assert one.responses == other.responses
        assert one.prompt == other.prompt
        assert one.principle != other.principle
        assert (one.pairs, other.pairs) == (
            ((flip.better_under_a, flip.better_under_b),),
            ((flip.better_under_b, flip.better_under_a),),
        )
        first, second = one.responses.values()
        assert isinstance(first, Trajectory)
        assert isinstance(second, Trajectory)
        assert first.final_text == second.final_text
        assert first != second


def test_only_a_judge_that_reads_what_was_done_is_better_than_chance() -> None:
    right = {
        (item.principle, item.prompt, json.dumps(turns_as_json(item.responses[item.pairs[0][0]].messages)))
        for item in ITEMS
    }

    def reads_all(request):
        case = json.loads(request.messages[1]["content"])
        known = {
            name: (case["principle"], case["prompt"], json.dumps(turns)) in right
            for name, turns in case["responses"].items()
        }
        return verdict_reply({name: 5 if is_right else 1 for name, is_right in known.items()})

    def figures(reply):
        report = run_bench(Judge(ScriptedBackend(reply), cache="off"), ITEMS, FLIPS)
        assert not report.failures
        return report.figures["flip_accuracy"].value, report.figures["both_right"].value

    assert figures(last_text_only) == (0.5, 0.0)
    assert figures(reads_all) == (1.0, 1.0)


def test_the_report_of_runs_shows_turns_and_the_attacks_of_audits_are_added_to_last_texts() -> None:
    seen: list[str] = []

    def first_run(request):
        seen.append(request.messages[1]["content"])
        return verdict_reply({name: 5 - place for place, name in enumerate(json.loads(seen[-1])["responses"])})

    judge = Judge(ScriptedBackend(first_run), cache="off")
    report = run_bench(judge, ITEMS[:8])
    assert 'class="turn' in html_page(report)
    _, audit = [found for found in run_audits(judge, report.judged, ["injection"], groups=1) if found.figures]
    assert (audit.name, audit.failed) == ("injection", 0)
    lasts = [turns[-1]["text"] for text in seen[8:] for turns in json.loads(text)["responses"].values()]
    ends = {run.final_text for item in ITEMS[:8] for run in item.responses.values()}
    assert any(last not in ends and last.startswith(tuple(ends)) for last in lasts)
