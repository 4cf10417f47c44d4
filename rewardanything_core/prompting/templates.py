"""Templates: how a case is put to a judge model.

The wire format is the one the RewardAnything models were trained on: a system message, and a user message that is one
JSON object ``{"principle", "prompt", "responses": {"model-1": ...}}``. Their exact system prompt ships with the
``rewardanything`` distribution, from which it is read as text; for every other model we use wording of our own.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from rewardanything_core.cases import Case
from rewardanything_core.errors import ConfigError
from rewardanything_core.prompting.masking import draw_order, mask
from rewardanything_core.types import Message

WIRE_VERSION = 1

ReplyStyle = Literal["think", "json"]

# Spellings that chat templates give a meaning to. In JSON the first character can be written as an escape, which leaves
# the text the same for whoever decodes it and keeps a tokenizer from seeing the token.
_MARKUP = re.compile(
    r"<(?=\|[^<>|\n]{1,64}\|>)"  # <|im_end|>, <|eot_id|>, ...
    r"|<(?=｜[^<>｜\n]{1,64}｜>)"  # DeepSeek's, with full-width bars
    r"|<(?=/?(?:think|thinking|tool_call|tool_response|s|bos|eos|pad|unk|start_of_turn|end_of_turn)>)"
    r"|<(?=</?SYS>>)"
    r"|\[(?=/?(?:INST|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|SYSTEM_PROMPT|THINK)\])"
)


@dataclass(frozen=True)
class Rendered:
    """A case as messages for a chat model, and the way back from masked names to labels."""

    messages: list[Message]
    """A system and a user message."""

    labels: dict[str, str]
    """Masked name (``model-1``, ...) -> the caller's label, in the order shown to the judge."""

    @property
    def shared(self) -> str:
        """What comes before the responses: the same for all lists of responses to one prompt under one principle."""
        return self.messages[1]["content"].partition('"responses": ')[0]


@dataclass(frozen=True)
class Template:
    """The wording a judge model is given."""

    name: str
    """A short name: ``trained``, ``think``, ``json`` or the caller's own."""

    system: str
    """The whole system message."""

    style: ReplyStyle
    """``think``: reasoning in think tags, then the JSON. ``json``: reasoning as the first field of the JSON."""

    @property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of all that this template adds to a case."""
        content = json.dumps([WIRE_VERSION, self.system, self.style, final_answer_prompt()])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @classmethod
    def own(cls, style: ReplyStyle) -> Template:
        """Our own wording, for models that were not trained to judge."""
        return cls(style, _prompt("judge.md") + _prompt(f"reply-{style}.md"), style)

    @classmethod
    def trained(cls) -> Template | None:
        """The RewardAnything models' own wording. None where the `rewardanything` distribution is not installed."""
        system = trained_system_prompt()
        return None if system is None else cls("trained", system, "think")

    @classmethod
    def for_model(cls, model: str, *, style: ReplyStyle) -> Template:
        """A template by the model's name; warns if a RewardAnything model must do without its trained wording."""
        if not is_rewardanything(model):
            return cls.own(style)
        template = cls.trained()
        if template is None:
            warnings.warn(
                f"{model} was trained with a system prompt that ships in the `rewardanything` distribution, which is "
                "not installed, so our own wording is used instead and its verdicts will be worse. "
                "Install it with: pip install --no-deps rewardanything",
                stacklevel=3,
            )
        return template or cls.own("think")

    def render(self, case: Case, order: Sequence[str], *, escape_markup: bool = True) -> Rendered:
        """Put a case into messages.

        Args:
            case: The case.
            order: Every label once, in the order in which the judge shall see the responses.
            escape_markup: Write special-token spellings in the texts with a JSON escape, so that no tokenizer takes
                them for tokens. Turn it off for a backend that keeps text and tokens apart by itself.
        """
        names = mask(order)
        content: dict[str, object] = {"principle": case.principle.text, "prompt": _prompt_value(case)}
        if case.context is not None:
            content["context"] = case.context
        if case.reference is not None:
            content["reference"] = case.reference
        content["responses"] = {name: case.responses[label] for name, label in names.items()}
        user = json.dumps(content, ensure_ascii=False)
        if escape_markup:
            user = _MARKUP.sub(lambda match: f"\\u{ord(match[0]):04x}", user)
        return Rendered([{"role": "system", "content": self.system}, {"role": "user", "content": user}], names)


def render(case: Case, seed: int = 0, *, template: Template | None = None) -> Rendered:
    """Put a case into messages for a model that you run yourself; `parse_verdict` reads its reply.

    Args:
        case: The case.
        seed: Draws the order of the responses.
        template: The wording. None: that of the RewardAnything models if it is installed, else our own.
    """
    template = template or Template.trained() or Template.own("think")
    return template.render(case, draw_order(case, seed=seed))


def neutralize_special_tokens(text: str) -> str:
    """Plain text in which no tokenizer finds a special token: an invisible word joiner stands inside each spelling."""
    return _MARKUP.sub(lambda match: f"{match[0]}\u2060", text)


def is_rewardanything(model: str) -> bool:
    """Whether a model id, folder or served name is that of a RewardAnything model."""
    return "rewardanything" in model.lower().replace("-", "").replace("_", "")


@cache
def trained_system_prompt() -> str | None:
    """The RewardAnything models' system prompt out of the installed distribution, whose code is read but never run."""
    import ast
    from importlib import metadata

    try:
        source = Path(str(metadata.distribution("rewardanything").locate_file("rewardanything/processing.py")))
        module = ast.parse(source.read_text(encoding="utf-8"))
    except (metadata.PackageNotFoundError, OSError):
        return None
    for node in module.body:
        if isinstance(node, ast.Assign) and [getattr(t, "id", None) for t in node.targets] == ["SYSTEM_PROMPT"]:
            return str(ast.literal_eval(node.value))
    raise ConfigError(f"{source} holds no SYSTEM_PROMPT; this version of `rewardanything` is not one we know.")


def final_answer_prompt() -> str:
    """What to say to a model whose thinking budget is used up."""
    return _prompt("wrap-up.md").strip()


def _prompt_value(case: Case) -> object:
    """A lone user turn is the text itself, as in training; a conversation keeps its turns apart as JSON."""
    if isinstance(case.prompt, str):
        return case.prompt
    if len(case.prompt) == 1 and case.prompt[0]["role"] == "user":
        return case.prompt[0]["content"]
    return list(case.prompt)


@cache
def _prompt(name: str) -> str:
    return (Path(__file__).parent / "prompts" / name).read_text(encoding="utf-8")
