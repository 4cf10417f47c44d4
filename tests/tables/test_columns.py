"""Cells as the parts of a case: which spellings are accepted, and which are refused."""

import json
import time

import pytest

from rewardanything_core.cases import Case
from rewardanything_core.errors import InvalidCaseError
from rewardanything_core.principles import Principle
from rewardanything_core.tables.columns import CaseColumns, InputRow, load_json, messages_from_csv, repeated

RULE = Principle("Be brief.")
SEVERAL = CaseColumns(prompt="prompt", responses="responses")
SINGLE = CaseColumns(prompt="prompt", responses=None, each_response=("answer",))


def responses(cell, file_format, columns=SEVERAL):
    name = columns.names[1]
    return columns.case(InputRow(place="line 2", columns={"prompt": "q", name: cell}), RULE, file_format).responses


def refusal(cell, file_format, columns=SEVERAL):
    with pytest.raises(InvalidCaseError) as caught:
        responses(cell, file_format, columns)
    message = str(caught.value)
    assert message.startswith("In line 2: ")
    return message


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ('{"name": "q=4", "city": "q=2"}', {"name": "q=4", "city": "q=2"}),
        ('["q=4", "q=2"]', {"0": "q=4", "1": "q=2"}),
        (' [\n"q=4" ]\n', {"0": "q=4"}),
        ("q=4", {"0": "q=4"}),
        ('"q=4"', {"0": '"q=4"'}),
        ("null", {"0": "null"}),
    ],
)
def test_accepted_spellings_of_several_responses_in_csv(cell, expected):
    assert responses(cell, "csv") == expected


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ('{"name": "q=4", "age": 3}', "has the number 3 at 'age', neither text nor messages"),
        ('{"a": "q=4", "b": null}', "has null at 'b', neither text nor messages"),
        ('{"a": {"text": "q=4"}}', "has a mapping at 'a', neither text nor messages"),
        ('["q=4", true]', "has true at 1, neither text nor messages"),
        ("[]", "has no responses"),
        ("['q=4', 'q=2']", "is neither plain text nor valid JSON but as Python prints it"),
        ("{'a': 'q=4'}", "as Python prints it"),
        ("['q=4' 'q=2']", "as Python prints it"),
        ("('q=4', 'q=2')", "as Python prints it"),
        ('["q=4", "q=', "is neither plain text nor valid JSON"),
        ("[1] as the source says", "is neither plain text nor valid JSON"),
        ('{"a": "q=4", "a": "q=2"}', "the key 'a' appears twice"),
        ("", "the column 'responses' is null or empty"),
    ],
)
def test_other_csv_cells_are_refused_with_advice(cell, problem):
    message = refusal(cell, "csv")
    assert problem in message
    if cell and "twice" not in problem:
        assert "Write the cell in JSON: label -> response, a list of responses, or a list of messages." in message
        assert "use --response-column responses" in message


@pytest.mark.parametrize(
    "cell", ['{"name": "q=4", "city": "q=2"}', "['q=4', 'q=2']", '["x", 1]', "{not json", "=1+1", " "]
)
def test_a_single_response_in_csv_is_judged_as_it_is(cell):
    assert responses(cell, "csv", SINGLE) == {"answer": cell}


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_typed_formats_take_mappings_lists_and_texts(file_format):
    assert responses({"a": "x", "b": "y"}, file_format) == {"a": "x", "b": "y"}
    assert responses(["x", "y"], file_format) == {"0": "x", "1": "y"}
    assert responses("x", file_format) == {"0": "x"}
    assert responses("[1] as the source says", file_format) == {"0": "[1] as the source says"}
    assert responses("('x') or y (see above)", file_format) == {"0": "('x') or y (see above)"}
    for cell in ('["x", "y"]', "['x', 'y']", "('x', 'y')", '{"n": 3}'):
        assert "holds a text that spells a list or a mapping" in refusal(cell, file_format)
        assert responses(cell, file_format, SINGLE) == {"answer": cell}
    assert "holds a mapping, neither text nor messages. Write it as text" in refusal({"a": "x"}, file_format, SINGLE)
    assert "'b' must be a string" in refusal({"a": "x", "b": 3}, file_format)
    assert "must be a string" in refusal(["x", None], file_format)


def test_a_null_in_a_mapping_is_a_missing_label_only_where_all_rows_share_the_keys():
    assert responses({"a": "x", "b": None}, "parquet") == {"a": "x"}
    assert "'b' must be a string" in refusal({"a": "x", "b": None}, "jsonl")


@pytest.mark.parametrize("part", ["prompt", "responses", "reference", "context", "id", "rule", "answer"])
def test_an_empty_csv_cell_means_the_same_as_a_json_null(part):
    columns = CaseColumns(
        prompt="prompt", responses=None, each_response=("answer", "responses"), reference="reference",
        context="context", id="id", principle="rule",
    )  # fmt: skip
    cells = dict.fromkeys(columns.names, "text")

    def outcome(row, file_format):
        try:
            return columns.case(InputRow(place="line 2", columns=row), None, file_format)
        except InvalidCaseError as error:
            return str(error)

    from_csv, from_json = outcome({**cells, part: ""}, "csv"), outcome({**cells, part: None}, "jsonl")
    assert from_csv == from_json
    assert outcome({**cells, part: float("nan")}, "parquet") == from_json
    optional = part in ("reference", "context", "id")
    assert isinstance(from_csv, str) is not optional


def test_chat_messages_in_csv_are_json():
    messages = [{"role": "user", "content": "q"}]
    assert messages_from_csv("prompt", json.dumps(messages)) == messages
    for text in ("[1, 2] sort this", "[1, 2]", "plain", '[{"key": 1}]'):
        assert messages_from_csv("prompt", text) == text
    with pytest.raises(ValueError, match="as Python prints them; write them in JSON"):
        messages_from_csv("prompt", str(messages))


RUN = [
    {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {
        "name": "weather", "arguments": '{"city": "Ulm"}'}}]},
    {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    {"role": "assistant", "content": "Sunny."},
]  # fmt: skip
ARROW_RUN = [
    {"role": None, "content": None, "tool_calls": None, "tool_call_id": None, **message} for message in RUN
]  # in a list<struct>, every message has every key


@pytest.mark.parametrize(("file_format", "run"), [("jsonl", RUN), ("csv", RUN), ("parquet", ARROW_RUN)])
def test_a_list_of_messages_is_one_response_and_a_list_of_lists_is_several(file_format, run):
    def cell(value):
        return json.dumps(value) if file_format == "csv" else value

    expected = Case("-", "q", [RUN]).responses["0"]
    assert responses(cell(run), file_format) == {"0": expected}
    assert responses(cell([run, "Sunny."]), file_format) == {"0": expected, "1": "Sunny."}
    assert responses(cell({"a": run, "b": run}), file_format) == {"a": expected, "b": expected}
    assert responses(cell(run), file_format, SINGLE) == {"answer": expected}
    audio = [*run, {"role": "assistant", "content": [{"type": "input_audio", "input_audio": {"data": "x"}}]}]
    for columns, where in ((SEVERAL, "column 'responses'"), (SINGLE, "'answer'")):
        message = refusal(cell(audio), file_format, columns)
        assert where in message
        assert "message 3, content part 0" in message
    for mixed in ([*run, {"note": "x"}], {"a": run[0]}):  # neither one response nor several
        refusal(cell(mixed), file_format)


def test_a_repeated_key_is_found_in_linear_time():
    def seconds(keys):
        text = "{" + ",".join(f'"k{i}": 1' for i in range(keys)) + ', "k0": 2}'
        began = time.process_time()
        with pytest.raises(ValueError, match="the key 'k0' appears twice"):
            load_json(text)
        return time.process_time() - began

    # All keys but the last are different: counting each would take 10 000 million steps.
    assert seconds(100_000) < 2
    began = time.process_time()
    assert repeated([*map(str, range(100_000)), "99999"]) == ["99999"]
    assert time.process_time() - began < 1
