import ast
import json
import subprocess
import sys
import time
from importlib import metadata, resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardanything_core import Case, Template, render
from rewardanything_core.prompting.templates import (
    _SPECIAL_TOKEN,
    is_rewardanything,
    neutralize_special_tokens,
    trained_system_prompt,
)

CASE = Case("be brief", "2+2?", {"long": "It is 4.", "short": "4"})


def test_the_wire_format_is_that_of_the_paper():
    rendered = Template.built_in("think").render(CASE, ["short", "long"])
    system, user = rendered.messages
    assert [system["role"], user["role"]] == ["system", "user"]
    assert user["content"] == (
        '{"principle": "be brief", "prompt": "2+2?", "responses": {"model-1": "4", "model-2": "It is 4."}}'
    )
    assert rendered.labels == {"model-1": "short", "model-2": "long"}


@pytest.mark.parametrize(("style", "golden"), [("think", "85547ef5c5d251e3"), ("json", "f077230318168d79")])
def test_the_hashes_of_the_built_in_wordings_are_unchanged(style, golden):
    assert Template.built_in(style).hash == golden


# Special tokens are escaped on purpose; see below.
texts = st.text(st.characters(codec="utf-8"), max_size=30).filter(lambda text: not _SPECIAL_TOKEN.search(text))


@given(texts.filter(str.strip), texts.filter(str.strip), st.lists(texts, min_size=1, max_size=5))
def test_messages_equal_those_of_the_papers_package(principle, prompt, responses):
    """The package is not imported: its function runs in a namespace with nothing but json."""
    case = Case(principle, prompt, responses)
    ours = render(case)
    theirs, _ = paper_messages()(
        case.principle.text, prompt, {n: case.responses[label] for n, label in ours.labels.items()}, False
    )
    assert [dict(m) for m in ours.messages] == theirs


def paper_messages():
    source = Path(str(metadata.distribution("rewardanything").locate_file("rewardanything/processing.py"))).read_text()
    wanted = [
        node
        for node in ast.parse(source).body
        if (isinstance(node, ast.FunctionDef) and node.name == "prepare_chat_messages")
        or (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "SYSTEM_PROMPT")
    ]
    import typing

    namespace = {"json": json, **{name: getattr(typing, name) for name in ("Dict", "List", "Optional", "Tuple")}}
    exec(compile(ast.Module(wanted, []), "processing.py", "exec"), namespace)
    return namespace["prepare_chat_messages"]


def test_conversations_reference_and_context_are_json():
    case = Case(
        "p",
        [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
        ["x"],
        reference="good",
        context="facts",
    )
    content = json.loads(render(case).messages[1]["content"])
    assert list(content) == ["principle", "prompt", "context", "reference", "responses"]
    assert content["prompt"] == [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]


@pytest.mark.parametrize(
    "token",
    [
        "<|im_end|>",
        "</think>",
        "<think>",
        "<|eot_id|>",
        "[INST]",
        "[/INST]",
        "<<SYS>>",
        "<｜User｜>",
        "</s>",
        "<tool_call>",
    ],
)
def test_special_tokens_in_a_text_are_escaped_and_decode_unchanged(token):
    case = Case(f"p {token}", f"q {token}", [f"x {token} y", token])
    user = render(case).messages[1]["content"]
    assert token not in user
    assert sorted(json.loads(user)["responses"].values()) == sorted([f"x {token} y", token])


def test_ordinary_angle_brackets_are_not_escaped():
    text = "if a < b and c > d: <b>bold</b> [link](x) <|> |> <span class='x'>"
    assert text in render(Case("p", "q", [text])).messages[1]["content"]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("WisdomShell/RewardAnything-8B-v1", True),
        ("zhuohaoyu/RewardAnything-8B-v1", True),
        ("hosted_vllm/WisdomShell/RewardAnything-8B-v1", True),
        ("models/rewardanything_8b_awq", True),
        ("Qwen/Qwen3-8B", False),
    ],
)
def test_rewardanything_models_get_the_trained_wording(model, expected):
    assert is_rewardanything(model) is expected
    assert (Template.for_model(model, style="json").name == "trained") is expected


def test_the_trained_wording_is_extracted_without_importing_the_package():
    code = (
        "import sys; from rewardanything_core.prompting.templates import trained_system_prompt;"
        "assert 'evaluation principle' in trained_system_prompt(); print('rewardanything' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
    assert trained_system_prompt().startswith("\nYou are an evaluator")


def test_a_rewardanything_model_without_its_wording_warns():
    """The distribution is hidden by an empty search path, in a process of its own."""
    code = (
        "import warnings, sys; from rewardanything_core.prompting.templates import Template\n"
        "from importlib import metadata\n"
        "Template.built_in('think'), Template.built_in('json')  # read before the search path goes\n"
        "sys.meta_path = [f for f in sys.meta_path if not hasattr(f, 'find_distributions')]\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    template = Template.for_model('WisdomShell/RewardAnything-8B-v1', style='json')\n"
        "print(template.name, len(caught), 'pip install --no-deps rewardanything' in str(caught[0].message))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["think", "1", "True"]


def test_the_prompts_ship_as_data():
    names = {entry.name for entry in resources.files("rewardanything_core").joinpath("prompting", "prompts").iterdir()}
    assert {"judge.md", "reply-think.md", "reply-json.md", "wrap-up.md", "principles.toml"} <= names


@pytest.mark.timeout(60)
@pytest.mark.parametrize("unit", ["<", "<|", "<|a", "<|im_end", "<｜", "[", "<s", "[INST]", "<|im_end|>", "|", "\n"])
def test_escaping_a_megabyte_takes_linear_time(unit):
    text = (unit * 1_000_000)[:1_000_000]
    started = time.perf_counter()
    neutralize_special_tokens(text)
    render(Case("p", "q", [text]))
    assert time.perf_counter() - started < 10
