import json

import pytest

from rewardanything_core import Case, InvalidCaseError, Principle
from rewardanything_core.conversations.trajectory import Trajectory


def test_convenient_forms_are_normalised():
    case = Case("be brief", "hello?", ["hi", ""])
    assert case.principle == Principle("be brief")
    assert dict(case.responses) == {"0": "hi", "1": ""}


def test_chat_prompts_keep_their_messages_and_join_text_parts():
    case = Case(
        "p",
        [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": [{"type": "text", "text": "one"}, "two"]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "three", "annotations": []}]},
        ],
        {"a": "x"},
    )
    assert case.prompt == (
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "one\ntwo"},
        {"role": "assistant", "content": "three"},
    )


def test_empty_message_keys_are_ignored():
    """SDKs dump a message with every key, most of them None."""
    message = {
        "role": "assistant",
        "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}],
        "refusal": None,
        "tool_calls": [],
        "name": "",
        "audio": {},
    }
    assert Case("p", [message], ["x"]).prompt == ({"role": "assistant", "content": "hi"},)


CALL = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"role": "user", "content": "hi", "images": ["x.png"]}, ["message 1", "'images'"]),
        ({"role": "user", "content": "hi", "flag": False}, ["message 1", "'flag'"]),
        ({"role": "assistant"}, ["message 1", "no 'content'"]),
        ({"content": "hi"}, ["message 1", "'content'"]),
        ({"role": "user", "content": [7]}, ["message 1", "part 0", "'int'"]),
        ({"role": "user", "content": [{"type": "text"}]}, ["message 1", "part 0", "no 'text'"]),
        ("hello", ["message 1", "'hello'"]),
    ],
)
def test_nothing_in_a_message_is_dropped_silently(message, words):
    with pytest.raises(InvalidCaseError) as caught:
        Case("p", [{"role": "user", "content": "hello"}, message], ["x"], id="q17")
    assert (caught.value.field, caught.value.case_id) == ("prompt", "q17")
    for word in ["'q17'", *words]:
        assert word in str(caught.value)


def test_prompts_may_have_tool_calls_results_and_images():
    plain = [{"role": "user", "content": "hello"}]
    assert not Case("p", plain, ["x"]).has_turns
    for message in (
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "4", "tool_call_id": "c1"},
        {"role": "user", "content": ["look", IMAGE]},
        {"role": "user", "content": "hi", "name": "Ann"},
    ):
        case = Case("p", [*plain, message], ["x"])
        assert case.has_turns and case.digest != Case("p", plain, ["x"]).digest


def test_a_response_may_be_what_an_agent_did():
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "4", "tool_call_id": "c1"},
        {"role": "assistant", "content": "Four."},
    ]
    case = Case("p", "2+2?", {"agent": messages, "text": "Four."})
    agent = case.responses["agent"]
    assert isinstance(agent, Trajectory) and agent.final_text == "Four."
    assert "search" in case.texts["agent"] and case.texts["text"] == "Four."
    assert Case("p", "2+2?", {"x": "Four.", "y": agent}).digest == case.digest
    assert Case("p", "2+2?", [case.texts["agent"], "Four."]).digest != case.digest
    # Ids of calls differ between runs that are otherwise the same.
    renamed = json.loads(json.dumps(messages).replace('"c1"', '"other"'))
    assert Case("p", "2+2?", {"agent": renamed, "text": "Four."}) == case
    # A single text of the assistant is a text, whatever form it comes in.
    assert Case("p", "q", [[{"role": "assistant", "content": "hi"}]]).responses == {"0": "hi"}


@pytest.mark.parametrize(
    ("responses", "words"),
    [
        ({"role": "assistant", "content": "hi"}, "is a message"),
        ({"type": "output_text", "text": "hi"}, "is a message or a reply"),
        ({"object": "chat.completion", "choices": [{"message": {"content": "hi"}}]}, "is a message or a reply"),
        (
            {"output": {"message": {"role": "assistant", "content": []}}, "stopReason": "end_turn"},
            "is a message or a reply",
        ),
        ([[{"role": "assistant", "content": None}]], "labelled '0' has neither text nor tool calls"),
        ([{"choices": [{"message": {"content": None}}]}], "labelled '0' has neither text nor tool calls"),
        ([{"role": "assistant", "content": "hi"}], "give [messages]"),
        ({"a": [{"role": "assistant"}]}, "response labelled 'a' cannot be read: message 0 has no 'content'"),
        ({"a": []}, "labelled 'a'"),
        ({"a": {}}, "labelled 'a' is empty"),
    ],
)
def test_what_could_be_one_response_or_several_is_refused(responses, words):
    with pytest.raises(InvalidCaseError, match="response") as caught:
        Case("p", "q", responses)
    assert words in str(caught.value)
    assert caught.value.field == "responses"


LONE = "half \ud83d of an emoji"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (dict(principle=LONE), "principle"),
        (dict(prompt=LONE), "prompt"),
        (dict(prompt=[{"role": "user", "content": LONE}]), "prompt"),
        (dict(prompt=[{"role": "user", "content": ["x", LONE]}]), "prompt"),
        (dict(prompt=[{"role": "user", "content": [{"type": "text", "text": LONE}]}]), "prompt"),
        (dict(responses=[LONE]), "responses"),
        (dict(responses={LONE: "x"}), "responses"),
        (dict(reference=LONE), "reference"),
        (dict(context=LONE), "context"),
        (dict(id=LONE), "id"),
    ],
)
def test_text_that_utf_8_cannot_encode_is_refused(arguments, field):
    with pytest.raises(InvalidCaseError, match=r"'\\ud83d'") as caught:
        Case(**dict(principle="p", prompt="q", responses={"a": "x"}) | arguments)
    assert caught.value.field == field
    str(caught.value).encode()  # the message itself can be printed and logged


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
        (dict(prompt=[{"role": "user", "content": [{"type": "image_url"}]}]), "prompt", "without its data"),
        (dict(responses={}), "responses", "nothing to judge"),
        (dict(responses="text"), "responses", "[text]"),
        (dict(responses={"a": None}), "responses", "'a'"),
        (dict(responses={1: "x"}), "responses", "label 1"),
        (dict(responses=7), "responses", "int"),
        (dict(reference=5), "reference", "int"),
        (dict(context=[]), "context", "list"),
    ],
)
def test_an_invalid_case_is_refused_with_its_id_and_field(arguments, field, words):
    good = dict(principle="p", prompt="q", responses={"a": "x"}, id="q17")
    with pytest.raises(InvalidCaseError) as caught:
        Case(**good | arguments)
    assert caught.value.field == field
    assert caught.value.case_id == "q17"
    assert "'q17'" in str(caught.value)
    assert words in str(caught.value)


def test_a_mapping_must_have_the_fields_of_a_case():
    with pytest.raises(InvalidCaseError, match=r"no 'prompt', an unknown 'promt'"):
        Case.of({"principle": "p", "promt": "q", "responses": ["x"]})
    with pytest.raises(InvalidCaseError, match="mapping"):
        Case.of("text")  # type: ignore[arg-type]
    with pytest.raises(InvalidCaseError, match=r"an unknown 1, an unknown 'x'"):
        Case.of({"principle": "p", "prompt": "q", "responses": ["x"], 1: 2, "x": 3})


def test_the_digest_ignores_labels_names_and_ids():
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
def test_the_digest_depends_on_everything_the_judge_sees(change):
    base = dict(principle="p", prompt="q", responses={"a": "x", "b": "y"})
    assert Case(**base).digest != Case(**base | change).digest


def test_reference_and_context_have_different_digests():
    assert Case("p", "q", ["x"], reference="r").digest != Case("p", "q", ["x"], context="r").digest


def test_many_languages_and_many_responses_are_accepted():
    texts = ["日本語の答え", "العربية", "emoji 👩‍🚀", "ไทย", ""] * 7
    case = Case("p", "q", texts)
    assert len(case.responses) == 35
    assert json.loads(json.dumps(list(case.responses.values()), ensure_ascii=False)) == texts
