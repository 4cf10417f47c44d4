"""A store that fails while it is used: full, locked, damaged, read-only, or interrupted by Ctrl-C.

``tests/cli/test_full_store.py`` has the commands.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import scripts
from paths import TESTS

from rewardanything_core import Case, Judge, ScriptedBackend, VerdictStore
from rewardanything_core.errors import StoreError
from rewardanything_core.store import database
from rewardanything_core.types import JudgeFailure

POSIX = pytest.mark.skipif(os.name == "nt", reason="POSIX only")


def cases(number: int, text: str = "q") -> list[Case]:
    return [Case("p", f"{text}{index}", ["a", "bb"]) for index in range(number)]


@pytest.fixture
def judge(tmp_path):
    with Judge(ScriptedBackend(scripts.by_length), store=tmp_path / "s") as judge:
        yield judge


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    ours = [record for record in caplog.records if record.name == "rewardanything_core"]  # asyncio and others log too
    return [record.getMessage() for record in ours if record.levelno >= logging.WARNING]


# --- full, locked, damaged


def test_a_full_store_costs_no_verdict_and_is_reported_once_and_in_total(judge, caplog):
    judge.judge_batch(cases(5))
    with judge.store._database.write() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    with judge.store._database._held(judge.store._database._writer) as connection:
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    verdicts = judge.judge_batch(cases(300, "more"))
    assert [verdict.scores for verdict in verdicts] == [{"0": 1.0, "1": 2.0}] * 300
    unsaved = sum(verdict.record_id is None for verdict in verdicts)
    assert 0 < unsaved == 305 - judge.store.count()
    (warning,) = warnings_in(caplog)
    assert "could not be stored" in warning
    assert "No space is left" in warning
    judge.close()
    assert warnings_in(caplog)[1:] == [f"{unsaved} judgements were not stored in {judge.store.path}."]
    judge.close()
    assert len(warnings_in(caplog)) == 2


def test_a_locked_store_is_waited_for_only_once(judge, caplog, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.5)
    with judge:
        other = sqlite3.connect(judge.store.path, isolation_level=None)
        with judge.store._database._held(judge.store._database._writer) as connection:
            connection.execute("PRAGMA busy_timeout = 500")
        other.execute("BEGIN IMMEDIATE")
        for index in range(12):
            assert judge.judge("p", f"q{index}", ["abc"]).record_id is None
            with judge.store._database._held(judge.store._database._writer) as connection:
                assert connection.execute("PRAGMA busy_timeout").fetchone() == (0,)
        other.execute("ROLLBACK")
        assert judge.judge("p", "later", ["abc"]).record_id
        with judge.store._database._held(judge.store._database._writer) as connection:
            assert connection.execute("PRAGMA busy_timeout").fetchone() == (500,)
        other.close()
    assert "locked by another process" in warnings_in(caplog)[0]
    assert len(warnings_in(caplog)) == 2


def damage(path: Path) -> None:
    for file in (path, path.with_name(path.name + "-wal")):
        content = bytearray(file.read_bytes())
        content[100:] = os.urandom(len(content) - 100)
        file.write_bytes(content)


def test_a_store_that_is_damaged_during_a_run_costs_no_verdict(judge, caplog):
    judge.judge_batch(cases(100))
    damage(judge.store.path)
    verdicts = [*judge.judge_batch(cases(100, "more")), judge.judge("p", "single", ["a", "bb"])]
    verdicts += [verdict for _, verdict in judge.judge_stream(cases(100, "stream"))]
    assert [verdict.scores for verdict in verdicts] == [{"0": 1.0, "1": 2.0}] * 201
    assert 1 <= len(warnings_in(caplog)) <= 2


def test_an_unreadable_store_is_an_error_until_a_model_has_been_called(judge, caplog):
    judge.judge("p", "q", ["abc"])
    with judge.store._database.write() as connection:
        connection.execute("UPDATE records SET verdict = '{}'")
    with pytest.raises(StoreError, match="cannot be read"):
        Judge(ScriptedBackend(scripts.by_length), store=judge.store.path).judge("p", "q", ["abc"])
    assert not warnings_in(caplog)
    assert judge.judge("p", "q", ["abc"]).scores == {"0": 3.0}
    assert "so their cases are judged again" in warnings_in(caplog)[0]


# --- Ctrl-C


@POSIX
def test_ctrl_c_during_a_write_stores_what_was_judged(tmp_path):
    code = """
        import sys, time
        import scripts
        from rewardanything_core import *
        from rewardanything_core.store import verdict_store
        insert = verdict_store._insert
        def slowly(database, entries):
            time.sleep(0.5)
            insert(database, entries)
        verdict_store._insert = slowly
        def judged(request):
            reply = scripts.by_length(request)
            print("judged", flush=True)
            return reply
        judge = Judge(ScriptedBackend(judged), store=sys.argv[1])
        judge.judge_batch([Case('p', f'q{i}', ['a']) for i in range(60)])
        """
    lines = "\n".join(line[8:] for line in code.splitlines())
    process = subprocess.Popen(
        [sys.executable, "-c", lines, tmp_path / "s"],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=scripts.heed_ctrl_c,
    )
    for _ in range(60):
        assert process.stdout.readline() == "judged\n"
    time.sleep(0.2)  # the first write has begun, and the others wait for it
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert errors.count("Traceback") == 1, errors  # that of the KeyboardInterrupt
    assert VerdictStore(tmp_path / "s").count() == 60


# --- read-only


@pytest.fixture
def read_only():
    """A store with three verdicts in a folder without write permission, whose path any user can reach."""
    folder = Path(tempfile.mkdtemp())
    with Judge(ScriptedBackend(scripts.by_length), store=folder / "s") as judge:
        judge.judge_batch(cases(3))
        judge.store.close()
    (folder / "s").chmod(0o444)
    folder.chmod(0o555)
    yield folder / "s"
    folder.chmod(0o755)
    shutil.rmtree(folder)


def as_reader(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run code as a user who may not write there; permissions do not bind root."""
    prelude = (
        f"import os, sys; sys.path.insert(0, {str(TESTS)!r}); import json, scripts, logging\n"
        "from rewardanything_core import *\n"
        "from rewardanything_core.errors import StoreError\n"
        "from rewardanything_core.cli.log import log\n"
        "log(store=sys.argv[2], as_json=True)\n"  # imports what that user may be unable to
        "os.geteuid() or os.seteuid(65534)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        VerdictStore(Path(folder) / "s").close()
        command = [sys.executable, "-c", prelude + code, path, Path(folder) / "s"]
        return subprocess.run(command, text=True, capture_output=True, timeout=120)


@POSIX
def test_a_read_only_store_serves_stored_verdicts_and_the_log(read_only):
    before = {file.name: file.read_bytes() for file in read_only.parent.iterdir()}
    code = """
judge = Judge(ScriptedBackend(scripts.by_length), store=sys.argv[1], cache="read")
verdicts = judge.judge_batch([Case("p", f"q{i}", ["a", "bb"]) for i in range(4)])
assert [verdict.cached for verdict in verdicts] == [True, True, True, False]
assert judge.backend.calls == 1
try:
    VerdictStore(sys.argv[1])
except StoreError as error:
    assert "cannot be written" in str(error), error
else:
    raise AssertionError
judge.store.close()
log(store=sys.argv[1], as_json=True)
"""
    done = as_reader(code, read_only)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    empty, log = done.stdout.splitlines()
    assert (empty, len(json.loads(log))) == ("[]", 3)
    assert before == {file.name: file.read_bytes() for file in read_only.parent.iterdir()}


@POSIX
def test_newest_verdicts_that_a_read_only_folder_hides_are_mentioned(read_only):
    read_only.parent.chmod(0o755)
    read_only.chmod(0o644)
    copy = read_only.parent / "copy"
    live = VerdictStore(read_only)
    live.put_failure(
        cases(1)[0], JudgeFailure(case_id="c", error_type="E", message="-"), model="m", template_hash="t", settings={}
    )
    shutil.copy(read_only, copy)
    shutil.copy(f"{read_only}-wal", f"{copy}-wal")  # as in a snapshot of a store in use
    live.close()
    copy.chmod(0o444)
    read_only.parent.chmod(0o555)
    done = as_reader("assert VerdictStore(sys.argv[1], writable=False).count() == 3", copy)
    assert done.returncode == 0, done.stderr
    assert "copy-wal, which cannot be read here" in done.stderr
