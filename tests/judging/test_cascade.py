from __future__ import annotations

import asyncio
import json
import pickle

import cascades
import pytest
from cascades import SURE, UNSURE, stage

from rewardanything_core import (
    Abstention,
    Cascade,
    ConfigError,
    JudgeFailure,
    Jury,
    Verdict,
    VerdictParseError,
    load_judge,
)
from rewardanything_core.config import read_settings
from rewardanything_core.errors import AbstainedError, AuthenticationError, BackendConnectionError
from rewardanything_core.judging.cascade_thresholds import CascadeThresholds, judge_hash


def two(threshold: float | None = 0.9, **options) -> Cascade:
    return Cascade([stage(cascades.cheap), stage(cascades.strong)], thresholds=[threshold], **options)


def calls(cascade: Cascade) -> list[int]:
    return [each.backend.calls for each in cascade.stages]


# --- who decides


def test_the_cheap_judge_decides_where_it_is_sure():
    cascade = two()
    verdict = cascade.judge(**SURE)
    (only,) = verdict.stages
    assert calls(cascade) == [1, 0]
    assert verdict.scores == {"a": 4.5, "b": 1.5}
    assert (only.stage, only.decided, only.threshold) == (1, True, 0.9)
    assert only.confidence > 0.99
    assert (verdict.model, only.outcome.model) == ("cascade(cheap, strong)", "cheap")


def test_the_strong_judge_decides_where_it_is_not_and_the_verdict_says_why():
    cascade = two()
    verdict = cascade.judge(**UNSURE)
    first, last = verdict.stages
    assert verdict.scores == {"a": 5.0, "b": 1.0}
    assert (first.decided, last.decided, last.threshold) == (False, True, None)
    assert first.confidence < 0.9
    assert first.outcome.replies  # the trace of every stage asked
    assert verdict.usage.cost == pytest.approx(0.021)
    assert verdict.usage == cascade.usage
    assert verdict.record_ids == [first.outcome.record_id, last.outcome.record_id]
    assert "stage 1 (cheap) escalated with confidence 0.6" in verdict.explanation
    assert "threshold 0.9" in verdict.explanation
    assert [one["stage"] for one in verdict.provenance["stages"]] == [1, 2]
    content = json.loads(json.dumps(verdict.to_dict()))
    assert content["stages"][0]["outcome"]["scores"] == first.outcome.scores


def test_a_stage_that_never_decides_is_not_asked():
    for threshold in (None, float("inf")):
        cascade = two(threshold).with_options(cache="off")
        assert [one.stage for one in cascade.judge(**SURE).stages] == [2]
        assert calls(cascade) == [0, 1]


def test_three_stages():
    cascade = Cascade([stage(cascades.unsure), stage(cascades.cheap), stage(cascades.strong)], thresholds=[0.6, 0.9])
    assert [one.stage for one in cascade.judge(**SURE).stages] == [1, 2]
    assert [one.stage for one in cascade.judge(**UNSURE).stages] == [1, 2, 3]


def test_a_failure_escalates_and_a_failed_last_stage_fails():
    mute = stage(lambda _: "no verdict", "mute")
    verdict = Cascade([mute, stage(cascades.strong)], thresholds=[0.5]).judge(**SURE)
    assert isinstance(verdict.stages[0].outcome, JudgeFailure)
    assert verdict.stages[0].confidence is None
    assert "stage 1 (mute) failed with VerdictParseError" in verdict.explanation
    cascade = Cascade([stage(cascades.cheap), mute], thresholds=[1.0])
    (failure,) = cascade.judge_batch([SURE])
    assert (failure.error_type, failure.case_id) == ("VerdictParseError", "case 1")
    assert not isinstance(failure, Abstention)
    assert len(failure.stages) == 2
    with pytest.raises(VerdictParseError, match="escalated with confidence"):
        cascade.judge(**SURE)


def test_errors_of_the_settings_do_not_escalate():
    """A mistyped key of the cheap judge must not send every row to the expensive one."""
    refused = stage(lambda _: AuthenticationError("wrong key"), "refused")
    strong = stage(cascades.strong)
    with pytest.raises(AuthenticationError):
        Cascade([refused, strong], thresholds=[0.5], abstain=False).judge(**SURE)
    abstaining = Cascade([refused, strong], thresholds=[0.5, 0.5], abstain=True)
    assert abstaining.judge_batch([SURE])[0].error_type == "AuthenticationError"
    assert strong.backend.calls == 0
    down = stage(lambda _: BackendConnectionError("no route"), "down")
    assert Cascade([down, strong], thresholds=[0.5]).judge(**SURE).best == "a"


def test_escalated_cases_run_before_the_cheap_judge_is_done():
    escalated = asyncio.Event()

    async def waiting(request):
        if "q1" in request.messages[1]["content"]:
            await escalated.wait()
        return cascades.cheap(request)

    def strong(request):
        escalated.set()
        return cascades.strong(request)

    cascade = Cascade([stage(waiting), stage(strong)], thresholds=[0.9])
    assert all(isinstance(outcome, Verdict) for outcome in cascade.judge_batch([SURE, UNSURE]))


# --- a person at the end


def test_abstention_is_an_outcome_of_its_own():
    cascade = Cascade([stage(cascades.cheap), stage(cascades.unsure)], thresholds=[0.9, 0.9], abstain=True)
    sure, unsure = cascade.judge_batch([SURE, UNSURE])
    assert isinstance(sure, Verdict)
    assert isinstance(unsure, Abstention)
    assert unsure.summary.startswith("Abstained: No judge was sure enough")
    assert [one.confidence for one in unsure.stages] == [pytest.approx(0.691, abs=1e-3), 0.5]
    assert unsure.usage.cost == pytest.approx(0.021)
    assert not hasattr(unsure, "scores")
    with pytest.raises(AbstainedError) as caught:
        cascade.judge(**UNSURE)
    assert isinstance(caught.value.failure, Abstention)
    assert isinstance(pickle.loads(pickle.dumps(caught.value)).failure, Abstention)
    failing = Cascade([stage(cascades.cheap), stage(lambda _: "?", "mute")], thresholds=[1, 1], abstain=True)
    assert isinstance(failing.judge_batch([SURE])[0], Abstention)


def test_a_jury_counts_an_abstaining_cascade_as_a_missing_juror():
    abstaining = Cascade([stage(cascades.unsure), stage(cascades.cheap)], thresholds=[0.9, 1.0], abstain=True)
    jury = Jury([abstaining, stage(cascades.strong)], min_jurors=1)
    verdict = jury.judge(**SURE)
    assert isinstance(verdict.jurors[0], Abstention)
    assert "Abstained: No judge was sure enough" in verdict.explanation


# --- storage


def test_thresholds_are_not_part_of_the_keys_of_stages():
    cascade = two()
    cascade.judge_batch([SURE, UNSURE])
    strict = cascade.with_thresholds([1.0])
    verdict = strict.judge(**SURE)
    assert calls(cascade) == [2, 2]
    assert verdict.stages[0].outcome.cached
    assert not verdict.cached
    assert strict.judge(**SURE).cached
    assert two().judge(**UNSURE).cached  # another cascade of the same judges
    alone = stage(cascades.strong)
    assert alone.judge(**UNSURE).cached
    assert alone.backend.calls == 0


def test_spec_copies_and_pickle():
    cascade = Cascade(
        [
            load_judge("scripted:cascades:cheap", backend_options={"name": "cheap"}),
            load_judge("scripted:cascades:strong", backend_options={"name": "strong"}),
        ],
        thresholds=[None, 0.7],
        confidence="votes",
        abstain=True,
    )
    for copy in (load_judge(cascade.spec()), pickle.loads(pickle.dumps(cascade)), cascade.with_options(seed=0)):
        assert isinstance(copy, Cascade)
        assert copy.fingerprint() == cascade.fingerprint()
    changed = cascade.with_options(passes=3)
    assert [each.options.passes for each in changed.stages] == [3, 3]
    assert (changed.thresholds, changed.abstain, changed.confidence) == ((None, 0.7), True, "votes")
    assert cascade.with_thresholds([0.5, 0.5]).fingerprint() != cascade.fingerprint()


# --- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"thresholds": [0.5, 0.5]}, "needs 1 thresholds, not 2"),
        ({"thresholds": [0.5], "abstain": True}, "needs 2 thresholds, not 1"),
        ({"thresholds": [1.5]}, "within 0..1"),
        ({"thresholds": [True]}, "within 0..1"),
        ({"thresholds": [float("nan")]}, "within 0..1"),
        ({"thresholds": 0.5}, "must be a list"),
        ({"confidence": "hunch"}, "gap, order, votes, spread"),
        ({"thresholds": "missing.json"}, "No such file"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Cascade([stage(cascades.cheap), stage(cascades.strong)], **arguments)


def test_stages_are_checked():
    one = stage(cascades.cheap)
    for stages in ([one], [one, one], "cheap", [one, 3]):
        with pytest.raises(ConfigError):
            Cascade(stages, thresholds=[0.5])
    with pytest.raises(ConfigError, match="has no thresholds"):
        Cascade([one, stage(cascades.strong)]).judge(**SURE)


# --- settings


def test_settings_describe_a_cascade(tmp_path):
    file = tmp_path / "ra-judge.toml"
    file.write_text(cascades.SETTINGS.format(judge='passes = 2\nconfidence = "votes"', first="threshold = 0.75"))
    cascade = load_judge(config=file)
    assert isinstance(cascade, Cascade)
    assert (cascade.thresholds, cascade.confidence) == ((0.75,), "votes")
    assert [each.options.passes for each in cascade.stages] == [2, 2]
    assert load_judge(config=file, passes=4).stages[1].options.passes == 4
    assert not isinstance(load_judge("scripted:cascades:cheap", config=file), Cascade)
    listed = read_settings(overrides={"cascade": "one, two"}, environ={})["cascade"]
    assert listed == [{"model": "one"}, {"model": "two"}]


@pytest.mark.parametrize(
    ("judge", "first", "message"),
    [
        ("abstain = true", "threshold = 0.5", "stage 2 has none"),
        ('thresholds = "x.json"', "threshold = 0.5", "Give either thresholds"),
        ("", "abstain = true", "setting of a whole cascade"),
        ('jury = ["one", "two"]', "", "both a jury and a cascade"),
    ],
)
def test_settings_are_checked(tmp_path, judge, first, message):
    file = tmp_path / "ra-judge.toml"
    file.write_text(cascades.SETTINGS.format(judge=judge, first=first))
    with pytest.raises(ConfigError, match=message):
        load_judge(config=file)


def test_a_file_holds_for_the_judges_that_it_was_fitted_for(tmp_path):
    stages = [stage(cascades.cheap), stage(cascades.strong)]
    path = tmp_path / "cascade.json"
    CascadeThresholds(
        thresholds=(0.8,), confidence="votes", judges=tuple(map(judge_hash, stages)), needs_last=False
    ).save(path)
    cascade = Cascade(stages, thresholds=path)
    assert (cascade.thresholds, cascade.confidence) == ((0.8,), "votes")
    assert Cascade([stages[0], stage(cascades.unsure)], thresholds=path).thresholds == (0.8,)  # only the last differs
    with pytest.raises(ConfigError, match="fitted for another judge as stage 1"):
        Cascade([stage(cascades.cheap, passes=2), stages[1]], thresholds=path)
    with pytest.raises(ConfigError, match="for confidence='votes'"):
        Cascade(stages, thresholds=path, confidence="gap")
    for content in ("", "[]", '{"format": "rewardanything-cascade-1", "thresholds": [2]}'):
        path.write_text(content)
        with pytest.raises(ConfigError, match=r"cascade\.json"):
            Cascade(stages, thresholds=path)
