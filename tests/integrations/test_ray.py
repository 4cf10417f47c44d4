"""Datasets on a real Ray cluster: a head and two more nodes on this machine."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections import Counter
from pathlib import Path

import clusters
import pyarrow.parquet
import pytest
import ray
from clusters import ray_cluster
from rubric_rows import BAD, GATED, GOOD, RUBRIC, one_criterion_missing
from servers import FakeOpenAI

from rewardanything_core import ConfigError, load_judge
from rewardanything_core.tables.results import RESULT_COLUMNS
from rewardanything_ray import grade_dataset

PRINCIPLE = "Prefer the longer answer."
JUDGE = {"model": "scripted:scripts:picky", "retries": 0}
SLOT = {"resources": {"slot": 1}}
NODE = {**clusters.NODE, "resources": {"slot": 2}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    calls = str(tmp_path_factory.mktemp("ray") / "calls")
    quick = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000}
    environ = {"CALLS": calls, "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    with ray_cluster(environ, node=NODE, _system_config=quick) as running:
        yield running


def dataset(number, blocks=2, **more):
    rows = [{"id": i, "prompt": f"q{i}", "responses": {"a": "x" * (i % 5), "b": "xx"}, **more} for i in range(number)]
    return ray.data.from_items(rows, override_num_blocks=blocks)


def graded(ds, **options):
    judge = options.pop("judge", JUDGE)
    return grade_dataset(ds, principle=PRINCIPLE, judge=judge, id_column="id", ray_options=SLOT, **options)


def by_id(rows):
    rows = list(rows)
    unique = {row["id"]: row for row in rows}
    assert len(unique) == len(rows)
    return unique


def test_each_row_gives_one_row_and_a_second_run_skips_completed_ids(cluster, tmp_path):
    rows = [
        *({"id": i, "prompt": f"q{i}", "responses": {"a": "x" * (i % 5), "b": "xx"}} for i in range(20)),
        {"id": 20, "prompt": "FAIL", "responses": {"a": "x", "b": None}},
        {"id": 21, "prompt": None, "responses": {"a": "x", "b": None}},
        {"id": None, "prompt": "q", "responses": None},
    ]
    ds = ray.data.from_items(rows, override_num_blocks=2)
    out = tmp_path / "out"
    graded(ds, concurrency=2, batch_size=8, done=out).write_parquet(out)
    table = pyarrow.parquet.read_table(out)
    assert table.column_names == ["id", "prompt", "responses", *RESULT_COLUMNS]
    judged = by_id(table.to_pylist(maps_as_pydicts="strict"))
    assert set(judged) == {*range(22), None}
    for number in range(20):
        assert judged[number]["scores"] == {"a": max(1.0, number % 5), "b": 2.0}
        assert judged[number]["error"] is None
    assert judged[20]["error"].startswith("VerdictParseError")
    assert judged[21]["error"].startswith("InvalidCaseError: In row ")
    assert judged[None]["error"].startswith("InvalidCaseError: In row ")
    assert [judged[20][name] for name in RESULT_COLUMNS if name != "error"] == [None] * 7

    parts = sorted(out.glob("*.parquet"))
    lost = pyarrow.parquet.read_table(parts[0], columns=["id"])["id"].to_pylist()
    parts[0].write_bytes(parts[0].read_bytes()[:-9])
    with pytest.warns(UserWarning, match="is incomplete"):
        rest = graded(ds, done=str(out), batch_size=8)
    assert sorted(map(str, by_id(rest.take_all()))) == sorted({*map(str, lost), "None"})

    done = ray.data.from_items([judged[key] for key in judged if key != 3])
    assert set(by_id(graded(ds, done=done, retry_failed=True).take_all())) == {3, 20, 21, None}


def test_no_row_is_lost_with_a_node(cluster):
    node = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    calls, lost = Path(os.environ["CALLS"]), node.node_id

    def remove_node():  # when it has requests of more than one batch, and has not answered all of them
        while not calls.exists() or calls.read_text().count(lost) < 5:
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)

    removal = threading.Thread(target=remove_node, daemon=True)
    removal.start()
    out = graded(dataset(48, blocks=12), judge={"model": "scripted:scripts:placed"}, concurrency=2, batch_size=4)
    rows = out.take_all()
    removal.join(60)
    requests = Counter(calls.read_text().split())
    assert requests[lost] > sum(row["reasoning"] == lost for row in rows)
    assert len(requests) > 1
    assert set(by_id(rows)) == set(range(48))
    assert all(row["error"] is None and len(row["scores"]) == 2 for row in rows)


def test_workers_use_an_endpoint_and_a_store_on_their_node(cluster, tmp_path, monkeypatch):
    path = tmp_path / "node.sqlite3"
    with FakeOpenAI() as server:
        judge = load_judge(model="hosted_vllm/m", api_base=[server.url], cache="off", attempts=3)
        rows = graded(dataset(12), judge=judge, store=str(path)).take_all()
    assert set(by_id(rows)) == set(range(12))
    assert all(row["error"] is None and row["record_id"] for row in rows)
    assert path.exists()
    judge.close()


def test_a_rubric_travels_to_the_workers_and_a_faulty_reply_harms_its_own_row(cluster):
    texts = [GOOD, BAD, GATED, GOOD]
    ds = ray.data.from_items([{"id": i, "prompt": f"q{i}", "responses": {"a": text}} for i, text in enumerate(texts)])
    with FakeOpenAI(one_criterion_missing) as server:
        judge = load_judge(model="hosted_vllm/m", api_base=[server.url], cache="off", retries=0)
        judged = grade_dataset(ds, principle=RUBRIC, judge=judge, id_column="id", ray_options=SLOT)
        rows = by_id(judged.take_all())
    judge.close()
    assert server.count == 4
    assert [dict(rows[i]["scores"] or {}) for i in range(4)] == [{"a": 4}, {}, {"a": 1}, {"a": 4}]
    assert dict(rows[2]["scores_brief"]) == {"a": 4} and rows[2]["reasoning_brief"].startswith("By brief")
    assert "VerdictParseError" in rows[1]["error"] and rows[1]["scores_faithful"] is None


def test_a_warning_if_workers_leave_no_cpu_for_reading(cluster):
    cpus = ray.cluster_resources()["CPU"]
    with pytest.warns(UserWarning, match=f"4 workers of {cpus / 4:g} CPUs each leave none of the cluster's {cpus:g} "):
        graded(dataset(4), concurrency=4, num_cpus=cpus / 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graded(dataset(4), concurrency=4, num_cpus=0.1)


def test_a_judge_that_cannot_be_loaded_ends_the_run_with_the_reason(cluster):
    started = time.monotonic()
    with pytest.raises(ray.exceptions.RayError, match="no function 'scripts:nobody'"):
        graded(dataset(2, blocks=1), judge={"model": "scripted:scripts:nobody"}).take_all()
    assert time.monotonic() - started < 120


def test_options_are_checked_before_anything_runs():
    ds = object()
    with pytest.raises(ConfigError, match="unknown setting 'modell'"):
        grade_dataset(ds, principle=PRINCIPLE, judge={"modell": "x"})
    with pytest.raises(ConfigError, match="needs an id_column"):
        grade_dataset(ds, principle=PRINCIPLE, judge=JUDGE, done="somewhere")
    with pytest.raises(ConfigError, match="either a principle"):
        grade_dataset(ds, judge=JUDGE)
    with pytest.raises(TypeError, match="no option 'promt_column'"):
        grade_dataset(ds, principle=PRINCIPLE, judge=JUDGE, promt_column="x")
