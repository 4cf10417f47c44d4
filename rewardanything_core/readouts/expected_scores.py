"""Readout: the score a model would give on average, read from its token probabilities.

A model that writes ``4`` may have been torn between 4 and 5. The expectation over the five digits keeps that, as in
G-Eval (arXiv 2303.16634, section 2.2), read at the exact characters where each score stands in the reply.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from rewardanything_core.backends.base import TokenProbability
from rewardanything_core.errors import VerdictParseError
from rewardanything_core.prompting.parsing import ParsedReply, value_spans
from rewardanything_core.prompting.verdict_grammar import SCORES


def expected_scores(answer: str, reply: ParsedReply, tokens: Sequence[TokenProbability]) -> dict[str, float]:
    """The probability-weighted score of each response.

    Args:
        answer: The answer in which the reply was found.
        reply: The reply as parsed from ``answer``.
        tokens: The tokens of ``answer``; their texts joined are ``answer``.

    Returns:
        Masked name -> expectation, 1.0..5.0, over the five scores renormalised to 1.

    Raises:
        VerdictParseError: a score does not stand in a token of its own, or its probabilities are missing.
    """
    if "".join(token.text for token in tokens) != answer:
        raise VerdictParseError("The reply came without the token probabilities that expected scores need.", raw=answer)
    starts = [0, *accumulate(len(token.text) for token in tokens)]
    scores_at, _ = value_spans(answer, reply.start)["scores"]
    expected = {}
    for name, (start, end) in value_spans(answer, scores_at).items():
        token = tokens[bisect_right(starts, start) - 1]
        weights = dict.fromkeys(SCORES, 0.0)
        for text, probability in token.alternatives.items():
            if text.strip() in weights:
                weights[text.strip()] += probability
        total = sum(weights.values())
        if token.text.strip() != answer[start:end] or not total:
            raise VerdictParseError(f"The score of {name} cannot be read from token probabilities.", raw=answer)
        expected[name] = sum(int(option) * weight for option, weight in weights.items()) / total
    return expected
