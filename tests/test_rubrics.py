"""Rubrics: how they are written, and what they refuse."""

from __future__ import annotations

import dataclasses
import json
import pickle

import pytest

from rewardanything_core import (
    Case,
    ConfigError,
    Criterion,
    InvalidCaseError,
    Judge,
    Principle,
    Rubric,
    ScriptedBackend,
)
from rewardanything_core.principles import rubric_library

TOML = """
name = "support"
required = ["accurate"]

[criteria]
courteous = "Treats the customer with respect."

[criteria.accurate]
text = "Says nothing false."
weight = 2
kind = "yes/no"

[criteria.clear]
text = "Is easy to understand."
anchors = { 1 = "Jargon throughout.", 5 = "Plain words." }
"""

MARKDOWN = """# Rubric: support

## courteous
Treats the customer with respect.

## accurate
- weight: 2
- required: yes
- kind: yes/no

Says nothing false.

## clear
Is easy to understand.
- 1: Jargon throughout.
- 5: Plain words.
"""


@pytest.fixture
def rubric() -> Rubric:
    return Rubric(
        {
            "courteous": "Treats the customer with respect.",
            "accurate": Criterion(text="Says nothing false.", kind="yes/no"),
            "clear": {"text": "Is easy to understand.", "anchors": {1: "Jargon throughout.", "5": "Plain words."}},
        },
        weights={"accurate": 2},
        required=["accurate"],
        name="support",
    )


def test_the_same_rubric_from_toml_markdown_json_and_python(rubric, tmp_path) -> None:
    files = {"r.toml": TOML, "r.md": MARKDOWN, "r.json": json.dumps(rubric.to_json())}
    for name, content in files.items():
        path = tmp_path / name
        path.write_text(content)
        read = Principle.from_file(path)
        assert isinstance(read, Rubric)
        assert read.criteria == rubric.criteria, name
        assert (read.name, read.source) == ("support", str(path))
    accurate = rubric.criteria["accurate"]
    assert (accurate.weight, accurate.required, accurate.scores) == (2, 3.0, ("1", "5"))


def test_a_rubric_is_a_principle_everywhere(rubric) -> None:
    assert Principle.of(rubric) is rubric
    assert Principle.of(rubric.to_json()) == rubric
    assert Principle.several(rubric) == (rubric,)
    assert pickle.loads(pickle.dumps(rubric)) == rubric
    assert hash(rubric) == hash(Rubric.of(rubric.to_json()))
    renamed = dataclasses.replace(rubric, name="other")
    assert (renamed.name, renamed.criteria) == ("other", rubric.criteria)
    case = Case({"criteria": {"clear": "Is clear."}}, "2+2?", ["4"])
    assert isinstance(case.principle, Rubric)


def test_weights_and_requirements_do_not_change_what_is_judged(rubric) -> None:
    reweighted = Rubric(dict(reversed(rubric.criteria.items())), weights={"clear": 9}, name="x")
    assert Case(rubric, "p", ["a"]).digest == Case(reweighted, "p", ["a"]).digest
    reworded = Rubric({**rubric.criteria, "clear": "Is clear."})
    assert Case(rubric, "p", ["a"]).digest != Case(reworded, "p", ["a"]).digest
    assert Case(rubric, "p", ["a"]).digest != Case(rubric.text, "p", ["a"]).digest


def test_keys_are_safe_for_every_server_and_unique() -> None:
    rubric = Rubric(dict.fromkeys(["Task completion", "task_completion", "正確", "完全", "a.b"], "x"))
    assert rubric.keys["Task completion"] == "Task_completion"
    assert len({key.lower() for key in rubric.keys.values()}) == 5
    assert all(key.isascii() and key.replace("_", "").replace("-", "").isalnum() for key in rubric.keys.values())


def test_anchors_and_kind_are_part_of_a_criterion_judged_alone(rubric) -> None:
    assert "5: Plain words." in rubric.criteria["clear"].full_text
    assert "yes or no" in rubric.criteria["accurate"].full_text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"criteria": {}}, "one criterion or more"),
        ({"criteria": ["a"]}, "mapping"),
        ({"criteria": {"a": "  "}}, "'a' is invalid: The criterion is empty"),
        ({"criteria": {"": "x"}}, "1 to 64 printable characters"),
        ({"criteria": {"a\nb": "x"}}, "1 to 64 printable characters"),
        ({"criteria": {"a": 3}}, "must be a string"),
        ({"criteria": {"a": {"text": "x", "wieght": 2}}}, "unknown 'wieght'"),
        ({"criteria": {"a": {"weight": 2}}}, "no 'text'"),
        ({"criteria": {"a": {"text": "x", "anchors": {6: "y"}}}}, "scores 1 to 5, not for 6"),
        ({"criteria": {"a": {"text": "x", "kind": "yes/no", "anchors": {3: "y"}}}}, "1 .no. and 5 .yes. only"),
        ({"criteria": {"a": {"text": "x", "kind": "bool"}}}, "'score' or 'yes/no'"),
        ({"criteria": {"a": "x"}, "weights": {"b": 1}}, "no criterion 'b'"),
        ({"criteria": {"a": "x"}, "weights": {"a": -1}}, "0 or more, not -1"),
        ({"criteria": {"a": "x"}, "weights": {"a": float("nan")}}, "0 or more, not nan"),
        ({"criteria": {"a": "x"}, "weights": {"a": 0}}, "weight 0"),
        ({"criteria": {"a": "x"}, "required": {"a": 6}}, "up to 5, not 6"),
        ({"criteria": {"a": "x"}, "required": "b"}, "no criterion 'b'"),
        ({"criteria": {"a": Rubric({"b": "x"})}}, "single principle"),
    ],
)
def test_mistakes_are_named(arguments, message) -> None:
    with pytest.raises(InvalidCaseError, match=message):
        Rubric(**arguments)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.json", "{", "r.json is invalid"),
        ("r.json", "[]", "mapping"),
        ("r.toml", "criteria = 3", "invalid"),
        ("r.toml", 'wieghts = {}\n[criteria]\na = "x"', "unknown 'wieghts'"),
        ("r.md", "# Rubric\n\nno criteria", "one criterion"),
        ("r.md", "# Rubric\n## a\nx\n## a\ny", "twice"),
        ("r.md", "# Rubric\n## a\nx\n- weight: heavy", "not 'heavy'"),
        ("r.md", "# Rubric\n## a\nx\n- 5: y\n- 5: z", "second time"),
    ],
)
def test_mistakes_in_files_name_the_file(name, content, message, tmp_path) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ConfigError, match=f"(?s){name}.*{message}|{message}"):
        Rubric.from_file(path)


def test_a_markdown_principle_with_sections_stays_a_principle(tmp_path) -> None:
    path = tmp_path / "p.md"
    path.write_text("# Careful\n\nBe careful.\n\n## Details\n- 5: not an anchor")
    principle = Principle.from_file(path)
    assert not isinstance(principle, Rubric)
    assert "## Details" in principle.text


def test_the_library() -> None:
    assert set(rubric_library()) == {"rag", "support", "summary", "agent"}
    assert set(Rubric.named("rag").criteria) == {"faithful", "relevant", "complete", "concise"}
    assert Rubric.named("rag").criteria["faithful"].required == 3
    with pytest.raises(ConfigError, match="rag, support, summary, agent"):
        Rubric.named("x")


@pytest.mark.parametrize("weights", [(1e308, 1.7e308), (5e-324, 5e-324), (0.1, 0.7), (0, 3)])
def test_the_weighted_mean_lies_within_the_scores_for_weights_of_any_size(weights) -> None:
    rubric = Rubric({"a": "x", "b": "y"}, weights=dict(zip("ab", weights, strict=True)))
    assert rubric.weighted_mean({"a": {"r": 5.0}, "b": {"r": 5.0}}) == {"r": 5.0}
    largest = max(weights)
    share = weights[0] / largest / (weights[0] / largest + weights[1] / largest)
    assert rubric.weighted_mean({"a": {"r": 1.0}, "b": {"r": 5.0}})["r"] == pytest.approx(5 - 4 * share)
    verdict = Judge(ScriptedBackend.scoring(lambda text: 3), cache="off").judge(rubric, "p", ["x", "y"])
    assert verdict.scores == {"0": 3.0, "1": 3.0}
