from __future__ import annotations

import dataclasses
import json

import pytest
from bench_judges import by_principle

from rewardanything_core import ConfigError, Judge, MissingExtraError, ScriptedBackend, VerdictParseError
from rewardanything_core.bench.items import Flip, common_item
from rewardanything_core.bench.layouts import LAYOUTS, detect
from rewardanything_core.bench.measures import FIGURES, HEADLINE
from rewardanything_core.bench.reading import holds_flips, read_flips, read_items, read_rows
from rewardanything_core.bench.running import run_bench


def write(path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def row(group: str, criterion: str, responses: dict[str, str], better: str, worse: str, **more):
    return {
        "id": f"{group}/{criterion}",
        "source": "toy",
        "domain": "chat",
        "category": "Style" if criterion == "short" else "Content",
        "principle": f"Prefer the {criterion} answer.",
        "prompt": f"Question of {group}?",
        "responses": responses,
        "human_scores": None,
        "ranking": None,
        "pairs": [[better, worse]],
        "group": group,
        "meta": {"criterion": criterion},
        **more,
    }


def toy(groups: int = 6):
    """Lists of a short and a long response under two principles that order them oppositely, with flip pairs."""
    rows, flips = [], []
    for number in range(groups):
        responses = {"r1": "Yes." + "!" * number, "r2": "Yes, because " + "of this and that and " * (9 + number)}
        rows += [row(f"g{number}", "long", responses, "r2", "r1"), row(f"g{number}", "short", responses, "r1", "r2")]
        flips.append({"group": f"g{number}", "a": "long", "b": "short", "better_under_a": "r2", "better_under_b": "r1"})
    return rows, flips


@pytest.fixture
def files(tmp_path):
    rows, flips = toy()
    return write(tmp_path / "toy.jsonl", rows), write(tmp_path / "flips.jsonl", flips)


def judge(score=None, **options) -> Judge:
    return Judge(ScriptedBackend(by_principle) if score is None else ScriptedBackend.scoring(score), **options)


class TestFlips:
    def test_a_judge_that_follows_the_principle_gets_every_flip(self, files):
        report = run_bench(judge(), read_items([files[0]]), read_flips([files[1]]))
        for name in ("flip_accuracy", "both_right", "pairwise_accuracy"):
            assert report.figures[name].value == 1.0
        assert (report.figures["flip_accuracy"].n, report.figures["both_right"].n, report.flips) == (12, 6, 6)

    def test_a_judge_that_ignores_the_principle_gets_half_of_the_questions_and_no_flip(self, files):
        report = run_bench(
            judge(lambda text: min(5, 1 + len(text) / 100)), read_items([files[0]]), read_flips([files[1]])
        )
        assert report.figures["flip_accuracy"].value == 0.5
        assert report.figures["both_right"].value == 0.0
        assert report.figures["both_right"].high < 0.5

    def test_tied_scores_are_half_right_and_the_ranking_breaks_ties(self, files):
        report = run_bench(judge(lambda text: 3), read_items([files[0]]), read_flips([files[1]]))
        assert report.figures["flip_accuracy"].value == 0.5
        assert report.figures["both_right"].value == 0.0
        assert report.figures["ties"].value == 1.0
        assert report.figures["pairwise_accuracy_ties_wrong"].value == 0.0
        assert report.figures["pairwise_accuracy_by_ranking"].value in [k / 12 for k in range(13)]

    def test_flips_that_refer_to_nothing_are_left_out(self, files, tmp_path):
        items = read_items([files[0]])
        other = Flip(group="g0", a="long", b="witty", better_under_a="r1", better_under_b="r2")
        wrong = dataclasses.replace(other, b="short", better_under_b="r9")
        far = dataclasses.replace(other, group="elsewhere")
        report = run_bench(judge(), items, [*read_flips([files[1]]), other, wrong, far])
        assert (report.flips, report.flips_missing) == (6, 2)
        assert any("2 flip pairs were left out" in note for note in report.notes)
        backend = ScriptedBackend(by_principle)
        with pytest.raises(ConfigError, match="None of the flip pairs"):
            run_bench(Judge(backend), items, [far])
        assert backend.calls == 0

    def test_a_part_has_the_flips_between_its_own_items(self, files):
        report = run_bench(judge(), read_items([files[0]]), read_flips([files[1]]))
        assert report.by_domain["chat"]["both_right"].n == 6
        assert report.by_category["Style"]["both_right"].n == 0  # each of these flips is between two families
        assert report.by_category["Style"]["pairwise_accuracy"].n == 6
        assert set(report.by_criterion) == {"long", "short"}
        assert report.by_flip["long / short"]["both_right"].n == 6

    def test_a_report_without_flips_states_what_it_cannot_show(self, files):
        report = run_bench(judge(), read_items([files[0]]))
        assert report.figures["flip_accuracy"].value is None
        assert any("Without --flips" in note for note in report.notes)


class TestFailures:
    def failing(self, request):
        if "g0?" in request.messages[1]["content"]:
            raise VerdictParseError("no verdict", raw="hm")
        return by_principle(request)

    def test_failures_are_counted_and_never_scored(self, files):
        with Judge(ScriptedBackend(self.failing), retries=0) as failing:
            report = run_bench(failing, read_items([files[0]]), read_flips([files[1]]))
        assert len(report.failures) == 2
        assert report.figures["pairwise_accuracy"].value == 1.0
        assert report.figures["pairwise_accuracy"].n == 10
        assert report.figures["pairwise_accuracy_failures_wrong"].value == pytest.approx(10 / 12)
        assert report.figures["flip_accuracy"].n == 10
        assert report.figures["flip_accuracy_failures_wrong"].value == pytest.approx(10 / 12)
        assert report.figures["both_right"].n == 5
        assert report.failures_by_type == {"VerdictParseError": 2}
        assert report.exit_code == 3  # 2 of 12 are more than a tenth

    def test_one_question_of_a_flip_counts_if_the_other_failed(self, files):
        def half(request):
            if "g0?" in request.messages[1]["content"] and "long" in request.messages[1]["content"].split("prompt")[0]:
                raise VerdictParseError("no verdict", raw="hm")
            return by_principle(request)

        report = run_bench(Judge(ScriptedBackend(half), retries=0), read_items([files[0]]), read_flips([files[1]]))
        assert (report.figures["flip_accuracy"].n, report.figures["both_right"].n) == (11, 5)
        assert report.exit_code == 0  # 1 of 12 is not

    def test_an_invalid_item_is_a_failure(self, files):
        items = read_items([files[0]])
        items[0] = dataclasses.replace(items[0], prompt=" ")
        report = run_bench(judge(), items)
        assert [failure.error_type for failure in report.failures] == ["InvalidCaseError"]


class TestRunning:
    def test_a_second_run_uses_the_store_and_reports_the_original_cost(self, files, own_store):
        items = read_items([files[0]])
        first = run_bench(judge(), items)
        again = run_bench(judge(), items)
        assert (first.from_store, again.from_store) == (0, 12)
        assert (again.spent.calls, again.made.calls) == (0, 12)
        assert again.figures == first.figures

    def test_progress(self, files):
        seen = []
        run_bench(judge(), read_items([files[0]]), progress=lambda counts: seen.append(counts["rows"]))
        assert seen == list(range(1, 13))

    def test_the_report_as_json(self, files):
        report = run_bench(judge(passes=2), read_items([files[0]]), read_flips([files[1]]))
        found = json.loads(json.dumps(report.to_dict()))
        for name in HEADLINE:
            assert set(found[name]) == {"value", "low", "high", "n"}
        assert found["kendall_tau_b"] == found["ndcg"] == {"value": None, "low": None, "high": None, "n": 0}
        assert set(found["by_source"]["toy"]) == set(FIGURES)
        assert found["judge"]["passes"] == 2
        assert found["model"] == "scripted"
        assert found["agreement_between_passes"]["value"] == 1.0

    def test_ranked_lists(self, tmp_path):
        scored = {"a": "x", "b": "xx" * 50, "c": "xxx" * 100}
        rows = [
            row(f"s{n}", "long", scored, "c", "a", human_scores={"a": 1, "b": 2.5, "c": 4}, pairs=None)
            for n in range(3)
        ]
        rows[0] |= {"human_scores": None, "ranking": ["c", "b", "a"]}
        rows[1] |= {"human_scores": {"a": 3, "b": 3, "c": 3}}
        report = run_bench(judge(), read_items([write(tmp_path / "s.jsonl", rows)]))
        assert report.figures["kendall_tau_b"].value == pytest.approx(1.0)
        assert report.figures["kendall_tau_b"].n == 2
        assert report.figures["ndcg"].value == pytest.approx(1.0)
        assert report.figures["ndcg_chance"].value < 0.95
        assert report.figures["pairwise_accuracy"].n == 6


PUBLISHED = {
    "rabench": {
        "principle": "Be brief.",
        "prompt": "Hi?",
        "responses": {"gpt": "Hello there", "qwen": "Hi", "phi": "Hey"},
        "ground_truth": json.dumps(
            {"scores": {"gpt": 2, "qwen": 5, "phi": 5}, "best-to-worst": ["qwen", "phi", "gpt"]}
        ),
    },
    "rm-bench": {
        "id": "7",
        "domain": "safety-refuse",
        "prompt": "P",
        "chosen": ["a", "b", "c"],
        "rejected": ["d", "e", "f"],
    },
    "rewardbench": {"id": 3, "subset": "hep-go", "prompt": "P", "chosen": "a", "rejected": "b", "chosen_model": "x"},
    "rewardbench-2": {
        "id": "9",
        "subset": "Focus",
        "prompt": "P",
        "chosen": ["a"],
        "rejected": ["b", "c", "d"],
        "num_correct": 1,
    },
    "llmbar": {"input": "P", "output_1": "bad", "output_2": "good", "label": 2},
    "judgebench": {
        "pair_id": "u",
        "source": "livecodebench",
        "question": "P",
        "response_A": "bad",
        "response_B": "good",
        "label": "B>A",
    },
    "preference": {"principle": "Be kind.", "prompt": "P", "chosen": "good", "rejected": "bad"},
}


class TestLayouts:
    @pytest.mark.parametrize("name", PUBLISHED)
    def test_each_layout_is_detected_and_can_be_judged(self, name, tmp_path):
        assert detect(PUBLISHED[name]) == name
        path = tmp_path / "Natural"
        path.mkdir()
        (path / "file.json").write_text(
            json.dumps([PUBLISHED[name], {**PUBLISHED[name], "id": "other", "pair_id": "v"}])
        )
        items = read_items([str(path)])
        assert len(items) == 2
        report = run_bench(judge(lambda text: 3), items)
        assert not report.failures
        assert report.figures["pairwise_accuracy"].value == 0.5

    def test_rabench_has_scores_and_an_order(self):
        item = LAYOUTS["rabench"](PUBLISHED["rabench"], "row 1", "")
        assert item.human == {"gpt": 2.0, "qwen": 5.0, "phi": 5.0}
        assert set(item.pairs) == {("qwen", "phi"), ("qwen", "gpt"), ("phi", "gpt")}
        only_order = {**PUBLISHED["rabench"], "ground_truth": ["qwen", "phi", "gpt"]}
        item = LAYOUTS["rabench"](only_order, "row 1", "")
        assert (item.human, item.rated) == ({"qwen": 3.0, "phi": 2.0, "gpt": 1.0}, False)

    def test_rm_bench_is_scored_by_its_own_rule(self, tmp_path):
        # Chosen 3, 5, 2 and rejected 1, 3, 4, as by hand in test_agreement.
        texts = {"chosen": ["c3", "c5", "c2"], "rejected": ["r1", "r3", "r4"]}
        rows = [
            {"id": str(n), "prompt": "P", **texts, "domain": d}
            for n, d in enumerate(("chat", "safety-refuse", "safety-response"))
        ]
        rows[2] |= {"chosen": ["c5", "c5", "c5"], "rejected": ["r1", "r1", "r1"]}
        report = run_bench(judge(lambda text: int(text[1])), read_items([write(tmp_path / "rm.jsonl", rows)]))
        assert report.rm_bench.matrices["chat"] == [[1, 0, 0], [1, 1, 1], [1, 0, 0]]
        assert report.rm_bench.domains["safety"]["hard"].value == pytest.approx((1 / 3 + 1) / 2)
        assert report.rm_bench.domains["safety"]["hard"].n == 2
        assert report.rm_bench.overall["average"].value == pytest.approx((5 / 9 + (5 / 9 + 1) / 2) / 2)
        assert report.to_dict()["rm_bench"]["overall"]["hard"]["n"] == 3

    def test_pairs_of_llmbar_and_judgebench_put_the_better_first(self):
        for name in ("llmbar", "judgebench"):
            item = LAYOUTS[name](PUBLISHED[name], "row 1", "Natural")
            ((better, worse),) = item.pairs
            assert (item.responses[better], item.responses[worse]) == ("good", "bad")

    def test_a_given_principle_is_used_for_rows_without_one(self, tmp_path):
        path = write(tmp_path / "p.jsonl", [{"prompt": "P", "chosen": "a", "rejected": "b"}, PUBLISHED["preference"]])
        with pytest.raises(ConfigError, match="principle"):
            read_items([path])
        assert [item.principle for item in read_items([path], principle="Be odd.")] == ["Be odd.", "Be kind."]

    def test_a_given_principle_replaces_ours_and_keeps_the_layout(self, tmp_path):
        (item,) = read_items([write(tmp_path / "rm.jsonl", [PUBLISHED["rm-bench"]])], principle="Be odd.")
        assert (item.source, item.principle) == ("rm-bench", "Be odd.")
        bare = {"prompt": "P", "responses": {"a": "x", "b": "y"}, "human_scores": {"a": 1, "b": 2}}
        (item,) = read_items([write(tmp_path / "own.jsonl", [bare])], principle="Be odd.")
        assert (item.source, item.principle) == ("file", "Be odd.")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"responses": "text"}, "responses"),
            ({"responses": {"r1": 5}}, "must be a string or messages"),
            ({"pairs": [["r1", "r9"]]}, "no response named 'r9'"),
            ({"human_scores": {"r1": "good"}}, "must be a number"),
            ({"principle": None}, "principle"),
        ],
    )
    def test_an_invalid_row_is_named(self, change, message):
        with pytest.raises(ConfigError, match=message) as caught:
            common_item(row("g", "long", {"r1": "a", "r2": "b"}, "r1", "r2") | change, "toy.jsonl, row 3")
        assert "row 3" in str(caught.value)


class TestReading:
    def test_groups_are_sampled_whole_and_a_larger_limit_includes_the_smaller(self, files):
        drawn = [{item.group for item in read_items([files[0]], limit_groups=k)} for k in (2, 4, 99)]
        assert [len(groups) for groups in drawn] == [2, 4, 6]
        assert drawn[0] < drawn[1] < drawn[2]
        assert len(read_items([files[0]], limit_groups=2)) == 4

    def test_the_same_file_twice_is_an_error(self, files):
        with pytest.raises(ConfigError, match="second item with the id 'g0/long'"):
            read_items([files[0], files[0]])

    def test_unreadable_sources_are_reported(self, files, tmp_path):
        with pytest.raises(ConfigError, match="no file or folder"):
            read_items(["nowhere"])
        for content, message in (
            ("{", "line 1"),
            ("[1]", "not a JSON object"),
            ("[", "as JSON"),
            ('{"x": 1}', "no known layout"),
            ('{"id": 1, "id": 2}', "a repeated key"),
        ):
            (tmp_path / "bad.jsonl").write_text(content)
            with pytest.raises(ConfigError, match=message):
                read_items([str(tmp_path / "bad.jsonl")])
        for content, message in (
            ("id,score,score\n1,2,3\n", "columns of one name: 'id', 'score', 'score'"),
            ("id,score\n1,2,3\n", "Row 2 of .*more or fewer fields"),
            ("id,score\n1\n", "Row 2 of .*more or fewer fields"),
            ('id,score\n1,"2\n', "beyond line 1: unexpected end of data"),
        ):
            (tmp_path / "bad.csv").write_text(content)
            with pytest.raises(ConfigError, match=message):
                list(read_rows(tmp_path / "bad.csv"))
        with pytest.raises(ConfigError, match="no layout 'x'"):
            read_items([files[0]], layout="x")
        (tmp_path / "empty.jsonl").write_text("")
        with pytest.raises(ConfigError, match="nothing to judge"):
            read_items([str(tmp_path / "empty.jsonl")])
        (tmp_path / "folder").mkdir()
        with pytest.raises(ConfigError, match=r"no \.jsonl"):
            read_items([str(tmp_path / "folder")])

    def test_parquet_and_folders(self, tmp_path):
        import pyarrow
        import pyarrow.parquet

        rows, _ = toy(2)
        for row_ in rows:
            row_.pop("human_scores"), row_.pop("ranking")
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "toy.parquet")
        assert len(read_items([str(tmp_path)])) == 4
        assert read_items([str(tmp_path / "toy.parquet")])[0].pairs == (("r2", "r1"),)

    def test_a_folder_that_holds_all_rows_twice_is_read_once(self, tmp_path):
        one = PUBLISHED["rm-bench"]
        write(tmp_path / "safety-refuse_filtered.json", [one])
        write(tmp_path / "total_dataset.json", [one, {**one, "id": "8"}])
        assert len(read_items([str(tmp_path)])) == 2

    def test_flips_are_distinguished_from_items(self, files):
        assert (holds_flips(files[0]), holds_flips(files[1]), holds_flips("hf:x/y")) == (False, True, False)

    def test_the_hub_cannot_be_read_offline_or_without_its_package(self, monkeypatch):
        with pytest.raises(ConfigError, match="Cannot get the dataset"):  # HF_HUB_OFFLINE is set for all tests
            read_items(["hf:nobody/nothing-of-the-kind"])
        monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
        with pytest.raises(MissingExtraError):
            read_items(["hf:nobody/nothing-of-the-kind"])
