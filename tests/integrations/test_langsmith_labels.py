"""People's feedback on LangSmith runs as labelled items."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from langsmith.schemas import Feedback, FeedbackSourceBase, Run

from rewardanything_core import ConfigError
from rewardanything_core.bench import combined_by_prompt
from rewardanything_langchain import labels_from_langsmith

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def run(question, answer):
    run_id = uuid4()
    return Run(
        id=run_id, name="chain", run_type="chain", start_time=NOW, trace_id=run_id, dotted_order="x",
        inputs={"question": question}, outputs=answer if isinstance(answer, dict) or answer is None else {"a": answer},
    )  # fmt: skip


def feedback(of, score, *, key="helpful", kind="app", comment=None):
    source = FeedbackSourceBase(type=kind)
    return Feedback(
        id=uuid4(), created_at=NOW, modified_at=NOW, run_id=of.id, trace_id=of.id, key=key, score=score,
        comment=comment, feedback_source=source,
    )  # fmt: skip


def test_scores_of_people_become_labels():
    calm, loud, other = run("Where?", "Left."), run("Where?", "Here!"), run("Who?", "Me.")
    given = [
        feedback(calm, 1, comment="Calm."), feedback(calm, 0.5, kind="api"),
        feedback(loud, 0), feedback(other, 1, kind="model"),
    ]  # fmt: skip
    items = labels_from_langsmith([calm, loud, other], given, principle="Be calm.")
    assert [item.human for item in items] == [{"response": 0.75}, {"response": 0}]
    assert [item.scale for item in items] == [(0, 1), (0, 1)]
    assert items[0].comment == "Calm."
    assert items[0].prompt == "Where?"
    (both,) = combined_by_prompt(items)
    assert len(both.pairs) == 1


def test_an_export_with_feedback_inside_is_read(tmp_path):
    line = {"id": "r1", "inputs": {"q": "Where?"}, "outputs": {"a": "Left."}, "feedback": [{"key": "k", "score": 4}]}
    (item,) = labels_from_langsmith([json.loads(json.dumps(line))], principle="Be calm.", scale=(1, 5))
    assert (item.id, item.human, item.scale) == ("r1", {"response": 4.0}, (1, 5))


def test_feedback_that_cannot_be_used_is_named():
    one = run("Where?", "Left.")
    with pytest.raises(ConfigError, match=r"no feedback by people on these 1 runs; .* is: none"):
        labels_from_langsmith([one], [feedback(one, 1, kind="model")], principle="Be calm.")
    several = [feedback(one, 1), feedback(one, 1, key="brief")]
    with pytest.raises(ConfigError, match="several keys"):
        labels_from_langsmith([one], several, principle="Be calm.")
    silent = run("Where?", None)
    with pytest.warns(UserWarning, match="1 of 2 runs with feedback cannot be judged and are left out"):
        assert len(labels_from_langsmith([one, silent], [feedback(one, 1), feedback(silent, 1)], principle="P.")) == 1
