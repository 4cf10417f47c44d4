"""Written verdicts under one principle: reasoning, a score for each response and a ranking in one reply."""

from __future__ import annotations

from functools import partial

from rewardanything_core.backends.base import Completion, Request
from rewardanything_core.cases import Case
from rewardanything_core.prompting.masking import draw_order
from rewardanything_core.prompting.parsing import parse_reply
from rewardanything_core.prompting.verdict_grammar import thinking_grammar, verdict_grammar, verdict_schema
from rewardanything_core.readouts.attempts import OnUsage
from rewardanything_core.readouts.expected_scores import expected_scores
from rewardanything_core.readouts.results import PassResult
from rewardanything_core.readouts.written import ParseCompletion, WrittenReadout, joined_reasoning
from rewardanything_core.types import Reply


class GenerateReadout(WrittenReadout):
    """Judges a list of responses under one principle with one request per pass."""

    async def run(self, case: Case, index: int, *, on_usage: OnUsage) -> PassResult:
        """See `WrittenReadout.run`."""

        def prepare(attempt: int) -> tuple[Request, ParseCompletion]:
            order = draw_order(case, seed=self.seed, index=index, attempt=attempt)
            rendered = self.template.render(case, order, escape_special_tokens=not self.backend.escapes_special_tokens)
            names = list(rendered.labels)
            budget = self.sampling.thinking_budget or 0
            request = self._request(
                rendered,
                index=index,
                attempt=attempt,
                grammar=partial(thinking_grammar, partial(verdict_grammar, names), budget=budget),
                schema=verdict_schema(names, reasoning=self.template.style == "json"),
            )
            return request, partial(self._pass_result, labels=rendered.labels)

        return await self._until_verdict(case, prepare, on_usage)

    def _pass_result(self, completion: Completion, labels: dict[str, str]) -> PassResult:
        reply = parse_reply(completion.answer, list(labels))
        scores = reply.scores
        ranking = reply.ranking
        if self.expected:
            scores = expected_scores(completion.answer, reply.score_spans, completion.tokens)
            ranking = sorted(ranking, key=lambda name: -scores[name])
        return PassResult(
            order=list(labels.values()),
            scores={label: scores[name] for name, label in labels.items()},
            ranking=[labels[name] for name in ranking],
            replies=[Reply(reasoning=joined_reasoning(completion, reply.reasoning), raw_output=completion.raw)],
        )
