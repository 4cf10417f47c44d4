"""Expected scores: the mean score by the model's token probabilities, in place of the score that it wrote.

A model that writes ``4`` may have been undecided between 4 and 5. The expectation over the five digits keeps that, as
in G-Eval (Liu et al. 2023, arXiv 2303.16634, section 2.2). It is computed from the token at which each score was
written.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

from rewardanything_core.backends.base import TokenProbability
from rewardanything_core.errors import VerdictParseError
from rewardanything_core.prompting.verdict_grammar import SCORES


def expected_scores(
    answer: str,
    spans: Mapping[str, tuple[int, int]],
    tokens: Sequence[TokenProbability],
    *,
    options: Sequence[str] = SCORES,
) -> dict[str, float]:
    """The probability-weighted score of each response.

    Args:
        answer: The answer that contains the scores.
        spans: Masked name -> (start, end) of its score in ``answer``.
        tokens: The tokens of ``answer``; their texts concatenated are ``answer``.
        options: The scores that the judge may give.

    Returns:
        Masked name -> expectation, 1.0..5.0, over the options with their probabilities renormalised to 1.

    Raises:
        VerdictParseError: a score is not a token of its own, or its probabilities are missing.
    """
    if "".join(token.text for token in tokens) != answer:
        raise VerdictParseError("The reply came without the token probabilities that expected scores need.", raw=answer)
    token_starts = [0, *accumulate(len(token.text) for token in tokens)]
    expected = {}
    for name, (start, end) in spans.items():
        token = tokens[bisect_right(token_starts, start) - 1]
        weights = dict.fromkeys(options, 0.0)
        for text, probability in token.alternatives.items():
            if text.strip() in weights:
                weights[text.strip()] += probability
        total = sum(weights.values())
        if token.text.strip() != answer[start:end] or not total:
            raise VerdictParseError(f"The token probabilities do not give an expected score of {name}.", raw=answer)
        expected[name] = sum(int(score) * weight for score, weight in weights.items()) / total
    return expected
