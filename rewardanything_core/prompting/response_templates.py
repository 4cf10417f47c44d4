"""Published formats of other trained judges, which rate one response per request: data files in ``prompts/judges``.

A judge that was trained on a format does worse in any other. So the messages are those of its authors, byte for byte,
and the rating is taken from the reply as they say.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from rewardanything_core.cases import Case
from rewardanything_core.conversations import transcript
from rewardanything_core.errors import ConfigError, InvalidCaseError, VerdictParseError
from rewardanything_core.prompting.files import filled, prompt_file
from rewardanything_core.prompting.templates import Rendered, Template, neutralize_special_tokens
from rewardanything_core.types import Message

_FOLDER = Path(__file__).parent / "prompts" / "judges"
_SCALE = "scale"
_OWN = ("trained", "think", "json")


@dataclass(frozen=True)
class ResponseTemplate(Template):
    """The format of a judge that rates one response per request."""

    content: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The data file."""

    @property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the data file and the descriptions of scores."""
        text = json.dumps([self.name, self.content, prompt_file(f"judges/{_SCALE}.toml")], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def is_scalar(self) -> bool:
        """Whether the model is a classifier with one label, which writes nothing and does not see the principle."""
        return bool(self.content.get("scalar"))

    @property
    def needs_probabilities(self) -> bool:
        """Whether the rating is the expectation over the answer's token probabilities."""
        return bool(self.content.get("probabilities"))

    @property
    def scores(self) -> dict[str, float]:
        """What the model may answer -> score, 1..5."""
        return {str(answer): float(score) for answer, score in self.content["scores"].items()}

    def to_json(self) -> str:
        """The name, by which `named_template` finds it."""
        return self.name

    def render(self, case: Case, order: Any, *, escape_special_tokens: bool = True) -> NoReturn:  # noqa: ARG002
        """Refused: the format has no place for a list.

        Args:
            case: See `Template.render`.
            order: See `Template.render`.
            escape_special_tokens: See `Template.render`.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"The template {self.name!r} rates one response per request; use render_response().")

    def render_response(self, case: Case, label: str, *, escape_special_tokens: bool = True) -> Rendered:
        """Render one response of a case into messages.

        Args:
            case: The case.
            label: The response.
            escape_special_tokens: Whether to put an invisible character into spellings of special tokens in the case's
                texts; see `Template.render`.

        Raises:
            InvalidCaseError: the case has a context or a reference, for which the format has no place.
        """
        if case.context is not None or (case.reference is not None and not self._takes_reference):
            part = "reference" if case.context is None else "context"
            raise InvalidCaseError(
                f"{case} has a {part}, and the published format of {self.name} has no place for one; put it into the "
                "prompt, or leave it out.",
                field=part,
                case_id=case.id,
            )
        turns: list[Message] = (
            [{"role": "user", "content": case.prompt}] if isinstance(case.prompt, str) else list(case.prompt)
        )
        is_question = len(turns) == 1 and isinstance(turns[0]["content"], str)
        parts = {
            "prompt": str(turns[0]["content"]) if is_question else transcript(turns),
            "response": case.texts[label],
            "principle": case.principle.text,
            "reference": case.reference or "",
        }
        if escape_special_tokens:
            parts = {name: neutralize_special_tokens(text) for name, text in parts.items()}
            turns = [_neutralized(turn) for turn in turns]
        parts |= tomllib.loads(prompt_file(f"judges/{_SCALE}.toml"))
        messages: list[Message] = []
        for message in self.content["messages"]:
            if message.get("conversation"):
                messages += [*turns, {"role": "assistant", "content": parts["response"]}]
                continue
            text = message["content"] if case.reference is None else message.get("with_reference", message["content"])
            messages.append({"role": message["role"], "content": filled(text, parts)})
        return Rendered(messages, {"model-1": label}, "")

    def rating(self, text: str) -> tuple[float, tuple[int, int]]:
        """The score in a reply, 1..5, and the (start, end) of the answer that means it.

        Args:
            text: The reply.

        Raises:
            VerdictParseError: it has no answer, or several that differ.
        """
        found = list(re.finditer(self.content["answer"], text))
        if len({match[1] for match in found}) != 1:
            problem = "no rating in the form of" if not found else "different ratings in the form of"
            raise VerdictParseError(f"The judge's reply is not a verdict: it has {problem} {self.name}.", raw=text)
        return self.scores[found[-1][1]], found[-1].span(1)

    @property
    def _takes_reference(self) -> bool:
        return any("with_reference" in message for message in self.content["messages"])


def named_template(name: str) -> Template:
    """The template of a name, as ``template`` in settings and options means it.

    Args:
        name: ``think`` or ``json`` for this package's own wording; ``trained`` for that of the RewardAnything models;
            or the name of a file in ``prompts/judges``.

    Raises:
        ConfigError: there is no such template, or the `rewardanything` distribution is not installed.
    """
    if name in ("think", "json"):
        return Template.built_in("think" if name == "think" else "json")
    if name == "trained":
        trained = Template.trained()
        if trained is None:
            raise ConfigError(
                "The wording of the RewardAnything models ships in the `rewardanything` distribution, which is not "
                "installed.",
                hint="pip install --no-deps rewardanything",
            )
        return trained
    if name not in template_names():
        raise ConfigError(f"There is no template {name!r}; there are: {', '.join(template_names())}.")
    return _from_file(name)


def is_scalar(template: str | Template | None) -> bool:
    """Whether a template, or the one of a name, is for scalar reward models."""
    template = named_template(template) if isinstance(template, str) else template
    return isinstance(template, ResponseTemplate) and template.is_scalar


def template_names() -> list[str]:
    """All names that `named_template` knows."""
    return [*_OWN, *sorted(path.stem for path in _FOLDER.glob("*.toml") if path.stem != _SCALE)]


@cache
def _from_file(name: str) -> ResponseTemplate:
    return ResponseTemplate(name, "", "json", tomllib.loads(prompt_file(f"judges/{name}.toml")))


def _neutralized(turn: Message) -> Message:
    content = turn["content"]
    return {**turn, "content": neutralize_special_tokens(content)} if isinstance(content, str) else turn
