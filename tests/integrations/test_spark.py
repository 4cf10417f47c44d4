"""Data frames of a real Spark in local mode: `make test-spark`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from paths import ROOT, TESTS
from servers import FakeOpenAI

from rewardanything_core import Rubric, load_judge
from rewardanything_core.tables import judge_frames, portable_spec, spark_columns
from rewardanything_core.tables.results import RESULT_COLUMNS

pytestmark = pytest.mark.spark

PRINCIPLE = "Prefer the longer answer."
SPEC = portable_spec({"model": "scripted:scripts:picky", "retries": 0})


@pytest.fixture(scope="module")
def spark():
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        settings = {"ui.enabled": "false", "sql.shuffle.partitions": "2", "driver.memory": "512m"}
        builder = SparkSession.builder.master("local[2,4]")  # a task may fail three times
        for name, value in settings.items():
            builder = builder.config(f"spark.{name}", value)
        session = builder.getOrCreate()
        yield session
        session.stop()


def schema(spark, df):
    from pyspark.sql.types import StructType

    return StructType([*df.schema, *spark.createDataFrame([], spark_columns()).schema])


def graded(spark, df, judge=SPEC, **options):
    def judge_partition(frames):
        return judge_frames(frames, principle=PRINCIPLE, judge=judge, id_column="id", **options)

    return df.mapInPandas(judge_partition, schema(spark, df))


def test_each_row_gives_one_row_and_failures_are_in_their_column(spark, tmp_path):
    rows = [(i, f"q{i}", {"a": "x" * (i % 5), "b": "xx"}, 1.5) for i in range(60)]
    rows += [(60, "FAIL", {"a": "x"}, 1.5), (61, None, {"a": "x"}, None), (62, "q", None, None)]
    kinds = "id long, prompt string, responses map<string,string>, note double"
    df = spark.createDataFrame(rows, kinds).repartition(4)
    out = str(tmp_path / "judged")
    graded(spark, df).write.parquet(out)
    judged = spark.read.parquet(out)
    assert judged.columns == [*df.columns, *RESULT_COLUMNS]
    by_id = {row.id: row for row in judged.collect()}
    assert judged.count() == len(by_id) == 63
    for number in range(60):
        assert by_id[number].scores == {"a": max(1.0, number % 5), "b": 2.0}
        assert (by_id[number].error, by_id[number].note) == (None, 1.5)
        assert by_id[number].ranking[0] == by_id[number].best
    assert by_id[60].error.startswith("VerdictParseError")
    assert by_id[61].error.startswith("InvalidCaseError: In row ")
    assert by_id[62].scores is by_id[62].agreement is by_id[62].note is None

    second_run = spark.createDataFrame([(62, "q", {"a": "x"}, None), (63, "q", {"a": "xx"}, None)], kinds)
    rest = second_run.join(judged.select("id"), on="id", how="left_anti")
    assert [(row.id, row.scores) for row in graded(spark, rest).collect()] == [(63, {"a": 2.0})]


def test_responses_may_be_lists_structs_or_texts_and_prompts_messages(spark):
    kinds = (
        "id int, prompt array<struct<role:string,content:string>>, listed array<string>, "
        "structured struct<old:string,new:string>, one string"
    )
    prompt = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    df = spark.createDataFrame(
        [(1, prompt, ["x", "xx"], ("x", "xxx"), "xx"), (2, prompt, None, ("x", None), "")], kinds
    )
    expected = {
        "listed": [{"0": 1.0, "1": 2.0}, None],
        "structured": [{"old": 1.0, "new": 3.0}, {"old": 1.0}],
        "one": [{"0": 2.0}, {"0": 1.0}],
    }
    for column, scores in expected.items():
        rows = graded(spark, df, responses_column=column).orderBy("id").collect()
        assert [row.scores for row in rows] == scores, column


def test_workers_use_an_endpoint(spark):
    df = spark.createDataFrame(
        [(i, f"q{i}", ["x", "y"]) for i in range(12)], "id int, prompt string, responses array<string>"
    )
    with FakeOpenAI() as server, load_judge(model="hosted_vllm/m", api_base=[server.url], cache="off") as judge:
        rows = graded(spark, df.repartition(2), judge=portable_spec(judge)).collect()
    assert sorted(row.id for row in rows) == list(range(12))
    assert all(row.error is None and row.scores for row in rows)


def test_no_row_is_lost_with_a_python_worker(spark, tmp_path):
    df = spark.createDataFrame(
        [(i, f"q{i}", {"a": "x" * (i % 5)}) for i in range(40)], "id int, prompt string, responses map<string,string>"
    )
    marker, attempts = tmp_path / "lost", tmp_path / "attempts"
    attempts.mkdir()

    def judge_partition(frames):
        import tempfile

        tempfile.mkstemp(dir=attempts)  # one for each attempt at a partition
        for number, frame in enumerate(judge_frames(frames, principle=PRINCIPLE, judge=SPEC, id_column="id")):
            yield frame
            if number == 1 and not marker.exists():
                marker.touch()
                os._exit(1)

    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 5)
    try:
        df.repartition(2).mapInPandas(judge_partition, schema(spark, df)).write.parquet(str(tmp_path / "judged"))
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    rows = spark.read.parquet(str(tmp_path / "judged")).collect()
    assert marker.exists() and len(list(attempts.iterdir())) >= 3
    assert sorted(row.id for row in rows) == list(range(40))
    assert all(row.scores == {"a": max(1.0, row.id % 5)} and row.error is None for row in rows)


@pytest.mark.timeout(600)
def test_the_example_continues_an_interrupted_run(spark, tmp_path):
    cases, judged = tmp_path / "cases", tmp_path / "judged"
    rows = [(i, f"q{i}", ["x", "y"]) for i in range(6)]
    df = spark.createDataFrame(rows, "id int, prompt string, responses array<string>")
    df.write.parquet(str(cases))
    graded(spark, df.where(df.id < 4)).write.parquet(str(judged))
    with FakeOpenAI() as server:
        command = [sys.executable, ROOT / "examples" / "spark_grade.py", cases, judged]
        command += ["--model", "hosted_vllm/m", "--api-base", server.url]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"SPARK_LOCAL_IP": "127.0.0.1"})
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == f"6 rows in {judged}, 0 of them without a verdict"
        assert len(server.requests) == 2
    assert sorted(row.id for row in spark.read.parquet(str(judged)).collect()) == list(range(6))


@pytest.mark.parametrize("own", [False, True])
def test_a_rubric_has_columns_by_criterion(spark, server, own):
    from pyspark.sql.types import StructType

    rubric = {"criteria": {"brief": {"text": "Is short.", "required": 3}, "kind": "Is kind."}}
    df = spark.createDataFrame([("p", "brief=2 4", json.dumps(rubric))], "prompt string, response string, rule string")
    rule = {"principle_column": "rule"} if own else {"principle": Rubric.of(rubric)}
    added = spark.createDataFrame([], spark_columns(**rule)).schema
    judge = portable_spec({"model": "hosted_vllm/fake", "api_base": server.url})
    options = {"judge": judge, "responses_column": "response", **rule}
    judged = df.mapInPandas(lambda frames: judge_frames(frames, **options), StructType([*df.schema, *added]))
    (row,) = judged.collect()
    assert row.error is None and row.missed == {"0": ["brief"]}
    scores = row.criteria["brief"].scores if own else row.scores_brief
    assert scores == {"0": 2.0}
