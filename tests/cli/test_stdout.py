"""Standard output has the results of a command and nothing else, in any encoding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from checks import PRINCIPLE, RA_JUDGE, environ, invoke, ra_judge, write_jsonl
from servers import FakeOpenAI

NOISY_JUDGE = """
import ctypes, os, subprocess, sys, threading
from scripts import by_length

def reply(request):
    print("printed")
    os.write(1, b"written to the descriptor\\n")
    sys.__stdout__.write("written to the original stream\\n"); sys.__stdout__.flush()
    subprocess.run(["echo", "printed by a child"])
    ctypes.CDLL(None).puts(b"printed by C")
    ctypes.CDLL(None).fflush(None)
    late = threading.Timer(0.3, print, ["printed later"])
    late.daemon = False
    late.start()
    return by_length(request)
"""

NOISE = [
    "printed",
    "written to the descriptor",
    "written to the original stream",
    "printed by a child",
    "printed by C",
    "printed later",
]


@pytest.fixture
def noisy(here):
    write_jsonl("in.jsonl", [{"prompt": f"q{i}", "responses": ["x"]} for i in range(3)])
    Path("noise.py").write_text(NOISY_JUDGE)
    return {"RA_JUDGE_MODEL": "scripted:noise:reply", "PYTHONPATH": f"{environ()['PYTHONPATH']}{os.pathsep}."}


def test_what_libraries_and_their_processes_print_goes_to_standard_error(noisy):
    done = ra_judge("grade", "in.jsonl", "-o", "-", "--principle", "x", **noisy)
    assert [json.loads(line)["best"] for line in done.stdout.splitlines()] == ["0"] * 3
    assert [noise for noise in NOISE if noise not in done.stderr] == []


def test_the_provider_list_of_litellm_does_not_land_between_json_lines(here):
    pytest.importorskip("litellm")
    write_jsonl("in.jsonl", [{"prompt": f"q{i}", "responses": ["x"]} for i in range(3)])
    with FakeOpenAI() as server:
        done = ra_judge(
            "grade", "in.jsonl", "-o", "-", "--principle", "x",
            "--model", "openai/gpt-5-team-judge", "--api-base", server.url,
            OPENAI_API_KEY="key", RA_JUDGE_CLIENT="litellm",
        )  # fmt: skip
    assert [json.loads(line)["best"] for line in done.stdout.splitlines()] == ["0"] * 3


def test_an_app_that_prints_does_not_disturb_the_report(here):
    write_jsonl("cases.jsonl", [{"id": str(i), "question": f"letter {i}"} for i in range(4)])
    write_jsonl("a.jsonl", [{"id": str(i), "prompt": f"letter {i}", "response": "it is 4"} for i in range(4)])
    Path("bot.py").write_text(
        "import os, subprocess\nprint('imported')\n"
        "def answer(case):\n    subprocess.run(['echo', 'child'])\n    os.write(1, b'raw')\n    return 'it is 4'\n"
    )
    done = ra_judge(
        "check", "--baseline", "a.jsonl", "--dataset", "cases.jsonl", "--app", "bot:answer", "--json",
        "--principle", PRINCIPLE,
    )  # fmt: skip
    assert json.loads(done.stdout)["planned"] == 4
    assert all(noise in done.stderr for noise in ("imported", "child", "raw"))


def _bytes(*arguments: object, **env: str) -> bytes:
    done = subprocess.run([RA_JUDGE, *map(str, arguments)], env=environ(**env), capture_output=True)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    return done.stdout


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_console_whose_encoding_lacks_a_character_shows_an_escape(here, encoding):
    write_jsonl("in.jsonl", [{"id": "世界", "prompt": "世界? é", "responses": {"🙂": "Grüße 世界"}}])
    ra_judge("grade", "in.jsonl", "-o", "out.jsonl", "--principle", "世界", "--id-column", "id")
    listed = _bytes("log", PYTHONIOENCODING=encoding)
    assert b"\\u4e16\\u754c" in listed
    assert ("é".encode("cp1252") in listed) is (encoding == "cp1252")
    record_id = listed.splitlines()[1].split(b"\t")[0].decode()
    assert b"\\U0001f642" in _bytes("log", record_id, PYTHONIOENCODING=encoding)
    (row,) = json.loads(_bytes("log", "--json", PYTHONIOENCODING=encoding))
    assert row["case"]["id"] == "世界"
    written = _bytes("grade", "in.jsonl", "-o", "-", "--principle", "世界", PYTHONIOENCODING=encoding)
    assert json.loads(written)["best"] == "🙂"  # files are UTF-8 whatever the console


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_and_not_a_traceback(here):
    write_jsonl("in.jsonl", [{"prompt": "q", "responses": ["x"]}])
    for command in (["models", "--json"], ["grade", "in.jsonl", "-o", "-", "--principle", "x"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run([RA_JUDGE, *command], env=environ(), stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 2
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_command_works_without_standard_output(here):
    write_jsonl("in.jsonl", [{"prompt": "q", "responses": ["x"]}])
    for command in ("models", "grade in.jsonl -o out.jsonl --principle x --json"):
        done = subprocess.run(
            ["bash", "-c", f"{RA_JUDGE} {command} >&-"], env=environ(), capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert "Traceback" not in done.stderr
    assert len(Path("out.jsonl").read_text().splitlines()) == 1


def test_a_command_in_this_process_leaves_standard_output_as_it_was(here):
    before = sys.stdout, os.fstat(1).st_ino
    assert invoke("models").stdout.startswith("NAME\t")
    assert invoke("models").stdout.startswith("NAME\t")
    assert (sys.stdout, os.fstat(1).st_ino) == before
