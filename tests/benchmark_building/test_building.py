"""`build_benchmark` with jurors of known noise: what is kept, what is disputed, and what a second run pays."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path
from statistics import fmean

import pytest
from jurors import LEAST, MOST, fair, juror, jury, noisy, parrot, prompts, quality, sharp

from rewardanything_core import Jury, Principle, ScriptedBackend
from rewardanything_core.bench import read_flips, read_items, run_bench
from rewardanything_core.benchmark_building import BenchmarkBuilder, BuildOptions, build_benchmark, write_benchmark
from rewardanything_core.benchmark_building.lists import PromptRow, checked_rows, select_tasks
from rewardanything_core.benchmark_building.sampling import ResponseFile, SampleOptions, sample_responses
from rewardanything_core.errors import BudgetExceededError, ConfigError, VerdictParseError


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


SLASHES = [{**row, "id": name} for row, name in zip(prompts(2), ("b/c", "c"), strict=True)]


def calls() -> Counter[str]:
    return Counter(Path("calls").read_text().split()) if Path("calls").exists() else Counter()


def right(votes, task) -> float:
    """Share of the pairs of a list that votes order as the true qualities do; a tie counts half."""
    texts, found = task.row.responses, []
    for one, other in combinations(sorted(texts), 2):
        truth = quality(texts[one], task.principle.text) - quality(texts[other], task.principle.text)
        vote = votes.get((one, other), 0)
        found.append(0.5 if not vote or not truth else float(vote * truth > 0))
    return fmean(found)


def test_the_consensus_is_better_than_each_juror_and_close_lists_are_the_disputed_ones():
    built = build_benchmark([MOST, LEAST], prompts(60, close=0.3), jury(), sheet=0)
    apart = [each for each in built.lists if each.task.row.id.startswith("apart")]
    of_jurors = [fmean(right(each.jurors[place].votes, each.task) for each in apart) for place in range(3)]
    assert fmean(right(each.consensus.votes, each.task) for each in apart) > max(of_jurors)
    disputed = [each.task.row.id.startswith("close") for each in built.lists if each.status == "disputed"]
    kept = [each.task.row.id.startswith("close") for each in built.lists if each.status == "kept"]
    assert fmean(disputed) > 0.7 and fmean(kept) < 0.2


def test_a_second_run_pays_nothing_twice_whatever_ended_the_first():
    rows, whole = prompts(10), 10 * 3 * 4

    def interrupt(counts):
        if counts["rows"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_benchmark([MOST], rows, jury(seconds=0.3), split="prompt", progress=interrupt)
    begun = calls().total()
    assert 0 < begun < whole
    limited = Jury(jury()).with_options(max_calls=20)
    with pytest.raises(BudgetExceededError, match="max_calls = 20"):
        build_benchmark([MOST], rows, limited, split="prompt")
    begun, stored = calls().total(), sum(1 for _ in jury()[0].store.entries())
    first = build_benchmark([MOST], rows, jury(), split="prompt")
    assert first.usage.calls == calls().total() - begun == whole - 4 * stored < whole
    again = build_benchmark([MOST], rows, jury(), split="prompt")
    assert again.usage.calls == 0 == calls().total() - begun - first.usage.calls
    figures = [{**built.summary(), "usage": None} for built in (first, again)]
    assert figures[0] == figures[1]


def test_failed_judgements_are_no_votes_and_a_list_needs_a_quorum():
    rows = prompts(8)
    rows[0]["prompt"] += " not for dull"
    rows[1]["prompt"] += " neither for dull nor for fair"
    built = build_benchmark([MOST], rows, jury(), split="prompt", min_agreement=-1)
    by_id = {each.task.row.id: each for each in built.lists}
    assert [votes is None for votes in by_id[rows[0]["id"]].jurors] == [False, False, True]
    assert by_id[rows[0]["id"]].status == "kept" and by_id[rows[1]["id"]].status == "no quorum"
    summary = built.summary()
    assert summary["counts"]["no_quorum"] == 1 and summary["counts"]["failed_judgements"] == 3
    assert [juror["failed"] for juror in summary["jurors"]] == [0, 1, 2]
    strict = build_benchmark([MOST], rows, jury(), split="prompt", min_agreement=-1, quorum=3)
    assert strict.summary()["counts"]["no_quorum"] == 2


def test_a_juror_that_never_judges_ends_the_run_early():
    mute = juror("mute", lambda request: "no verdict")
    with pytest.raises(VerdictParseError, match="The juror mute failed on each of its first"):
        build_benchmark([MOST], prompts(300), [juror("sharp", sharp), juror("fair", fair), mute], split="prompt")
    assert calls()["sharp"] <= 4 * 5


def test_votes_that_depend_on_the_position_are_left_out_and_counted():
    biased = juror("biased", noisy("biased", 0.0, first=1.5))
    built = build_benchmark([MOST], prompts(20), [juror("sharp", sharp), biased], split="prompt", min_agreement=-1)
    sharp_one, biased_one = built.summary()["jurors"]
    assert sharp_one["votes_left_out"] == 0 < biased_one["votes_left_out"]
    assert sharp_one["orders"] == biased_one["orders"] == 4
    for each in built.lists:
        votes = each.jurors[1]
        gaps = {
            pair: abs(quality(each.task.row.responses[pair[0]]) - quality(each.task.row.responses[pair[1]]))
            for pair in votes.inconsistent
        }
        assert all(gap < 1.5 for gap in gaps.values())


def test_the_files_are_read_by_bench_and_no_principle_is_in_both_halves(tmp_path):
    principles = [Principle(MOST, name="most", family="logic"), Principle(LEAST, name="least")]
    principles += [Principle(f"{text} Really.", name=f"really-{n}") for n, text in enumerate((MOST, LEAST))]
    rows = prompts(10)
    rows[0]["responses"] |= {"r4": rows[0]["responses"]["r0"]}
    rows[1]["responses"] = dict.fromkeys(("r0", "r1"), "About 3")
    built = build_benchmark(principles, rows, jury(), name="numbers", seed=2)
    summary = write_benchmark(built, "out")
    halves = {half: read_items([f"out/{half}.jsonl"]) for half in ("train", "test")}
    assert {half: len(items) for half, items in halves.items()} == {h: summary["counts"][h] for h in halves}
    in_train, in_test = ({item.criterion for item in items} for items in halves.values())
    assert in_train | in_test == {"most", "least", "really-0", "really-1"} and not in_train & in_test
    assert summary["counts"]["prompts_left_out"] == 1 and summary["counts"]["duplicates"] == 2
    for half, items in halves.items():
        assert [item.human for item in items] == [item.human for item in built.items(half)]
        flips = read_flips([f"out/{half}-flips.jsonl"]) if Path(f"out/{half}-flips.jsonl").exists() else []
        assert flips == built.flips(half)
    report = run_bench(juror("perfect", noisy("perfect", 0.0)), halves["test"], built.flips("test"))
    assert report.figures["pairwise_accuracy"].value > 0.85 and report.figures["both_right"].value > 0.8
    card = Path("out/card.md").read_text()
    assert "No person has checked it yet" in card and "Licence of the prompts: (fill in)" in card
    Path("out/card.md").write_text(card.replace("Licence of the prompts: (fill in)", "Licence: CC0"))
    write_benchmark(built, "out")
    assert "Licence: CC0" in Path("out/card.md").read_text()


@pytest.mark.parametrize(("principles", "rows", "number"), [(3, 10, 30), (3, 10, 12), (4, 3, 9), (5, 7, 6)])
def test_a_selection_has_each_principle_and_each_prompt_about_equally_often(principles, rows, number):
    by_key = {f"p{n}": Principle(f"Principle {n}") for n in range(principles)}
    tasks = select_tasks(by_key, checked_rows(prompts(rows)), number=number, seed=1)
    assert len({task.id for task in tasks}) == len(tasks) == number
    for counts, of in ((Counter(t.key for t in tasks), principles), (Counter(t.row.id for t in tasks), rows)):
        assert max(counts.values()) - min([*counts.values(), *([0] if len(counts) < of else [])]) <= 1
    assert tasks == select_tasks(by_key, checked_rows(prompts(rows)), number=number, seed=1)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([], prompts(2)), {}, "There is no principle"),
        (([MOST, f" {MOST}\n"], prompts(2)), {}, "have the same text"),
        (([{"criteria": {"a": "b"}}], prompts(2)), {}, "is a rubric"),
        (([MOST], []), {}, "There are no prompts"),
        (([MOST], [{"prompt": " ", "responses": ["a", "b"]}]), {}, "prompt is empty"),
        (([MOST], [*prompts(1), *prompts(1)]), {}, "Two prompts have the id"),
        (([MOST], [{"prompt": "p", "responses": ["same", "same"]}]), {}, "two responses that differ"),
        (([MOST], prompts(4)), {}, "--split prompt"),
        (([MOST], [{**row, "prompt": "Same?"} for row in prompts(4)]), {"split": "prompt"}, "only one prompt"),
        (([Principle(MOST, name="a"), Principle(LEAST, name="a/b")], SLASHES), {}, "would both be the list 'a/b/c'"),
        (([MOST, LEAST], prompts(4)), {"lists": 1}, "too few for 2 principles"),
        (([MOST, LEAST], prompts(4)), {"quorum": 4}, "quorum must be within 2..3"),
        (([MOST, LEAST], prompts(4)), {"consensus": "vote"}, "consensus must be one of"),
        (([MOST, LEAST], prompts(4)), {"splits": "prompt"}, "Did you mean 'split'"),
        (([MOST, LEAST], prompts(4)), {"jury": [juror("sharp", sharp)]}, "two jurors or more"),
        (([MOST, LEAST], prompts(4)), {"jury": [juror("x", sharp), juror("x", fair)]}, "the same judge, x"),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_is_judged(arguments, options, message):
    with pytest.raises(ConfigError, match=message):
        build_benchmark(*arguments, options.pop("jury", None) or jury(), **options)
    assert not calls()


def test_an_estimate_counts_the_calls_of_all_jurors_in_all_orders():
    rows = prompts(5) + [{**row, "id": f"b{n}"} for n, row in enumerate(prompts(5, responses=2))]
    builder = BenchmarkBuilder([MOST], rows, jury(), BuildOptions(split="prompt"))
    assert builder.estimate().calls == 5 * 3 * 4 + 5 * 3 * 2
    builder.build()
    assert calls().total() == 5 * 3 * 4 + 5 * 3 * 2
    unbalanced = BuildOptions(split="prompt", balanced=False)
    again = BenchmarkBuilder([MOST], rows, jury(passes=2), unbalanced).estimate()
    assert (again.cases, again.cached, again.calls) == (10, 5, 5 * 3 * 2)


def test_sampled_responses_are_kept_with_their_model_and_written_once():
    rows = [PromptRow(id=f"p{n}", prompt=f"Question {'?' * n}", context="Be kind." if n else None) for n in range(3)]
    options = SampleOptions(samples=2)
    models = {"parrot": lambda: ScriptedBackend(parrot, name="parrot")}
    sampled, failures = sample_responses(rows, models, options, file=ResponseFile("responses.jsonl"))
    assert not failures and list(sampled[1].responses) == ["parrot#1", "parrot#2"]
    assert sampled[1].origins["parrot#2"]["sampling"]["seed"] == 1
    assert Path("written").read_text().count("Be kind.\n\nQuestion ?\n") == 2
    kept = Path("responses.jsonl").read_text()
    Path("responses.jsonl").write_text(kept[:-20])  # killed while writing the last line
    again, _ = sample_responses(rows, models, options, file=ResponseFile("responses.jsonl"))
    assert again == sampled and Path("written").read_text().count("Question") == 2 * 3 + 1
    assert sorted(Path("responses.jsonl").read_text().splitlines()) == sorted(kept.splitlines())
    for broken in ('{"key": "x', "[1]", '{"key": "x", "response": 5, "usage": {}}'):
        Path("broken.jsonl").write_text(f"{kept.splitlines()[0]}\n\n{broken}\n")
        with pytest.raises(ConfigError, match=r"Cannot read line 3 of broken\.jsonl.*Delete this line"):
            ResponseFile("broken.jsonl")

    def picky(request):
        return "" if "??" in request.messages[-1]["content"] else "fine"

    partly, failures = sample_responses(
        rows, {"picky": lambda: ScriptedBackend(picky, name="picky")}, SampleOptions(), file=ResponseFile("other.jsonl")
    )
    assert [len(row.responses) for row in partly] == [1, 1, 0] and "picky on p2" in failures[0]
