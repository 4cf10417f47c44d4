"""Rewriting a text with GEPA (Agrawal et al. 2025, arXiv 2507.19457), an evolutionary search guided by reflection.

A model reads some of the cases with the judge's reasoning and people's labels, and writes a new text. One that agrees
more on these cases joins a pool from which the next text to improve is drawn: the texts that are the best on some case
for selection.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol

from rewardanything_core.alignment.evaluation import Evaluator
from rewardanything_core.alignment.task import Evaluation
from rewardanything_core.backends.base import Backend, Request
from rewardanything_core.backends.texts import without_thoughts
from rewardanything_core.concurrency import background_loop
from rewardanything_core.errors import MissingExtraError, RewardAnythingError
from rewardanything_core.sampling import SamplingParams

MAX_ROUNDS = 30
"""Maximum number of rounds of the search, each of which rewrites one text once at most."""

CASES_PER_ROUND = 6
"""Number of cases that the reflection model sees in a round."""

SAMPLING = SamplingParams(temperature=1.0, max_tokens=4096, thinking_budget=4096)
"""Temperature 1, since a search needs different proposals."""

_COMPONENT = "principle"

_log = logging.getLogger("rewardanything_core")


class ReplyCache(Protocol):
    """Replies of a reflection model by key, so that an interrupted search continues without paying for them again."""

    def get(self, key: str) -> dict[str, Any] | None:
        """The entry of a key, with ``response``. None: there is none."""

    def add(self, key: str, response: str) -> Any:
        """Store a reply.

        Args:
            key: The key.
            response: The reply.
        """


class Reflector:
    """A model that rewrites texts.

    Args:
        backend: The model; any that writes free text.
        replies: A cache of its replies. None: no cache.
    """

    def __init__(self, backend: Backend, *, replies: ReplyCache | None = None) -> None:
        self.backend = backend
        self.rewrites = 0
        """Number of replies so far, cached ones included."""
        self.calls = 0
        """Number of model calls so far."""
        self.truncated = 0
        """Number of replies that were cut off at the limit of tokens, and are not used."""
        self._replies = replies

    def __call__(self, prompt: str) -> str:
        """The model's reply to a prompt.

        Raises:
            BackendError: the model could not be called.
            ContextLengthError: the prompt does not fit its context window.
        """
        self.rewrites += 1
        key = hashlib.sha256(json.dumps([self.rewrites, prompt]).encode(errors="surrogatepass")).hexdigest()
        if self._replies is not None and (entry := self._replies.get(key)) is not None:
            return str(entry["response"])
        # The seed differs between replies, and is the same when a search is repeated.
        sampling = dataclasses.replace(SAMPLING, seed=self.rewrites)
        request = Request(messages=({"role": "user", "content": prompt},), sampling=sampling)
        completion = background_loop.wait(background_loop.submit(self.backend.complete(request)))
        self.calls += max(1, completion.usage.calls)
        self.truncated += completion.truncated
        # The beginning of a principle is not the principle; GEPA discards an empty text.
        answer = "" if completion.truncated else without_thoughts(completion.answer)
        if self._replies is not None:
            self._replies.add(key, answer)
        return answer


def require_gepa() -> None:
    """Check that GEPA is installed.

    Raises:
        MissingExtraError: it is not.
    """
    try:
        import gepa  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Rewriting a principle", extra="align") from error


def rewrite(
    evaluator: Evaluator,
    reflector: Reflector,
    *,
    learning: Sequence[int],
    selection: Sequence[int],
    reserved: int,
    seed: int,
) -> str | None:
    """Search for a text that agrees more with people.

    Args:
        evaluator: The task and its budget.
        reflector: The model that writes new texts.
        learning: Cases that it sees.
        selection: Cases by which texts are selected, which it does not see.
        reserved: Number of calls to leave in the budget.
        seed: Seed of the search.

    Returns:
        The text with the highest agreement on the cases for selection. None: that is the text as it was.

    Raises:
        RewardAnythingError: the judge or the reflection model cannot be used.
    """
    from gepa import optimize

    batch = min(CASES_PER_ROUND, len(learning))
    per_round = 1 + evaluator.cost(batch) + evaluator.cost(len(selection))
    adapter = _Adapter(evaluator)

    def reflect(prompt: str | list[dict[str, Any]]) -> str:
        if evaluator.error is not None:  # GEPA tries again
            raise evaluator.error
        try:
            reply = reflector(str(prompt))
        except RewardAnythingError as error:
            evaluator.error = error
            raise
        evaluator.rewriting_calls = reflector.calls
        evaluator.report()
        return reply

    def stop(state: Any) -> bool:
        best = max(state.program_full_scores_val_set)
        if state.i >= 0:
            evaluator.report(
                f"Round {state.i + 1} of {MAX_ROUNDS}: best agreement {best:.2f} on the selection prompts."
            )
        over = state.i + 1 >= MAX_ROUNDS or best >= 1.0
        return over or evaluator.error is not None or not evaluator.allows(per_round + reserved)

    try:
        result = optimize(
            seed_candidate={_COMPONENT: evaluator.task.text},
            trainset=list(learning),
            valset=list(selection),
            adapter=adapter,
            reflection_lm=reflect,
            reflection_prompt_template=_reflection_prompt(),
            reflection_minibatch_size=batch,
            stop_callbacks=[stop],
            logger=_Logger(),
            track_best_outputs=False,
            seed=seed,
        )
    finally:
        if evaluator.error is not None:  # GEPA logs some errors and goes on
            raise evaluator.error
    text = evaluator.task.prepared(result.best_candidate[_COMPONENT])
    return None if text == evaluator.task.text else text


@cache
def _reflection_prompt() -> str:
    return Path(__file__).with_name("reflection_prompt.md").read_text(encoding="utf-8")


class _Logger:
    """GEPA's log, which it would otherwise print."""

    def log(self, message: str) -> None:
        _log.debug("%s", message)


class _Adapter:
    """What GEPA searches: cases are numbers, and a candidate is a mapping with the text."""

    propose_new_texts: ClassVar[None] = None

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def evaluate(self, batch: list[int], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        from gepa.core.adapter import EvaluationBatch

        text = self._evaluator.task.prepared(candidate[_COMPONENT])
        if text is None:
            unusable = Evaluation(agreement=None, record={"Judge": "The principle is empty or too long."})
            made = [unusable] * len(batch)
        else:
            try:
                made = self._evaluator.evaluate(text, batch)
            except RewardAnythingError as error:
                self._evaluator.error = error
                raise
        return EvaluationBatch(
            outputs=[None] * len(made),
            scores=[one.agreement or 0.0 for one in made],
            trajectories=[one.record for one in made] if capture_traces else None,
        )

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, str]]]:
        del candidate
        return dict.fromkeys(components_to_update, eval_batch.trajectories)
