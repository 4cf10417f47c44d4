import asyncio
import contextvars
import threading

import pytest
import scripts

from rewardanything_core import Case, Judge, JudgeFailure, Jury, ScriptedBackend, Verdict, load_judge
from rewardanything_core.backends import verdict_reply
from rewardanything_core.errors import RewardAnythingError
from rewardanything_core.judging.observers import add_observer, flush_observers, remove_observer

CURRENT = contextvars.ContextVar("current", default="outside")


def reply(request):
    content = request.messages[1]["content"]
    return "no verdict" if "mute" in content else verdict_reply({"model-1": 3})


def observed_judge(events, **options):
    return Judge(ScriptedBackend(reply), retries=0, on_verdict=[events.append], **options)


def test_every_public_method_reports_each_outcome_once():
    events = []
    judge = observed_judge(events)
    cases = [Case("p", "q", [text], id=text) for text in ("a", "mute", "b")]
    judge.judge("p", "q", ["x"])
    judge.judge("p", "q", ["x"])  # from the store
    judge.score("p", "q", "y")
    with pytest.raises(RewardAnythingError):
        judge.judge("p", "q", ["mute"])
    assert [type(event.outcome) for event in events] == [Verdict, Verdict, Verdict, JudgeFailure]
    assert [event.outcome.cached for event in events[:2]] == [False, True]
    assert all(event.judge is judge and event.case.prompt == "q" for event in events)
    assert all(0 < event.started_ns <= event.ended_ns for event in events)
    for method in (
        lambda: judge.judge_batch(cases),
        lambda: [outcome for _, outcome in judge.judge_stream(cases, ordered=True)],
        lambda: asyncio.run(judge.ajudge_batch(cases)),
    ):
        outcomes = method()
        reported = {event.case.id: event.outcome for event in events[-3:]}
        assert [reported[case.id] for case in cases] == outcomes
    asyncio.run(judge.ajudge(cases[0]))
    assert len(events) == 4 + 3 * 3 + 1


def test_an_item_that_is_no_case_is_reported_without_one():
    events = []
    list(observed_judge(events).judge_stream([{"principle": "p", "prompt": "q", "responses": []}]))
    (event,) = events
    assert event.case is None
    assert event.outcome.error_type == "InvalidCaseError"


def test_an_observer_runs_in_the_context_of_the_call_and_in_the_callers_thread():
    seen = []
    judge = observed_judge([], cache="off").with_options(
        on_verdict=[lambda event: seen.append((CURRENT.get(), threading.current_thread()))]
    )
    token = CURRENT.set("inside")
    try:
        judge.judge_batch([Case("p", "q", [text]) for text in "ab"])
        stream = judge.judge_stream([Case("p", "q", ["c"])])
    finally:
        CURRENT.reset(token)
    list(stream)
    assert {thread for _, thread in seen} == {threading.current_thread()}
    # A generator starts when it is first read, which was outside.
    assert [context for context, _ in seen] == ["inside", "inside", "outside"]


def test_what_an_observer_raises_never_affects_a_verdict(caplog):
    seen = []

    def broken(event):
        raise ValueError("observer is broken")

    async def broken_later(event):
        await asyncio.sleep(0)
        raise ValueError("observer is broken later")

    async def counts(event):
        await asyncio.sleep(0)
        seen.append(event)

    judge = Judge(ScriptedBackend(reply), on_verdict=[broken, broken_later, counts])
    with judge:
        assert judge.judge("p", "q", ["a"]).scores == {"0": 3.0}
    assert len(seen) == 1  # leaving the block waits for asynchronous observers
    assert "observer is broken\n" in caplog.text
    assert "observer is broken later" in caplog.text


def test_process_wide_observers_see_all_judges_until_they_are_removed():
    events = []
    add_observer(events.append)
    add_observer(events.append)
    try:
        Judge(ScriptedBackend(reply)).judge("p", "q", ["a"])
        Jury([Judge(ScriptedBackend(reply, name=name)) for name in "ab"]).judge("p", "q", ["b"])
    finally:
        remove_observer(events.append)
        remove_observer(events.append)
    Judge(ScriptedBackend(reply)).judge("p", "q", ["c"])
    assert [event.judge.model for event in events] == ["scripted", "jury(a, b)"]


def test_observers_stay_in_the_process_and_out_of_keys():
    judge = observed_judge([])
    assert "on_verdict" not in judge.spec()["options"]
    assert judge.fingerprint() == Judge(ScriptedBackend(reply), retries=0).fingerprint()
    spec = Judge(ScriptedBackend.from_spec({"replies": "scripts:by_length"}), on_verdict=[print]).spec() | {
        "backend": {"kind": "scripted", "replies": "scripts:by_length"}
    }
    assert load_judge(spec).observers == ()


# --- asynchronous streams


def test_an_asynchronous_stream_takes_both_kinds_of_iterables_and_bounds_what_is_in_flight():
    read = []

    async def source(number):
        for index in range(number):
            read.append(index)
            yield {"principle": "p", "prompt": "q", "responses": ["x" * (1 + index % 5)], "id": str(index)}

    async def consume():
        judge = Judge(ScriptedBackend(scripts.by_length), cache="off")
        found = []
        async for index, outcome in judge.ajudge_stream(source(40), window=4, ordered=True):
            found.append((index, outcome.case_id))
            assert len(read) - len(found) <= 4
        return found

    assert asyncio.run(consume()) == [(index, str(index)) for index in range(40)]


def test_an_asynchronous_stream_reports_invalid_items_in_place_and_ends_early():
    async def consume():
        async with Judge(ScriptedBackend(reply), cache="off") as judge:
            items = [Case("p", "q", ["a"]), {"principle": "p"}, Case("p", "q", ["mute"])]
            outcomes = dict([item async for item in judge.ajudge_stream(items)])
            async for index, _ in judge.ajudge_stream((Case("p", f"{n}", ["a"]) for n in range(10**9)), window=2):
                if index == 5:
                    break
            return outcomes

    outcomes = asyncio.run(consume())
    flush_observers()
    assert isinstance(outcomes[0], Verdict)
    assert [outcomes[index].error_type for index in (1, 2)] == ["InvalidCaseError", "VerdictParseError"]


def test_an_error_of_the_source_reaches_the_reader_of_an_asynchronous_stream():
    async def source():
        yield Case("p", "q", ["a"])
        raise OSError("the disk is gone")

    async def consume():
        return [item async for item in Judge(ScriptedBackend(reply)).ajudge_stream(source())]

    with pytest.raises(OSError, match="the disk is gone"):
        asyncio.run(consume())
