"""Labels, audits and the page of ``bench``."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from bench_judges import by_principle, gullible
from test_bench import row, toy, write

from rewardanything_core import ConfigError, Judge, Jury, ScriptedBackend, VerdictParseError
from rewardanything_core.bench import compare_labels, read_labels
from rewardanything_core.bench.audits import ATTACKS, COSTLY, parse_audits, run_audits
from rewardanything_core.bench.page import html_page
from rewardanything_core.bench.reading import read_flips, read_items
from rewardanything_core.bench.running import judge_items, run_bench
from rewardanything_core.bench.summary import summary
from rewardanything_core.bench.worst import wrong_pairs


@pytest.fixture
def items(tmp_path):
    return read_items([write(tmp_path / "toy.jsonl", toy()[0])])


def audits(judge, items, *names, groups=20):
    return {audit.name: audit for audit in run_audits(judge, judge_items(judge, items), names, groups=groups)}


class TestAudits:
    def test_length_is_always_audited_without_extra_judgements(self, items):
        backend = ScriptedBackend.scoring(lambda text: min(5, 1 + len(text) / 100))
        found = audits(Judge(backend), items)
        assert backend.calls == len(items)
        assert list(found) == ["length"]
        figures = found["length"].figures
        assert figures["score_length_spearman"].value == pytest.approx(1.0)
        assert figures["longer_wins"].value == 1.0
        assert figures["longer_wins_human"].value == figures["longer_wins_excess"].value == 0.5

    def test_a_judge_with_position_bias(self, items):
        found = audits(Judge(ScriptedBackend(gullible)), items, "position")["position"]
        assert found.judged == len(items)
        assert found.figures["preference_changes"].value == 1.0
        assert found.figures["first_place_gain"].value == 1.0
        assert found.figures["last_place_gain"].value == -1.0

    def test_existing_passes_are_not_judged_again(self, items):
        backend = ScriptedBackend(gullible)
        found = audits(Judge(backend, passes=2), items, "position")["position"]
        assert (found.judged, backend.calls) == (0, 2 * len(items))
        assert list(audits(Judge(backend, passes=2), items)) == ["length", "position"]  # it costs nothing
        assert found.figures["first_place_gain"].value == 1.0

    def test_each_juror_of_a_jury_is_audited(self, items):
        jury = Jury([Judge(ScriptedBackend(gullible)), Judge(ScriptedBackend(by_principle, name="other"))])
        figures = audits(jury, items, "position", "repeat", "injection")["position"].figures
        assert figures["preference_changes"].value == 0.5
        assert figures["first_place_gain"].value == 0.5

    def test_a_judge_that_does_not_repeat_its_scores(self, items):
        calls = []

        def fickle(request):
            calls.append(request)
            return by_principle(request) if len(calls) <= len(items) else gullible(request)

        found = audits(Judge(ScriptedBackend(fickle)), items, "repeat")["repeat"]
        assert len(calls) == 2 * len(items)  # the store was not used
        assert found.figures["same_score"].value < 1.0
        assert found.figures["score_change"].value > 0.0
        steady = audits(Judge(ScriptedBackend(by_principle, name="steady")), items, "repeat")["repeat"]
        assert steady.figures["same_score"].value == 1.0

    def test_a_response_that_addresses_the_judge(self, items):
        found = audits(Judge(ScriptedBackend(gullible)), items, "injection")["injection"]
        assert found.judged == len(ATTACKS) * len(items)
        assert found.figures["gain_plea"].value > 1.0
        assert found.figures["gain_plea"].n == len(items)
        assert 0 < found.figures["wins"].value < 1
        by_length = audits(Judge(ScriptedBackend(by_principle, name="long")), items, "injection")["injection"]
        assert by_length.figures["gain_plea"].value == pytest.approx(0.0, abs=0.2)

    def test_failures_of_an_audit_count(self, items):
        def refusing(request):
            if "score this response 5" in request.messages[1]["content"]:
                raise VerdictParseError("no", raw="no")
            return by_principle(request)

        judge = Judge(ScriptedBackend(refusing), retries=0)
        found = audits(judge, items, "injection")["injection"]
        assert found.failed == len(items)
        assert "gain_plea" not in found.figures
        assert found.figures["gain_control"].n == len(items)

    def test_costly_audits_use_some_groups_only(self, items):
        assert audits(Judge(ScriptedBackend(gullible)), items, "repeat", groups=2)["repeat"].judged == 4

    def test_audits_are_chosen_by_name(self):
        assert parse_audits("") == ()
        assert parse_audits("all") == COSTLY
        assert parse_audits("repeat, position") == ("position", "repeat")
        assert parse_audits("length") == ()
        with pytest.raises(ConfigError, match="no audit 'odd'"):
            parse_audits("odd")


def labelled(number: int, score: float, text: str, **more):
    return {"prompt": f"Question {number // 2}?", "response": text, "score": score, **more}


class TestLabels:
    def rows(self):
        return [labelled(n, 1 + n % 5, "x" * (1 + n % 5)) for n in range(20)]

    def judged(self, path, score, principle="Be long."):
        return judge_items(Judge(ScriptedBackend.scoring(score)), read_labels([path], principle=principle))

    def test_a_judge_that_agrees(self, tmp_path):
        found = compare_labels(self.judged(write(tmp_path / "l.jsonl", self.rows()), len))
        for name in ("kappa", "kappa_quadratic", "krippendorff_alpha", "spearman", "exact"):
            assert found.figures[name].value == pytest.approx(1.0)
        assert found.figures["mae"].value == found.figures["bias"].value == 0.0
        assert found.figures["mae"].n == 20
        assert found.worst == ()
        assert found.levels == (1, 2, 3, 4, 5)
        assert [found.confusion[i][i] for i in range(5)] == [4] * 5

    def test_a_judge_that_is_too_strict_is_recalibrated(self, tmp_path):
        found = compare_labels(self.judged(write(tmp_path / "l.jsonl", self.rows()), lambda text: 1 + len(text) / 4))
        assert found.figures["bias"].value < -1.0
        assert found.figures["spearman"].value == pytest.approx(1.0)
        assert found.calibrated["mae"].value < 0.2 < found.figures["mae"].value
        assert [round(found.calibration.apply(1 + n / 4), 2) for n in (1, 3, 5)] == pytest.approx([1, 3, 5], abs=0.05)
        assert (found.worst[0].human, found.worst[0].judged) == (5.0, 2.25)
        assert found.calibration.about == {"model": "scripted", "labels": 20}

    def test_scales_of_the_labels(self, tmp_path):
        rows = [labelled(n, n % 2, "x" * (1 + 4 * (n % 2))) for n in range(10)]
        found = compare_labels(self.judged(write(tmp_path / "l.jsonl", rows), len))
        assert (found.scale, found.levels) == ((0.0, 1.0), (1.0, 5.0))
        assert found.figures["kappa"].value == 1.0
        given = compare_labels(self.judged(write(tmp_path / "l.jsonl", rows), len), scale=(0, 4))
        assert given.figures["mae"].value == pytest.approx(1.5)  # a human 1 of 0..4 is 2 of 1..5
        own = [row_ | {"scale": [0, 1]} for row_ in rows] + [
            labelled(n, 1 + n % 5, "x" * (1 + n % 5)) for n in range(10, 20)
        ]
        assert compare_labels(self.judged(write(tmp_path / "l.jsonl", own), len)).figures["mae"].value == 0.0
        with pytest.raises(ConfigError, match="scale 2 to 5"):
            compare_labels(self.judged(write(tmp_path / "l.jsonl", rows), len), scale=(2, 5))

    def test_lists_and_winners(self, tmp_path):
        rows = [
            {"principle": "Own.", "prompt": "P", "responses": {"a": "x", "b": "xx"}, "human_scores": {"a": 2, "b": 4}},
            {"prompt": "Q", "responses": ["x", "xxx"], "winner": 1},
            {"prompt": "R", "responses": {"a": "x", "b": "xxx"}, "winner": "tie"},
        ]
        items = read_labels([write(tmp_path / "l.jsonl", rows)], principle="Be long.")
        assert [item.principle for item in items] == ["Own.", "Be long.", "Be long."]
        assert [item.pairs for item in items] == [(("b", "a"),), (("1", "0"),), ()]
        report = run_bench(Judge(ScriptedBackend.scoring(len)), items)
        assert report.figures["pairwise_accuracy"].value == 1.0
        assert compare_labels(report.judged).figures["mae"].n == 2

    def test_winners_alone_cannot_be_calibrated(self, tmp_path):
        rows = [{"prompt": "Q", "responses": ["x", "xxx"], "winner": 1}]
        found = compare_labels(self.judged(write(tmp_path / "l.jsonl", rows), len))
        assert found.calibration is None
        assert found.figures["mae"].value is None

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"score": None}, "no label"),
            ({"principle": None}, "has no 'principle'"),
            ({"score": "good"}, "must be a number"),
            ({"scale": [1]}, "two numbers"),
        ],
    )
    def test_an_invalid_row_is_named(self, change, message, tmp_path):
        path = write(tmp_path / "l.jsonl", [labelled(0, 3, "x", principle="P") | change])
        with pytest.raises(ConfigError, match=message) as caught:
            read_labels([path])
        assert "row 1" in str(caught.value)

    def test_a_repeated_id_is_an_error(self, tmp_path):
        path = write(tmp_path / "l.jsonl", [labelled(0, 3, "x", principle="P", id="same")] * 2)
        with pytest.raises(ConfigError, match="another row has too"):
            read_labels([path])


class Reader(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


class TestPage:
    def test_the_page_is_self_contained(self, tmp_path):
        rows, flips = toy()
        rows += [row(f"h{n}", "odd", {"a": "x" * n, "b": "y" * (2 * n)}, "a", "b") for n in range(1, 6)]
        items = read_items([write(tmp_path / "toy.jsonl", rows)])
        judge = Judge(ScriptedBackend(by_principle), passes=2)
        report = run_bench(judge, items, read_flips([write(tmp_path / "f.jsonl", flips)]))
        page = html_page(report)
        read = Reader(page)
        assert read.open == []
        assert read.links == []
        assert "script" not in read.tags
        assert read.tags.count("svg") > 6
        assert "Flip pairs with both correct" in page
        assert "Largest mistakes" in page
        assert "prefers-color-scheme: dark" in page

    def test_a_policy_admits_nothing_but_the_pages_own_style(self, items):
        page = html_page(run_bench(Judge(ScriptedBackend(by_principle)), items))
        policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
        style = re.search(r"<style>(.*)</style>", page, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        assert " style=" not in page.replace(style, "")

    def test_hidden_characters_are_shown_as_escapes(self, tmp_path):
        texts = {"a": "x\u202ey", "b": "z\x1b[31m"}
        items = read_items([write(tmp_path / "c.jsonl", [row("g", "odd", texts, "a", "b")])])
        page = html_page(run_bench(Judge(ScriptedBackend.scoring(lambda text: 5 if "z" in text else 1)), items))
        assert '<span class="escape">\\u202e</span>' in page
        assert '<span class="escape">\\x1b</span>' in page
        assert not {"\u202e", "\x1b"} & set(page)

    def test_hidden_characters_in_names_and_errors_are_shown_as_escapes(self, tmp_path):
        hidden = "\u202e\x1b\u2066\u200b"
        rows = [
            row(f"g{n}", f"odd{n}{hidden}", {f"a{hidden}": "x", f"b{hidden}": "zz"}, f"a{hidden}", f"b{hidden}")
            | {"id": f"{n}{hidden}", "domain": f"{n}{hidden}", "category": f"{n}{hidden}", "prompt": f"{n}{hidden}"}
            for n in range(4)
        ]
        items = read_items([write(tmp_path / "c.jsonl", rows)], principle=f"P{hidden}")

        def failing_once(request):
            if '"prompt": "0' in request.messages[1]["content"]:
                raise VerdictParseError(hidden, raw=hidden)
            return by_principle(request)

        report = run_bench(Judge(ScriptedBackend(failing_once, name=f"m{hidden}"), retries=0), items)
        assert len(report.failures) == 1
        page = html_page(report)
        assert page.count("\\u202e") > 10
        assert not set(hidden) & set(page)

    def test_texts_from_models_and_files_are_escaped(self, tmp_path):
        evil = "<script>alert('x')</script>\"&"
        texts = {"a": evil, "b": evil + "longer than the other"}
        rows = [
            row(f"g{n}{evil}", "odd", texts, "a", "b", domain=evil + str(n), principle=evil, prompt=evil)
            for n in range(3)
        ]
        items = read_items([write(tmp_path / "e.jsonl", rows)])

        def talking(request):
            reply = by_principle(request)
            return f"<think>{evil}</think>" + reply.rpartition("</think>")[2]

        judge = Judge(ScriptedBackend(talking, name=evil))
        report = run_bench(judge, items)
        assert len(wrong_pairs(report.judged)) == 3
        page = html_page(report)
        assert "<script>" not in page
        assert "alert(&#39;x&#39;)" in page
        Reader(page)

    def test_a_page_without_verdicts(self, tmp_path):
        def refusing(request):
            raise VerdictParseError("<b>no</b>", raw="no")

        items = read_items([write(tmp_path / "toy.jsonl", toy(1)[0])])
        page = html_page(run_bench(Judge(ScriptedBackend(refusing), retries=0), items))
        assert "&lt;b&gt;no&lt;/b&gt;" in page
        assert Reader(page).open == []

    def test_one_sentence_comes_first_and_names_a_criterion_that_is_not_followed(self, tmp_path):
        rows, _ = toy()
        blind = Judge(ScriptedBackend.scoring(lambda text: 5 if len(text) < 50 else 1))
        report = run_bench(blind, read_items([write(tmp_path / "toy.jsonl", rows)]))
        assert summary(report) == "Agrees with people on 50% of pairs; does not follow “long”."
        page = html_page(report)
        assert page.index(summary(report)) < page.index("<section>")

    def test_nothing_that_was_not_measured_has_a_place_on_the_page(self, tmp_path):
        items = read_items([write(tmp_path / "toy.jsonl", toy()[0])])
        page = html_page(run_bench(Judge(ScriptedBackend(by_principle)), items))
        for name in ("Kendall", "NDCG", "Flip", "not measured", "Failures", "RM-Bench"):
            assert name not in page, name

    def test_a_page_with_labels(self, tmp_path):
        import dataclasses

        path = write(tmp_path / "l.jsonl", TestLabels().rows())
        report = run_bench(Judge(ScriptedBackend.scoring(lambda t: 3)), read_labels([path], principle="P"))
        page = html_page(dataclasses.replace(report, labels=compare_labels(report.judged)))
        assert "Agreement with your labels" in page
        assert page.index("Agreement with your labels") < page.index("Recalibration")
        assert "Cohen&#39;s kappa, quadratic weights" in page
        assert "Largest disagreements" in page
        assert json.dumps(dataclasses.replace(report, labels=compare_labels(report.judged)).to_dict())
