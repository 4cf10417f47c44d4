"""``ra-judge check`` on outputs that it makes: with a function, with a model and prompts, at git revisions."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from checks import PRINCIPLE, complaint, errors_of, judged, ra_judge, read_jsonl, write_jsonl, written

APP = """
import asyncio, os, threading, time

def number(case, value):
    with open("ran", "a") as file:
        file.write(case["id"] + "\\n")
    return f"{case['question']} is {value}"

def good(case):
    print("chatter")
    return number(case, 4)

async def bad(case):
    await asyncio.sleep(0.01)
    return number(case, 2)

class Bot:
    def answer(self, case):
        return number(case, 4)

bot = Bot()

def breaks(case):
    if case["id"] == "q-e" and not os.path.exists("repaired"):
        raise KeyError("no such thing")
    return number(case, 4)

def leaves(case):
    raise SystemExit(0)

def counts(case):
    return 4

def together(case):
    barrier.wait()
    return number(case, 4)

barrier = threading.Barrier(3, timeout=20)
"""


@pytest.fixture
def here(here):
    write_jsonl("cases.jsonl", [{"id": f"q-{name}", "question": f"letter {name}"} for name in "abcdefghijkl"])
    Path("bot.py").write_text(APP)
    return here


@pytest.fixture
def recorded(here):
    rows = [{"id": f"q-{name}", "prompt": f"letter {name}", "response": f"{name} is 4"} for name in "abcdefghijkl"]
    write_jsonl("a.jsonl", rows)
    return here


def check(*arguments: object, **how):
    options = ("--dataset", "cases.jsonl", "--margin", 1)  # 12 cases rule out no smaller margin
    return ra_judge("check", *options, *arguments, "--principle", PRINCIPLE, **how)


def ran() -> list[str]:
    return Path("ran").read_text().split() if Path("ran").exists() else []


# --- a function -----------------------------------------------------------------------------------------------------


def test_a_function_runs_on_the_cases(recorded):
    done = check("--baseline", "a.jsonl", "--app", "bot:good", "--json")
    report = json.loads(done.stdout)  # without what the app prints
    assert "chatter" in done.stderr
    assert (report["outcome"], report["planned"]) == ("passed", 12)
    assert report["pairs"][0]["candidate_response"] == "letter a is 4"
    assert sorted(ran()) == [f"q-{name}" for name in "abcdefghijkl"]
    check("--baseline", "a.jsonl", "--app", "bot:bad", code=1)
    check("--baseline", "a.jsonl", "--app", "bot:bot.answer")


def test_cases_run_concurrently(recorded):
    check("--baseline", "a.jsonl", "--app", "bot:together", "--app-concurrency", "3")


def test_an_app_failure_names_the_case_and_keeps_earlier_answers(recorded):
    app = ["--baseline", "a.jsonl", "--app", "bot:breaks", "--app-concurrency", "1"]
    message = errors_of(check(*app, code=2))
    assert "failed on case 'q-e': KeyError: 'no such thing' (bot.py, line" in message
    assert "4 answers so far are saved; --resume continues with them." in message
    assert judged() == []
    Path("repaired").touch()
    check(*app, "--resume")
    assert ran() == [f"q-{name}" for name in "abcdefghijkl"]
    check(*app)
    assert len(ran()) == 24  # without --resume it runs again, since its answers may depend on more than its file
    Path("bot.py").write_text(APP + "# changed\n")
    check(*app, "--resume")
    assert len(ran()) == 36


@pytest.mark.parametrize(
    ("app", "problem"),
    [
        ("bot", "named module:function, such as app:answer"),
        ("bot.py:good", "named module:function"),
        ("nope:good", "ModuleNotFoundError: No module named 'nope'. Modules are searched in"),
        ("bot:nope", "AttributeError"),
        ("bot:barrier", "is not a function but a Barrier"),
        ("bot:counts", "must return text or messages; for case 'q-a': The answer"),
        ("bot:leaves", "failed on case 'q-a': RuntimeError: it called sys.exit(0)"),
    ],
)
def test_apps_that_cannot_be_used(recorded, app, problem):
    assert problem in errors_of(check("--baseline", "a.jsonl", "--app", app, "--app-concurrency", "1", code=2))
    assert judged() == []


def test_cases_that_differ_from_the_baseline_are_reported_before_the_app_runs(recorded):
    write_jsonl("cases.jsonl", [*read_jsonl("cases.jsonl"), {"id": "q-z", "question": "new"}])
    assert "'q-z' not in baseline" in errors_of(check("--baseline", "a.jsonl", "--app", "bot:good", code=2))
    assert ran() == []
    report = json.loads(check("--baseline", "a.jsonl", "--app", "bot:good", "--common-only", "--json").stdout)
    assert (report["missing"], report["planned"]) == (["q-z"], 12)
    assert "q-z" not in ran()


def test_column_names_apply_to_the_users_own_files(recorded):
    rows = [{"key": row["id"], "question": row["question"]} for row in read_jsonl("cases.jsonl")]
    write_jsonl("cases.jsonl", rows)
    columns = ["--id-column", "key", "--prompt-column", "question"]
    report = json.loads(check("--baseline", "a.jsonl", "--app", "bot:good", *columns, "--json").stdout)
    assert (report["pairs"][0]["id"], report["pairs"][0]["prompt"]) == ("q-a", "letter a")


# --- prompts on a model ---------------------------------------------------------------------------------------------

SCRIPTED = ["--app-model", "scripted:checks:application"]


def test_a_prompt_without_placeholders_is_the_system_message(recorded):
    write_jsonl("cases.jsonl", [{"id": row["id"], "prompt": row["prompt"]} for row in read_jsonl("a.jsonl")])
    Path("p.md").write_text('Answer carefully. Write {"a": {}} and {{not this}}.')
    check("--baseline", "a.jsonl", "--prompt", "p.md", *SCRIPTED)
    system, user = sorted(written(), key=str)[0]
    assert system == {"role": "system", "content": 'Answer carefully. Write {"a": {}} and {{not this}}.'}
    assert user == {"role": "user", "content": "letter a"}


def test_a_chat_prompt_and_several_candidates(recorded):
    chat = [
        {"role": "system", "content": "Speak {{ tongue }}, carefully."},
        {"role": "user", "content": "{{question}}"},
    ]
    Path("chat.json").write_text(json.dumps(chat))
    Path("new.md").write_text("{{ question }}")
    cases = [{**row, "tongue": {"is": "ä"}, "prompt": row["question"]} for row in read_jsonl("cases.jsonl")]
    write_jsonl("cases.jsonl", cases)
    several = ["--candidate-prompt", "chat.json", "--candidate-prompt", "worse=new.md"]
    report = json.loads(check("--baseline", "a.jsonl", *several, *SCRIPTED, "--json", code=1).stdout)
    assert {c["candidate"]: c["outcome"] for c in report["comparisons"]} == {"chat": "passed", "worse": "regression"}
    assert 'Speak {"is": "ä"}, carefully.' in {messages[0]["content"] for messages in written()}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Hi {{ question }} {{ nam }}", "a placeholder {{ nam }}, but the cases have no field 'nam'; they have 'id'"),
        ("Hi {{ note }}", "The prompt p.md needs 'note', which case 'q-b' does not have"),
        ("Hi", "no {{ placeholder }}, so it needs a field 'prompt'"),
        ("  \n", "The prompt p.md is empty"),
        ('[{"role": "system"}]', "Message 1 of the prompt p.json must have a 'role'"),
        ("[", "The prompt p.json cannot be read as JSON"),
    ],
)
def test_prompts_that_cannot_be_filled_in(recorded, text, problem):
    cases = read_jsonl("cases.jsonl")
    write_jsonl("cases.jsonl", [{**cases[0], "note": "x"}, *cases[1:]])
    name = "p.json" if text.startswith("[") else "p.md"
    Path(name).write_text(text)
    arguments = ["--dataset", "cases.jsonl", "--baseline", "a.jsonl", "--prompt", name, "--principle", "x"]
    assert problem in complaint("check", *arguments, *SCRIPTED)
    assert written() == []


def test_a_prompt_needs_a_model(recorded):
    Path("p.md").write_text("{{question}}")
    arguments = ["--dataset", "cases.jsonl", "--baseline", "a.jsonl", "--prompt", "p.md", "--principle", "x"]
    assert "Name the application's model with --app-model" in complaint("check", *arguments)
    for wrong in (["--app-model", "openai/x", "--app-device", "cpu"], ["--app-model", "x", "--app-api-key-env", "K"]):
        assert "does not apply to" in complaint("check", *arguments, *wrong)


@pytest.mark.model
def test_a_small_model_on_this_machine_writes_the_answers(recorded, model_folder):
    write_jsonl("cases.jsonl", read_jsonl("cases.jsonl")[:2])
    Path("p.md").write_text("Say hello. {{question}}")
    arguments = ["--baseline", "a.jsonl", "--common-only", "--prompt", "p.md", "--app-model", str(model_folder)]
    done = check(*arguments, "--app-max-tokens", "6", "--app-device", "cpu", "--json", code=3)
    pairs = json.loads(done.stdout)["pairs"]
    assert all(0 < len(pair["candidate_response"].split()) <= 6 for pair in pairs)
    assert all("<|" not in pair["candidate_response"] for pair in pairs)
    assert "2 of 2 outputs were cut off at 6 tokens" in errors_of(done)


# --- git ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(here):
    Path("prompts").mkdir()
    Path("prompts/answer.md").write_text("carefully {{question}}")
    for arguments in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "one"], ["tag", "v1"]):
        git(*arguments)
    return here


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    subprocess.run(["git", *identity, *arguments], check=True, env=env)


def test_a_prompt_file_at_two_revisions(repository):
    prompt = ["--prompt", "prompts/answer.md", *SCRIPTED]
    Path("prompts/answer.md").write_text("{{question}}")
    check(*prompt, "--baseline-rev", "main", code=1)
    git("commit", "-q", "-a", "-m", "two")
    check(*prompt, "--baseline-rev", "v1", "--candidate-rev", "main", code=1)
    assert len(written()) == 48
    before = len(judged())
    done = check(*prompt, "--baseline-rev", "HEAD")  # no change: nothing to judge
    assert len(judged()) == before
    assert len(written()) == 60
    assert "12 different prompts" in done.stderr
    ra_judge(
        "check", "--dataset", "../cases.jsonl", "--principle", PRINCIPLE, "--baseline-rev", "v1",
        "--prompt", "answer.md", *SCRIPTED, cwd="prompts", code=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("prompt", "revision", "problem"),
    [
        ("prompts/answer.md", "origin/main", "no git revision 'origin/main' here. Fetch it first"),
        ("prompts/answer.md", "--output=x", "is not a git revision"),
        ("prompts/other.md", "main", "Git revision 'main' has no readable prompts/other.md: path 'prompts/other.md'"),
        ("/nowhere/prompt.md", "main", "is not in a readable git repository"),
        ("prompts:/x@y", "main", "which has no git revision 'main'"),
    ],
)
def test_prompts_that_are_not_at_a_revision(repository, prompt, revision, problem):
    Path("prompts/other.md").write_text("x")
    arguments = ["--dataset", "cases.jsonl", "--prompt", prompt, f"--baseline-rev={revision}", "--principle", "x"]
    assert problem in complaint("check", *arguments, *SCRIPTED)


def test_a_settings_file_can_name_all_sources(repository):
    Path("ra-judge.toml").write_text(f"""
[check]
dataset = "cases.jsonl"
prompt = "prompts/answer.md"
baseline_rev = "main"
app_model = "scripted:checks:application"
margin = 1

[[check.principles]]
text = "{PRINCIPLE}"
""")
    Path("prompts/answer.md").write_text("{{question}}")
    ra_judge("check", code=1)
    ra_judge("check", cwd="prompts", code=1, RA_JUDGE_HOME=str(repository / "home"))
    ra_judge("baseline", "-o", "a.jsonl")
    before = len(written())
    ra_judge("check", "--baseline", "a.jsonl")  # replaces the revision
    assert len(written()) == before + 12
    ra_judge("check", "--app", "bot:good")  # replaces the prompt
    assert len(written()) == before + 24
