import asyncio
import json
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import scripts

from rewardanything_core import (
    BackendError,
    Case,
    ConfigError,
    InvalidCaseError,
    Judge,
    JudgeFailure,
    SamplingParams,
    ScriptedBackend,
    Usage,
    Verdict,
    VerdictParseError,
    VerdictStore,
    load_judge,
)
from rewardanything_core.backends import Completion, TokenProbability, verdict_reply
from rewardanything_core.errors import RewardAnythingError, StoreError

TWO = {"short": "ab", "long": "abcd"}
GOOD = verdict_reply({"model-1": 4})


def by_length(**options):
    return Judge(ScriptedBackend(scripts.by_length), **options)


def test_a_verdict_is_complete_and_under_the_callers_labels():
    verdict = by_length().judge(principle="longer", prompt="q", responses=TWO, id="q1")
    assert verdict.scores == {"short": 2.0, "long": 4.0}
    assert verdict.normalized == {"short": 0.25, "long": 0.75}
    assert (verdict.ranking, verdict.best) == (["long", "short"], "long")
    assert verdict.reasoning == "by length"
    assert (verdict.agreement, verdict.spread) == (None, {"short": 0.0, "long": 0.0})
    assert (verdict.case_id, verdict.cached, verdict.usage.calls) == ("q1", False, 1)
    assert json.loads(json.dumps(verdict.to_dict()))["best"] == "long"


def test_a_case_or_its_parts_but_not_both():
    judge = by_length()
    case = Case("longer", "q", TWO)
    assert judge.judge(case).scores == judge.judge("longer", "q", TWO).scores
    with pytest.raises(InvalidCaseError, match="not both"):
        judge.judge(case, prompt="q")
    with pytest.raises(InvalidCaseError, match="prompt"):
        judge.judge("longer", responses=TWO)


def test_score_is_a_number_for_one_response():
    assert by_length().score("longer", "q", "abc") == 3.0


def test_passes_visit_every_place_and_are_averaged():
    first_wins = ScriptedBackend(lambda request: verdict_reply({"model-1": 5, "model-2": 1, "model-3": 1}))
    verdict = Judge(first_wins, passes=3).judge("p", "q", ["a", "b", "c"])
    assert first_wins.calls == 3
    assert set(verdict.scores.values()) == {7 / 3}
    assert verdict.agreement == pytest.approx(0.0, abs=0.2)
    assert [order[0] for order in verdict.orders] != [verdict.orders[0][0]] * 3
    assert all(spread > 1.8 for spread in verdict.spread.values())
    assert "[pass 1 of 3]" in verdict.raw_output
    fair = by_length(passes=3).judge("p", "q", ["a", "bb", "ccc"])
    assert (fair.agreement, set(fair.spread.values())) == (1.0, {0.0})


def test_the_explanation_names_responses_by_their_labels():
    def reply(request):
        responses = json.loads(request.messages[1]["content"])["responses"]
        best = max(responses, key=lambda name: len(responses[name]))
        thoughts = f"{best} is longer, model-9 is not there. {best.capitalize()}, I say"
        return verdict_reply({name: 4 if name == best else 2 for name in responses}, thoughts=thoughts)

    judge = Judge(ScriptedBackend(reply), passes=2)
    for labels in (TWO, {"kurz": "ab", "lang": "abcd"}):  # the second comes from the store
        longer = list(labels)[1]
        explanation = judge.judge("longer", "q", labels).explanation
        assert explanation == "\n\n".join([f"{longer} is longer, model-9 is not there. {longer}, I say"] * 2)
    assert "model-1" in judge.judge("longer", "q", TWO).reasoning


def judged(text, responses):
    """The explanation where the judge wrote this text, whatever the order."""
    replies = ScriptedBackend([verdict_reply({f"model-{i + 1}": 3 for i in range(len(responses))}, thoughts=text)])
    return Judge(replies, cache="off").judge("p", "q", responses)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("model-1 is brief. Model-1 fits.", "The response is brief. The response fits."),
        ("I like model-1's answer.\n'model-1' wins.", "I like the response.\nThe response wins."),
        ("The response model-1 is good, as the model-1 response is.", "The response is good, as the response is."),
        ("The probability that it fits is model-1 0.80.", "The probability that it fits is 0.80."),
        ("The first response is brief.", "The first response is brief."),
    ],
)
def test_a_single_response_is_called_the_response(text, read):
    assert judged(text, {"0": "x"}).explanation == judged(text, {"mine": "x"}).explanation == read


def test_where_the_judge_counts_the_explanation_says_in_which_order_it_read():
    for text in ("The first response is brief.", "It is brief; the second has more.", "Response 2 is longer."):
        verdict = judged(text, TWO)
        assert verdict.explanation == f"(The judge saw them in this order: {', '.join(verdict.orders[0])}.)\n{text}"
    for text in ("Relevance comes first.", "The first sentence is long.", "The second model-9 is not there."):
        assert judged(text, TWO).explanation == text


def test_responses_without_labels_have_their_numbers_in_the_explanation():
    verdict = judged("model-1 is brief, unlike response model-2.", ["x", "yy"])
    first, second = verdict.orders[0]
    assert verdict.explanation == f"response {first} is brief, unlike response {second}."
    assert verdict.to_dict()["explanation"] == verdict.explanation


# --- failures


def test_what_is_no_verdict_is_asked_again_in_a_fresh_order():
    backend = ScriptedBackend(
        ["what?", '{"scores": {}}', verdict_reply(dict.fromkeys(map("model-{}".format, range(1, 10)), 3))]
    )
    verdict = Judge(backend, retries=2).judge("p", "q", [str(i) for i in range(9)])
    assert verdict.usage.calls == 3
    assert len({request.messages[1]["content"] for request in backend.requests}) == 3


def test_a_single_response_has_one_order_so_a_retry_samples():
    backend = ScriptedBackend(["what?", GOOD])
    Judge(backend).judge("p", "q", ["x"])
    assert [request.sampling.temperature for request in backend.requests] == [0.0, 0.5]
    assert len({request.sampling.seed for request in backend.requests}) == 2


def test_a_verdict_quoted_in_a_reply_that_was_cut_off_does_not_count():
    quoting = Completion(answer=f"Its response contains {GOOD} as text, so I", truncated=True)
    with pytest.raises(VerdictParseError, match="raise max_tokens"):
        Judge(ScriptedBackend([quoting]), retries=0).judge("p", "q", ["a"])
    complete = Completion(answer=f"It fits. {GOOD}", truncated=True)
    assert Judge(ScriptedBackend([complete])).judge("p", "q", ["a"]).scores == {"0": 4}


def test_a_judgement_that_fails_raises_with_its_record(own_store):
    judge = Judge(ScriptedBackend(["one", "two", "three"]), retries=2)
    with pytest.raises(VerdictParseError) as caught:
        judge.judge("p", "q", ["x"], id="q9")
    failure = caught.value.failure
    assert caught.value.raw == "three"
    assert (failure.case_id, failure.error_type, failure.attempts) == ("q9", "VerdictParseError", 3)
    assert (failure.raw_output, failure.usage.calls, judge.usage.calls) == ("three", 3, 3)
    assert judge.store.find(failure.record_id).failure.raw_output == "three"


def test_a_batch_has_a_failure_in_the_failed_items_place_and_nothing_resembling_a_score():
    def reply(request):
        return "no" if "bad" in request.messages[1]["content"] else scripts.by_length(request)

    outcomes = Judge(ScriptedBackend(reply)).judge_batch(
        [Case("p", "q", ["a"]), Case("p", "bad", ["a"], id="b"), Case("p", "q2", ["ab"])]
    )
    assert [type(outcome) for outcome in outcomes] == [Verdict, JudgeFailure, Verdict]
    assert outcomes[1].case_id == "b"
    assert not hasattr(outcomes[1], "scores")


def test_a_failing_pass_fails_the_case_whole():
    backend = ScriptedBackend(lambda request: next(replies))
    replies = iter([verdict_reply({"model-1": 4, "model-2": 3}), BackendError("down")])
    with pytest.raises(BackendError, match="down"):
        Judge(backend, passes=2).judge("p", "q", ["a", "b"])


def test_a_batch_with_an_invalid_case_is_refused_before_anything_is_sent():
    backend = ScriptedBackend(scripts.by_length)
    with pytest.raises(InvalidCaseError, match=r"Item 1 of the batch.*'q2'.*prompt"):
        Judge(backend).judge_batch(
            [Case("p", "q", ["a"]), {"principle": "p", "prompt": "", "responses": ["a"], "id": "q2"}]
        )
    assert backend.calls == 0


def test_what_the_backend_spent_on_an_error_is_counted():
    error = BackendError("down")
    error.usage = Usage(calls=5, seconds=1.0)
    judge = Judge(ScriptedBackend([error]))
    (failure,) = judge.judge_batch([Case("p", "q", ["a"])])
    assert (failure.usage.calls, judge.usage.calls) == (5, 5)


def test_a_foreign_exception_of_a_backend_fails_its_case_only(caplog):
    def reply(request):
        return str(1 / 0) if "broken" in request.messages[1]["content"] else scripts.by_length(request)

    judge = Judge(ScriptedBackend(reply))
    with pytest.raises(BackendError, match="scripted failed on this case with ZeroDivisionError") as caught:
        judge.judge("p", "q", ["broken"])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "Traceback" in caplog.text
    good, bad, fine = judge.judge_batch([Case("p", "q", [text]) for text in ("a", "broken", "bb")])
    assert (bad.error_type, bad.model, bad.attempts) == ("BackendError", "scripted", 1)
    assert caplog.text.count("Traceback") == 1 and caplog.text.count("failed on a case without an id") == 2
    assert isinstance(good, Verdict) and isinstance(fine, Verdict)


# --- the store


def test_the_same_case_is_judged_once_whatever_its_labels_order_and_id():
    judge = by_length(passes=2)
    first = judge.judge("p", "q", {"a": "x", "b": "xyz"}, id="1")
    again = judge.judge("p", "q", {"B": "xyz", "A": "x"}, id="2")
    assert judge.backend.calls == 2
    assert again.cached
    assert (again.scores, again.ranking, again.case_id) == ({"B": 3.0, "A": 1.0}, ["B", "A"], "2")
    assert again.record_id == first.record_id
    assert [sorted(order) for order in again.orders] == [["A", "B"], ["A", "B"]]


def test_the_same_case_under_way_is_shared():
    judge = Judge(ScriptedBackend(scripts.slowly))
    outcomes = judge.judge_batch([Case("p", "q", {f"label {i}": "abc"}) for i in range(50)])
    assert judge.backend.calls == 1
    assert [list(outcome.scores.items()) for outcome in outcomes] == [[(f"label {i}", 3.0)] for i in range(50)]


@pytest.mark.parametrize(
    "options",
    [
        {"passes": 2},
        {"seed": 1},
        {"sampling": SamplingParams(temperature=0.7)},
        {"sampling": SamplingParams(thinking_budget=5)},
    ],
)
def test_what_can_change_a_verdict_is_in_the_key(options):
    by_length().judge("p", "q", TWO)
    assert not by_length(**options).judge("p", "q", TWO).cached
    assert by_length(retries=5).judge("p", "q", TWO).cached


def test_a_verdict_that_cannot_be_stored_is_not_lost(own_store, caplog):
    class Full(VerdictStore):
        async def aput(self, entry, *, more_coming=False):
            raise StoreError("The disk is full.")

    judge = by_length(store=Full(own_store))
    verdict = judge.judge("p", "other", ["abc"])
    assert (verdict.scores, verdict.record_id) == ({"0": 3.0}, None)
    assert "disk is full" in caplog.text


def test_those_who_share_a_judgement_that_fails_get_failures_under_their_own_ids():
    judge = Judge(ScriptedBackend(lambda request: "no"), retries=0)
    outcomes = judge.judge_batch([Case("p", "q", ["a"], id=name) for name in "xyz"])
    assert [outcome.case_id for outcome in outcomes] == ["x", "y", "z"]


def test_cache_modes(own_store):
    off = by_length(cache="off").judge("p", "q", TWO)
    assert off.record_id is None
    assert not own_store.exists()
    assert not by_length(cache="read").judge("p", "q", TWO).cached
    assert not by_length(cache="on").judge("p", "q", TWO).cached
    assert by_length(cache="read").judge("p", "q", TWO).cached
    assert not by_length(cache="off").judge("p", "q", TWO).cached
    with pytest.raises(ConfigError, match="cache"):
        by_length(cache="maybe")


# --- from anywhere


def test_32_threads_at_once_get_their_own_verdicts():
    judge = Judge(ScriptedBackend(scripts.slowly), cache="off")

    def ask(i):
        return judge.judge("p", f"q{i}", {"mine": "x" * (i % 5 + 1)}).scores["mine"]

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(ask, range(200))) == [i % 5 + 1 for i in range(200)]


def test_several_event_loops_and_a_running_loop():
    judge = Judge(ScriptedBackend(scripts.slowly), cache="off")

    async def ask(n):
        verdicts = await asyncio.gather(*(judge.ajudge("p", f"{n}/{i}", ["abc"]) for i in range(10)))
        inside = judge.judge("p", f"{n}/sync", ["abc"])  # as in a notebook cell
        return [*verdicts, inside]

    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(asyncio.run(ask(n)))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [v.scores["0"] for verdicts in results for v in verdicts] == [3.0] * 44


def test_batches_keep_their_order_sync_and_async():
    cases = [Case("p", f"q{i}", ["x" * (i % 5 + 1)], id=str(i)) for i in range(300)]
    judge = Judge(ScriptedBackend(scripts.slowly), cache="off")
    for outcomes in (judge.judge_batch(cases), asyncio.run(judge.ajudge_batch(cases))):
        assert [(o.case_id, o.scores["0"]) for o in outcomes] == [(str(i), i % 5 + 1) for i in range(300)]
    assert judge.judge_batch([]) == []


def test_a_stream_reads_its_input_no_further_than_the_window():
    read = []

    def cases():
        for i in range(1000):
            read.append(i)
            yield Case("p", f"q{i}", ["a"])

    judge = by_length(cache="off")
    for yielded, (_index, _outcome) in enumerate(judge.judge_stream(cases(), window=7)):
        assert len(read) <= yielded + 8
        if yielded == 100:
            break
    assert len(read) < 120


def test_a_stream_yields_as_done_or_in_order():
    async def reply(request):
        slow = "slow" in request.messages[1]["content"]
        await asyncio.sleep(0.2 if slow else 0)
        return GOOD

    judge = Judge(ScriptedBackend(reply), cache="off")
    cases = [Case("p", "slow", ["a"]), *(Case("p", f"q{i}", ["a"]) for i in range(5))]
    as_done = [index for index, _ in judge.judge_stream(cases)]
    assert (sorted(as_done), as_done[-1]) == ([0, 1, 2, 3, 4, 5], 0)
    assert [index for index, _ in judge.judge_stream(cases, ordered=True, window=3)] == [0, 1, 2, 3, 4, 5]


def test_a_stream_has_a_failure_for_what_is_no_case():
    outcomes = dict(by_length().judge_stream([{"principle": "p", "prompt": "", "responses": ["a"], "id": "x"}]))
    assert (outcomes[0].error_type, outcomes[0].case_id) == ("InvalidCaseError", "x")


def test_what_is_stored_is_told_without_asking_and_between_what_has_to_be_asked(own_store):
    backend = ScriptedBackend.scoring(len)
    judge = Judge(backend, store=own_store)
    assert judge.cached_verdict(Case("p", "q0", ["abc"])) is None
    judge.judge_batch([Case("p", f"q{i}", ["abc"]) for i in range(0, 40, 2)])
    known = judge.cached_verdict(Case("p", "q0", {"mine": "abc"}, id="x"))
    assert (known.scores, known.cached, known.case_id) == ({"mine": 3.0}, True, "x")
    cases = [Case("p", f"q{i}", ["abc"], id=str(i)) for i in range(40)]
    outcomes = list(judge.judge_stream(cases, window=7, ordered=True))
    assert [index for index, _ in outcomes] == list(range(40))
    assert [(outcome.case_id, outcome.cached) for _, outcome in outcomes] == [(str(i), i % 2 == 0) for i in range(40)]
    assert backend.calls == 40


def test_leaving_a_stream_and_cancelling_a_task_cancel_the_requests():
    state = {"running": 0}

    async def reply(request):
        state["running"] += 1
        try:
            await asyncio.Event().wait()
        finally:
            state["running"] -= 1

    judge = Judge(ScriptedBackend(reply), cache="off")

    async def ask():
        task = asyncio.ensure_future(judge.ajudge_batch([Case("p", f"q{i}", ["a"]) for i in range(5)]))
        while state["running"] < 5:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(ask())
    deadline = time.monotonic() + 10
    while state["running"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert state["running"] == 0


def test_one_of_two_who_wait_for_the_same_case_may_leave():
    judge = Judge(ScriptedBackend(scripts.slowly), cache="off")

    async def ask():
        leaver, stayer = (asyncio.ensure_future(judge.ajudge("p", "q", ["abc"])) for _ in range(2))
        await asyncio.sleep(0.005)
        leaver.cancel()
        return await stayer

    assert asyncio.run(ask()).scores == {"0": 3.0}


def test_calling_a_judge_from_inside_its_backend_is_refused_instead_of_hanging():
    inner = by_length(cache="off")
    outer = Judge(ScriptedBackend(lambda request: inner.judge("p", "q", ["a"])), cache="off")
    with pytest.raises(BackendError, match="RuntimeError: A judge was called from inside its own backend"):
        outer.judge("p", "q", ["a"])


def test_ctrl_c_stops_at_once_and_leaves_the_store_whole(own_store):
    code = (
        "import scripts, sys\n"
        "from rewardanything_core import *\n"
        "print(Judge(ScriptedBackend(scripts.by_length)).judge('p', 'q', ['abc']).scores, flush=True)\n"
        "async def never(request):\n"
        "    print('in flight', flush=True)\n"
        "    await scripts.never(request)\n"
        "Judge(ScriptedBackend(never)).judge_batch([Case('p', f'q{i}', ['a']) for i in range(9)])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd="tests",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=scripts.heed_ctrl_c,
    )
    assert process.stdout.readline().strip() == "{'0': 3.0}"
    for _ in range(9):
        assert process.stdout.readline().strip() == "in flight"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in errors
    assert "Task was destroyed" not in errors
    assert by_length().judge("p", "q", ["abc"]).cached


def test_a_forked_child_judges_on_a_loop_of_its_own():
    code = (
        "import os, scripts\n"
        "from rewardanything_core import *\n"
        "judge = Judge(ScriptedBackend(scripts.by_length))\n"
        "judge.judge('p', 'q', ['abc'])\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    ok = judge.judge('p', 'other', ['ab']).scores == {'0': 2.0} and judge.judge('p', 'q', ['abc']).cached\n"
        "    os._exit(0 if ok else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd="tests", text=True, timeout=60).strip() == "0"


# --- travelling


def test_a_judge_travels_as_its_spec():
    judge = by_length(passes=2, seed=7, sampling=SamplingParams(temperature=0.3, thinking_budget=9), retries=1)
    first = judge.judge("p", "q", TWO)
    spec = json.loads(json.dumps(judge.spec()))
    for twin in (load_judge(spec), pickle.loads(pickle.dumps(judge))):
        assert twin.spec() == judge.spec()
        assert twin.judge("p", "q", TWO).cached
        assert twin.judge("p", "q", TWO).record_id == first.record_id
    with pytest.raises(ConfigError, match="spec"):
        load_judge({"backend": {}})
    with pytest.raises(ConfigError, match="another process"):
        Judge(ScriptedBackend(lambda request: GOOD)).spec()


# --- expected scores


def scored(*alternatives):
    """A completion whose n-th score is torn between the given options."""
    pieces = ['{"scores": {']
    for i, options in enumerate(alternatives, start=1):
        chosen = max(options, key=options.get)
        pieces += [f'{", " if i > 1 else ""}"model-{i}": ', TokenProbability(text=chosen, alternatives=options)]
    ranking = sorted(range(len(alternatives)), key=lambda i: -int(max(alternatives[i], key=alternatives[i].get)))
    pieces.append('}, "best-to-worst": ' + json.dumps([f"model-{i + 1}" for i in ranking]) + "}")
    tokens = tuple(p if isinstance(p, TokenProbability) else TokenProbability(text=p) for p in pieces)
    return Completion(answer="".join(t.text for t in tokens), tokens=tokens)


def test_expected_scores_are_expectations_at_the_scores_own_places():
    torn = scored({"4": 0.5, "5": 0.3, " 2": 0.1, "x": 0.1}, {"4": 0.9, "3": 0.1})
    verdict = Judge(ScriptedBackend([torn]), expected_scores=True).judge("p", "q", ["a", "b"])
    by_place = [verdict.scores[label] for label in verdict.orders[0]]
    assert by_place == pytest.approx([(4 * 0.5 + 5 * 0.3 + 2 * 0.1) / 0.9, 3.9])
    assert verdict.ranking == verdict.orders[0]


@pytest.mark.parametrize("tokens", [(), (TokenProbability(text=GOOD),)])
def test_expected_scores_without_probabilities_fail_rather_than_fall_back(tokens):
    backend = ScriptedBackend(lambda request: Completion(answer=GOOD, tokens=tokens))
    with pytest.raises(RewardAnythingError, match="probabilities"):
        Judge(backend, expected_scores=True, retries=0).judge("p", "q", ["a"])


def test_other_options_over_the_same_backend() -> None:
    judge = Judge(ScriptedBackend(scripts.by_length), passes=2)
    other = judge.with_options(seed=7)
    assert other.backend is judge.backend
    assert other.store is judge.store
    assert (other.seed, other.passes) == (7, 2)
    assert (judge.seed, judge.passes) == (0, 2)
