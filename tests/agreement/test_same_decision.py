from __future__ import annotations

import pytest

from rewardanything_core.agreement.confidence import confidence_of
from rewardanything_core.agreement.same_decision import ReferenceDecision, same_decision
from rewardanything_core.types import Verdict


def verdict(scores: dict[str, float], spread: dict[str, float] | None = None, passes: list | None = None) -> Verdict:
    ranking = sorted(scores, key=lambda label: -scores[label])
    return Verdict(scores=scores, ranking=ranking, spread=spread or {}, pass_scores=passes or [])


@pytest.mark.parametrize(
    ("scores", "label", "rule", "expected"),
    [
        ({"a": 4, "b": 2}, ReferenceDecision(pairs=[("a", "b")]), "best", True),
        ({"a": 2, "b": 4}, ReferenceDecision(pairs=[("a", "b")]), "best", False),
        ({"a": 3, "b": 3}, ReferenceDecision(pairs=[("a", "b")]), "best", False),  # a tie is not a preference
        ({"a": 3, "b": 3}, ReferenceDecision(), "best", True),  # people tie, too
        ({"a": 4, "b": 3}, ReferenceDecision(), "best", False),
        ({"a": 4, "b": 3}, ReferenceDecision(scores={"a": 5, "b": 5}), "best", False),
        (
            {"a": 4, "b": 3, "c": 1},
            ReferenceDecision(scores={"a": 5, "b": 5, "c": 1}),
            "best",
            True,
        ),  # one of the best of three
        ({"a": 4, "b": 3, "c": 5}, ReferenceDecision(scores={"a": 5, "b": 5, "c": 1}), "best", False),
        ({"a": 4, "b": 5, "c": 1}, ReferenceDecision(scores={"a": 5, "c": 1}), "best", True),  # no label for b
        ({"a": 4, "b": 3, "c": 1}, ReferenceDecision(pairs=[("a", "b"), ("b", "c")]), "order", True),
        ({"a": 4, "b": 3, "c": 3}, ReferenceDecision(pairs=[("a", "b"), ("b", "c")]), "order", False),
        ({"a": 4.4}, ReferenceDecision(scores={"a": 4}), "scores", True),
        ({"a": 4.6}, ReferenceDecision(scores={"a": 4}), "scores", False),
        ({"a": 4.6}, ReferenceDecision(), "scores", None),
        ({"a": 4.6}, ReferenceDecision(scores={"a": 4}), "best", None),
    ],
)
def test_agreement(scores: dict[str, float], label: ReferenceDecision, rule: str, expected: bool | None) -> None:
    assert same_decision(scores, label, rule=rule) is expected


def test_a_tie_margin_makes_close_scores_a_tie() -> None:
    close = {"a": 3.2, "b": 3.0}
    assert same_decision(close, ReferenceDecision(pairs=[("a", "b")]), rule="best", tie_margin=0.1)
    assert not same_decision(close, ReferenceDecision(pairs=[("a", "b")]), rule="best", tie_margin=0.25)
    assert same_decision(close, ReferenceDecision(), rule="best", tie_margin=0.25)


def test_confidence_orders_verdicts() -> None:
    close, far = verdict({"a": 3.2, "b": 3.0, "c": 1}), verdict({"a": 5, "b": 3.0, "c": 2.9})
    unsure = verdict({"a": 5, "b": 3.0, "c": 2.9}, {"a": 2.0, "b": 1.0, "c": 0.0})
    assert 0.5 < confidence_of(close) < confidence_of(unsure) < confidence_of(far) < 1
    assert confidence_of(close, "order") == confidence_of(close)
    assert confidence_of(far, "order") < confidence_of(close, "order")
    assert confidence_of(verdict({"a": 3, "b": 3})) == 0.5
    passes = [{"a": 4, "b": 1}, {"a": 1, "b": 4}, {"a": 4, "b": 1}, {"a": 2, "b": 2}]
    assert confidence_of(verdict({"a": 3, "b": 2}, passes=passes), "votes") == pytest.approx(2.5 / 4)
    for measure in ("gap", "order", "votes", "spread"):
        one = verdict({"a": 4}, {"a": 0.5})
        assert confidence_of(one, measure) == pytest.approx(0.75)
