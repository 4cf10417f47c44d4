"""Content blocks of messages, of every API: texts, reasoning, images, tool calls and tool results.

A block names its kind by ``type``, and in Bedrock's API by its only key. The kinds are shared, since frameworks pass
blocks of one API in messages of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardanything_core.conversations.json_values import Base64, parsed, written
from rewardanything_core.conversations.place import Fields, Place, is_empty, shown
from rewardanything_core.conversations.turns import Turns, text_part, value_part
from rewardanything_core.types import ContentPart, ToolCall

TEXTS = {"text", "input_text", "output_text", "summary_text", "reasoning_text", "text-plain"}
REASONING = {"thinking", "redacted_thinking", "reasoning", "reasoning_content", "reasoningContent"}
IMAGES = {"image", "image_url", "input_image"}
CALLS = {
    "tool_use", "server_tool_use", "mcp_tool_use", "toolUse", "tool_call", "invalid_tool_call", "server_tool_call",
    "function_call", "custom_tool_call", "function",
}  # fmt: skip
RESULTS = {
    "tool_result", "mcp_tool_result", "server_tool_result", "toolResult", "tool_call_response", "function_call_output",
    "custom_tool_call_output",
}  # fmt: skip
DOCUMENTS = {"document", "search_result", "tool_reference", "browser_state", "json"}
"""Blocks within a tool's result that are shown as JSON; a document must have a text."""

_ITEM_RESULTS = ("output", "outputs", "results", "result", "error")
"""Fields of an item of a built-in tool that hold what the tool returned."""

_ITEMS = ("mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "program", "compaction", "item_reference")
_ITEM_OUTPUTS = ("_call_output", "program_output", "tool_search_output")

_BEDROCK = ("text", "toolUse", "toolResult", "reasoningContent", "image", "json", "citationsContent", "guardContent")
MEDIA = ("audio", "video", "file", "input_audio", "input_file")

_BODIES = {
    **dict.fromkeys(TEXTS, ("text", "content")),
    **dict.fromkeys(IMAGES, ("image_url", "image", "source", "url", "data", "base64")),
    **dict.fromkeys(MEDIA, ("data", "base64", "file_data", "input_audio")),
    "document": ("source", "document"),
    "search_result": ("content",),
    "tool_reference": ("tool_name",),
    "browser_state": ("tabs",),
}
"""The keys of which a block of a kind within a tool's result has at least one."""

_HINTS = ({"cachePoint"}, {"type", "cachePoint"})
_STEP = {"type": "step-start"}
"""A mark in messages of Vercel's AI SDK."""

REDACTED = "[redacted reasoning]"
"""In place of reasoning that a provider encrypted, so that a reader sees that there was some."""

ONLY = "only text, reasoning, images, tool calls and tool results can be read"


def kind_of(block: Any) -> str:
    """The kind of a content block: its type, or Bedrock's key; the type's name for what is not a block."""
    if not isinstance(block, Mapping):
        return type(block).__name__
    if isinstance(block.get("type"), str):
        return str(block["type"])
    return next((key for key in _BEDROCK if key in block), f"({', '.join(block):.80})")


def is_action(kind: str) -> bool:
    """Whether blocks of a kind are calls or results of tools."""
    return kind in CALLS | RESULTS or kind.endswith("_tool_result")


def is_item(kind: str) -> bool:
    """Whether blocks of a kind are calls or results of tools as items of OpenAI's Responses API."""
    return kind in RESULTS or kind in _ITEMS or kind.endswith(("_call", *_ITEM_OUTPUTS))


def add_content(content: Any, turns: Turns, place: Place, calls: Mapping[str, ToolCall] | None = None) -> None:
    """Add a message's content.

    Args:
        content: A text, a block, or a list of blocks and texts.
        turns: Where to add it.
        place: Where the content is.
        calls: The message's calls by id, if they are listed apart as well; a block with such an id is that call.
    """
    for number, block in enumerate(_blocks(content, place)):
        here = place.inside(f"content part {number}")
        kind = kind_of(block)
        if kind == "non_standard":
            block = Fields(block, here).take("value")
            kind = kind_of(block)
        from_api = is_item(kind) and not is_action(kind)  # LangChain has items of the Responses API among its content
        if (kind in CALLS or from_api) and turns.role != "assistant":
            raise here.error(f"is a tool call in a message of the role {turns.role!r}, not of the assistant")
        if kind in CALLS:
            call = read_call(block, here)
            turns.add_call((calls or {}).get(call["id"] or "", call))
        elif is_action(kind):
            read_result(block, turns, here)
        elif from_api:
            read_item(kind, block, turns, here)
        else:
            for part in read_parts(block, here):
                turns.add_part(part)


def parts_of(content: Any, place: Place) -> list[ContentPart]:
    """The parts of a content that has neither calls nor results.

    Args:
        content: A text, a block, a list of them, or None.
        place: Where it is.
    """
    return [
        part
        for number, block in enumerate(_blocks(content, place))
        for part in read_parts(block, place.inside(f"content part {number}"))
    ]


def result_parts(content: Any, place: Place) -> list[ContentPart]:
    """The parts of a tool's result: those of a text or of content blocks; any other value as JSON.

    Args:
        content: The result.
        place: Where it is.
    """
    blocks = content if isinstance(content, list) else [content]
    return parts_of(content, place) if any(map(_is_block, blocks)) else value_part(content)


def read_parts(block: Any, place: Place) -> list[ContentPart]:
    """The parts of a block without calls and results; usually one.

    Args:
        block: A text or a block.
        place: Where it is.

    Raises:
        InvalidCaseError: it is of another kind, such as audio, or lacks its content.
    """
    if type(block) is str:
        return [text_part(block)]
    kind = kind_of(block)
    if isinstance(block, Mapping) and (set(block) in _HINTS or block == _STEP):
        return []
    if kind in TEXTS or kind == "refusal":
        return _text(block, place)
    if kind in REASONING:
        return _reasoning(block, place)
    if kind in IMAGES:
        return [_image(block, place)]
    if kind == "json" and "json" in block:
        return [text_part(written(block["json"]))]
    if kind == "guardContent":
        return parts_of(Fields(block, place).take("guardContent"), place)
    if kind == "citationsContent":
        fields = Fields(Fields(block, place).take("citationsContent"), place)
        texts = parts_of(fields.take("content"), place)
        return [text_part("".join(part["text"] for part in texts if "text" in part), fields.items("citations"))]
    if kind in DOCUMENTS:
        return _document(block, kind, place)
    raise place.error(f"has type {kind!r}; {ONLY}")


def read_call(block: Any, place: Place) -> ToolCall:
    """A tool call in any API's form.

    Args:
        block: The block, or an element of ``tool_calls``.
        place: Where it is.
    """
    fields = Fields(block, place)
    if "toolUse" in fields:
        inner = fields.take("toolUse")
        fields.close()
        fields = Fields(inner, place)
    kind = fields.take("type")
    call_id = fields.text("call_id", "toolUseId", "tool_call_id", "id")
    function = fields
    if isinstance(given := fields.take("function", "custom"), Mapping):
        function = Fields(given, place)
    elif given is not None:
        raise place.error(f"has a 'function' {shown(given)}, not a mapping with 'name' and 'arguments'")
    name = function.text("name")
    if not name and kind != "invalid_tool_call":
        raise place.error("is a tool call without a name")
    owner = fields.text("toolset_name", "namespace", "server_name", "server_label")
    arguments = function.take("arguments", "args", "input", "parameters")
    if type(arguments) is str and kind not in ("custom_tool_call", "custom"):
        value = parsed(arguments)
        arguments = value if isinstance(value, dict | list) else arguments
    function.close("name", "error", "parsed_arguments", "signature")
    fields.close("id", "error", "signature")
    return {
        "id": call_id,
        "name": f"{owner}.{name}" if owner else name or "",
        "arguments": {} if arguments is None else arguments,
    }


def read_result(block: Any, turns: Turns, place: Place) -> None:
    """Add a tool's result in any API's form.

    Args:
        block: The block or item.
        turns: Where to add it.
        place: Where it is.
    """
    fields = Fields(block, place)
    if "toolResult" in fields:
        inner = fields.take("toolResult")
        fields.close()
        fields = Fields(inner, place)
    call_id = fields.text("tool_use_id", "toolUseId", "call_id", "tool_call_id", "id")
    name = fields.text("name")
    failed = has_failed(fields)
    content = fields.take("content", "output", "response", "result")
    fields.close("toolset_name", "id")
    turns.add_result(result_parts(content, place), tool_call_id=call_id, name=name, is_error=failed)


def read_item(kind: str, item: Mapping[str, Any], turns: Turns, place: Place) -> None:
    """Add an item of OpenAI's Responses API: the output of a tool, or a call of a tool that the API itself runs.

    Args:
        kind: Its kind, for which `is_item` is true.
        item: The item.
        turns: Where to add it.
        place: Where it is.
    """
    if kind.endswith(_ITEM_OUTPUTS):
        _read_output(kind, item, turns, place)
    elif kind in RESULTS:
        read_result(item, turns, place)
    elif kind == "item_reference":
        raise place.error(f"refers to the item {item.get('id')!r} by its id only; give the item")
    else:
        _read_built_in(kind, item, turns, place)


def _read_built_in(kind: str, item: Mapping[str, Any], turns: Turns, place: Place) -> None:
    """An item of a tool that the API itself runs: its call, with all other fields except results as arguments."""
    fields = Fields(item, place)
    fields.take("type")
    item_id, call_id = fields.take("id"), fields.text("call_id")
    call_id = call_id or (item_id if isinstance(item_id, str) else None)
    failed = fields.take("status") == "failed"
    found = {key: result for key in _ITEM_RESULTS if (result := fields.take(key)) is not None}
    name = kind.removesuffix("_call")
    if kind == "mcp_call":
        name = ".".join(filter(None, [fields.text("server_label"), fields.text("name")]))
        arguments: Any = parsed(fields.text("arguments") or "{}")
        fields.close("approval_request_id")
    else:
        arguments = fields.rest("created_by", "caller", "fingerprint", "container_id", "encrypted_content")
    turns.add_call({"id": call_id, "name": name, "arguments": arguments})
    if found or failed:
        _add_output(kind, found, turns, place, tool_call_id=call_id, is_error=failed or bool(found.get("error")))


def _read_output(kind: str, item: Mapping[str, Any], turns: Turns, place: Place) -> None:
    """An item with the output of a tool."""
    fields = Fields(item, place)
    fields.take("type")
    item_id, call_id = fields.take("id"), fields.text("call_id")
    failed = fields.take("status") == "failed"
    found = fields.rest("caller", "created_by", "max_output_length", "execution", "name", "namespace")
    if call_id is None and isinstance(item_id, str):  # local_shell_call_output has no other id
        call_id = item_id
    _add_output(kind, found, turns, place, tool_call_id=call_id, name=item.get("name"), is_error=failed)


def _add_output(kind: str, found: dict[str, Any], turns: Turns, place: Place, **fields: Any) -> None:
    output: Any = next(iter(found.values())) if len(found) == 1 else found or None
    if kind == "image_generation_call" and isinstance(output, str):
        output = [{"type": "image", "data": output}]
    if isinstance(output, Mapping) and output.get("type") == "computer_screenshot":
        output = [{"type": "input_image", **{key: item for key, item in output.items() if key != "type"}}]
    turns.add_result(result_parts(output, place), **fields)


def has_failed(fields: Fields) -> bool:
    """Whether a result is marked as an error.

    Args:
        fields: The result; its marks are taken.
    """
    return bool(fields.take("is_error", "isError")) | (fields.take("status") in ("error", "failed"))


def _text(block: Mapping[str, Any], place: Place) -> list[ContentPart]:
    fields = Fields(block, place)
    fields.take("type")
    text = fields.text("text", "refusal", "content")  # the last in OpenTelemetry's parts
    title, context = fields.text("title"), fields.text("context")
    notes = [fields.take("annotations"), fields.take("citations")]
    annotations = [one for given in notes for one in (given if isinstance(given, list) else [given]) if given]
    fields.close("signature", "thought_signature", "encrypted_content", "mime_type", "state")
    if text is None or isinstance(text, Base64):
        raise place.error("has no 'text'")
    return [text_part("\n".join(filter(None, [title, context, text])) if title or context else text, annotations)]


def _reasoning(block: Mapping[str, Any], place: Place) -> list[ContentPart]:
    """Reasoning as parts of that type, one for each of its texts; encrypted reasoning as `REDACTED`."""
    fields = Fields(block, place)
    fields.take("type")
    if isinstance(inner := fields.take("reasoningContent", "reasoning_content"), Mapping):
        inner = inner.get("reasoningText", inner)
        fields, outer = Fields(inner if isinstance(inner, Mapping) else {"text": inner}, place), fields
        outer.close()
        inner = None
    texts = [inner, *(fields.take(name) for name in ("thinking", "reasoning", "text", "summary", "content"))]
    hidden = fields.take("data", "redactedContent", "encrypted_content")
    fields.close("signature", "format")
    found: list[ContentPart] = []
    for text in texts:
        if isinstance(text, list):
            found += [{"type": "reasoning", "text": part["text"]} for part in parts_of(text, place) if "text" in part]
        elif text is not None and type(text) is not str:
            raise place.error(f"has reasoning {shown(text)}, not text")
        elif text:
            found.append({"type": "reasoning", "text": text})
    if not found and hidden:
        found.append({"type": "reasoning", "text": REDACTED})
    return found


def _image(block: Mapping[str, Any], place: Place) -> ContentPart:
    """An image as an ``image_url`` part, in which bytes are a data URL."""
    fields = Fields(block, place)
    fields.take("type")
    image = fields.take("image_url", "image", "source")
    if isinstance(image, Mapping):
        outer, fields = fields, Fields(image, place)
        outer.close("title", "mime_type")
        if isinstance(source := fields.take("source"), Mapping):  # Bedrock has both levels
            fields = Fields({**source, "format": fields.take("format")}, place)
        image = None
    source_type = fields.text("type", "source_type")
    url = image if isinstance(image, str) else fields.text("url", "uri")
    location = fields.take("s3Location")
    data = fields.take("data", "base64", "bytes")
    media = fields.text("media_type", "mime_type", "mimeType", "format") or "image/png"
    detail = fields.text("detail")
    fields.close("transformations", "source_type", "format")
    if isinstance(location, Mapping):
        url = location.get("uri")
    if url is None and isinstance(data, str) and data:
        url = f"data:{media if '/' in media else f'image/{media}'};base64,{data}"
    if not url or isinstance(url, Base64):
        raise place.error(f"is an image of source {source_type!r} without its data; give a URL or base64 data")
    return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if detail else {})}}


def _document(block: Mapping[str, Any], kind: str, place: Place) -> list[ContentPart]:
    if kind == "document":
        fields = Fields(block.get("document", block.get("source", block)), place)
        source = fields.take("source")
        fields = Fields(source, place) if isinstance(source, Mapping) else fields
        text = fields.take("data", "text", "content")
        if fields.take("type") not in ("text", "content", None) or isinstance(text, Base64) or is_empty(text):
            raise place.error("is a document that is not a text; give its text")
    return [text_part(written({key: value for key, value in block.items() if key != "cache_control"}))]


def _blocks(content: Any, place: Place) -> list[Any]:
    if isinstance(content, Base64):
        raise place.error("has bytes as its content, not text")
    if content is None:
        return []
    if isinstance(content, str | Mapping):
        return [content]
    if isinstance(content, list):
        return content
    raise place.error(f"has content {shown(content)}, not text or a list of content blocks")


def _is_block(value: Any) -> bool:
    """Whether an element of a tool's result is a content block, and not a record that happens to look like one."""
    if not isinstance(value, Mapping):
        return False
    kind = kind_of(value)
    if "type" not in value:
        return kind in TEXTS | IMAGES | DOCUMENTS and len(value) == 1
    return any(not is_empty(value.get(key)) or (kind in TEXTS and key in value) for key in _BODIES.get(kind, ()))
