"""Expected scores: the mean score by the model's token probabilities, in place of the score that it wrote.

A model that writes ``4`` may have been undecided between 4 and 5. The expectation over the five digits keeps that, as
in G-Eval (Liu et al. 2023, arXiv 2303.16634, section 2.2). It is computed from the token at which each score was
written.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

from rewardanything_core.backends.base import MAX_UNKNOWN, TokenProbability
from rewardanything_core.errors import VerdictParseError
from rewardanything_core.prompting.verdict_grammar import SCORES


def expected_scores(
    answer: str,
    spans: Mapping[str, tuple[int, int]],
    tokens: Sequence[TokenProbability],
    *,
    values: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """The probability-weighted score of each response.

    Args:
        answer: The answer that contains the scores.
        spans: Masked name -> (start, end) of its score in ``answer``.
        tokens: The tokens of ``answer``; their texts concatenated are ``answer``.
        values: What the judge may answer -> score. None: the scores 1 to 5.

    Returns:
        Masked name -> expectation, 1.0..5.0, over the answers with their probabilities renormalised to 1.

    Raises:
        VerdictParseError: a score is not a token of its own, or its probabilities are missing.
    """
    if "".join(token.text for token in tokens) != answer:
        raise VerdictParseError("The reply came without the token probabilities that expected scores need.", raw=answer)
    values = values or {score: float(score) for score in SCORES}
    token_starts = [0, *accumulate(len(token.text) for token in tokens)]
    expected = {}
    for name, (start, end) in spans.items():
        token = tokens[bisect_right(token_starts, start) - 1]
        weights = dict.fromkeys(values, 0.0)
        for text, probability in token.alternatives.items():
            if text.strip() in weights:
                weights[text.strip()] += probability
        total = sum(weights.values())
        is_known = len(token.alternatives) > 1 or total >= 1 - MAX_UNKNOWN
        if token.text.strip() != answer[start:end] or not (total and is_known):
            raise VerdictParseError(f"The token probabilities do not give an expected score of {name}.", raw=answer)
        expected[name] = sum(values[text] * weight for text, weight in weights.items()) / total
    return expected
