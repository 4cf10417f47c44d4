"""Written ratings: one request for each response, in the published format of another trained judge."""

from __future__ import annotations

from dataclasses import dataclass

from rewardanything_core.backends.base import Completion, Request
from rewardanything_core.cases import Case
from rewardanything_core.concurrency import background_loop
from rewardanything_core.prompting.response_templates import ResponseTemplate
from rewardanything_core.readouts.attempts import OnUsage
from rewardanything_core.readouts.expected_scores import expected_scores
from rewardanything_core.readouts.results import PassResult
from rewardanything_core.readouts.written import ParseCompletion, WrittenReadout, joined_reasoning
from rewardanything_core.types import Reply


@dataclass(frozen=True, kw_only=True)
class RatingsReadout(WrittenReadout):
    """Rates every response of a case by itself, all at once; the ranking follows from the ratings."""

    template: ResponseTemplate
    """The format."""

    async def run(self, case: Case, index: int, *, on_usage: OnUsage) -> PassResult:
        """See `WrittenReadout.run`."""
        labels = list(case.canonical_labels)
        rated = await background_loop.gather(self._rate(case, label, index, on_usage) for label in labels)
        scores = {label: one.scores[label] for label, one in zip(labels, rated, strict=True)}
        replies = [reply for one in rated for reply in one.replies]
        return PassResult(
            order=labels,
            scores=scores,
            ranking=sorted(labels, key=lambda label: -scores[label]),
            replies=[
                Reply(
                    reasoning="\n\n".join(reply.reasoning for reply in replies),
                    raw_output="\n\n".join(reply.raw_output for reply in replies),
                )
            ],
        )

    async def _rate(self, case: Case, label: str, index: int, on_usage: OnUsage) -> PassResult:
        escape = not self.backend.escapes_special_tokens

        def prepare(attempt: int) -> tuple[Request, ParseCompletion]:
            rendered = self.template.render_response(case, label, escape_special_tokens=escape)
            return self._request(rendered, index=index, attempt=attempt), parse

        def parse(completion: Completion) -> PassResult:
            score, span = self.template.rating(completion.answer)
            if self.expected or self.template.needs_probabilities:
                expected = expected_scores(
                    completion.answer, {label: span}, completion.tokens, values=self.template.scores
                )
                score = expected[label]
            reasoning = joined_reasoning(completion, completion.answer[: span[0]].strip())
            reply = Reply(reasoning=f"[{label}] {reasoning}", raw_output=completion.raw)
            return PassResult(order=[label], scores={label: score}, ranking=[label], replies=[reply])

        return await self._until_verdict(case, prepare, on_usage)
