"""Templates: rendering a case into messages for a judge model.

The wire format is the one that the RewardAnything models were trained on (arXiv 2506.03637): a system message, and a
user message that is one JSON object ``{"principle", "prompt", "responses": {"model-1": ...}}``. Their exact system
prompt ships with the ``rewardanything`` distribution and is read from there as text. All other models get this
package's own system prompt.

Under a rubric the object ends with ``"rubric"``, so that requests about the same responses under different rubrics
have a prefix in common, which servers keep in their caches.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rewardanything_core.cases import Case
from rewardanything_core.errors import ConfigError
from rewardanything_core.principles import Criterion
from rewardanything_core.prompting.files import prompt_file
from rewardanything_core.prompting.masking import draw_order, mask
from rewardanything_core.prompting.material import Material, turns_notice
from rewardanything_core.prompting.rubric_format import criterion_content
from rewardanything_core.types import ContentPart, Message

WIRE_VERSION = 1
"""Part of `Template.hash`; increase it when the user message changes although the system message is the same."""

ReplyStyle = Literal["think", "json"]

# Spellings of the special tokens of common chat templates. Writing the first character as a JSON escape keeps a
# tokenizer from producing the token, and the decoded text is unchanged.
_SPECIAL_TOKEN = re.compile(
    r"<(?=\|[^<>|\n]{1,64}\|>)"  # <|im_end|>, <|eot_id|>, ...
    r"|<(?=｜[^<>｜\n]{1,64}｜>)"  # DeepSeek: full-width bars
    r"|<(?=/?(?:think|thinking|tool_call|tool_response|s|bos|eos|pad|unk|start_of_turn|end_of_turn)>)"
    r"|<(?=</?SYS>>)"
    r"|\[(?=/?(?:INST|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|SYSTEM_PROMPT|THINK)\])"
)


@dataclass(frozen=True)
class Rendered:
    """A case as messages for a chat model, with the mapping from masked names to labels."""

    messages: list[Message]
    """A system and a user message."""

    labels: dict[str, str]
    """Masked name (``model-1``, ...) -> the caller's label, in the order shown to the judge."""

    shared_prefix: str
    """The beginning of the user message that other requests have too: up to the responses, for other responses under
    the same principle; or up to the rubric, for other rubrics."""


@dataclass(frozen=True)
class Template:
    """The instructions for a judge model."""

    name: str
    """A short name: ``trained``, ``think``, ``json`` or the caller's own."""

    system: str
    """The whole system message."""

    style: ReplyStyle
    """``think``: reasoning in think tags, then the JSON. ``json``: reasoning as the first field of the JSON."""

    @property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of everything that this template adds to a case."""
        content = json.dumps([WIRE_VERSION, self.system, self.style, final_answer_prompt()])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def to_json(self) -> Any:
        """The template as plain JSON: a name that `named_template` knows, or the fields."""
        return dataclasses.asdict(self)

    @classmethod
    def built_in(cls, style: ReplyStyle) -> Template:
        """This package's wording, for models that were not trained to judge."""
        return cls(style, prompt_file("judge.md") + prompt_file(f"reply-{style}.md"), style)

    @classmethod
    def for_rubrics(cls, style: ReplyStyle) -> Template:
        """This package's wording for all criteria of a rubric in one request."""
        return cls(f"rubric-{style}", prompt_file("rubric.md") + prompt_file(f"rubric-reply-{style}.md"), style)

    @property
    def needs_probabilities(self) -> bool:
        """Whether scores are always expectations over token probabilities."""
        return False

    @property
    def is_built_in(self) -> bool:
        """Whether this is `built_in`, for which `for_rubrics` is the counterpart."""
        return self == Template.built_in(self.style)

    @classmethod
    def trained(cls) -> Template | None:
        """The RewardAnything models' wording. None where the `rewardanything` distribution is not installed."""
        system = trained_system_prompt()
        return None if system is None else cls("trained", system, "think")

    @classmethod
    def for_model(cls, model: str, *, style: ReplyStyle) -> Template:
        """The template for a model; warns if a RewardAnything model's wording is not installed.

        Args:
            model: The model's id, folder or served name.
            style: Form of the reply, for models other than RewardAnything's.
        """
        if not is_rewardanything(model):
            return cls.built_in(style)
        template = cls.trained()
        if template is None:
            warnings.warn(
                f"{model} was trained with a system prompt that ships in the `rewardanything` distribution, which is "
                "not installed. It gets a general wording instead, and its verdicts will be worse. "
                "Install it with: pip install --no-deps rewardanything",
                stacklevel=3,
            )
        return template or cls.built_in("think")

    def render(self, case: Case, order: Sequence[str], *, escape_special_tokens: bool = True) -> Rendered:
        """Render a case into messages.

        Args:
            case: The case.
            order: Every label once, in the order in which the judge sees the responses.
            escape_special_tokens: Whether to write spellings of special tokens in the texts with a JSON escape, so that
                no tokenizer produces the tokens. Not needed for a backend that tokenizes them as ordinary text.
        """
        names = mask(order)
        material = self._material()
        content = {"principle": case.principle.text, **material.of_case(case, names)}
        return self._rendered(case, content, names, material, before="responses", escape=escape_special_tokens)

    def render_rubric(
        self,
        case: Case,
        order: Sequence[str],
        criteria: Mapping[str, Criterion],
        *,
        escape_special_tokens: bool = True,
    ) -> Rendered:
        """Render a case under criteria of a rubric into messages.

        Args:
            case: The case.
            order: See `render`.
            criteria: Key -> criterion, in the order in which the judge sees them.
            escape_special_tokens: See `render`.
        """
        names = mask(order)
        material = self._material()
        rubric = {key: criterion_content(criterion) for key, criterion in criteria.items()}
        content = {**material.of_case(case, names), "rubric": rubric}
        return self._rendered(case, content, names, material, before="rubric", escape=escape_special_tokens)

    def _material(self) -> Material:
        return Material(as_transcripts=self.name == "trained")

    def _rendered(
        self,
        case: Case,
        content: Mapping[str, Any],
        names: dict[str, str],
        material: Material,
        *,
        before: str,
        escape: bool,
    ) -> Rendered:
        user = json_text(content, escape_special_tokens=escape)
        # Quotes inside the texts are escaped, so this can only be the key.
        shared_prefix, _, _ = user.partition(f'"{before}": ')
        system = self.system + turns_notice() if case.has_turns and not material.as_transcripts else self.system
        return Rendered(
            [{"role": "system", "content": system}, {"role": "user", "content": with_images(user, material.images)}],
            names,
            shared_prefix,
        )


def render(case: Case, seed: int = 0, *, template: Template | None = None) -> Rendered:
    """Render a case into messages for a model that you run yourself; `parse_verdict` parses its reply.

    Args:
        case: The case.
        seed: Seed of the order of the responses.
        template: The wording. None: that of the RewardAnything models if it is installed, else this package's.
    """
    template = template or Template.trained() or Template.built_in("think")
    return template.render(case, draw_order(case, seed=seed))


def neutralize_special_tokens(text: str) -> str:
    """Put an invisible word joiner into each spelling of a special token, so that no tokenizer produces the token."""
    return _SPECIAL_TOKEN.sub(lambda match: f"{match[0]}\u2060", text)


def is_rewardanything(model: str) -> bool:
    """Whether a model id, folder or served name is that of a RewardAnything model."""
    return "rewardanything" in model.lower().replace("-", "").replace("_", "")


@cache
def trained_system_prompt() -> str | None:
    """The RewardAnything models' system prompt, extracted from the installed distribution without running its code.

    None where the distribution is not installed.
    """
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
    raise ConfigError(f"{source} defines no SYSTEM_PROMPT; this version of `rewardanything` is not supported.")


def final_answer_prompt() -> str:
    """The message to a model that has used up its thinking budget."""
    return prompt_file("wrap-up.md").strip()


def json_text(content: Mapping[str, Any], *, escape_special_tokens: bool) -> str:
    """A case as the text of one JSON object.

    Args:
        content: JSON values.
        escape_special_tokens: See `Template.render`.
    """
    text = json.dumps(content, ensure_ascii=False)
    return _SPECIAL_TOKEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text) if escape_special_tokens else text


def with_images(text: str, images: Sequence[ContentPart]) -> str | list[ContentPart]:
    """The content of a message that shows images after a text that refers to them by number.

    Args:
        text: The text, which refers to ``[image 1]`` and so on.
        images: The images, as ``image_url`` parts, in the order of their numbers.
    """
    if not images:
        return text
    parts: list[ContentPart] = [{"type": "text", "text": text}]
    for number, image in enumerate(images, start=1):
        parts += [{"type": "text", "text": f"[image {number}]"}, image]
    return parts
