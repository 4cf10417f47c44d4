from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paths import TESTS

from rewardanything_core.cases import Case
from rewardanything_core.errors import StoreError
from rewardanything_core.principles import Principle
from rewardanything_core.store.verdict_store import Entry, VerdictStore, default_path
from rewardanything_core.types import JudgeFailure, Reply, Usage, Verdict


def key_of(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def entry(name: object = "k", **changes) -> Entry:
    case = Case("Be concise.", f"Question {name}?", {"a": "short", "b": "long-winded"}, id=f"case-{name}")
    verdict = Verdict(
        scores={"a": 4.5, "b": 2.0}, ranking=["a", "b"], replies=[[Reply(reasoning="a is short", raw_output="{}")]]
    )
    return Entry(
        **{"key": key_of(name), "case": case, "verdict": verdict, "model": "m", "template_hash": "t"} | changes
    )


FAILURE = JudgeFailure(case_id="c", error_type="BackendError", message="No answer from the server.", attempts=3)


def fail(store: VerdictStore, **changes) -> str:
    return store.put_failure(entry().case, FAILURE, model="m", template_hash="t", settings={"seed": 1}, **changes)


@pytest.fixture
def store(tmp_path):
    with VerdictStore(tmp_path / "verdicts.sqlite3") as store:
        yield store


texts = st.text(st.characters(exclude_categories=["Cs"]))
wild_texts = st.text()  # with halves of surrogate pairs, as a model may spell them in JSON
scores = st.floats(1, 5)
cases = st.builds(
    Case,
    principle=st.builds(Principle, texts.filter(str.strip), name=st.none() | texts),
    prompt=texts.filter(str.strip)
    | st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["system", "user", "assistant"]), "content": texts.filter(str.strip)}
        ),
        min_size=1,
        max_size=3,
    ),
    responses=st.dictionaries(texts, texts, min_size=1, max_size=5),
    reference=st.none() | texts,
    context=st.none() | texts,
    id=st.none() | texts,
)


@st.composite
def entries(draw):
    case = draw(cases)
    labels = draw(st.permutations(case.labels))
    verdict = Verdict(
        scores={label: draw(scores) for label in case.labels},
        ranking=labels,
        replies=[[Reply(reasoning=draw(wild_texts), raw_output=draw(wild_texts))]],
        spread={label: draw(st.floats(0, 2)) for label in case.labels},
        agreement=draw(st.none() | st.floats(0, 1)),
        usage=Usage(calls=draw(st.integers(0, 9)), seconds=draw(st.floats(0, 1e6)), cost=draw(st.none() | scores)),
        case_id=case.id,
        model=draw(texts),
        seed=draw(st.integers()),
        orders=[labels],
        pass_scores=[{label: draw(scores) for label in labels}],
    )
    return Entry(
        key=draw(st.binary(min_size=32, max_size=32)).hex(),
        case=case,
        verdict=verdict,
        model=verdict.model,
        template_hash="t",
        settings={"seed": verdict.seed, "note": draw(wild_texts), "temperature": draw(scores)},
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(entries())
def test_whatever_is_put_comes_back_exactly(entry):
    with tempfile.TemporaryDirectory() as folder, VerdictStore(Path(folder) / "s") as store:
        store.put(entry)
        found = store.get(entry.key)
        (record,) = store.entries()
    written = {**vars(entry.verdict), "record_id": entry.record_id}
    assert vars(found.verdict) == written == vars(record.verdict)
    assert list(found.verdict.scores) == list(entry.verdict.scores)
    assert found.labels == entry.case.canonical_labels
    assert record.case == entry.case
    assert record.settings == entry.settings
    assert (record.record_id, record.key, record.model) == (entry.record_id, entry.key, entry.model)
    json.dumps(record.to_dict())


def test_a_missing_key_is_none(store):
    assert store.get(key_of("nothing")) is None
    assert store.get_many([key_of("nothing")]) == {}


def test_the_first_verdict_under_a_key_stays(store):
    store.put(entry())
    other = Verdict(
        scores={"a": 1.0, "b": 1.0},
        ranking=["b", "a"],
    )
    store.put(entry(verdict=other))
    assert store.count() == 1
    assert store.get(key_of("k")).verdict.scores == {"a": 4.5, "b": 2.0}


def test_labels_carry_a_verdict_over_to_other_labels(store):
    case = Case("p", "q", {"gpt": "zebra", "llama": "apple", "qwen": "mango"})
    verdict = Verdict(
        scores={"gpt": 1.0, "llama": 5.0, "qwen": 3.0},
        ranking=["llama", "qwen", "gpt"],
    )
    store.put(entry(case=case, verdict=verdict))
    same = Case("p", "q", {"x": "mango", "y": "zebra", "z": "apple"})
    assert same.digest == case.digest
    found = store.get(key_of("k"))
    renamed = dict(zip(found.labels, same.canonical_labels, strict=True))
    assert {renamed[label]: score for label, score in found.verdict.scores.items()} == {"y": 1.0, "z": 5.0, "x": 3.0}


def test_get_many_goes_beyond_one_chunk(store):
    store.put_many(entry(i) for i in range(1203))
    found = store.get_many(key_of(i) for i in range(-5, 1203))
    assert found.keys() == {key_of(i) for i in range(1203)}
    assert found[key_of(7)] == store.get(key_of(7))


def test_put_many_is_all_or_nothing(store):
    clash = entry("b", key=key_of("a")[:16] + "0" * 48)  # another key, the same record id
    with pytest.raises(StoreError):
        store.put_many([entry("a"), clash])
    assert store.count(kind="all") == 0
    store.put(entry("a"))  # the transaction was ended
    assert store.count() == 1


def test_failures_are_logged_and_never_found_as_verdicts(store):
    first, second = fail(store), fail(store)
    store.put(entry())
    assert first != second
    assert store.count() == 1
    assert store.count(kind="failure") == 2
    assert store.count(kind="all") == 3
    record = store.find(first)
    assert record.verdict is None
    assert record.key is None
    assert record.failure == JudgeFailure(**{**vars(FAILURE), "record_id": first})
    assert record.settings == {"seed": 1}
    assert store.get(first) is None
    with pytest.raises(TypeError):
        store.put(entry(verdict=FAILURE))


def test_find_takes_any_unambiguous_beginning(store):
    keys = ["abc0" + "0" * 60, "abc1" + "1" * 60, "ffff" + "2" * 60]
    store.put_many(entry(i, key=key) for i, key in enumerate(keys))
    assert store.find("FF").key == keys[2]
    assert store.find(keys[0][:16]).key == keys[0]
    with pytest.raises(StoreError, match=f"{keys[1][:16]}, {keys[0][:16]}"):
        store.find("abc")
    for nothing in ("0", "", "zz", "%", "_"):
        with pytest.raises(StoreError, match="No record"):
            store.find(nothing)


def test_filters(store):
    store.put(entry("one"))
    polite = Case(
        Principle("Sei HÖFLICH.", name="polite"),
        [{"role": "user", "content": 'say "hi"\nnow'}],
        {"a": "привет", "b": ""},
        reference="Guten Tag",
    )
    verdict = Verdict(
        scores={"a": 5.0, "b": 1.0}, ranking=["a", "b"], replies=[[Reply(reasoning="Straße", raw_output="hidden")]]
    )
    store.put(entry("two", case=polite, verdict=verdict, model="openai/gpt"))
    fail(store)

    def found(**filters):
        records = list(store.entries(**filters))
        assert len(records) == store.count(**filters)
        return {record.key for record in records}

    one, two = key_of("one"), key_of("two")
    assert found() == {one, two}
    assert found(principle="höflich") == found(principle="POLITE") == {two}
    assert found(model="GPT") == {two}
    assert found(case_id="case-one") == {one}
    assert found(case_id="case") == set()
    for text in ("ПРИВЕТ", 'SAY "HI"\nN', "guten", "STRASSE"):
        assert found(text=text) == {two}
    for text in ("hidden", "polite", "nothing", "%"):
        assert found(text=text) == set()
    assert found(text="question one", model="m") == {one}
    assert found(text="no answer", kind="failure") == {None}
    agent = [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "name": "weather", "arguments": {"at": "Ulm"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]
    store.put(entry("agent", case=Case("p", [{"role": "user", "content": "Go"}], {"a": agent, "b": "no"})))
    for text in ('"AT": "ULM"', "weather", "sunny"):
        assert found(text=text) == {key_of("agent")}
    assert found(text="assistant") == set()
    now = datetime.now(UTC)
    assert found(since=now + timedelta(minutes=1)) == set()
    assert found(since=now - timedelta(minutes=1)) == {one, two, key_of("agent")}
    assert found(since=datetime.now() - timedelta(minutes=1)) == {one, two, key_of("agent")}  # noqa: DTZ005 (local time)
    with pytest.raises(ValueError, match="kind"):
        store.count(kind="verdicts")


def test_entries_come_in_the_order_of_writing_either_way_and_page_on_while_others_write(store):
    store.put_many(entry(i) for i in range(450))
    ids = [record.case.id for record in store.entries()]
    assert ids == [f"case-{i}" for i in reversed(range(450))]
    assert [r.case.id for r in store.entries(newest_first=False)] == ids[::-1]
    assert [r.case.id for r in store.entries(limit=150)] == ids[:150]
    assert list(store.entries(limit=0)) == []
    reading = store.entries()
    next(reading)
    store.put(entry("late"))
    assert sum(1 for _ in reading) == 449


def test_the_default_path_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("RA_JUDGE_STORE", raising=False)
    monkeypatch.delenv("RA_JUDGE_HOME", raising=False)
    assert default_path().name == "verdicts.sqlite3"
    monkeypatch.setenv("RA_JUDGE_HOME", str(tmp_path / "home"))
    assert default_path() == tmp_path / "home" / "verdicts.sqlite3"
    monkeypatch.setenv("RA_JUDGE_STORE", str(tmp_path / "deep" / "er" / "s.db"))
    with VerdictStore() as store:
        assert store.path == tmp_path / "deep" / "er" / "s.db"
        store.put(entry())
    assert store.path.exists()


def test_a_closed_store_says_so(store):
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.get(key_of("k"))


# --- many at once ---------------------------------------------------------------------------------------------------


def test_threads_share_a_store(store):
    def work(offset):
        for i in range(100):
            store.put(entry((i + offset) % 120))
            store.get(key_of(i))

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(0, 80, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.count() == 120


PRELUDE = (
    f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(TESTS)!r}]; from test_verdict_store import *\n"
)


def python(code: str, *arguments: object, **options) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_processes_that_write_the_same_keys_to_a_new_file(tmp_path):
    path = tmp_path / "s.sqlite3"
    writers = [
        python(
            """
            with VerdictStore(sys.argv[1]) as store:
                for i in range(200):
                    store.put(entry(i, settings={"writer": sys.argv[2]}))
                fail(store)
            """,
            path,
            writer,
        )
        for writer in range(4)
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors
    with VerdictStore(path) as store:
        assert store.count() == 200
        assert store.count(kind="failure") == 4


def test_a_killed_writer_leaves_a_whole_store(tmp_path):
    path = tmp_path / "s.sqlite3"
    for round_ in range(4):
        writer = python(
            """
            store = VerdictStore(sys.argv[1])
            for i in range(100_000):
                store.put_many([entry((sys.argv[2], i, "x")), entry((sys.argv[2], i, "y"))])
                print(i, flush=True)
            """,
            path,
            round_,
        )
        for _ in range(50 + 37 * round_):
            printed = writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        last = int((printed + rest).splitlines()[-1]) if (printed + rest).endswith("\n") else int(printed)
        with VerdictStore(path) as store:
            for i in range(last):
                assert len(store.get_many([key_of((str(round_), i, "x")), key_of((str(round_), i, "y"))])) == 2
            assert store.count() % 2 == 0
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_children_open_the_file_anew(tmp_path):
    run = python(
        """
        import threading, os
        store = VerdictStore(sys.argv[1])
        store.put(entry("parent"))
        busy = threading.Event()
        def work():
            i = 0
            while not busy.is_set():
                store.put(entry(("thread", i))); i += 1
        thread = threading.Thread(target=work); thread.start()
        children = []
        for n in range(8):
            child = os.fork()
            if child == 0:
                ok = store.get(key_of("parent")) is not None
                store.put(entry(("child", n)))
                os._exit(0 if ok else 1)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        busy.set(); thread.join()
        assert codes == [0] * 8, codes
        assert all(store.get(key_of(("child", n))) for n in range(8))
        """,
        tmp_path / "s",
    )
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 0, errors


def test_a_lock_that_is_not_released_is_explained(tmp_path, monkeypatch):
    with VerdictStore(tmp_path / "s") as store:
        store.put(entry())
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with store._database.read() as connection:
            connection.execute("PRAGMA busy_timeout = 50")
        with pytest.raises(StoreError, match="locked by another process"):
            store.put(entry("other"))
        assert store.get(key_of("k"))  # readers need not wait
        other.close()


# --- files that are not ours ----------------------------------------------------------------------------------------


def refused(path: Path, match: str) -> None:
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.parent.iterdir() if file.is_file()}
    with pytest.raises(StoreError, match=match) as caught:
        VerdictStore(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint
    after = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.parent.iterdir() if file.is_file()}
    assert before == after


@pytest.mark.parametrize("content", [b"x", b"prompt,response\n" * 50, b"SQLite format 3\0", os.urandom(9000)])
def test_a_file_that_is_no_database(tmp_path, content):
    (tmp_path / "s").write_bytes(content)
    refused(tmp_path / "s", "not an SQLite database")


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_the_database_of_another_application(tmp_path, mode):
    other = sqlite3.connect(tmp_path / "s")
    other.execute(f"PRAGMA journal_mode = {mode}")
    other.execute("CREATE TABLE records (a, b)")
    other.close()
    refused(tmp_path / "s", "another application")


def test_a_directory(tmp_path):
    (tmp_path / "s").mkdir()
    refused(tmp_path / "s", "directory")


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "f").write_text("x")
    with pytest.raises(StoreError, match="Cannot use"):
        VerdictStore(tmp_path / "f" / "s")


def test_an_empty_file_becomes_a_store(tmp_path):
    (tmp_path / "s").touch()
    with VerdictStore(tmp_path / "s") as store:
        store.put(entry())
    with VerdictStore(tmp_path / "s") as store:
        assert store.get(entry().key).verdict.scores == entry().verdict.scores
        assert store.count() == 1


def test_a_store_of_a_newer_version(tmp_path):
    VerdictStore(tmp_path / "s").close()
    other = sqlite3.connect(tmp_path / "s")
    other.execute("PRAGMA user_version = 99")
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    refused(tmp_path / "s", "newer version.*schema 99")


@pytest.mark.parametrize("damage", ["first page", "later pages", "cut"])
def test_a_damaged_store(tmp_path, damage):
    with VerdictStore(tmp_path / "s") as store:
        store.put_many(entry(i) for i in range(500))
    content = bytearray((tmp_path / "s").read_bytes())
    if damage == "first page":
        content[100:4096] = os.urandom(3996)
    elif damage == "later pages":
        content[4096:] = os.urandom(len(content) - 4096)
    else:
        del content[8192:]
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(StoreError, match=r"damaged.*Move it") as caught, VerdictStore(tmp_path / "s") as store:
        store.get_many(key_of(i) for i in range(500))
        list(store.entries(text="nothing"))
    assert str(tmp_path / "s") in str(caught.value)


def test_a_record_that_someone_edited(store):
    store.put(entry())
    with store._database.write() as connection:
        connection.execute("UPDATE records SET verdict = '{\"scores\": 1}'")
    with pytest.raises(StoreError, match=f"Record {entry().record_id} .* cannot be read"):
        store.get(key_of("k"))


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
@pytest.mark.parametrize("existing", [True, False])
def test_a_folder_that_cannot_be_written(existing):
    code = """
        if os.geteuid() == 0:  # permissions do not bind root
            os.seteuid(65534)
        try:
            with VerdictStore(sys.argv[1]) as store:
                store.put(entry())
        except StoreError as error:
            print(error)
        """
    folder = Path(tempfile.mkdtemp())
    try:
        path = folder / "s"
        if existing:
            VerdictStore(path).close()
            path.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
        folder.chmod(0o555)
        run = python(code, path)
        said, errors = run.communicate(timeout=60)
        assert str(path) in said, errors
        assert "cannot be written" in said or "Permission denied" in said
        assert "path" in said
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_it_is_fast_enough_to_sit_on_an_event_loop(store):
    store.put_many(entry(i) for i in range(500))
    start = time.thread_time()
    for i in range(2000):
        store.get(key_of(i % 500))
    assert 2000 / (time.thread_time() - start) > 5000
