"""Written verdicts: one pass judges a case in one order of its responses and retries until the reply is a verdict."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rewardanything_core.backends.base import Backend, Completion, Request
from rewardanything_core.cases import Case
from rewardanything_core.errors import RewardAnythingError, VerdictParseError
from rewardanything_core.prompting.masking import draw_order
from rewardanything_core.prompting.parsing import ParsedReply, parse_reply
from rewardanything_core.prompting.templates import Rendered, Template, final_answer_prompt
from rewardanything_core.prompting.verdict_grammar import thinking_grammar, verdict_grammar, verdict_schema
from rewardanything_core.readouts.expected_scores import expected_scores
from rewardanything_core.readouts.results import PassResult
from rewardanything_core.sampling import SamplingParams
from rewardanything_core.types import JudgeFailure, Reply, Usage


@dataclass(frozen=True, kw_only=True)
class GenerateReadout:
    """Obtains verdicts that the model writes; holds everything except the case."""

    backend: Backend
    """The model."""

    template: Template
    """The prompt's wording."""

    sampling: SamplingParams
    """Sampling of the reply; ``thinking_budget`` is a number here, never None."""

    seed: int
    """Seed of the orders and of the sampler."""

    retries: int
    """How often to request another reply when one is not a verdict, 0 or more."""

    expected: bool
    """Whether scores are expectations over the scores' token probabilities."""

    async def run(self, case: Case, index: int, *, on_usage: Callable[[Usage], None]) -> PassResult:
        """Judge a case in the ``index``-th order drawn for it.

        Args:
            case: The case.
            index: Number of the pass, from 0.
            on_usage: Called with the usage of each request, whether or not it gave a verdict.

        Raises:
            RewardAnythingError: no verdict; ``failure`` has the number of attempts and the last reply.
        """
        attempt = 0
        while True:
            order = draw_order(case, seed=self.seed, index=index, attempt=attempt)
            rendered = self.template.render(case, order, escape_special_tokens=not self.backend.escapes_special_tokens)
            request = self._request(rendered, index, attempt)
            raw = None
            try:
                completion = await self.backend.complete(request)
                raw = completion.raw
                on_usage(completion.usage)
                return self._pass_result(completion, rendered)
            except RewardAnythingError as error:
                attempt += 1
                if error.usage is not None:
                    on_usage(error.usage)
                if not isinstance(error, VerdictParseError) or attempt > self.retries:
                    error.failure = JudgeFailure(
                        case_id=case.id,
                        error_type=type(error).__name__,
                        message=str(error),
                        raw_output=error.raw if raw is None else raw,
                        attempts=attempt,
                    )
                    raise

    def _request(self, rendered: Rendered, index: int, attempt: int) -> Request:
        names = list(rendered.labels)
        budget = self.sampling.thinking_budget or 0
        sampling = dataclasses.replace(self.sampling, seed=self._derived_seed(index, attempt))
        if attempt and len(names) == 1:
            # A single response has one order only, and greedy decoding would repeat the same reply.
            sampling = dataclasses.replace(sampling, temperature=max(sampling.temperature, 0.5))
        return Request(
            messages=tuple(rendered.messages),
            sampling=sampling,
            grammar=partial(thinking_grammar, partial(verdict_grammar, names), budget=budget),
            schema=verdict_schema(names, reasoning=self.template.style == "json"),
            is_reasoning_model=self.template.name == "trained",
            final_answer_prompt=final_answer_prompt(),
            prefix_group=hash(rendered.shared_prefix),
            token_probabilities=self.expected,
        )

    def _derived_seed(self, index: int, attempt: int) -> int:
        name = f"{self.seed}/{self.sampling.seed}/{index}/{attempt}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) >> 1

    def _pass_result(self, completion: Completion, rendered: Rendered) -> PassResult:
        labels = rendered.labels
        try:
            reply = parse_reply(completion.answer, list(labels))
        except VerdictParseError as error:
            if completion.truncated:
                error.hint = "It was cut off by the token limit: raise max_tokens or thinking_budget."
            raise
        scores = reply.scores
        ranking = reply.ranking
        if self.expected:
            scores = expected_scores(completion.answer, reply, completion.tokens)
            ranking = sorted(ranking, key=lambda name: -scores[name])
        return PassResult(
            order=list(labels.values()),
            scores={label: scores[name] for name, label in labels.items()},
            ranking=[labels[name] for name in ranking],
            replies=[Reply(reasoning=_reasoning(completion, reply), raw_output=completion.raw)],
        )


def _reasoning(completion: Completion, reply: ParsedReply) -> str:
    parts = [(completion.reasoning or "").strip(), reply.reasoning]
    return "\n\n".join(part for part in parts if part)
