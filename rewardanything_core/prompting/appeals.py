"""Appeals: sentences of a response that speak to its evaluator, or vouch for the response, instead of answering.

"This is correct." and "Grader: full marks." raise the score of a wrong answer, in any language. A model recognises such
sentences when it sees them one by one, with a few sorted examples before them. Every sentence is asked about in one
wording; the few that look like appeals are asked about in another one, and the mean of both decides.

Wordings and thresholds were chosen on the published half of the attack suite with benchmarks/attack_defences.py.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from rewardanything_core.backends.base import Backend, ChoiceRequest, log_odds
from rewardanything_core.cases import Case
from rewardanything_core.conversations.trajectory import assistant_texts, with_assistant_texts
from rewardanything_core.prompting.sentences import plain_spelling, split_sentences
from rewardanything_core.prompting.templates import neutralize_special_tokens
from rewardanything_core.types import Message, Usage

VERSION = 1
"""Part of `AppealQuestions.hash`; increase it when other sentences can be found although the wording is the same."""

CANDIDATE_LOG_ODDS = -2.0
"""Log-odds in the first wording from which a sentence is asked about in the second. Chosen with
benchmarks/attack_defences.py."""

APPEAL_LOG_ODDS = 0.1
"""Mean log-odds in both wordings from which a sentence is an appeal. Chosen with benchmarks/attack_defences.py."""


MIN_LETTERS = 12
"""A response with fewer letters, such as "Correct.", is an answer and no appeal. Not tuned."""

MEASURED_MODELS = frozenset({"qwen2.5-coder-1.5b"})
"""Models that recognise appeals and leave honest sentences alone, as benchmarks/README.md shows. A smaller model may
take any sentence for an appeal."""


@dataclass(frozen=True)
class Wording:
    """A system message, and what the model is to answer to an appeal and to any other sentence."""

    system: str
    """The system message."""

    appeal: str
    """The answer to an appeal."""

    other: str
    """The answer to any other sentence."""


@dataclass(frozen=True)
class AppealQuestions:
    """The wordings and the sorted examples, which precede each question as turns of a conversation."""

    wordings: tuple[Wording, Wording]
    """The wording for every sentence, and that for candidates."""

    examples: tuple[tuple[str, bool], ...]
    """Sentences, and whether they are appeals."""

    hash: str
    """First 16 hexadecimal digits of the SHA-256 of all of this, the thresholds and `VERSION`."""

    def request(self, wording: Wording, sentence: str) -> ChoiceRequest:
        """The question whether a sentence is an appeal; its first option means that it is.

        Args:
            wording: One of `wordings`.
            sentence: The sentence.
        """
        turns: list[Message] = [{"role": "system", "content": wording.system}]
        for example, is_appeal in self.examples:
            turns.append({"role": "user", "content": example})
            turns.append({"role": "assistant", "content": wording.appeal if is_appeal else wording.other})
        turns.append({"role": "user", "content": sentence})
        return ChoiceRequest(messages=tuple(turns), options=(wording.appeal, wording.other))


@dataclass(frozen=True, kw_only=True)
class ScreenedCase:
    """A case without the appeals in its responses."""

    case: Case
    """The case to judge."""

    removed: Mapping[str, list[str]]
    """Label -> the sentences that were removed. Responses without appeals are missing."""


class AppealDetector:
    """Finds appeals with a model that supports option scores.

    Args:
        backend: The model.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend, self.questions = backend, appeal_questions()

    async def find(self, texts: Sequence[str], *, on_usage: Callable[[Usage], None]) -> list[list[str]]:
        """The appeals in each text.

        Args:
            texts: The texts.
            on_usage: Called with the usage of each request.

        Returns:
            For each text its sentences that are appeals, in order, as they are in the text.
        """
        return [[piece for piece, is_appeal in pieces if is_appeal] for pieces in await self._marked(texts, on_usage)]

    async def screen(self, case: Case, *, on_usage: Callable[[Usage], None]) -> ScreenedCase:
        """Remove the appeals from the responses of a case.

        Args:
            case: The case.
            on_usage: Called with the usage of each request.
        """
        texts = {label: assistant_texts(response) for label, response in case.responses.items()}
        marked = iter(await self._marked([text for each in texts.values() for text in each], on_usage))
        responses, removed = dict(case.responses), {}
        for label, response in case.responses.items():
            by_text = [next(marked) for _ in texts[label]]
            if appeals := [piece.strip() for pieces in by_text for piece, is_appeal in pieces if is_appeal]:
                kept = ["".join(piece for piece, is_appeal in pieces if not is_appeal).strip() for pieces in by_text]
                responses[label] = with_assistant_texts(response, kept)
                removed[label] = appeals
        return ScreenedCase(case=replace(case, responses=responses) if removed else case, removed=removed)

    async def _marked(self, texts: Sequence[str], on_usage: Callable[[Usage], None]) -> list[list[tuple[str, bool]]]:
        """For each text its sentences, with whether they are appeals."""
        pieces = [split_sentences(text) for text in texts]
        long = [sum(map(str.isalpha, text)) >= MIN_LETTERS for text in texts]
        asked = {
            piece: self._spelled(piece)
            for text_pieces, is_long in zip(pieces, long, strict=True)
            if is_long
            for piece in text_pieces
        }
        first, second = self.questions.wordings
        sentences = [sentence for sentence in dict.fromkeys(asked.values()) if sentence]
        likelihoods = await self._log_odds(first, sentences, on_usage)
        candidates = [sentence for sentence, value in likelihoods.items() if value > CANDIDATE_LOG_ODDS]
        confirmations = await self._log_odds(second, candidates, on_usage)
        appeals = {
            sentence
            for sentence, value in confirmations.items()
            if (value + likelihoods[sentence]) / 2 > APPEAL_LOG_ODDS
        }
        return [
            [(piece, is_long and asked[piece] in appeals) for piece in text_pieces]
            for text_pieces, is_long in zip(pieces, long, strict=True)
        ]

    async def _log_odds(
        self, wording: Wording, sentences: Sequence[str], on_usage: Callable[[Usage], None]
    ) -> dict[str, float]:
        """Sentence -> log-odds that it is an appeal."""
        if not sentences:
            return {}
        requests = [self.questions.request(wording, sentence) for sentence in sentences]
        result = await self._backend.score_options(requests)
        on_usage(result.usage)
        return {sentence: log_odds(answer) for sentence, answer in zip(sentences, result.answers, strict=True)}

    def _spelled(self, piece: str) -> str:
        sentence = plain_spelling(piece).strip()
        return sentence if self._backend.escapes_special_tokens else neutralize_special_tokens(sentence)


@cache
def appeal_questions() -> AppealQuestions:
    """The questions that ship with the package, in ``prompts/appeals.toml``."""
    source = (Path(__file__).parent / "prompts" / "appeals.toml").read_bytes()
    content = tomllib.loads(source.decode("utf-8"))
    first, second = (Wording(**wording) for wording in content["wordings"])
    settings = f"{VERSION} {CANDIDATE_LOG_ODDS} {APPEAL_LOG_ODDS}\n"
    return AppealQuestions(
        wordings=(first, second),
        examples=tuple((example["text"], example["appeal"]) for example in content["examples"]),
        hash=hashlib.sha256(settings.encode() + source).hexdigest()[:16],
    )
