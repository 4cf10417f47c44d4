"""Anthropic's Messages API and Bedrock's Converse API."""

from __future__ import annotations

from typing import Any

import anthropic.types
import botocore.session
import pytest
from botocore.stub import Stubber
from weather import ANSWER, ARGUMENTS, CALLING, CONVERSATION, QUESTION, RESULT, assistant, text, thought

from rewardanything_core import InvalidCaseError
from rewardanything_core.conversations import read_messages

TOOL_USE = {"type": "tool_use", "id": "c1", "name": "get_weather", "input": ARGUMENTS}
BEDROCK_USE = {"toolUse": {"toolUseId": "c1", "name": "get_weather", "input": ARGUMENTS}}


def read(value: Any) -> list[Any]:
    return list(read_messages(value, where="response"))


def anthropic_reply(*blocks: dict[str, Any]) -> anthropic.types.Message:
    usage = {"input_tokens": 1, "output_tokens": 1}
    fields = {
        "id": "msg",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "stop_reason": "end_turn",
        "usage": usage,
    }
    return anthropic.types.Message.model_validate({**fields, "content": list(blocks)})


def converse(*blocks: dict[str, Any]) -> Any:
    """A reply of boto3's own client, which validates it."""
    client = botocore.session.get_session().create_client(
        "bedrock-runtime", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    reply = {
        "output": {"message": {"role": "assistant", "content": list(blocks)}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
        "metrics": {"latencyMs": 1},
    }
    with Stubber(client) as stub:
        stub.add_response("converse", reply)
        return client.converse(modelId="m", messages=[{"role": "user", "content": [{"text": "?"}]}])


def test_a_tool_calling_conversation_of_anthropic() -> None:
    calling = anthropic_reply({"type": "text", "text": "I will look."}, TOOL_USE)
    result = {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": '{"temp": 21}'}]}
    answer = anthropic_reply({"type": "text", "text": "Yes, it is."})
    for content in (calling.content, calling.model_dump()["content"]):
        messages = [QUESTION, {"role": "assistant", "content": content}, {"role": "user", "content": [result]}, answer]
        assert read(messages) == list(CONVERSATION)
    assert read({"system": "Be kind.", "messages": [QUESTION], "model": "m", "max_tokens": 9}) == [
        {"role": "system", "content": "Be kind."},
        QUESTION,
    ]
    assert read(calling) == [CALLING]
    assert read(calling.content) == [CALLING]


def test_words_and_actions_keep_their_order() -> None:
    search = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "ulm"}}
    found = {
        "type": "web_search_tool_result",
        "tool_use_id": "s1",
        "content": [{"type": "web_search_result", "title": "Ulm", "url": "u", "encrypted_content": "x"}],
    }
    cited = {
        "type": "char_location",
        "cited_text": "Ulm",
        "document_index": 0,
        "start_char_index": 0,
        "end_char_index": 3,
    }
    reply = anthropic_reply(
        {"type": "thinking", "thinking": "First search.", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        search,
        found,
        {"type": "text", "text": "It is", "citations": [{**cited, "type": "char_location"}]},
        {"type": "text", "text": " warm."},
        TOOL_USE,
        {"type": "text", "text": "Done."},
    )
    first, result, answer, last = read(reply)
    assert first["content"] == [thought("First search."), thought("[redacted reasoning]")]
    assert first["tool_calls"] == [{"id": "s1", "name": "web_search", "arguments": {"query": "ulm"}}]
    assert result["tool_call_id"] == "s1" and '"title": "Ulm"' in result["content"]
    assert [part["text"] for part in answer["content"]] == ["It is", " warm."]
    assert answer["content"][0]["annotations"][0]["cited_text"] == "Ulm"
    assert answer["tool_calls"] == CALLING["tool_calls"] and last == {"role": "assistant", "content": "Done."}


def test_results_errors_images_and_documents_of_anthropic() -> None:
    png = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}
    linked = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    document = {
        "type": "document",
        "title": "Ulm",
        "source": {"type": "text", "media_type": "text/plain", "data": "A city."},
    }
    user = {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "c1", "is_error": True, "content": "no such city"},
            {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "seen"}, png]},
            {"type": "tool_result", "tool_use_id": "c3"},
            {"type": "text", "text": "And?", "cache_control": {"type": "ephemeral"}},
            linked,
            document,
        ],
    }
    failed, seen, empty, asked = read([user])
    assert failed == {"role": "tool", "tool_call_id": "c1", "content": "no such city", "is_error": True}
    assert seen["content"] == [text("seen"), {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}]
    assert empty == {"role": "tool", "tool_call_id": "c3", "content": None}
    assert asked["content"][:2] == [
        text("And?"),
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    ]
    assert "A city." in asked["content"][2]["text"] and '"title": "Ulm"' in asked["content"][2]["text"]


def test_a_tool_of_a_toolset_has_its_name_in_front() -> None:
    use = {**TOOL_USE, "name": "left_click", "toolset_name": "browser", "input": {"x": 1}}
    assert read(anthropic_reply(use))[0]["tool_calls"][0]["name"] == "browser.left_click"


def test_a_tool_calling_conversation_of_bedrock() -> None:
    result = {"toolResult": {"toolUseId": "c1", "content": [{"json": {"temp": 21}}], "status": "success"}}
    calling, answer = converse({"text": "I will look."}, BEDROCK_USE), converse({"text": "Yes, it is."})
    messages = [
        {"role": "user", "content": [{"text": "Is it warm in Ulm?"}, {"cachePoint": {"type": "default"}}]},
        calling["output"]["message"],
        {"role": "user", "content": [result]},
        answer["output"]["message"],
    ]
    assert read(messages) == list(CONVERSATION)
    assert read(answer) == [ANSWER]  # and not its `stopReason`
    assert read({"messages": messages[:1], "system": [{"text": "Be kind."}]})[0] == {
        "role": "system",
        "content": "Be kind.",
    }


def test_reasoning_images_and_errors_of_bedrock() -> None:
    reply = converse(
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
        {"reasoningContent": {"redactedContent": b"xx"}},
        {"image": {"format": "jpeg", "source": {"bytes": b"ABC"}}},
        {"text": "Here."},
    )
    image = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,QUJD"}}
    assert read(reply) == [assistant(thought("hm"), thought("[redacted reasoning]"), image, text("Here."))]
    failed = {"toolResult": {"toolUseId": "c1", "content": [{"text": "gone"}], "status": "error"}}
    assert read([{"role": "user", "content": [failed]}]) == [{**RESULT, "content": "gone", "is_error": True}]
    stored = {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://bucket/a.png"}}}}
    assert read([{"role": "user", "content": [stored]}])[0]["content"][0]["image_url"]["url"] == "s3://bucket/a.png"


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "content part 0 has 'file_id'"),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png"}}, "without its data"),
        ({"type": "document", "source": {"type": "base64", "data": "JVBERi0="}}, "a document that is not a text"),
        ({"type": "container_upload", "file_id": "f"}, "has type 'container_upload'"),
        ({"document": {"format": "pdf", "name": "a", "source": {"bytes": b"x"}}}, r"has type '\(document\)'"),
        ({"video": {"format": "mp4"}}, r"has type '\(video\)'"),
        (TOOL_USE, "is a tool call in a message of the role 'user'"),
        ({"type": "text", "text": "a", "mood": "sad"}, "has 'mood'"),
        ({"text": b"raw"}, "has 'text' of type Base64, not text"),
    ],
)
def test_blocks_that_cannot_be_read_are_named(block: Any, problem: str) -> None:
    with pytest.raises(InvalidCaseError, match=f"message 0, content part 0.*{problem}|message 0, {problem}"):
        read([{"role": "user", "content": [block]}])
