import json

import pytest

from rewardanything_core import Case, InvalidCaseError, Principle


def test_parts_given_loosely_are_normalised():
    case = Case("be brief", "hello?", ["hi", ""])
    assert case.principle == Principle("be brief")
    assert dict(case.responses) == {"0": "hi", "1": ""}


def test_chat_prompts_keep_their_turns_and_join_text_parts():
    case = Case(
        "p",
        [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": [{"type": "text", "text": "one"}, "two"]},
        ],
        {"a": "x"},
    )
    assert case.prompt == ({"role": "system", "content": "be kind"}, {"role": "user", "content": "one\ntwo"})


@pytest.mark.parametrize(
    ("arguments", "field", "words"),
    [
        (dict(principle=" "), "principle", "empty"),
        (dict(principle=3), "principle", "int"),
        (dict(prompt=""), "prompt", "empty"),
        (dict(prompt=None), "prompt", "NoneType"),
        (dict(prompt=[]), "prompt", "no message"),
        (dict(prompt=[{"role": "user"}]), "prompt", "message 0"),
        (dict(prompt=[{"role": "boss", "content": "x"}]), "prompt", "'boss'"),
        (dict(prompt=[{"role": "user", "content": [{"type": "image_url"}]}]), "prompt", "image_url"),
        (dict(responses={}), "responses", "nothing to judge"),
        (dict(responses="text"), "responses", "[text]"),
        (dict(responses={"a": None}), "responses", "'a'"),
        (dict(responses={1: "x"}), "responses", "label 1"),
        (dict(responses={"a": "\ud800"}), "responses", "surrogate"),
        (dict(responses=7), "responses", "int"),
        (dict(reference=5), "reference", "int"),
        (dict(context=[]), "context", "list"),
    ],
)
def test_what_cannot_be_judged_is_refused_by_case_and_field(arguments, field, words):
    good = dict(principle="p", prompt="q", responses={"a": "x"}, id="q17")
    with pytest.raises(InvalidCaseError) as caught:
        Case(**good | arguments)
    assert caught.value.field == field
    assert caught.value.case_id == "q17"
    assert "'q17'" in str(caught.value)
    assert words in str(caught.value)


def test_a_mapping_must_have_exactly_a_cases_fields():
    with pytest.raises(InvalidCaseError, match=r"no 'prompt', an unknown 'promt'"):
        Case.of({"principle": "p", "promt": "q", "responses": ["x"]})
    with pytest.raises(InvalidCaseError, match="mapping"):
        Case.of("text")  # type: ignore[arg-type]


def test_the_digest_ignores_what_the_judge_does_not_see():
    one = Case("p", "q", {"a": "x", "b": "y"}, id="1")
    same = Case(Principle("p", name="named"), "q", {"gpt": "y", "claude": "x"})
    assert one.digest == same.digest
    assert [one.responses[label] for label in one.canonical_labels] == [
        same.responses[label] for label in same.canonical_labels
    ]


@pytest.mark.parametrize(
    "change",
    [
        dict(principle="p2"),
        dict(prompt="q2"),
        dict(prompt=[{"role": "user", "content": "q"}, {"role": "assistant", "content": "x"}]),
        dict(responses={"a": "x"}),
        dict(responses={"a": "x", "b": "z"}),
        dict(reference="r"),
        dict(context="r"),
    ],
)
def test_the_digest_tells_apart_what_the_judge_sees(change):
    base = dict(principle="p", prompt="q", responses={"a": "x", "b": "y"})
    assert Case(**base).digest != Case(**base | change).digest


def test_reference_and_context_are_not_mistaken_for_each_other():
    assert Case("p", "q", ["x"], reference="r").digest != Case("p", "q", ["x"], context="r").digest


def test_many_languages_and_many_responses_are_fine():
    texts = ["日本語の答え", "العربية", "emoji 👩‍🚀", "ไทย", ""] * 7
    case = Case("p", "q", texts)
    assert len(case.responses) == 35
    assert json.loads(json.dumps(list(case.responses.values()), ensure_ascii=False)) == texts
