"""Written verdicts under a rubric: all criteria in one request per pass, each with scores and reasoning of its own.

Criteria are shown in balanced orders, as responses are: in several passes each criterion is at each position equally
often. A rubric with more scores than one reply can hold is judged in groups of criteria.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import partial

from rewardanything_core.backends.base import Completion, Request
from rewardanything_core.cases import Case
from rewardanything_core.concurrency import background_loop
from rewardanything_core.principles import Criterion, Rubric
from rewardanything_core.prompting.masking import draw_criteria_order, draw_order
from rewardanything_core.prompting.rubric_format import (
    MAX_SCORES_PER_CALL,
    parse_rubric_reply,
    rubric_grammar,
    rubric_schema,
)
from rewardanything_core.readouts.attempts import OnUsage
from rewardanything_core.readouts.expected_scores import expected_scores
from rewardanything_core.readouts.results import PassResult, ranking_by_scores
from rewardanything_core.readouts.written import ParseCompletion, WrittenReadout, joined_reasoning
from rewardanything_core.types import Reply

TOKENS_PER_CRITERION = 256
"""By how much each criterion after the first raises the token limit of the answer."""


class RubricReadout(WrittenReadout):
    """Judges a list of responses under all criteria of a rubric; its template is one of `Template.for_rubrics`."""

    async def run(self, case: Case, index: int, *, on_usage: OnUsage) -> PassResult:
        """See `WrittenReadout.run`; the case's principle is a `Rubric`."""
        rubric = case.principle
        assert isinstance(rubric, Rubric)
        results = await background_loop.gather(
            self._judge_group(case, rubric, group, index, on_usage)
            for group in criteria_groups(rubric, case, seed=self.seed, index=index, max_scores=MAX_SCORES_PER_CALL)
        )
        return joined_groups(results, rubric, case)

    async def _judge_group(
        self, case: Case, rubric: Rubric, group: Sequence[str], index: int, on_usage: OnUsage
    ) -> PassResult:
        def prepare(attempt: int) -> tuple[Request, ParseCompletion]:
            order = draw_criteria_order(rubric, case, seed=self.seed, index=index, attempt=attempt)
            names = {rubric.keys[name]: name for name in order if name in group}
            return self._prepared(case, names, rubric, index, attempt)

        return await self._until_verdict(case, prepare, on_usage)

    def _prepared(
        self, case: Case, names: Mapping[str, str], rubric: Rubric, index: int, attempt: int
    ) -> tuple[Request, ParseCompletion]:
        """The request for some criteria; ``names`` maps their keys to their names."""
        criteria = {key: rubric.criteria[name] for key, name in names.items()}
        rendered = self.template.render_rubric(
            case,
            draw_order(case, seed=self.seed, index=index, attempt=attempt),
            criteria,
            escape_special_tokens=not self.backend.escapes_special_tokens,
        )
        responses = list(rendered.labels)
        budget = self.sampling.thinking_budget or 0
        request = self._request(
            rendered,
            index=index,
            attempt=attempt,
            grammar=partial(rubric_grammar, criteria, responses, budget=budget),
            schema=rubric_schema(criteria, responses, reasoning=self.template.style == "json"),
        )
        max_tokens = request.sampling.max_tokens + TOKENS_PER_CRITERION * (len(criteria) - 1)
        request = dataclasses.replace(request, sampling=dataclasses.replace(request.sampling, max_tokens=max_tokens))
        parse = partial(self._pass_result, case=case, labels=rendered.labels, names=names, criteria=criteria)
        return request, parse

    def _pass_result(
        self,
        completion: Completion,
        case: Case,
        labels: dict[str, str],
        names: Mapping[str, str],
        criteria: Mapping[str, Criterion],
    ) -> PassResult:
        replies, general = parse_rubric_reply(completion.answer, criteria, list(labels))
        results = {}
        for key, reply in replies.items():
            by_name = reply.scores
            if self.expected:
                options = criteria[key].scores
                by_name = expected_scores(
                    completion.answer,
                    reply.score_spans,
                    completion.tokens,
                    values={score: float(score) for score in options},
                )
            scores = {label: by_name[masked] for masked, label in labels.items()}
            results[names[key]] = PassResult(
                order=list(labels.values()),
                scores=scores,
                ranking=ranking_by_scores(scores, case),
                replies=[Reply(reasoning=reply.reasoning)],
            )
        return PassResult(
            order=list(labels.values()),
            scores={},
            ranking=[],
            replies=[Reply(reasoning=joined_reasoning(completion, general), raw_output=completion.raw)],
            criteria=results,
            criteria_orders=[list(names.values())],
        )


def criteria_groups(rubric: Rubric, case: Case, *, seed: int, index: int, max_scores: int) -> list[list[str]]:
    """The criteria of each request: one group, unless there would be too many scores in it.

    Args:
        rubric: The rubric.
        case: The case.
        seed: Seed of the criteria's order.
        index: Number of the pass, from 0.
        max_scores: Maximum number of criteria times responses in a request.
    """
    names = draw_criteria_order(rubric, case, seed=seed, index=index)
    per_call = max(1, max_scores // len(case.responses))
    calls = math.ceil(len(names) / per_call)
    return [names[call::calls] for call in range(calls)]


def joined_groups(groups: Sequence[PassResult], rubric: Rubric, case: Case) -> PassResult:
    """One pass over all criteria; its own scores are those of the whole rubric, before requirements.

    Args:
        groups: The results of the requests for groups of criteria.
        rubric: The rubric.
        case: The case.
    """
    found = {name: result for group in groups for name, result in group.criteria.items()}
    criteria = {name: found[name] for name in rubric.criteria}
    scores = rubric.weighted_mean({name: result.scores for name, result in criteria.items()})
    return PassResult(
        order=groups[0].order,
        scores=scores,
        ranking=ranking_by_scores(scores, case),
        replies=[reply for group in groups for reply in group.replies],
        criteria=criteria,
        criteria_orders=[order for group in groups for order in group.criteria_orders],
    )
