"""`judge_frames` and `judge_tables`: verdicts for pandas data frames and Arrow tables."""

import asyncio
import json
import subprocess
import sys
import threading

import numpy
import pandas
import pyarrow
import pyarrow.parquet
import pytest
from agent_runs import CAREFUL, HASTY, PROMPT, asks_first

from rewardanything_core import (
    Case,
    ConfigError,
    Judge,
    Jury,
    Principle,
    Rubric,
    ScriptedBackend,
    VerdictParseError,
    load_judge,
)
from rewardanything_core.backends import verdict_reply
from rewardanything_core.errors import AuthenticationError, ModelNotFoundError
from rewardanything_core.tables import judge_frames, judge_tables, portable_spec, spark_columns
from rewardanything_core.tables.results import RESULT_COLUMNS, ResultColumns

PRINCIPLE = "Prefer the longer answer."
SPEC = {"model": "scripted:scripts:by_length", "cache": "off"}


@pytest.fixture
def judge():
    return Judge(ScriptedBackend.scoring(lambda text: min(5, 1 + len(text))), cache="off")


def frame(*lengths, start=0, **more):
    rows = range(start, start + len(lengths))
    responses = [{"a": "x" * length, "b": "x"} for length in lengths]
    return pandas.DataFrame({"prompt": [f"q{i}" for i in rows], "responses": responses, **more}, index=[*rows])


def judged(frames, **options):
    return list(judge_frames(frames, **{"principle": PRINCIPLE} | options))


def test_rows_keep_their_order_and_get_the_columns_of_grade(judge):
    given = [frame(2, 0), frame(), frame(3, start=2, note=["kept"]), frame()]
    out = judged(given, judge=judge)
    assert [list(table.index) for table in out] == [[0, 1], [], [2], []]
    assert [list(table.columns) for table in out] == [[*table.columns, *RESULT_COLUMNS] for table in given]
    case = Case(PRINCIPLE, "q0", given[0].responses[0])
    assert {name: out[0][name][0] for name in RESULT_COLUMNS if name != "agreement"} == {
        name: value
        for name, value in ResultColumns(Principle(PRINCIPLE)).cells(judge.judge(case)).items()
        if name != "agreement"
    }
    assert out[0].scores[0] == {"a": 3.0, "b": 2.0}
    assert out[0].best.tolist() == ["a", "b"]
    assert out[0].agreement.isna().all()
    assert out[2].note.tolist() == ["kept"]
    assert list(given[0].columns) == ["prompt", "responses"]


def test_an_invalid_row_gets_an_error_and_no_scores(judge):
    responses = [{"a": "x"}, None, {}, float("nan"), 7, {"a": 7}, ["x", None], {"": "x"}, {"a": "\ud83d"}, pandas.NA]
    table = pandas.DataFrame({"prompt": "q", "responses": responses, "id": range(10)}).astype({"id": "object"})
    table.loc[9, ["prompt", "responses"]] = [None, {"a": "x"}]
    table.index = [5] * 10
    (out,) = judged([table], judge=judge, id_column="id")
    assert list(out.index) == [5] * 10
    assert out.scores.notna().tolist() == [True] + 6 * [False] + [True] + 2 * [False]
    failed = out[out.scores.isna()]
    assert failed.error.str.startswith("InvalidCaseError: In row 5: ").all()
    assert failed[["ranking", "best", "agreement", "spread", "reasoning", "record_id"]].isna().all(axis=None)


def test_a_judge_failure_affects_only_its_row():
    def reply(request):
        return VerdictParseError("no", raw="") if "q1" in str(request.messages) else scripted(request)

    scripted = ScriptedBackend.scoring(lambda text: 3)._replies
    (out,) = judged([frame(1, 1, 1)], judge=Judge(ScriptedBackend(reply), cache="off", retries=0))
    assert out.error.isna().tolist() == [True, False, True]
    assert "VerdictParseError" in out.error[1]


@pytest.mark.parametrize("kind", [AuthenticationError, ModelNotFoundError])
def test_a_mistake_in_the_setup_stops_the_run_also_after_rows_that_no_judge_saw(kind):
    def reply(request):
        return kind("It is wrong.") if "q2" in str(request.messages) else VerdictParseError("no", raw="")

    judge = Judge(ScriptedBackend(reply), cache="off", retries=0)
    first = frame(1, 1)
    first["prompt"] = None
    with pytest.raises(kind, match="wrong"):
        judged([first, frame(1, start=2)], judge=judge)
    (out,) = judged([frame(1, 1, start=2)], judge=judge)  # the judge can be asked about the other row
    assert out.error.str.partition(":")[0].tolist() == [kind.__name__, "VerdictParseError"]


def test_cells_may_be_pandas_numpy_or_arrow_values(judge):
    cells = [
        "one text",
        ["x", "yy"],
        numpy.array(["x", "yy"], dtype=object),
        {"a": "x", "b": None},
        [("a", "x"), ("b", "yy")],
        numpy.array([("a", "x"), ("a", "y")], dtype="O,O"),  # a map with a key that appears twice
    ]
    prompts = [[{"role": "user", "content": "q"}], numpy.array([{"role": "user", "content": "q"}]), *["q"] * 4]
    table = pandas.DataFrame({"p": pandas.Series(prompts, dtype=object), "r": pandas.Series(cells, dtype=object)})
    (out,) = judged([table], judge=judge, prompt_column="p", responses_column="r")
    assert [scores and list(scores) for scores in out.scores] == [
        ["0"],
        ["0", "1"],
        ["0", "1"],
        ["a"],
        ["a", "b"],
        None,
    ]


def test_one_column_per_response_a_principle_per_row_and_a_prefix(judge):
    table = pandas.DataFrame(
        {"q": ["?", "?"], "old": ["x", "x"], "new": ["yy", None], "rule": ["Be long.", "Be long."]}
    )
    columns = {"prompt_column": "q", "response_columns": ["old", "new"], "principle_column": "rule", "prefix": "judge_"}
    (out,) = judge_frames([table], judge=judge, **columns)
    assert out.judge_best[0] == "new"
    assert "'new' is null or empty" in out.judge_error[1]
    assert list(out.columns) == [*table.columns, *ResultColumns(None, "judge_").names]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"principle": None}, "either a principle"),
        ({"principle_column": "prompt"}, "either a principle"),
        ({"responses_column": "responses", "response_columns": ["prompt"]}, "not both"),
        ({"prompt_column": "nope"}, "Table 1 has no column 'nope'.*prompt_column"),
        ({"judge": 3}, "must be a judge"),
        ({"judge": "gpt"}, "There is no model 'gpt'"),
        ({"judge": {"modell": "x"}}, "unknown setting 'modell'"),
    ],
)
def test_options_that_suit_no_row_raise_an_error(options, message, judge):
    with pytest.raises(ConfigError, match=message):
        judged([frame(1)], **{"judge": judge} | options)


def test_misuse_raises_an_error_before_any_table_is_read(judge):
    with pytest.raises(ConfigError, match=r"as \[table\]"):
        judge_frames(frame(1), principle=PRINCIPLE, judge=judge)
    with pytest.raises(TypeError, match="no option 'promt_column'"):
        judge_frames([], principle=PRINCIPLE, judge=judge, promt_column="p")
    with pytest.raises(ConfigError, match="already has a column 'best'"):
        judged([frame(1, best=["a"])], judge=judge)


def test_frames_are_read_only_as_far_as_the_window_and_judged_together():
    peak, running, read, lock = 0, 0, [], threading.Lock()

    async def reply(request):
        nonlocal peak, running
        with lock:
            running += 1
            peak = max(peak, running)
        await asyncio.sleep(0.01)
        with lock:
            running -= 1
        return verdict_reply({"model-1": 1, "model-2": 1})

    def frames():
        for number in range(50):
            read.append(number)
            yield frame(1, 2, start=number)

    out = judge_frames(frames(), principle=PRINCIPLE, judge=Judge(ScriptedBackend(reply), cache="off"), window=8)
    next(out)
    assert len(read) <= 6
    assert sum(1 for _ in out) == 49
    assert 6 <= peak <= 8


def test_closing_the_iterator_cancels_requests_in_flight():
    started, cancelled = threading.Event(), threading.Event()

    async def reply(request):
        if "q1" not in str(request.messages):
            return verdict_reply({"model-1": 1, "model-2": 1})
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    out = judge_frames([frame(1), frame(1, start=1)], principle=PRINCIPLE, judge=Judge(ScriptedBackend(reply)))
    next(out)
    assert started.wait(60)  # a request that was never sent cannot be cancelled
    out.close()
    assert cancelled.wait(60)


def test_a_spec_or_settings_make_one_judge_per_process():
    (one,) = judged([frame(3, 0)], judge=SPEC)
    (other,) = judged([frame(3, 0)], judge=load_judge(**SPEC).spec())
    assert one.scores.tolist() == other.scores.tolist() == [{"a": 3.0, "b": 1.0}, {"a": 1.0, "b": 1.0}]
    from rewardanything_core.tables import portable_judges

    first = portable_judges.local_judge(SPEC)
    assert portable_judges.local_judge(dict(SPEC)) is first
    assert portable_judges.local_judge({**SPEC, "passes": 2}) is not first


def test_a_portable_spec_has_the_settings_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ra-judge.toml").write_text('[judge]\nmodel = "scripted:scripts:by_length"\npasses = 2\n')
    spec = portable_spec()
    assert spec.pop("store").endswith("verdicts.sqlite3")  # unused, since the cache is off
    assert spec == {"model": "scripted:scripts:by_length", "passes": 2, "cache": "off"}
    assert portable_spec({"passes": 3}, store="/local/v.sqlite3")["store"] == "/local/v.sqlite3"
    judge = load_judge()
    assert judge.cache == "on"
    assert load_judge(portable_spec(judge)).cache == "off"
    stored = load_judge(portable_spec(judge.spec(), store=str(tmp_path / "other.sqlite3")))
    assert (stored.cache, str(stored.store.path)) == ("on", str(tmp_path / "other.sqlite3"))
    jury = Jury([judge, judge.with_options(seed=1)])
    assert [juror.cache for juror in load_judge(portable_spec(jury)).jurors] == ["off", "off"]
    jury_settings = portable_spec({"jury": [{"model": "a/b"}, {"model": "c/d", "cache": "on"}]})
    assert [juror["cache"] for juror in jury_settings["jury"]] == ["off", "off"]
    json.dumps(jury_settings)


def test_an_ambiguous_column_is_an_error(judge):
    table = pandas.DataFrame([["q", {"a": "x"}, {"a": "y"}]], columns=["prompt", "responses", "responses"])
    with pytest.raises(ConfigError, match="Table 1 has more than one column named 'responses'"):
        judged([table], judge=judge)
    arrow = pyarrow.table([["q"], [["x"]], [["y"]]], names=["prompt", "responses", "responses"])
    with pytest.raises(ConfigError, match="Table 1 has more than one column named 'responses'"):
        list(judge_tables([arrow], principle=PRINCIPLE, judge=judge))
    unused = pandas.DataFrame([["q", {"a": "x"}, 1, 2]], columns=["prompt", "responses", "note", "note"])
    assert judged([unused], judge=judge)[0].best.tolist() == ["a"]


def test_a_text_that_spells_several_responses_is_refused(judge):
    # As in a frame read from CSV, where lists and mappings are text.
    cells = ['["x", "yy"]', "['x', 'yy']", "['x' 'yy']", '{"a": "x", "n": 3}', "[1] as the source says", "plain"]
    table = pandas.DataFrame({"prompt": "q", "responses": cells})
    (out,) = judged([table], judge=judge)
    assert out.error.notna().tolist() == [True, True, True, True, False, False]
    assert "the column 'responses' holds a text that spells a list or a mapping" in out.error[0]
    assert "response_columns" in out.error[0]
    (out,) = judged([table], judge=judge, response_columns=["responses"])
    assert out.error.isna().all()


def test_agent_runs_in_frames_and_arrow_tables_are_single_responses(tmp_path):
    judge = Judge(ScriptedBackend(asks_first), cache="off")
    table = pyarrow.Table.from_pylist(
        [{"prompt": PROMPT, "run": run, "runs": [run, HASTY]} for run in (CAREFUL, HASTY)]
    )
    pyarrow.parquet.write_table(table, tmp_path / "runs.parquet")
    frame = pandas.read_parquet(tmp_path / "runs.parquet")  # numpy arrays of mappings, all with the same keys
    for options, best in (({"response_columns": ["run"]}, [5.0, 2.0]), ({"responses_column": "run"}, [5.0, 2.0])):
        (out,) = judged([frame], judge=judge, **options)
        assert [next(iter(scores.values())) for scores in out.scores] == best
    (out,) = judge_tables([table], principle=PRINCIPLE, judge=judge, responses_column="runs")
    assert [dict(scores) for scores in out["scores"].to_pylist()] == [{"0": 5.0, "1": 2.0}, {"0": 2.0, "1": 2.0}]


def test_a_response_column_holds_text_only(judge):
    cells = pandas.Series([{"name": "x"}, ["x"], 3, True, "text"], dtype=object)
    (out,) = judged([pandas.DataFrame({"prompt": "q", "answer": cells})], judge=judge, response_columns=["answer"])
    problems = ["holds a mapping, neither text", "holds a list, neither text", "holds the number 3", "holds true"]
    assert all(problem in error for problem, error in zip(problems, out.error, strict=False))
    assert out.error.isna().tolist() == [False] * 4 + [True]


def test_arrow_cells_without_a_python_value_fail_their_row_only_if_they_are_used(judge):
    far = pyarrow.array([2**62, 0, 0], pyarrow.int64()).cast(pyarrow.timestamp("us"))
    not_utf8 = pyarrow.array([b"x", b"\xff", b"x"], pyarrow.binary()).view(pyarrow.string())
    table = pyarrow.table({"prompt": not_utf8, "responses": [["x"]] * 3, "when": far})
    (out,) = judge_tables([table], principle=PRINCIPLE, judge=judge)
    assert [bool(error) for error in out["error"].to_pylist()] == [False, True, False]
    assert "In row 1: the column 'prompt' holds text that is not UTF-8" in out["error"][1].as_py()
    (out,) = judge_tables([table], principle=PRINCIPLE, judge=judge, id_column="when")
    assert "the column 'when' holds a value of type timestamp[us]" in out["error"][0].as_py()
    assert out.select(table.column_names).equals(table)


def test_arrow_tables_keep_their_own_columns_unchanged(judge):
    kind = pyarrow.map_(pyarrow.string(), pyarrow.string())
    table = pyarrow.table(
        {
            "id": pyarrow.array([1, None, 3], pyarrow.int64()),
            "prompt": pyarrow.array(["q", "q", "q"], pyarrow.large_string()).dictionary_encode(),
            "responses": pyarrow.array([[("a", "xx"), ("b", "x")], None, [("a", "x"), ("a", "y")]], kind),
        }
    )
    (out,) = judge_tables([table], principle=PRINCIPLE, judge=judge, id_column="id")
    assert out.select(table.column_names).equals(table)
    assert dict(out["scores"][0].as_py()) == {"a": 3.0, "b": 2.0}
    assert out["ranking"].to_pylist() == [["a", "b"], None, None]
    assert [bool(error) for error in out["error"].to_pylist()] == [False, True, True]
    assert "In row 2: " in out["error"][2].as_py()
    (empty,) = judge_tables([table.slice(0, 0)], principle=PRINCIPLE, judge=judge)
    assert empty.schema == out.schema


def test_a_lone_surrogate_in_the_reasoning_is_escaped_for_arrow():
    reply = '<think>\n\ud83d\n</think>\n{"scores": {"model-1": 3}, "best-to-worst": ["model-1"]}'
    judge = Judge(ScriptedBackend(lambda request: reply), cache="off")
    table = pyarrow.table({"prompt": ["q"], "responses": [["x"]]})
    (out,) = judge_tables([table], principle=PRINCIPLE, judge=judge)
    assert out["reasoning"].to_pylist() == ["\\ud83d"]


def test_spark_columns_is_a_spark_schema():
    assert spark_columns("j_").startswith("`j_scores` map<string,double>, `j_ranking` array<string>, `j_best` string")
    assert spark_columns().count(",") == len(RESULT_COLUMNS) - 1 + 2  # each map type has a comma


def test_pandas_and_arrow_are_imported_only_when_needed():
    code = "import sys; import rewardanything_core.tables; print({'pandas', 'pyarrow'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


RUBRIC = Rubric({"brief": "Is short.", "a`b 正": "Is fine."}, required={"brief": 3}, name="r")


def test_a_rubric_adds_columns_for_each_criterion(server):
    judge = load_judge(model="hosted_vllm/fake", api_base=server.url, cache="off", retries=0)
    table = pandas.DataFrame({"prompt": ["p", "q"], "responses": [{"x": "brief=2 4"}, ["5", "3"]]})
    server.reply = lambda body: "{}" if '"q"' in body["messages"][-1]["content"] else None
    (out,) = judge_frames([table], principle=RUBRIC, judge=judge)
    assert (out["scores_brief"][0], out["scores_a`b 正"][0]) == ({"x": 2}, {"x": 2})
    assert out.missed[0] == {"x": ["brief"]}
    assert out.error[1] and out["scores_brief"][1] is None and out["reasoning_brief"][1] is None
    (arrow,) = judge_tables([pyarrow.Table.from_pandas(table[:1])], principle=RUBRIC, judge=judge)
    assert arrow.schema.field("scores_brief").type == pyarrow.map_(pyarrow.string(), pyarrow.float64())
    assert arrow.to_pylist(maps_as_pydicts="strict")[0]["missed"] == {"x": ["brief"]}
    schema = spark_columns("j_", principle=RUBRIC)
    assert "`j_missed` map<string,array<string>>" in schema and "`j_scores_a``b 正` map<string,double>" in schema
    with pytest.raises(ConfigError, match="already has a column 'scores_brief'"):
        list(judge_frames([table.assign(scores_brief=1)], principle=RUBRIC, judge=judge))


def test_rubrics_of_rows_are_in_one_column(server):
    judge = load_judge(model="hosted_vllm/fake", api_base=server.url, cache="off")
    rules = [RUBRIC.to_json(), json.dumps(RUBRIC.to_json()), "Be kind."]
    table = pandas.DataFrame({"prompt": "p", "responses": [{"x": "brief=2 4"}] * 3, "rule": rules})
    (out,) = judge_frames([table], principle_column="rule", judge=judge)
    assert [cell and list(cell) for cell in out.criteria] == [["brief", "a`b 正"], ["brief", "a`b 正"], None]
    (arrow,) = judge_tables(
        [pyarrow.Table.from_pandas(table.assign(rule=rules[1]))], principle_column="rule", judge=judge
    )
    cell = arrow.to_pylist(maps_as_pydicts="strict")[0]["criteria"]["brief"]
    assert cell["scores"] == {"x": 2} and "By brief" in cell["reasoning"]
    assert "`criteria` map<string,struct<scores:map<string,double>" in spark_columns(principle_column="rule")
